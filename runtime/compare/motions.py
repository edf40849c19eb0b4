"""Two drivers' motions on one head, in figures that papers on speech-driven heads report, in parts that add up."""

from dataclasses import dataclass

import numpy as np

from marotte.runtime.compare.blocks import Blocks, Quantity, mean
from marotte.runtime.motion import Motion
from marotte.runtime.motion_head import MeasuredHead
from marotte.runtime.retime import retime


@dataclass(frozen=True, eq=False)
class Apart:
    """How far a motion is from another, frame by frame on the comparison's clock, NaN where either has ended.

    lips: [T] mm, the largest distance of a lip vertex; gap: [T] mm, the absolute difference of the lips' gaps. None
    where the head has no such region. upper: [B, 1 + 4 U] for each block frames, then sums and sums of squares of each
    upper-face vertex' distance from the neutral face, in mm, of the second motion and of the first.
    """

    lips: np.ndarray | None
    gap: np.ndarray | None
    upper: np.ndarray | None


def apart(first: Motion, second: Motion, head: MeasuredHead, blocks: Blocks) -> Apart:
    """Return how far the first motion is from the second, on a head of their basis."""
    one, two = (retime(motion, blocks.fps) for motion in (first, second))
    frames = min(len(one), len(two), blocks.frames)
    lips, gap = np.full(blocks.frames, np.nan), np.full(blocks.frames, np.nan)
    upper = np.zeros((len(blocks), 1 + 4 * len(head.rest.upper[0])))
    owner = np.searchsorted(blocks.starts, np.arange(frames), "right") - 1
    codes = one.codes[:frames], two.codes[:frames]
    if np.array_equal(*codes):
        lips[:frames] = gap[:frames] = 0
        upper[:, 0] = np.bincount(owner, minlength=len(blocks))
    else:
        start = 0
        for pair in zip(head.frames(codes[0]), head.frames(codes[1]), strict=True):
            now = slice(start, start + len(pair[0].lips))
            if head.lips_by:
                lips[now] = np.linalg.norm(pair[0].lips - pair[1].lips, axis=-1).max(axis=1)
            if pair[0].gap is not None and pair[1].gap is not None:
                gap[now] = np.abs(pair[0].gap - pair[1].gap)
            moved = [np.linalg.norm(posed.upper - head.rest.upper, axis=-1) for posed in reversed(pair)]
            numbers = np.concatenate([np.ones((len(moved[0]), 1)), *moved, *(each**2 for each in moved)], axis=1)
            for block in np.unique(owner[now]):
                upper[block] += numbers[owner[now] == block].sum(axis=0)
            start = now.stop
    return Apart(
        lips if head.lips_by else None, gap if head.rest.gap is not None else None, upper if head.upper_by else None
    )


def lip_error(found: Apart, blocks: Blocks, *, squared: bool) -> Quantity | str:
    """Return LVE in mm^2, or its square root's like in mm."""
    if found.lips is None:
        return "the head has no lips to be found on it"
    return mean(blocks, found.lips**2 if squared else found.lips, least=0)


def gap_error(found: Apart, blocks: Blocks) -> Quantity | str:
    """Return MOD in mm."""
    return "the head has no mouth landmarks" if found.gap is None else mean(blocks, found.gap, least=0)


def upper_deviation(found: Apart, blocks: Blocks) -> Quantity | str:
    """Return FDD in mm: whatever frames are to be kept, it is taken over those of both motions."""
    if found.upper is None:
        return "the head has no upper face to be found on it"
    parts = found.upper
    return Quantity(np.ones(blocks.frames, bool), lambda keep: (parts[:, 0], parts), _deviation)


def _deviation(parts: np.ndarray) -> np.ndarray:
    """Return FDD [R] of sums [R, 1 + 4 U]."""
    count = parts[:, :1]
    with np.errstate(invalid="ignore", divide="ignore"):
        sums, squares = np.split(parts[:, 1:] / count, 2, axis=1)
    spread = np.sqrt(np.maximum(squares - sums**2, 0))
    second, first = np.split(spread, 2, axis=1)
    return np.asarray((second - first).mean(axis=1))
