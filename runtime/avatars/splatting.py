"""Import a trained SplattingAvatar: recognise it, find what it needs, hold them against each other, write the avatar.

Source: reference/splatting_avatar/SPEC.md. Nothing in the folder is run, and nothing of it is changed.
"""

import json
import math
import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np

from marotte.errors import MarotteError
from marotte.models.flame import FlameModel
from marotte.models.plain_files import read_json, write_whole
from marotte.models.rotations import rotvec_to_matrix
from marotte.models.splatting_avatar import SplattingAvatar
from marotte.models.splatting_config import SplattingConfig, read_config, write_config
from marotte.models.splatting_files import CONFIG, PLY, mesh_of, read_splatting_avatar, with_mesh
from marotte.runtime.avatar import Avatar, load_avatar
from marotte.runtime.avatars.companions import (
    FLAME_NAMES,
    Extras,
    Training,
    find_data,
    find_extras,
    find_flame,
    flame_in,
    no_flame,
    read_identity,
    read_training,
)
from marotte.runtime.avatars.fit import Fitted, Question, check_fit
from marotte.runtime.avatars.framing import framings, outline
from marotte.runtime.avatars.given import CANONICAL, FLAME_TERMS, Given, Imported, Look
from marotte.runtime.avatars.recognise import Trained, recognise
from marotte.runtime.avatars.store import check_name, default_name, staged, store_folder
from marotte.runtime.avatars.toml import FILE, avatar_text, file_hashes

# IMavatar's FLAME, which the published training is on.
_SHAPES, _EXPRESSIONS = 100, 50
_NECK = 1
# Sides of training pictures that a video is made in too, and what is taken for others.
_SMALL, _LARGE, _SIZE = 128, 2048, (512, 512)


@dataclass(eq=False)
class _Parts:
    """What an import has found."""

    trained: Trained
    config: SplattingConfig
    splats: SplattingAvatar
    flame_path: Path
    flame: FlameModel
    training: Training | None
    fitted: Fitted
    notes: list[str] = field(default_factory=list)
    framing: str = ""


def import_splatting_avatar(
    path: str | Path, given: Given | None = None, *, store: str | Path | None = None, look: Look | None = None
) -> Imported:
    """Import a trained avatar under a name into the store and return it.

    path: the model's folder, its `point_cloud`, an `iteration_<n>` or a file of one. look: is shown the whole avatar
    before it gets its name; what it raises undoes the import. Raises MarotteError with one line that says what is
    wrong and what would mend it; the store is as before then.
    """
    given = _asked(given or Given())
    if not 0 < given.unit < math.inf:
        raise MarotteError(f"--unit {given.unit:g}: world units a metre are more than 0; published avatars have 4")
    trained = recognise(path, given.configs)
    name = default_name(trained.model) if given.name is None else given.name
    folder = check_name(name, store_folder(store), given.replace)
    parts = _gather(trained, given)
    with staged(folder) as stage:
        avatar = _write(stage, parts, given, folder.name)
        if look is not None:
            look(avatar)
    done = load_avatar(folder)
    return Imported(done, tuple(_facts(done, parts)), tuple(parts.notes))


