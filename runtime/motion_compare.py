"""Two motions compared: each dimension, and on a head model the figures that papers on talking heads report.

`DEFINITIONS` says in words what each figure is. The first motion is measured against the second, the reference.
"""

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from marotte.errors import MarotteError
from marotte.runtime.motion import EXPRESSION, JAW, Motion
from marotte.runtime.motion_head import MeasuredHead
from marotte.runtime.motion_report import names
from marotte.runtime.retime import retime

LARGEST_LAG = 0.5  # seconds
# Fewer frames tell nothing about a lag.
_LEAST = 16
_WORST = 8

DEFINITIONS = {
    "dimensions": "error of a dimension: first motion less second, its mean and its largest absolute value, and "
    "Pearson's r of the two tracks. Expression in the basis' own units, rotation vectors in degrees",
    "lip_vertex_error": "LVE in mm^2: in each frame the largest squared distance of a lip vertex from where the "
    "second motion has it, averaged over frames (as published for FaceFormer and CodeTalker, in squared model units)",
    "lip_vertex_distance": "the same without squaring, in mm: each frame's largest distance of a lip vertex, averaged",
    "lip_vertex_mean": "distance of lip vertices in mm, averaged over vertices and frames",
    "upper_face_deviation": "FDD in mm (CodeTalker): for each upper-face vertex the standard deviation over time of "
    "its distance from the neutral face, second motion less first, averaged over vertices. Above 0 the first motion's "
    "upper face is the stiller one; 0 can also mean that differences cancel",
    "upper_face_dynamics": "what FDD is the difference of, in mm, for the first and the second motion",
    "mouth_opening_difference": "MOD in mm: mean absolute difference of the lips' gap, which is the widest of three "
    "pairs of inner-lip landmarks (61-67, 62-66, 63-65) along the head's vertical axis, 0 where they touch or cross",
    "opening_correlation": "Pearson's r of the mouth's opening: of the lips' gap, or of the jaw's rotation where no "
    "head with landmarks was given",
    "lag_ms": "shift within 500 ms at which the first motion's opening follows the second's best (largest r of the "
    "frames that overlap, then a parabola through the neighbours, so that it is finer than a frame); above 0 the first "
    "is late. None where an opening does not move, or the best shift is the largest",
    "jitter": "how far a frame is from where its neighbours' straight line has it, times two: the mean absolute second "
    "difference, for the first and the second motion; expression in its own units, jaw in degrees, lips in mm a vertex",
}


@dataclass(frozen=True)
class Comparison:
    """What `compare` found; `DEFINITIONS` says what each figure is, None is one that could not be measured.

    frames, fps: of the common part. dimensions: 106 rows of name, mean, largest, correlation (None where a track does
    not move), unit. Pairs are for the first and the second motion. lips_by, upper_by, opening_by: what was measured.
    notes: what was done to the motions, and what is missing and why.
    """

    frames: int
    fps: float
    basis: str
    dimensions: list[dict[str, Any]]
    expression_mean: float
    head_mean_degrees: float
    jaw_mean_degrees: float
    jitter_expression: tuple[float, float]
    jitter_jaw_degrees: tuple[float, float]
    opening_by: str
    opening_correlation: float | None
    lag_ms: float | None
    lips_by: str = ""
    upper_by: str = ""
    lip_vertex_error_mm2: float | None = None
    lip_vertex_distance_mm: float | None = None
    lip_vertex_mean_mm: float | None = None
    jitter_lips_mm: tuple[float, float] | None = None
    upper_face_deviation_mm: float | None = None
    upper_face_dynamics_mm: tuple[float, float] | None = None
    mouth_opening_difference_mm: float | None = None
    notes: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        return asdict(self)


