"""What arms cost: processes in turns, of which one may fail, die or hang; a small difference among noisy frames."""

import json
import os
import subprocess
from fractions import Fraction

import numpy as np
import pytest
import soundfile

from marotte.runtime.camera import Camera
from marotte.runtime.compare.blocks import sampled
from marotte.runtime.compare.cost import Cost, make_spec, measure_cost
from marotte.runtime.compare.cost_process import LostError, answering
from marotte.runtime.compare.model import Arm
from marotte.runtime.contracts import SAMPLE_RATE
from marotte.runtime.testing import speech_like

# A plug-in as a stranger's wheel would bring it: its option `does` says what goes wrong, and after how many frames.
PLUGIN = """
import os, time
import numpy as np
from marotte.errors import MarotteError
from marotte.runtime.contracts import Renderer, RenderStream
from marotte.runtime.frames import Frames

class Face(RenderStream):
    gaussian_count = 7
    batch = 2

    def __init__(self, options):
        self.width, self.height, self.drawn = options.width, options.height, 0
        self.does = options.extra.get("features", "nothing")

class Planted(Renderer):
    def open(self, avatar, options):
        if options.extra.get("features") == "refuse":
            raise MarotteError("it does not want to")
        return Face(options)

    def render(self, stream, drive):
        print("what a plug-in says")
        stream.drawn += len(drive)
        end = time.process_time() + len(drive) * (0.006 if stream.does == "dawdle" else 0.002)
        while time.process_time() < end:
            pass
        stream.lap("dawdling")
        if stream.drawn > 8:
            if stream.does == "die":
                os._exit(3)
            if stream.does == "hang":
                time.sleep(1000)
            if stream.does == "raise":
                raise ValueError("broke\\nmidway")
        return Frames(drive.ticks, np.zeros((len(drive), stream.height, stream.width, 3), np.uint8))
"""
KINDS = ("nothing", "dawdle", "refuse", "raise", "die", "hang")


@pytest.fixture(scope="module")
def measured(tmp_path_factory) -> tuple[Cost, list[tuple[int, int | None]]]:
    """All kinds of arms, measured together, and the progress that was told."""
    folder = tmp_path_factory.mktemp("plugin")
    (folder / "planted.py").write_text(PLUGIN)
    about = folder / "planted-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: planted\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[marotte.renderers]\nplanted = planted:Planted\n")
    sound = folder / "sound.wav"
    soundfile.write(sound, speech_like(1.0), SAMPLE_RATE)
    arms = {kind: Arm(kind, renderer="planted", renderer_options={"features": kind}) for kind in KINDS}
    told: list[tuple[int, int | None]] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(folder), prepend=os.pathsep)
        patch.setattr("marotte.runtime.compare.cost._SLOW_S", 1e6)  # these arms are fast on any machine
        specs = {kind: make_spec(arm, sound, fps=Fraction(25), size="32x16") for kind, arm in arms.items()}
        cost = measure_cost(specs, seconds=1.0, timeout=4.0, progress=lambda done, of: told.append((done, of)))
    return cost, told


def test_what_is_measured_of_an_arm(measured):
    arm = measured[0].arms["nothing"]
    assert not arm.failed and arm.gaussians == 7 and arm.batch == 2 and arm.in_flight == 1 and arm.size == (32, 16)
    assert list(arm.start_up) == ["import", "load", "open", "sound", "warm-up", "first frame"]
    assert all(seconds >= 0 for seconds in arm.start_up.values())
    assert {"drive", "bridge", "dawdling", "render"} <= arm.stages.keys()
    assert arm.total is not None and arm.total.cpu_ms <= arm.total.cpu_p95_ms <= arm.total.cpu_p99_ms
    assert len(arm.turns) >= 3 and all(len(turn) >= 5 for turn in arm.turns)
    assert arm.single and arm.batched and arm.memory and arm.memory > 10_000_000 and arm.device_memory is None


def test_the_slower_arm_is_found(measured):
    arms = measured[0].arms
    _, differences = sampled({name: arms[name].turns for name in ("nothing", "dawdle")})
    assert differences["dawdle"].differs and differences["dawdle"].low > 0


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("refuse", "the arm refuse: it does not want to"),
        ("raise", "ValueError: broke midway"),
        ("die", "its process ended with 3"),
        ("hang", "did not answer within 4 s"),
    ],
)
def test_an_arm_that_fails_says_why_and_the_others_go_on(measured, kind, words):
    arm = measured[0].arms[kind]
    assert words in arm.failed and "\n" not in arm.failed
    assert arm.content()["failed"] == arm.failed
    assert (arm.total is None) == (not arm.turns)


def test_it_is_plain_data(measured):
    cost, told = measured
    content = json.loads(json.dumps(cost.content(), allow_nan=False))
    assert content["hardware"]["threads"] >= 1 and content["versions"]["numba"] and "turns" in content["protocol"]
    assert content["arms"]["nothing"]["frame"].keys() >= {"cpu_ms", "cpu_p99_ms", "wall_ms", "wall_p99_ms"}
    assert content["arms"]["nothing"]["start_up_s"]["whole"] > 0
    assert len(content["samples"]["nothing"]) == len(cost.arms["nothing"].turns)
    done = [each for each, _ in told]
    assert done == sorted(done) and told[-1][0] == told[-1][1]


def test_no_process_is_left_when_it_is_stopped(monkeypatch):
    started = []
    whole = subprocess.Popen

    def start(*arguments, **options):
        started.append(whole(*arguments, **options))
        return started[-1]

    monkeypatch.setattr(subprocess, "Popen", start)
    with pytest.raises(KeyboardInterrupt), answering("json.tool"):
        raise KeyboardInterrupt
    with answering("json.tool") as process, pytest.raises(LostError, match="did not answer within 0 s"):
        process.ask({}, 0.05)
    assert len(started) == 2 and all(process.returncode is not None for process in started)


def test_a_camera_is_told():
    camera = Camera(np.eye(3), np.array([0.0, 0, 1]), np.array([[9.0, 0, 4], [0, 9, 3], [0, 0, 1]]), 8, 6)
    spec = json.loads(json.dumps(make_spec(Arm("x"), "x.wav", fps=Fraction(30000, 1001), camera=camera)))
    again = Camera(**spec["camera"])
    assert np.array_equal(again.K, camera.K) and (again.width, again.height) == (8, 6)
    assert Arm(**spec["arm"]) == Arm("x") and Fraction(spec["fps"]) == Fraction(30000, 1001)


def test_five_percent_are_found_among_noise():
    """Frames as two busy cores gave them: 9 % from frame to frame, 20 % from turn to turn for all arms alike."""
    rng = np.random.default_rng(4)
    mood = 1 + 0.2 * np.abs(rng.standard_normal(30))
    turns = {
        name: [14 * more * each * (1 + 0.09 * rng.standard_normal(5)) for each in mood]
        for name, more in (("first", 1.0), ("same", 1.0), ("slower", 1.05))
    }
    # Unevenly: every fifth frame alone bears it.
    turns["uneven"] = [turn * (1 + 0.25 * (np.arange(5) == 2)) for turn in turns["same"]]
    values, differences = sampled(turns)
    assert not differences["same"].differs
    assert differences["slower"].differs and differences["uneven"].differs
    # Without turns the same frames would not tell.
    assert values["slower"].low < values["first"].high
