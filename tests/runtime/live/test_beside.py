"""A session beside another: the same sound at the same ticks, whenever it comes, and whatever becomes of it."""

import gc
import weakref
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

pytest.importorskip("av")

from marotte.errors import MarotteError
from marotte.runtime.contracts import Driver, DriverStream, RenderStream
from marotte.runtime.live.live_session import Closed
from marotte.runtime.live.pace import SimulatedClock
from marotte.runtime.live.segment import to_int16
from marotte.runtime.live.settings import LiveSettings
from marotte.runtime.live.speaker import PATIENCE_S, Finished, Started
from marotte.runtime.live.studio import Busy, Studio
from marotte.runtime.live.viewing import Viewer
from marotte.runtime.motion import Motion, empty
from marotte.runtime.registry import create
from marotte.runtime.testing import speech_like

FPS = Fraction(25)
SOUND = to_int16(speech_like(2.0))
SETTINGS = LiveSettings(driver="acoustic", width=64, height=64, fps=FPS, renderer_options={"variant": "live"})


class Talking(Driver):
    """Gives motion that is the loudness of each 40 ms, so that a frame tells which sound it is of."""

    basis, fps = "arkit52", FPS

    def __init__(self, fails=False, mute=False):
        self.fails, self.mute = fails, mute

    def open(self, options=None):
        return _Talk(self)


class _Talk(DriverStream):
    def __init__(self, driver):
        self.driver = driver
        self.reset()

    def reset(self):
        self.kept = np.zeros(0, np.float32)

    def feed(self, samples):
        if self.driver.fails:
            raise RuntimeError("the network fell over")
        self.kept = np.concatenate([self.kept, samples])
        rows = 0 if self.driver.mute else len(self.kept) // 640
        codes = np.zeros((rows, 106), np.float32)
        codes[:, 0] = np.abs(self.kept[: rows * 640]).reshape(rows, 640).mean(axis=1)
        self.kept = self.kept[rows * 640 :]
        return Motion(codes, FPS, "arkit52")

    def finish(self):
        return empty(FPS, "arkit52")


COSTS = {}  # of frames, measured once for all studios here


class Stage:
    """A studio without threads. drivers: more of them, by name."""

    def __init__(self, share=1e9, **drivers):
        self.clock = SimulatedClock(100.0)

        def make(kind, name):
            return drivers[name] if kind == "driver" and name in drivers else create(kind, name)

        self.studio = Studio(clock=self.clock, share=share, make=make)
        self.studio._costs = COSTS
        self.events = {}

    def open(self, beside=None, **changes):
        told = []
        session = self.studio.open(replace(SETTINGS, **changes), told.append, beside)
        self.events[session.name] = told
        viewer = Viewer("pixels")
        session.watch(viewer)
        return session, viewer

    def run(self, frames, *viewers):
        """Return what each viewer sees and hears in each of so many frames."""
        seen = [[] for _ in viewers]
        for _ in range(frames):
            self.clock.advance(0.04)
            self.studio.run_once()
            for viewer, pairs in zip(viewers, seen, strict=True):
                pairs.append((viewer.picture(), viewer.sound()))
        return seen

    def say(self, session, sound=SOUND):
        session.speaker.speak("a")
        session.speaker.push(sound)
        session.speaker.end()


def same_clock(one, other):
    for (picture, sound), (picture_b, sound_b) in zip(one, other, strict=True):
        assert picture.tick == picture_b.tick
        assert [piece.tick for piece in sound] == [piece.tick for piece in sound_b]
        assert all(np.array_equal(a.pcm, b.pcm) for a, b in zip(sound, sound_b, strict=True))


def alike(one, other):
    return [np.array_equal(a.pixels, b.pixels) for (a, _), (b, _) in zip(one, other, strict=True)]


