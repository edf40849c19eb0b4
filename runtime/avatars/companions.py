"""What a trained avatar needs beside its own files: FLAME, the data set that it was trained on, the identity."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from marotte.errors import MarotteError
from marotte.models.flame_files import read_eyelid, read_landmarks, read_masks
from marotte.models.safe_files import read_any
from marotte.models.splatting_config import read_data_folder
from marotte.runtime.assets import FLAME_SITE, asset_path
from marotte.runtime.avatars.recognise import Trained
from marotte.runtime.cameras import read_cameras
from marotte.runtime.cameras.face_codes import read_codes
from marotte.runtime.cameras.formats.record import picture_size
from marotte.runtime.imavatar import ImavatarTrack, read_imavatar

# What FLAME's models are called, those of 2020 first: every published tracker is of that year.
FLAME_NAMES = (
    "generic_model.pkl",
    "FLAME2020.pkl",
    "flame2020.pkl",
    "FLAME_with_eye.pt",
    "flame2023.pkl",
    "flame2023_no_jaw.pkl",
)
FLAME_VARIABLE = "MAROTTE_FLAME"
_ASSETS = ("generic_model.pkl", "FLAME_with_eye.pt")
_MARKS = ("landmark_embedding.npy", "mediapipe_landmark_embedding.npz")
_MASKS = "FLAME_masks.pkl"
_LIDS = ("l_eyelid.npy", "r_eyelid.npy")
_DATA = "flame_params.json"
# How many folders above the model are looked at.
_ABOVE = 3
_SHAPES = ("shape", "shape_params", "shapecode", "betas", "identity")
# The size that is taken for pictures that are not there; everything in the file is in parts of it.
_ANY_SIZE = (512, 512)


@dataclass(frozen=True, eq=False)
class Training:
    """The data set of a training. path: its flame_params.json; track: all frames; train: those that it learnt from.

    size: (width, height) of the pictures, None where they are not there.
    """

    path: Path
    track: ImavatarTrack
    train: ImavatarTrack
    size: tuple[int, int] | None


@dataclass(frozen=True)
class Extras:
    """Files beside FLAME's model: landmarks, masks and eyelids (left, right), and what was not usable, in words."""

    landmarks: tuple[Path, ...] = ()
    masks: Path | None = None
    eyelids: tuple[Path, Path] | None = None
    notes: list[str] = field(default_factory=list)


def find_flame(trained: Trained) -> list[Path]:
    """Return the FLAME models near a trained avatar, in $MAROTTE_FLAME and among the assets, the likeliest first."""
    return flame_near(trained.model)


def flame_near(place: Path) -> list[Path]:
    """Return the FLAME models near a folder, in $MAROTTE_FLAME and among the assets, the nearest first."""
    places: list[Path] = []
    for folder in _above(place):
        below = sorted(place for place in _folders(folder) if "flame" in place.name.lower())
        places += [folder, *below]
    found = [file for place in places for file in flame_in(place)]
    if named := os.environ.get(FLAME_VARIABLE):
        path = Path(named).expanduser()
        found += [path] if path.is_file() else flame_in(path)
    for name in _ASSETS:
        try:
            found.append(asset_path(name))
        except MarotteError:
            continue
    return list(dict.fromkeys(found))


def flame_in(folder: Path) -> list[Path]:
    """Return the FLAME models in a folder."""
    return [folder / name for name in FLAME_NAMES if (folder / name).is_file()]


class FlameMissing(MarotteError):
    """There is no FLAME model at hand."""


def no_flame(place: Path, names: str = "generic_model.pkl") -> FlameMissing:
    """Return what to say where there is no FLAME model near a place. names: the files that would do."""
    return FlameMissing(
        f"{place} moves with FLAME 2020's {names}, which is neither beside it nor in "
        f"${FLAME_VARIABLE} nor among `marotte assets`, and which nobody may pass on: register at {FLAME_SITE}, accept "
        "its licence, download it and give --flame FILE"
    )


