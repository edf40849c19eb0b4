"""Sound files as streams of float32 blocks, with every bad input turned into one clear line."""

import math
import warnings
from collections.abc import Iterator
from os import PathLike
from pathlib import Path
from types import TracebackType

import numpy as np

from marotte.errors import MarotteError, MarotteWarning
from marotte.runtime.audio.readers import FfmpegReader, Reader, SoundFileReader, Unreadable

LOWEST_RATE = 1000
HIGHEST_RATE = 384000

# 16-bit full scale. Below -80 dB there is no more than dither: nothing to talk to.
_FULL_SCALE = np.float32(32767 / 32768)
_SILENCE = 1e-4
_CLIPPED_TOO_OFTEN = 0.01
# How much is read where a file is opened, in seconds: as much as a sink tries its encoder on, so that
# what is wrong with the sound is said here, in better words.
_HEAD = 0.25


class AudioCheck:
    """What a stretch of sound is like, gathered block by block.

    peak: the largest absolute sample so far. samples: how many were seen, all channels together.
    """

    def __init__(self) -> None:
        self.peak = 0.0
        self.samples = 0
        self._clipped = 0

    def feed(self, block: np.ndarray) -> None:
        """Take in samples, float [n] or [n, channels], -1..1 being full scale."""
        size = np.abs(block)
        self.peak = max(self.peak, float(size.max(initial=0)))
        self.samples += size.size
        self._clipped += int(np.count_nonzero(size >= _FULL_SCALE))

    @property
    def silent(self) -> bool:
        """Whether nothing rose above -80 dB of full scale."""
        return self.peak < _SILENCE

    @property
    def clipped_share(self) -> float:
        """The share of samples at 16-bit full scale or above, 0..1."""
        return self._clipped / self.samples if self.samples else 0.0


class AudioSource:
    """An open sound file, or a span of it, to be read once from front to back; see `open_audio`.

    path; rate: samples a second; channels; check: an `AudioCheck` of what was read so far. Use it
    as a context manager; it also closes when `blocks` ends, is left early or fails.
    """

    def __init__(self, path: Path, reader: Reader, first: int, count: int | None) -> None:
        self.path = path
        self.rate = reader.rate
        self.channels = reader.channels
        self.check = AudioCheck()
        self._reader = reader
        self._first = first
        self._position = 0  # samples given out
        self._closed = False
        there = None if reader.total is None else max(0, reader.total - first)
        self._cut = count is not None and (there is None or count < there)
        self._limit = count if self._cut else there
        self._promised = there is not None
        self._frames = self._limit if self._promised else None
        # The beginning is read now, so that a file without sound fails where it is opened.
        head = math.ceil(_HEAD * self.rate)
        self._head = self._pull(head if self._limit is None else min(head, self._limit))

    @property
    def frames(self) -> int | None:
        """Samples a channel in the span; None while only reading to the end can tell (mp3, video).

        A damaged file can turn out shorter than it said; after the last block this is what was there.
        """
        return self._frames

    def blocks(self, size: int) -> Iterator[np.ndarray]:
        """Yield the samples as float32 [n, channels], n == size but for the last block.

        Raises MarotteError at a sample that is not finite. Warns with MarotteWarning at the end when
        the file was cut short or damaged, or when more than 1 % of its samples are clipped.
        """
        if size < 1:
            raise MarotteError(f"audio block size {size} is not above 0")
        if self._closed:
            raise MarotteError(f"{self.path} was read already: open it again")
        try:
            while len(block := self._next(size)):
                yield block
            self._end()
        finally:
            self.close()

    def close(self) -> None:
        """Give the file or the decoding process back; may be called again."""
        self._closed = True
        self._reader.close()

    def __enter__(self) -> "AudioSource":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _next(self, size: int) -> np.ndarray:
        if self._limit is not None:
            size = min(size, self._limit - self._position)
        block, self._head = self._head[:size], self._head[size:]
        if len(block) < size:
            rest = self._pull(size - len(block), len(block))
            block = np.concatenate([block, rest]) if len(block) else rest
        self.check.feed(block)
        self._position += len(block)
        return block

    def _pull(self, size: int, ahead: int = 0) -> np.ndarray:
        """Read on, `ahead` samples after those that were given out."""
        block = self._decode(size, ahead)
        finite = np.isfinite(block)
        if not finite.all():
            second = (self._first + self._position + ahead + int(np.argwhere(~finite)[0, 0])) / self.rate
            raise MarotteError(
                f"{self.path} holds a sample that is not a finite number at second {second:.3f}: export it again"
            )
        return block

    def _decode(self, size: int, ahead: int) -> np.ndarray:
        """Read on; where libsndfile stumbles, ffmpeg goes on from the same sample."""
        if size == 0:
            return np.zeros((0, self.channels), np.float32)
        try:
            return self._reader.read(size)
        except Unreadable as why:
            self._reader.close()
            self._reader = _open_ffmpeg(self.path, str(why))
            self._reader.skip(self._first + self._position + ahead)
            return self._reader.read(size)

    def _end(self) -> None:
        missing = 0 if self._limit is None else self._limit - self._position
        self._frames = self._position
        faults = [self._reader.fault] if self._reader.fault and (missing or not self._cut) else []
        if missing and self._promised:
            faults.append(f"{missing / self.rate:.2f} s are missing at its end")
        if faults:
            second = (self._first + self._position) / self.rate
            _warn(f"{self.path} is damaged or cut short: {', '.join(faults)}; it was used up to second {second:.2f}")
        if self.check.clipped_share > _CLIPPED_TOO_OFTEN:
            _warn(
                f"{self.path} is clipped: {self.check.clipped_share:.1%} of its samples are at full scale; "
                "a recording at a lower level gives better motion"
            )


