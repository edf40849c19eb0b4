"""Arms are opened before anything is drawn; what does not fit is one line that names the arm."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from marotte.errors import MarotteError
from marotte.runtime.compare.arms import read_arm
from marotte.runtime.compare.cast import open_member, with_motions
from marotte.runtime.motion import Motion
from marotte.runtime.motion_files import save_motion
from marotte.runtime.testing import speech_like


@pytest.fixture
def audio(tmp_path) -> Path:
    import soundfile

    soundfile.write(tmp_path / "a.wav", speech_like(1.0), 16000)
    return tmp_path / "a.wav"


def member(text: str):
    return open_member(read_arm(text), "64", 3, {})


def test_arms_that_share_a_driver_share_its_motion(audio):
    members = [
        member("a=demo"),
        member("b=demo,renderer=mesh"),
        member("c=demo,smile=0.5"),
        member("d=demo,driver=acoustic"),
    ]
    a, b, c, d = with_motions(members, audio, 0.0, None, None)
    assert a.motion is b.motion and c.motion is not a.motion and d.motion is not a.motion
    assert d.driver_name == "acoustic" and len(a.motion) == 50


def test_options_reach_the_session():
    arm = member("a=demo,expressiveness=0.5,jaw=pitch,idle=0,framing=bust,variant=live,background=red")
    options = arm.options
    assert (options.motion.expressiveness, options.motion.jaw, options.idle.amount) == (0.5, "pitch", 0)
    assert options.framing == "bust" and options.renderer == {"variant": "live"} and arm.colour == (255, 0, 0)
    assert options.idle.seed == 3 and member("a=demo,seed=5").options.idle.seed == 5


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a=nobody", "the arm a: .*'nobody'"),
        ("a=demo,driver=vizeme", "the arm a: .*'vizeme'.*viseme"),
        ("a=demo,renderer=mash", "the arm a: .*'mash'.*mesh"),
        ("a=demo,driver=acoustic,smile=1", "the arm a: .*smile"),
        ("a=demo,renderer=mesh,variant=live", "the arm a: .*variant"),
        ("a=demo,expressiveness=9", "the arm a: expressiveness 9"),
        ("a=demo,background=transparent", "the arm a: .*transparent"),
        ("a=demo,motion_fps=25", "the arm a: motion_fps says what a motion's file does not"),
        ("a=demo,framing=feet", "the arm a: .*'feet'"),
        ("a=demo,motion=none.npz", "the arm a: .*none.npz"),
    ],
)
def test_what_does_not_open(text, message):
    with pytest.raises(MarotteError, match=message):
        member(text)


def test_motion_of_another_basis(tmp_path):
    save_motion(tmp_path / "m.npz", Motion(np.zeros((25, 106), np.float32), Fraction(25), "flame2020"), {})
    with pytest.raises(MarotteError, match=r"the arm a: the motion's expressions are in flame2020"):
        member(f"a=demo,motion={tmp_path}/m.npz")


def test_a_motion_is_played(tmp_path, audio):
    motion = Motion(np.full((30, 106), 0.01, np.float32), Fraction(30), "arkit52")
    save_motion(tmp_path / "m.npz", motion, {})
    (played,) = with_motions([member(f"a=demo,motion={tmp_path}/m.npz")], audio, 0.0, None, None)
    assert np.array_equal(played.motion.codes, motion.codes)
    played.session(None, Fraction(25)).close()
