"""A Python module as a process of its own that answers questions: JSON lines in, JSON lines out."""

import json
import queue
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import IO, Any


class LostError(Exception):
    """There is no answer; the text says why."""


class Process:
    """The process. began: when it was started, by `time.monotonic`, which processes share.

    errors: where its standard error goes, a file that can be read again.
    """

    def __init__(self, module: str, errors: IO[bytes]) -> None:
        self._errors = errors
        self._answers: queue.SimpleQueue[str] = queue.SimpleQueue()
        self.began = time.monotonic()
        self._process = subprocess.Popen(
            [sys.executable, "-m", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            encoding="utf-8",
        )
        threading.Thread(target=self._read, args=(self._process.stdout,), daemon=True).start()

    def ask(self, content: Mapping[str, Any], timeout: float) -> dict[str, Any]:
        """Return the answer. Raises LostError where there is none in time, or it says that the work failed."""
        assert self._process.stdin is not None
        try:
            with suppress(BrokenPipeError):  # why it ended is read below
                self._process.stdin.write(json.dumps(content) + "\n")
                self._process.stdin.flush()
            line = self._answers.get(timeout=timeout)
        except queue.Empty:
            self.close()
            raise LostError(f"its process did not answer within {timeout:.0f} s and was ended") from None
        if not line:
            raise LostError(self._why())
        answer = json.loads(line)
        if "failed" in answer:
            raise LostError(answer["failed"])
        return dict(answer)

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()
        assert self._process.stdin is not None
        with suppress(OSError):  # what it did not read
            self._process.stdin.close()

    def _read(self, lines: IO[str]) -> None:
        with lines:
            for line in lines:
                self._answers.put(line)
        self._answers.put("")

    def _why(self) -> str:
        self._process.wait()
        self._errors.seek(0)
        said = self._errors.read().decode("utf-8", "replace").split("\n")
        last = next((" ".join(line.split()) for line in reversed(said) if line.strip()), "it said nothing")
        return f"its process ended with {self._process.returncode} ({last[:200]})"


@contextmanager
def answering(module: str) -> Iterator[Process]:
    """Yield the process of a module, which ends with the block."""
    with tempfile.TemporaryFile() as errors:
        process = Process(module, errors)
        try:
            yield process
        finally:
            process.close()
