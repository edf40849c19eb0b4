"""Reading sound files: every container, exact spans, one clear line for each bad input, no process left."""

import os
import subprocess
import sys
import tracemalloc
import warnings
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
import soundfile

from marotte.errors import MarotteError, MarotteWarning
from marotte.runtime.audio.source import AudioCheck, AudioSource, open_audio

RATE = 48000


@pytest.fixture(autouse=True)
def processes(monkeypatch):
    """Every child that a test starts through subprocess; each must be collected when the test is over."""
    started = []
    real = subprocess.Popen

    def recorded(*args, **kwargs):
        started.append(real(*args, **kwargs))
        return started[-1]

    monkeypatch.setattr(subprocess, "Popen", recorded)
    yield started
    assert all(process.returncode is not None for process in started)


@pytest.fixture(autouse=True)
def warnings_fail():
    with warnings.catch_warnings():
        warnings.simplefilter("error", MarotteWarning)
        yield


def tone(seconds=1.0, rate=RATE, channels=2):
    time = np.arange(round(seconds * rate)) / rate
    return np.stack([0.4 * np.sin(2 * np.pi * 220 * (c + 1) * time) for c in range(channels)], 1).astype(np.float32)


def wav(path, samples, rate=RATE, subtype="PCM_16"):
    soundfile.write(path, samples, rate, subtype=subtype)
    return path


def convert(source, target, *options):
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-v", "error", "-i", str(source), *options, str(target)]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    return target


def read(path, size=1000, **span):
    with open_audio(path, **span) as source:
        blocks = list(source.blocks(size))
        assert source.frames == sum(map(len, blocks))
    assert all(block.dtype == np.float32 and block.shape[1] == source.channels for block in blocks)
    assert all(len(block) == size for block in blocks[:-1])
    return np.concatenate(blocks)


def test_16_bit_is_divided_by_32768(tmp_path):
    pcm = np.array([[-32768], [-1], [0], [1], [32767]], np.int16)
    soundfile.write(tmp_path / "a.wav", pcm, RATE)
    with pytest.warns(MarotteWarning, match="clipped"):
        assert (read(tmp_path / "a.wav") == pcm / np.float32(32768)).all()


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.aiff", "a.w64", "a.caf", "a.au"])
def test_exact_containers(tmp_path, name):
    samples = tone()
    soundfile.write(tmp_path / name, samples, RATE, subtype="PCM_24")
    with open_audio(tmp_path / name) as source:
        assert (source.rate, source.channels, source.frames) == (RATE, 2, RATE)
    assert np.abs(read(tmp_path / name) - samples).max() < 1e-6


@pytest.mark.parametrize("name", ["a.mp3", "a.ogg", "a.opus"])
def test_lossy_sound(tmp_path, name):
    samples = tone()
    options = {"format": "OGG", "subtype": "OPUS"} if name == "a.opus" else {}
    soundfile.write(tmp_path / name, samples, RATE, **options)
    got = read(tmp_path / name)
    assert (read(tmp_path / name, RATE) == got).all()  # MP3 once depended on the size of the blocks
    assert len(got) == RATE and np.abs(got[5000:-5000] - samples[5000:-5000]).max() < 0.05


