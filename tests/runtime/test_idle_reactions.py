"""What a face does about what it hears: at the right time, by the right amount, out of the driver's way."""

import pickle
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marotte.runtime.arkit import SLOT
from marotte.runtime.clock import frame_count
from marotte.runtime.idle import Idle, IdleOptions
from marotte.runtime.idle_reactions import Moves, Reactions
from marotte.runtime.motion import HEAD, Motion, concatenate
from marotte.runtime.prosody import ACCENT, PAUSE, STRESS, Event, Prosody

RATE = 16000
BROWS = [SLOT[name] for name in ("browInnerUp", "browOuterUpLeft", "browOuterUpRight")]


def still(seconds: float, fps: int = 50, basis: str = "arkit52", **extras) -> Motion:
    return Motion(np.zeros((round(seconds * fps), 106)), Fraction(fps), basis, **extras)


def moves(*events: Event, seconds: float = 10, seed: int = 0) -> Moves:
    """What a face does at 1000 frames a second."""
    reactions = Reactions(seed)
    reactions.hear(events)
    return reactions.at(np.arange(round(seconds * 1000)) / 1000)


def blinks(lids: np.ndarray, fps: float) -> np.ndarray:
    """When the lids are half shut, in seconds."""
    return np.flatnonzero((lids[1:] >= 0.5) & (lids[:-1] < 0.5)) / fps


def listened(sound: np.ndarray, motion: Motion, **options) -> Motion:
    idle = Idle(IdleOptions(**options))
    idle.hear(sound)
    return idle.apply(motion)


def test_stress_makes_one_quick_nod_down():
    for strength, size in ((0.0, 1.5), (0.5, 2.25), (1.0, 3.0)):
        nod = np.rad2deg(moves(Event(STRESS, 2.0, strength)).nod)
        assert nod.min() == 0 and nod.max() == pytest.approx(size, abs=0.01)
        assert 0.12 <= nod.argmax() / 1000 - 2.0 <= 0.16
        moving = np.flatnonzero(nod > 0.01) / 1000
        assert moving[0] >= 2.0 and moving[-1] <= 2.45
        assert np.abs(np.diff(nod)).max() * 1000 < 45  # degrees a second
        assert np.abs(np.diff(nod, 2)).max() * 1e6 < 1500  # no jerk: degrees a second squared


def test_an_accent_raises_the_brows_and_lets_them_fall():
    brows = moves(Event(ACCENT, 1.0, 1.0)).brows
    assert 0.35 <= brows.max() <= 0.45
    up = np.flatnonzero(brows > 0.5 * brows.max()) / 1000
    assert 1.03 < up[0] < 1.10 and 1.4 < up[-1] < 1.6
    assert not brows[:1000].any() and not brows[1800:].any()
    assert 0.1 <= moves(Event(ACCENT, 1.0, 0.1)).brows.max() < 0.2


def test_most_pauses_bring_a_blink_soon():
    came, after = 0, []
    for seed in range(200):
        plain, paused = (blinks(moves(*events, seed=seed).lids, 1000) for events in ((), [Event(PAUSE, 5.0, 0.5)]))
        new = np.setdiff1d(paused, plain)
        came += len(new) == 1
        after += list(new - 5.0)
    assert 100 <= came <= 160  # the rest have just blinked, or do not blink at this one
    assert min(after) > 0.13 and max(after) < 0.37 and np.ptp(after) > 0.15


def test_a_pauses_blink_takes_the_place_of_the_next_ones():
    pauses = [Event(PAUSE, at, 1.0) for at in np.arange(2.0, 600.0, 1.9)]
    for seed in range(5):
        at = blinks(moves(*pauses, seconds=600, seed=seed).lids, 1000)
        gaps = np.diff(at)
        assert np.all((gaps > 0.6) | (np.abs(gaps - 0.33) < 0.01))  # or one of the regular double ones
        assert 15 <= len(at) / 10 <= 28  # a minute
    alone = [len(blinks(moves(seconds=600, seed=seed).lids, 1000)) / 10 for seed in range(5)]
    assert min(alone) >= 15 and max(alone) <= 21


@pytest.mark.parametrize("amount", [0.5, 1.0, 2.0])
def test_a_talk_moves_head_lids_and_brows_and_nothing_else(talk, amount):
    motion = still(24)
    mute, heard = Idle(IdleOptions(amount)).apply(motion), listened(talk, motion, amount=amount)
    nod = np.rad2deg(heard.head - mute.head)
    assert nod[:, 0].min() > -1e-4 and not nod[:, 1:].any()
    assert 1.5 * amount < nod[:, 0].max() <= 3.0 * amount + 1e-4
    # Eyes stay on the viewer.
    assert (heard.eyes - mute.eyes)[:, 0] == pytest.approx(-0.8 * np.deg2rad(nod[:, 0]), abs=1e-6)
    brows = heard.codes[:, BROWS]
    assert 0.2 * amount < brows.max() <= 0.45 * amount + 1e-6
    rest = np.delete(np.arange(106), [*BROWS, *range(HEAD.start, HEAD.stop)])
    assert not heard.codes[:, rest].any()
    assert np.array_equal(heard.translation, mute.translation)
    assert not np.array_equal(heard.eyelids, mute.eyelids) and heard.eyelids.max() <= 1
    minute = len(blinks(heard.eyelids[:, 0], 50)) / 24 * 60
    assert 12 <= minute <= 27 or amount < 1


