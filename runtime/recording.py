"""A person's tracked recording, which a GaussianTalker needs beside its network: where the camera stood in each frame,
how shut the eyes were, and what is behind the head, the torso before all.

Source: reference/gaussiantalker/SPEC.md, section 6.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from marotte.errors import MarotteError
from marotte.runtime.camera import FACING, Camera, pinhole
from marotte.runtime.cameras.formats.gaussian_talker import UNIT, gaussian_talker_to_opencv, matrix_to_euler
from marotte.runtime.recording_files import (
    PLAIN,
    TORSOS,
    Frames,
    check_torsos,
    read_blinks,
    read_picture,
    read_splits,
    read_track,
    torso_name,
)

FPS = 25


@dataclass(frozen=True, eq=False)
class Recording:
    """F frames of one person at 25 fps, in the order of their filming.

    path: the folder. ids: `img_id` of each frame; sounds: its `aud_id`, the row of the recording's own audio features.
    euler: [F, 3] float32 radians, the third turning the other way; translation: [F, 3] float32 in decimetres; both
    world to camera in OpenGL axes. cameras: the same, for width x height pixels. blinks: [F] float64, 0 open to 1 shut.
    has_torsos: whether the frames have pictures of the torso; else it is made of Gaussians too. notes: what to know.
    """

    path: Path
    ids: tuple[int, ...]
    sounds: tuple[int, ...]
    euler: np.ndarray
    translation: np.ndarray
    cameras: tuple[Camera, ...]
    blinks: np.ndarray
    width: int
    height: int
    has_torsos: bool = True
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.ids)

    def torso(self, i: int) -> np.ndarray:
        """Return what is before the plain background in frame i, [H, W, 4] uint8 with straight alpha.

        It is clear all over where the recording has no torsos. Raises MarotteError where the file has gone or changed.
        """
        if not self.has_torsos:
            return np.zeros((self.height, self.width, 4), np.uint8)
        return read_picture(self.path / TORSOS / torso_name(self.ids[i]), "RGBA", (self.width, self.height))

    def plain(self) -> np.ndarray:
        """Return the plain background, [H, W, 3] uint8. Raises MarotteError where the file has gone or changed."""
        return read_picture(self.path / PLAIN, "RGB", (self.width, self.height))

    def behind(self, i: int) -> np.ndarray:
        """Return the torso of frame i over the plain background, [H, W, 3] float32, 0..1, as published."""
        torso = self.torso(i).astype(np.float32) / np.float32(255)
        plain = self.plain().astype(np.float32) / np.float32(255)
        alpha = torso[..., 3:]
        return torso[..., :3] * alpha + plain * (1 - alpha)


def read_recording(folder: str | Path, frames: Frames = "all") -> Recording:
    """Return the recording in a published data folder, or in the folder that an import made of it.

    frames: those of which split; `all` are those of the splits that are there. Published renderings of other sound
    show `val`. Everything but the pictures' pixels is read and checked here: raises MarotteError, with one line that
    names the file and what is wrong, where something is missing or does not fit the rest.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise MarotteError(f"{folder} is not there: name the folder of a tracked recording (track_params.pt in it)")
    splits = read_splits(folder, frames)
    ids = tuple(i for split in splits for i in split.ids)
    euler, trans = read_track(folder, max(ids))
    blinks = read_blinks(folder, max(ids))
    size = (splits[0].width, splits[0].height)
    read_picture(folder / PLAIN, "RGB", size)
    notes = []
    has_torsos = (folder / TORSOS).exists()
    if has_torsos:
        check_torsos(folder, ids, size)
    else:
        notes.append(
            f"{folder} has no {TORSOS}: only {PLAIN} is behind the head, as in GaussianTalker's branch torso, whose "
            "Gaussians are the torso too"
        )
    if (folder / "fused.ply").exists():
        notes.append(f"{folder / 'fused.ply'} is not read; with it the published code would refuse the folder")
    lenses = [(split.path, split.focal) for split in splits for _ in split.ids]
    cameras = []
    for i, (path, focal) in zip(ids, lenses, strict=True):
        try:
            cameras.append(camera_of(euler[i], trans[i], focal, *size))
        except MarotteError as error:
            raise MarotteError(f"{path}: frame {i}: {error}") from None
    rows = list(ids)
    return Recording(
        path=folder,
        ids=ids,
        sounds=tuple(i for split in splits for i in split.sounds),
        euler=_still(euler[rows]),
        translation=_still(trans[rows]),
        cameras=tuple(cameras),
        blinks=_still(blinks[rows]),
        width=size[0],
        height=size[1],
        has_torsos=has_torsos,
        notes=tuple(notes),
    )


def camera_of(euler: np.ndarray, translation: np.ndarray, focal: float, width: int, height: int) -> Camera:
    """Return the camera of a tracked pose: OpenCV axes, decimetres, looking through the middle of its picture.

    euler: [3] radians, the third turning the other way; translation: [3]; float32 is multiplied as float32, as the
    published code does. focal: in pixels of a picture of width x height.
    """
    R, t = gaussian_talker_to_opencv(euler, translation)
    K = pinhole(focal, focal, width / 2, height / 2)
    return Camera(R=R, t=t, K=K, width=width, height=height, space="video", unit=UNIT)


def euler_of(rotation: np.ndarray) -> np.ndarray:
    """Return the euler angles [3] that `camera_of` makes this rotation [3, 3] of, world to camera in OpenCV axes."""
    return matrix_to_euler(FACING @ rotation)


def _still(array: np.ndarray) -> np.ndarray:
    array.flags.writeable = False
    return array
