"""An avatar is a folder: `avatar.toml` beside its files says all that a renderer would have to guess."""

import hashlib
import math
import os
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

from marotte.errors import MarotteError, unknown_name
from marotte.runtime.camera import Camera, facing_camera
from marotte.runtime.clock import as_fps
from marotte.runtime.motion import BASES
from marotte.runtime.places import data_folder

SHIPPED = Path(__file__).parent / "data" / "avatars"
# Of avatars that read no expressions: a network of their own hears what the lips do.
NO_BASIS = "none"
HEAD_ROTATIONS = ("root", "neck", "camera")

# What avatar.toml may give for each entry; the rest are texts.
_ENTRIES: dict[str, type | tuple[type, ...]] = {
    "expressions": int,
    "unit": (int, float),
    "pivot": tuple,
    "framings": dict,
    "size": tuple,
    "fps": Fraction,
    "files": dict,
    "variants": dict,
    "expression_level": (int, float),
    "landmarks": tuple,
    "eyelids": tuple,
}

# Larger files are hashed by `marotte avatars check`, not at every start.
_HASHED_AT_LOAD = 32 << 20


@dataclass(frozen=True)
class Framing:
    """A camera in front of the head: `target` [3] and `distance` in world units, `height` that the picture spans."""

    target: tuple[float, float, float]
    distance: float
    height: float

    def camera(self, width: int, height: int) -> Camera:
        """Return the camera of a picture of width x height pixels."""
        return facing_camera(self.target, self.distance, self.height, (width, height))


@dataclass(frozen=True)
class Avatar:
    """What `avatar.toml` says.

    path: its folder. renderer: the name of the back end that draws it. head: file of the head model, relative;
    landmarks, masks, eyelids (left, right): files of what a head model of FLAME's own form has not in itself; shape:
    npy or npz with the identity that is baked into it; splats: folder of Gaussians (`point_cloud/iteration_<n>`) on
    its mesh, or one npz of our own; variants: others in its place, by name. network: the checkpoint that draws it, a
    file or folder, or the name of one of `marotte assets`; source: what that network was shown of the person;
    recording: the person's tracked recording; features: the space of audio features that it was trained on. basis,
    expressions: the space and number of its expression coefficients, basis `none` where it reads none.
    expression_level: mean |coefficient| in its training, 0 where that is not known. unit: world units per FLAME unit.
    head_rotation: where the motion's head rotation goes: `root`, `neck` or `camera`; pivot: [3] what the camera turns
    about then. framings: cameras by name. files: sha256 by relative name.
    """

    name: str
    path: Path
    renderer: str
    basis: str
    head: str = ""
    landmarks: tuple[str, ...] = ()
    masks: str = ""
    eyelids: tuple[str, ...] = ()
    shape: str = ""
    splats: str = ""
    variants: Mapping[str, str] = field(default_factory=dict)
    network: str = ""
    source: str = ""
    recording: str = ""
    features: str = ""
    title: str = ""
    expressions: int = 100
    expression_level: float = 0.0
    unit: float = 1.0
    head_rotation: str = "neck"
    pivot: tuple[float, float, float] = (0.0, 0.0, 0.0)
    framings: Mapping[str, Framing] = field(default_factory=dict)
    size: tuple[int, int] = (512, 512)
    fps: Fraction | None = None
    background: str = "#dee3eb"
    licence: str = ""
    subject: str = ""
    consent: str = ""
    origin: str = ""
    files: Mapping[str, str] = field(default_factory=dict)

    @property
    def head_path(self) -> Path:
        """The head model's file."""
        return self.path / self.head

    @property
    def sha256(self) -> str:
        """One hash of the whole avatar: of its files' names and hashes."""
        lines = "".join(f"{digest}  {name}\n" for name, digest in sorted(self.files.items()))
        return hashlib.sha256(lines.encode()).hexdigest()

    def framing(self, name: str) -> Framing:
        """Return the framing called `name`."""
        if name not in self.framings:
            raise unknown_name(f"framing of avatar {self.name}", name, self.framings)
        return self.framings[name]


def avatar_folders() -> dict[str, Path]:
    """Return the folders of all avatars by name: the shipped ones, then those in the store.

    The store is $MAROTTE_AVATARS, or else `avatars` in the user's data folder.
    """
    return {
        toml.parent.name: toml.parent
        for root in (SHIPPED, data_folder("avatars"))
        if root.is_dir()
        for toml in sorted(root.glob("[!.]*/avatar.toml"))  # what is being imported has a name with a dot
    }