@pytest.mark.parametrize("speaking", [False, True])
def test_the_same_arm_twice_is_the_same_to_the_bit(speaking):
    stage = Stage()
    first, one = stage.open()
    stage.run(20)
    if speaking:
        stage.say(first)
        stage.run(12)
    _, two = stage.open(first, width=128, fps=Fraction(50))  # its size and rate are the first one's
    one.sound(), one.picture()
    if not speaking:
        stage.run(1)
        one.sound(), one.picture(), two.sound(), two.picture()
        stage.say(first)
    a, b = stage.run(30, one, two)
    same_clock(a, b)
    assert all(alike(a, b))
    assert not np.array_equal(a[0][0].pixels, a[20][0].pixels)


def test_another_driver_joins_in_the_middle_in_its_place():
    motions = {}

    def film(join_at):
        stage = Stage(talking=Talking())
        first, one = stage.open()
        stage.say(first)
        stage.run(join_at)
        second, two = stage.open(first, driver="talking", idle=0.0)
        drives, drive = [], second.face.drive
        second.face.drive = lambda segment: drives.append(segment) or drive(segment)
        one.sound(), one.picture()
        a, b = stage.run(30, one, two)
        same_clock(a, b)
        motions[join_at] = {s.index: s.motion.codes[0, 0] for s in drives if s.turn}
        return len([s for s in drives if not s.turn and s.sound.any()])

    assert film(0) <= 1
    late = film(15)
    # Its driver needs one round of the drive thread; then it says what is heard, not what was.
    assert late <= 2
    both = set(motions[0]) & set(motions[15])
    assert len(both) > 8 and max(motions[15]) > 40
    assert all(motions[0][index] == pytest.approx(motions[15][index], abs=1e-3) for index in both)


def test_both_begin_together_and_an_interruption_hits_both_at_one_tick():
    stage = Stage(talking=Talking())
    first, one = stage.open()
    second, two = stage.open(first, driver="talking", idle=0.0)
    stage.run(1)
    one.sound(), one.picture(), two.sound(), two.picture()
    stage.say(first)
    a, b = stage.run(20, one, two)
    heard = first.speaker.interrupt()
    c, d = stage.run(20, one, two)
    same_clock(a + c, b + d)
    assert stage.events[first.name] == stage.events[second.name]
    kinds = [type(event) for event in stage.events[second.name]]
    assert kinds == [Started, Finished]
    assert stage.events[second.name][1].heard == heard and heard.position > 0
    assert not any(piece.pcm.any() for _, sound in c + d for piece in sound)
    # Without idle life a shut mouth is one picture, from the end of the fade on.
    assert len({picture.pixels.tobytes() for picture, _ in d[8:]}) == 1
    assert first.metrics.report()["counts"]["interrupted"] == 1


def test_a_driver_that_gives_nothing_is_waited_for_and_then_no_more():
    stage = Stage(mute=Talking(mute=True))
    first, one = stage.open()
    second, _ = stage.open(first, driver="mute")
    first.speaker.speak("a")
    first.speaker.push(SOUND)
    (seen,) = stage.run(45, one)
    started = next(event for event in stage.events[first.name] if isinstance(event, Started))
    assert PATIENCE_S <= started.waited_s < PATIENCE_S + 0.2
    assert second.metrics.report()["counts"]["behind"] > 20
    loud = np.concatenate([piece.pcm for _, sound in seen for piece in sound])
    assert np.count_nonzero(loud) > 35000  # it never stopped again


