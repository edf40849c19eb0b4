"""Motion between frame rates: on the sphere, packet by packet, to the end of the sound."""

from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation, Slerp

from marotte.runtime.clock import frame_count
from marotte.runtime.motion import Motion, concatenate
from marotte.runtime.retime import REST_SECONDS, Retimer, retime

rates = st.sampled_from([Fraction(n) for n in (24, 25, 30, 50, 60)] + [Fraction(30000, 1001)])


def motion(frames: int, fps: Fraction, seed: int = 0) -> Motion:
    rng = np.random.default_rng(seed)
    codes = rng.standard_normal((frames, 106)).astype(np.float32) * 0.4
    return Motion(codes, fps, "arkit52", eyes=rng.standard_normal((frames, 6)) * 0.2, eyelids=rng.random((frames, 2)))


@given(rates, rates, st.integers(1, 60), st.lists(st.integers(0, 20), max_size=12))
@settings(max_examples=60, deadline=None)
def test_packets_do_not_change_it(source, fps, frames, cuts):
    whole = motion(frames, source)
    at = sorted({min(cut, frames) for cut in np.cumsum(cuts)} | {0, frames})
    retimer = Retimer(fps)
    parts = [retimer.feed(whole[a:b]) for a, b in pairwise(at)]
    parts.append(retimer.finish(whole.duration))
    expected = retime(whole, fps)
    got = concatenate(parts)
    assert len(got) == len(expected) == frame_count(whole.duration, fps)
    assert np.array_equal(got.codes, expected.codes) and np.array_equal(got.eyes, expected.eyes)


@given(rates, st.integers(1, 40))
@settings(max_examples=20, deadline=None)
def test_equal_rates_pass_through(fps, frames):
    whole = motion(frames, fps)
    assert np.array_equal(retime(whole, fps).codes, whole.codes)


def test_rotations_go_along_the_sphere_and_the_rest_along_lines():
    source = motion(6, Fraction(25))
    out = retime(source, Fraction(60))
    times = np.arange(len(out)) / 60
    inside = times <= 5 / 25
    for part in (slice(100, 103), slice(103, 106)):
        sphere = Slerp(np.arange(6) / 25, Rotation.from_rotvec(source.codes[:, part]))(times[inside])
        got = Rotation.from_rotvec(out.codes[inside, part])
        assert (got * sphere.inv()).magnitude().max() < 1e-5
    line = np.interp(times[inside], np.arange(6) / 25, source.codes[:, 7])
    assert out.codes[inside, 7] == pytest.approx(line, abs=1e-5)


def test_source_frames_are_hit_exactly():
    source = motion(10, Fraction(25))
    assert np.array_equal(retime(source, Fraction(50)).codes[::2], source.codes)


def test_motion_that_ends_before_the_sound_comes_to_rest():
    source = Motion(np.ones((5, 106), np.float32) * 0.3, Fraction(25), "arkit52")
    out = retime(source, Fraction(25), Fraction(2))
    assert len(out) == 50
    assert np.array_equal(out.codes[:5], source.codes)
    assert not out.codes[5 + int(REST_SECONDS * 25) + 1 :].any()
    steps = np.abs(np.diff(out.codes[:, 0]))
    assert steps.max() < 0.1  # eased, not dropped


def test_no_motion_at_all_is_a_face_at_rest():
    retimer = Retimer(Fraction(25))
    retimer.feed(Motion(np.zeros((0, 106)), 50, "arkit52"))
    out = retimer.finish(Fraction(1))
    assert len(out) == 25 and not out.codes.any()
    assert Retimer(Fraction(25)).finish(Fraction(1)) is None


def test_memory_stays_small():
    retimer = Retimer(Fraction(60))
    for _ in range(200):
        retimer.feed(motion(10, Fraction(25)))
        assert len(retimer._held) < 15
