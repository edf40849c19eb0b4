"""Tracked frames of an avatar's person: cameras, the avatar's head in each frame's pose, pictures and masks.

Everything is in the avatar's own conventions: its head model and identity, its unit, its expression basis. Whatever
camera format the frames come in is read by `marotte.runtime.cameras`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from marotte.errors import MarotteError
from marotte.models.flame import FlameModel
from marotte.models.flame_files import read_landmarks
from marotte.models.flame_numba import HeadEvaluator
from marotte.runtime.avatar import Avatar
from marotte.runtime.camera import Camera
from marotte.runtime.cameras import read_cameras
from marotte.runtime.cameras.pictures import Pictures, pictures_of
from marotte.runtime.cameras.track import CameraTrack
from marotte.runtime.head import HeadState
from marotte.runtime.places import data_folder
from marotte.runtime.splats import avatar_head, avatar_identity

_EMBEDDING = "landmark_embedding.npy"
_FLAME_VERTICES = 5023
# Where data sets keep masks that are not in the pictures' fourth channel: folders beside the pictures'.
_MASKS = ("mask", "masks", "matting")


class Picture(NamedTuple):
    """rgb: float32 [H, W, 3] in 0..1, as in the file; mask: float32 [H, W], 1 where the person is, None without."""

    rgb: np.ndarray
    mask: np.ndarray | None

    def over(self, colour: tuple[float, float, float]) -> np.ndarray:
        """Return the person on a colour, as published: rgb * mask + colour * (1 - mask)."""
        if self.mask is None:
            return self.rgb
        share = self.mask[..., None]
        return self.rgb * share + np.array(colour, np.float32) * (1 - share)


class AvatarHead:
    """An avatar's head model with its identity. unit: world units per FLAME unit; identity: [S], None without one.

    Raises MarotteError where the avatar has no head model, or it is not one of FLAME's expression bases.
    """

    def __init__(self, avatar: Avatar) -> None:
        if not avatar.head:
            raise MarotteError(f"avatar {avatar.name} names no head model: add head = ... to its avatar.toml")
        if not avatar.basis.startswith("flame"):
            raise MarotteError(
                f"avatar {avatar.name} moves in {avatar.basis}, tracked frames are FLAME's: name an avatar of FLAME"
            )
        self.avatar = avatar
        self.model = _model(avatar)
        self.identity = avatar_identity(avatar)
        self.unit = avatar.unit
        self.evaluator = HeadEvaluator(self.model, self.identity, avatar.unit)

    def state(self, given: HeadState) -> HeadState:
        """Return tracked parameters as the renderer takes them: identity left out, as many expressions as there are."""
        width = self.model.expression_dirs.shape[-1]
        return replace(given, shape=np.zeros(0, np.float32), expression=given.expression[:, :width])

    def vertices(self, state: HeadState) -> np.ndarray:
        """Return [T, V, 3] float32 in the avatar's unit. Lids of a head without lid fields stay as they are."""
        lids = state.eyelids if self.model.eyelid_fields is not None else None
        return self.evaluator.vertices(state.expression, state.full_pose, lids, state.translation)


