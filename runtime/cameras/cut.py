"""metrical-tracker's crop of a video or of frames, made again as it was, and the cameras that go with it."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from marotte.errors import MarotteError
from marotte.models.plain_files import write_whole
from marotte.models.safe_files import read_any
from marotte.runtime.cameras import read_cameras, write_cameras
from marotte.runtime.cameras.convert import FILES
from marotte.runtime.cameras.crop_chain import Box, box_from_landmarks, crop_frame, read_bbox, tracker_crop
from marotte.runtime.cameras.formats.metrical import packed_torch
from marotte.runtime.cameras.pictures import Pictures, pictures_in, staged, write_picture
from marotte.runtime.cameras.track import CameraTrack, Crop

_BBOX = "bbox.pt"
_SIDE = 512


@dataclass(frozen=True)
class Cut:
    """What was cut.

    crop: None where whole pictures were written. track: the cameras, None where none were given. losses: what their
    format could not hold.
    """

    count: int
    crop: Crop | None
    track: CameraTrack | None
    losses: tuple[str, ...]


def read_landmarks(path: str | Path) -> np.ndarray:
    """Return landmarks [N, 2] in pixels of a picture, of a .npy or .npz: of several frames, those of the first.

    Raises MarotteError where there are none.
    """
    content = read_any(path)
    if isinstance(content, dict):
        named = content.get("points2d", next(iter(content.values())) if len(content) == 1 else None)
        if named is None:
            raise MarotteError(f"{path} has {', '.join(content)}: call the landmarks points2d")
        content = named
    points = np.asarray(content)
    if points.ndim == 3 and len(points):
        points = points[0]
    if points.dtype.kind not in "fiu" or points.ndim != 2 or points.shape[1] < 2:
        raise MarotteError(f"{path} has shape {list(points.shape)}: landmarks are [N, 2], or [frames, N, 2]")
    return points[:, :2]


def cut(
    pictures: str | Path,
    out: str | Path,
    *,
    size: int | None = _SIDE,
    bbox: str | Path | None = None,
    landmarks: str | Path | None = None,
    cameras: str | Path | None = None,
    to: str | None = None,
    allow_loss: bool = False,
    progress: Callable[[int, int | None], None] | None = None,
) -> Cut:
    """Write the tracker's crop of each picture of a video or folder as PNG into a new folder.

    size: of the square pictures; None writes whole ones. bbox: the tracker's box, else the `bbox.pt` beside the
    pictures; landmarks: a file to make the box of, as the tracker does; it is then written too. cameras: of these
    pictures, whole or cropped at any size; they are moved to the new ones and written beside them in the format `to`
    (their own). Raises MarotteError, with nothing written, where something is missing or does not fit.
    """
    place, out = Path(pictures), Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise MarotteError(f"cannot write {out}: it is not an empty folder, name another")
    if size is not None and size < 1:
        raise MarotteError(f"pictures of {size} pixels are none: give 512, 768 or 1024")
    found = pictures_in(place)
    box: Box | None = None
    crop: Crop | None = None
    frame: tuple[int, int] | None = None
    names: list[str] = []
    with staged(out, place) as stage:
        folder = stage / out.name
        folder.mkdir()
        for index, picture in enumerate(found):
            if frame is None:
                frame = (picture.shape[1], picture.shape[0])
                if size is not None:
                    box = _box(place, frame, bbox, landmarks)
                    crop = tracker_crop(box, frame, size)
            elif (picture.shape[1], picture.shape[0]) != frame:
                was, now = f"{frame[0]}x{frame[1]}", f"{picture.shape[1]}x{picture.shape[0]}"
                raise MarotteError(f"{place}: picture {index + 1} is {now}, the first is {was}: one box fits one size")
            names.append(_name(found, index))
            write_picture(folder / names[-1], picture if crop is None else crop_frame(picture, crop))
            if progress:
                progress(index + 1, len(found.paths) or None)
        if frame is None:
            raise MarotteError(f"{place} has no pictures in it")
        if landmarks is not None and box is not None:
            write_whole(folder / _BBOX, packed_torch(np.array(box, np.int64)))
        track, losses = None, []
        if cameras is not None:
            known = Path(bbox) if bbox is not None else _beside(place)
            track = _moved(Path(cameras), frame, crop, known, tuple(names))
            kind = to or track.format
            target = folder / FILES.get(kind, "cameras")
            losses = write_cameras(track, target, kind, allow_loss=allow_loss)
    return Cut(len(names), crop, track, tuple(losses))


def _beside(place: Path) -> Path | None:
    """Return the box that the tracker left beside a video or a folder of frames."""
    folders = (place, place.parent) if place.is_dir() else (place.parent,)
    return next((folder / _BBOX for folder in folders if (folder / _BBOX).is_file()), None)


def _box(place: Path, video: tuple[int, int], bbox: str | Path | None, landmarks: str | Path | None) -> Box:
    if bbox is not None and landmarks is not None:
        raise MarotteError(f"{bbox} and {landmarks} both make the box: give one of them")
    if landmarks is not None:
        return box_from_landmarks(read_landmarks(landmarks), video)
    file = bbox or _beside(place)
    if file is None:
        raise MarotteError(f"no bbox.pt is beside {place}: give --bbox FILE, or --landmarks FILE to make a box of")
    return read_bbox(file)


def _name(found: Pictures, index: int) -> str:
    """Return what a picture is called: as it was, or by the frame's number from 1, as the tracker does."""
    return f"{found.paths[index].stem}.png" if found.paths else f"{index + 1:05d}.png"


def _moved(
    path: Path, frame: tuple[int, int], crop: Crop | None, bbox: Path | None, names: tuple[str, ...]
) -> CameraTrack:
    """Return the cameras of a file as those of the new pictures."""
    track = read_cameras(path, video=frame, bbox=bbox)
    first = track.cameras[0]
    if track.crop is not None:
        track = track.to_video()
    elif (first.width, first.height) != frame:
        raise MarotteError(
            f"the cameras of {path} are of {first.width}x{first.height}, the pictures are {frame[0]}x{frame[1]}, and "
            "how one was cut from the other is not known: give --bbox FILE"
        )
    if crop is not None:
        track = replace(track.through(crop.affine, *crop.size, f"tracked:{crop.size[0]}"), crop=crop)
    return replace(track, images=names if len(names) == len(track) else ())
