"""Bell: how the studio's threads wake a coroutine, however often they ring."""

import asyncio
import threading


class Bell:
    """Rung on any thread, waited for on the loop that made it. Rings that nobody waited for count as one."""

    def __init__(self) -> None:
        self._loop, self._event = asyncio.get_running_loop(), asyncio.Event()
        self._lock = threading.Lock()
        self._rung = False

    def ring(self) -> None:
        """Wake whoever waits, or will."""
        with self._lock:
            if self._rung:
                return
            self._rung = True
        try:
            self._loop.call_soon_threadsafe(self._event.set)
        except RuntimeError:  # the loop is closed: nobody waits any more
            return

    async def wait(self) -> None:
        """Return once it was rung."""
        await self._event.wait()
        with self._lock:
            self._event.clear()
            self._rung = False
