"""Intervals by drawing blocks of a second again and again, the same ones for all arms, so that differences are paired.

A figure is made of numbers that add up over frames: a mean of a sum and a count, r of its moments. A block is a whole
second of frames (the last one from half a second to one and a half), one block is taken to be independent of another,
and 1000 times as many blocks as there are are drawn with replacement. Every arm gets the same draws: what moves all
arms alike falls out of a difference. Intervals are the percentiles 2.5 and 97.5; since those of few blocks are too
short, they are stretched about the value by t / z sqrt(n / (n - 1)), with n blocks that say something and Student's t
of n - 1 degrees of freedom.

Sources: Efron, 1979, Bootstrap methods: another look at the jackknife; Carlstein, 1986, The use of subseries values
(blocks that do not overlap); Hesterberg, 2015, What teachers should know about the bootstrap (why, and how far, to
stretch).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np

from marotte.runtime.compare.model import Value
from marotte.runtime.lipsync.measure import ratio

RESAMPLES = 1000
# Fewer blocks tell no interval.
FEWEST = 3
_Z = 1.959963984540054
# What differs by less than so much of the values, rounding did.
_ROUNDING = 1e-6
# Samples times resamples that are looked at at once.
_AT_ONCE = 1 << 22


@dataclass(frozen=True, eq=False)
class Quantity:
    """What a figure of one arm is made of: numbers that add up over frames.

    known: [T] bool, the frames that it has. sums: of the frames to keep [T] (a part of those known), over how much it
    is taken in each block [B], and the numbers that add up [B, ...]. pooled: from their sums [R, ...] the figure [R],
    NaN where nothing decides it. least, most: what it cannot leave. kind: how it was measured; only quantities of one
    kind have a difference. note: for whoever reads the figure; without: why it has no value, where it has none. share:
    whether it is one of the things that `sums` counts.
    """

    known: np.ndarray
    sums: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
    pooled: Callable[[np.ndarray], np.ndarray]
    least: float = -np.inf
    most: float = np.inf
    kind: str = ""
    note: str = ""
    without: str = "too few frames tell it"
    share: bool = False


class Blocks:
    """The blocks of a film's frames, and which of them are drawn.

    starts: [B] the first frame of each. weights: [1 + resamples, B] how often each is drawn; row 0 takes each once.
    """

    def __init__(self, frames: int, fps: Fraction, *, resamples: int = RESAMPLES, seed: int = 0) -> None:
        self.frames, self.fps = frames, fps
        count = max(round(frames / fps), 1)
        self.starts = np.array([-((-k * fps.numerator) // fps.denominator) for k in range(count)], np.int64)
        self.weights = draws(count, resamples, seed)

    def __len__(self) -> int:
        return len(self.starts)

    def added(self, values: np.ndarray, keep: np.ndarray) -> np.ndarray:
        """Return values [T, ...] of the frames to keep [T] summed over each block: [B, ...] float64."""
        if not len(values):
            return np.zeros((len(self), *values.shape[1:]))
        kept = np.where(keep.reshape(-1, *(1,) * (values.ndim - 1)), values, 0)
        return np.add.reduceat(kept.astype(np.float64), self.starts, axis=0)

    def value(self, quantity: Quantity) -> Value:
        """Return the figure."""
        counts, parts = quantity.sums(quantity.known)
        pooled = quantity.pooled(_drawn(self.weights, parts))
        found = estimate(pooled, counts, least=quantity.least, most=quantity.most)
        if quantity.share and found.low == found.high:
            found = _none_or_all(found)
        note = quantity.without if found.value is None else "; ".join(filter(None, (quantity.note, found.note)))
        return replace(found, note=note)

    def difference(self, own: Quantity, first: Quantity) -> Value:
        """Return by how much the first arm's figure is less than the other's, over the frames that both have."""
        if own.kind != first.kind:
            return Value(None, note=f"measured in different ways: {own.kind or 'usual'}, first {first.kind or 'usual'}")
        both = own.known & first.known
        (counts, parts), (first_counts, first_parts) = own.sums(both), first.sums(both)
        one, other = (q.pooled(_drawn(self.weights, p)) for q, p in ((own, parts), (first, first_parts)))
        if np.isnan(one[0]) or np.isnan(other[0]):
            return Value(None, note="the frames that both have do not tell it")
        return estimate(subtracted(one, other), np.minimum(counts, first_counts))


def mean(
    blocks: Blocks,
    values: np.ndarray,
    *,
    least: float = -np.inf,
    most: float = np.inf,
    kind: str = "",
    note: str = "",
    without: str = Quantity.without,
) -> Quantity:
    """Return the mean of values [T], over the frames that have one; the rest as `Quantity` has it."""

    def sums(keep: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        parts = np.stack([blocks.added(values, keep), blocks.added(np.ones(len(values)), keep)], axis=1)
        return parts[:, 1], parts

    return Quantity(np.isfinite(values), sums, lambda parts: ratio(*parts.T), least, most, kind, note, without)


def draws(count: int, resamples: int = RESAMPLES, seed: int = 0) -> np.ndarray:
    """Return how often each of so many blocks is drawn: [1 + resamples, count]; row 0 takes each once."""
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(count, np.full(count, 1 / count), resamples)
    return np.concatenate([np.ones((1, count)), drawn])


def estimate(values: np.ndarray, counts: np.ndarray, *, least: float = -np.inf, most: float = np.inf) -> Value:
    """Return the figure of values [1 + resamples], of which the first is the figure itself, with its interval.

    counts: [B] over how much it was taken in each block. Resamples that decide nothing are left out.
    """
    value, blocks = float(values[0]), int((counts > 0).sum())
    if np.isnan(value):
        return Value(None)
    drawn = values[1:][~np.isnan(values[1:])]
    if blocks < FEWEST or not len(drawn):
        return Value(value, count=int(counts.sum()), note=_few(blocks))
    low, high = np.percentile(drawn, (2.5, 97.5))
    stretch = _stretch(blocks)
    low = min(low, value - stretch * (value - low))
    high = max(high, value + stretch * (high - value))
    return Value(value, float(max(low, least)), float(min(high, most)), int(counts.sum()))


def subtracted(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return one less other [1 + resamples], 0 where rounding alone tells them apart."""
    apart = one - other
    largest = np.maximum(np.abs(one), np.abs(other))
    return np.where(np.abs(apart) <= _ROUNDING * largest, 0.0, apart)


