"""Intervals hold what they should as often as they should, and differences are paired."""

from fractions import Fraction

import numpy as np
import pytest

from marotte.runtime.compare.blocks import Blocks, Quantity, draws, estimate, mean, sampled, subtracted
from marotte.runtime.compare.model import Value

FPS = Fraction(25)


@pytest.mark.parametrize(
    ("frames", "fps", "blocks", "last"),
    [
        (250, 25, 10, 25),
        (260, 25, 10, 35),
        (263, 25, 11, 13),
        (5, 25, 1, 5),
        (0, 25, 1, 0),
        (300, "30000/1001", 10, 30),
    ],
)
def test_blocks_are_seconds(frames, fps, blocks, last):
    found = Blocks(frames, Fraction(fps), resamples=10)
    assert len(found) == blocks and found.weights.shape == (11, blocks)
    assert frames - found.starts[-1] == last
    values = np.arange(frames, dtype=float)
    sums = found.added(values, np.ones(frames, bool))
    assert sums.sum() == values.sum() and sums.shape == (blocks,)
    assert found.added(np.full((frames, 2, 3), np.nan), np.zeros(frames, bool)).shape == (blocks, 2, 3)


def test_a_mean_is_of_what_is_known():
    blocks = Blocks(200, FPS)
    values = np.random.default_rng(0).normal(5, 1, 200)
    values[:30] = np.nan
    found = blocks.value(mean(blocks, values))
    assert found.value == pytest.approx(np.nanmean(values)) and found.count == 170
    assert found.low < 5 < found.high and found.high - found.low < 1


@pytest.mark.parametrize("count", [4, 8, 20])
def test_intervals_hold_the_truth_as_often_as_they_say(count):
    """95 % of them; with few blocks plain percentiles would be far too short."""
    held = 0
    for seed in range(300):
        per_block = np.random.default_rng(seed).normal(0, 1, count)
        weights = draws(count, 400, seed)
        found = estimate(weights @ per_block / count, np.ones(count))
        held += found.low <= 0 <= found.high
    assert 0.9 < held / 300 < 0.995


def test_what_moves_both_arms_falls_out_of_a_difference():
    rng = np.random.default_rng(0)
    blocks = Blocks(500, FPS)
    common = np.repeat(rng.normal(0, 5, 20), 25)
    first, other = (common + rng.normal(shift, 0.1, 500) for shift in (0, 0.1))
    apart = blocks.difference(mean(blocks, other), mean(blocks, first))
    assert apart.differs and apart.value == pytest.approx(0.1, abs=0.03)
    assert blocks.value(mean(blocks, first)).high - blocks.value(mean(blocks, first)).low > 2
    assert apart.high - apart.low < 0.1


def test_a_difference_is_of_the_frames_that_both_have():
    blocks = Blocks(200, FPS)
    values = np.random.default_rng(0).normal(0, 1, 200)
    gaps = np.where(np.arange(200) % 7 == 0, np.nan, values)
    apart = blocks.difference(mean(blocks, gaps), mean(blocks, values))
    assert (apart.value, apart.low, apart.high) == (0, 0, 0)
    nowhere = blocks.difference(mean(blocks, np.where(np.isnan(gaps), values, np.nan)), mean(blocks, gaps))
    assert nowhere.value is None and "both" in nowhere.note
    assert blocks.difference(mean(blocks, values, kind="a"), mean(blocks, values)).value is None


def test_few_blocks_have_no_interval():
    blocks = Blocks(60, FPS)
    found = blocks.value(mean(blocks, np.arange(60.0)))
    assert (found.value, found.low, found.high) == (29.5, None, None) and "2 blocks" in found.note
    # Frames of one second among ten are one block.
    blocks = Blocks(250, FPS)
    found = blocks.value(mean(blocks, np.where(np.arange(250) < 20, 1.0, np.nan)))
    assert found.low is None and "1 block," in found.note


def test_an_interval_stays_where_the_figure_can_be():
    blocks = Blocks(100, FPS)
    hits = (np.arange(100) > 6).astype(float)
    found = blocks.value(mean(blocks, hits, least=0, most=1))
    assert found.high == 1 and 0 <= found.low < found.value


def test_rounding_is_no_difference():
    assert subtracted(np.array([1.0, 5.0]), np.array([1.0 + 1e-9, 4.0])).tolist() == [0, 1]


def test_samples_in_turns():
    rng = np.random.default_rng(0)
    turns = [rng.gamma(4, 3, 50) + slow for slow in rng.normal(0, 2, 12)]
    slower = [turn * 1.05 for turn in turns]
    values, differences = sampled({"first": turns, "same": turns, "slower": slower})
    assert values["first"].value == pytest.approx(np.concatenate(turns).mean()) and values["first"].count == 600
    assert (differences["same"].value, differences["same"].low, differences["same"].high) == (0, 0, 0)
    assert differences["slower"].differs and list(differences) == ["same", "slower"]
    assert differences["slower"].value == pytest.approx(0.05 * values["first"].value)


@pytest.mark.parametrize("quantile", [0.5, 0.95, 0.99, 1.0])
def test_quantiles_of_samples(quantile):
    rng = np.random.default_rng(1)
    turns = [rng.gamma(2, 1, size) for size in (30, 50, 1, 80, 64)]
    values, _ = sampled({"only": [*turns, np.array([np.nan])]}, quantile=quantile)
    expected = np.quantile(np.concatenate(turns), quantile, method="inverted_cdf")
    assert values["only"].value == expected and values["only"].low <= expected <= values["only"].high


def test_turns_that_are_missing():
    ones = np.ones(5)
    values, differences = sampled({"a": [ones, ones, ones, ones], "b": [ones * 2, np.zeros(0), ones * 2], "c": []})
    assert values["b"].value == 2 and values["c"] == Value(None, note="nothing was sampled")
    assert differences["b"].value == 1 and differences["b"].low is None
    assert differences["c"].value is None and differences["c"].note


def test_a_share_of_all_or_none_is_not_beyond_doubt():
    """All of 13 that come out leave room for a chance of 0.753; draws of blocks alone would leave none."""
    blocks = Blocks(325, Fraction(25))
    count = np.ones(13)

    def share(met: float) -> Quantity:
        parts = np.stack([met * count, count], axis=1)
        return Quantity(
            np.ones(325, bool),
            lambda keep: (parts[:, 1], parts),
            lambda sums: sums[:, 0] / sums[:, 1],
            0,
            1,
            share=True,
        )

    every, none = blocks.value(share(1.0)), blocks.value(share(0.0))
    assert (every.value, every.high, none.value, none.low) == (1, 1, 0, 0)
    assert every.low == pytest.approx(0.025 ** (1 / 13)) == pytest.approx(0.753, abs=1e-3)
    assert none.high == pytest.approx(1 - every.low)
    apart = blocks.difference(share(1.0), share(1.0))
    assert (apart.value, apart.low, apart.high) == (0, 0, 0)
