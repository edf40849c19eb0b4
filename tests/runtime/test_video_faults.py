"""Whatever goes wrong: one line, no half file, the old file untouched, no process left."""

import os
import signal
import stat
import subprocess
import sys
import threading
import time
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import soundfile

from marotte.errors import MarotteError
from marotte.runtime.frames import Frames
from marotte.runtime.video.ffmpeg import ffmpeg_exe
from marotte.runtime.video.probe import probe
from marotte.runtime.video.provenance import Provenance
from marotte.runtime.video.sink import open_sink
from marotte.runtime.video.writer import BackgroundWriter

pytestmark = pytest.mark.skipif(os.name != "posix", reason="the stand-ins for ffmpeg are shell scripts")
WIDTH, HEIGHT = 64, 48


def frames(count: int = 10, width: int = WIDTH) -> Frames:
    return Frames(np.zeros(count, np.int64), np.full((count, HEIGHT, width, 3), 90, np.uint8))


def sink(path, **options):
    return open_sink(path, width=WIDTH, height=HEIGHT, fps=Fraction(25), provenance=Provenance("test"), **options)


def fill(path, *batches: Frames, error: type[BaseException] | None = None, **options) -> None:
    """Open a sink, write the batches, and leave it by `error` where one is given."""
    with sink(path, **options) as film:
        for batch in batches:
            film.write(batch)
        if error:
            raise error


@pytest.fixture
def stand_in(tmp_path_factory, monkeypatch):
    """Put a shell script in ffmpeg's place; its process id lands in a file."""
    folder = tmp_path_factory.mktemp("bin")

    def install(script: str) -> Path:
        fake = folder / "ffmpeg"
        real = ffmpeg_exe()
        last_argument = 'for target; do :; done; target="${target#file:}"'
        fake.write_text(f'#!/bin/sh\nREAL="{real}"\n{last_argument}\necho $$ > "{folder}/pid"\n{script}\n')
        fake.chmod(fake.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(fake))
        return folder / "pid"

    return install


def is_running(pid_file: Path) -> bool:
    try:
        state = Path(f"/proc/{pid_file.read_text().strip()}/stat").read_text()
    except FileNotFoundError:
        return False
    return state.rpartition(")")[2].split()[0] != "Z"


def wait_until(condition, seconds: float = 10.0) -> bool:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def assert_untouched(folder: Path, pid_file: Path | None = None) -> None:
    assert [path.name for path in folder.iterdir()] == ["f.mp4"]
    assert (folder / "f.mp4").read_text() == "old"
    assert pid_file is None or not is_running(pid_file)


@pytest.fixture
def out(tmp_path) -> Path:
    """A path where an older file stands."""
    (tmp_path / "f.mp4").write_text("old")
    return tmp_path / "f.mp4"


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ('head -c 100000 >/dev/null; echo "[x264 @ 0x1] no memory" >&2; exit 1', "status 1: no memory"),
        ("exec head -c 100000 >/dev/null", "status 0: it gave no reason"),
        ("head -c 1000 >/dev/null; kill -9 $$", "killed by signal 9"),
        ("exec 0<&-; echo stuck >&2; sleep 60", "killed by signal 9"),
        (
            'cat >/dev/null; echo half >"$target"; echo "Error: No space left on device" >&2; exit 228',
            "free some space",
        ),
        ("cat >/dev/null; exit 254", "status 254"),
        ("cat >/dev/null", "cannot be finished"),
    ],
)
def test_an_encoder_that_fails(out, stand_in, monkeypatch, script, message):
    monkeypatch.setattr("marotte.runtime.video.ffmpeg_sink._LAST_WORDS_S", 0.3)
    pid_file = stand_in(script)
    with pytest.raises(MarotteError, match=message) as caught:
        fill(out, *[frames()] * 40)
    assert "\n" not in str(caught.value) and str(out) in str(caught.value)
    assert_untouched(out.parent, pid_file)


def test_a_full_disk(tmp_path):
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32k", "tmpfs", str(small)], capture_output=True)
    if mounted.returncode:
        pytest.skip("no right to mount a small file system")
    try:
        noise = np.random.default_rng(0).integers(0, 255, (50, HEIGHT, WIDTH, 3), np.uint8)
        with (
            pytest.raises(MarotteError, match="No space left on device; free some space"),
            sink(small / "f.mp4") as film,
        ):
            film.write(Frames(np.zeros(50, np.int64), noise))
        assert not list(small.iterdir())
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_ffmpeg_names_the_cause_and_not_the_aftermath(tmp_path):
    with pytest.raises(MarotteError, match="preset"):
        fill(tmp_path / "f.mp4", frames(), preset="swift")
    assert not list(tmp_path.iterdir())


def test_places_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "folder.mp4").mkdir()
    for name, word in [
        ("missing/f.mp4", "create it first"),
        ("file/f.mp4", "not a folder"),
        ("folder.mp4", "is a folder"),
        ("/proc/f.mp4", "cannot be written"),
        ("f.avi", r"\.mp4, \.webm, \.gif"),
        ("frames", r"folder that ends in /"),
    ]:
        with pytest.raises(MarotteError, match=word) as caught:
            sink(tmp_path / name)
        assert name in str(caught.value)


