"""Minutes of a session in seconds: a fast source that loses packets and jitters, followed, with sound and picture in
step; and long files, driven in parts."""

from fractions import Fraction

import numpy as np
import pytest

pytest.importorskip("av")

from marotte.drivers.acoustic import Acoustic
from marotte.runtime.bench_live_simulated import Hearing, Source, bursts, openness, simulate
from marotte.runtime.live.segment import to_int16
from marotte.runtime.live.turn import Turn, drive_turns
from marotte.runtime.live.way import Way
from marotte.runtime.testing import check_driver, speech_like


def test_a_fast_source_stays_in_step():
    (hour,) = simulate(60, source=Source(ppm=200, loss=0.02, jitter=0.03))
    assert hour.bursts >= 58 and hour.unseen == 0
    assert -0.06 < hour.worst[0] <= hour.worst[1] < 0.04
    assert 0.05 < np.median(hour.delays) < 0.2 and np.ptp(hour.delays) < 0.1


def test_a_source_that_is_far_off_would_be_noticed():
    """What is measured is real: a clock 2 % off is more than the follower makes up for."""
    (hour,) = simulate(30, source=Source(ppm=-20000, loss=0, jitter=0))
    assert hour.ran_dry > 2


def test_the_source():
    source = Source(ppm=0, loss=0.5, jitter=0.03, seed=1)
    packets = list(source.packets(20))
    arrivals, starts = np.array(packets).T
    assert 400 < len(packets) < 600 and (np.diff(arrivals) >= 0).all()
    late = arrivals - (starts / 320 + 1) * 0.02
    assert late.min() >= 0 and 0.02 < late.max() <= 0.0301
    fast = list(Source(ppm=1e6, loss=0, jitter=0).packets(1))
    assert len(fast) == 100 and fast[-1] == (pytest.approx(1.0), 99 * 320)
    pieces = np.concatenate([bursts(start, 320) for start in range(0, 32000, 320)])
    assert np.array_equal(pieces, bursts(0, 32000)) and not pieces[:8000].any() and pieces[8000:9600].any()


def test_the_simple_driver_keeps_the_contract():
    check_driver(Hearing())
    assert openness(np.full((2, 2, 3), 255, np.uint8)) == 1


def test_a_long_file_is_driven_in_parts_and_is_the_same():
    """A file of minutes that is pushed whole keeps no other session's turn waiting."""
    sound = to_int16(np.tile(speech_like(2.0), 15))
    at_once, packets = (Turn("a", 0, Way(Acoustic()), Fraction(30)) for _ in range(2))
    at_once.feed(sound, 1.0)
    waiting = at_once.seconds_waiting
    assert waiting == pytest.approx(30)
    assert not drive_turns([at_once])
    assert 0 < at_once.ready() <= 2.5 * 30 and at_once.has_work()
    for start in range(0, len(sound), 3210):
        packets.feed(sound[start : start + 3210], 1.0)
        drive_turns([packets])
    for turn in (at_once, packets):
        turn.end()
        while turn.has_work():
            assert not drive_turns([turn])
    count = 0
    while (one := at_once.take()) and (other := packets.take()):
        assert np.array_equal(one.sound, other.sound) and np.array_equal(one.motion.codes, other.motion.codes)
        assert np.array_equal(one.heard, other.heard) and one.born == 1.0
        count += 1
    assert count == 900 and at_once.finished
