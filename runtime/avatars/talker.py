"""GaussianTalker avatars: import a trained one with its recording, find the files again, give them back.

Nothing in the folders is run, and nothing of them is changed. Source: reference/gaussiantalker/SPEC.md, sections 2, 6
and 9.
"""

import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import cast

import numpy as np

from marotte.errors import MarotteError
from marotte.models.gaussian_talker import ModelFolder, TalkerConfig, find_model, read_cfg_args
from marotte.models.gaussian_talker.folder import CFG_ARGS, CLOUDS, DEFORMATION, PLY
from marotte.models.plain_files import write_whole
from marotte.runtime.avatar import NO_BASIS, Avatar, load_avatar
from marotte.runtime.avatars.given import Given, Imported, Look
from marotte.runtime.avatars.store import check_name, default_name, staged, store_folder
from marotte.runtime.avatars.talker_network import check_gaussians, check_network
from marotte.runtime.avatars.toml import FILE, avatar_text, file_hashes
from marotte.runtime.cameras.formats.gaussian_talker import PARAMS, UNIT
from marotte.runtime.recording import FPS, Recording, read_recording
from marotte.runtime.recording_copy import HASHES, check_torso_hashes, copy_recording
from marotte.runtime.recording_files import TORSOS, Frames

RENDERER = "gaussian-talker"
DEEPSPEECH = "deepspeech"
NETWORK, RECORDING = "model", "recording"
# What published renderings of other sound show.
_FRAMES: Frames = "val"
_ITERATION = re.compile(r"iteration_\d+")
_DATA = f"{PARAMS}, transforms_val.json, au.csv, bc.jpg and {TORSOS}"
# What an export calls a recording, beside `model`.
_EXPORTED = "data"
# How many folders above a model its data are looked for in.
_ABOVE = 3


@dataclass(frozen=True)
class TalkerFiles:
    """Where a talker's published folders are. model: MODEL; data: DATA; frames: which of the recording's."""

    model: Path
    data: Path
    frames: Frames = "all"


@dataclass(eq=False)
class _Parts:
    """What an import has found."""

    model: ModelFolder
    deformation: Path
    config: TalkerConfig
    box: np.ndarray
    gaussians: int
    recording: Recording
    frames: Frames
    notes: list[str] = field(default_factory=list)
    copied: int = 0


def talker_files(avatar: Avatar) -> TalkerFiles:
    """Return the published folders of an avatar; those of one that comes as a single file are made on demand.

    Raises MarotteError where the avatar names none, or one is not there.
    """
    if not avatar.network:
        raise MarotteError(f"avatar {avatar.name} names no network: it is drawn by {avatar.renderer}")
    if avatar.network.endswith(".safetensors"):
        from marotte.runtime.avatars import talker_expand

        folder = talker_expand.expand(avatar)
        return TalkerFiles(folder / talker_expand.MODEL, folder / talker_expand.DATA)
    if not avatar.recording:
        raise MarotteError(f"avatar {avatar.name} names no recording: import it again with its data folder (--data)")
    files = TalkerFiles(avatar.path / avatar.network, avatar.path / avatar.recording)
    for folder in (files.model, files.data):
        if not folder.is_dir():
            raise MarotteError(f"avatar {avatar.name} lacks its folder {folder}: import or install it again")
    return files


def import_talker(
    path: str | Path, given: Given | None = None, *, store: str | Path | None = None, look: Look | None = None
) -> Imported:
    """Import a trained head with its recording under a name into the store and return it.

    path: MODEL, its `point_cloud`, an `iteration_<n>` or a file of one. The recording is `given.data`, or what MODEL's
    cfg_args names, there or near. look: is shown the whole avatar before it gets its name; what it raises undoes the
    import. Raises MarotteError with one line that says what is wrong and what would mend it; the store is as before.
    """
    given = given or Given()
    if (Path(path) / FILE).is_file():
        raise MarotteError(f"{path} is an avatar already: use it by this path, or copy it into the store")
    model = _model(path, given)
    name = default_name(model.folder) if given.name is None else given.name
    folder = check_name(name, store_folder(store), given.replace)
    parts = _gather(model, given)
    with staged(folder) as stage:
        avatar = _write(stage, parts, given, folder.name)
        if look is not None:
            look(avatar)
    done = load_avatar(folder)
    return Imported(done, tuple(_facts(done, parts)), tuple(parts.notes))


