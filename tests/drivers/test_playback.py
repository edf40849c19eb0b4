"""Playback: each frame of a motion when the sound has reached it."""

from fractions import Fraction

import numpy as np
import pytest

from marotte.drivers.playback import Playback
from marotte.errors import MarotteError
from marotte.runtime.contracts import SAMPLE_RATE
from marotte.runtime.motion import Motion, concatenate
from marotte.runtime.motion_files import save_motion
from marotte.runtime.testing import check_driver


def motion(frames: int, fps: object = 25, basis: str = "arkit52") -> Motion:
    random = np.random.default_rng(0)
    extras = {"eyes": random.random((frames, 6)), "neck": random.random((frames, 3))}
    return Motion(random.random((frames, 106)), Fraction(fps), basis, **extras)


@pytest.mark.parametrize("fps", ["25", "60", "30000/1001", "100"])
def test_the_contract(fps):
    check_driver(Playback(motion(700, fps)))


@pytest.mark.parametrize("fps", ["25", "60", "30000/1001"])
def test_frames_come_when_their_sound_has_begun(fps):
    given = motion(50, fps)
    stream = Playback(given).open()
    parts, samples = [], 0
    while samples < SAMPLE_RATE:
        parts.append(stream.feed(np.zeros(111, np.float32)))
        samples += 111
        # Frame i is for the time i / fps, and comes with the first sample after it.
        assert sum(map(len, parts)) == min(-(-samples * given.fps // SAMPLE_RATE), 50)
    parts.append(stream.finish())
    played = concatenate(parts)
    assert np.array_equal(played.codes, given.codes[: len(played)])
    assert np.array_equal(played.extras["eyes"], given.extras["eyes"][: len(played)])
    assert (played.fps, played.basis) == (given.fps, given.basis)


def test_a_motion_that_ends_first():
    """The stream gives what there is; what follows is the retimer's business."""
    stream = Playback(motion(10)).open()
    assert len(stream.feed(np.zeros(SAMPLE_RATE, np.float32))) == 10
    assert len(stream.feed(np.zeros(SAMPLE_RATE, np.float32))) == len(stream.finish()) == 0
    stream.reset()
    assert np.array_equal(stream.feed(np.zeros(641, np.float32)).codes, motion(10).codes[:2])


def test_two_streams_play_apart():
    driver = Playback(motion(10))
    one, other = driver.open(), driver.open()
    one.feed(np.zeros(3200, np.float32))
    first = driver.step([(one, np.zeros(640, np.float32)), (other, np.zeros(640, np.float32))])
    assert np.array_equal(first[0].codes, motion(10).codes[5:6])
    assert np.array_equal(first[1].codes, motion(10).codes[:1])


def test_files(tmp_path):
    save_motion(tmp_path / "m.npz", motion(5, 30))
    driver = Playback(tmp_path / "m.npz")
    assert (driver.fps, driver.basis) == (30, "arkit52") and np.array_equal(driver.motion.codes, motion(5).codes)
    np.save(tmp_path / "m.npy", np.zeros((5, 106)))
    assert Playback(str(tmp_path / "m.npy")).basis == "flame2020"
    told = Playback(tmp_path / "m.npy", basis="flame2023", fps=50)
    assert (told.basis, told.fps) == ("flame2023", 50)
    with pytest.raises(MarotteError, match=r"m\.npz says that its basis is arkit52"):
        Playback(tmp_path / "m.npz", basis="flame2020")


def test_nothing_to_play(tmp_path):
    with pytest.raises(MarotteError, match="name it with --motion FILE"):
        Playback()
    with pytest.raises(MarotteError, match="there is no motion file"):
        Playback(tmp_path / "missing.npz")
