"""marotte bench --lipsync: the real command."""

import json

import numpy as np
import pytest
from PIL import Image

from marotte.errors import MarotteError
from marotte.runtime.lipsync import espeak, flite

TEXT = "Bob bought a map of Rome."


@pytest.fixture
def spoken(desk):
    """A recording of `TEXT`, its path."""
    pytest.importorskip("pocketsphinx", reason="pocketsphinx is not installed")
    if not flite.available():
        pytest.skip("flite is not installed")
    return desk.sound("bob.wav", samples=flite.speak(TEXT, "slt").samples)


@pytest.fixture
def robots():
    try:
        espeak.voices()
    except MarotteError as error:
        pytest.skip(str(error))


def test_a_recording_with_its_text_is_measured_and_plotted(desk, spoken):
    plot, report = desk.folder / "bob.png", desk.folder / "bob.json"
    told = desk.run(
        *("bench", "--lipsync", "--driver", "acoustic", spoken, "--text", TEXT, "--plot", plot, "--json", report),
        "--definitions",
    )
    assert told.code == 0 and not told.complaints, told.err
    assert "bob.wav" in told.out and "1 clips" in told.out and "recall: closure recall: of the bilabials" in told.out
    with Image.open(plot) as picture:
        assert picture.width > 1000 and np.asarray(picture.convert("L")).std() > 10
    content = json.loads(report.read_text())
    (row,) = content["rows"]
    assert (content["driver"], content["avatar"], row["utterances"]) == ("acoustic", "demo", 1)
    assert row["recall"]["count"] == 5 and row["recall"]["low"] is None
    assert 0 <= row["recall"]["value"] <= 1 and -1 <= row["openness"]["value"] <= 1
    assert set(row) - {"name", "group", "utterances", "seconds"} <= set(content["definitions"])


def test_a_folder_of_recordings_is_measured_with_intervals(desk, spoken):
    desk.sound("two.wav", samples=flite.speak("My mum moved.", "rms").samples)
    transcript = desk.folder / "said.txt"
    transcript.write_text(f"bob: {TEXT}\ntwo: My mum moved.\ngone: Nothing.\n")
    report = desk.folder / "all.json"
    told = desk.run("bench", "--lipsync", "--recordings", desk.given, "--text", transcript, "--json", report)
    assert told.code == 0, told.err
    assert "left out: " in told.out and "gone" in told.out
    content = json.loads(report.read_text())
    (row,) = content["rows"]
    assert row["utterances"] == 2 and row["recall"]["count"] == 8
    assert row["recall"]["low"] <= row["recall"]["value"] <= row["recall"]["high"]
    assert len(content["left_out"]) == 1


def test_rows_of_the_test_set_by_name(desk, robots):
    told = desk.run("bench", "--lipsync", "--driver", "acoustic", "--only", "espeak hu")
    assert told.code == 0, told.err
    assert "espeak hu" in told.out and "24 clips" in told.out and "espeak it" not in told.out


def test_sound_without_speech_by_name(desk):
    told = desk.run("bench", "--lipsync", "--driver", "acoustic", "--only", "fan")
    assert told.code == 0, told.err
    assert any(line.startswith("fan ") for line in told.out.splitlines())


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("a.wav",), "add --lipsync"),
        (("--definitions",), "add --lipsync"),
        (("--lipsync", "a.wav"), "--text"),
        (("--lipsync", "--text", "hello"), "recording"),
        (("--lipsync", "--recordings", "."), "--text FILE"),
        (("--lipsync", "a.wav", "--text", "hello", "--recordings", "."), "leave out one"),
        (("--lipsync", "--driver", "nobody"), "'nobody'"),
        (("--lipsync", "--driver", "acoustic", "--weights", "none.safetensors"), "none.safetensors"),
        (("--lipsync", "--only", "nothing like it"), "'nothing like it'"),
        (("--lipsync", "--against", "old.json"), "old.json"),
        (("--lipsync", "none.wav", "--text", "hello"), "none.wav"),
    ],
)
def test_what_cannot_be_measured_is_said_in_one_line(desk, arguments, complaint):
    if "none.wav" in arguments:
        pytest.importorskip("pocketsphinx", reason="pocketsphinx is not installed")
    told = desk.run("bench", *arguments)
    assert told.code == 2
    (line,) = told.complaints
    assert line.startswith("marotte: ") and complaint in line
