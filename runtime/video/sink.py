"""Where frames go: the contract of a sink, and the choice of one by the name of its file."""

import os
from abc import ABC, abstractmethod
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self

from marotte.errors import MarotteError
from marotte.runtime.frames import Frames
from marotte.runtime.video.provenance import Provenance

KNOWN_OUTPUTS = ".mp4, .webm, .gif, or a folder that ends in / (or folder/%05d.png) for PNG files"


class Sink(ABC):
    """Takes frames of one size and format in order and makes one output of them.

    Frame i is shown from i / fps seconds on; ticks are not looked at. The output stands under its
    final name only after `close`, and whatever stood there before stays until then. A sink that
    raised has aborted. Use it as a context manager: leaving with any exception, KeyboardInterrupt
    too, aborts, else closes. Not for use from several threads at once.
    """

    carries_sound: bool = False
    """Whether the output holds the sound file that was given."""

    def __init__(self, path: Path, width: int, height: int, fps: Fraction) -> None:
        self.path = path
        self.width = width
        self.height = height
        self.fps = fps
        self._format: str | None = None
        self._frames_written = 0
        self._open = True

    @property
    def frames_written(self) -> int:
        """How many frames were taken so far; up to a queue of them may still wait for the encoder."""
        return self._frames_written

    def write(self, frames: Frames) -> None:
        """Take a batch; blocks while the encoder is behind. The pixels must not change afterwards."""
        if not self._open:
            raise MarotteError(f"{self.path} is closed: open a new sink to write more frames")
        if len(frames) == 0:
            return
        try:
            self._check(frames)
            self._take(frames)
        except BaseException:
            self.abort()
            raise
        self._frames_written += len(frames)

    def close(self) -> None:
        """Finish the output and give it its final name; harmless on a sink that is closed."""
        if not self._open:
            return
        try:
            if not self._frames_written:
                raise MarotteError(f"{self.path} got no frames: is the sound empty?")
            self._finish()
        except BaseException:
            self.abort()
            raise
        self._open = False

    def abort(self) -> None:
        """Stop, and remove what was begun; harmless on a sink that is closed."""
        if self._open:
            self._open = False
            self._discard()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()

    def _check(self, frames: Frames) -> None:
        if (frames.width, frames.height) != (self.width, self.height):
            raise MarotteError(
                f"{self.path} was opened for {self.width}x{self.height} and got a frame of"
                f" {frames.width}x{frames.height}: render all frames at one size"
            )
        if self._format is None:
            self._format = frames.format
        elif frames.format != self._format:
            raise MarotteError(
                f"{self.path} began with {self._format} frames and got {frames.format}: render all in one format"
            )

    @abstractmethod
    def _take(self, frames: Frames) -> None:
        """Write a batch of the right size and format."""

    @abstractmethod
    def _finish(self) -> None:
        """Make the output whole and rename it."""

    @abstractmethod
    def _discard(self) -> None:
        """Remove everything that was begun."""


def open_sink(
    path: str | Path,
    *,
    width: int,
    height: int,
    fps: Fraction,
    provenance: Provenance,
    audio: str | Path | None = None,
    audio_start: float = 0.0,
    audio_duration: float | None = None,
    background: tuple[int, int, int] = (0, 0, 0),
    preset: str = "veryfast",
    crf: int | None = None,
    threads: int | None = None,
) -> Sink:
    """Open the sink for `path`, chosen by its suffix, and check what can be checked before any work.

    `.mp4` is H.264 and AAC; `.webm` VP9 and Opus, with alpha when the frames are rgba; `.gif` has
    no sound; a folder with `/` at its end, an existing folder, or a pattern such as `out/%05d.png`
    is a sequence of PNG files without sound.

    audio: the original sound file, of which the first sound stream is encoded. `audio_start` and
        `audio_duration` (seconds) cut it; sound and picture both begin at 0. Sound that ends more
        than one frame away from the picture is cut or filled with silence to the picture's end.
    background: RGB, 0..255, under rgba frames where the output has no alpha (.mp4, .gif).
    preset: x264's, for .mp4. crf: quality, lower is better; 18 for .mp4 and 24 for .webm unless given.
    threads: how many the encoder may use; its own choice unless given.
    """
    from marotte.runtime.video.ffmpeg_sink import RECIPES, Encoding, FfmpegSink, Sound
    from marotte.runtime.video.png_sink import PngSink

    text = os.fspath(path)
    suffix = Path(text).suffix.lower()
    if suffix in RECIPES:
        if audio_start < 0 or (audio_duration is not None and audio_duration <= 0):
            raise MarotteError(f"sound from {audio_start} s for {audio_duration} s is not a piece of {audio}")
        sound = None if audio is None else Sound(Path(audio), audio_start, audio_duration)
        encoding = Encoding(preset, crf, threads, background)
        return FfmpegSink(Path(text), width, height, fps, provenance=provenance, sound=sound, encoding=encoding)
    if suffix == ".png" or text.endswith(("/", os.sep)) or (not suffix and Path(text).is_dir()):
        return PngSink(Path(text), width, height, fps, provenance=provenance)
    raise MarotteError(f"{text} does not say what to write: end it in {KNOWN_OUTPUTS}")
