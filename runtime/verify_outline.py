"""Cameras judged by the person's mask alone: the projected head against the outline.

FLAME has a head and a neck, no hair and no shoulders, so the mask may be larger than the mesh, and by how much nobody
knows; but it is never smaller, and hair sits on the head: seen from it, the margin between mesh and mask is the same
in every frame. Rays go out from the head's centre, upwards and to the sides (below are neck and clothes); along each,
what counts against a camera is mesh outside the mask, a margin that changes from frame to frame, and a margin that
no hair has. Known faults are undone one after the other; a fault is named where undoing it makes the rest vanish.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from marotte.runtime.cameras.doctor.hypotheses import ORDINARY, UNUSUAL, steps
from marotte.runtime.cameras.doctor.readings import Reading
from marotte.runtime.cameras.doctor.setting import Setting
from marotte.runtime.tracked_frames import AvatarHead

# Rays by their angle from the head's own up, in degrees.
_ANGLES = np.arange(-110, 111, 10.0)
# Vertices that the root holds still are neck and shoulders.
_STILL = 0.1
_INSIDE = 0.5
# A hole in the mask is narrower than so many pixels.
_HOLE = 4
# Hair is not thicker than this part of the head's own radius; errors beyond this part of the head count no more.
_HAIR, _CAP = 0.6, 1.0
# In parts of the head's radius: what good tracking leaves at most, and what undoing a fault must gain to be believed;
# a shift, which has free numbers, must gain more. All must leave less than this share of what there was.
_FAR, _GAIN, _GAIN_SHIFT, _RATIO = 0.15, 0.01, 0.04, 0.55
# How much better a fault must fit for each unit that it is the more surprising.
_SURPRISE = 0.002
_SHIFT_STEPS = (0.12, 0.06, 0.03, 0.015, 0.0075)
_MOST_SHIFT = 0.25


@dataclass(frozen=True, eq=False)
class OutlineFit:
    """outside, change, excess: mean pixels by which the mesh leaves the mask, the margin changes between frames, and it
    is thicker than hair. radius: of the head in pixels. front: share of the head's points before the camera.
    margins: [T, A] pixels from mesh to mask along each ray, NaN where the picture ends.
    """

    outside: float
    change: float
    excess: float
    radius: float
    front: float
    margins: np.ndarray

    @property
    def score(self) -> float:
        """Pixels, 0 for perfect; infinite for a head behind the camera."""
        return self.outside + self.change + self.excess if self.front > 0.99 else float("inf")

    @property
    def share(self) -> float:
        """The score in parts of the head's radius."""
        return self.score / max(self.radius, 1e-6)


@dataclass(frozen=True, eq=False)
class OutlineVerdict:
    """as_read: the fit of the file's cameras; best: of the mended ones; reading: these, of all frames of the file.

    what: how they were mended, `` where nothing explains it better.
    """

    as_read: OutlineFit
    best: OutlineFit
    reading: Reading | None
    what: str

    @property
    def off(self) -> bool:
        """Whether the cameras as read do not fit the outline."""
        return bool(self.what or self.as_read.share > _FAR)


@dataclass(frozen=True, eq=False)
class _Heads:
    """How T frames see the head. middle: [T, 2] pixels; up: [T] radians, where its top is from there; reach: [T, A]
    pixels from the middle to the mesh's edge along each ray, NaN where there is no mesh; front: as in OutlineFit.
    """

    middle: np.ndarray
    up: np.ndarray
    reach: np.ndarray
    front: float


