"""Turns: sound, motion and features in one piece, whatever the packets; interruption in every state; following."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marotte.drivers.acoustic import Acoustic
from marotte.errors import MarotteError
from marotte.runtime.audio.resample import Resampler
from marotte.runtime.bench_live_simulated import Hearing
from marotte.runtime.clock import frame_count, frame_tick
from marotte.runtime.contracts import FeatureNeed, Features, FeatureStream
from marotte.runtime.live.limits import Limits
from marotte.runtime.live.segment import Heard, to_int16
from marotte.runtime.live.speaker import Finished, RanDry, Speaker, Started
from marotte.runtime.live.turn import Turn, drive_turns
from marotte.runtime.live.way import Way
from marotte.runtime.motion import concatenate
from marotte.runtime.retime import Retimer
from marotte.runtime.testing import speech_like

FPS = Fraction(60)
SOUND = to_int16(speech_like(1.5))


class Loudness(Features):
    """The mean |sound| of each 20 ms."""

    rate, width = Fraction(50), 1

    def open(self):
        return LoudnessStream()


class LoudnessStream(FeatureStream):
    def __init__(self):
        self.reset()

    def reset(self):
        self._kept = np.zeros(0, np.float32)

    def feed(self, samples):
        kept = np.concatenate([self._kept, samples])
        rows = len(kept) // 320
        self._kept = kept[rows * 320 :]
        return np.abs(kept[: rows * 320]).reshape(rows, 320).mean(axis=1, keepdims=True).astype(np.float32)

    def finish(self):
        return np.zeros((0, 1), np.float32)


def packets(sound, size):
    return [sound[at : at + size] for at in range(0, len(sound), size)]


def segments(turn, sound, size, rate=16000):
    taken = []
    for packet in packets(sound, size):
        turn.feed(packet, 0.0)
        drive_turns([turn])
        while segment := turn.take():
            taken.append(segment)
    turn.end()
    drive_turns([turn])
    while segment := turn.take():
        taken.append(segment)
    assert turn.finished
    return taken


@pytest.mark.parametrize("fps", [Fraction(25), FPS, Fraction(30000, 1001)])
def test_a_turn_is_the_offline_motion_and_its_sound(fps):
    taken = segments(Turn("a", 0, Way(Acoustic()), fps), SOUND, 320)
    stream, sound = Acoustic().open(), SOUND.astype(np.float32) / np.float32(32768)
    retimer = Retimer(fps)
    motion = concatenate(
        [retimer.feed(concatenate([stream.feed(sound), stream.finish()])), retimer.finish(Fraction(len(SOUND), 16000))]
    )
    count = frame_count(Fraction(len(SOUND), 16000), fps)
    assert len(taken) == count
    shown = concatenate([segment.motion for segment in taken])
    assert np.array_equal(shown.codes, motion.codes[:count])
    resampler = Resampler(16000, 48000)
    whole = to_int16(np.concatenate([resampler.feed(sound), resampler.finish()]))
    played = np.concatenate([segment.sound for segment in taken])
    assert np.array_equal(played[: len(whole)], whole) and not played[len(whole) :].any()
    assert [segment.position for segment in taken] == [frame_tick(i, fps) for i in range(count)]
    heard = np.concatenate([segment.heard for segment in taken])
    assert np.array_equal(heard[: len(sound)], sound)


@settings(max_examples=8, deadline=None)
@given(st.integers(1, 3000))
def test_packets_do_not_change_a_turn(size):
    need = FeatureNeed("loudness", 4)
    sound = SOUND[: 1500 * size]
    one, other = (
        segments(Turn("a", 0, Way(Acoustic(), {}, Loudness(), need, np.ones(1)), FPS), sound, each)
        for each in (len(sound), size)
    )
    assert len(one) == len(other)
    for a, b in zip(one, other, strict=True):
        assert np.array_equal(a.sound, b.sound) and np.array_equal(a.motion.codes, b.motion.codes)
        assert np.array_equal(a.features, b.features)
    assert one[0].features[0, 0] == 1  # before the start stands what long silence gives


def test_turns_of_several_sessions_share_a_call():
    driver = Acoustic()
    turns = [Turn(name, 0, Way(driver), FPS) for name in "ab"]
    turns[0].feed(SOUND, 0.0)
    turns[1].feed(SOUND[::-1].copy(), 0.0)
    for turn in turns:
        turn.end()
    drive_turns(turns)
    alone = Turn("c", 0, Way(driver), FPS)
    expected = segments(alone, SOUND, len(SOUND))
    assert np.array_equal(turns[0].take().motion.codes, expected[0].motion.codes)
    assert turns[1].ready() == turns[0].ready() + 1


class Stage:
    """A speaker with its drive thread played by hand."""

    def __init__(self, fps=FPS, driver=None, **options):
        self.time = 0.0
        self.driver = driver or Acoustic()
        self.speaker = Speaker(self._turn, fps, now=lambda: self.time, **options)
        self.seen = []

    def _turn(self, name, generation, rate, stream):
        return Turn(name, generation, Way(self.driver), self.speaker.fps, rate=rate, follow=0.12 if stream else None)

    def run(self, frames):
        taken = []
        for _ in range(frames):
            self.drive()
            self.time += float(1 / self.speaker.fps)
            taken.append(self.speaker.take())
            self.seen += list(self.speaker.events())
        return taken

    def drive(self):
        if work := self.speaker.work():
            drive_turns(work)


def test_a_turn_is_played_once_from_its_start_and_told():
    stage = Stage()
    silent = stage.run(7)
    assert all(not segment.turn and not segment.sound.any() for segment in silent)
    stage.speaker.speak("hello")
    stage.speaker.push(SOUND)
    stage.speaker.end()
    taken = stage.run(120)
    spoken = [segment for segment in taken if segment.turn]
    assert len(spoken) == 90 and spoken == taken[:90]
    assert stage.seen[0] == Started("hello", frame_tick(7, FPS), pytest.approx(1 / 60))
    assert stage.seen[1] == Finished(Heard("hello", 72000), "end")
    assert stage.speaker.state == "silent"


def test_turns_queue_up_without_a_gap():
    stage = Stage()
    for name in "ab":
        stage.speaker.speak(name)
        stage.speaker.push(SOUND)
    stage.speaker.end()
    names = [segment.turn for segment in stage.run(200)]
    assert names[:180] == ["a"] * 90 + ["b"] * 90 and not any(names[180:])


@pytest.mark.parametrize("state", ["silent", "opened", "pushed", "driven", "speaking", "ended", "finished"])
def test_an_interruption_is_valid_in_every_state(state):
    stage = Stage()
    steps = {
        "opened": lambda: stage.speaker.speak("a"),
        "pushed": lambda: stage.speaker.push(SOUND),
        "driven": stage.drive,
        "speaking": lambda: stage.run(20),
        "ended": stage.speaker.end,
        "finished": lambda: stage.run(100),
    }
    for name, step in steps.items():
        if state == "silent":
            break
        step()
        if name == state:
            break
    played = {"speaking": 20 * 800, "ended": 20 * 800}.get(state, 0)
    heard = stage.speaker.interrupt()
    assert heard == (None if state in ("silent", "finished") else Heard("a", played))
    stage.speaker.push(SOUND)  # of the turn that is no more
    after = stage.run(30)
    assert not any(segment.turn for segment in after) and not np.concatenate([s.sound for s in after]).any()
    assert {segment.generation for segment in after} == {1}
    assert stage.speaker.dropped == len(SOUND)
    stage.speaker.speak("b")
    stage.speaker.push(SOUND)
    stage.speaker.end()
    assert sum(segment.turn == "b" for segment in stage.run(100)) == 90


def test_work_under_way_for_an_interrupted_turn_is_lost():
    stage = Stage()
    stage.speaker.speak("a")
    stage.speaker.push(SOUND)
    work = stage.speaker.work()
    stage.speaker.interrupt()
    drive_turns(work)  # it was in the driver's hands
    assert not any(segment.turn for segment in stage.run(30))


def test_a_late_source_is_waited_for_in_silence():
    stage = Stage()
    stage.speaker.speak("a")
    stage.speaker.push(SOUND[:8000])
    first = stage.run(60)
    assert 24 <= sum(bool(segment.turn) for segment in first) <= 30
    assert any(isinstance(event, RanDry) for event in stage.seen)
    stage.speaker.push(SOUND[8000:])
    stage.speaker.end()
    second = stage.run(100)
    assert sum(bool(s.turn) for s in first + second) == 90
    positions = [segment.position for segment in first + second if segment.turn]
    assert positions == [800 * i for i in range(90)]


def test_the_sound_is_as_long_as_the_frames_for_hours():
    stage = Stage(fps=Fraction(30000, 1001))
    ticks = 0
    for turn in range(40):
        stage.speaker.speak(str(turn))
        stage.speaker.push(SOUND[: 700 + 13 * turn])
        stage.speaker.end()
        ticks += sum(len(segment.sound) for segment in stage.run(5))
        assert abs(ticks - frame_tick(5 * (turn + 1), stage.speaker.fps)) <= 2


def test_more_sound_than_allowed_is_refused_whole():
    stage = Stage(limits=Limits(turn_s=2))
    stage.speaker.speak("a")
    stage.speaker.push(SOUND)
    with pytest.raises(MarotteError, match=r"3.0 s of sound would wait to be played, more than turn_s = 2"):
        stage.speaker.push(SOUND)
    stage.speaker.end()
    assert sum(bool(segment.turn) for segment in stage.run(120)) == 90


@pytest.mark.parametrize("ppm", [-600, 400])
def test_a_source_whose_clock_is_off_is_followed(ppm):
    """Three minutes with jitter and loss: unfollowed, 600 ppm would take all but a packet of the 120 ms that wait."""
    stage = Stage(fps=Fraction(20), driver=Hearing())
    rng, speaker = np.random.default_rng(0), stage.speaker
    speaker.speak("mic", 16000, stream=True)
    hum = to_int16(0.1 * np.sin(np.arange(32000) * 2 * np.pi * 200 / 16000))
    levels, sent, dry = [], 0, 0
    for frame in range(3600):
        due = (frame + 4) / 20 * (1 + ppm * 1e-6) + rng.uniform(0, 0.02)
        count = int(due * 16000) // 320 * 320 - sent
        if count > 0 and rng.random() > 0.02:  # what is lost is a gap in the source's count
            speaker.push(hum[sent % 80 : sent % 80 + count], at=sent)
        sent += max(count, 0)
        levels.append(speaker._turns[0].seconds_waiting)
        stage.run(1)
        dry += sum(isinstance(event, RanDry) for event in stage.seen)
        stage.seen.clear()
    halves = np.array(levels).reshape(6, 600).mean(axis=1)  # of minutes
    assert np.abs(halves[4:] - 0.12).max() < 0.03
    assert dry < 10
