"""Whether an avatar was trained on the FLAME parameters that it is driven with, from its files alone.

SplattingAvatar keeps the posed mesh of the first training frame (`embedding.obj`, six decimals). Posing the avatar's
head with that frame's parameters must give the same mesh; where it does not, each known way to go wrong is tried.
Source: reference/splatting_avatar/SPEC.md, sections 2.3 and 4.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from marotte.errors import MarotteError
from marotte.models.flame_numba import HeadEvaluator
from marotte.models.splatting_config import SplattingConfig
from marotte.runtime.avatar import Avatar
from marotte.runtime.evaluate import training_config
from marotte.runtime.head import HeadState
from marotte.runtime.splats import avatar_splats
from marotte.runtime.tracked_frames import AvatarHead, TrackedFrames

# Six decimals and float32 leave a ten thousandth of this.
_SAME_MM = 0.02
# A candidate explains the mesh when it leaves less than this, or this share of what was there before.
_EXPLAINED_MM, _EXPLAINED_SHARE = 0.05, 0.02
_TRIED_FRAMES = 200
_SCALE_ERROR = 1e-3
# Scales that FLAME is used at, and how far identity and pose may change a head's size.
_FACTORS, _NEAR = (4.0, 5.0, 10.0, 1000.0), 0.1

_HARMLESS = ("trained_other_frame", "trained_other_recording")
# A pose is the same to this, in radians.
_SAME_POSE = 5e-3
# Steps of the search for a pose, and by how much it changes a parameter to see what that does.
_STEPS, _NUDGE, _RIDGE = 8, 1e-3, 1e-9

# What may be wrong, and what to do about it.
TRAINING_FAULTS = {
    "trained_other_unit": (
        "the avatar was trained on a head of another scale",
        "set unit in its avatar.toml to the one it was trained in, and give its cameras the same",
    ),
    "trained_other_identity": (
        "the avatar was trained with another identity than it is driven with",
        "give it the shape_params of its own training data: import it again with them",
    ),
    "trained_other_frame": (
        "its canonical mesh is another frame of this tracking",
        "that is harmless by itself; if the tracking was cut or sorted anew, compare against the one it was trained on",
    ),
    "trained_pose_order": (
        "the parts of the pose were in another order",
        "the order is root, neck, jaw, eyes: reorder the tracking as it was trained, or train again",
    ),
    "trained_without_pose": (
        "a part of the pose was left out in training",
        "drive it without that part, or train again with it",
    ),
    "trained_without_expression": (
        "the expression was left out in training",
        "train again with it: such an avatar learned its face on a mesh that did not move",
    ),
    "trained_turned": (
        "the head was turned or moved otherwise in training",
        "the head's rotation was in the cameras there: use the tracking that it was trained on",
    ),
    "trained_other_recording": (
        "the avatar was trained on another recording of this head",
        "that is harmless by itself; its own training data would tell more",
    ),
    "trained_other_expressions": (
        "the avatar was trained with other expressions, in the pose of this frame",
        "that is what FLAME 2023's expressions are to FLAME 2020: use the FLAME file that it was trained with",
    ),
    "trained_otherwise": (
        "the avatar was trained with another identity or another FLAME model than it has here",
        "use the FLAME file and the shape_params that it was trained with",
    ),
}


@dataclass(frozen=True)
class Training:
    """How the canonical mesh compares. frame: the frame that it should be; rms_mm: from there, in FLAME millimetres.

    fault: of TRAINING_FAULTS, `` where it is the same; what: what explains it, words; note: a remark.
    """

    frame: str
    rms_mm: float
    fault: str = ""
    what: str = ""
    note: str = ""

    @property
    def off(self) -> bool:
        """Whether the avatar was trained in another way than it is driven; other frames of its person are none."""
        return self.fault not in ("", *_HARMLESS)


def compare_training(tracked: TrackedFrames) -> Training | None:
    """Return how the avatar's canonical mesh compares with its tracking; None for avatars that have none.

    Raises MarotteError where its files are damaged.
    """
    head, avatar = tracked.head, tracked.head.avatar
    if not avatar.splats or avatar.splats.endswith(".npz"):
        return None  # our own form has no canonical mesh: it is the head at rest
    canonical = avatar_splats(avatar, head.model).canonical.astype(np.float64)
    if len(canonical) != len(head.model.v_template):
        raise MarotteError(
            f"avatar {avatar.name}: its canonical mesh has {len(canonical)} vertices, its head model "
            f"{len(head.model.v_template)}: name the head model that it was trained on"
        )
    first, note = _first_frame(avatar, len(tracked))
    state = tracked.state([first])
    name = tracked.track.names[first]
    before = _rms(canonical, head.vertices(state)[0], head.unit)
    if before < _SAME_MM:
        return Training(name, before, note=note)
    best, fault, what = before, "trained_otherwise", ""
    for candidate in _candidates(tracked, state, first, canonical):
        left = _rms(canonical / candidate.scale, candidate.vertices, head.unit)
        if left < best:
            best, fault, what = left, candidate.fault, candidate.what
        if best < _SAME_MM:
            break
    if best > max(_EXPLAINED_MM, _EXPLAINED_SHARE * before):
        mesh, pose = _nearest(head, state, canonical)
        fault, left = "trained_other_recording", _rms(canonical, mesh, head.unit)
        what = f"an expression and a pose that this tracking does not have leave {left:.3f} mm"
        if left < _EXPLAINED_MM and np.abs(pose - state.full_pose[0]).max() < _SAME_POSE:
            fault, what = "trained_other_expressions", "its pose is that frame's, its expression is another"
        if left > _EXPLAINED_MM:
            fault, what = "trained_otherwise", f"no expression and pose give it: the nearest leave {left:.2f} mm"
    return Training(name, before, fault, what, note)


@dataclass(frozen=True, eq=False)
class _Candidate:
    """A mesh [V, 3] in the avatar's unit, which the canonical one may be `scale` times."""

    fault: str
    what: str
    vertices: np.ndarray
    scale: float = 1.0


