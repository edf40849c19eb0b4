"""What a waiting person sees: a bar of frames, and a word about work that only the first run does."""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

# A warm start is over by then, so that the word comes only when the wait is long.
_PATIENCE = 2.0


class FrameBar:
    """A tqdm bar fed with absolute counts; silent where standard error is no terminal."""

    def __init__(self, label: str, *, quiet: bool = False) -> None:
        from tqdm import tqdm

        self._bar = tqdm(desc=label, unit=" frames", disable=True if quiet else None, leave=False, dynamic_ncols=True)

    def __call__(self, done: int, total: int | None) -> None:
        """Show `done` of `total` frames."""
        self._bar.total = total
        self._bar.update(done - self._bar.n)

    def close(self) -> None:
        """Clear the line."""
        self._bar.close()


@contextmanager
def announce_slow(what: str) -> Iterator[None]:
    """Say after a moment that `what` takes its time on this machine's first run."""
    timer = threading.Timer(
        _PATIENCE,
        lambda: print(
            f"marotte: note: {what}: the first run on a machine compiles, up to 40 s, and keeps it",
            file=sys.stderr,
            flush=True,
        ),
    )
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
