"""Stopped midway, by a person, a system or a full disk: the right exit code, no half file, no process left."""

import os
import signal
import stat
import subprocess

import numpy as np
import pytest

from marotte.runtime.testing import speech_like
from marotte.runtime.video.ffmpeg import ffmpeg_exe

pytestmark = pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="looks for processes in /proc")

SMALL = ("--size", "64x48")


@pytest.fixture
def long_render(desk):
    """Arguments of a render that takes longer than the test waits."""
    return ("render", desk.sound(samples=np.tile(speech_like(10), 8)), "-o", desk.out, *SMALL, "--fps", "60")


@pytest.mark.parametrize("whole_group", [False, True], ids=["process", "group"])
def test_ctrl_c(desk, waiting, long_render, whole_group):
    with desk.start(*long_render) as process:
        assert waiting(desk.encoder)
        # A terminal signals the whole group; its leader is the command.
        (os.killpg if whole_group else os.kill)(process.pid, signal.SIGINT)
        result = desk.end(process)
    assert (result.code, result.out) == (130, "")
    assert result.complaints == ["marotte: stopped; nothing was written"]
    desk.assert_untouched()


def test_ctrl_c_in_a_drive(desk, waiting):
    sound = desk.sound(samples=np.tile(speech_like(10), 20))
    with desk.start("drive", sound, "-o", desk.made / "m.npz") as process:
        assert waiting(lambda: is_reading(process.pid, sound))
        os.kill(process.pid, signal.SIGINT)
        result = desk.end(process)
    assert (result.code, result.complaints) == (130, ["marotte: stopped; nothing was written"])
    desk.assert_untouched()


def is_reading(process: int, sound) -> bool:
    folder = f"/proc/{process}/fd"
    try:
        return any(os.readlink(f"{folder}/{number}") == str(sound) for number in os.listdir(folder))
    except OSError:
        return False


def test_terminated(desk, waiting, long_render):
    with desk.start(*long_render) as process:
        assert waiting(desk.encoder)
        process.terminate()
        result = desk.end(process)
    assert (result.code, result.complaints) == (143, ["marotte: stopped; nothing was written"])
    desk.assert_untouched()


def test_killed(desk, waiting, long_render):
    with desk.start(*long_render) as process:
        assert waiting(desk.encoder)
        process.kill()
        process.wait()
        # The pipe into ffmpeg closes with its writer, so it ends by itself, once it has encoded the sound.
        assert waiting(lambda: not desk.processes(), 10)
    assert desk.out.read_text() == "old"
    # What is left of it is not in the way of the next run.
    result = desk.run("render", desk.sound("short.wav"), "-o", desk.out, *SMALL)
    assert result.code == 0 and [path.name for path in desk.made.iterdir()] == ["film.mp4"]


def test_ffmpeg_dies_midway(desk, waiting, long_render):
    with desk.start(*long_render) as process:
        assert waiting(desk.encoder)
        os.kill(desk.encoder(), signal.SIGKILL)
        result = desk.end(process)
    assert result.code == 2 and not result.out
    assert len(result.complaints) == 1
    assert str(desk.out) in result.err and "ffmpeg was killed by signal 9" in result.err
    desk.assert_untouched()


def test_the_decoder_dies_midway(desk, waiting):
    """Sound that libsndfile does not read comes from a second ffmpeg: what it gave until then is used, with a note."""
    sound = desk.given / "speech.m4a"
    whole = desk.sound(samples=np.tile(speech_like(10), 18))
    subprocess.run([ffmpeg_exe(), "-v", "error", "-i", whole, sound], check=True, timeout=60)

    def decoder():
        for process in desk.processes():
            with open(f"/proc/{process}/cmdline", "rb") as file:
                if b"pcm_f32be" in file.read():
                    return process
        return None

    with desk.start("drive", sound, "-o", desk.given / "m.npz") as process:
        assert waiting(decoder)
        os.kill(decoder(), signal.SIGKILL)
        result = desk.end(process)
    # Before its first sample it is no sound; after that it is sound that was cut short.
    assert result.code in (0, 2) and len(result.complaints) + len(result.notes) == 1
    assert str(sound) in result.err
    desk.assert_untouched()


def test_a_full_disk(desk):
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12k", "tmpfs", desk.made], capture_output=True)
    if mounted.returncode:
        pytest.skip("no right to mount a small file system")
    try:
        desk.out.write_text("old")
        sound = desk.sound(samples=np.random.default_rng(0).uniform(-0.5, 0.5, 96000))
        film = desk.run("render", sound, "-o", desk.out, *SMALL)
        motion = desk.run("drive", sound, "-o", desk.made / "m.npz", "--driver", "acoustic")  # of noise, but not small
        pictures = desk.run("render", sound, "-o", f"{desk.made}/pictures/", *SMALL)
        for result, name in ((film, str(desk.out)), (motion, "m.npz"), (pictures, "pictures")):
            assert result.code == 2 and not result.out
            assert len(result.complaints) == 1
            assert name in result.err and "No space left on device" in result.err
            desk.assert_untouched()
    finally:
        subprocess.run(["umount", desk.made], check=True)


def test_a_full_disk_that_only_ffmpegs_end_tells_of(desk, waiting):
    """Every write to the pipe succeeds; the exit status and the last line are all there is."""
    fake = desk.folder / "ffmpeg"
    fake.write_text(
        f"""#!/bin/sh
case "$*" in
    *{desk.out}.part) cat >/dev/null; echo "av_interleaved_write_frame(): No space left on device" >&2; exit 228;;
    *) exec "{ffmpeg_exe()}" "$@";;
esac
"""
    )
    fake.chmod(fake.stat().st_mode | stat.S_IXUSR)
    result = desk.run("render", desk.sound(), "-o", desk.out, *SMALL, IMAGEIO_FFMPEG_EXE=str(fake))
    assert result.code == 2 and len(result.complaints) == 1
    assert str(desk.out) in result.err and "No space left on device; free some space" in result.err
    desk.assert_untouched()


def test_no_ffmpeg(desk):
    result = desk.run("render", desk.sound(), "-o", desk.out, *SMALL, IMAGEIO_FFMPEG_EXE="/nowhere/ffmpeg")
    assert result.code == 2 and len(result.complaints) == 1 and "/nowhere/ffmpeg" in result.err
    desk.assert_untouched()
