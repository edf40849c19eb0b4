"""The heads at hand, and the transfer that they allow.

ARKit's is the demo head, which ships. FLAME's are the user's own: the avatar's head, the file or folder that the user
names, the one in $MAROTTE_FLAME, or those in the store of assets.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from marotte.errors import MarotteError
from marotte.models.flame import FlameModel
from marotte.models.flame_files import read_landmarks
from marotte.runtime.assets import catalogue, examine
from marotte.runtime.avatar import SHIPPED, Avatar
from marotte.runtime.splats import avatar_person
from marotte.runtime.transfer.landmarks import face_marks
from marotte.runtime.transfer.store import solved
from marotte.runtime.transfer.transfer import Blink, Transfer

# By what names each basis's head is published, the one with landmarks of its own first.
FLAME_FILES = {"flame2020": ("FLAME_with_eye.pt", "generic_model.pkl"), "flame2023": ("flame2023.pkl",)}
_LANDMARK_FILES = ("landmark_embedding.npy", "mediapipe_landmark_embedding.npz")
_COEFFICIENTS = 100


@dataclass(frozen=True)
class Found:
    """A transfer, or why there is none, in words that go behind a semicolon."""

    transfer: Transfer | None
    reason: str = ""


def find_transfer(basis: str, avatar: Avatar, flame: str | Path | None = None) -> Found:
    """Return the transfer from a motion's basis to an avatar's, solved or from the cache.

    flame: a FLAME file, or a folder of some, that the user names. Raises MarotteError where a file that is there cannot
    be used; what is not there is a reason.
    """
    if basis == avatar.basis:
        return Found(None, f"both are in {basis}")
    try:
        source, target = _source_head(basis, flame), _target_head(avatar, flame)
    except _NotAtHand as missing:
        return Found(None, str(missing))
    if not np.array_equal(source.model.faces, target.model.faces):
        for head in (source, target):
            try:
                face_marks(head.model)
            except MarotteError as error:
                return Found(None, f"{head.path}: {error}")
    return Found(solved(source.model, target.model))


def find_blink(avatar: Avatar, flame: str | Path | None = None) -> Blink | None:
    """Return how an avatar blinks by expression; None where its lids are its own, or nobody can know.

    flame: as for `find_transfer`, for avatars without a head file. Raises MarotteError as that does.
    """
    if avatar.basis == "arkit52":
        return None
    transfer = find_transfer("arkit52", avatar, flame).transfer
    return None if transfer is None or transfer.own_lids else transfer.blink()


class _NotAtHand(Exception):
    """What a transfer would need is nowhere; in words."""


@dataclass(frozen=True, eq=False)
class _Head:
    model: FlameModel
    path: Path


def _demo_head() -> _Head:
    path = SHIPPED / "demo" / "head.npz"
    return _Head(FlameModel.load(path), path)


def _source_head(basis: str, flame: str | Path | None) -> _Head:
    return _demo_head() if basis == "arkit52" else _flame_head(basis, _COEFFICIENTS, flame)


def _target_head(avatar: Avatar, flame: str | Path | None) -> _Head:
    if not avatar.head:
        return _demo_head() if avatar.basis == "arkit52" else _flame_head(avatar.basis, avatar.expressions, flame)
    head = _Head(_with_landmarks(avatar_person(avatar), avatar.head_path), avatar.head_path)
    if _has_landmarks(head.model) or avatar.basis == "arkit52":
        return head
    # FLAME's landmarks lie on triangles, and all FLAME heads have the same: another file's will do.
    for path in _flame_files(avatar.basis, flame):
        other = _load(path, avatar.basis, 0)
        if _has_landmarks(other) and np.array_equal(other.faces, head.model.faces):
            return replace(head, model=replace(head.model, landmarks=other.landmarks))
    return head


def _flame_head(basis: str, width: int, flame: str | Path | None) -> _Head:
    path = next(_flame_files(basis, flame), None)
    if path is None:
        raise _NotAtHand(
            f"no head in {basis} is at hand: neither --flame nor $MAROTTE_FLAME names one, nor has the store of assets "
            f"{' or '.join(FLAME_FILES[basis])}"
        )
    return _Head(_load(path, basis, width), path)


def _flame_files(basis: str, flame: str | Path | None) -> Iterator[Path]:
    """Yield the files at hand for a basis: named ones, then the store's."""
    for named, where in ((flame, "--flame"), (os.environ.get("MAROTTE_FLAME"), "$MAROTTE_FLAME")):
        if not named:
            continue
        path = Path(named).expanduser()
        if path.is_dir():
            yield from (path / name for name in FLAME_FILES[basis] if (path / name).is_file())
        elif not path.is_file():
            raise MarotteError(f"{where} {path} is not there: name a FLAME file, or a folder of some")
        elif path.suffix == ".npz" or _basis_by_name(path) == basis:
            yield path
    for name in FLAME_FILES[basis]:
        found = examine(catalogue()[name], hashed=True)
        if found.state == "wrong":
            raise MarotteError(f"{found.path} {found.why}: {found.asset.way}")
        if found.state != "missing":
            yield found.path


def _basis_by_name(path: Path) -> str:
    return "flame2023" if "2023" in path.name else "flame2020"


def _load(path: Path, basis: str, width: int) -> FlameModel:
    model = FlameModel.load(path, n_shape=0, n_expression=width, basis=None if path.suffix == ".npz" else basis)
    if model.basis != basis:
        raise MarotteError(f"{path} is a head in {model.basis}, {basis} is needed: name another with --flame")
    return _with_landmarks(model, path)


def _with_landmarks(model: FlameModel, path: Path) -> FlameModel:
    """Return the head with the landmarks in the files that are published with it, where they lie beside it."""
    if _has_landmarks(model):
        return model
    for name in _LANDMARK_FILES:
        if (path.parent / name).is_file():
            return replace(model, landmarks=read_landmarks(path.parent / name))
    return model


def _has_landmarks(model: FlameModel) -> bool:
    try:
        face_marks(model)
    except MarotteError:
        return False
    return True