def compare(first: Motion, second: Motion, head: MeasuredHead | None = None) -> Comparison:
    """Return how far the first motion is from the second.

    The second is brought to the first's rate, and both are cut to the shorter one. Raises MarotteError where their
    bases differ, or the head's is another, or no frame is common to both.
    """
    if first.basis != second.basis:
        raise MarotteError(
            f"the first motion is in {first.basis}, the second in {second.basis}: coefficients of different bases "
            "mean different things; compare motions of one basis"
        )
    notes = []
    if second.fps != first.fps:
        notes.append(f"the second motion was brought from {float(second.fps):g} to {float(first.fps):g} fps")
        second = retime(second, first.fps)
    frames = min(len(first), len(second))
    if not frames:
        raise MarotteError("one of the two motions has no frames: there is nothing to compare")
    if len(first) != len(second):
        rest = abs(len(first) - len(second))
        longer = "first" if len(first) > len(second) else "second"
        notes.append(f"compared over the {frames} frames that both have; the {longer} motion has {rest} more")
    codes = first.codes[:frames], second.codes[:frames]
    difference = np.abs(codes[0].astype(np.float64) - codes[1])
    measured: dict[str, Any] = {}
    if head is None:
        notes.append(
            "no head model (--head): lip vertex error, upper-face deviation and opening in mm are not measured"
        )
    else:
        head.check(first)
        measured = _on_head(head, *codes)
        missing = [n for n, by in (("lips", head.lips_by), ("an upper face", head.upper_by)) if not by]
        if missing:
            notes.append(f"{head.name} has neither masks nor landmarks for {' and '.join(missing)}: not measured")
    gaps = measured.pop("gaps", None)
    one, two = gaps or (np.rad2deg(part[:, JAW.start].astype(np.float64)) for part in codes)
    if head is not None and gaps is None:
        notes.append(f"{head.name} has no mouth landmarks: mouth opening is not measured in mm")
    return Comparison(
        frames=frames,
        fps=float(first.fps),
        basis=first.basis,
        dimensions=_dimensions(first, *codes),
        expression_mean=float(difference[:, EXPRESSION].mean()),
        head_mean_degrees=float(np.rad2deg(difference[:, 100:103]).mean()),
        jaw_mean_degrees=float(np.rad2deg(difference[:, JAW]).mean()),
        jitter_expression=_jitter(codes, EXPRESSION, 1.0),
        jitter_jaw_degrees=_jitter(codes, JAW, float(np.rad2deg(1))),
        opening_by="lips' gap" if gaps is not None else "jaw rotation",
        opening_correlation=correlation(one, two),
        lag_ms=_milliseconds(lag_frames(one, two, round(LARGEST_LAG * float(first.fps))), float(first.fps)),
        notes=tuple(notes),
        **measured,
    )


def correlation(first: np.ndarray, second: np.ndarray) -> float | None:
    """Return Pearson's r of two tracks [T]; None where one does not move by more than float32 rounds."""
    a, b = first - first.mean(), second - second.mean()
    for track, centred in ((first, a), (second, b)):
        if not centred @ centred > 1e-12 * len(track) * np.abs(track).max() ** 2:
            return None
    return float(np.clip(a @ b / math.sqrt((a @ a) * (b @ b)), -1, 1))