@dataclass(frozen=True, eq=False)
class TrackedFrames:
    """N tracked frames: head: the avatar's; cameras: N in its unit; states: N; track: as read; pictures: N."""

    head: AvatarHead
    track: CameraTrack
    cameras: tuple[Camera, ...]
    states: HeadState
    pictures: Pictures

    def __len__(self) -> int:
        return len(self.cameras)

    def state(self, frames: Sequence[int]) -> HeadState:
        """Return the parameters of some frames."""
        return take(self.states, frames)

    def vertices(self, frames: Sequence[int]) -> np.ndarray:
        """Return the avatar's mesh in the pose of some frames: [T, V, 3] in its unit."""
        return self.head.vertices(self.state(frames))

    def read(self, frames: Sequence[int]) -> Iterator[Picture]:
        """Yield the pictures of some frames, whose numbers rise.

        Raises MarotteError where one is missing or damaged or has another size than its camera.
        """
        for frame, picture in zip(frames, self._pictures(frames), strict=True):
            height, width = picture.rgb.shape[:2]
            camera = self.cameras[frame]
            if (width, height) != (camera.width, camera.height):
                raise MarotteError(
                    f"the picture of {self.track.names[frame]} has {width}x{height} pixels, its camera is for "
                    f"{camera.width}x{camera.height}: convert the cameras to the pictures' size, or name the others"
                )
            yield picture

    def _pictures(self, frames: Sequence[int]) -> Iterator[Picture]:
        if self.pictures.video is None:
            yield from (read_masked(self.pictures.paths[frame]) for frame in frames)
            return
        wanted, found = set(frames), 0
        for frame, pixels in enumerate(self.pictures):
            if frame in wanted:
                found += 1
                yield Picture(pixels.astype(np.float32) / 255, None)
            if found == len(wanted):
                return
        raise MarotteError(f"{self.pictures.video} has {found} of the {len(wanted)} frames that are wanted")


def open_tracked(
    avatar: Avatar, path: str | Path, *, images: str | Path | None = None, format: str | None = None, **options: Any
) -> TrackedFrames:
    """Return the tracked frames in a file or folder of any camera format.

    images: folder or video with the pictures, None looks beside the cameras; options: of `read_cameras`. Raises
    MarotteError where cameras, FLAME parameters or pictures are missing.
    """
    head = AvatarHead(avatar)
    track = read_cameras(path, format, **options)
    if track.head is None:
        raise MarotteError(
            f"{path} ({track.format}) has cameras and no FLAME parameters: name the tracker's own files, such as "
            "flame_params.json or metrical-tracker's folder of .frame files"
        )
    return TrackedFrames(
        head=head,
        track=track,
        cameras=track.scaled(avatar.unit).cameras,
        states=head.state(track.head),
        pictures=pictures_of(track, None if images is None else Path(images)),
    )


def take(state: HeadState, frames: Sequence[int]) -> HeadState:
    """Return the parameters of some frames."""
    index = np.asarray(frames, np.int64)
    parts = ("expression", "root", "neck", "jaw", "eyes", "eyelids", "translation")
    return replace(state, **{name: getattr(state, name)[index] for name in parts})


def read_masked(path: Path) -> Picture:
    """Return a picture and its mask: its fourth channel, else the picture by its name in a folder `mask` beside.

    Raises MarotteError where one of them cannot be read, or the mask has another size.
    """
    from PIL import Image

    try:
        with Image.open(path) as picture:
            alpha = "A" in picture.getbands() or "transparency" in picture.info
            pixels = np.asarray(picture.convert("RGBA" if alpha else "RGB"), np.float32) / 255
        rgb, mask = pixels[..., :3], pixels[..., 3] if alpha else None
        if mask is None and (beside := _mask_beside(path)) is not None:
            path = beside
            with Image.open(beside) as picture:
                mask = np.asarray(picture.convert("L"), np.float32) / 255
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise MarotteError(f"{path} cannot be read as a picture: {error}") from None
    if mask is not None and mask.shape != rgb.shape[:2]:
        raise MarotteError(f"the mask {path} has {mask.shape[1]}x{mask.shape[0]} pixels, its picture has others")
    return Picture(rgb, mask)


def _mask_beside(path: Path) -> Path | None:
    places = (path.parent.parent / folder / f"{path.stem}.png" for folder in _MASKS)
    return next((place for place in places if place.is_file()), None)


def _model(avatar: Avatar) -> FlameModel:
    """Return the head model, with the landmarks of an embedding beside it, or in the store, where it has none."""
    model = avatar_head(avatar)
    if model.landmarks is not None:
        return model
    places = [avatar.head_path.parent / _EMBEDDING, avatar.path / _EMBEDDING]
    if len(model.v_template) == _FLAME_VERTICES:
        places.append(data_folder("assets") / _EMBEDDING)
    found = next((place for place in places if place.is_file()), None)
    return model if found is None else replace(model, landmarks=read_landmarks(found))