def open_audio(path: str | PathLike[str], *, start: float = 0.0, duration: float | None = None) -> AudioSource:
    """Open a sound or video file, or the span of it that begins at `start`, for streamed reading.

    start and duration are in seconds and rounded to whole samples; a duration beyond the end is cut
    there. Of a video the first sound track is taken, from its own first sample.

    Raises MarotteError when the file is missing, a folder, empty, no sound, without samples, at a
    rate outside 1000..384000 a second, when the span is empty or begins beyond the end, or when a
    sample in its first quarter of a second is not finite.
    """
    path = Path(path)
    if not 0 <= start < math.inf:
        raise MarotteError(f"start {start} is not a time in seconds: give 0 or more")
    if duration is not None and not 0 < duration < math.inf:
        raise MarotteError(f"duration {duration} is not a time in seconds above 0")
    _check_file(path)
    try:
        reader: Reader = SoundFileReader(path)
    except Unreadable as why:
        reader = _open_ffmpeg(path, str(why))
    try:
        return _span(path, reader, start, duration)
    except BaseException:
        reader.close()
        raise


def _span(path: Path, reader: Reader, start: float, duration: float | None) -> AudioSource:
    if not LOWEST_RATE <= reader.rate <= HIGHEST_RATE:
        raise MarotteError(
            f"{path} has {reader.rate} samples a second, not {LOWEST_RATE} to {HIGHEST_RATE}: resample it to 48000"
        )
    first = round(start * reader.rate)
    count = None if duration is None else round(duration * reader.rate)
    if count == 0:
        raise MarotteError(f"duration {duration} is less than one sample of {path} at {reader.rate} a second")
    skipped = reader.skip(first)
    source = AudioSource(path, reader, first, count)
    if not len(source._head):
        source.close()
        if skipped == 0:
            raise MarotteError(f"{path} holds no samples: record or export it again")
        raise MarotteError(f"start {start} s is beyond the end of {path}: it lasts {skipped / reader.rate:.3f} s")
    return source


def _check_file(path: Path) -> None:
    try:
        size = path.stat().st_size
        if path.is_dir():
            raise MarotteError(f"{path} is a folder: give one sound file")
        if not path.is_file():
            raise MarotteError(f"{path} is not a plain file: save the sound to a file first")
        with path.open("rb"):
            pass
    except FileNotFoundError:
        raise MarotteError(f"{path} does not exist: check the path of the sound file") from None
    except OSError as error:
        raise MarotteError(f"{path} cannot be opened: {error.strerror}") from None
    if size == 0:
        raise MarotteError(f"{path} is empty (0 bytes): record or export it again")


def _open_ffmpeg(path: Path, why_not_libsndfile: str) -> FfmpegReader:
    try:
        return FfmpegReader(path)
    except Unreadable as why:
        raise MarotteError(
            f"{path} is not sound that can be read (libsndfile: {why_not_libsndfile}; "
            f"ffmpeg: {(str(why).splitlines() or ['nothing found'])[0]}): give a wav, flac, ogg, mp3, m4a or mp4 file"
        ) from None


def _warn(message: str) -> None:
    warnings.warn(message, MarotteWarning, stacklevel=4)
