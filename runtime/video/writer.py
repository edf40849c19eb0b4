"""A thread that writes batches of frames while the next ones are rendered."""

import threading
from collections.abc import Callable
from queue import SimpleQueue

from marotte.runtime.frames import Frames

QUEUE_BYTES = 64 * 2**20


class BackgroundWriter:
    """Hands batches to `consume`, one after the other, in a thread of its own.

    The queue is bounded by the bytes of the batches that wait or are being consumed; its policy is
    to block: `put` waits until the batch fits, and a batch larger than the bound waits for an empty
    queue. The first exception of `consume` ends the thread and is raised by `put` and `finish`.

    Ctrl-C may interrupt it anywhere, so the threads share nothing but two queues that are written
    in C: a `threading.Condition` interrupted at its entry stays locked for good.
    """

    def __init__(self, consume: Callable[[Frames], None], limit_bytes: int = QUEUE_BYTES) -> None:
        self._consume = consume
        self._limit = limit_bytes
        self._batches: SimpleQueue[Frames | None] = SimpleQueue()  # None: no more come
        self._outcomes: SimpleQueue[int | BaseException] = SimpleQueue()  # bytes that were consumed
        self._pending = 0
        self._cancelled = False
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="frame-writer", daemon=True)
        self._thread.start()

    @property
    def pending_bytes(self) -> int:
        """Bytes of pixels that were put and, as far as `put` and `finish` have heard, are not consumed yet."""
        return self._pending

    def put(self, frames: Frames) -> None:
        """Queue a batch; blocks while it does not fit, raises what `consume` raised."""
        size = frames.pixels.nbytes
        while not self._outcomes.empty() or (self._pending and self._pending + size > self._limit):
            self._hear()
        if self._error:
            raise self._error
        self._pending += size
        self._batches.put(frames)

    def finish(self) -> None:
        """Wait until everything is consumed; raises what `consume` raised."""
        self._batches.put(None)
        self._thread.join()
        while not self._outcomes.empty():
            self._hear()
        if self._error:
            raise self._error

    def cancel(self) -> None:
        """Drop what waits and end the thread; the caller has seen to it that `consume` does not block."""
        self._cancelled = True
        self._batches.put(None)
        self._thread.join()

    def _hear(self) -> None:
        outcome = self._outcomes.get()
        if isinstance(outcome, int):
            self._pending -= outcome
        else:
            self._error = outcome
            self._pending = 0

    def _run(self) -> None:
        while (frames := self._batches.get()) is not None and not self._cancelled:
            try:
                self._consume(frames)
            except BaseException as error:
                self._outcomes.put(error)
                return
            self._outcomes.put(frames.pixels.nbytes)
