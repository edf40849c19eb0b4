"""Sinks that pipe raw frames into ffmpeg while they are rendered: .mp4, .webm and .gif.

Everything is written to `name.part` beside the target and renamed when it is whole. Colour is
converted to BT.709 limited range and tagged so. How the sound is muxed, and why, is measured in
FINDINGS, "Writing video": `-shortest` cuts sound, `-t frames/fps` is exact.
"""

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from marotte.errors import MarotteError
from marotte.runtime.frames import Frames
from marotte.runtime.video.ffmpeg import Child, file_url, run_ffmpeg, undisturbed
from marotte.runtime.video.provenance import Provenance, append_xmp_to_gif, append_xmp_to_mp4
from marotte.runtime.video.sink import Sink
from marotte.runtime.video.writer import BackgroundWriter

# How long an ffmpeg that no longer reads its pipe may take to say why.
_LAST_WORDS_S = 5.0
# Delays in a GIF are whole centiseconds, and browsers slow a delay of 1 down to 10.
_GIF_MOST_FPS = 50
_TAG_709 = "setparams=range=tv:colorspace=bt709:color_primaries=bt709:color_trc=bt709"


@dataclass(frozen=True)
class Encoding:
    """How to encode: x264's preset, quality (None: the container's own), threads (None: the encoder's), RGB below."""

    preset: str = "veryfast"
    crf: int | None = None
    threads: int | None = None
    background: tuple[int, int, int] = (0, 0, 0)


@dataclass(frozen=True)
class Sound:
    """A piece of a sound file: from `start` seconds on, for `duration` seconds or to its end."""

    path: Path
    start: float = 0.0
    duration: float | None = None

    def filters(self) -> str:
        """Return the filters that cut the piece out and let it begin at 0.

        Times are counted in samples from the first one, whatever the file's time stamps say, as a
        driver that reads the samples does; seeking (`-ss`) would miss in MP3 files without an index.
        """
        chain = "asetpts=N/SR/TB"
        if self.start or self.duration is not None:
            length = "" if self.duration is None else f":duration={self.duration:.6f}"
            chain += f",atrim=start={self.start:.6f}{length},asetpts=PTS-STARTPTS"
        return chain


@dataclass(frozen=True)
class Recipe:
    """What a suffix means to ffmpeg."""

    muxer: str
    video: Callable[[str, Fraction, Encoding], list[str]]
    sound: tuple[str, ...] = ()
    container: tuple[str, ...] = ()
    even: bool = False
    alpha: bool = False
    stamp: Callable[[Path, Provenance], None] | None = None


def _to_yuv(pixel_format: str, wanted: str) -> str:
    if pixel_format == "yuv420p":
        return _TAG_709
    # Without accurate_rnd saturated colours are off by up to 0.7 of a step instead of 0.4; it costs 0.1 ms at 512x512.
    scale = "scale=in_range=pc:out_color_matrix=bt709:out_range=tv:flags=bicubic+accurate_rnd"
    return f"{scale},format={wanted},{_TAG_709}"


def _tagged_709() -> list[str]:
    return ["-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709", "-color_range", "tv"]


def _h264(pixel_format: str, fps: Fraction, encoding: Encoding) -> list[str]:
    crf = 18 if encoding.crf is None else encoding.crf
    codec = ["-c:v", "libx264", "-preset", encoding.preset, "-crf", str(crf)]
    return ["-vf", _to_yuv(pixel_format, "yuv420p"), *codec, *_tagged_709()]


def _vp9(pixel_format: str, fps: Fraction, encoding: Encoding) -> list[str]:
    crf = 24 if encoding.crf is None else encoding.crf
    # Alternate reference frames would break the alpha plane, which libvpx codes as a second stream.
    alpha = ["-auto-alt-ref", "0"] if pixel_format == "rgba" else []
    codec = ["-c:v", "libvpx-vp9", "-b:v", "0", "-crf", str(crf), "-cpu-used", "5", "-row-mt", "1", *alpha]
    wanted = "yuva420p" if pixel_format == "rgba" else "yuv420p"
    return ["-vf", _to_yuv(pixel_format, wanted), *codec, *_tagged_709()]


