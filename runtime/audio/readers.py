"""Two ways to decode a sound file piece by piece: libsndfile, and ffmpeg for what it does not know.

A reader gives the whole file from its first sample on, as float32 in -1..1 (16-bit PCM is x/32768);
spans, checks and warnings are the business of `marotte.runtime.audio.source`.
"""

import re
import struct
import subprocess
import tempfile
import weakref
from pathlib import Path
from typing import IO, Any, Protocol

import numpy as np

from marotte.errors import MarotteError

# What libsndfile notes when a header promises more bytes than the file has. Writers on a pipe cannot
# know the length and put a number near 2^31 or 2^32 there, which promises nothing.
_PROMISE = re.compile(r"(?:data|SSND|Data Size|riff)\s*: (\d+) \(should be (\d+)\)")
_UNKNOWN_LENGTH = 0x7FFF_F000
# Lossy streams: after a seek their decoders need a run-up, so samples near it would differ.
_SEEK_INEXACT = ("MP3", "OGG")
_SKIP_BLOCK = 1 << 16


class Unreadable(Exception):
    """This decoder makes no sound of this file; another one may."""


class Reader(Protocol):
    """A decoder at some position in a file.

    rate in samples a second; channels; total: samples in the file, or None where only reading to
    the end tells; fault: what is wrong with the file, or None, final when the end was read.
    """

    rate: int
    channels: int
    total: int | None
    fault: str | None

    def skip(self, frames: int) -> int:
        """Move on by at most this many samples and return by how many."""

    def read(self, frames: int) -> np.ndarray:
        """Return the next samples, float32 [n, channels], n < frames only at the end."""

    def close(self) -> None:
        """Give everything back; may be called again."""


def _read_past(reader: Reader, frames: int) -> int:
    """Skip by decoding: exact in every format."""
    left = frames
    while left and (got := len(reader.read(min(left, _SKIP_BLOCK)))):
        left -= got
    return frames - left


class SoundFileReader:
    """libsndfile: wav, flac, ogg (vorbis, opus), mp3, aiff, caf, au and more. Raises Unreadable."""

    def __init__(self, path: Path) -> None:
        try:
            self._file = _sound_file(path)
        except (OSError, RuntimeError, TypeError) as error:  # TypeError: a .raw file has no header
            raise Unreadable(str(error).rstrip(".")) from None
        self.rate: int = self._file.samplerate
        self.channels: int = self._file.channels
        self.fault: str | None = None
        frames = self._file.frames
        # A FLAC written to a pipe has no length and libsndfile loses its end; an Ogg cut inside its
        # first pages counts 0. ffmpeg reads both.
        if frames == 0 or frames >= 1 << 62:
            self.close()
            raise Unreadable(f"length {frames}")
        self.total: int | None = None if self._file.format == "MP3" else frames  # mp3: often an estimate
        for promised, there in ((int(a), int(b)) for a, b in _PROMISE.findall(self._file.extra_info)):
            if there < promised < _UNKNOWN_LENGTH:
                seconds = frames / self.rate
                self.fault = (
                    f"its header promises {seconds * promised / max(there, 1):.2f} s, {seconds:.2f} s are there"
                )

    def skip(self, frames: int) -> int:
        """Move on by at most this many samples and return by how many."""
        if self._file.format in _SEEK_INEXACT:
            return _read_past(self, frames)
        start = self._file.tell()
        return self._file.seek(min(start + frames, self._file.frames)) - start

    def read(self, frames: int) -> np.ndarray:
        """Return the next samples, float32 [n, channels]; Unreadable where the data are damaged."""
        try:
            return self._file.read(frames, dtype="float32", always_2d=True)
        except (OSError, RuntimeError) as error:
            raise Unreadable(str(error)) from None

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _sound_file(path: Path) -> Any:
    import soundfile  # an OSError here: this machine has no libsndfile

    class Forward(soundfile.SoundFile):
        # soundfile seeks to where it is after every read of a seekable file, for the sake of files
        # open for reading and writing. That resets the MP3 decoder, whose frames lean on earlier ones:
        # read block by block, an MP3 came out wrong by half of full scale.
        def seekable(self) -> bool:
            return False

    return Forward(str(path))


class FfmpegReader:
    """The first sound track of anything ffmpeg opens, at its own rate and channels, through a pipe.

    Raises Unreadable when ffmpeg finds no sound in the file and MarotteError when the file is a
    film without a sound track or ffmpeg is missing. The child process ends with `close`, with this
    object, or with the interpreter, whichever comes first.
    """

    total: int | None = None

    def __init__(self, path: Path) -> None:
        # Protocols: a playlist in disguise must not reach for the network. AU: the one raw-float
        # container whose header needs no length, so that it can be piped, and says rate and channels.
        command = [_ffmpeg(), "-nostdin", "-v", "error", "-protocol_whitelist", "file,pipe", "-i", f"file:{path}"]
        command += ["-map", "0:a:0", "-f", "au", "-c:a", "pcm_f32be", "pipe:1"]
        self.fault: str | None = None
        # Messages go to a file: a pipe that nobody reads would stop a chatty decoder for good.
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 (`_stop` closes it)
        try:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=self._log, bufsize=1 << 16
            )
        except OSError as error:
            self._log.close()
            raise MarotteError(f"ffmpeg at {command[0]} does not start: {error.strerror}; reinstall it") from None
        self.close = weakref.finalize(self, _stop, self._process, self._log)
        assert self._process.stdout is not None
        self._pipe = self._process.stdout
        try:
            self.rate, self.channels = self._header(path)
        except BaseException:
            self.close()
            raise

    def _header(self, path: Path) -> tuple[int, int]:
        head = self._pipe.read(24)
        if len(head) < 24:
            self._process.wait()
            message = self._message()
            if "matches no streams" in message:
                raise MarotteError(f"{path} has no sound track: give a file with speech in it")
            raise Unreadable(message)
        _, offset, _, _, rate, channels = struct.unpack(">4s5I", head)
        self._pipe.read(offset - 24)
        return rate, channels

    def _message(self) -> str:
        self._log.seek(0)
        text = self._log.read(4000).decode(errors="replace")
        return re.sub(r"^(\[[^\]]*\] *)+", "", text.strip(), flags=re.M)

    def skip(self, frames: int) -> int:
        """Move on by at most this many samples and return by how many."""
        return _read_past(self, frames)

    def read(self, frames: int) -> np.ndarray:
        """Return the next samples, float32 [n, channels]."""
        width = 4 * self.channels
        data = self._pipe.read(frames * width)
        if len(data) < frames * width:
            code = self._process.wait()
            message = self._message().splitlines()
            if code or message:
                self.fault = f"ffmpeg says {message[0] if message else f'exit code {code}'!r}"
        samples = np.frombuffer(data, ">f4", count=len(data) // width * self.channels)
        return samples.astype(np.float32).reshape(-1, self.channels)


def _stop(process: subprocess.Popen, log: IO[bytes]) -> None:
    """End the child and collect it, so that neither an orphan nor a zombie stays."""
    if process.poll() is None:
        process.kill()
    if process.stdout is not None:
        process.stdout.close()
    process.wait()
    log.close()


def _ffmpeg() -> str:
    import imageio_ffmpeg

    try:
        return imageio_ffmpeg.get_ffmpeg_exe()
    except RuntimeError:
        raise MarotteError(
            "no ffmpeg was found: install it, or set IMAGEIO_FFMPEG_EXE to one, or give a wav, flac, ogg or mp3 file"
        ) from None
