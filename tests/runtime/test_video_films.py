"""Films hold exactly the frames, the colours and the sound that went in."""

import subprocess
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import soundfile

from marotte.errors import MarotteError
from marotte.runtime.clock import frame_ticks
from marotte.runtime.frames import Frames
from marotte.runtime.video.ffmpeg import ffmpeg_exe
from marotte.runtime.video.ffmpeg_sink import over
from marotte.runtime.video.probe import contact_sheet, probe, read_frames
from marotte.runtime.video.provenance import Provenance, mp4_boxes
from marotte.runtime.video.sink import open_sink

MARK = Provenance("marotte test")
WIDTH, HEIGHT = 64, 48
RATE = 44100
# Saturated ones show a wrong matrix: BT.601 read as BT.709 moves green by 20 and red by 30 steps.
PATCHES = np.array(
    [
        [255, 0, 0],
        [0, 255, 0],
        [0, 0, 255],
        [255, 255, 255],
        [0, 0, 0],
        [128, 128, 128],
        [222, 170, 140],
        [30, 200, 90],
    ],
    np.uint8,
)


def batch(pixels: np.ndarray, pixel_format: str = "rgb24", fps: Fraction = Fraction(25)) -> Frames:
    return Frames(frame_ticks(0, len(pixels), fps), pixels, pixel_format)


def counted(count: int, channels: int = 3) -> np.ndarray:
    """Flat frames whose grey tells their number."""
    grey = np.linspace(20, 235, count).astype(np.uint8)
    return np.ascontiguousarray(np.broadcast_to(grey[:, None, None, None], (count, HEIGHT, WIDTH, channels)))


def patches() -> np.ndarray:
    """One frame, 256x32, of eight flat patches."""
    return np.broadcast_to(np.repeat(PATCHES, 32, axis=0), (32, 256, 3))


def patch_colours(picture: np.ndarray) -> np.ndarray:
    return picture[16, 16::32].astype(int)


def make(path, pixels, *, fps=Fraction(25), pixel_format="rgb24", batch_size=8, provenance=MARK, **options) -> Path:
    frames = batch(pixels, pixel_format, fps)
    with open_sink(path, width=frames.width, height=frames.height, fps=fps, provenance=provenance, **options) as sink:
        for first in range(0, len(pixels), batch_size):
            sink.write(batch(pixels[first : first + batch_size], pixel_format, fps))
        assert sink.frames_written == len(pixels)
    return Path(path)


def noise(path: Path, seconds: float, channels: int = 1) -> np.ndarray:
    """A wav of band-limited noise, whose correlation peak is sharp and which AAC keeps."""
    white = np.random.default_rng(7).standard_normal((round(seconds * RATE), channels))
    smooth = sum(np.roll(white, shift, axis=0) for shift in range(8)) * 0.05
    soundfile.write(path, smooth, RATE)
    return smooth[:, 0]


def decoded_sound(path: Path) -> np.ndarray:
    command = [ffmpeg_exe(), "-v", "error", "-i", str(path), "-map", "0:a:0", "-ac", "1", "-ar", str(RATE)]
    done = subprocess.run([*command, "-f", "f32le", "-"], capture_output=True, check=True)
    return np.frombuffer(done.stdout, np.float32)