def _gather(trained: Trained, given: Given) -> _Parts:
    """Return what belongs to a trained avatar. Raises MarotteError where something is missing or does not fit.

    Where several FLAME models or data sets are near, the first pair that fits is taken.
    """
    if not trained.configs:
        raise MarotteError(
            f"{trained.folder} has no {CONFIG} two folders up, so nothing says how its Gaussians follow the mesh: copy "
            "the training's there, or name it with --config"
        )
    config = read_config(trained.configs)
    splats = read_splatting_avatar(trained.ply, config, strict=True)
    sets = [given.data] if given.data is not None else [] if given.identity else find_data(trained)
    trainings: list[Training | None] = [read_training(path, config.num_for_train) for path in sets]
    identity = None
    if given.identity is not None and given.identity != CANONICAL:
        identity = read_identity(Path(given.identity))
    paths = [given.flame] if given.flame is not None else find_flame(trained)
    if not paths:
        raise no_flame(trained.folder)
    why: MarotteError | None = None
    for path in paths:
        try:
            extras = find_extras(path, given.landmarks, given.masks, given.eyelids)
            flame = _flame(path, given, extras)
            for training in trainings or [None]:
                shape = identity
                if shape is None and training is not None and given.identity is None:
                    shape = training.track.shape
                question = Question(
                    splats=splats,
                    flame=flame,
                    path=path,
                    unit=given.unit,
                    shape=None if shape is None else shape[:_SHAPES],
                    shape_from=str(given.identity or (training.path if training else "")),
                    training=training,
                    others=partial(_others, path, paths, given),
                )
                try:
                    fitted = check_fit(question)
                except MarotteError as error:
                    why = why or error
                    continue
                notes = [*extras.notes, *fitted.notes]
                if training is None and given.basis is None:
                    notes.append(f"{path} is taken as {flame.basis} by its name, and no data set proves it (--basis)")
                return _Parts(trained, config, splats, path, flame, training, fitted, notes)
        except MarotteError as error:
            why = why or error
    assert why is not None
    raise why


def _flame(path: Path, given: Given, extras: Extras) -> FlameModel:
    return FlameModel.load(
        path,
        n_shape=_SHAPES,
        n_expression=_EXPRESSIONS,
        basis=_basis(path, given),
        landmarks=extras.landmarks,
        masks=extras.masks,
        eyelids=extras.eyelids,
    )


def _basis(path: Path, given: Given) -> str | None:
    """Return FLAME's version; None for our own form of a head, which says it itself."""
    if given.basis or path.suffix == ".npz":
        return given.basis
    return "flame2023" if "2023" in path.name else "flame2020"


def _asked(given: Given) -> Given:
    """Return what is given, with FLAME's version asked for where its file's name does not tell."""
    file = given.flame
    if given.basis or file is None or file.suffix == ".npz" or file.name in FLAME_NAMES:
        return given
    if re.search("20(20|23)", file.name):
        return given
    answer = given.ask(f"is {file} of FLAME 2020 or 2023? (2020)") or "2020"
    return replace(given, basis="flame2023" if "2023" in answer else "flame2020")


def _others(path: Path, found: Sequence[Path], given: Given) -> Iterator[tuple[Path, FlameModel]]:
    """Yield the other FLAME models at hand: those that were found, and those beside the one that was named."""
    for other in dict.fromkeys([*found, *flame_in(path.parent)]):
        if other.resolve() != path.resolve():
            try:
                yield other, _flame(other, given, Extras())
            except MarotteError:
                continue


def _write(stage: Path, parts: _Parts, given: Given, name: str) -> Avatar:
    """Write the avatar's folder and return it as an avatar."""
    iteration = parts.trained.iteration or 0
    splats = f"point_cloud/iteration_{iteration}"
    _copy_trained(parts, stage, stage / splats)
    parts.flame.save(stage / "head.npz", exact=True)
    np.save(stage / "shape.npy", parts.fitted.shape)
    head = parts.flame.baked(parts.fitted.shape, given.unit)
    box = outline(parts.splats, head.v_template, head.skinning_weights[:, 0])
    cameras, parts.framing = framings(box, parts.training, given.unit)
    pivot = head.joint_regressor[_NECK] @ head.v_template
    training, trained = parts.training, parts.trained
    avatar = Avatar(
        name=name,
        path=stage,
        renderer="splatting-avatar",
        basis=parts.flame.basis,
        head="head.npz",
        shape="shape.npy",
        splats=splats,
        title=" ".join((given.title or "").split()) or f"{name}, a trained SplattingAvatar",
        expressions=parts.flame.expression_dirs.shape[-1],
        expression_level=0.0 if training is None else expression_level(training.train.expression),
        unit=float(given.unit),
        head_rotation="root" if training is None else head_rotation(training),
        pivot=(float(pivot[0]), float(pivot[1]), float(pivot[2])),
        framings=cameras,
        size=_picture_size(training),
        background="#ffffff",
        origin=f"SplattingAvatar, {trained.folder.name} of {trained.model.name}, on {parts.flame_path.name}",
        files=file_hashes(stage),
    )
    avatar = given.about(avatar, FLAME_TERMS)
    write_whole(stage / FILE, avatar_text(avatar).encode())
    return avatar