class Outlines:
    """Masks and posed heads of some frames, to score cameras by.

    masks: T of float [H, W]; vertices: [T, V, 3] in the avatar's unit. radius is the head's in pixels as the masks
    show it: half the width of the mask at the head, so that it is the same for all cameras.
    """

    def __init__(self, head: AvatarHead, masks: Sequence[np.ndarray], vertices: np.ndarray) -> None:
        weights = np.asarray(head.model.skinning_weights)
        template = np.asarray(head.model.v_template)
        moving = np.flatnonzero(weights[:, 0] < _STILL)
        points = vertices[:, moving].astype(np.float64) / head.unit
        both = np.concatenate([points, points.mean(axis=1, keepdims=True)], axis=1)  # the middle is the last
        self._points = np.ascontiguousarray(both.swapaxes(1, 2))  # [T, 3, P + 1]
        self._top = int(np.argmax(template[moving, 1]))
        self._masks = [mask > _INSIDE for mask in masks]

    def fit(self, reading: Reading) -> OutlineFit:
        """Return how the cameras of these T frames fit."""
        return self._compared(self._heads(reading))

    def shifts(self, reading: Reading) -> Callable[[np.ndarray], OutlineFit]:
        """Return what says how these cameras fit with their principal points moved by (x, y) pixels."""
        heads = self._heads(reading)
        return lambda shift: self._compared(replace(heads, middle=heads.middle + shift))

    def _heads(self, reading: Reading) -> _Heads:
        middles, ups, reaches, front = [], [], [], []
        for frame, points in enumerate(self._points):
            pixels, depth = _project(reading, frame, points)
            front.append(float((depth > 0).mean()))
            with np.errstate(invalid="ignore"):
                up, reach = _reach(pixels[:, :-1] - pixels[:, -1:], pixels[:, self._top] - pixels[:, -1])
            middles.append(pixels[:, -1])
            ups.append(up)
            reaches.append(reach)
        return _Heads(np.array(middles), np.array(ups), np.array(reaches), float(np.mean(front)))

    def _compared(self, heads: _Heads) -> OutlineFit:
        margins, radii = [], []
        for middle, up, reach, mask in zip(heads.middle, heads.up, heads.reach, self._masks, strict=True):
            with np.errstate(invalid="ignore"):
                mesh, seen = _rays(reach, middle, up, mask)
            margins.append(seen - mesh)
            radii.append(mesh)
        margin, radius = np.array(margins), np.array(radii)
        if not np.isfinite(margin).any():
            return OutlineFit(np.inf, np.inf, np.inf, 1.0, heads.front, margin)
        size = max(float(np.nanmedian(radius + margin)), 1.0)  # of the mask: no camera changes it
        cap = _CAP * size
        outside = np.clip(-margin, 0, cap)
        usual = _median(margin)
        change = np.clip(np.abs(margin - usual), 0, cap)
        excess = np.clip(margin - _HAIR * radius, 0, cap)
        means = [float(np.nanmean(part)) for part in (outside, change, excess)]
        return OutlineFit(means[0], means[1], means[2], size, heads.front, margin)


def judge(outlines: Outlines, reading: Reading, frames: Sequence[int], setting: Setting) -> OutlineVerdict:
    """Return whether cameras fit, and which known fault undone makes them fit. reading: of all frames of the file."""
    index = np.asarray(frames)
    as_read = outlines.fit(reading.take(index))
    tried: list[tuple[float, OutlineFit, Reading, str]] = []

    def consider(found: OutlineFit, mended: Reading, what: str, cost: float, gain: float) -> None:
        enough = min(_FAR, _RATIO * as_read.share, as_read.share - gain)
        if found.share < enough:
            tried.append((found.share + _SURPRISE * (cost - ORDINARY), found, mended, what))

    for step in steps(reading, setting):
        mended = step.undo(reading)
        consider(outlines.fit(mended.take(index)), mended, step.what, step.cost, _GAIN)
    shifted = _shifted(outlines, reading, index)
    if shifted is not None:
        consider(*shifted, UNUSUAL, _GAIN_SHIFT)
    if not tried:
        return OutlineVerdict(as_read, as_read, None, "")
    _, best, mended, what = min(tried, key=lambda each: each[0])
    return OutlineVerdict(as_read, best, mended, what)