def test_blinks_meet_the_pauses_of_a_talk(talk):
    pauses = [event.seconds for event in Prosody().feed(talk) if event.kind == PAUSE]
    near, mute = [], []
    for seed in range(12):
        for sound, share in ((talk, near), (talk[:0], mute)):
            at = blinks(listened(sound, still(24), seed=seed).eyelids[:, 0], 50)
            share.append(np.mean([np.any((at >= p + 0.1) & (at <= p + 0.4)) for p in pauses]))
    assert 0.5 < np.mean(near) < 0.85 and np.mean(mute) < 0.2


@pytest.mark.parametrize("basis", ["flame2020", "flame2023"])
def test_brows_only_move_where_they_are_known(talk, basis):
    out = listened(talk, still(24, basis=basis))
    assert not out.expression.any()
    assert np.array_equal(out.head, listened(talk, still(24)).head)


def test_a_raise_stays_in_range_over_a_drivers_own_brows(talk):
    codes = np.zeros((1200, 106), np.float32)
    codes[:, BROWS] = 0.8
    out = listened(talk, Motion(codes, Fraction(50), "arkit52"), amount=2.0)
    assert 0.8 < out.codes[:, BROWS].max() <= 1.0 and out.codes[:, BROWS].min() >= np.float32(0.8)


def test_a_driver_that_moves_head_or_brows_owns_them(talk):
    time = np.arange(1200) / 50
    codes = np.zeros((1200, 106), np.float32)
    codes[:, 101] = 0.3 * np.sin(2 * np.pi * 0.8 * time)
    codes[:, SLOT["browDownLeft"]] = 0.3 + 0.3 * np.sin(2 * np.pi * 0.8 * time)
    driven = Motion(codes, Fraction(50), "arkit52")
    out, mute = listened(talk, driven), Idle().apply(driven)
    late = slice(200, None)
    assert np.rad2deg(np.abs(out.head - mute.head)[late]).max() < 1.0
    assert np.abs(out.codes - driven.codes)[late][:, BROWS].max() < 0.15


def test_amount_zero_does_not_listen(talk):
    motion = still(24)
    assert listened(talk, motion, amount=0) is motion


@given(st.lists(st.integers(1, 20000), min_size=1, max_size=30), st.sampled_from([25, 30, 60, Fraction(30000, 1001)]))
@settings(max_examples=15, deadline=None)
def test_packets_do_not_change_it(talk, sizes, fps):
    """Frames come as the contract allows: up to the last one that starts within the sound."""
    sound = talk[: 7 * RATE]
    frames = frame_count(Fraction(len(sound), RATE), Fraction(fps))
    motion = Motion(np.zeros((frames, 106)), Fraction(fps), "arkit52")
    whole = listened(sound, motion)
    idle, parts, start, made = Idle(), [], 0, 0
    for size in [*sizes, len(sound)]:
        idle.hear(sound[start : start + size])
        start = min(start + size, len(sound))
        stop = frame_count(Fraction(start, RATE), Fraction(fps))
        parts.append(idle.apply(motion[made:stop]))
        made = stop
    joined = concatenate(parts)
    for name in ("codes", "eyes", "eyelids", "translation"):
        assert np.array_equal(getattr(whole, name), getattr(joined, name)), name
    assert not np.array_equal(whole.codes, Idle().apply(motion).codes)


@pytest.mark.parametrize("seed", range(6))
def test_frames_do_not_know_later_events(seed):
    """Events told just in time, frame by frame, and all beforehand make the same moves."""
    random = np.random.default_rng(seed)
    known = np.cumsum(random.uniform(0.3, 2.0, 60))
    events = [Event(str(random.choice([PAUSE, STRESS, ACCENT])), float(at), 0.7) for at in known]
    seconds = np.arange(60 * 25) / 25
    early, late = Reactions(seed), Reactions(seed)
    early.hear(events)
    parts = []
    for at in seconds:
        late.hear([event for event in events if at - 0.04 < event.seconds <= at])
        parts.append(late.at(np.array([at])))
    whole = early.at(seconds)
    for name in ("lids", "nod", "brows"):
        assert np.array_equal(getattr(whole, name), np.concatenate([getattr(part, name) for part in parts])), name


def test_frames_that_come_late_react_at_their_own_time(talk):
    """A driver that takes seconds of sound at once gets the same life as one that takes none."""
    motion = still(24)
    idle = Idle()
    parts = []
    for start in range(0, 24, 4):
        idle.hear(talk[start * RATE : (start + 4) * RATE])
        parts.append(idle.apply(motion[start * 50 : (start + 4) * 50]))
    assert np.array_equal(concatenate(parts).codes, listened(talk, motion).codes)


def test_time_not_frame_rate_decides(talk):
    slow, fast = (listened(talk, still(24, fps)) for fps in (25, 50))
    assert fast.codes[::2] == pytest.approx(slow.codes, abs=1e-6)
    assert fast.eyelids[::2] == pytest.approx(slow.eyelids, abs=1e-6)


def test_reset_forgets_the_sound(talk):
    motion = still(24)
    idle = Idle()
    idle.hear(talk[::-1])
    idle.apply(motion[:300])
    idle.reset()
    idle.hear(talk)
    assert np.array_equal(idle.apply(motion).codes, listened(talk, motion).codes)


def test_it_remembers_no_more_after_long(talk):
    idle, sizes = Idle(), []
    for _ in range(6):
        for start in range(0, 24, 2):
            idle.hear(talk[start * RATE : (start + 2) * RATE])
            idle.apply(still(2, 25))
        sizes.append(len(pickle.dumps(idle)))
    assert max(sizes) < 1.3 * sizes[0]
