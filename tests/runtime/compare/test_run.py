"""Whole comparisons: what is in the folder, what planted faults do to the figures, and what bad input gets."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from marotte.errors import MarotteError
from marotte.runtime.cli import run as marotte
from marotte.runtime.compare.arms import read_arm
from marotte.runtime.compare.run import compare
from marotte.runtime.motion_files import save_motion
from marotte.runtime.offline import drive
from marotte.runtime.video.ffmpeg import run_ffmpeg
from marotte.runtime.video.probe import probe

SPEECH = Path(__file__).parents[3] / "demos" / "speech.wav"
SECONDS = 5.0


def arms(*texts: str):
    return [read_arm(text) for text in texts]


def filtered(film: Path, out: Path, *arguments: str) -> Path:
    done = run_ffmpeg(["-loglevel", "error", "-i", str(film), *arguments, "-crf", "12", "-y", str(out)])
    assert not done.status, done.complaint
    return out


@pytest.fixture(scope="module")
def planted(tmp_path_factory) -> tuple[Path, dict]:
    """The same arm twice, and arms with a fault each; films of the first one, which are measured in the picture."""
    folder = tmp_path_factory.mktemp("compare")
    motion = drive(SPEECH, duration=SECONDS)
    halved = motion.codes.copy()
    halved[:, 103:106] *= 0.5
    halved[:, :100] *= 0.5
    save_motion(folder / "halved.npz", type(motion)(halved, motion.fps, motion.basis), {})
    plain = "demo,variant=live"
    compare(SPEECH, folder / "first", arms(f"base={plain}"), size=192, duration=SECONDS, cost=False)
    film = folder / "first" / "arms" / "base.mp4"
    mirrored = filtered(film, folder / "mirrored.mp4", "-vf", "hflip")
    late = folder / "late.mp4"
    inputs = ["-i", str(film), "-itsoffset", "0.08", "-i", str(film), "-map", "0:v", "-map", "1:a"]
    assert not run_ffmpeg(["-loglevel", "error", *inputs, "-c", "copy", "-y", str(late)]).status
    out = folder / "all"
    compare(
        SPEECH,
        out,
        arms(
            f"base={plain}",
            f"again={plain}",
            f"halved={plain},motion={folder}/halved.npz",
            f"film=video:{film}",
            f"mirrored=video:{mirrored}",
            f"late=video:{late}",
        ),
        size=192,
        duration=SECONDS,
        reference=film,
        cost=False,
    )
    return out, json.loads((out / "results.json").read_text())


def test_the_same_arm_twice_is_equal(planted):
    _, results = planted
    timed = ("frame_time", "frame_time_jitter")  # the clock's, which never ticks alike twice
    found = {key: value for key, value in results["differences"]["again"].items() if key not in timed}
    assert all(value[part] in (0, None) for value in found.values() for part in ("value", "low", "high"))
    assert found["opening"]["value"] == 0 and found["lag"]["value"] == 0
    values = results["values"]["again"]
    assert values["psnr_pair"]["value"] == 100 and values["difference_pair"]["value"] == 0
    assert values["ssim_pair"]["value"] == 1 and values["landmark_pair"]["value"] == 0


def test_a_halved_mouth_is_found_and_nothing_else(planted):
    _, results = planted
    found, values = results["differences"]["halved"], results["values"]
    assert found["opening"]["differs"] and found["opening"]["value"] < 0
    assert 0.35 < values["halved"]["opening"]["value"] / values["base"]["opening"]["value"] < 0.65
    assert not found["lag"]["differs"] and not found["blink_rate"]["differs"]


def test_a_mirrored_picture_is_found(planted):
    _, results = planted
    values, found = results["values"], results["differences"]
    assert values["mirrored"]["psnr_pair"]["value"] < values["film"]["psnr_pair"]["value"] - 5
    assert found["mirrored"]["psnr_reference"]["differs"] and not found["mirrored"]["lag"]["differs"]


def test_a_late_sound_is_found_in_the_films_own_sound(planted):
    _, results = planted
    lag = {name: results["values"][name]["lag"]["value"] for name in ("film", "late")}
    assert lag["late"] - lag["film"] == pytest.approx(-80, abs=12)
    assert results["values"]["late"]["psnr_pair"]["value"] == pytest.approx(
        results["values"]["film"]["psnr_pair"]["value"], abs=0.5
    )


def test_what_is_in_the_folder(planted):
    out, results = planted
    names = [arm["name"] for arm in results["arms"]]
    assert names == ["base", "again", "halved", "film", "mirrored", "late"] and results["baseline"] == "base"
    assert (out / "report.html").stat().st_size > 100_000
    for arm in results["arms"]:
        assert (out / arm["video"]).is_file() and arm["failed"] is None and arm["frames"] == 125
    grid = probe(out / "grid.mp4")
    assert (grid.frames, grid.width, grid.height) == (125, results["grid"]["width"], results["grid"]["height"])
    assert grid.audio_duration == pytest.approx(SECONDS, abs=0.05)
    assert (out / "arms" / "film.mp4").read_bytes() == (out.parent / "first" / "arms" / "base.mp4").read_bytes()
    rules = {arm["name"]: arm["camera"]["rule"] for arm in results["arms"]}
    assert rules["base"] == "framing" and rules["film"] == "film"
    assert {arm["opening_by"] for arm in results["arms"]} == {"Gaussians", "mouth in the picture"}
    for moment in results["moments"]:
        assert (out / moment["still"]).is_file()
    assert set(results["values"]["base"]) == {figure["key"] for figure in results["figures"]}
    json.dumps(results, allow_nan=False)


def test_the_sound_that_films_are_made_of_is_whole(planted):
    out, _ = planted
    assert probe(out / "arms" / "base.mp4").audio_duration == pytest.approx(SECONDS, abs=0.05)


def test_an_arm_that_fails_midway(tmp_path, monkeypatch):
    from marotte.renderers.mesh import MeshRenderer

    drawn, drawing = 0, MeshRenderer.render

    def failing(self, stream, drive):
        nonlocal drawn
        drawn += len(drive)
        if drawn > 12:
            raise RuntimeError("out of paint")
        return drawing(self, stream, drive)

    monkeypatch.setattr(MeshRenderer, "render", failing)
    report = compare(
        SPEECH,
        tmp_path / "out",
        arms("whole=demo,variant=live", "broken=demo,renderer=mesh"),
        size=64,
        duration=1.0,
        cost=False,
    )
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    whole, broken = results["arms"]
    assert whole["failed"] is None and whole["frames"] == 25
    assert broken["failed"]["why"] == "RuntimeError: out of paint" and broken["failed"]["at"] == pytest.approx(0.48)
    assert probe(tmp_path / "out" / "arms" / "broken.mp4").frames == 12
    assert any("out of paint" in note for note in report.notes)
    assert len(results["tracks"]["seconds"]) == 25


def test_every_arm_fails(tmp_path, monkeypatch):
    from marotte.renderers.mesh import MeshRenderer

    monkeypatch.setattr(MeshRenderer, "render", lambda self, stream, drive: 1 / 0)
    with pytest.raises(MarotteError, match=r"every arm failed; a after 0\.00 s: ZeroDivisionError"):
        compare(SPEECH, tmp_path / "out", arms("a=demo,renderer=mesh"), size=64, duration=1.0, cost=False)
    assert not list(tmp_path.iterdir())


def test_a_film_that_ends_early(tmp_path, planted):
    short = filtered(planted[0] / "arms" / "base.mp4", tmp_path / "short.mp4", "-t", "0.6")
    compare(
        SPEECH,
        tmp_path / "out",
        arms("base=demo,variant=live", f"short=video:{short}"),
        size=192,
        duration=1.0,
        cost=False,
    )
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert results["arms"][1]["failed"] == {"at": 0.6, "why": "the film ends here"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--arm", "a=demo"], "no sound that the arms could say"),
        ([str(SPEECH)], "nothing to compare"),
        (["none.wav", "--arm", "a=demo"], "none.wav"),
        ([str(SPEECH), "--arm", "a=nobody"], "the arm a: "),
        ([str(SPEECH), "--arm", "a=video:none.mp4"], "none.mp4 does not exist"),
        ([str(SPEECH), "--arm", "a=demo", "--reference", "none.mp4"], "none.mp4 does not exist"),
        ([str(SPEECH), "--arm", "a=demo", "--fps", "0"], "0"),
        ([str(SPEECH), "--arm", "a=demo", "--size", "big"], "big"),
        ([str(SPEECH), "--arm", "a=demo", "--start", "99"], "99"),
        ([str(SPEECH), "--arm", "a=demo", "-o", "no/such"], "there is no folder"),
        ([str(SPEECH), "--arm", "a=demo", "--plan", "none.toml"], "none.toml"),
        ([str(SPEECH), "--arm", "a=demo", "--text", "in 1999"], "digits"),
        ([str(SPEECH), "--arm", "a=demo", "--text", "nofile.txt"], "there is no file nofile.txt"),
        ([str(SPEECH), "--arm", "a=demo", "--text", " "], "is empty"),
        ([str(SPEECH), "--arm", "a=demo", "--seed", "-1"], "seed -1 is not a whole number from 0 to"),
    ],
)
def test_bad_input_is_one_line(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert marotte(["compare", *arguments]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and message in lines[0]
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_something_else_stays(tmp_path, capsys):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").touch()
    asked = [
        "compare",
        str(SPEECH),
        "--arm",
        "a=demo,renderer=mesh",
        "--size",
        "64",
        "--duration",
        "0.4",
        "--no-cost",
        "-q",
    ]
    assert marotte([*asked, "--replace", "-o", str(tmp_path / "out")]) == 2
    assert "is no comparison" in capsys.readouterr().err and (tmp_path / "out" / "thesis.tex").exists()
    assert marotte([*asked, "-o", str(tmp_path / "new")]) == 0
    assert marotte([*asked, "-o", str(tmp_path / "new")]) == 2
    assert "there is a comparison" in capsys.readouterr().err
    assert marotte([*asked, "--replace", "-o", str(tmp_path / "new")]) == 0


def test_one_motion_for_all_that_share_a_driver(planted):
    _, results = planted
    asked = [results["tracks"]["arms"][name]["asked"] for name in ("base", "again", "halved")]
    assert asked[0] == asked[1] and np.mean(asked[2]) < np.mean(asked[0])


def test_the_first_arm_fails_midway_and_a_reference_of_another_shape(tmp_path, planted, monkeypatch):
    from marotte.renderers.mesh import MeshRenderer

    drawn, drawing = 0, MeshRenderer.render

    def failing(self, stream, drive):
        nonlocal drawn
        drawn += len(drive)
        if drawn > 9:
            raise RuntimeError("out of paint")
        return drawing(self, stream, drive)

    film = planted[0] / "arms" / "base.mp4"
    tall = filtered(film, tmp_path / "tall.mp4", "-t", "1", "-vf", "pad=192:320:0:100:0xdee3eb")
    monkeypatch.setattr(MeshRenderer, "render", failing)
    compare(
        SPEECH,
        tmp_path / "out",
        arms("broken=demo,renderer=mesh", "moved=demo,variant=live"),
        size=192,
        duration=1.0,
        reference=tall,
        cost=False,
    )
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    broken, moved = results["arms"]
    assert broken["failed"]["at"] < 0.5 and moved["failed"] is None and moved["frames"] == 25
    known = [value is not None for value in results["tracks"]["arms"]["moved"]["psnr"]]
    assert any(known) and not all(known)
    assert "another shape than the common 192x192" in results["reference"]["words"]
    # By its head, which is as large as the arms'; the whole would have to be squashed to 0.6 of its height.
    assert float(re.search(r"times (\d\.\d+), head moved", results["reference"]["words"])[1]) == pytest.approx(
        1, abs=0.15
    )


def test_landmarks_of_a_reference(tmp_path, planted):
    film = planted[0].parent / "first" / "arms" / "base.mp4"
    marks = np.full((125, 68, 2), 90.0)
    marks[:, 36:42], marks[:, 42:48] = (70, 80), (120, 80)
    np.save(tmp_path / "marks.npy", marks)
    found = []
    for shift in (0.0, 100.0):
        np.save(tmp_path / "shifted.npy", marks + np.array([shift, 0]))
        compare(
            SPEECH,
            tmp_path / f"out{shift:.0f}",
            arms("base=demo,variant=live"),
            size=192,
            duration=0.6,
            cost=False,
            reference=film,
            reference_landmarks=tmp_path / "shifted.npy",
        )
        results = json.loads((tmp_path / f"out{shift:.0f}" / "results.json").read_text())
        found.append(results["values"]["base"]["landmark_reference"]["value"])
    assert found[0] > 0 and found[1] > found[0] + 60
    np.save(tmp_path / "wrong.npy", marks[:, :51])
    with pytest.raises(MarotteError, match=r"wrong\.npy holds \[125, 51, 2\], not the 68 landmarks"):
        compare(
            SPEECH,
            tmp_path / "no",
            arms("a=demo"),
            reference=film,
            reference_landmarks=tmp_path / "wrong.npy",
            cost=False,
        )
    with pytest.raises(MarotteError, match="give --reference too"):
        compare(SPEECH, tmp_path / "no", arms("a=demo"), reference_landmarks=tmp_path / "marks.npy", cost=False)