def find_extras(flame: Path, landmarks: Sequence[Path], masks: Path | None, eyelids: Sequence[Path]) -> Extras:
    """Return the files that complete a FLAME model: those given, else those that lie beside it and can be read."""
    notes: list[str] = []

    def beside(*names: str, read: Any) -> list[Path]:
        found = []
        for name in names:
            file = flame.parent / name
            try:
                if file.is_file() and read(file) is not None:
                    found.append(file)
            except MarotteError as error:
                notes.append(f"left out: {error}")
        return found

    marks = tuple(landmarks) or tuple(beside(*_MARKS, read=read_landmarks))
    regions = masks or next(iter(beside(_MASKS, read=read_masks)), None)
    lids = tuple(eyelids) or tuple(beside(*_LIDS, read=read_eyelid))
    return Extras(marks, regions, (lids[0], lids[1]) if len(lids) == 2 else None, notes)


def find_data(trained: Trained) -> list[Path]:
    """Return the data sets near a trained avatar, the one that its configuration names first."""
    places: list[Path] = []
    for config in trained.configs:
        if (folder := read_data_folder(config)) is not None and folder.is_dir():
            places.append(folder)
    for folder in _above(trained.model):
        places += [folder, folder / "data", *_folders(folder)]
    return list(dict.fromkeys(place / _DATA for place in places if (place / _DATA).is_file()))


def read_training(path: Path, num_for_train: int) -> Training:
    """Return a data set by its folder or its flame_params.json. Raises MarotteError where it is damaged."""
    file = path / _DATA if path.is_dir() else path
    if not file.is_file():
        raise MarotteError(f"{path} has no {_DATA}: name the IMavatar-style data set that the avatar was trained on")
    track = read_imavatar(file, _ANY_SIZE)
    size = next(filter(None, map(picture_size, track.images)), None)
    if size is not None:
        track = read_imavatar(file, size)
    train, _ = track.split(num_for_train)
    return Training(file, track, train if len(train) else track, size)


def read_identity(path: Path) -> np.ndarray:
    """Return the identity [S] float32 in a file or folder.

    An array, a dictionary with one, a data set's flame_params.json, the folder of a tracker, or the codes of DECA,
    EMOCA and MICA; over several frames it is the mean. Raises MarotteError where there is none.
    """
    if path.is_dir() or path.suffix in (".json", ".frame"):
        return _tracked(path)
    if path.suffix != ".mat":
        content = read_any(path)
        shape = _shape_in(content)
        if shape is not None:
            return shape
        if isinstance(content, Mapping) and isinstance(content.get("flame"), Mapping):
            shape = _shape_in(content["flame"])
            if shape is not None:
                return shape
    return read_codes(path).shape


def _tracked(path: Path) -> np.ndarray:
    if path.is_dir() and (path / _DATA).is_file():
        return read_imavatar(path, _ANY_SIZE).shape
    if path.suffix == ".json":
        return read_imavatar(path, _ANY_SIZE).shape
    try:
        head = read_cameras(path).head
    except MarotteError:
        head = None
    head = head or read_codes(path)
    if not len(head.shape):
        raise MarotteError(f"{path} holds no identity: name a file or folder with FLAME's shape coefficients")
    return head.shape


def _shape_in(content: Any) -> np.ndarray | None:
    """Return the identity in a file's content, None where it is in none of the simple forms."""
    if isinstance(content, Mapping):
        content = next((content[name] for name in _SHAPES if name in content), None)
    if not isinstance(content, np.ndarray) or content.dtype.kind not in "fiu" or not content.size:
        return None
    rows = content.reshape(-1, content.shape[-1]) if content.ndim > 1 else content[None]
    if rows.shape[1] > 300 or not np.isfinite(rows).all():
        return None
    return rows.mean(axis=0).astype(np.float32)


def _above(folder: Path) -> Iterator[Path]:
    """Yield a folder and those above it."""
    for _ in range(_ABOVE + 1):
        yield folder
        if folder.parent == folder:
            return
        folder = folder.parent


def _folders(folder: Path) -> list[Path]:
    try:
        return sorted(place for place in folder.iterdir() if place.is_dir() and not place.name.startswith("."))
    except OSError:
        return []
