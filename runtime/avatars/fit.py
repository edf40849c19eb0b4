"""Does a trained avatar's mesh come from this FLAME model, identity and data? If not, what is the likely reason?

The canonical mesh is FLAME's mesh in the first training frame, rounded to six decimals, so the right files give it
back to a few millionths. Source: reference/splatting_avatar/SPEC.md, section 2.3.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from marotte.errors import MarotteError
from marotte.models.flame import FlameModel
from marotte.models.splatting_avatar import SplattingAvatar
from marotte.runtime.avatars.companions import Training
from marotte.runtime.avatars.mesh_fit import fit_mesh

# In FLAME units (metres): what rounding leaves, and what reduced precision in training may leave.
EXACT, NEAR = 1e-5, 2.5e-4
# Frames that are posed at a time while another frame is looked for.
_BATCH = 32
# Radians: a pose as near to a frame's is that frame's.
_SAME_POSE = 1e-2


@dataclass(frozen=True, eq=False)
class Fitted:
    """A head model that fits. distance: the worst vertex's, in metres; shape: [S] the identity; notes: what to know."""

    distance: float
    shape: np.ndarray
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Question:
    """What is to fit. flame, path: the head model; unit: world units per FLAME unit; shape: the identity and where it
    is from; training: the data set. Either may be missing. others: gives the other FLAME models that are at hand.
    """

    splats: SplattingAvatar
    flame: FlameModel
    path: Path
    unit: float
    shape: np.ndarray | None
    shape_from: str
    training: Training | None
    others: Callable[[], Iterable[tuple[Path, FlameModel]]]


def check_topology(splats: SplattingAvatar, flame: FlameModel, path: Path) -> None:
    """Raise MarotteError where the avatar's faces are not FLAME's, in the same order."""
    count, faces = len(splats.canonical), splats.faces
    if len(flame.v_template) != count or len(flame.faces) != len(faces):
        raise MarotteError(
            f"embedding.obj is of another mesh topology: it has {count} vertices and {len(faces)} faces, {path} has "
            f"{len(flame.v_template)} and {len(flame.faces)}: name the head model that it was trained on"
        )
    wrong = np.flatnonzero((faces != flame.faces).any(axis=1))
    if len(wrong):
        first = (
            f"face {wrong[0] + 1} joins {(faces[wrong[0]] + 1).tolist()}, not {(flame.faces[wrong[0]] + 1).tolist()}"
        )
        same = len(np.unique(np.concatenate([np.sort(faces, 1), np.sort(flame.faces, 1)]), axis=0)) == len(faces)
        raise MarotteError(
            f"embedding.obj is of another mesh topology than {path}: {first} ({len(wrong)} of {len(faces)} differ"
            f"{', the same faces in another order' if same else ''}): name the head model that it was trained on"
        )


def check_fit(question: Question) -> Fitted:
    """Return the identity and how well the head model fits.

    Raises MarotteError with the likely reason where it does not: the data's first frame must give the canonical mesh;
    without data some expression and pose must, and without an identity some identity too.
    """
    check_topology(question.splats, question.flame, question.path)
    if question.shape is None or question.training is None:
        return _without_data(question)
    distance = _worst(question, question.flame, question.unit, question.shape)
    if distance <= EXACT:
        return Fitted(distance, question.shape)
    if distance <= NEAR and (better := _other_model(question)) is None:
        note = (
            f"the canonical mesh is up to {1000 * distance:.3f} mm off FLAME's first frame: fine after a training with "
            "reduced precision; if expressions look wrong, it is another FLAME model or other data"
        )
        return Fitted(distance, question.shape, (note,))
    if distance <= NEAR:
        raise _misfit(question, distance, f"{better} fits exactly: give --flame {better}")
    frame, there = _best_frame(question)
    if there <= NEAR:
        note = f"the canonical mesh is that of frame {frame + 1} of the data, not of the first"
        return Fitted(there, question.shape, (note,))
    raise _misfit(question, distance, _reason(question))


def _without_data(question: Question) -> Fitted:
    found = fit_mesh(question.flame, question.splats.canonical, question.unit, question.shape)
    distance = found.distance / question.unit
    if distance <= EXACT:
        if question.shape is not None:
            return Fitted(distance, question.shape)
        note = f"no data: the identity was taken from the canonical mesh, which it gives to {1e6 * distance:.2g} um"
        return Fitted(distance, found.shape, (note,))
    free = found if question.shape is None else fit_mesh(question.flame, question.splats.canonical, question.unit)
    if free.distance / question.unit <= EXACT:
        raise _misfit(question, distance, _OTHER_PERSON.format(name=question.shape_from))
    if other := _other_model(question):
        raise _misfit(question, distance, f"{other} fits: give --flame {other}")
    raise _misfit(question, distance, _scale(question) or _OTHER_VERSION)


