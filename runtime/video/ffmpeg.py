"""ffmpeg as a child process: find it, start it apart from the terminal, and say in one line why it failed.

ffmpeg tells of a full disk or a dead encoder only through its exit status and stderr, often after
every write to its pipe succeeded; so whoever uses a `Child` asks for both.
"""

import contextlib
import os
import re
import signal
import subprocess
import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import IO

from marotte.errors import MarotteError

# What ffmpeg says after the line that names the cause; none of it helps a reader.
_AFTERMATH = re.compile(
    r"Conversion failed|Error opening (in|out)put files?\b|Task finished|Terminating thread|Nothing was written"
    r"|Last message repeated|To ignore this|Failed to set value|Error parsing options|Error sending frames"
    r"|Error while opening encoder|Could not open encoder|Error muxing a packet"
)
_TAGS = re.compile(r"^(\[[^\]]*\] ?)+")
_LINES_KEPT = 200
_LINE_BYTES = 500


def ffmpeg_exe() -> str:
    """Return the ffmpeg that imageio-ffmpeg carries, or the one that IMAGEIO_FFMPEG_EXE names."""
    import imageio_ffmpeg

    try:
        return imageio_ffmpeg.get_ffmpeg_exe()
    except RuntimeError as error:
        raise MarotteError("no ffmpeg was found: reinstall imageio-ffmpeg or set IMAGEIO_FFMPEG_EXE") from error


def file_url(path: Path) -> str:
    """Return `path` as an argument that ffmpeg takes neither for an option nor for a protocol."""
    return f"file:{path.absolute()}"


def kill(process: subprocess.Popen) -> None:
    """Kill a process that was started in a session of its own, with whatever it started, and reap it."""
    if process.poll() is None:
        if os.name == "posix":
            # The leader of a session leads a group of the same number.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        process.kill()
        process.wait()


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Hold Ctrl-C and SIGTERM back until the end of the block: a child whose start they cut off is nobody's."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread runs handlers
        return
    came: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        came.append(number)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)  # None: not set from Python
        for held in came:
            signal.raise_signal(held)


class Child:
    """One running ffmpeg, with a pipe into it or out of it and a thread that keeps the end of its stderr.

    It runs in a session of its own: Ctrl-C reaches the parent alone, which then decides. When the
    parent dies its pipe closes and ffmpeg ends by itself.
    """

    def __init__(self, arguments: list[str], *, feed: bool = False) -> None:
        """Start ffmpeg; `feed` opens `stdin` to write into, else `stdout` is there to read from."""
        exe = ffmpeg_exe()
        command = [exe, "-hide_banner", "-nostdin", *arguments]
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE if feed else subprocess.DEVNULL,
                stdout=subprocess.DEVNULL if feed else subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        except OSError as error:
            raise MarotteError(
                f"ffmpeg cannot be started from {exe}: {error.strerror}; reinstall imageio-ffmpeg"
                " or mend IMAGEIO_FFMPEG_EXE"
            ) from error
        self._lines: deque[str] = deque(maxlen=_LINES_KEPT)
        self._drain = threading.Thread(target=self._keep_stderr, name="ffmpeg-stderr", daemon=True)
        self._drain.start()

    @property
    def stdin(self) -> IO[bytes]:
        """The pipe into ffmpeg, of a child that was started with `feed`."""
        assert self._process.stdin is not None
        return self._process.stdin

    @property
    def stdout(self) -> IO[bytes]:
        """The pipe out of ffmpeg, of a child that was started without `feed`."""
        assert self._process.stdout is not None
        return self._process.stdout

    def end_input(self) -> None:
        """Close the pipe into ffmpeg, so that it finishes; one that is dead already says so in `wait`."""
        with contextlib.suppress(BrokenPipeError):
            self.stdin.close()

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit status; a child that outlives `timeout` seconds is killed."""
        try:
            status = self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            status = self._process.returncode
        self._drain.join(1.0)
        return status

    def kill(self) -> None:
        """Kill ffmpeg and close the pipes; harmless when it has ended."""
        kill(self._process)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()
        self._drain.join(1.0)

    @property
    def stderr_lines(self) -> list[str]:
        """The last lines that ffmpeg wrote to stderr."""
        return list(self._lines)

    def complaint(self) -> str:
        """Return, once it has ended, why: its exit status and the line of stderr that names the cause."""
        status = self._process.returncode
        if status is not None and status < 0:
            return f"ffmpeg was killed by signal {-status}: is there enough memory?"
        lines = [_TAGS.sub("", line) for line in self.stderr_lines]
        telling = [line for line in lines if line and not _AFTERMATH.match(line)] or lines or ["it gave no reason"]
        hint = "; free some space or write elsewhere" if "No space left" in telling[-1] else ""
        return f"ffmpeg ended with status {status}: {telling[-1]}{hint}"

    def _keep_stderr(self) -> None:
        assert self._process.stderr is not None
        with self._process.stderr as stderr:
            while line := stderr.readline(_LINE_BYTES):
                self._lines.append(line.decode("utf-8", "replace").rstrip())


@dataclass(frozen=True)
class Finished:
    """What a short run of ffmpeg left: its exit status, all of stdout and the end of stderr."""

    status: int
    stdout: bytes
    stderr_lines: list[str]
    complaint: str


def run_ffmpeg(arguments: list[str]) -> Finished:
    """Run ffmpeg to its end without input and return what it said; for output that fits in memory."""
    child = None
    try:
        with undisturbed():
            child = Child(arguments)
        stdout = child.stdout.read()
        status = child.wait()
    finally:
        if child:
            child.kill()
    return Finished(status, stdout, child.stderr_lines, child.complaint())