def export_talker(avatar: Avatar, out: str | Path) -> Path:
    """Write an avatar as the published MODEL and DATA, `out/model` and `out/data`, and return `out`.

    What was imported leaves as it came, but for what drawing does not need (photos, masks, the mesh of each frame).
    Raises MarotteError where the avatar is none of this kind, or where something stands at `out` already.
    """
    out = Path(out)
    if avatar.renderer != RENDERER:
        raise MarotteError(f"avatar {avatar.name} is drawn by {avatar.renderer}: it is no GaussianTalker to export")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise MarotteError(f"{out} is there already: name a new folder")
    if not out.parent.is_dir():
        raise MarotteError(f"cannot write {out}: there is no folder {out.parent}")
    files = talker_files(avatar)
    with staged(out) as stage:
        shutil.copytree(files.model, stage / "model")
        shutil.copytree(files.data, stage / "data", ignore=shutil.ignore_patterns(HASHES))
    return out


def check_talker(avatar: Avatar) -> list[str]:
    """Return what was found right of an avatar's network, Gaussians and recording, one line for each.

    Raises MarotteError where something is damaged or does not fit.
    """
    files = talker_files(avatar)
    model = find_model(files.model)
    config, _ = check_network(model.deformation, model.cfg_args)
    count = check_gaussians(model.ply)
    recording = read_recording(files.data, files.frames)
    torsos = check_torso_hashes(files.data)
    return [
        f"{count} Gaussians, {_sizes(config)}",
        f"{len(recording)} frames of {recording.width}x{recording.height}",
        *([f"{torsos} torsos as described"] if torsos else []),
    ]


def _model(path: str | Path, given: Given) -> ModelFolder:
    model = find_model(path)
    if len(given.configs) > 1:
        raise MarotteError(f"--config names {len(given.configs)} files: a GaussianTalker has one, {CFG_ARGS}")
    return replace(model, cfg_args=read_cfg_args(given.configs[0])) if given.configs else model


def _gather(model: ModelFolder, given: Given) -> _Parts:
    """Return what belongs to a trained head. Raises MarotteError where something is missing or does not fit."""
    deformation = given.network or model.deformation
    config, box = check_network(deformation, model.cfg_args)
    gaussians = check_gaussians(model.ply)
    frames = cast(Frames, given.frames or _FRAMES)
    recording = read_recording(_data(model, given), frames)
    notes = list(recording.notes)
    if not model.cfg_args:
        notes.append(
            f"{model.folder} has no {CFG_ARGS}, which alone says how many heads the attention has: {config.n_head} are "
            "taken, as published"
        )
    return _Parts(model, deformation, config, box, gaussians, recording, frames, notes)


def _data(model: ModelFolder, given: Given) -> Path:
    """Return the folder of the recording that a head was trained on. Raises MarotteError where there is none."""
    if given.data is not None:
        if not (given.data / PARAMS).is_file():
            raise MarotteError(f"{given.data} has no {PARAMS}: name the prepared recording's folder ({_DATA})")
        return given.data
    named = model.cfg_args.get("source_path")
    if not isinstance(named, str) or not named:
        raise MarotteError(f"nothing says where the recording of {model.folder} is: name its folder with --data")
    for place in _near(model.folder, named):
        if os.path.isfile(place / PARAMS):  # unlike Path's own, it takes any text that a file may name
            return place
    raise MarotteError(
        f"the recording of {model.folder} is not here: its {CFG_ARGS} names {named!r}, which has no {PARAMS} there or "
        f"near the model; name its folder with --data ({_DATA})"
    )


