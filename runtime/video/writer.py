"""A thread that writes batches of frames while the next ones are rendered."""

import threading
from collections import deque
from collections.abc import Callable

from marotte.runtime.frames import Frames

QUEUE_BYTES = 64 * 2**20


class BackgroundWriter:
    """Hands batches to `consume`, one after the other, in a thread of its own.

    The queue is bounded by the bytes of the batches that wait or are being consumed; its policy is
    to block: `put` waits until the batch fits, and a batch larger than the bound waits for an empty
    queue. The first exception of `consume` ends the thread and is raised by `put` and `finish`.
    """

    def __init__(self, consume: Callable[[Frames], None], limit_bytes: int = QUEUE_BYTES) -> None:
        self._consume = consume
        self._limit = limit_bytes
        self._batches: deque[Frames] = deque()
        self._changed = threading.Condition()
        self._pending = 0
        self._ending = False
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="frame-writer", daemon=True)
        self._thread.start()

    @property
    def pending_bytes(self) -> int:
        """Bytes of pixels that were put and are not consumed yet."""
        return self._pending

    def put(self, frames: Frames) -> None:
        """Queue a batch; blocks while it does not fit, raises what `consume` raised."""
        size = frames.pixels.nbytes
        with self._changed:
            self._changed.wait_for(lambda: self._error or self._pending == 0 or self._pending + size <= self._limit)
            if self._error:
                raise self._error
            self._batches.append(frames)
            self._pending += size
            self._changed.notify_all()

    def finish(self) -> None:
        """Wait until everything is consumed; raises what `consume` raised."""
        with self._changed:
            self._ending = True
            self._changed.notify_all()
        self._thread.join()
        if self._error:
            raise self._error

    def cancel(self) -> None:
        """Drop what waits and end the thread; the caller has seen to it that `consume` does not block."""
        with self._changed:
            self._batches.clear()
            self._ending = True
            self._changed.notify_all()
        self._thread.join()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._batches or self._ending)
                if not self._batches:
                    return
                frames = self._batches.popleft()
            try:
                self._consume(frames)
            except BaseException as error:
                with self._changed:
                    self._error = error
                    self._changed.notify_all()
                return
            with self._changed:
                self._pending -= frames.pixels.nbytes
                self._changed.notify_all()
