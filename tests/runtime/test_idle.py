"""Idle life: deterministic, the same in packets, out of the driver's way."""

from fractions import Fraction

import numpy as np
import pytest

from marotte.runtime.arkit import SLOT
from marotte.runtime.idle import Idle, IdleOptions
from marotte.runtime.idle_motion import gaze, head_sway
from marotte.runtime.motion import Motion, concatenate

SECONDS = np.arange(0, 120, 1 / 50)


def still(seconds: float, fps: int = 50, **extras) -> Motion:
    frames = round(seconds * fps)
    return Motion(np.zeros((frames, 106)), Fraction(fps), "arkit52", **extras)


def test_packets_do_not_change_it():
    motion = still(20, eyelids=np.zeros((1000, 2)))
    whole = Idle().apply(motion)
    idle = Idle()
    parts = concatenate([idle.apply(motion[a:b]) for a, b in ((0, 1), (1, 7), (7, 7), (7, 400), (400, 1000))])
    for name in ("codes", "eyes", "eyelids", "translation"):
        assert np.array_equal(getattr(whole, name), getattr(parts, name)), name
    idle.reset()
    assert np.array_equal(idle.apply(motion).codes, whole.codes)


def test_it_looks_natural():
    lids = Idle().apply(still(120)).eyelids[:, 0]
    blinks = np.flatnonzero((lids[1:] >= 0.5) & (lids[:-1] < 0.5)) / 50
    assert 15 <= len(blinks) <= 60  # in two minutes
    assert np.diff(blinks).min() > 0.25 and np.diff(blinks).max() < 9
    assert lids.max() > 0.95 and np.mean(lids > 0.1) < 0.15
    assert np.rad2deg(np.abs(gaze(SECONDS, 0))).max() < 8
    sway = np.rad2deg(head_sway(SECONDS, 0))
    assert not sway[0].any() and np.abs(sway).max() < 4 and np.ptp(sway, axis=0).min() > 0.5
    assert np.abs(np.diff(sway, axis=0)).max() * 50 < 15  # degrees a second


def test_seeds_are_other_people():
    one, other = (Idle(IdleOptions(seed=seed)).apply(still(20)).eyelids for seed in (0, 1))
    assert not np.array_equal(one, other)
    assert np.array_equal(gaze(SECONDS, 3), gaze(SECONDS, 3))


def test_time_not_frame_rate_decides():
    slow, fast = (Idle().apply(still(10, fps)) for fps in (25, 50))
    assert fast.codes[::2] == pytest.approx(slow.codes, abs=1e-6)


def test_amount_zero_changes_nothing():
    motion = still(1)
    assert Idle(IdleOptions(amount=0)).apply(motion) is motion


def test_a_driver_that_moves_a_channel_owns_it():
    time = np.arange(1000) / 50
    codes = np.zeros((1000, 106), np.float32)
    codes[:, 101] = 0.3 * np.sin(2 * np.pi * 0.8 * time)
    codes[:, [SLOT["eyeBlinkLeft"], SLOT["eyeBlinkRight"]]] = (np.sin(2 * np.pi * time) > 0.9)[:, None]
    eyes = np.zeros((1000, 6), np.float32)
    eyes[:, 1] = eyes[:, 4] = 0.2 * np.sin(2 * np.pi * time)
    driven = Motion(codes, Fraction(50), "arkit52", eyes=eyes)
    out = Idle().apply(driven)
    late = slice(200, None)
    assert np.rad2deg(np.abs(out.head - driven.head)[late]).max() < 0.8
    assert np.rad2deg(np.abs(out.eyes - driven.eyes)[late]).max() < 2.5
    assert out.eyelids[late].max() < 0.35
    assert Idle().apply(still(20)).eyelids.max() > 0.9


def test_lips_and_jaw_are_never_touched():
    out = Idle().apply(still(30))
    assert not out.expression.any() and not out.jaw.any()
