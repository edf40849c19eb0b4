"""What users write for an arm: every key reaches its place, every mistake gets one line."""

import pytest

from marotte.errors import MarotteError
from marotte.runtime.compare.arms import MOST_ARMS, check_arms, make_arm, read_arm, read_plan
from marotte.runtime.compare.model import Arm


def test_an_arm_reads_as_written():
    assert read_arm("splat=demo") == Arm("splat", "demo")
    arm = read_arm("a.b-c=demo,driver=acoustic,renderer=mesh,variant=live,expressiveness=0.5,fix_pose=yes,seed=3")
    assert (arm.driver, arm.renderer) == ("acoustic", "mesh")
    assert arm.render == {"variant": "live", "expressiveness": 0.5, "fix_pose": True, "seed": 3}
    arm = read_arm("x=demo-talker,smile=0.3,pose=motion,precision=float16,renderer.precision=bfloat16")
    assert arm.driver_options == {"smile": 0.3, "precision": "float16"}
    assert arm.renderer_options == {"pose": "motion", "precision": "bfloat16"}
    assert read_arm("x=a/folder=odd").avatar == "a/folder=odd"
    assert read_arm("film=video:C=3.mp4") == Arm("film", video="C=3.mp4")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("demo", "'demo' names no avatar: write NAME=AVATAR"),
        ("=demo", "the arm '' cannot give a file its name"),
        ("../x=demo", "the arm '../x' cannot give a file its name"),
        ("a=demo,driver", "'driver' is no key=value"),
        ("a=demo,idle=1,idle=0", "says idle twice"),
        ("a=demo,drivr=acoustic", "key of the arm a is called 'drivr': did you mean 'driver'"),
        ("a=demo,idle=much", "the arm a: idle = 'much' is not a number"),
        ("a=demo,seed=1.5", "the arm a: seed = '1.5' is not a whole number"),
        ("a=demo,smooth=maybe", "the arm a: smooth = 'maybe' is not true or false"),
        ("a=video:x.mp4,idle=0", "is a film that is there already: idle does nothing"),
        ("a=demo,motion=x.npz,driver=viseme", "has a motion and a driver"),
    ],
)
def test_mistakes_get_one_line(text, message):
    with pytest.raises(MarotteError, match=message):
        read_arm(text)


def test_a_plan_is_toml(tmp_path):
    (tmp_path / "mine.npz").touch()
    plan = tmp_path / "plan.toml"
    plan.write_text(
        'audio = "hello.wav"\nfps = 30\n[arms.a]\n[arms.b]\nmotion = "mine.npz"\nidle = 0\n'
        "[arms.c]\nexpressiveness = 1.5\nfix_pose = true\n"
    )
    found = read_plan(plan)
    assert found.settings == {"audio": "hello.wav", "fps": 30}
    first, second, third = found.arms
    assert first == Arm("a", "demo") and second.motion == str(tmp_path / "mine.npz")
    assert second.render == {"idle": 0.0} and third.render == {"expressiveness": 1.5, "fix_pose": True}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("audio = 3 [", "cannot be read as TOML"),
        ("fps = 30", "names no arms"),
        ("arms = 3", "names no arms"),
        ("[arms.a]\nidle = [1]", "idle = \\[1\\] is not a number"),
        ("[arms.a]\nidle = true", "idle = True is not a number"),
        ("[arms.a]\nseed = 1.5", "seed = 1.5 is not a whole number"),
        ("[arms.a]\nwhat = 1", "key of the arm a is called 'what'"),
        ("[arms.a]\nseed = -1", "seed = -1 is not a whole number from 0"),
        ("wat = 1\n[arms.a]", r"setting of .*plan\.toml is called 'wat'"),
        ('start = "x"\n[arms.a]', r"plan\.toml: start = 'x' is not a number"),
        ("duration = true\n[arms.a]", "duration = True is not a number"),
        ("size = [3]\n[arms.a]", r"size = \[3\] is not a number"),
        ("seed = 99999999999999999999\n[arms.a]", "seed = 9+ is not a whole number from 0 to"),
        ('cost = "maybe"\n[arms.a]', "cost = 'maybe' is not true or false"),
    ],
)
def test_a_plan_that_is_wrong(tmp_path, content, message):
    plan = tmp_path / "plan.toml"
    plan.write_text(content)
    with pytest.raises(MarotteError, match=message):
        read_plan(plan)


def test_settings_of_a_plan_are_of_their_kind(tmp_path):
    (tmp_path / "said.txt").touch()
    plan = tmp_path / "plan.toml"
    plan.write_text('title = 3\nreference = 4\ntext = "said.txt"\nseed = 7\nlpips = "no"\nstart = 1\n[arms.a]\n')
    assert read_plan(plan).settings == {
        "title": "3",
        "reference": "4",
        "text": str(tmp_path / "said.txt"),
        "seed": 7,
        "lpips": False,
        "start": 1.0,
    }


def test_a_plan_that_is_missing(tmp_path):
    with pytest.raises(MarotteError, match=r"none\.toml cannot be read as TOML \(No such file"):
        read_plan(tmp_path / "none.toml")


def test_what_cannot_be_compared():
    with pytest.raises(MarotteError, match="nothing to compare"):
        check_arms([])
    with pytest.raises(MarotteError, match="two arms are called a"):
        check_arms([make_arm("a", {}), make_arm("A", {})])
    with pytest.raises(MarotteError, match=f"{MOST_ARMS + 1} arms are more than"):
        check_arms([make_arm(f"a{index}", {}) for index in range(MOST_ARMS + 1)])
