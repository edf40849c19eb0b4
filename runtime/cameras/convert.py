"""From one format's cameras to another's, with their pictures where these have to move too."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from marotte.errors import MarotteError
from marotte.runtime.affine import Affine2D, resize
from marotte.runtime.camera import Camera
from marotte.runtime.cameras import load_format, read_cameras, write_cameras
from marotte.runtime.cameras.crop_chain import read_bbox, tracker_crop
from marotte.runtime.cameras.formats.mammal import normalised
from marotte.runtime.cameras.pictures import picture_names, pictures_of, staged, take, write_picture
from marotte.runtime.cameras.track import CameraTrack
from marotte.runtime.cameras.warp import NEEDS, fit_pictures, picture_map, warp_picture

SPACES = ("video", "tracked")
# What the file of a format is called, where a folder is named to write into.
FILES = {
    "insta": "transforms.json",
    "nerf": "transforms.json",
    "imavatar": "flame_params.json",
    "splatting-avatar": "cameras.npz",
    "3dgs": "cameras.json",
    "gagavatar": "tracked.pt",
    "facelift": "opencv_cameras.json",
    "mammal": "new_cam.pkl",
    "pytorch3d": "cameras.npz",
}
_SIDE = 512
# A line of a format's losses that pictures mend, before they are written.
_MENDED = "pictures:"


@dataclass(frozen=True)
class Plan:
    """What a conversion is about to do.

    source: the cameras as read. target: as they will be written. map: from the old pictures of the first camera to
    its new ones. kept, empty: the least share of an old picture that is kept, the largest share of a new one that is
    black. losses: what the format cannot hold.
    """

    source: CameraTrack
    target: CameraTrack
    format: str
    map: Affine2D
    kept: float
    empty: float
    losses: tuple[str, ...]

    @property
    def moves_pictures(self) -> bool:
        """Whether the pictures change."""
        return not np.allclose(self.map.matrix, np.eye(3), atol=1e-9)


def plan(
    source: CameraTrack,
    format: str,
    *,
    space: str | None = None,
    size: tuple[int, int] | None = None,
    bbox: str | Path | None = None,
    distance: float | None = None,
    images: bool = False,
    fill: bool = False,
) -> Plan:
    """Return how cameras would be written in a format.

    space: `video` for the pictures that these were cut from, `tracked` for metrical-tracker's crop of them. size: of
    the new pictures. bbox: the tracker's bbox.pt, where the cameras do not know their crop. distance: scale the world
    so that the cameras are as far from the origin, on the mean. images: the pictures will move, so what the format asks
    of them is met; fill: without black borders. Raises MarotteError where this cannot be.
    """
    load_format(format)
    track = _in_space(source, space, size, bbox)
    needs = NEEDS.get(format)
    kept, empty = 1.0, 0.0
    if images and needs is not None and not needs.met_by(track):
        fit = fit_pictures(track, needs, size, fill=fill)
        track, kept, empty = fit.track, fit.kept, fit.empty
    elif size is not None and (track.cameras[0].width, track.cameras[0].height) != size:
        track = _resized(track, size)
    if distance is not None:
        track = normalised(track, distance)
    wanted = load_format(format).unit
    losses = load_format(format).losses(track if wanted is None else track.scaled(wanted))
    return Plan(
        source,
        track,
        format,
        picture_map(source.cameras[0], track.cameras[0]),
        kept,
        empty,
        tuple(line for line in losses if not (images and line.startswith(_MENDED))),
    )


def convert(
    source: str | Path,
    out: str | Path,
    to: str,
    *,
    format: str | None = None,
    allow_loss: bool = False,
    images: bool | str | Path = False,
    first: int | None = None,
    space: str | None = None,
    size: tuple[int, int] | None = None,
    distance: float | None = None,
    fill: bool = False,
    **options: Any,
) -> Plan:
    """Read cameras, write them in the format `to`, and return what was done.

    images: True, or the folder or video where they are, to write the pictures too, as the new cameras see them. first:
    the number of the first camera's picture. The rest is as in `plan` and `read_cameras`. Raises MarotteError, with
    nothing written, where something would be lost and `allow_loss` is not set, or something that is read would be
    written over.
    """
    source = Path(source)
    track = read_cameras(source, format, **options)
    chosen = {"space": space, "size": size, "distance": distance, "fill": fill}
    planned = plan(track, to, bbox=options.get("bbox"), images=bool(images), **chosen)  # type: ignore[arg-type]
    execute(planned, source, out, allow_loss=allow_loss, images=images, first=first)
    return planned


def execute(
    planned: Plan,
    source: str | Path,
    out: str | Path,
    *,
    allow_loss: bool = False,
    images: bool | str | Path = False,
    first: int | None = None,
    progress: Callable[[int, int | None], None] | None = None,
) -> int:
    """Write what was planned and return how many pictures were written.

    source: what the cameras were read from. progress: called with the numbers of pictures done and to do.

    Raises MarotteError as `convert` does.
    """
    source, out = Path(source), Path(out)
    target = load_format(planned.format)
    if planned.losses and not allow_loss:
        hint = "" if images or planned.format not in NEEDS else "move the pictures too, with --images, or "
        raise MarotteError(
            f"{target.title} cannot hold {'; '.join(planned.losses)}: {hint}accept the loss with --allow-loss"
        )
    if target.is_folder and out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise MarotteError(f"cannot write {out}: it is not an empty folder, name another")
    track, count = planned.target, 0
    in_folder = target.is_folder or out.is_dir() or not out.suffix
    with staged(out, source) as stage:
        base = stage / out.name if in_folder else stage
        written = stage / out.name
        if in_folder and not target.is_folder:
            base.mkdir()
            written = base / FILES[planned.format]
        if images:
            shots = stage / ".pictures"
            names = picture_names(track, planned.format)
            count = _write_pictures(planned, shots, names, None if images is True else Path(images), first, progress)
            track = replace(track, images=names, root=shots)
        write_cameras(track, written, planned.format, allow_loss=True)
        if images:
            for part in sorted(shots.iterdir()):
                part.replace(base / part.name)
            shots.rmdir()
    return count


def _write_pictures(
    planned: Plan,
    stage: Path,
    names: tuple[str, ...],
    place: Path | None,
    first: int | None,
    progress: Callable[[int, int | None], None] | None,
) -> int:
    """Write each picture as its new camera sees it; it may be the camera's own or the video's frame."""
    source, target = planned.source, planned.target
    video = source.to_video() if source.crop is not None else source
    pictures = take(pictures_of(source, place, first), len(source))
    for index, (picture, name) in enumerate(zip(pictures, names, strict=True)):
        here = _camera_of(picture, (source.cameras[index], video.cameras[index]))
        new = target.cameras[index]
        write_picture(stage / name, warp_picture(picture, picture_map(here, new), (new.width, new.height)))
        if progress:
            progress(index + 1, len(names))
    return len(names)


def _camera_of(picture: np.ndarray, cameras: tuple[Camera, Camera]) -> Camera:
    """Return the camera that a picture belongs to by its size."""
    height, width = picture.shape[:2]
    for camera in cameras:
        if (camera.width, camera.height) == (width, height):
            return camera
    sizes = " nor ".join(dict.fromkeys(f"{camera.width}x{camera.height}" for camera in cameras))
    raise MarotteError(f"a picture is {width}x{height}, which is not the cameras' {sizes}: name the right pictures")


def _in_space(
    track: CameraTrack, space: str | None, size: tuple[int, int] | None, bbox: str | Path | None
) -> CameraTrack:
    """Return the cameras of the pictures that are wanted, video or crop; the track's own where nothing is."""
    if space not in (None, *SPACES):
        raise MarotteError(f"space {space!r} is unknown: use {' or '.join(SPACES)}")
    if space == "video":
        if track.crop is None:
            raise MarotteError(
                "how the pictures were cut from the video is not known: give --video WxH and --bbox FILE"
            )
        return track.to_video()
    if space == "tracked" or (track.crop is not None and size is not None and size[0] == size[1]):
        return cropped(track, size, bbox)
    return track


