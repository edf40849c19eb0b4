"""Live Link Face's CSV: columns by name, time codes, dropped and empty rows, eyes, and broken files."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from marotte.errors import MarotteError
from marotte.models.rotations import rotvec_to_matrix
from marotte.runtime.arkit import ACTIONS, JAW_LEFT, JAW_OPEN, LOOK_RANGE, SLOT
from marotte.runtime.motion_files import read_motion

# The order in which the app writes: Unreal's, which is not Apple's.
APP_ORDER = """
    EyeBlinkLeft EyeLookDownLeft EyeLookInLeft EyeLookOutLeft EyeLookUpLeft EyeSquintLeft EyeWideLeft
    EyeBlinkRight EyeLookDownRight EyeLookInRight EyeLookOutRight EyeLookUpRight EyeSquintRight EyeWideRight
    JawForward JawRight JawLeft JawOpen MouthClose MouthFunnel MouthPucker MouthRight MouthLeft
    MouthSmileLeft MouthSmileRight MouthFrownLeft MouthFrownRight MouthDimpleLeft MouthDimpleRight
    MouthStretchLeft MouthStretchRight MouthRollLower MouthRollUpper MouthShrugLower MouthShrugUpper
    MouthPressLeft MouthPressRight MouthLowerDownLeft MouthLowerDownRight MouthUpperUpLeft MouthUpperUpRight
    BrowDownLeft BrowDownRight BrowInnerUp BrowOuterUpLeft BrowOuterUpRight CheekPuff CheekSquintLeft
    CheekSquintRight NoseSneerLeft NoseSneerRight TongueOut
    HeadYaw HeadPitch HeadRoll LeftEyeYaw LeftEyePitch LeftEyeRoll RightEyeYaw RightEyePitch RightEyeRoll
""".split()
HEADER = ["Timecode", "BlendShapeCount", *APP_ORDER]


def timecode(frame: float, rate: int = 60, start: str = "11:29:58") -> str:
    hours, minutes, seconds = map(int, start.split(":"))
    whole = hours * 3600 + minutes * 60 + seconds + int(frame // rate)
    clock = f"{whole // 3600 % 24:02}:{whole // 60 % 60:02}:{whole % 60:02}"
    return f"{clock}:{frame % rate:06.3f}"


def row(code: str, **values: float) -> str:
    cells = dict.fromkeys(APP_ORDER, 0.0) | values
    assert len(cells) == len(APP_ORDER), "a value of no column"
    return ",".join([code, "61", *(f"{value:.6f}" for value in cells.values())])


@pytest.fixture
def read(tmp_path):
    """Read a CSV of these lines."""

    def reader(*lines: str, header: str = ",".join(HEADER), **options):
        path = tmp_path / "take.csv"
        path.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
        return read_motion(path, **options).motion

    return reader


def test_every_column_reaches_its_slot(read):
    weights = {name: 0.01 * (index + 1) for index, name in enumerate(APP_ORDER[:52])}
    motion = read(row(timecode(0), **weights))
    assert (len(motion), motion.fps, motion.basis) == (1, 60, "arkit52")
    by_name = {name.lower(): weight for name, weight in weights.items()}
    for name in ACTIONS:
        expected = 0 if name in ("jawOpen", "jawLeft", "jawRight") else by_name[name.lower()]
        assert motion.codes[0, SLOT[name]] == pytest.approx(expected), name
    assert not motion.codes[0, 52:100].any()
    turn = by_name["jawleft"] - by_name["jawright"]
    assert motion.jaw[0] == pytest.approx(by_name["jawopen"] * JAW_OPEN + turn * JAW_LEFT)


def test_weights_are_clipped(read):
    motion = read(row(timecode(0), MouthSmileLeft=1.2, MouthSmileRight=-0.1, JawOpen=1.5))
    assert motion.codes[0, SLOT["mouthSmileLeft"]] == 1 and motion.codes[0, SLOT["mouthSmileRight"]] == 0
    assert motion.jaw[0] == pytest.approx(JAW_OPEN)


@pytest.mark.parametrize("rate", [60, 30])
@pytest.mark.parametrize("start", ["11:29:58", "23:59:59"])
def test_time_codes_say_when(read, rate, start):
    """Rows at every frame but a dropped half second, over a full second or midnight: the jaw rises evenly."""
    frames = [frame for frame in range(2 * rate + 1) if not rate // 2 < frame < rate]
    motion = read(*(row(timecode(frame, rate, start), JawOpen=frame / (2 * rate)) for frame in frames))
    assert (len(motion), motion.fps) == (2 * rate + 1, rate)
    assert motion.jaw[:, 0] == pytest.approx(np.linspace(0, JAW_OPEN[0], 2 * rate + 1), abs=1e-5)


def test_time_codes_between_frames(read):
    """The app's own are never whole; the values are those of the even times."""
    late = [frame + 0.25 * (frame % 3) for frame in range(90)]
    motion = read(*(row(timecode(frame), JawOpen=frame / 100) for frame in late))
    expected = np.minimum(np.arange(len(motion)), late[-1]) / 100 * JAW_OPEN[0]
    assert motion.jaw[:, 0] == pytest.approx(expected, abs=1e-5)