@pytest.mark.parametrize("name", ["a.m4a", "a.aac", "a.mkv", "a.webm", "a.mov", "a.mp4"])
def test_ffmpeg_containers(tmp_path, name, processes):
    samples = tone(2)
    picture = ["-f", "lavfi", "-i", "color=s=32x32:r=5:d=2", "-map", "1:v", "-map", "0:a", "-c:v", "mpeg4"]
    convert(wav(tmp_path / "a.wav", samples), tmp_path / name, *(picture if name in ("a.mov", "a.mp4") else []))
    before = len(processes)
    with open_audio(tmp_path / name) as source:
        assert (source.rate, source.channels, source.frames) == (RATE, 2, None)
        got = np.concatenate(list(source.blocks(777)))
        assert source.frames == len(got)
    assert len(processes) == before + 1
    delay = 0 if name != "a.aac" else 1024  # raw AAC has no note of its encoder's run-up
    assert abs(len(got) - delay - len(samples)) < 2048
    inner = slice(5000, 80000)
    assert np.abs(got[delay:][inner] - samples[inner]).max() < 0.05


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.ogg", "a.mp3", "a.m4a"])
def test_spans_are_sample_exact(tmp_path, name):
    samples = tone(1.5, 44100) * np.linspace(1, 0.2, 66150, dtype=np.float32)[:, None]
    if name == "a.m4a":
        convert(wav(tmp_path / "a.wav", samples, 44100), tmp_path / name)
    else:
        soundfile.write(tmp_path / name, samples, 44100)
    whole = read(tmp_path / name)
    first, count = round(0.7003 * 44100), round(0.3331 * 44100)
    assert (read(tmp_path / name, 512, start=0.7003, duration=0.3331) == whole[first : first + count]).all()
    assert (read(tmp_path / name, start=0.7003) == whole[first:]).all()
    assert (read(tmp_path / name, duration=99) == whole).all()


def test_frames_of_a_span_are_known(tmp_path):
    path = wav(tmp_path / "a.wav", tone())
    with open_audio(path, start=0.25) as source:
        assert source.frames == 36000
    with open_audio(path, start=0.25, duration=0.5) as source:
        assert source.frames == 24000


@pytest.mark.parametrize("rate", [1000, 11025, 384000])
def test_odd_rates(tmp_path, rate):
    assert len(read(wav(tmp_path / "a.wav", tone(0.1, rate), rate))) == rate // 10


def fails(path, match, **span):
    with pytest.raises(MarotteError, match=match) as error, open_audio(path, **span) as source:
        list(source.blocks(4096))
    text = str(error.value)
    assert "\n" not in text and str(path) in text


def test_bad_files(tmp_path):
    fails(tmp_path / "none.wav", "does not exist")
    fails(tmp_path, "is a folder")
    (tmp_path / "empty.wav").touch()
    fails(tmp_path / "empty.wav", "0 bytes")
    fails(wav(tmp_path / "zero.wav", tone(0)), "holds no samples")
    whole = wav(tmp_path / "whole.wav", tone()).read_bytes()
    (tmp_path / "header.wav").write_bytes(whole[:44])
    fails(tmp_path / "header.wav", "holds no samples")
    fails(tmp_path / "header.wav", "holds no samples", start=1)
    (tmp_path / "half.wav").write_bytes(whole[:20])
    fails(tmp_path / "half.wav", "not sound that can be read")
    (tmp_path / "text.wav").write_text("To be, or not to be\n" * 40)
    fails(tmp_path / "text.wav", r"libsndfile: .*ffmpeg: ")
    (tmp_path / "samples.raw").write_bytes(whole[44:])
    fails(tmp_path / "samples.raw", "not sound that can be read|no sound track")
    fails(wav(tmp_path / "slow.wav", tone(1, 999), 999), "999 samples a second")
    fails(wav(tmp_path / "fast.wav", tone(0.1, 384001), 384001), "384001 samples a second")


def test_film_without_sound(tmp_path):
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-f", "lavfi", "-i", "color=s=32x32:r=5:d=1"]
    subprocess.run([*command, "-c:v", "mpeg4", str(tmp_path / "mute.mp4")], check=True, stdin=subprocess.DEVNULL)
    fails(tmp_path / "mute.mp4", "no sound track")


def test_paths_that_cannot_be_opened(tmp_path):
    fails(tmp_path / ("a" * 300), "cannot be opened: ")
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.wav")
        fails(tmp_path / "pipe.wav", "not a plain file")


@pytest.mark.skipif(sys.platform == "win32" or os.getuid() == 0, reason="needs permissions that bind this user")
def test_file_that_may_not_be_read(tmp_path):
    path = wav(tmp_path / "a.wav", tone())
    path.chmod(0)
    fails(path, "cannot be opened: Permission denied")


