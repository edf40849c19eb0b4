"""One speaker and one face: packets, latency, features, the end of the sound."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marotte.errors import MarotteError
from marotte.runtime import join as join_module
from marotte.runtime.camera import facing_camera
from marotte.runtime.clock import frame_ticks
from marotte.runtime.contracts import FeatureNeed, Needs
from marotte.runtime.idle import IdleOptions
from marotte.runtime.join import FeatureJoin, features_for
from marotte.runtime.session import Session, SessionOptions
from marotte.runtime.testing import check_driver, check_features, speech_like

SOUND = speech_like(2.3)


def options(**values) -> SessionOptions:
    return SessionOptions(width=4, height=2, idle=IdleOptions(0), **values)


def pictures(session: Session, packets, duration=None):
    frames = [frames for packet in packets for frames in session.feed(packet)]
    frames += session.finish(duration)
    return np.concatenate([f.ticks for f in frames]), np.concatenate([f.pixels for f in frames])


@pytest.mark.parametrize("fps", [25, 30, 60, Fraction(30000, 1001)])
@pytest.mark.parametrize("driver", [{}, {"lookahead": 0.1}, {"chunk": 1.0}, {"chunk": 4.0, "lookahead": 0.2}])
@pytest.mark.parametrize("smooth", [False, True])
def test_packets_do_not_change_the_pictures(avatar, loudness, bars, fps, driver, smooth):
    session = Session(loudness(**driver), bars(), avatar, options(fps=Fraction(fps), smooth=smooth))
    ticks, whole = pictures(session, [SOUND])
    assert ticks.tolist() == frame_ticks(0, -(-23 * Fraction(fps) // 10), Fraction(fps)).tolist()
    assert np.ptp(whole.astype(int)) > 50
    for size in (160, 777, 16000):
        session.reset()
        again = pictures(session, [SOUND[i : i + size] for i in range(0, len(SOUND), size)])
        assert np.array_equal(again[0], ticks) and np.array_equal(again[1], whole)


@pytest.mark.parametrize("fps", [25, 60, Fraction(30000, 1001)])
@pytest.mark.parametrize("driver", [{}, {"lookahead": 0.1}, {"chunk": 4.0, "lookahead": 0.2}])
@pytest.mark.parametrize("smooth", [False, True])
def test_idle_life_listens_after_any_driver_and_in_any_packets(avatar, loudness, bars, talk, fps, driver, smooth):
    class Poses(bars):
        def render(self, stream, drive):
            heads.append(np.hstack([drive.head.root + drive.head.neck, drive.head.expression, drive.head.eyes]))
            return super().render(stream, drive)

    heads: list[np.ndarray] = []
    values = SessionOptions(width=4, height=2, fps=Fraction(fps), smooth=smooth)
    session = Session(loudness(**driver), Poses(), avatar, values)

    def poses(sound, size):
        heads.clear()
        session.reset()
        pictures(session, [sound[i : i + size] for i in range(0, len(sound), size)])
        return np.concatenate(heads)

    sound = talk[: 7 * 16000 + 100]
    whole = poses(sound, len(sound))
    for size in (320, 7777):
        assert np.array_equal(poses(sound, size), whole)
    nod = whole[:, 0] - poses(np.zeros_like(sound), len(sound))[:, 0]
    assert np.rad2deg(nod.max()) > 1.4 and nod.min() > -1e-6


@given(st.integers(1, 40000))
@settings(max_examples=30, deadline=None)
def test_pictures_cover_the_sound_exactly(samples):
    from marotte.runtime.clock import frame_count

    sound = np.zeros(samples, np.float32)
    fixtures = pytest.importorskip("marotte.drivers.acoustic").Acoustic()
    from pathlib import Path

    from marotte.runtime.avatar import Avatar, Framing
    from marotte.runtime.contracts import Renderer, RenderStream
    from marotte.runtime.frames import Frames

    class Blank(Renderer):
        def open(self, avatar, options):
            stream = RenderStream()
            stream.width = stream.height = 1
            return stream

        def render(self, stream, drive):
            return Frames(drive.ticks, np.zeros((len(drive), 1, 1, 3), np.uint8))

    avatar = Avatar("t", Path("."), "blank", "arkit52", framings={"head": Framing((0, 0, 0), 1, 1)})
    ticks, _ = pictures(Session(fixtures, Blank(), avatar, options(fps=Fraction(60))), [sound])
    assert len(ticks) == frame_count(Fraction(samples, 16000), Fraction(60))


def test_the_original_sounds_length_decides(avatar, loudness, bars):
    session = Session(loudness(), bars(), avatar, options())
    ticks, _ = pictures(session, [SOUND], duration=Fraction(2))
    assert len(ticks) >= 50  # frames already given out are not taken back
    session.reset()
    ticks, _ = pictures(session, [], duration=Fraction(2))
    assert len(ticks) == 50


def test_a_renderer_with_a_camera_of_its_own_has_one_framing(avatar, loudness, bars):
    class Fixed(bars):
        def open(self, avatar, options):
            stream = super().open(avatar, options)
            stream.camera = facing_camera((0, 0, 0), 1.0, 0.4, (8, 8))
            return stream

    Session(loudness(), Fixed(), avatar, options())
    with pytest.raises(MarotteError, match="with a camera of its own: leave out --framing bust"):
        Session(loudness(), Fixed(), avatar, replace(options(), framing="bust"))


def test_frames_come_as_soon_as_they_are_decided(avatar, loudness, bars):
    session = Session(loudness(lookahead=0.1), bars(), avatar, options())
    made = 0
    for packet in range(100):
        made += sum(len(frames) for frames in session.feed(np.zeros(320, np.float32)))
        heard = (packet + 1) * 0.02
        assert made >= (heard - 0.1) * 25 - 1


def test_what_is_not_taken_comes_with_the_next_call(avatar, loudness, bars):
    session = Session(loudness(), bars(), avatar, options())
    session.feed(SOUND[:16000])
    ticks = np.concatenate([frames.ticks for frames in session.feed(SOUND[16000:])])
    assert ticks[0] == 0 and len(ticks) == 57


def test_a_renderer_may_have_several_batches_in_flight(avatar, loudness, bars):
    class Deferred(bars):
        def __init__(self):
            self.submitted = self.most = self.taken = 0

        def open(self, avatar, options):
            stream = super().open(avatar, options)
            stream.batch, stream.in_flight = 4, 3
            return stream

        def submit(self, work):
            self.submitted += 1
            self.most = max(self.most, self.submitted - self.taken)
            owner, render = self, super().submit

            class Later:
                def result(self):
                    owner.taken += 1
                    return render(work).result()

            return Later()

    sound = np.linspace(0, 0.2, 16000, dtype=np.float32)
    expected = pictures(Session(loudness(), bars(), avatar, options()), [sound])
    renderer = Deferred()
    session = Session(loudness(), renderer, avatar, options())
    first = next(session.feed(sound))  # what is in flight then is not lost
    ticks, pixels = pictures(session, [])
    assert renderer.most == 3 and len(first.ticks) == 4
    assert np.array_equal(np.concatenate([first.ticks, ticks]), expected[0])
    assert np.array_equal(np.concatenate([first.pixels, pixels]), expected[1])


def test_a_finished_session_wants_a_reset(avatar, loudness, bars):
    session = Session(loudness(), bars(), avatar, options())
    pictures(session, [SOUND])
    with pytest.raises(MarotteError, match="finished"):
        session.feed(SOUND)
    with pytest.raises(MarotteError, match="finished"):
        session.finish()
    session.reset()
    assert len(pictures(session, [SOUND])[0])
    session.close()


def test_features_meet_their_frames(avatar, loudness, bars, count, monkeypatch):
    class Hearing(bars):
        needs = Needs(features=FeatureNeed("count", 6))

    monkeypatch.setattr(join_module, "create", lambda kind, name: count())
    session = Session(loudness(chunk=0.2), Hearing(), avatar, options(fps=Fraction(25)))
    _, whole = pictures(session, [SOUND])
    middle = whole[10:50, 0, 0, 1]
    # Frame i falls into row 4 i; its window is the rows 4 i - 3 .. 4 i + 2.
    assert middle.tolist() == [int(4 * i - 0.5) for i in range(10, 50)]
    session.reset()
    again = pictures(session, [SOUND[i : i + 333] for i in range(0, len(SOUND), 333)])[1]
    assert np.array_equal(again, whole)


def test_feature_windows_are_padded_with_zeros(count):
    join = FeatureJoin(count(), FeatureNeed("count", 8), Fraction(25))
    join.feed(np.zeros(16000, np.float32))
    assert join.ready(0, 100) == 24  # 97 rows are known, and frame 24 needs row 99
    first = join.windows(0, 1)[0, :, 0]
    assert first.tolist() == [0, 0, 0, 0, 0, 1, 2, 3]
    join.finish()
    assert join.ready(1, 25) == 25
    last = join.windows(1, 25)[-1, :, 0]
    assert last.tolist() == [92, 93, 94, 95, 96, 97, 98, 99]
    assert join.windows(25, 26)[0, :, 0].tolist() == [96, 97, 98, 99, 0, 0, 0, 0]


@pytest.mark.parametrize("driver", [{}, {"lookahead": 0.1}, {"chunk": 1.0}, {"chunk": 4.0, "lookahead": 0.2}])
def test_the_fakes_keep_the_contract(loudness, driver):
    check_driver(loudness(**driver))


@pytest.mark.parametrize("packet", [160, 16000])
def test_feature_rows_are_taken_at_their_stride(count, packet):
    need = FeatureNeed("count", 4, stride=3, before=3)
    assert (need.first, need.last) == (-9, 0)
    join, sound = FeatureJoin(count(), need, Fraction(25)), np.zeros(16000, np.float32)
    seen = []
    for start in range(0, len(sound), packet):
        join.feed(sound[start : start + packet])
        ready = join.ready(len(seen), 25)
        seen += [window[:, 0].tolist() for window in join.windows(len(seen), ready)] if ready > len(seen) else []
    assert len(seen) == 25
    assert seen[0] == [0, 0, 0, 0] and seen[1] == [0, 0, 1, 4] and seen[20] == [71, 74, 77, 80]


def test_a_network_hears_only_what_it_was_trained_on(count, monkeypatch):
    counts = count()
    counts.space = "counts"
    monkeypatch.setattr(join_module, "create", lambda kind, name: counts)
    assert features_for(FeatureNeed("count", 4, space="counts"), "ann") is counts
    with pytest.raises(MarotteError, match="avatar ann was trained on letters features, count gives counts"):
        features_for(FeatureNeed("count", 4, space="letters"), "ann")


def test_the_fake_features_keep_the_contract(count):
    check_features(count())


def test_the_contract_catches_a_driver_that_forgets_packets(loudness):
    class Forgetful(loudness):
        def open(self, options=None):
            stream = super().open(options)
            stream.feed = lambda samples, feed=stream.feed: feed(samples * np.float32(len(samples) > 1))
            return stream

    with pytest.raises(AssertionError, match="packets change the motion"):
        check_driver(Forgetful())


def test_the_contract_catches_a_driver_that_is_late(loudness):
    class Late(loudness):
        lookahead = 0.0

        def open(self, options=None):
            return loudness(lookahead=0.5).open(options)

    with pytest.raises(AssertionError, match="promise"):
        check_driver(Late())


def test_the_level_of_expression_is_of_what_was_driven(avatar, loudness, bars):
    class Face(loudness):
        def open(self, options=None):
            stream = super().open(options)
            until = stream._until

            def expressive(stop):
                motion = until(stop)
                codes = motion.codes.copy()
                codes[: len(codes) // 2, :50] = 0.3  # then the face rests
                return replace(motion, codes=codes)

            stream._until = expressive
            return stream

    trained = replace(avatar, expression_level=0.5)
    session = Session(Face(), bars(), trained, SessionOptions(4, 2, idle=IdleOptions(1)))
    list(session.feed(SOUND))
    assert session.expression_level == pytest.approx(0.15, rel=1e-6)
    assert Session(Face(), bars(), avatar, options()).expression_level == 0
