"""The clock, motion and frames."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from marotte.errors import MarotteError
from marotte.runtime.clock import as_fps, frame_count, frame_tick, frame_ticks
from marotte.runtime.frames import Frames, to_bytes
from marotte.runtime.motion import Motion, concatenate, empty

rates = st.sampled_from([Fraction(25), Fraction(30), Fraction(60), Fraction(30000, 1001), Fraction(50, 3)])


@pytest.mark.parametrize(
    ("given_", "exact"),
    [
        (25, Fraction(25)),
        ("60", Fraction(60)),
        ("30000/1001", Fraction(30000, 1001)),
        (29.97, Fraction(30000, 1001)),
        ("59.94", Fraction(60000, 1001)),
        (23.976, Fraction(24000, 1001)),
        ("12.5", Fraction(25, 2)),
    ],
)
def test_frame_rates_are_exact(given_, exact):
    assert as_fps(given_) == exact


@pytest.mark.parametrize("wrong", ["fast", 0, -25, 1000, "1/0", float("nan"), float("inf"), None])
def test_wrong_frame_rates_are_named(wrong):
    with pytest.raises(MarotteError, match="frame rate"):
        as_fps(wrong)


@given(rates, st.integers(0, 10**7))
def test_ticks_are_floored_exactly(fps, index):
    tick = frame_tick(index, fps)
    assert tick <= index * 48000 / fps < tick + 1
    assert frame_ticks(index, index + 3, fps).tolist() == [frame_tick(index + i, fps) for i in range(3)]


@given(rates, st.integers(1, 10**9), st.sampled_from([8000, 16000, 44100, 48000]))
def test_the_last_frame_starts_before_the_end(fps, samples, rate):
    duration = Fraction(samples, rate)
    count = frame_count(duration, fps)
    assert (count - 1) / fps < duration <= count / fps


def test_motion_checks_its_arrays():
    codes = np.zeros((3, 106))
    motion = Motion(codes, 25, "flame2020", eyes=np.zeros((3, 6)))
    assert motion.codes.dtype == np.float32 and len(motion) == 3 and motion.duration == Fraction(3, 25)
    with pytest.raises(ValueError, match="read-only"):
        motion.codes[0] = 1
    for wrong, words in (
        ({"codes": np.zeros((3, 105))}, r"codes has shape \[3, 105\]"),
        ({"codes": np.full((3, 106), np.nan)}, "not finite at frame 0"),
        ({"eyes": np.zeros((2, 6))}, r"eyes has shape \[2, 6\], expected \[3, 6\]"),
        ({"basis": "arkit"}, "basis 'arkit' is unknown"),
        ({"fps": 0}, "frame rate"),
    ):
        with pytest.raises(MarotteError, match=words):
            Motion(**{"codes": codes, "fps": Fraction(25), "basis": "flame2020", **wrong})


def test_motion_is_cut_and_joined():
    codes = np.arange(4 * 106, dtype=np.float32).reshape(4, 106)
    motion = Motion(codes, Fraction(25), "arkit52", eyelids=np.ones((4, 2)))
    parts = [motion[:1], empty(Fraction(25), "arkit52"), motion[1:]]
    joined = concatenate(parts)
    assert np.array_equal(joined.codes, codes) and np.array_equal(joined.eyelids, motion.eyelids)
    assert np.array_equal(motion.jaw, codes[:, 103:106]) and np.array_equal(motion.head, codes[:, 100:103])
    with pytest.raises(MarotteError, match="cannot join"):
        concatenate([motion, empty(Fraction(30), "arkit52")])


def test_an_extra_that_only_one_part_has_is_zero_in_the_other():
    plain = Motion(np.zeros((1, 106)), 25, "arkit52")
    lids = Motion(np.zeros((1, 106)), 25, "arkit52", eyelids=np.ones((1, 2)))
    assert concatenate([plain, lids]).eyelids.tolist() == [[0, 0], [1, 1]]


def test_bytes_round_half_up_and_clamp():
    assert to_bytes(np.array([-1, 0, 0.5 / 255, 0.499 / 255, 1, 2], np.float32)).tolist() == [0, 0, 1, 0, 255, 255]


@pytest.mark.parametrize(("kind", "shape"), [("rgb24", (6, 4, 3)), ("rgba", (6, 4, 4)), ("yuv420p", (9, 4))])
def test_frames_know_their_size(kind, shape):
    frames = Frames(np.zeros(2, np.int64), np.zeros((2, *shape), np.uint8), kind)
    assert (frames.width, frames.height, len(frames)) == (4, 6, 2)
    with pytest.raises(MarotteError):
        Frames(np.zeros(3, np.int64), np.zeros((2, *shape), np.uint8), kind)
    with pytest.raises(MarotteError):
        Frames(np.zeros(2, np.int64), np.zeros((2, *shape), np.float32), kind)
