"""Bell: how the studio's threads wake a coroutine, however often they ring."""

import asyncio
import threading


class Bell:
    """Rung on any thread, waited for by one coroutine, on the loop that made it. Rings that nobody waited for count as
    one, and cost the loop nothing."""

    def __init__(self) -> None:
        self._loop, self._event = asyncio.get_running_loop(), asyncio.Event()
        self._lock = threading.Lock()
        self._rung = self._awaited = False

    def ring(self) -> None:
        """Wake whoever waits, or will."""
        with self._lock:
            wake, self._rung = self._awaited and not self._rung, True
        if wake:
            try:
                self._loop.call_soon_threadsafe(self._event.set)
            except RuntimeError:  # the loop is closed: nobody waits any more
                return

    async def wait(self) -> None:
        """Return once it was rung."""
        with self._lock:
            self._awaited = not self._rung
        try:
            if self._awaited:
                await self._event.wait()
        finally:
            with self._lock:
                self._event.clear()
                self._rung = self._awaited = False