def _gif(pixel_format: str, fps: Fraction, encoding: Encoding) -> list[str]:
    steps = [f"fps={_GIF_MOST_FPS}"] if fps > _GIF_MOST_FPS else []
    if pixel_format == "yuv420p":
        steps += [_TAG_709, "scale=in_color_matrix=bt709:in_range=tv:out_range=pc", "format=rgb24"]
    # A palette for each frame: one for the whole film would keep all frames in memory.
    palette = "split[a][b];[a]palettegen=stats_mode=single[p];[b][p]paletteuse=new=1:dither=bayer:bayer_scale=5"
    return ["-vf", ",".join([*steps, palette])]


RECIPES = {
    ".mp4": Recipe(
        "mp4",
        _h264,
        sound=("-c:a", "aac", "-b:a", "192k"),
        container=("-movflags", "+faststart+use_metadata_tags"),
        even=True,
        stamp=append_xmp_to_mp4,
    ),
    ".webm": Recipe("webm", _vp9, sound=("-c:a", "libopus", "-b:a", "160k"), even=True, alpha=True),
    ".gif": Recipe("gif", _gif, stamp=append_xmp_to_gif),
}


class FfmpegSink(Sink):
    """A film written by a child ffmpeg that runs beside the renderer.

    GIF: delays are centiseconds rounded from the running time, so the film keeps its length at any
    rate (30 frames a second alternate 30, 30 and 40 ms; 25 and 50 are even); above 50 frames a second
    frames are dropped to 50. Where the output has no alpha, rgba frames are laid over the background.
    """

    def __init__(
        self,
        path: Path,
        width: int,
        height: int,
        fps: Fraction,
        *,
        provenance: Provenance,
        sound: Sound | None = None,
        encoding: Encoding | None = None,
    ) -> None:
        """Check size, folder and sound; ffmpeg starts with the first frame, which tells the pixel format."""
        super().__init__(path, width, height, fps)
        self._recipe = RECIPES[path.suffix.lower()]
        self._provenance = provenance
        self._encoding = encoding or Encoding()
        self._sound = sound if self._recipe.sound else None
        self.carries_sound = self._sound is not None
        self._part = path.with_name(path.name + ".part")
        self._remade = path.with_name(path.name + ".part2")
        self._child: Child | None = None
        self._writer: BackgroundWriter | None = None
        if self._recipe.even and (width % 2 or height % 2):
            near = f"{max(2, round(width / 2) * 2)}x{max(2, round(height / 2) * 2)}"
            raise MarotteError(f"{path} cannot be {width}x{height}: its sides must be even, use {near}")
        self._claim()
        if self._sound:
            _check_sound(self._sound, self._recipe.sound)

    def _claim(self) -> None:
        """See that the target can be written, and remove what a killed run left there."""
        folder = self.path.absolute().parent
        if not folder.is_dir():
            raise MarotteError(f"{self.path} cannot be written: {folder} is not a folder, create it first")
        if self.path.is_dir():
            raise MarotteError(f"{self.path} is a folder: choose another name for the file")
        try:
            # An ffmpeg that outlived its parent may still write to the old file: a new one must not be the same.
            self._part.unlink(missing_ok=True)
            self._remade.unlink(missing_ok=True)
            self._part.touch()
            self._part.unlink()
        except OSError as error:
            raise MarotteError(f"{self.path} cannot be written: {error.strerror}; choose another folder") from error

    def _take(self, frames: Frames) -> None:
        if self._writer is None:
            with undisturbed():
                self._child = Child(self._arguments(frames.format), feed=True)
                self._writer = BackgroundWriter(self._feed)
        try:
            self._writer.put(frames)
        except OSError as error:
            raise self._failure() from error

    def _feed(self, frames: Frames) -> None:
        assert self._child is not None
        for picture in frames.pixels:
            if frames.format == "rgba" and not self._recipe.alpha:
                picture = over(picture, self._encoding.background)
            self._child.stdin.write(np.ascontiguousarray(picture).data)

    def _finish(self) -> None:
        assert self._child is not None and self._writer is not None
        try:
            self._writer.finish()
        except OSError as error:
            raise self._failure() from error
        self._child.end_input()
        if self._child.wait():
            raise self._failure()
        if self._sound:
            self._match_sound(self._sound)
        try:
            if self._recipe.stamp:
                self._recipe.stamp(self._part, self._provenance)
            self._part.replace(self.path)
        except OSError as error:
            raise MarotteError(f"{self.path} cannot be finished: {error.strerror}") from error

    def _discard(self) -> None:
        if self._child:
            self._child.kill()
        if self._writer:
            self._writer.cancel()
        for leftover in (self._part, self._remade):
            leftover.unlink(missing_ok=True)

    def _failure(self) -> MarotteError:
        assert self._child is not None
        self._child.wait(_LAST_WORDS_S)
        return MarotteError(f"{self.path} was not written: {self._child.complaint()}")

    def _arguments(self, pixel_format: str) -> list[str]:
        opaque = "rgb24" if pixel_format == "rgba" and not self._recipe.alpha else pixel_format
        threads = [] if self._encoding.threads is None else ["-threads", str(self._encoding.threads)]
        size = ["-pix_fmt", opaque, "-video_size", f"{self.width}x{self.height}"]
        rate = f"{self.fps.numerator}/{self.fps.denominator}"
        pictures = ["-f", "rawvideo", *size, "-framerate", rate, "-i", "pipe:0"]
        picture_codec = ["-map", "0:v:0", *self._recipe.video(opaque, self.fps, self._encoding), *threads]
        return ["-loglevel", "error", *pictures, *self._sound_input(), *picture_codec, *self._output(self._part)]

    def _sound_input(self) -> list[str]:
        return ["-i", file_url(self._sound.path)] if self._sound else []

    def _output(self, target: Path, sound_filters: str = "") -> list[str]:
        """Return the arguments after the picture's: sound, tags, container. Nothing else of the sound file goes in."""
        arguments = ["-map_metadata", "-1", "-map_chapters", "-1"]
        if self._sound:
            arguments += ["-map", "1:a:0", "-af", self._sound.filters() + sound_filters, *self._recipe.sound]
        for name, value in self._provenance.as_ffmpeg_metadata().items():
            arguments += ["-metadata", f"{name}={value}"]
        return [*arguments, *self._recipe.container, "-f", self._recipe.muxer, "-y", file_url(target)]

    def _match_sound(self, sound: Sound) -> None:
        """Encode the sound again where it ends more than a frame away from the picture; frames are copied.

        How many frames come is known only now, so the first time it went in as long as it was.
        """
        length = Fraction(self._frames_written) / self.fps
        if abs(_sound_end(self._part) - length) < 1 / self.fps:
            return
        fitted = f",apad,atrim=end={float(length):.6f}"
        inputs = ["-i", file_url(self._part), *self._sound_input(), "-map", "0:v:0", "-c:v", "copy"]
        if self._recipe.alpha and self._format == "rgba":
            # What tells a player to look for the alpha; copying loses it together with the tags.
            inputs += ["-metadata:s:v:0", "alpha_mode=1"]
        result = run_ffmpeg(["-loglevel", "error", *inputs, *self._output(self._remade, fitted)])
        if result.status:
            raise MarotteError(f"{self.path} was not written: {result.complaint}")
        self._remade.replace(self._part)