@pytest.mark.parametrize("what", ["driver", "renderer", "end"])
def test_the_first_goes_on_whatever_becomes_of_the_second(what):
    stage = Stage(talking=(driver := Talking()))
    first, one = stage.open()
    second, _ = stage.open(first, driver="talking")
    stage.say(first, np.tile(SOUND, 2))
    (before,) = stage.run(20, one)
    if what == "driver":
        stage.say(first)
        driver.fails = True
    elif what == "renderer":
        second.stream = RenderStream()  # of no face: drawn in one call with the first, which fails
    else:
        second.close("its client ended it")
    (after,) = stage.run(30, one)
    ticks = [picture.tick for picture, _ in before + after]
    assert ticks == list(range(ticks[0], ticks[0] + 1920 * 50, 1920))
    assert second.closed and not first.closed and first.beside == ()
    (closed,) = [event for event in stage.events[second.name] if isinstance(event, Closed)]
    assert closed.reason and ("fell over" in closed.reason) == (what == "driver")
    assert stage.studio.sessions == (first,)
    # Another takes its place.
    stage.open(first)
    stage.run(2)
    assert len(first.beside) == 1


def test_it_ends_with_the_first_and_everything_is_given_back():
    stage = Stage(talking=Talking())
    first, _ = stage.open()
    second, _ = stage.open(first, driver="talking")
    stage.say(first)
    stage.run(10)
    first.close("enough")
    stage.run(1)
    assert Closed("the session beside it ended: enough") in stage.events[second.name]
    assert stage.studio._sessions == ()
    gone = [weakref.ref(first), weakref.ref(second), weakref.ref(first.speaker)]
    del first, second
    gc.collect()
    assert [ref() for ref in gone] == [None] * 3


def test_a_second_leaves_nothing_in_a_first_that_goes_on():
    stage = Stage(talking=Talking())
    first, _ = stage.open()
    stage.say(first, np.tile(SOUND, 10))
    gone = []
    for _ in range(3):
        second, _ = stage.open(first, driver="talking")
        stage.run(3)
        gone.append(weakref.ref(second))
        second.close()
        stage.run(1)
        del second
    gc.collect()
    assert [ref() for ref in gone] == [None] * 3 and not first.speaker._voices
    assert not first.speaker._turns[0]._beside and not first.speaker._turns[0]._left


def test_room_is_for_both():
    stage = Stage()
    first, _ = stage.open()
    stage.studio.share = stage.studio.load * 1.5
    with pytest.raises(Busy, match="% of the renderer"):
        stage.open(first)
    stage.studio.share = 1e9
    second, _ = stage.open(first)
    assert stage.studio.load == pytest.approx(first.cost * 25 + second.cost * 25)
    with pytest.raises(MarotteError, match="beside another"):
        stage.open(second)
    first.close()
    with pytest.raises(MarotteError, match="has ended"):
        stage.open(first)


def test_one_that_closes_while_it_joins_leaves_no_voice():
    stage = Stage(talking=Talking())
    first, _ = stage.open()
    second, _ = stage.open(first)
    other = stage.studio._new(replace(SETTINGS, driver="talking"), None, lambda event: None, first)
    join = first.speaker.join
    first.speaker.join = lambda name, make: other.close("too soon") or join(name, make)
    stage.say(first)
    other.join()
    assert other.closed and not first.speaker._voices and first.beside == (second,)
    stage.run(3)
    assert not first.speaker._turns[0]._beside and not first.closed and not second.closed


@pytest.mark.parametrize("what", ["voice", "renderer", "joining"])
def test_a_second_that_cannot_even_end_takes_nobody_with_it(what):
    class Stuck(_Talk):
        def close(self):
            raise OSError("it does not close")

    driver = Talking()
    driver.open = lambda options=None: Stuck(driver)
    stage = Stage(talking=driver)
    first, one = stage.open()
    stage.say(first, np.tile(SOUND, 2))
    stage.run(5)
    second, _ = stage.open(first, driver="talking")
    if what == "joining":
        second.face.join = lambda other: 1 / 0
    else:
        stage.run(5)
    if what == "renderer":
        second.stream.close = lambda: 1 / 0
    if what != "joining":
        second.close()
    one.picture()
    (after,) = stage.run(10, one)
    assert all(picture for picture, _ in after) and not first.closed and second.closed
    assert stage.studio._sessions == (first,)