def lag_frames(first: np.ndarray, second: np.ndarray, most: int) -> float | None:
    """Return by how many frames, within `most`, the first track [T] is behind the second; None where nothing tells.

    Raw r at each whole shift over the frames that overlap, at least half of them, then the top of a parabola
    through the best and its neighbours.
    """
    if len(first) < _LEAST:
        return None
    most = min(most, len(first) // 2)
    found = []
    for shift in range(-most, most + 1):
        late, early = max(shift, 0), max(-shift, 0)
        r = correlation(first[late : len(first) - early], second[early : len(second) - late])
        found.append(-1.0 if r is None else r)
    best = int(np.argmax(found))
    if found[best] <= 0 or best in (0, len(found) - 1):
        return None
    before, top, after = found[best - 1 : best + 2]
    bend = before - 2 * top + after
    return best - most + (0.5 * (before - after) / bend if bend else 0.0)


def describe(found: Comparison) -> list[str]:
    """Return lines that say how far the first motion is from the second."""
    lines = [f"{found.frames} frames at {found.fps:g} fps, basis {found.basis}", *found.notes]
    lines.append(f"{'dimension':<22}{'mean':>9}{'largest':>9}{'r':>8}")
    rows = sorted(found.dimensions[:100], key=lambda row: -row["mean"])[:_WORST] + found.dimensions[100:]
    for row in rows:
        unit = " degrees" if row["unit"] == "degrees" else ""
        if row["largest"] > 0:
            r = "-" if row["correlation"] is None else f"{row['correlation']:.4f}"
            lines.append(f"{row['name']:<22}{row['mean']:9.4f}{row['largest']:9.4f}{r:>8}{unit}")
    lines.append(
        f"mean |error|: expression {found.expression_mean:.5f}, head {found.head_mean_degrees:.4f} degrees, jaw "
        f"{found.jaw_mean_degrees:.4f} degrees"
    )
    if found.lips_by:
        lines.append(
            f"lip vertex error: {found.lip_vertex_error_mm2:.5f} mm^2 (LVE), largest "
            f"{found.lip_vertex_distance_mm:.4f} mm, mean {found.lip_vertex_mean_mm:.4f} mm; lips: {found.lips_by}"
        )
    if found.upper_face_dynamics_mm:
        one, two = found.upper_face_dynamics_mm
        lines.append(
            f"upper face: deviation {found.upper_face_deviation_mm:+.5f} mm (FDD: {two:.4f} less {one:.4f}); "
            f"{found.upper_by}"
        )
    opening = f"mouth opening ({found.opening_by}): "
    if found.mouth_opening_difference_mm is not None:
        opening += f"difference {found.mouth_opening_difference_mm:.4f} mm, "
    r = "none (it does not move)" if found.opening_correlation is None else f"{found.opening_correlation:.4f}"
    lag = "not to be told" if found.lag_ms is None else f"{round(found.lag_ms, 1) + 0.0:+.1f} ms"
    lines.append(f"{opening}r {r}, lag {lag}")
    jitter = f"jitter, first and second: expression {_pair(found.jitter_expression)}"
    jitter += f", jaw {_pair(found.jitter_jaw_degrees)} degrees"
    if found.jitter_lips_mm:
        jitter += f", lips {_pair(found.jitter_lips_mm)} mm"
    return [*lines, jitter]


def _on_head(head: MeasuredHead, first: np.ndarray, second: np.ndarray) -> dict[str, Any]:
    """Return the figures that need vertices, and `gaps`, the openings in mm or None."""
    largest: list[np.ndarray] = []
    mean: list[np.ndarray] = []
    gaps: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
    sums = np.zeros((2, 2, len(head.rest.upper[0])))  # of the distances from the neutral face, and of their squares
    bends: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
    tails: list[np.ndarray] = [np.zeros((0, *head.rest.lips[0].shape))] * 2
    for pair in zip(head.frames(first), head.frames(second), strict=True):
        if head.lips_by:
            distance = np.linalg.norm(pair[0].lips - pair[1].lips, axis=-1)
            largest.append(distance.max(axis=1))
            mean.append(distance.mean(axis=1))
        for index, posed in enumerate(pair):
            moved = np.linalg.norm(posed.upper - head.rest.upper, axis=-1)
            sums[index] += moved.sum(axis=0), (moved**2).sum(axis=0)
            lips = np.concatenate([tails[index], posed.lips])
            if head.lips_by:
                bends[index].append(np.linalg.norm(np.diff(lips, n=2, axis=0), axis=-1).mean(axis=1))
            tails[index] = lips[-2:]
            if posed.gap is not None:
                gaps[index].append(posed.gap)
    out: dict[str, Any] = {"lips_by": head.lips_by, "upper_by": head.upper_by, "gaps": None}
    if head.lips_by:
        widest = np.concatenate(largest)
        out |= {
            "lip_vertex_error_mm2": float((widest**2).mean()),
            "lip_vertex_distance_mm": float(widest.mean()),
            "lip_vertex_mean_mm": float(np.concatenate(mean).mean()),
            "jitter_lips_mm": tuple(_mean(np.concatenate(part)) for part in bends),
        }
    if head.upper_by:
        total, squares = sums[:, 0] / len(first), sums[:, 1] / len(first)
        dynamics = np.sqrt(np.maximum(squares - total**2, 0)).mean(axis=1)
        out["upper_face_dynamics_mm"] = float(dynamics[0]), float(dynamics[1])
        out["upper_face_deviation_mm"] = float(dynamics[1] - dynamics[0])
    if gaps[0]:
        one, two = (np.concatenate(part) for part in gaps)
        out["gaps"] = one, two
        out["mouth_opening_difference_mm"] = float(np.abs(one - two).mean())
    return out


def _dimensions(motion: Motion, first: np.ndarray, second: np.ndarray) -> list[dict[str, Any]]:
    rows = []
    for index, label in enumerate(names(motion)):
        one, two = (codes[:, index].astype(np.float64) for codes in (first, second))
        turned = index >= EXPRESSION.stop
        error = np.abs(one - two) * (np.rad2deg(1) if turned else 1.0)
        rows.append(
            {
                "name": label,
                "mean": float(error.mean()),
                "largest": float(error.max()),
                "correlation": correlation(one, two),
                "unit": "degrees" if turned else "",
            }
        )
    return rows


def _jitter(codes: tuple[np.ndarray, np.ndarray], part: slice, factor: float) -> tuple[float, float]:
    one, two = (_mean(np.abs(np.diff(c[:, part].astype(np.float64), n=2, axis=0))) * factor for c in codes)
    return one, two


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if values.size else 0.0


def _milliseconds(frames: float | None, fps: float) -> float | None:
    return None if frames is None else frames / fps * 1000


def _pair(values: tuple[float, float]) -> str:
    return f"{values[0]:.4f} and {values[1]:.4f}"
