"""Where numba keeps what it compiles, and how many threads it uses. Importing this imports no numba."""

import os
import sys
import tempfile
from pathlib import Path

from marotte.errors import MarotteError


def prepare() -> None:
    """Set numba up before it is imported: threads that wait without spinning, a cache that it can write.

    Threads that spin at the end of each kernel, as OpenMP's do by default, take the core that the
    encoder needs: on two busy cores that tripled the time of a frame.

    By default it writes beside the source, else under the home folder; where neither can be
    written (an installation of root's, a service without a home) it raises. Then a folder under
    the system's temporary one serves, for the life of the machine.
    """
    if "numba" in sys.modules:
        return
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if "NUMBA_CACHE_DIR" in os.environ:
        return
    package = Path(__file__).parent
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser())
    if not (_writable(package) or _writable(home)):
        folder = Path(tempfile.gettempdir()) / f"marotte-numba-{os.getuid() if hasattr(os, 'getuid') else 'user'}"
        folder.mkdir(mode=0o700, exist_ok=True)
        os.environ["NUMBA_CACHE_DIR"] = str(folder)


def limit_threads(count: int | None) -> None:
    """Let numba use at most `count` threads; None leaves its choice."""
    prepare()
    if count is None:
        return
    available = os.cpu_count() or 1
    if not count >= 1:
        raise MarotteError(f"{count} threads cannot work: give 1 or more")
    count = min(count, available)
    if "numba" in sys.modules:
        sys.modules["numba"].set_num_threads(min(count, sys.modules["numba"].config.NUMBA_NUM_THREADS))
    else:
        os.environ["NUMBA_NUM_THREADS"] = str(count)


def _writable(folder: Path) -> bool:
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return os.access(folder, os.W_OK)