_OTHER_PERSON = (
    "the identity in {name} is another person's, or not the one that was trained with: name the right one, or take "
    "it from the mesh with --identity canonical"
)
_OTHER_VERSION = (
    "no identity, expression and pose of this head model give it: it is another FLAME version (2023 in place of 2020, "
    "or the other way) or an edited one; published trackers use FLAME 2020's generic_model.pkl"
)


def _reason(question: Question) -> str:
    """Return why a head model, identity and data do not give the canonical mesh, with what would mend it."""
    assert question.shape is not None and question.training is not None
    if other := _other_model(question):
        version = "another FLAME version was used" if other.parent == question.path.parent else "it was another model"
        return f"{version}: {other} fits, give --flame {other}"
    neutral = np.zeros_like(question.shape)
    if _worst(question, question.flame, question.unit, neutral) <= NEAR:
        return "it was trained without an identity: give --identity canonical, which takes it from the mesh"
    if scale := _scale(question):
        return scale
    try:
        fitted = fit_mesh(question.flame, question.splats.canonical, question.unit, question.shape)
        free = fit_mesh(question.flame, question.splats.canonical, question.unit)
    except MarotteError:  # the mesh is too small to say more
        return "the head model, the identity or the data are not those that it was trained with"
    if fitted.distance / question.unit <= EXACT:
        nearest = np.abs(question.training.track.full_pose - fitted.full_pose).max(axis=1).argmin()
        apart = np.abs(question.training.track.full_pose[nearest] - fitted.full_pose).max()
        if apart <= _SAME_POSE:
            return (
                f"identity and pose are those of frame {nearest + 1}, but its expression makes another face with this "
                "file: the data are in another FLAME version's basis (2020 against 2023): name that version's file"
            )
        return f"no frame of {question.training.path} has its pose: it was trained on another recording, name that"
    if free.distance / question.unit <= EXACT:
        return _OTHER_PERSON.format(name=question.shape_from)
    return _OTHER_VERSION


def _scale(question: Question) -> str | None:
    """Return what to say where the head fits in another unit."""
    model, canonical = question.flame, question.splats.canonical.astype(np.float64)
    centred = canonical - canonical.mean(axis=0)
    rest = model.v_template if question.shape is None else model.baked(question.shape, 1.0).v_template
    unit = float(np.linalg.norm(centred) / np.linalg.norm(rest - rest.mean(axis=0)))
    # The neutral head is about as large as the posed one; published factors are whole numbers or parts of them.
    for factor in dict.fromkeys((float(f"{unit:.1g}"), float(f"{unit:.2g}"), unit)):
        if question.training is not None and question.shape is not None:
            distance = _worst(question, model, factor, question.shape)
        else:
            distance = fit_mesh(model, canonical, factor, question.shape).distance / factor
        if distance <= NEAR and factor != question.unit:
            return f"it is {factor:g} times FLAME's size, not {question.unit:g} times: give --unit {factor:g}"
    return None


def _other_model(question: Question) -> Path | None:
    """Return another FLAME model at hand that fits where this one does not."""
    for path, model in question.others():
        try:
            check_topology(question.splats, model, path)
        except MarotteError:
            continue
        if question.training is not None and question.shape is not None:
            distance = _worst(question, model, question.unit, question.shape)
        else:
            distance = fit_mesh(model, question.splats.canonical, question.unit, question.shape).distance
        if distance <= EXACT:
            return path
    return None


def _worst(question: Question, model: FlameModel, unit: float, shape: np.ndarray) -> float:
    """Return how far the first frame's mesh is from the canonical one at its worst vertex, in metres."""
    assert question.training is not None
    track = question.training.track
    head = model.baked(shape[: model.shape_dirs.shape[-1]], unit)
    mesh = head.imavatar(track.expression[:1], track.full_pose[:1]).vertices[0]
    return float(np.linalg.norm(mesh - question.splats.canonical, axis=1).max()) / unit


def _best_frame(question: Question) -> tuple[int, float]:
    """Return the frame whose mesh is nearest to the canonical one, and its distance in metres."""
    assert question.training is not None and question.shape is not None
    track = question.training.track
    head = question.flame.baked(question.shape, question.unit)
    worst: list[float] = []
    for start in range(0, len(track), _BATCH):
        part = track[start : start + _BATCH]
        meshes = head.imavatar(part.expression, part.full_pose).vertices
        worst += np.linalg.norm(meshes - question.splats.canonical, axis=2).max(axis=1).tolist()
    best = int(np.argmin(worst))
    return best, worst[best] / question.unit


def _misfit(question: Question, distance: float, why: str) -> MarotteError:
    return MarotteError(
        f"{question.path} does not give the avatar's canonical mesh: it is up to {1000 * distance:.3g} mm off; {why}"
    )
