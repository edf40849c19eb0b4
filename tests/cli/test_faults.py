"""Whatever is wrong with what a user gives: one line that names it, exit code 2, and nothing is touched."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import soundfile

from marotte.runtime.motion import Motion
from marotte.runtime.motion_files import save_motion
from marotte.runtime.testing import speech_like

SMALL = ("--size", "64x48")


def assert_one_line(result, *words: str) -> None:
    assert result.code == 2, result
    assert len(result.complaints) == 1 and result.complaints[0].startswith("marotte: "), result.err
    for word in words:
        assert word in result.complaints[0]
    assert not result.out


# --- sound that is none ---


def nothing(path: Path) -> None:
    path.touch()


def text(path: Path) -> None:
    path.write_text("Dear diary, today I was renamed.\n" * 100)


def no_samples(path: Path) -> None:
    soundfile.write(path, np.zeros(0), 16000)


def holes(path: Path) -> None:
    sound = speech_like(1.0)
    # Late enough that the encoder is at work by then.
    sound[15000] = np.nan
    soundfile.write(path, sound, 16000, subtype="FLOAT")


def infinite(path: Path) -> None:
    soundfile.write(path, np.full(4000, np.inf, np.float32), 16000, subtype="FLOAT")


def header_only(path: Path) -> None:
    soundfile.write(path, speech_like(0.5), 16000)
    path.write_bytes(path.read_bytes()[:30])


def folder(path: Path) -> None:
    path.mkdir()


def missing(path: Path) -> None:
    pass


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (nothing, "is empty (0 bytes)"),
        (text, "is not sound that can be read"),
        (no_samples, "holds no samples"),
        (holes, "not a finite number at second 0.938"),
        (infinite, "not a finite number at second 0.000"),
        (header_only, "is not sound that can be read"),
        (folder, "is a folder"),
        (missing, "does not exist"),
    ],
)
def test_sound_that_is_none(desk, make: Callable[[Path], None], word):
    sound = desk.given / "speech.wav"
    make(sound)
    result = desk.run("render", sound, "-o", desk.out, *SMALL)
    assert_one_line(result, str(sound), word)
    desk.assert_untouched()


# --- sound that is poor, and is used ---


def cut_short(path: Path) -> None:
    soundfile.write(path, speech_like(2.0), 16000)
    path.write_bytes(path.read_bytes()[:20000])


def silence(path: Path) -> None:
    soundfile.write(path, np.zeros(8000), 16000)


def overdriven(path: Path) -> None:
    soundfile.write(path, np.clip(speech_like(0.5) * 50, -1, 1), 16000)


@pytest.mark.parametrize(
    ("make", "word"), [(cut_short, "cut short"), (silence, "is silent"), (overdriven, "is clipped")]
)
def test_sound_that_is_poor_is_used_and_noted(desk, make: Callable[[Path], None], word):
    sound = desk.given / "speech.wav"
    make(sound)
    result = desk.run("render", sound, "-o", desk.out, *SMALL)
    assert result.code == 0 and not result.complaints
    assert len(result.notes) == 1 and word in result.notes[0] and str(sound) in result.notes[0]
    assert desk.out.stat().st_size > 1000 and [path.name for path in desk.made.iterdir()] == ["film.mp4"]
    drive = desk.run("drive", sound, "-o", desk.given / "motion.npz")
    assert (drive.code, len(drive.notes)) == (0, 1) and word in drive.notes[0]


# --- names ---


@pytest.mark.parametrize(
    ("option", "name", "words"),
    [
        ("--avatar", "dmo", ("did you mean 'demo'?", "known are demo")),
        ("--driver", "acustic", ("did you mean 'acoustic'?", "playback")),
        ("--renderer", "mash", ("did you mean 'mesh'?",)),
    ],
)
def test_names_that_nobody_has(desk, option, name, words):
    result = desk.run("render", desk.sound(), "-o", desk.out, *SMALL, option, name)
    assert_one_line(result, repr(name), option[2:], *words)
    desk.assert_untouched()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        # Many more of them, without a process each, are in test_python.py.
        (("--size", "63x48"), ("63x48", "even")),
        (("--threads", "0"), ("0 threads",)),
        (("--preset", "swift"), ("preset", "swift")),
        (("--driver", "playback"), ("--motion",)),
    ],
)
def test_options_that_make_no_sense(desk, options, words):
    assert_one_line(desk.run("render", desk.sound(), "-o", desk.out, *SMALL, *options), *words)
    desk.assert_untouched()


def test_usage_errors(desk):
    for arguments in ((), ("rendr",), ("render",), ("render", "a.wav"), ("render", "a.wav", "-o", "b", "--jaw", "up")):
        result = desk.run(*arguments)
        assert result.code == 2 and result.err.startswith("usage: marotte") and not result.out
    assert "invalid choice: 'up'" in result.err


def test_debug_shows_where(desk):
    sound = desk.given / "missing.wav"
    result = desk.run("render", sound, "-o", desk.out, "--debug")
    assert result.code != 0
    assert result.err.startswith("Traceback (most recent call last)")
    assert f"MarotteError: {sound} does not exist" in result.err.splitlines()[-1]
    desk.assert_untouched()


# --- motion that does not fit ---


@dataclass(frozen=True)
class Codes:
    """Writes an array as a motion file."""

    shape: tuple[int, ...]
    dtype: str = "<f4"

    def __call__(self, path: Path) -> None:
        np.save(path, np.zeros(self.shape, self.dtype))


def with_a_hole(path: Path) -> None:
    codes = np.zeros((10, 106), np.float32)
    codes[7, 3] = np.nan
    np.save(path, codes)


def pickled(path: Path) -> None:
    np.save(path, np.array([{"jaw": 1}], dtype=object), allow_pickle=True)


def cut_off(path: Path) -> None:
    np.save(path, np.zeros((10, 106), np.float32))
    path.write_bytes(path.read_bytes()[:2000])


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (Codes((10, 106)), ("flame2020", "demo has arkit52", "generic_model.pkl", "--basis-approx jaw+head")),
        (Codes((10, 103)), ("motion.npy", "[10, 103]", "106")),
        (with_a_hole, ("motion.npy", "not finite at frame 7")),
        (pickled, ("motion.npy", "pickle")),
        (cut_off, ("motion.npy",)),
        (missing, ("motion.npy", "no motion file")),
    ],
)
def test_motion_that_does_not_fit(desk, make: Callable[[Path], None], words):
    motion = desk.given / "motion.npy"
    make(motion)
    assert_one_line(desk.run("render", desk.sound(), "-o", desk.out, *SMALL, "--motion", motion), *words)
    desk.assert_untouched()


def test_a_motion_and_a_driver_exclude_each_other(desk):
    motion = desk.given / "motion.npz"
    save_motion(motion, Motion(np.zeros((5, 106)), Fraction(25), "arkit52"))
    result = desk.run("render", desk.sound(), "-o", desk.out, "--motion", motion, "--driver", "acoustic")
    assert_one_line(result, "'acoustic'", str(motion))
    assert_one_line(
        desk.run("motion", motion, "--basis", "flame2020"), str(motion), "basis is arkit52", "flame2020 cannot"
    )
    desk.assert_untouched()


# --- places that cannot be written ---


@pytest.mark.parametrize(
    ("place", "word"),
    [
        ("missing/film.mp4", "create it first"),
        ("given/speech.wav/film.mp4", "not a folder"),
        ("/proc/film.mp4", "cannot be written"),
        ("film.avi", ".mp4, .webm, .gif"),
        ("film", ".mp4, .webm, .gif"),
        ("made", "made is there and not empty"),
        ("film.png", "film%05d.png"),
    ],
)
def test_places_that_cannot_be_written(desk, place, word):
    out = desk.folder / place
    assert_one_line(desk.run("render", desk.sound(), "-o", out, *SMALL), str(out), word)
    assert sorted(path.name for path in desk.folder.iterdir()) == ["given", "made"]
    desk.assert_untouched()


def test_motion_files_that_cannot_be_written(desk):
    sound = desk.sound()
    for name, word in (
        ("missing/m.npz", "there is no folder"),
        ("given/speech.wav/m.npz", "there is no folder"),
        ("/proc/m.npz", "cannot write"),
        ("m.npy", "must end in .npz"),
    ):
        assert_one_line(desk.run("drive", sound, "-o", desk.folder / name), str(desk.folder / name), word)
    made = desk.given / "m.npz"
    save_motion(made, Motion(np.zeros((5, 106)), Fraction(25), "arkit52"))
    for name, word in (("plot.txt", ".png, .svg"), ("missing/plot.png", "there is no folder")):
        result = desk.run("motion", made, "--plot", desk.folder / name)
        assert result.code == 2 and len(result.complaints) == 1
        assert word in result.err and str(desk.folder / name) in result.err
    assert sorted(path.name for path in desk.folder.iterdir()) == ["given", "made"]


# --- avatars and plug-ins ---


def test_avatars_of_ones_own_that_are_broken(desk):
    own = desk.folder / "avatars" / "mine"
    own.mkdir(parents=True)
    sound = desk.sound()
    for text_, words in (
        ('name = "mine"\nrenderer = "mash"\nbasis = "arkit52"\n', ("renderer", "'mash'", "'mesh'")),
        ('name = "mine"\nrenderer = "mesh"\nbasis = "arkit52"\nhead = "head.npz"\n', ("head.npz",)),
        ("name = mine\n", ("avatar.toml", "TOML")),
    ):
        (own / "avatar.toml").write_text(text_)
        result = desk.run("render", sound, "-o", desk.out, *SMALL, "--avatar", "mine", MAROTTE_AVATARS=str(own.parent))
        assert_one_line(result, *words)
    desk.assert_untouched()


def test_a_broken_plug_in_is_named_and_breaks_no_other(desk):
    wheel = desk.folder / "site" / "stranger-1.0.dist-info"
    wheel.mkdir(parents=True)
    (wheel / "METADATA").write_text("Metadata-Version: 2.1\nName: stranger\nVersion: 1.0\n")
    (wheel / "entry_points.txt").write_text("[marotte.drivers]\nstranger = stranger_plugin:Driver\n")
    (wheel.parent / "stranger_plugin.py").write_text("raise RuntimeError('its\\nlibrary is missing')\n")
    here = {"PYTHONPATH": str(wheel.parent)}
    facts = json.loads(desk.run("info", "--json", **here).out)
    assert facts["drivers"]["acoustic"] == facts["drivers"]["playback"] == "available"
    assert "stranger_plugin:Driver" in facts["drivers"]["stranger"]
    assert "RuntimeError: its library is missing" in facts["drivers"]["stranger"]
    result = desk.run("render", desk.sound(), "-o", desk.out, *SMALL, "--driver", "stranger", **here)
    assert_one_line(result, "'stranger'", "stranger_plugin:Driver", "RuntimeError")
    assert desk.run("render", desk.sound(), "-o", desk.out, *SMALL, **here).code == 0
