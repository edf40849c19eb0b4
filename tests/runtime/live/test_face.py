"""The face between turns: fades, idle life that goes on, late frames that are passed over."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from marotte.errors import MarotteError
from marotte.runtime.avatar import Avatar
from marotte.runtime.bridge import Bridge
from marotte.runtime.camera import facing_camera
from marotte.runtime.idle import IdleOptions
from marotte.runtime.live.face import FADE_S, Face
from marotte.runtime.live.segment import Segment
from marotte.runtime.motion import Motion

FPS = Fraction(50)
AVATAR = Avatar(name="test", path=Path("."), renderer="mesh", basis="arkit52")


def face(amount: float = 0.0, **options) -> Face:
    bridge = Bridge(AVATAR, facing_camera((0, 0, 0), 1.0, 0.4, (64, 64)))
    return Face(bridge, "arkit52", FPS, idle=IdleOptions(amount), **options)


def segment(jaw: float | None = None, turn: str = "", generation: int = 0, features=None) -> Segment:
    codes = np.zeros((1, 106), np.float32)
    codes[0, 103] = jaw or 0
    motion = None if jaw is None else Motion(codes, FPS, "arkit52")
    return Segment(turn, generation, 0, np.zeros(960, np.int16), np.zeros(320, np.float32), motion, features)


def jaws(face: Face, segments: list[Segment]) -> np.ndarray:
    return np.array([face.drive(each).head.jaw[0, 0] for each in segments])


def test_speech_fades_in_and_out():
    shown = jaws(face(), [segment()] * 5 + [segment(0.3, "a")] * 20 + [segment()] * 20)
    fade = round(FADE_S * 50)
    assert not shown[:5].any() and np.allclose(shown[5 + fade - 1 : 25], 0.3) and not shown[25 + fade - 1 :].any()
    assert np.abs(np.diff(shown)).max() < 0.3 * 2 / fade


@pytest.mark.parametrize("after", [1, 3, 10])
def test_an_interruption_closes_the_mouth_from_wherever_it_is(after):
    one = face()
    before = jaws(one, [segment(0.3, "a")] * after)
    shown = jaws(one, [segment(generation=1)] * 10)
    assert shown[0] <= before[-1] and (np.diff(shown) <= 0).all() and not shown[round(FADE_S * 50) - 1 :].any()


def test_idle_life_does_not_notice_turns_or_late_frames():
    plan = [segment()] * 40 + [segment(0.0, "a")] * 40 + [segment(generation=1)] * 40
    whole = face(1.0)
    every = [whole.drive(each).head for each in plan]
    late = face(1.0)
    for index, each in enumerate(plan):
        if index % 3:
            late.skip(each)
        else:
            head = late.drive(each).head
            assert np.array_equal(head.neck, every[index].neck) and np.array_equal(head.eyes, every[index].eyes)
    turns = np.array([head.neck[0] for head in every])
    assert turns.any() and np.abs(np.diff(turns, axis=0)).max() < 0.01


def test_ticks_count_every_frame():
    one = face()
    one.skip(segment())
    assert one.drive(segment()).ticks.tolist() == [960]


def test_settings_change_while_it_is_shown():
    one = face()
    jaws(one, [segment(0.2, "a")] * 20)
    one.set(expressiveness=0.5)
    assert jaws(one, [segment(0.2, "a")])[0] == pytest.approx(0.1)
    with pytest.raises(MarotteError, match="expressiveness 9"):
        one.set(expressiveness=9)
    assert jaws(one, [segment(0.2, "a")])[0] == pytest.approx(0.1)


def test_silence_has_the_features_of_silence():
    rest = np.full((8, 4), 0.5, np.float32)
    one = face(rest=rest)
    assert np.array_equal(one.drive(segment()).features, rest[None])
    own = np.zeros((8, 4), np.float32)
    assert np.array_equal(one.drive(segment(0.1, "a", features=own)).features, own[None])