def _candidates(tracked: TrackedFrames, state: HeadState, first: int, canonical: np.ndarray) -> Iterator[_Candidate]:
    """Yield what the canonical mesh may be, the likeliest first."""
    head = tracked.head
    posed = head.vertices(state)[0].astype(np.float64)
    measured = _extent(canonical) / _extent(posed)
    if abs(measured - 1) > _SCALE_ERROR:
        yield _Candidate("trained_other_unit", _unit_words(measured, head.unit), posed, measured)
    yield from _reposed(tracked, state, first, canonical, posed)
    # Two mistakes at once: identity and pose change the size a little, so the factor is a round one near by.
    for factor in (known for each in _FACTORS for known in (each, 1 / each)):
        if abs(measured / factor - 1) < _NEAR:
            words = _unit_words(factor, head.unit)
            for other in _reposed(tracked, state, first, canonical / factor, posed):
                yield _Candidate("trained_other_unit", f"{words}; and {other.what}", other.vertices, factor)


def _reposed(
    tracked: TrackedFrames, state: HeadState, first: int, canonical: np.ndarray, posed: np.ndarray
) -> Iterator[_Candidate]:
    """Yield meshes of other identities, frames and poses, in the avatar's unit."""
    head = tracked.head
    for evaluator, what in _identities(tracked):
        mesh = evaluator.vertices(state.expression, state.full_pose, None, state.translation)[0]
        yield _Candidate("trained_other_identity", what, mesh)
    step = max(-(-len(tracked) // _TRIED_FRAMES), 1)
    for frame in range(0, len(tracked), step):
        if frame != first:
            what = f"it is that of {tracked.track.names[frame]}, not of {tracked.track.names[first]}"
            yield _Candidate("trained_other_frame", what, tracked.vertices([frame])[0])
    for fault, what, changed in _states(state):
        yield _Candidate(fault, what, head.vertices(changed)[0])
    yield _Candidate("trained_turned", *_aligned(posed, canonical, head.unit))


def _states(state: HeadState) -> Iterator[tuple[str, str, HeadState]]:
    """Yield (fault, what, parameters) of the ways to pose the head wrongly."""
    zero = np.zeros_like(state.root)
    yield "trained_pose_order", "neck and jaw were exchanged", replace(state, neck=state.jaw, jaw=state.neck)
    yield "trained_pose_order", "root and neck were exchanged", replace(state, root=state.neck, neck=state.root)
    yield "trained_pose_order", "root and jaw were exchanged", replace(state, root=state.jaw, jaw=state.root)
    turned = replace(state, root=state.neck, neck=state.jaw, jaw=state.root)
    yield "trained_pose_order", "neck, jaw, root stood where root, neck, jaw belong", turned
    swapped = np.concatenate([state.eyes[:, 3:], state.eyes[:, :3]], axis=1)
    yield "trained_pose_order", "the eyes were exchanged", replace(state, eyes=swapped)
    for part in ("root", "neck", "jaw"):
        yield "trained_without_pose", f"{part} was left out", replace(state, **{part: zero})
    still = {"root": zero, "neck": zero, "jaw": zero, "eyes": np.zeros_like(state.eyes)}
    blank = np.zeros_like(state.expression)
    yield "trained_without_pose", "all of it was left out", replace(state, **still)
    yield "trained_without_expression", "its expression is neutral", replace(state, expression=blank)
    neutral = replace(state, **still, expression=blank)
    yield "trained_without_expression", "it is the head at rest: expression and pose were left out", neutral


def _nearest(head: AvatarHead, state: HeadState, canonical: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the mesh of this head that is nearest to another, over all expressions and poses, and its pose [15].

    By Gauss and Newton, from the parameters of a frame.
    """
    width = state.expression.shape[1]
    x = np.concatenate([state.expression[0], state.full_pose[0]]).astype(np.float64)
    goal = canonical.ravel()
    best, mesh, pose = np.inf, canonical, x[width:]
    for _ in range(_STEPS):
        rows = (x + np.vstack([np.zeros(len(x)), np.eye(len(x)) * _NUDGE])).astype(np.float32)
        made = head.evaluator.vertices(rows[:, :width], rows[:, width:]).reshape(len(rows), -1).astype(np.float64)
        left = goal - made[0]
        if left @ left >= best:
            break
        best, mesh, pose = left @ left, made[0].reshape(canonical.shape), x[width:]
        slope = (made[1:] - made[0]) / _NUDGE
        normal = slope @ slope.T
        normal += np.eye(len(x)) * (_RIDGE * np.trace(normal) + 1e-12)
        x = x + np.linalg.solve(normal, slope @ left)
    return mesh, pose


def _identities(tracked: TrackedFrames) -> Iterator[tuple[HeadEvaluator, str]]:
    head: AvatarHead = tracked.head
    given = tracked.track.head
    if head.identity is not None and np.any(head.identity):
        yield HeadEvaluator(head.model, None, head.unit), "it was trained with the mean identity: shape was left out"
    if given is not None and len(given.shape):
        shape = given.shape[: head.model.shape_dirs.shape[-1]]
        own = np.zeros(0) if head.identity is None else head.identity
        if len(own) != len(shape) or not np.allclose(own, shape, atol=1e-6):
            yield HeadEvaluator(head.model, shape, head.unit), "it was trained with the tracking's own identity"


def _first_frame(avatar: Avatar, count: int) -> tuple[int, str]:
    """Return the first training frame: the split's first, which is the first of all unless there is no train part."""
    k = (training_config(avatar) or SplattingConfig()).num_for_train
    if list(range(count))[:k]:
        return 0, ""
    return 0, f"num_for_train = {k} leaves no training frame of {count}: the first of all is taken"


def _unit_words(scale: float, unit: float) -> str:
    for factor in _FACTORS:
        if abs(scale * factor - 1) < _SCALE_ERROR:
            return f"its canonical mesh is {factor:g} times smaller: unit {unit / factor:g} and not {unit:g}"
        if abs(scale / factor - 1) < _SCALE_ERROR:
            return f"its canonical mesh is {factor:g} times larger: unit {unit * factor:g} and not {unit:g}"
    return f"its canonical mesh is {scale:.4g} times as large: unit {unit * scale:.4g} and not {unit:g}"


def _aligned(posed: np.ndarray, canonical: np.ndarray, unit: float) -> tuple[str, np.ndarray]:
    """Return in words how the posed mesh must turn and move to be the canonical one, and the mesh after it."""
    a, b = posed - posed.mean(axis=0), canonical - canonical.mean(axis=0)
    u, _, vt = np.linalg.svd(a.T @ b)
    sign = np.diag([1, 1, np.sign(np.linalg.det(u @ vt))])
    turn = (u @ sign @ vt).T
    moved = a @ turn.T + canonical.mean(axis=0)
    angle = np.rad2deg(np.arccos(np.clip((np.trace(turn) - 1) / 2, -1, 1)))
    shift = 1000 * np.linalg.norm(canonical.mean(axis=0) - posed.mean(axis=0)) / unit
    return f"its canonical mesh is turned by {angle:.1f} degrees and moved by {shift:.1f} mm", moved


def _extent(vertices: np.ndarray) -> float:
    return float(np.sqrt(np.var(vertices, axis=0).sum()))


def _rms(a: np.ndarray, b: np.ndarray, unit: float) -> float:
    """Return the RMS distance of vertices in millimetres of FLAME."""
    return float(1000 * np.sqrt(((a - b) ** 2).sum(axis=1).mean()) / unit)