def _copy_trained(parts: _Parts, model: Path, folder: Path) -> None:
    """Copy the trained files as they are; only a mesh that lies elsewhere is brought in, and named so."""
    trained = parts.trained
    folder.mkdir(parents=True)
    shutil.copyfile(trained.ply, folder / PLY)
    table = read_json(trained.embedding)
    mesh = mesh_of(trained.embedding, table)
    shutil.copyfile(mesh, folder / mesh.name)
    named = with_mesh(table, mesh.name)
    if named == table:
        shutil.copyfile(trained.embedding, folder / trained.embedding.name)
    else:
        parts.notes.append(f"{trained.embedding.name} named a mesh elsewhere: {mesh.name} lies beside it now")
        write_whole(folder / trained.embedding.name, json.dumps(named).encode())
    if len(trained.configs) == 1:
        shutil.copyfile(trained.configs[0], model / CONFIG)
    else:
        write_config(model / CONFIG, parts.config)


def expression_level(expression: np.ndarray) -> float:
    """Return the mean of |coefficient| over frames and the coefficients [T, E] that FLAME has in an avatar."""
    return float(np.abs(expression[:, :_EXPRESSIONS].astype(np.float64)).mean())


def head_rotation(training: Training) -> str:
    """Return where the head's motion was in a training: `root`, `neck` or `camera`, whichever turned most."""
    pose = training.train.full_pose.astype(np.float64)
    turns = {
        "root": rotvec_to_matrix(pose[:, :3]),
        "neck": rotvec_to_matrix(pose[:, 3:6]),
        "camera": np.array([camera.R for camera in training.train.cameras]),
    }
    spread = {name: float(((r - r.mean(axis=0)) ** 2).sum()) for name, r in turns.items()}
    return max(spread, key=lambda name: spread[name])


def _picture_size(training: Training | None) -> tuple[int, int]:
    """Return the training pictures' size, made even for video, where it is a usual one."""
    if training is None or training.size is None or not all(_SMALL <= side <= _LARGE for side in training.size):
        return _SIZE
    width, height = training.size
    return width // 2 * 2, height // 2 * 2


def _facts(avatar: Avatar, parts: _Parts) -> Iterator[tuple[str, str]]:
    splats, flame, training = parts.splats, parts.flame, parts.training
    way = "centres follow the mesh" if splats.xyz_as_uvd else "centres do not follow the mesh"
    scaling = "scales follow its areas" if splats.with_mesh_scaling else "scales do not"
    yield "avatar", f"{avatar.name} ({avatar.origin})"
    yield "Gaussians", f"{len(splats)}, SH degree {splats.sh_degree}; {way}, {scaling}"
    yield "mesh", f"{len(splats.canonical)} vertices, {len(splats.faces)} faces; {avatar.unit:g} units a metre"
    yield "FLAME", f"{parts.flame_path} as {avatar.basis}; fits to {1e6 * parts.fitted.distance:.2g} um"
    has = [
        *(name for name in ("static51", "contour", "full68", "full70", "mediapipe105") if _mark(flame, name)),
        *(["masks"] if flame.masks else []),
        *(["eyelids"] if flame.eyelid_fields else []),
    ]
    yield "with it", ", ".join(has) or "no landmarks, masks or eyelids"
    if training is None:
        yield "training", "no data set: head motion on the root, expression level not known"
    else:
        yield "training", f"{len(training.train)} of {len(training.track)} frames in {training.path}"
        yield "expressions", f"mean |coefficient| {avatar.expression_level:.3f} over {avatar.expressions}"
    yield "head motion", f"to the {avatar.head_rotation}"
    yield "framing", parts.framing
    yield "subject", avatar.subject
    yield "consent", avatar.consent
    yield "licence", avatar.licence
    yield "lies in", str(avatar.path)


def _mark(flame: FlameModel, name: str) -> bool:
    return flame.landmarks is not None and getattr(flame.landmarks, name) is not None