def _shifted(outlines: Outlines, reading: Reading, index: np.ndarray) -> tuple[OutlineFit, Reading, str] | None:
    """Return the fit with the principal point moved to where it is best, by a search that halves its steps."""
    size = np.array(reading.image, np.float64)
    fit, shift = outlines.shifts(reading.take(index)), np.zeros(2)
    best = fit(shift)
    if not np.isfinite(best.score):
        return None
    for step in _SHIFT_STEPS:
        moving = True
        while moving:
            moving = False
            for direction in ((1, 0), (-1, 0), (0, 1), (0, -1)):
                tried = shift + np.array(direction) * step * size
                if np.abs(tried / size).max() > _MOST_SHIFT:
                    continue
                found = fit(tried)
                if found.score < best.score - 1e-9:
                    best, shift, moving = found, tried, True
    x, y = shift
    K = reading.K.copy()
    K[:, :2, 2] += shift
    moved = replace(reading, K=K, angles=None)
    return best, moved, f"move the principal point by about ({x:+.0f}, {y:+.0f}) pixels"


def _project(reading: Reading, frame: int, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return pixels [2, P] and depths [P] of points [3, P]."""
    at = reading.R[frame] @ points + reading.t[frame][:, None]
    pixels, depth = at[:2], at[2]
    pixels /= np.where(np.abs(depth) < 1e-9, 1e-9, depth)
    pixels *= np.diagonal(reading.K[frame])[:2, None]
    pixels += reading.K[frame][:2, 2:]
    return pixels, depth


def _reach(offsets: np.ndarray, top: np.ndarray) -> tuple[float, np.ndarray]:
    """Return the angle of the head's top and how far points go along each ray [A], NaN where there are none.

    offsets: [2, P] pixels from the head's middle; top: [2], that of its top.
    """
    up = float(np.arctan2(top[1], top[0]))
    along, across = np.array([[np.cos(up), np.sin(up)], [-np.sin(up), np.cos(up)]]) @ offsets
    slot = np.round((np.arctan2(across, along) - np.deg2rad(_ANGLES[0])) / np.deg2rad(_ANGLES[1] - _ANGLES[0]))
    inside = (slot >= 0) & (slot < len(_ANGLES))
    furthest = np.zeros(len(_ANGLES))
    np.maximum.at(furthest, slot[inside].astype(int), np.hypot(along[inside], across[inside]))
    return up, np.where(furthest > 0, furthest, np.nan)


def _rays(mesh: np.ndarray, centre: np.ndarray, up: float, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return along each ray [A] how far mesh and mask go, both up to the picture's edge; NaN for what cannot be seen.

    Where the mask goes on to the picture's edge, only that it is not smaller can be known: it counts as the mesh's own.
    """
    height, width = mask.shape
    angles = up + np.deg2rad(_ANGLES)
    directions = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    with np.errstate(divide="ignore"):
        edges = np.where(directions > 0, (np.array([width, height]) - centre) / directions, -centre / directions)
    edge = np.clip(np.nan_to_num(edges.min(axis=1), nan=0.0), 0, 4 * max(width, height))
    if not ((centre >= 0) & (centre < (width, height))).all():
        return mesh, np.zeros(len(angles))  # the head's middle is beside the picture
    lengths = np.arange(0, int(np.ceil(edge.max())) + 1)
    columns, rows = (np.floor(centre[i] + lengths[:, None] * directions[:, i]).astype(int) for i in (0, 1))
    within = lengths[:, None] < edge
    hit = mask[np.clip(rows, 0, height - 1), np.clip(columns, 0, width - 1)] & within
    padded = np.vstack([hit, np.zeros((_HOLE, len(angles)), bool)])
    solid = np.logical_or.reduce([padded[i : i + len(lengths)] for i in range(_HOLE)])
    left = np.argmin(np.vstack([solid, np.zeros((1, len(angles)), bool)]), axis=0).astype(float)
    cut = left >= np.floor(edge)
    mesh = np.minimum(mesh, edge)
    return mesh, np.where(cut, np.where(mesh >= np.floor(edge), edge, np.nan), left)


def _median(margins: np.ndarray) -> np.ndarray:
    """Return the median [A] over frames of what is known."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        result: np.ndarray = np.nanmedian(margins, axis=0)
    return result