def over(rgba: np.ndarray, background: tuple[int, int, int]) -> np.ndarray:
    """Return straight-alpha pixels [H, W, 4] laid over a colour, uint8 [H, W, 3], rounded to nearest."""
    opaque = np.empty((*rgba.shape[:2], 3), np.uint8)
    alpha = rgba[..., 3].astype(np.uint16)
    # A channel at a time in place is seven times as fast as all three at once: 0.6 ms at 512x512.
    for channel, behind in enumerate(background):
        mixed = rgba[..., channel] * alpha + (255 - alpha) * np.uint16(behind)
        # (x + 128 + (x + 128 >> 8)) >> 8 is x / 255 rounded, for every product of two bytes, without a division.
        mixed += np.uint16(128)
        mixed += mixed >> 8
        opaque[..., channel] = mixed >> 8
    return opaque


def _check_sound(sound: Sound, codec: tuple[str, ...]) -> None:
    """Encode the beginning of the piece, so that a wrong file is named before any frame is rendered."""
    if not sound.path.is_file():
        raise MarotteError(f"the sound file {sound.path} does not exist: check its name")
    begin = ["-map", "0:a:0", "-af", sound.filters(), *codec, "-t", "0.1", "-f", "data", "-"]
    result = run_ffmpeg(["-loglevel", "error", "-i", file_url(sound.path), *begin])
    if result.status:
        raise MarotteError(f"{sound.path} holds no sound that can be used: {result.complaint}")
    if not result.stdout:
        raise MarotteError(f"{sound.path} ends before {sound.start} s: begin earlier")


def _sound_end(path: Path) -> Fraction:
    """Return when the last packet of sound ends, in seconds."""
    from marotte.runtime.video.probe import scan

    return scan(path, "0:a:0", decode=False)["audio"].end