def sampled(
    arms: Mapping[str, Sequence[np.ndarray]], *, quantile: float | None = None, seed: int = 0
) -> tuple[dict[str, Value], dict[str, Value]]:
    """Return figures of samples that come in blocks, and their differences from the first arm.

    arms: by name, for each block (a turn, a second) its samples [n]; NaN counts as none. The mean, or the smallest
    sample that at least `quantile` (0 to 1) of all do not exceed. Blocks are paired by place as far as both arms have
    them, and for that figure the rest is left out.
    """
    values: dict[str, Value] = {}
    differences: dict[str, Value] = {}
    first: Sequence[np.ndarray] | None = None
    for name, given in arms.items():
        blocks = [np.asarray(block, np.float64)[np.isfinite(block)] for block in given]
        values[name] = _whole(blocks, quantile, seed)
        if first is None:
            first = blocks
            continue
        pairs = [pair for pair in zip(blocks, first, strict=False) if len(pair[0]) and len(pair[1])]
        if not pairs:
            differences[name] = Value(None, note="no turn that both have")
            continue
        weights = draws(len(pairs), seed=seed)
        one, other = ([pair[i] for pair in pairs] for i in (0, 1))
        apart = subtracted(_statistic(one, weights, quantile), _statistic(other, weights, quantile))
        differences[name] = estimate(apart, np.array([len(block) for block in one]))
    return values, differences


def _whole(blocks: Sequence[np.ndarray], quantile: float | None, seed: int) -> Value:
    filled = [block for block in blocks if len(block)]
    if not filled:
        return Value(None, note="nothing was sampled")
    drawn = _statistic(filled, draws(len(filled), seed=seed), quantile)
    return estimate(drawn, np.array([len(block) for block in filled]))


def _statistic(blocks: Sequence[np.ndarray], weights: np.ndarray, quantile: float | None) -> np.ndarray:
    """Return the mean or a quantile [R] of samples in blocks, drawn as weights [R, B] say."""
    counts = np.array([len(block) for block in blocks])
    if quantile is None:
        return ratio(weights @ np.array([block.sum() for block in blocks]), weights @ counts)
    samples = np.concatenate(list(blocks))
    order = np.argsort(samples, kind="stable")
    owner, ranked = np.repeat(np.arange(len(blocks)), counts)[order], samples[order]
    step = max(_AT_ONCE // len(samples), 1)
    out = []
    for start in range(0, len(weights), step):
        reached = np.cumsum(weights[start : start + step, owner], axis=1)
        wanted = np.maximum(np.ceil(quantile * reached[:, -1] - 1e-9), 1)
        out.append(ranked[(reached >= wanted[:, None]).argmax(axis=1)])
    return np.concatenate(out)


def _drawn(weights: np.ndarray, parts: np.ndarray) -> np.ndarray:
    """Return parts [B, ...] added up as weights [R, B] say: [R, ...]."""
    return (weights @ parts.reshape(len(parts), -1)).reshape(len(weights), *parts.shape[1:])


def _stretch(blocks: int) -> float:
    from scipy.special import stdtrit

    return float(stdtrit(blocks - 1, 0.975)) / _Z * float(np.sqrt(blocks / (blocks - 1)))


def _none_or_all(found: Value) -> Value:
    """Return a share of 0 or 1 with the interval that so few things leave it (Clopper and Pearson, 1934): no draw of
    blocks has any other."""
    if found.value not in (0, 1) or found.low is None:
        return found
    least = 0.025 ** (1 / found.count)
    return replace(found, low=least) if found.value else replace(found, high=1 - least)


def _few(blocks: int) -> str:
    return f"too little for an interval: {blocks} block{'s' if blocks > 1 else ''}, and {FEWEST} are needed"