@pytest.mark.parametrize("name", ["a.wav", "a.mp3", "a.m4a"])
def test_bad_spans(tmp_path, name):
    path = tmp_path / name
    wav(tmp_path / "b.wav", tone())
    convert(tmp_path / "b.wav", path) if name == "a.m4a" else soundfile.write(path, tone(), RATE)
    fails(path, r"start 5 s is beyond the end of .*: it lasts 1\.0", start=5)
    for span in ({"start": -0.1}, {"start": float("nan")}, {"start": float("inf")}):
        with pytest.raises(MarotteError, match=r"start .* is not a time"):
            open_audio(path, **span)
    for duration in (0, -1, float("nan"), float("inf")):
        with pytest.raises(MarotteError, match=r"duration .* above 0"):
            open_audio(path, duration=duration)
    fails(path, "less than one sample", duration=1e-6)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_samples_that_are_not_finite(tmp_path, value):
    samples = tone(2)
    samples[72000, 1] = value
    path = wav(tmp_path / "a.wav", samples, subtype="FLOAT")
    fails(path, "not a finite number at second 1.500")
    fails(path, "not a finite number at second 1.500", start=1.25)
    assert len(read(path, duration=1.5)) == 72000


@pytest.mark.parametrize("name", ["a.wav", "a.aiff", "a.au", "a.w64", "a.flac"])
def test_truncated_file_is_read_with_one_warning(tmp_path, name):
    soundfile.write(tmp_path / "whole", samples := tone(4), RATE, format=name[2:].upper())
    data = (tmp_path / "whole").read_bytes()
    (tmp_path / name).write_bytes(data[: len(data) * 3 // 4])
    with pytest.warns(MarotteWarning, match="cut short") as caught:
        got = read(tmp_path / name, 4096)
    assert len(caught) == 1 and str(tmp_path / name) in str(caught[0].message)
    assert ("s are missing at its end" in str(caught[0].message)) == (name == "a.flac")  # others: by their header
    assert 2.5 * RATE < len(got) < 3.2 * RATE
    assert np.abs(got - samples[: len(got)]).max() < 1e-4
    assert len(read(tmp_path / name, duration=1)) == RATE  # the span is whole: nothing to warn of


def test_truncated_m4a(tmp_path):
    path = convert(wav(tmp_path / "a.wav", tone(4)), tmp_path / "a.m4a", "-movflags", "+faststart")
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    with pytest.warns(MarotteWarning, match="ffmpeg says"):
        assert len(read(path)) > RATE


@pytest.mark.parametrize("name", ["piped.wav", "piped.flac"])
def test_files_written_to_a_pipe(tmp_path, name):
    """Their headers know no length; nothing is lost at the end and nothing is warned of."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", str(wav(tmp_path / "a.wav", tone()))]
    made = subprocess.run([*command, "-f", name[6:], "-"], check=True, capture_output=True, stdin=subprocess.DEVNULL)
    (tmp_path / name).write_bytes(made.stdout)
    assert (read(tmp_path / name) == read(tmp_path / "a.wav")).all()


def test_silence_is_allowed(tmp_path):
    with open_audio(wav(tmp_path / "a.wav", np.zeros((RATE, 1), np.float32))) as source:
        assert sum(map(len, source.blocks(4096))) == RATE
        assert source.check.silent and source.check.peak == 0 and source.check.clipped_share == 0


def test_clipping_is_allowed_with_one_warning(tmp_path):
    loud = np.clip(tone(channels=1) * 5, -1, 32767 / 32768)
    path = wav(tmp_path / "a.wav", loud)
    with open_audio(path) as source:
        with pytest.warns(MarotteWarning, match=r"clipped: \d\d\.\d% of its samples") as caught:
            list(source.blocks(4096))
        assert len(caught) == 1
        assert source.check.clipped_share == pytest.approx(np.mean(np.abs(loud) >= 32767 / 32768))


def test_check_does_not_depend_on_blocks():
    samples = np.random.default_rng(0).uniform(-1.2, 1.2, (5000, 2)).astype(np.float32)
    whole, parts = AudioCheck(), AudioCheck()
    whole.feed(samples)
    for at in range(0, 5000, 333):
        parts.feed(samples[at : at + 333])
    assert (whole.peak, whole.clipped_share, whole.samples) == (parts.peak, parts.clipped_share, parts.samples)
    assert whole.clipped_share == pytest.approx(1 / 6, abs=0.02) and not whole.silent
    assert AudioCheck().silent and AudioCheck().clipped_share == 0


@pytest.fixture
def film(tmp_path):
    """Long enough that ffmpeg is still at work when its reader stops."""
    return convert(wav(tmp_path / "long.wav", tone(20)), tmp_path / "long.m4a")


def interrupted(path):
    with open_audio(path) as source:
        for _ in source.blocks(1000):
            raise KeyboardInterrupt


def test_no_process_stays_when_the_reader_stops_early(film, processes):
    for block in open_audio(film).blocks(1000):
        assert len(block) == 1000
        break
    assert processes[-1].returncode is not None
    with pytest.raises(KeyboardInterrupt):
        interrupted(film)
    assert processes[-1].returncode is not None
    opened = open_audio(film)
    assert processes[-1].poll() is None
    opened.close()
    opened.close()
    assert processes[-1].returncode is not None
    open_audio(film)  # dropped unread
    assert processes[-1].returncode is not None


def test_a_source_is_read_once(tmp_path):
    with open_audio(wav(tmp_path / "a.wav", tone())) as source:
        with pytest.raises(MarotteError, match="block size 0"):
            list(source.blocks(0))
        list(source.blocks(100))
        with pytest.raises(MarotteError, match="open it again"):
            list(source.blocks(100))


def fake_ffmpeg(folder, monkeypatch, body):
    script = folder / "ffmpeg"
    script.write_text(f"#!{sys.executable}\nimport sys, struct\n{body}")
    script.chmod(0o755)
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(script))
    (folder / "a.m4a").write_bytes(b"no sound for libsndfile")
    return folder / "a.m4a"


@pytest.mark.skipif(sys.platform == "win32", reason="needs a script that runs by its first line")
def test_chatty_ffmpeg_does_not_block(tmp_path, monkeypatch):
    header = "sys.stdout.buffer.write(struct.pack('>4s5I', b'.snd', 24, 0xFFFFFFFF, 6, 8000, 1))"
    chatter = "sys.stderr.write('noise in the stream\\n' * 100000)"
    sound = "sys.stdout.buffer.write(struct.pack('>8000f', *[0.25] * 8000) + b'x')"  # with half a sample at the end
    path = fake_ffmpeg(tmp_path, monkeypatch, f"{header}\n{chatter}\n{sound}\nsys.exit(3)")
    with pytest.warns(MarotteWarning, match="noise in the stream"):
        got = read(path)
    assert got.shape == (8000, 1) and (got == 0.25).all()


def test_missing_ffmpeg(tmp_path, monkeypatch):
    path = fake_ffmpeg(tmp_path, monkeypatch, "")
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(tmp_path / "nowhere"))
    with pytest.raises(MarotteError, match="does not start"):
        open_audio(path)

    def none_found():
        raise RuntimeError("No ffmpeg exe could be found")

    monkeypatch.setattr(imageio_ffmpeg, "get_ffmpeg_exe", none_found)
    with pytest.raises(MarotteError, match="IMAGEIO_FFMPEG_EXE"):
        open_audio(path)


def test_paths_that_look_like_something_else(tmp_path, monkeypatch):
    """A name that ffmpeg would take for an option or a protocol is a file name all the same."""
    monkeypatch.chdir(tmp_path)
    convert(wav(tmp_path / "a.wav", tone()), tmp_path / "a.m4a")
    for name in ("-i.m4a", "concat:a.m4a", "ü %d.m4a"):
        Path(name).write_bytes(Path("a.m4a").read_bytes())
        assert len(read(name)) == RATE


def test_memory_does_not_grow_with_the_file(tmp_path):
    path = tmp_path / "long.wav"
    with soundfile.SoundFile(path, "w", RATE, 2) as file:
        for _ in range(120):
            file.write(tone())
    tracemalloc.start()
    with open_audio(path) as source:
        assert isinstance(source, AudioSource) and sum(map(len, source.blocks(RATE))) == 120 * RATE
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 6e6  # the samples take 46 MB; a one-second block 0.4 MB