def test_sound_is_checked_before_any_work(tmp_path):
    (tmp_path / "text.wav").write_text("no sound")
    soundfile.write(tmp_path / "crowd.wav", np.zeros((4800, 40)), 48000)
    soundfile.write(tmp_path / "a.wav", np.zeros(48000), 48000)
    wrong = [("missing.wav", "does not exist"), ("text.wav", "no sound"), ("crowd.wav", "no sound.*40 channels")]
    for name, word in wrong:
        with pytest.raises(MarotteError, match=word):
            sink(tmp_path / "f.mp4", audio=tmp_path / name)
    with pytest.raises(MarotteError, match="ends before 3"):
        sink(tmp_path / "f.mp4", audio=tmp_path / "a.wav", audio_start=3)
    with pytest.raises(MarotteError, match="not a piece"):
        sink(tmp_path / "f.mp4", audio=tmp_path / "a.wav", audio_duration=0)


def test_no_ffmpeg(tmp_path, monkeypatch):
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(tmp_path / "nothing"))
    with pytest.raises(MarotteError, match="cannot be started"):
        fill(tmp_path / "f.mp4", frames())
    monkeypatch.delenv("IMAGEIO_FFMPEG_EXE")
    monkeypatch.setattr("imageio_ffmpeg.get_ffmpeg_exe", lambda: (_ for _ in ()).throw(RuntimeError("none")))
    with pytest.raises(MarotteError, match="no ffmpeg was found"):
        ffmpeg_exe()


def test_frames_that_do_not_fit(out):
    rgba = Frames(np.zeros(1, np.int64), np.zeros((1, HEIGHT, WIDTH, 4), np.uint8), "rgba")
    for batches, word in [
        ((frames(), frames(width=32)), "opened for 64x48 and got a frame of 32x48"),
        ((frames(), rgba), "rgb24 frames and got rgba"),
        ((frames(0),), "got no frames"),
    ]:
        with pytest.raises(MarotteError, match=word):
            fill(out, *batches)
    assert_untouched(out.parent)


def test_a_sink_that_raised_is_closed(out):
    film = sink(out)
    with pytest.raises(MarotteError, match="got a frame"):
        film.write(frames(width=32))
    film.close()
    film.abort()
    with pytest.raises(MarotteError, match="is closed"):
        film.write(frames())
    assert_untouched(out.parent)


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_an_exception_inside_aborts(out, stand_in, error):
    pid_file = stand_in('exec "$REAL" "$@"')
    with pytest.raises(error):
        fill(out, frames(), error=error)
    assert_untouched(out.parent, pid_file)


def test_ctrl_c_while_a_write_blocks(out, stand_in):
    pid_file = stand_in("sleep 60")
    threading.Timer(0.4, os.kill, [os.getpid(), signal.SIGINT]).start()
    with pytest.raises(KeyboardInterrupt):
        fill(out, *[frames(50)] * 300)
    assert_untouched(out.parent, pid_file)


def test_success_replaces_the_old_file_and_the_rest_of_a_killed_run(out):
    out.with_name("f.mp4.part").write_text("rest of a killed run")
    with sink(out) as film:
        film.write(frames(7))
        assert out.read_text() == "old"
    assert probe(out).frames == 7
    assert [path.name for path in out.parent.iterdir()] == ["f.mp4"]
    film.abort()
    assert out.exists()


def test_kill_9_leaves_no_final_file_and_no_encoder(out, stand_in):
    pid_file = stand_in('exec "$REAL" "$@"')
    program = f"""
import time, numpy as np
from fractions import Fraction
from marotte.runtime.frames import Frames
from marotte.runtime.video.provenance import Provenance
from marotte.runtime.video.sink import open_sink
film = open_sink({str(out)!r}, width=64, height=48, fps=Fraction(25), provenance=Provenance("test"))
film.write(Frames(np.zeros(10, np.int64), np.zeros((10, 48, 64, 3), np.uint8)))
time.sleep(60)
"""
    parent = subprocess.Popen([sys.executable, "-c", program])
    try:
        assert wait_until(lambda: pid_file.exists() and pid_file.read_text().strip() and is_running(pid_file))
    finally:
        parent.kill()
        parent.wait()
    assert wait_until(lambda: not is_running(pid_file))
    assert out.read_text() == "old"


def test_the_queue_is_bounded_and_blocks():
    batch = frames(4)
    size = batch.pixels.nbytes
    go, seen, most = threading.Semaphore(0), [], 0

    def consume(taken: Frames) -> None:
        go.acquire()
        seen.append(len(taken))

    writer = BackgroundWriter(consume, limit_bytes=3 * size)
    feeder = threading.Thread(target=lambda: [writer.put(batch) for _ in range(20)])
    feeder.start()
    for _ in range(20):
        assert wait_until(lambda: writer.pending_bytes > 0)
        most = max(most, writer.pending_bytes)
        go.release()
    feeder.join()
    writer.finish()
    assert most <= 3 * size and seen == [4] * 20 and writer.pending_bytes == 0


def test_a_batch_above_the_bound_waits_for_an_empty_queue():
    seen: list[int] = []
    writer = BackgroundWriter(lambda taken: seen.append(len(taken)), limit_bytes=10)
    for count in (3, 5):
        writer.put(frames(count))
    writer.finish()
    assert seen == [3, 5]