def load_avatar(name: str | Path) -> Avatar:
    """Return the avatar of a name or of a folder."""
    folders = avatar_folders()
    folder = Path(name)
    if str(name) in folders:
        folder = folders[str(name)]
    elif not os.path.isdir(folder):  # unlike Path's own, it takes names that are too long for the system
        raise unknown_name("avatar", str(name), folders)
    path = folder / "avatar.toml"
    if not path.is_file():
        raise MarotteError(f"folder {folder} has no avatar.toml, so it is not an avatar")
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise MarotteError(f"{path} cannot be read: {error.strerror or error}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise MarotteError(f"{path} is not valid TOML: {error}") from error
    avatar = _from_table(folder, table)
    _check_files(avatar)
    return avatar


def _from_table(folder: Path, table: dict[str, Any]) -> Avatar:
    known = {name for name in Avatar.__dataclass_fields__ if name not in ("path", "framings")}
    values = {key: value for key, value in table.items() if key in known}
    try:
        if "framing" in table:
            values["framings"] = {name: _framing(**framing) for name, framing in table["framing"].items()}
        if "fps" in values:
            values["fps"] = as_fps(values["fps"])
        if "size" in values:
            values["size"] = (int(values["size"][0]), int(values["size"][1]))
        if "pivot" in values:
            x, y, z = values["pivot"]
            values["pivot"] = (float(x), float(y), float(z))
        for key in ("landmarks", "eyelids"):
            if key in values:
                values[key] = _names(values[key])
        for key, value in values.items():
            if not isinstance(value, _ENTRIES.get(key, str)):
                raise TypeError(f"{key} = {value!r}")
        avatar = Avatar(path=folder, **values)
        _check_ranges(avatar)
    except (TypeError, ValueError, IndexError, KeyError, AttributeError, MarotteError) as error:
        raise MarotteError(f"{folder / 'avatar.toml'} is incomplete or has a wrong entry: {error}") from error
    if len(avatar.eyelids) not in (0, 2):
        raise MarotteError(f"{folder / 'avatar.toml'} names {len(avatar.eyelids)} eyelids: name the left and the right")
    if avatar.head_rotation not in HEAD_ROTATIONS:
        raise unknown_name(f"head_rotation of avatar {avatar.name}", avatar.head_rotation, HEAD_ROTATIONS)
    if avatar.basis not in (*BASES, NO_BASIS):
        raise unknown_name(f"basis of avatar {avatar.name}", avatar.basis, (*BASES, NO_BASIS))
    return avatar


def _check_ranges(avatar: Avatar) -> None:
    """Raise ValueError where a number is none that an avatar can have."""
    for name, value, sound in (
        ("expressions", avatar.expressions, avatar.expressions >= 0),
        ("expression_level", avatar.expression_level, 0 <= avatar.expression_level < math.inf),
        ("unit", avatar.unit, 0 < avatar.unit < math.inf),
        ("size", list(avatar.size), min(avatar.size) > 0),
        ("pivot", list(avatar.pivot), all(map(math.isfinite, avatar.pivot))),
    ):
        if not sound:
            raise ValueError(f"{name} = {value}")
    for name, each in avatar.framings.items():
        if not (0 < each.distance < math.inf and 0 < each.height < math.inf and all(map(math.isfinite, each.target))):
            raise ValueError(f"framing {name}: distance and height are above 0, and all its numbers finite")


def _names(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise TypeError(f"{value!r} is no list of file names")
    return tuple(value)


def _framing(target: Sequence[float], distance: float, height: float) -> Framing:
    x, y, z = map(float, target)
    return Framing((x, y, z), float(distance), float(height))


def _check_files(avatar: Avatar) -> None:
    for name in avatar.files:
        path = avatar.path / name
        if not path.is_file():
            raise MarotteError(f"avatar {avatar.name} lacks its file {path}: import or install it again")
        if path.stat().st_size <= _HASHED_AT_LOAD:
            check_hash(avatar, name)


def check_hash(avatar: Avatar, name: str) -> None:
    """Raise MarotteError where one of the avatar's files is not what its avatar.toml describes."""
    path = avatar.path / name
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise MarotteError(f"avatar {avatar.name}: {path} cannot be read: {error.strerror or error}") from None
    if digest != avatar.files[name]:
        raise MarotteError(
            f"avatar {avatar.name}: {path} is not the file that avatar.toml describes (its sha256 differs); "
            "import or install it again"
        )
