"""Sessions on a clock that is moved by hand: sound and picture in step, late frames, several at once, nothing kept."""

import gc
import threading
import tracemalloc
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

pytest.importorskip("av")

from marotte.errors import MarotteError
from marotte.runtime.bench_live_simulated import make_simple
from marotte.runtime.live.counter import draw_counter, read_counter
from marotte.runtime.live.limits import Limits
from marotte.runtime.live.live_session import Closed
from marotte.runtime.live.pace import SimulatedClock
from marotte.runtime.live.segment import to_int16
from marotte.runtime.live.settings import LiveSettings
from marotte.runtime.live.speaker import Finished, Started
from marotte.runtime.live.studio import Busy, Studio
from marotte.runtime.live.viewing import Viewer
from marotte.runtime.testing import speech_like

SOUND = to_int16(speech_like(1.0))
FEW = {"variant": "live"}  # Gaussians
SETTINGS = LiveSettings(driver="acoustic", width=64, height=64, fps=Fraction(25), counter=True, renderer_options=FEW)


COSTS = {}  # of frames, measured once for all studios here


class Stage:
    """A studio without threads."""

    def __init__(self, share=1e9, **options):
        self.clock = SimulatedClock(100.0)
        self.studio = Studio(clock=self.clock, share=share, **options)
        self.studio._costs = COSTS
        self.events = []

    def open(self, settings=SETTINGS, kind="pixels"):
        session = self.studio.open(settings, self.events.append)
        viewer = Viewer(kind)
        session.watch(viewer)
        return session, viewer

    def run(self, seconds, step=0.02):
        for _ in range(round(seconds / step)):
            self.clock.advance(step)
            self.studio.run_once()


def test_sound_and_picture_are_of_one_clock():
    stage = Stage()
    session, viewer = stage.open(replace(SETTINGS, width=256))  # wide enough for a counter
    stage.run(0.5)
    session.speaker.speak("a")
    session.speaker.push(SOUND)
    session.speaker.end()
    pictures, sound = [], []
    for _ in range(60):
        stage.run(0.04)
        picture = viewer.picture()
        pictures.append(picture)
        assert read_counter(picture.pixels) == picture.tick // 48
        sound += viewer.sound()
    ticks = [piece.tick for piece in sound]
    assert ticks == list(np.cumsum([0] + [len(piece.pcm) for piece in sound])[:-1] + ticks[0])
    started = next(event for event in stage.events if isinstance(event, Started))
    loud = next(piece.tick for piece in sound if np.abs(piece.pcm).max() > 1000)
    assert 0 <= loud - started.tick < 9600
    assert any(isinstance(event, Finished) and event.heard.position == 48000 for event in stage.events)


def test_a_stalled_machine_does_not_make_up_for_what_it_missed():
    stage = Stage()
    session, viewer = stage.open()
    stage.run(1)
    viewer.sound()
    stage.clock.advance(30)
    stage.studio.run_once()
    assert sum(len(piece.pcm) for piece in viewer.sound()) < 24000
    assert session.metrics.report()["counts"]["stalls"] == 1


def test_late_frames_are_dropped_and_their_sound_is_not():
    stage = Stage()
    session, viewer = stage.open()
    stage.run(1)
    viewer.sound()
    stage.clock.advance(0.2)
    stage.studio.run_once()
    assert sum(len(piece.pcm) for piece in viewer.sound()) == 5 * 1920
    assert session.metrics.report()["counts"]["dropped_late"] == 4


def test_packets_begin_with_a_key_frame_for_each_viewer():
    import av

    stage = Stage()
    session, one = stage.open(kind="h264")
    stage.run(0.2)
    two = Viewer("h264")
    session.watch(two)
    stage.run(0.2)
    for viewer, least in ((one, 8), (two, 4)):
        decoder, shown = av.CodecContext.create("h264", "r"), 0
        first = True
        while packet := viewer.picture():
            assert packet.key or not first
            first = False
            shown += len(decoder.decode(av.Packet(packet.data)))
        assert shown >= least


def test_a_viewer_that_does_not_read_costs_nothing():
    stage = Stage(make=make_simple)
    _, viewer = stage.open(kind="h264")
    stage.run(4, step=0.04)
    assert viewer.dropped_pictures > 40 and viewer.dropped_sound > 40
    assert sum(len(piece.pcm) for piece in viewer.sound()) <= 24000 + 1920
    stage.run(0.2)
    assert viewer.picture().key