def cropped(track: CameraTrack, size: tuple[int, int] | None = None, bbox: str | Path | None = None) -> CameraTrack:
    """Return the cameras of the tracker's crop at a size: of the crop that is known, or of `bbox` in the video.

    Raises MarotteError where neither is there, or the size is not square.
    """
    if size is not None and size[0] != size[1]:
        raise MarotteError(f"the tracker's pictures are square, not {size[0]}x{size[1]}")
    if track.crop is not None:
        crop = replace(track.crop, size=size or track.crop.size)
        video = track.to_video()
    elif bbox is not None:
        video = track
        first = track.cameras[0]
        crop = tracker_crop(read_bbox(bbox), (first.width, first.height), (size or (_SIDE, _SIDE))[0])
    else:
        raise MarotteError("how to cut the pictures is not known: give the tracker's box, --bbox FILE")
    return replace(video.through(crop.affine, *crop.size, f"tracked:{crop.size[0]}"), crop=crop)


def _resized(track: CameraTrack, size: tuple[int, int]) -> CameraTrack:
    """Return the cameras of the pictures resized; a crop goes on to hold."""
    cameras = tuple(
        camera.through(
            resize((camera.width, camera.height), size), *size, f"{camera.space.partition(':')[0]}:{size[0]}"
        )
        for camera in track.cameras
    )
    crop = None if track.crop is None else replace(track.crop, size=size)
    return replace(track, cameras=cameras, crop=crop)
