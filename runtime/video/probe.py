"""What a film holds, by decoding it with the bundled ffmpeg (the wheel has no ffprobe)."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from marotte.errors import MarotteError
from marotte.runtime.video.ffmpeg import Child, file_url, run_ffmpeg

if TYPE_CHECKING:
    from PIL import Image

_SHEET_COLUMNS = 5


@dataclass(frozen=True)
class VideoInfo:
    """What came out of decoding a whole film; times in seconds.

    frames, fps, width, height, start, duration: of the picture; duration is frames / fps.
    pixel_format: as ffmpeg names it, with its colour tags: `yuv420p(tv, bt709, progressive)`.
    has_alpha: whether pixels carry alpha; False for GIF, which has one transparent colour at most.
    audio_rate, audio_channels, audio_start, audio_duration: None without sound.
    """

    frames: int
    fps: Fraction
    width: int
    height: int
    start: float
    duration: float
    pixel_format: str
    has_alpha: bool
    audio_rate: int | None = None
    audio_channels: int | None = None
    audio_start: float | None = None
    audio_duration: float | None = None


@dataclass
class Track:
    """The packets or decoded frames of one stream: how many, from when to when, in `unit` seconds."""

    unit: Fraction
    count: int = 0
    first: int = 0
    last_end: int = 0
    sample_bytes: int = 0

    @property
    def end(self) -> Fraction:
        """When the last one ends, in seconds."""
        return self.last_end * self.unit

    def add(self, at: int, duration: int, size: int) -> None:
        """Count one."""
        self.first = min(self.first, at) if self.count else at
        self.last_end = max(self.last_end, at + duration)
        self.sample_bytes = size // duration if duration else 0
        self.count += 1


def scan(path: Path, *maps: str, decode: bool = True) -> dict[str, Track]:
    """Return the tracks, by `video` and `audio`, that ffmpeg finds for stream specifiers such as `0:a:0?`.

    With `decode` every frame is decoded (so the counts are what a player shows), else packets are counted.
    """
    selected = [argument for specifier in maps for argument in ("-map", specifier)]
    how = ["-fps_mode", "passthrough"] if decode else ["-c", "copy"]
    child = Child(["-loglevel", "error", "-copyts", "-i", file_url(path), *selected, *how, "-f", "framecrc", "-"])
    units: dict[str, Fraction] = {}
    kinds: dict[str, str] = {}
    tracks: dict[str, Track] = {}
    try:
        for raw in child.stdout:
            line = raw.decode()
            if found := re.match(r"#tb (\d+): (\d+/\d+)", line):
                units[found[1]] = Fraction(found[2])
            elif found := re.match(r"#media_type (\d+): (\w+)", line):
                kinds[found[1]] = found[2]
            elif not line.startswith("#"):
                index, _, shown, duration, size = (field.strip() for field in line.split(",")[:5])
                track = tracks.setdefault(kinds[index], Track(units[index]))
                track.add(int(shown), int(duration), int(size))
        status = child.wait()
    finally:
        child.kill()
    if status:
        raise MarotteError(f"{path} cannot be read: {child.complaint()}")
    return tracks


def probe(path: str | Path) -> VideoInfo:
    """Decode a film and return what it holds; takes as long as playing it at full speed.

    Raises MarotteError where there is no picture in it or it cannot be decoded.
    """
    path = Path(path)
    width, height, pixel_format, alpha = _header(path)
    tracks = scan(path, "0:v:0", "0:a:0?")
    video, audio = tracks.get("video"), tracks.get("audio")
    if video is None:
        raise MarotteError(f"{path} holds no frame: it was cut short, render it again")
    fps = 1 / video.unit
    picture = VideoInfo(
        frames=video.count,
        fps=fps,
        width=width,
        height=height,
        start=float(video.first * video.unit),
        duration=float(video.count / fps),
        pixel_format=pixel_format,
        has_alpha=alpha,
    )
    if audio is None:
        return picture
    return replace(
        picture,
        audio_rate=int(1 / audio.unit),
        # Decoded sound comes as 16 bit samples.
        audio_channels=audio.sample_bytes // 2,
        audio_start=float(audio.first * audio.unit),
        audio_duration=float((audio.last_end - audio.first) * audio.unit),
    )


def read_frames(path: str | Path, *, alpha: bool = False) -> Iterator[np.ndarray]:
    """Yield the decoded frames of a film, uint8 [H, W, 3] RGB, or [H, W, 4] straight RGBA with `alpha`.

    Colour is decoded as the file is tagged.
    """
    path = Path(path)
    width, height, _, has_alpha = _header(path)
    channels = 4 if alpha else 3
    # ffmpeg's own VP9 decoder drops alpha.
    decoder = ["-c:v", "libvpx-vp9"] if alpha and has_alpha and path.suffix.lower() == ".webm" else []
    chain = f"scale=flags=bicubic+accurate_rnd+full_chroma_int,format={'rgba' if alpha else 'rgb24'}"
    selected = ["-map", "0:v:0", "-fps_mode", "passthrough", "-vf", chain]
    child = Child(["-loglevel", "error", *decoder, "-i", file_url(path), *selected, "-f", "rawvideo", "-"])
    size = width * height * channels
    try:
        while len(data := child.stdout.read(size)) == size:
            yield np.frombuffer(data, np.uint8).reshape(height, width, channels)
        if child.wait():
            raise MarotteError(f"{path} cannot be read: {child.complaint()}")
    finally:
        child.kill()


def contact_sheet(path: str | Path, times: Iterable[float]) -> "Image.Image":
    """Return one picture with the frames that are shown at `times` (seconds), five to a row, in their order."""
    from PIL import Image

    path = Path(path)
    times = list(times)
    fps = probe(path).fps
    # 0.96 s is a little less in binary, and frame 24 of 25 a second begins there.
    wanted = [int(Fraction(at) * fps + Fraction(1, 1000)) for at in times]
    shown = {}
    for index, picture in enumerate(read_frames(path)):
        if index in wanted:
            shown[index] = picture
        if index >= max(wanted, default=-1):
            break
    if not wanted or set(wanted) != set(shown):
        raise MarotteError(f"{path} does not show a frame at each of {times} s: choose times within it")
    height, width, _ = shown[wanted[0]].shape
    columns = min(_SHEET_COLUMNS, len(wanted))
    sheet = Image.new("RGB", (columns * width, -(-len(wanted) // columns) * height))
    for place, index in enumerate(wanted):
        sheet.paste(Image.fromarray(shown[index]), (place % columns * width, place // columns * height))
    return sheet


def _header(path: Path) -> tuple[int, int, str, bool]:
    """Return width, height, pixel format and whether there is alpha, from what ffmpeg prints about its input."""
    if not path.is_file():
        raise MarotteError(f"{path} does not exist: check its name")
    result = run_ffmpeg(["-i", file_url(path)])
    text = "\n".join(result.stderr_lines)
    # Video: h264 (High) (avc1 / 0x31637661), yuv420p(tv, bt709, progressive), 128x96 [SAR ...], ...
    found = re.search(r"Stream #0:\d+.*?: Video: (\w+).*?, (\w+(?:\([^)]*\))?), (\d+)x(\d+)", text)
    if not found:
        raise MarotteError(f"{path} holds no picture that can be read: {result.complaint}")
    codec, pixel_format, width, height = found.groups()
    alpha = re.match(r"rgba|bgra|argb|abgr|ya|yuva|gbrap|pal8", pixel_format) is not None and codec != "gif"
    return int(width), int(height), pixel_format, alpha or re.search(r"(?i)alpha_mode\s*: 1", text) is not None