def _near(model: Path, named: str) -> Iterator[Path]:
    """Yield where the folder that a training named may be: there, from here or from above the model, or moved."""
    whole = model.resolve()
    bases = [Path.cwd(), whole, *whole.parents[:_ABOVE]]
    yield from (base / named for base in bases)  # an absolute name is itself from everywhere
    last = re.split(r"[\\/]", named.rstrip("\\/"))[-1]
    yield from (base / folder / last for base in bases for folder in ("", "data"))
    yield whole.parent / _EXPORTED


def _write(stage: Path, parts: _Parts, given: Given, name: str) -> Avatar:
    """Write the avatar's folder and return it as an avatar."""
    model, recording = parts.model, parts.recording
    _copy_model(parts, given, stage / NETWORK)
    parts.notes += copy_recording(recording, parts.frames, stage / RECORDING, parts.box)
    parts.copied = sum(path.stat().st_size for path in (stage / RECORDING).rglob("*") if path.is_file())
    # Thousands of torsos are one file here, the list of their hashes.
    files = {path: digest for path, digest in file_hashes(stage).items() if f"/{TORSOS}/" not in path}
    avatar = Avatar(
        name=name,
        path=stage,
        renderer=RENDERER,
        basis=NO_BASIS,
        network=NETWORK,
        recording=RECORDING,
        features=" ".join((given.features or "").split()) or DEEPSPEECH,
        title=" ".join((given.title or "").split()) or f"{name}, a trained GaussianTalker",
        expressions=0,
        unit=UNIT,
        head_rotation="root",
        # Of the recording, made even for video.
        size=(max(recording.width // 2 * 2, 2), max(recording.height // 2 * 2, 2)),
        fps=Fraction(FPS),
        background="own",
        origin=f"GaussianTalker, {model.iteration.name} of {model.folder.name}, recorded in {recording.path.name}",
        files=files,
    )
    avatar = given.about(avatar)
    write_whole(stage / FILE, avatar_text(avatar).encode())
    return avatar


def _copy_model(parts: _Parts, given: Given, folder: Path) -> None:
    """Copy the trained files as they are."""
    model = parts.model
    iteration = (
        folder / CLOUDS / (model.iteration.name if _ITERATION.fullmatch(model.iteration.name) else "iteration_0")
    )
    iteration.mkdir(parents=True)
    shutil.copyfile(model.ply, iteration / PLY)
    shutil.copyfile(parts.deformation, iteration / DEFORMATION)
    noted = [*map(Path, given.configs), model.folder / CFG_ARGS, model.iteration / CFG_ARGS]
    for file in [file for file in noted if file.is_file()][:1]:
        shutil.copyfile(file, folder / CFG_ARGS)


def _facts(avatar: Avatar, parts: _Parts) -> Iterator[tuple[str, str]]:
    recording = parts.recording
    blinks = f"blinks from {recording.blinks.min():.2f} to {recording.blinks.max():.2f}"
    behind = "torsos and a plain background" if recording.has_torsos else "a plain background"
    yield "avatar", f"{avatar.name} ({avatar.origin})"
    yield "Gaussians", f"{parts.gaussians}, moved by a network of {_sizes(parts.config)}"
    yield "recording", f"{len(recording)} frames ({parts.frames}), {recording.width}x{recording.height}; {blinks}"
    yield "behind it", behind
    yield "copied", f"{parts.copied / 1e6:.1f} MB of {recording.path}"
    yield "hears", f"{avatar.features} features, at 50 Hz"
    yield "subject", avatar.subject
    yield "consent", avatar.consent
    yield "licence", avatar.licence
    yield "lies in", str(avatar.path)


def _sizes(config: TalkerConfig) -> str:
    planes = "x".join(map(str, config.planes))
    layers = f"{config.n_layer} layer{'s' if config.n_layer > 1 else ''}"
    return f"{layers}, width {config.d_model}, planes {planes}"