def test_doubled_rows_do_not_stretch(read):
    frames = sorted([*range(90), *range(10, 20)])
    motion = read(*(row(timecode(frame), JawOpen=frame / 100) for frame in frames))
    assert len(motion) == 90 and motion.jaw[:, 0] == pytest.approx(np.arange(90) / 100 * JAW_OPEN[0], abs=1e-5)


def test_another_rate_may_be_asked_for(read):
    lines = [row(timecode(frame), JawOpen=frame / 100) for frame in range(91)]
    motion = read(*lines, fps=30)
    assert motion.fps == 30 and motion.jaw[:, 0] == pytest.approx(np.arange(46) / 50 * JAW_OPEN[0], abs=1e-5)


def test_without_time_codes(read):
    header = ",".join(HEADER[1:])
    lines = [row("", JawOpen=frame / 100)[1:] for frame in range(5)]
    assert read(*lines, header=header).fps == 60
    motion = read(*lines, header=header, fps="30000/1001")
    assert (len(motion), motion.fps) == (5, Fraction(30000, 1001))
    lines[2] = "0" + ",0.0" * 61
    assert read(*lines, header=header).jaw[:, 0] == pytest.approx(np.arange(5) / 100 * JAW_OPEN[0], abs=1e-5)


@pytest.mark.parametrize("empty", ["{code},0", "{code},0" + "," * 61, "{code},0" + ",0.000000" * 61])
def test_rows_without_a_face(read, empty):
    """They are filled from their neighbours, and do not shift what follows: the sound was recorded along."""
    lines = [row(timecode(frame), JawOpen=frame / 200) for frame in range(100)]
    for frame in (0, 1, 2, 50, 51, 99):
        lines[frame] = empty.format(code=timecode(frame))
    expected = np.maximum(np.arange(99), 3) / 200 * JAW_OPEN[0]
    assert read(*lines).jaw[:, 0] == pytest.approx(expected, abs=1e-5)
    with pytest.raises(MarotteError, match="saw no face in any frame"):
        read(*(empty.format(code=timecode(frame)) for frame in range(3)))


def direction(rotation: np.ndarray) -> np.ndarray:
    """Where a face that looks along +z looks after a rotation."""
    return rotvec_to_matrix(rotation.astype(np.float64))[..., 2]


@pytest.mark.parametrize("unit", [1.0, 180 / np.pi], ids=["radians", "degrees"])
def test_head_angles(read, unit):
    """+y of yaw is the person's left, pitch is down, and roll tips towards the right shoulder."""
    turns = [{"HeadYaw": 0.3}, {"HeadPitch": 0.2}, {"HeadRoll": 0.1}, {"HeadYaw": 0.3, "HeadPitch": 0.2}]
    lines = [row(timecode(i), **{name: angle * unit for name, angle in turn.items()}) for i, turn in enumerate(turns)]
    head = read(*lines).head
    assert head[0] == pytest.approx([0, 0.3, 0], abs=1e-5)
    assert head[1] == pytest.approx([0.2, 0, 0], abs=1e-5)
    assert head[2] == pytest.approx([0, 0, 0.1], abs=1e-5)
    x, y, z = direction(head[3])
    assert x == pytest.approx(np.sin(0.3) * np.cos(0.2), abs=1e-5) and y == pytest.approx(-np.sin(0.2), abs=1e-5)
    assert z > 0