def test_two_sessions_have_their_own_voice_and_frames():
    def film(*sounds):
        stage = Stage()
        opened = [stage.open() for _ in sounds]
        for (session, _), sound in zip(opened, sounds, strict=True):
            session.speaker.speak("a")
            session.speaker.push(sound)
            session.speaker.end()
        frames, heard = [[] for _ in sounds], [[] for _ in sounds]
        for _ in range(30):
            stage.run(0.04, step=0.04)
            for index, (_, viewer) in enumerate(opened):
                frames[index].append(viewer.picture().pixels)
                heard[index] += [piece.pcm for piece in viewer.sound()]
        return [(np.stack(f), np.concatenate(h)) for f, h in zip(frames, heard, strict=True)]

    other = SOUND[::-1].copy()
    together = film(SOUND, other)
    for one, (alone,) in zip(together, (film(SOUND), film(other)), strict=True):
        assert np.array_equal(one[0], alone[0]) and np.array_equal(one[1], alone[1])


def test_interruption_closes_the_mouth_and_tells_what_was_heard():
    stage = Stage()
    session, viewer = stage.open()
    stage.run(0.2)
    rest = viewer.picture().pixels.astype(int)
    session.speaker.speak("a")
    session.speaker.push(np.tile(SOUND, 5))
    stage.run(1)
    session.speaker.interrupt()
    stage.run(0.04)
    viewer.sound()
    stage.run(0.2)
    assert not any(piece.pcm.any() for piece in viewer.sound())
    finished = stage.events[-1]
    assert isinstance(finished, Finished) and finished.reason == "interrupted" and 0.8 < finished.heard.seconds <= 1
    mouth = np.s_[36:48, 24:40]
    assert np.abs(viewer.picture().pixels.astype(int)[mouth] - rest[mouth]).mean() < 6


def test_a_session_that_does_not_fit_is_refused_with_a_reason():
    stage = Stage(limits=Limits(sessions=2))
    for _ in range(2):
        stage.open()
    with pytest.raises(Busy, match="2 sessions are open, the limit `sessions`"):
        stage.open()
    tight = Stage(share=1e-9)
    with pytest.raises(Busy, match=r"frames a second would need .* % of the renderer"):
        tight.open()


def test_one_that_fails_takes_no_other_with_it():
    stage = Stage()
    bad, _ = stage.open()
    _, viewer = stage.open()
    stage.run(0.2)
    bad.face.drive = None  # not callable
    stage.run(0.2)
    assert bad.closed and any(isinstance(event, Closed) for event in stage.events)
    viewer.picture()
    stage.run(0.04)
    assert viewer.picture() is not None
    assert stage.studio.gauges()["sessions_open"] == 1


def test_idle_and_old_sessions_end():
    stage = Stage(limits=Limits(idle_s=5, session_s=20), make=make_simple)
    session, _ = stage.open()
    left, gone = stage.open()
    left.leave(gone)
    stage.run(7, step=0.2)
    assert left.closed and not session.closed
    stage.run(15, step=0.2)
    assert session.closed
    reasons = [event.reason for event in stage.events if isinstance(event, Closed)]
    assert "idle_s" in reasons[0] and "session_s" in reasons[1]


def test_what_cannot_be_live_is_refused():
    stage = Stage()
    with pytest.raises(MarotteError, match="cannot be transparent"):
        stage.open(LiveSettings(driver="acoustic", background="transparent"))
    with pytest.raises(MarotteError, match="120 frames a second are more"):
        LiveSettings(fps=Fraction(120))


def test_sessions_give_everything_back():
    stage = Stage()

    def once():
        session, _ = stage.open(kind="h264")
        session.speaker.speak("a")
        session.speaker.push(SOUND)
        stage.run(0.3, step=0.04)
        session.close()
        stage.studio.run_once()
        stage.events.clear()

    for _ in range(2):
        once()
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for _ in range(3):
        once()
    gc.collect()
    left = (tracemalloc.get_traced_memory()[0] - before) / 3
    tracemalloc.stop()
    assert left < 10_000
    assert not stage.studio._sessions


def test_threads_start_and_stop():
    studio = Studio(share=1e9)
    studio.start()
    session = studio.open(SETTINGS)
    seen = threading.Event()
    viewer = Viewer("h264", seen.set)
    session.watch(viewer)
    while not (packet := viewer.picture()):
        assert seen.wait(60)
        seen.clear()
    assert packet.key
    studio.close()
    assert session.closed and not any(t.name.startswith("marotte-") for t in threading.enumerate())


def test_the_counter_survives_noise():
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 255, (64, 256, 3)).astype(np.uint8)
    for tick in (0, 48, 48 * 123456):
        noisy = np.clip(draw_counter(picture, tick).astype(int) + rng.integers(-60, 60, picture.shape), 0, 255)
        assert read_counter(noisy) == tick // 48
    assert read_counter(picture) is None
    assert draw_counter(picture[:, :64], 48) is not None and read_counter(picture[:, :64]) is None
