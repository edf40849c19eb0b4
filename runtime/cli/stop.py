"""Ctrl-C and SIGTERM: the work unwinds, so that half-written files go and child processes end."""

import math
import os
import signal
import sys
import threading
import time
from types import FrameType
from typing import Any

CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}

# Tidying up is not disturbed by an impatient second Ctrl-C, unless it takes longer than this.
_TIDYING = 3.0
_AGAIN = 0.05


class Stopped(KeyboardInterrupt):
    """A stop is asked for. Where KeyboardInterrupt itself passes through exec(), Python ends as if SIGINT killed it."""


class Stop:
    """Turns these signals into Stopped. `code` is the exit code of the one that came, else 0."""

    def __init__(self) -> None:
        self.code = 0
        self._raised = -math.inf
        for number in CODES:
            # A shell has commands in its background ignore Ctrl-C.
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._raise)
        sys.unraisablehook = self._dropped

    def ignore_more(self) -> None:
        """Let the process end with its own exit code, whatever still comes."""
        for number in CODES:
            signal.signal(number, signal.SIG_IGN)

    def _raise(self, number: int, frame: FrameType | None) -> None:
        self.code = self.code or CODES[signal.Signals(number)]
        if time.monotonic() - self._raised > _TIDYING:
            self._raised = time.monotonic()
            raise Stopped

    def _dropped(self, what: Any) -> None:
        """Ask again a moment later where nobody got the exception, as in a callback from LLVM.

        What an object says that the stop left half made, as llvmlite's do, is nobody's concern.
        """
        if what.exc_type is not Stopped:
            if not self.code:
                sys.__unraisablehook__(what)
            return
        self._raised = -math.inf
        again = threading.Timer(_AGAIN, os.kill, [os.getpid(), signal.SIGINT])
        again.daemon = True
        again.start()
