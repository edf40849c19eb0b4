"""The only place where live code reads a clock; tests and simulations bring their own."""

import time
from typing import Protocol


class Clock(Protocol):
    """Seconds that never go back."""

    def now(self) -> float:
        """Return them."""
        ...


class RealClock:
    """The machine's monotonic clock."""

    def now(self) -> float:
        """Return its seconds."""
        return time.monotonic()


class SimulatedClock:
    """A clock that stands still until it is moved."""

    def __init__(self, start: float = 0.0) -> None:
        self._now = start

    def now(self) -> float:
        """Return the time that it was moved to."""
        return self._now

    def advance(self, seconds: float) -> None:
        """Move it."""
        self._now += seconds
