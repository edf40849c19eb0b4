"""Assets from this machine into the store: recognised by what they are, not by what they are called."""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from marotte.errors import MarotteError, unknown_name
from marotte.models.plain_files import written_whole
from marotte.runtime.assets import Asset, Progress, blocks, catalogue, fault, remember, sha256, store

# FLAME's own files are read to see what they are; the largest published one has 280 MB.
_LARGEST_READ = 1 << 29
_MODELS = {"generic_model.pkl": "flame2020", "flame2023.pkl": "flame2023"}


@dataclass(frozen=True)
class Added:
    """What `add` did. added: assets with the files they came from; refused: why others were not; others: how many
    files of the folders are none that Marotte knows.
    """

    added: list[tuple[Asset, Path]] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    others: int = 0


def add(
    paths: Sequence[str | Path], *, name: str | None = None, link: bool = False, progress: Progress | None = None
) -> Added:
    """Copy files into the store, or every known one in a folder and the folders in it.

    A file is an asset if it has its size and sha256, whatever its name; FLAME's files, whose hashes are not known, are
    read and must be what they are called. name: the asset that a single file is to be, where its content does not
    say it (a FLAME model: `generic_model.pkl` or `flame2023.pkl`). link: link to the files instead of copying them.
    Raises MarotteError where a path is not there or the store cannot be written; what is wrong with a file is in
    `refused`.
    """
    known = catalogue()
    if name is not None and name not in known:
        raise unknown_name("asset", name, known)
    if name is not None and (len(paths) != 1 or not Path(paths[0]).is_file()):
        raise MarotteError(f"one file at a time can be {name}: add the others without a name")
    added, refused, others = [], [], 0
    for path, in_folder in _files(paths):
        try:
            asset, digest = _recognised(path, known, name, in_folder, progress)
        except MarotteError as error:
            refused.append(str(error))
            continue
        if asset is None:
            others += 1
            continue
        _store(asset, path, digest, link, progress)
        added.append((asset, path))
    return Added(added, refused, others)


def _files(paths: Sequence[str | Path]) -> list[tuple[Path, bool]]:
    """Return the files, each once and with whether it was found in a folder."""
    found: dict[Path, tuple[Path, bool]] = {}
    for path in map(Path, paths):
        if path.is_dir():
            for folder, _, names in os.walk(path):
                for file in (Path(folder) / name for name in sorted(names)):
                    if file.is_file():
                        found.setdefault(file.resolve(), (file, True))
        elif path.is_file():
            found[path.resolve()] = path, False
        else:
            raise MarotteError(f"there is no file or folder {path} to add")
    return list(found.values())


def _recognised(
    path: Path, known: dict[str, Asset], name: str | None, in_folder: bool, progress: Progress | None
) -> tuple[Asset | None, str]:
    """Return the asset that a file is, and its hash; None for a folder's file that has nothing to do with any.

    Raises MarotteError where it is not what it should be.
    """
    size = path.stat().st_size
    if name is not None:
        named = [known[name]]
    elif in_folder and path.suffix == ".json":
        named = []  # every other folder has a config.json
    else:
        named = [asset for asset in known.values() if Path(asset.name).name.lower() == path.name.lower()]
    sized = [asset for asset in known.values() if asset.bytes == size and name in (None, asset.name)]
    digest = ""
    if sized:
        digest = sha256(path, progress)
        for asset in sized:
            if asset.sha256 == digest:
                return asset, digest
    suspect = next((asset for asset in (*sized, *named) if asset.sha256), None)
    if suspect:
        raise MarotteError(f"{path} {fault(suspect, size, digest or None)}; refused. Get it from {suspect.url}")
    if in_folder and not named:
        return None, ""
    asset = _by_content(path, size, known, name)
    return asset, digest or sha256(path, progress)


def _by_content(path: Path, size: int, known: dict[str, Asset], name: str | None) -> Asset:
    """Return which of FLAME's files this is."""
    unknown = f"{path} ({size} bytes) is none of the files in `marotte assets list`"
    if size > _LARGEST_READ:
        raise MarotteError(f"{unknown}, by its size; is it another version?")
    kind = _kind(path, unknown)
    if kind == "model":
        wanted = name or path.name.lower()
        if wanted not in _MODELS:
            raise MarotteError(
                f"{path} is a FLAME model, which does not say of which year: "
                + " or ".join(f"`marotte assets add --as {model} {path}`" for model in _MODELS)
            )
        from marotte.models.flame import FlameModel

        FlameModel.load(path, basis=_MODELS[wanted])
        kind = wanted
    if name not in (None, kind):
        raise MarotteError(f"{path} is {kind}, not {name}: add it without a name")
    if kind not in known:
        raise MarotteError(unknown)
    return known[kind]


def _kind(path: Path, unknown: str) -> str:
    """Return the asset's name by a file's content, or "model". Raises MarotteError, also where it cannot be read."""
    from marotte.models.flame_files import read_landmarks, read_masks
    from marotte.models.safe_files import read_any

    try:
        content: Any = read_any(path)
    except MarotteError as error:
        raise MarotteError(f"{unknown}, and it cannot be read as one of FLAME's: {error}") from None
    keys = set(content) if isinstance(content, dict) else set()
    if {"v_template", "shapedirs"} <= keys:
        return "model"
    if "flame_model" in keys:
        raise MarotteError(f"{path} is like FLAME_with_eye.pt, but is not the published one; refused")
    if "static_lmk_faces_idx" in keys or "lmk_face_idx" in keys:
        read_landmarks(path)
        return "landmark_embedding.npy" if "static_lmk_faces_idx" in keys else "mediapipe_landmark_embedding.npz"
    if {"face", "lips"} <= keys:
        read_masks(path)
        return "FLAME_masks.pkl"
    raise MarotteError(unknown)


def _store(asset: Asset, path: Path, digest: str, link: bool, progress: Progress | None) -> None:
    """Put a file into the store under its name once it is whole. Raises MarotteError where that cannot be done."""
    target = store() / asset.name
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.is_dir():
            raise MarotteError(f"{target} is a folder, where {asset.name} should be: move it away")
        if target.exists() and (path.samefile(target) or sha256(target) == digest):
            remember(target, digest)
            return
        with written_whole(target) as part:
            if link:
                os.symlink(path.resolve(), part)
            elif _copied(path, part, progress) != digest:
                raise MarotteError(f"{path} changed while it was copied: nothing of it was kept; add it again")
    except OSError as error:
        raise MarotteError(f"cannot write {target}: {error.strerror or error}") from error
    remember(target, digest)


def _copied(path: Path, part: Path, progress: Progress | None) -> str:
    """Copy a file; return the hash of what was written."""
    written = hashlib.sha256()
    with part.open("wb") as file:
        for block in blocks(path, progress):
            file.write(block)
            written.update(block)
    return written.hexdigest()
