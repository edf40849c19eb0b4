"""The real command does what it says: films, motion files, pictures, and what it tells of itself."""

import json
import math
import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

import marotte
from marotte.runtime.arkit import SLOT
from marotte.runtime.audio.resample import mono_blocks
from marotte.runtime.audio.source import open_audio
from marotte.runtime.cli import run
from marotte.runtime.motion import Motion
from marotte.runtime.motion_files import read_motion, save_motion
from marotte.runtime.testing import speech_like
from marotte.runtime.video.probe import probe, read_frames
from marotte.runtime.video.provenance import read_provenance

SMALL = ("--size", "64x48")
HEAVY = ("numpy", "numba", "scipy", "librosa", "matplotlib", "soundfile", "torch", "PIL", "tqdm", "imageio_ffmpeg")


def heard(path: Path) -> np.ndarray:
    """Return a file's sound, mono at 16 kHz."""
    with open_audio(path) as source:
        return np.concatenate(list(mono_blocks(source)))


def likeness(one: np.ndarray, other: np.ndarray) -> float:
    """Return the correlation of two sounds as they lie, without looking for a better lag."""
    count = min(len(one), len(other))
    return float(np.corrcoef(one[:count], other[:count])[0, 1])


def pictures(folder: Path) -> np.ndarray:
    return np.stack([np.asarray(Image.open(path)) for path in sorted(folder.glob("*.png"))])


def test_help_is_cheap():
    """Names what was imported rather than measuring time, which a busy machine would spoil."""
    for arguments in (["--help"], ["render", "--help"], ["--version"]):
        program = f"""
import sys
sys.argv = ["marotte", *{arguments}]
from marotte.__main__ import main
try:
    main()
except SystemExit as end:
    assert not end.code
print("heavy:", *sorted(sys.modules.keys() & set({HEAVY})))
"""
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30)
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines()[-1] == "heavy:"
    assert done.stdout.startswith(f"marotte {marotte.__version__}\n")


def test_help_names_every_command(desk):
    text = desk.run("--help").out
    for command in ("render", "drive", "motion", "info"):
        assert f"\n    {command} " in text


