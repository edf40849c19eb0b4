"""The smoother: published weights, polynomials kept, and a stream that equals the one-shot bit for bit."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import savgol_filter

from marotte.errors import MarotteError
from marotte.runtime.motion import EXTRAS, Motion, empty
from marotte.runtime.smoothing import MotionSmoother, Smoother, postprocess, smooth

SPLITS = st.lists(st.one_of(st.integers(0, 3), st.integers(0, 30)), max_size=20)


def codes(frames, width=106, seed=0):
    return np.random.default_rng(seed).normal(size=(frames, width)).astype(np.float32)


def fed(smoother, rows, sizes):
    parts, at = [], 0
    for size in sizes:
        parts.append(smoother.feed(rows[at : at + size]))
        at += size
    return [*parts, smoother.feed(rows[at:]), smoother.finish()]


@pytest.mark.parametrize(
    ("column", "taps", "divisor"),
    [(7, [-3, 12, 17, 12, -3], 35), (101, [-21, 14, 39, 54, 59, 54, 39, 14, -21], 231)],
)
def test_an_impulse_shows_the_published_taps(column, taps, divisor):
    rows = np.zeros((41, 106))
    rows[20, column] = 1
    half = len(taps) // 2
    assert smooth(rows)[20 - half : 21 + half, column] == pytest.approx(np.array(taps) / divisor, abs=1e-7)
    assert np.count_nonzero(smooth(rows)) == len(taps)


@pytest.mark.parametrize("frames", [9, 10, 14, 200])
def test_against_scipy(frames):
    """In double: in float32 scipy fits the ends in float32 too and is off by some 1e-6."""
    rows = codes(frames).astype(np.float64)
    want = savgol_filter(rows, 5, 2, axis=0)
    want[:, 100:103] = savgol_filter(rows[:, 100:103], 9, 3, axis=0)
    assert np.abs(smooth(rows) - want).max() < 1e-6


def test_polynomials_are_kept_up_to_the_ends():
    time = np.linspace(-1, 1, 30)
    rows = np.tile((0.3 + time - 2 * time**2)[:, None], (1, 106))
    rows[:, 100:103] += time[:, None] ** 3
    assert np.abs(smooth(rows) - rows).max() < 1e-6


@settings(deadline=None, max_examples=60)
@given(frames=st.integers(0, 120), width=st.sampled_from([2, 101, 106, 120]), sizes=SPLITS)
def test_stream_equals_one_shot_bit_for_bit(frames, width, sizes):
    rows = codes(frames, width, seed=frames)
    smoother = Smoother()
    got = np.concatenate(fed(smoother, rows, sizes))
    assert got.dtype == np.float32 and got.shape == rows.shape and got.tobytes() == smooth(rows).tobytes()
    smoother.reset()
    assert np.concatenate(fed(smoother, rows, sizes[::-1])).tobytes() == got.tobytes()


def test_delay_and_start():
    smoother = Smoother()
    assert [len(smoother.feed(codes(1))) for _ in range(12)] == [0] * 8 + [5, 1, 1, 1]
    assert len(smoother.finish()) == 4


@pytest.mark.parametrize("frames", [0, 1, 8])
def test_fewer_than_nine_frames_stay_as_they_are(frames):
    rows = codes(frames)
    assert (smooth(rows) == rows).all()
    first, last, rest = fed(Smoother(), rows, [3])
    assert len(first) == len(last) == 0 and (rest == rows).all()


def test_input_is_not_changed():
    rows = codes(50)
    kept = rows.copy()
    smooth(rows)
    smooth(rows[:3])[:] = 7
    postprocess(rows)
    fed(Smoother(), rows, [20])
    assert (rows == kept).all()


def test_memory_of_a_stream_is_bounded():
    smoother = Smoother()
    for _ in range(100):
        smoother.feed(codes(25))
    assert len(smoother._kept) <= 9


def test_postprocess_order():
    rows = codes(60)
    done = postprocess(rows, clip=50, fix_pose=True)
    assert done.shape == (50, 106) and not done[:, 100:103].any() and not done[:, 104:].any()
    assert (done[:, :100] == smooth(rows)[:50, :100]).all()  # cut after smoothing, not before
    assert (done[:, 103] == smooth(rows)[:50, 103]).all()
    assert postprocess(rows, clip=None).shape == (60, 106) and postprocess(rows, clip=None)[:, 100:103].any()
    assert len(postprocess(codes(800))) == 750


def test_wrong_use():
    with pytest.raises(MarotteError, match="before anything was fed"):
        Smoother().finish()
    with pytest.raises(MarotteError, match="before anything was fed"):
        MotionSmoother().finish()
    smoother = Smoother()
    smoother.feed(codes(5))
    for wrong in (codes(5, 105), codes(1)[0]):
        with pytest.raises(MarotteError, match=r"expected \[frames, 106\]"):
            smoother.feed(wrong)
    smoother.finish()
    with pytest.raises(MarotteError, match="reset"):
        smoother.feed(codes(5))
    with pytest.raises(MarotteError, match="reset"):
        smoother.finish()
    with pytest.raises(MarotteError, match=r"expected \[frames, width\]"):
        smooth(codes(9)[:, 0])
    with pytest.raises(MarotteError, match=r"expected \[frames, 106\]"):
        postprocess(codes(9, 100))
    with pytest.raises(MarotteError, match="clip of 0"):
        postprocess(codes(9), clip=0)


def motion(frames, extras=tuple(EXTRAS), fps=25, basis="flame2020"):
    return Motion(codes(frames), Fraction(fps), basis, **{name: codes(frames, EXTRAS[name]) for name in extras})


@settings(deadline=None, max_examples=30)
@given(frames=st.integers(1, 60), sizes=SPLITS, extras=st.sets(st.sampled_from(list(EXTRAS))))
def test_motion_extras_go_with_the_codes(frames, sizes, extras):
    whole = motion(frames, extras)
    parts = fed(MotionSmoother(), whole, sizes)
    assert all(part.fps == 25 and part.basis == "flame2020" for part in parts)
    assert all(len(array) == len(part) for part in parts for array in part.extras.values())
    assert np.concatenate([part.codes for part in parts]).tobytes() == smooth(whole.codes).tobytes()
    for name in extras:
        raw = getattr(whole, name)
        got = np.concatenate([getattr(part, name) for part in parts if len(part)])
        assert (got == (raw if name == "eyelids" else smooth(raw))).all()
    assert set(parts[-1].extras) == extras


def test_motion_of_no_frames_says_nothing_about_extras():
    smoother = MotionSmoother()
    none = empty(Fraction(25), "flame2020")
    assert len(smoother.feed(none)) == 0 and len(smoother.finish()) == 0
    smoother.reset()
    parts = [smoother.feed(part) for part in (none, motion(20), none)]
    assert [len(part) for part in parts] == [0, 16, 0] and len(smoother.finish()) == 4


@pytest.mark.parametrize(
    ("other", "what"),
    [
        (motion(5, fps=30), "rate from 25 to 30"),
        (motion(5, basis="arkit52"), "basis from flame2020 to arkit52"),
        (motion(5, extras=["eyes"]), "extras from eyes, eyelids, neck, translation to eyes"),
    ],
)
def test_motion_must_stay_of_one_kind(other, what):
    smoother = MotionSmoother()
    smoother.feed(motion(5))
    with pytest.raises(MarotteError, match=what):
        smoother.feed(other)