def test_eyes_follow_the_look_weights(read):
    """Out of the left eye is the person's left (+y), out of the right eye the right (-y); down is +x."""
    motion = read(
        row(timecode(0)),
        row(timecode(1), EyeLookOutLeft=0.5, EyeLookInRight=0.5),
        row(timecode(2), EyeLookInLeft=0.5, EyeLookOutRight=0.5),
        row(timecode(3), EyeLookDownLeft=0.5, EyeLookDownRight=0.5),
        row(timecode(4), EyeLookUpLeft=0.5, EyeLookUpRight=0.5, LeftEyePitch=0.9),
    )
    half = LOOK_RANGE / 2
    expected = [(0, 0), (0, half), (0, -half), (half, 0), (-half, 0)]
    assert motion.eyes == pytest.approx(np.array([[x, y, 0, x, y, 0] for x, y in expected]), abs=1e-5)


def test_eyes_of_recorders_without_look_weights(read):
    motion = read(*(row(timecode(i), LeftEyeYaw=0.1 * i, RightEyePitch=0.05 * i) for i in range(3)))
    assert motion.eyes[2] == pytest.approx([0, 0.2, 0, 0.1, 0, 0], abs=1e-5)


def test_names_in_any_case_and_order(read):
    names = ["timecode", *ACTIONS]
    cells = [timecode(0), *("0.25" if name == "mouthLeft" else "0" for name in ACTIONS)]
    motion = read(",".join(cells[::-1]), "", header="\ufeff" + ",".join(names[::-1]))
    assert motion.codes[0].nonzero()[0].tolist() == [SLOT["mouthLeft"]] and not motion.head.any()
    noted = read(",".join([*cells, "a good take"]), header=",".join([*names, "Notes"]))
    assert np.array_equal(noted.codes, motion.codes)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda text: text.replace("JawOpen", "JawAjar"), "lacks ARKit's columns jawOpen$"),
        (lambda text: text.replace("Mouth", "Maw"), r"lacks ARKit's columns mouthClose, .*\.\.\."),
        (lambda text: text.rstrip()[:-200], r"row 4 has \d\d cells, its header 63: the file is cut"),
        (lambda text: text.replace("0.125000", "much", 1), "'much' in column jawOpen is not a number"),
        (lambda text: text.replace("0.125000", "nan", 1), "'nan' in column jawOpen is not a number"),
        (lambda text: text.replace("0.125000", "", 1), "'' in column jawOpen is not a number"),
        (lambda text: text.partition("\n")[0], "holds no frames"),
        (lambda text: "", "holds no frames"),
        (lambda text: text.replace(",", ";"), "lacks ARKit's columns"),
    ],
)
def test_files_that_cannot_be_read(tmp_path, spoil, words):
    lines = [",".join(HEADER), *(row(timecode(frame), JawOpen=0.125) for frame in range(3))]
    path = tmp_path / "take.csv"
    path.write_text(spoil("\n".join(lines) + "\n"))
    with pytest.raises(MarotteError, match=words) as caught:
        read_motion(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_files_that_are_no_text(tmp_path):
    path = tmp_path / "take.csv"
    for content in (bytes(range(256)) * 4, "Timecode,BlendShapeCount\n1,2\n".encode("utf-16"), b"\0" * 100):
        path.write_bytes(content)
        with pytest.raises(MarotteError, match=r"take\.csv"):
            read_motion(path)


def test_the_basis_is_known(tmp_path):
    path: Path = tmp_path / "take.csv"
    path.write_text("\n".join([",".join(HEADER), row(timecode(0))]))
    assert read_motion(path, basis="arkit52").about == {"source": "Live Link Face CSV"}
    with pytest.raises(MarotteError, match="basis is arkit52, which flame2020 cannot overrule"):
        read_motion(path, basis="flame2020")
