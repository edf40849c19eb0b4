"""Arms in step: the pictures are those of a session by itself, and landmarks come with them."""

from fractions import Fraction

import numpy as np
import pytest

from marotte.errors import MarotteError
from marotte.runtime.clock import frame_count
from marotte.runtime.compare.arms import read_arm
from marotte.runtime.compare.cast import open_member
from marotte.runtime.compare.play import DrawnPlayer, packets
from marotte.runtime.compare.views import candidate, choose_views
from marotte.runtime.motion import Motion
from marotte.runtime.testing import speech_like

FPS = Fraction(25)


def played(text: str, frames: int = 10) -> DrawnPlayer:
    member = open_member(read_arm(text), "64", 0, {})
    codes = np.zeros((frames, 106), np.float32)
    codes[:, 103] = np.linspace(0, 0.3, frames)
    codes[:, 101] = np.linspace(0, 0.2, frames)
    member = member.playing(Motion(codes, FPS, "arkit52"))
    (view,) = choose_views([candidate(member.name, member.stream, member.avatar, member.camera)])
    return DrawnPlayer(member, view, FPS)


def play(player: DrawnPlayer, seconds: float = 0.4) -> None:
    sound = speech_like(seconds)
    frames = frame_count(Fraction(len(sound), 16000), FPS)
    for due, piece in packets(sound, frames, FPS):
        player.play(due, piece, Fraction(len(sound), 16000) if due == frames else None)


@pytest.mark.parametrize("text", ["a=demo,idle=0,variant=live", "a=demo,renderer=mesh,idle=0"])
def test_the_pictures_are_the_sessions_own(text):
    player = played(text)
    play(player)
    whole = played(text)
    sound = speech_like(0.4)
    session = whole.member.session(whole.view.camera, FPS)
    pictures = [*session.feed(sound), *session.finish()]
    expected = np.concatenate([frames.pixels for frames in pictures])
    assert np.array_equal(np.array(player.pictures), expected) and len(player.frame_ms) == 10


def test_landmarks_come_with_them():
    player = played("a=demo,renderer=mesh,idle=0")
    play(player)
    assert player.marked_by == "vertices" and player.landmarks.shape == (10, 68, 2)
    tracks = player.tracks
    assert tracks.opening[0] < 1 and (np.diff(tracks.opening[2:]) > 0).all() and tracks.opening[-1] > 5
    assert tracks.head[-1, 1] == pytest.approx(np.rad2deg(0.2), abs=2)
    inside = player.landmarks[:, 17:]
    assert (inside > 0).all() and (inside < 64).all()
    picture, laid = player.take((64, 64))
    assert picture is laid and player.taken == 1 and player.seconds == pytest.approx(0.04)


def test_an_arm_that_fails_says_why_and_keeps_what_it_had(monkeypatch):
    player = played("a=demo,renderer=mesh")
    session, fed = player._session, 0
    feed = session.feed

    def failing(samples):
        nonlocal fed
        fed += 1
        if fed == 5:
            raise RuntimeError("the\nlamp is out")
        if fed > 5:
            raise AssertionError("it was fed after it failed")
        return feed(samples)

    monkeypatch.setattr(session, "feed", failing)
    play(player)
    assert player.failed == "RuntimeError: the lamp is out" and 0 < len(player.pictures) < 10


def test_what_cannot_be_drawn_names_its_arm():
    member = open_member(read_arm("odd=demo"), "64", 0, {})
    member = member.playing(Motion(np.zeros((1, 106), np.float32), FPS, "flame2020"))
    (view,) = choose_views([candidate("odd", member.stream, member.avatar, member.camera)])
    with pytest.raises(MarotteError, match="the arm odd: the motion's expressions"):
        DrawnPlayer(member, view, FPS)


@pytest.mark.parametrize("fps", [Fraction(25), Fraction(30), Fraction(30000, 1001)])
def test_packets_are_the_whole_sound(fps):
    sound = np.arange(16001, dtype=np.float32)
    frames = frame_count(Fraction(len(sound), 16000), fps)
    pieces = list(packets(sound, frames, fps))
    assert [due for due, _ in pieces] == list(range(1, frames + 1))
    assert np.array_equal(np.concatenate([piece for _, piece in pieces]), sound)