def lag_ms(heard: np.ndarray, source: np.ndarray) -> float:
    size = 2 ** int(np.ceil(np.log2(len(heard) + len(source))))
    product = np.fft.irfft(np.fft.rfft(heard, size) * np.conj(np.fft.rfft(source, size)), size)
    lag = int(product.argmax())
    return (lag if lag < size // 2 else lag - size) * 1000 / RATE


@pytest.mark.parametrize("suffix", [".mp4", ".webm"])
@pytest.mark.parametrize("fps", [Fraction(25), Fraction(30), Fraction(60), Fraction(30000, 1001)])
def test_frames_and_sound_begin_and_end_together(tmp_path, fps, suffix):
    noise(tmp_path / "a.wav", 1.013)
    count = -(-1.013 * fps // 1)
    film = make(tmp_path / f"f{suffix}", counted(int(count)), fps=fps, audio=tmp_path / "a.wav")
    info = probe(film)
    assert (info.frames, info.fps, info.width, info.height) == (count, fps, WIDTH, HEIGHT)
    assert info.start == info.audio_start == 0
    assert abs(info.duration - info.audio_duration) < 1 / fps
    assert info.audio_duration == pytest.approx(1.013, abs=1e-3)
    assert sorted(tmp_path.iterdir()) == [tmp_path / "a.wav", film]


def test_frames_keep_their_order(tmp_path):
    film = make(tmp_path / "f.mp4", counted(40), batch_size=7)
    greys = [picture[20, 20, 1] for picture in read_frames(film)]
    np.testing.assert_allclose(greys, counted(40)[:, 0, 0, 1], atol=2)


@pytest.mark.parametrize("suffix", [".mp4", ".webm"])
def test_sound_is_the_sound_that_came(tmp_path, suffix):
    source = noise(tmp_path / "a.wav", 2, channels=2)
    film = make(tmp_path / f"f{suffix}", counted(50), audio=tmp_path / "a.wav")
    assert probe(film).audio_channels == 2
    assert abs(lag_ms(decoded_sound(film), source)) < 1


def test_a_piece_of_the_sound(tmp_path):
    source = noise(tmp_path / "a.wav", 2)
    film = make(tmp_path / "f.mp4", counted(20), audio=tmp_path / "a.wav", audio_start=0.7, audio_duration=0.8)
    assert probe(film).audio_duration == pytest.approx(0.8, abs=1e-3)
    assert abs(lag_ms(decoded_sound(film), source[round(0.7 * RATE) :])) < 1


def test_sound_that_is_late_in_its_own_file_begins_at_0(tmp_path):
    source = noise(tmp_path / "a.wav", 1)
    late = ["-f", "lavfi", "-i", "color=s=16x16:d=1", "-itsoffset", "0.3", "-i", str(tmp_path / "a.wav")]
    subprocess.run([ffmpeg_exe(), "-v", "error", *late, "-c:a", "flac", str(tmp_path / "late.mkv")], check=True)
    film = make(tmp_path / "f.mp4", counted(25), audio=tmp_path / "late.mkv")
    assert probe(film).audio_start == 0
    assert abs(lag_ms(decoded_sound(film), source)) < 1


@pytest.mark.parametrize("suffix", [".mp4", ".webm"])
@pytest.mark.parametrize("count", [10, 60])
def test_sound_of_another_length_is_fitted_to_the_picture(tmp_path, suffix, count):
    source = noise(tmp_path / "a.wav", 1)
    pixels = counted(count, channels=4)
    film = make(tmp_path / f"f{suffix}", pixels, pixel_format="rgba", audio=tmp_path / "a.wav")
    info = probe(film)
    assert info.frames == count and info.start == info.audio_start == 0
    assert info.has_alpha == (suffix == ".webm")
    assert abs(info.audio_duration - info.duration) < 1 / 25
    assert abs(lag_ms(decoded_sound(film), source)) < 1
    assert not list(tmp_path.glob("*.part*"))


@pytest.mark.parametrize("suffix", [".mp4", ".webm"])
def test_colours_come_back(tmp_path, suffix):
    film = make(tmp_path / f"f{suffix}", np.stack([patches()] * 3), crf=4)
    assert "tv, bt709" in probe(film).pixel_format
    for picture in read_frames(film):
        np.testing.assert_allclose(patch_colours(picture), PATCHES, atol=3)


def test_a_player_that_assumes_bt709_sees_the_same(tmp_path):
    film = make(tmp_path / "f.mp4", np.stack([patches()] * 2), crf=4)
    command = [ffmpeg_exe(), "-v", "error", "-i", str(film), "-frames:v", "1", "-pix_fmt", "yuv420p", "-f", "rawvideo"]
    planes = np.frombuffer(subprocess.run([*command, "-"], capture_output=True, check=True).stdout, np.uint8)
    luma = planes[: 32 * 256].reshape(32, 256)[16, 16::32]
    np.testing.assert_allclose(luma, 16 + 219 * (PATCHES / 255) @ [0.2126, 0.7152, 0.0722], atol=2)


def test_yuv_frames_pass_unchanged(tmp_path):
    red = np.repeat([63, 102, 240], [32 * 64, 8 * 64, 8 * 64]).astype(np.uint8).reshape(1, 48, 64)
    for suffix in (".mp4", ".gif"):
        film = make(tmp_path / f"f{suffix}", np.repeat(red, 3, axis=0), pixel_format="yuv420p")
        picture = next(iter(read_frames(film)))
        assert picture.shape == (32, 64, 3)
        np.testing.assert_allclose(picture[16, 32].astype(int), [255, 0, 0], atol=4)


def test_rgba_is_laid_over_the_background(tmp_path):
    pixels = np.broadcast_to(np.uint8([200, 100, 0, 128]), (3, HEIGHT, WIDTH, 4))
    film = make(tmp_path / "f.mp4", pixels, pixel_format="rgba", background=(0, 0, 255), crf=4)
    expected = np.array([200, 100, 0]) * 128 / 255 + np.array([0, 0, 255]) * 127 / 255
    np.testing.assert_allclose(next(iter(read_frames(film)))[20, 20].astype(int), expected, atol=3)


def test_laying_over_rounds_to_nearest():
    value, alpha, behind = np.meshgrid(np.arange(256), np.arange(256), [0, 77, 255], indexing="ij")
    for index in range(3):
        rgba = np.stack([value, value, value, alpha], axis=-1)[:, :, index].astype(np.uint8)
        exact = (value * alpha + behind * (255 - alpha))[:, :, index] / 255
        np.testing.assert_array_equal(over(rgba, (behind[0, 0, index],) * 3)[..., 0], np.floor(exact + 0.5))


def test_webm_keeps_alpha(tmp_path):
    alpha = np.repeat(np.uint8([0, 85, 170, 255]), 16)
    pixels = np.empty((4, HEIGHT, WIDTH, 4), np.uint8)
    pixels[..., :3], pixels[..., 3] = (200, 120, 40), alpha
    film = make(tmp_path / "f.webm", pixels, pixel_format="rgba", crf=4)
    assert probe(film).has_alpha
    pictures = list(read_frames(film, alpha=True))
    assert len(pictures) == 4
    np.testing.assert_allclose(pictures[1][20, 8::16, 3].astype(int), [0, 85, 170, 255], atol=3)
    np.testing.assert_allclose(pictures[1][20, 56, :3].astype(int), [200, 120, 40], atol=3)


def test_index_stands_before_the_data(tmp_path):
    noise(tmp_path / "a.wav", 1)
    film = make(tmp_path / "f.mp4", counted(25), audio=tmp_path / "a.wav")
    kinds = [kind for kind, _, _ in mp4_boxes(film)]
    assert kinds.index("moov") < kinds.index("mdat") < kinds.index("uuid")


@pytest.mark.parametrize(("fps", "frames", "seconds"), [(25, 20, 0.8), (30, 30, 1.0), (60, 50, 1.0)])
def test_gif_keeps_its_length(tmp_path, fps, frames, seconds):
    from PIL import Image

    film = make(tmp_path / "f.gif", counted(round(seconds * fps)), fps=Fraction(fps), audio=tmp_path / "ignored.wav")
    delays = []
    with Image.open(film) as image:
        assert image.n_frames == frames
        for index in range(frames):
            image.seek(index)
            delays.append(image.info["duration"])
    assert min(delays) >= 20
    assert sum(delays) == pytest.approx(seconds * 1000, abs=10)


def test_gif_of_an_odd_size_has_the_colours(tmp_path):
    film = make(tmp_path / "f.gif", np.stack([patches()[:31, :255]] * 2))
    picture = next(iter(read_frames(film)))
    assert picture.shape == (31, 255, 3)
    np.testing.assert_allclose(patch_colours(picture), PATCHES, atol=4)


@pytest.mark.parametrize("name", ["f.mp4", "f.webm"])
def test_odd_sizes_are_refused_with_the_nearest_even_one(tmp_path, name):
    with pytest.raises(MarotteError, match=r"65x47.*even, use 64x48"):
        open_sink(tmp_path / name, width=65, height=47, fps=Fraction(25), provenance=MARK)


def test_contact_sheet(tmp_path):
    film = make(tmp_path / "f.mp4", counted(25))
    sheet = contact_sheet(film, [0, 0.039, 0.04, 0.5, 0.96, 0.1])
    assert sheet.size == (5 * WIDTH, 2 * HEIGHT)
    shown = [
        sheet.getpixel((column * WIDTH + 9, row * HEIGHT + 9))[0] for row, column in [(0, 1), (0, 2), (0, 4), (1, 0)]
    ]
    np.testing.assert_allclose(shown, counted(25)[[0, 1, 24, 2], 0, 0, 0], atol=2)
    with pytest.raises(MarotteError, match="within it"):
        contact_sheet(film, [1.5])


def test_what_is_no_film_is_named(tmp_path):
    noise(tmp_path / "a.wav", 0.1)
    (tmp_path / "x.mp4").write_bytes(b"\0" * 100)
    for name in ("x.mp4", "a.wav", "missing.mp4"):
        with pytest.raises(MarotteError, match=name):
            probe(tmp_path / name)
        with pytest.raises(MarotteError, match=name):
            list(read_frames(tmp_path / name))