def test_a_film(desk):
    """Sound at a rate and with channels of its own comes out unchanged, and covered by pictures."""
    rate = 44100
    time = np.arange(rate * 9 // 10) / rate
    left = np.sin(2 * np.pi * (200 + 600 * time) * time) * np.sin(2 * np.pi * 2 * time) ** 2 * 0.4
    sound = desk.given / "stereo.wav"
    soundfile.write(sound, np.stack([left, 0.5 * left], axis=1), rate)
    result = desk.run("render", sound, "-o", desk.out, *SMALL)
    assert (result.code, result.err) == (0, "")
    assert result.out.startswith(f"{desk.out}: 23 frames, 0.92 s at 64x48 and 25 fps, made in ")
    film = probe(desk.out)
    assert (film.frames, film.fps, film.width, film.height) == (math.ceil(0.9 * 25), 25, 64, 48)
    assert (film.audio_rate, film.audio_channels, film.start, film.audio_start) == (rate, 2, 0, 0)
    assert likeness(heard(desk.out), heard(sound)) > 0.99
    mark = read_provenance(desk.out)
    assert (mark.generator, mark.avatar, mark.driver) == (f"marotte {marotte.__version__}", "demo", "viseme")
    assert (mark.motion_basis, mark.approximations) == ("arkit52", ()) and len(mark.avatar_sha256) == 64
    assert [path.name for path in desk.made.iterdir()] == ["film.mp4"]


def test_a_piece_at_another_rate(desk):
    sound = desk.sound(seconds=1.2)
    options = ("--size", "96x64", "--fps", "60", "--start", "0.4", "--duration", "0.5", "--quiet", "--threads", "1")
    result = desk.run("render", sound, "-o", desk.out, *options)
    assert (result.code, result.out, result.err) == (0, "", "")
    film = probe(desk.out)
    assert (film.frames, film.fps, film.width, film.height) == (30, 60, 96, 64)
    assert film.audio_duration == pytest.approx(0.5, abs=1 / 60)
    assert likeness(heard(desk.out), heard(sound)[6400:14400]) > 0.98
    assert likeness(heard(desk.out), heard(sound)) < 0.5


def test_transparent(desk):
    out = desk.made / "film.webm"
    assert desk.run("render", desk.sound(seconds=0.2), "-o", out, *SMALL, "--background", "transparent").code == 0
    film = probe(out)
    assert film.frames == 5 and film.has_alpha and film.audio_rate == 48000
    first = next(iter(read_frames(out, alpha=True)))
    assert first[2, 2, 3] < 10 and first[24, 32, 3] > 245


def test_pictures_of_a_head_on_a_colour(desk):
    """In two framings; without sound and idle life nothing moves."""
    silence = desk.sound(samples=np.zeros(4800))
    shots = {}
    for framing in ("head", "bust"):
        folder = desk.made / framing
        options = ("--background", "#204060", "--framing", framing, "--idle", "0", "--fps", "30")
        result = desk.run("render", silence, "-o", f"{folder}/", *SMALL, *options)
        assert result.code == 0
        shots[framing] = pictures(folder)
        assert shots[framing].shape == (9, 48, 64, 3)
        assert (shots[framing][:, 0, 0] == (0x20, 0x40, 0x60)).all()
        assert not np.ptp(shots[framing].astype(int), axis=0).any()
        assert read_provenance(folder).avatar == "demo"
        assert (shots[framing][0] != shots[framing][0, 0, 0]).any(axis=-1).mean() > 0.1
    assert not np.array_equal(shots["head"], shots["bust"])


def test_a_gif_before_a_picture(desk):
    wall = desk.given / "wall.png"
    Image.new("RGB", (30, 90), (10, 200, 30)).save(wall)
    out = desk.made / "film.gif"
    result = desk.run("render", desk.sound(seconds=0.2), "-o", out, *SMALL, "--background", wall, "--seed", "3")
    assert result.code == 0
    film = probe(out)
    assert film.frames == 5 and film.audio_rate is None
    first = next(iter(read_frames(out)))
    assert np.abs(first[2, 2].astype(int) - (10, 200, 30)).max() < 12
    assert read_provenance(out).driver == "viseme"


def test_drive_look_and_play(desk):
    sound, made = desk.sound(seconds=1.0), desk.made / "m.npz"
    result = desk.run("drive", sound, "-o", made, "--duration", "0.8")
    assert (result.code, result.out) == (0, f"{made}: 40 frames, 0.80 s at 50 fps in arkit52\n")
    assert read_motion(made).about["driver"] == "viseme" and read_motion(made).about["audio"] == sound.name

    plot, preview = desk.made / "plot.png", desk.made / "preview.mp4"
    result = desk.run("motion", made, "--plot", plot, "--preview", preview)
    assert (result.code, result.err) == (0, "")
    assert "40 frames, 0.80 s at 50 fps, basis arkit52" in result.out and "jaw x" in result.out
    assert "driver: viseme" in result.out and f"preview: {preview}, 20 frames" in result.out
    assert Image.open(plot).width > 600
    assert probe(preview).frames == 20 and probe(preview).audio_rate is None

    result = desk.run("render", sound, "-o", desk.out, *SMALL, "--motion", made)
    assert result.code == 0 and probe(desk.out).frames == 25
    assert read_provenance(desk.out).driver == "playback"
    # The motion is 0.2 s shorter than the sound, and the user hears of it.
    assert len(result.notes) == 1 and "0.80 s" in result.notes[0] and "1.00 s" in result.notes[0]
    assert sorted(path.name for path in desk.made.iterdir()) == ["film.mp4", "m.npz", "plot.png", "preview.mp4"]


def test_motion_of_another_basis_is_labelled(desk):
    """The other half, the refusal without the option, is in test_faults.py."""
    motion = desk.given / "artalk.npy"
    codes = np.zeros((10, 106), np.float32)
    codes[:, 103] = np.linspace(0, 0.3, 10)
    np.save(motion, codes)
    sound = desk.sound(samples=speech_like(0.4))
    result = desk.run("render", sound, "-o", desk.out, *SMALL, "--motion", motion, "--basis-approx", "jaw+head")
    assert result.code == 0 and not result.complaints
    assert result.notes == ["marotte: note: approximated: flame2020 on arkit52: jaw+head"]
    mark = read_provenance(desk.out)
    assert mark.approximations == ("flame2020 on arkit52: jaw+head",) and mark.motion_basis == "flame2020"


def test_jaw_pitch_leaves_opening_only(desk):
    frames = {}
    for name, yaw, options in (("turned", 0.2, ("--jaw", "pitch")), ("straight", 0.0, ()), ("full", 0.2, ())):
        codes = np.zeros((5, 106))
        codes[:, 103:105] = (0.2, yaw)
        motion = desk.given / f"{name}.npz"
        save_motion(motion, Motion(codes, Fraction(25), "arkit52"))
        arguments = ("-o", f"{desk.made}/{name}/", *SMALL, "--motion", motion, "--idle", "0", *options)
        assert desk.run("render", desk.sound(seconds=0.2), *arguments).code == 0
        frames[name] = pictures(desk.made / name)
    assert np.array_equal(frames["turned"], frames["straight"])
    assert not np.array_equal(frames["full"], frames["straight"])


def test_info(desk, monkeypatch, capsys):
    result = desk.run("info")
    assert (result.code, result.err) == (0, "")
    assert run(["info", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    for section, rows in facts.items():
        assert f"{section}\n" in result.out
        for name, value in rows.items():
            assert name in result.out and value in result.out
    assert facts["marotte"]["version"] == marotte.__version__
    assert facts["drivers"]["viseme"] == facts["renderers"]["mesh"] == "available"
    assert Path(facts["avatars"]["demo"], "avatar.toml").is_file()
    cuda = facts["devices"]["cuda"]
    if "torch is not installed" in cuda:
        assert facts["libraries"]["torch"].startswith("not installed")
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", "/nowhere/ffmpeg")
    assert run(["info"]) == 0
    hidden = capsys.readouterr().out
    assert "not available: " in hidden and "/nowhere/ffmpeg" in hidden


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_pipe_that_closes(desk, unbuffered):
    """As `marotte avatars list | head -c 1` does; what is buffered meets the closed pipe last."""
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        desk.command("avatars", "list"),
        stdout=writer,
        stderr=subprocess.PIPE,
        env=os.environ | {"PYTHONUNBUFFERED": unbuffered},
        timeout=60,
        check=False,
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, b"")


def test_how_it_speaks(desk):
    sound, plain, smiling = desk.sound(seconds=0.4), desk.made / "plain.npz", desk.made / "smiling.npz"
    assert desk.run("drive", sound, "-o", plain).code == 0
    assert desk.run("drive", sound, "-o", smiling, "--smile", "0.8", "--articulation", "1.2").code == 0
    corners = SLOT["mouthSmileLeft"]
    assert (read_motion(smiling).motion.codes[:, corners] > read_motion(plain).motion.codes[:, corners] + 0.2).all()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--smile", "2"), "smile 2.0 is not a number between 0 and 1"),
        (("--smile", "0.5", "--driver", "acoustic"), "the driver acoustic has no option 'smile'"),
    ],
)
def test_what_a_driver_cannot_do(desk, options, words):
    result = desk.run("render", desk.sound(), "-o", desk.out, *SMALL, *options)
    assert result.code == 2 and words in result.err
    desk.assert_untouched()
