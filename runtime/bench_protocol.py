"""The protocol that every speed figure here is measured by, in words and in parts, and the circumstances of a run."""

import os
import platform
import re
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

import marotte
from marotte.runtime.info import OPTIONAL, cores, cuda, processor

PROTOCOL = (
    "after warm-up; CPU-ms: process time at one thread; wall-ms: at all threads; medians, 95th and 99th percentiles of "
    "frames; the device is waited for at the start and at the end of what is timed, not between frames; what is "
    "compared is measured in turns, or beside a yardstick that shows how fast the machine itself was"
)

_YARDSTICK = np.random.default_rng(0).standard_normal(20000).astype(np.float32)


def circumstances() -> dict[str, Any]:
    """Return what a figure depends on besides the code: hardware, versions, commit, and the load of the last minute."""
    hardware: dict[str, Any] = {"cpu": processor(), "threads": cores(), "memory_gib": _memory_gib()}
    if "torch" in sys.modules:
        hardware["cuda"] = cuda()
        if driver := _nvidia_driver():
            hardware["driver"] = driver
    return {
        "hardware": hardware,
        "versions": {
            "marotte": marotte.__version__,
            "python": platform.python_version(),
            "system": f"{platform.system()} {platform.release()}",
            **{name: version(name) for name in ("numpy", "numba")},
            **{name: version(name) for name in OPTIONAL if name in sys.modules},
        },
        "commit": commit(),
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
    }


def commit() -> str:
    """Return the checkout's commit, with `+` where files differ from it; empty outside a checkout."""
    command = ["git", "describe", "--always", "--dirty=+", "--abbrev=10", "--exclude=*"]
    here = Path(__file__).parent
    try:
        return subprocess.run(command, cwd=here, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


def synchronise() -> None:
    """Wait for the CUDA device, where this process uses one."""
    torch = sys.modules.get("torch")
    if torch and torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.synchronize()


def yardstick() -> float:
    """Return CPU-ms of a fixed piece of work (the median of five): how fast the machine is just now."""
    spent = []
    for _ in range(5):
        begin = time.process_time()
        for _ in range(60):
            np.exp(np.sort(_YARDSTICK)).sum()
        spent.append((time.process_time() - begin) * 1e3)
    return float(np.median(spent))


class Threads:
    """So many threads of numba and torch inside the block; None for all."""

    def __init__(self, count: int | None) -> None:
        self._count = count

    def __enter__(self) -> None:
        self._before = {}
        if numba := sys.modules.get("numba"):
            self._before["numba"] = numba.get_num_threads()
            numba.set_num_threads(min(self._count or numba.config.NUMBA_NUM_THREADS, numba.config.NUMBA_NUM_THREADS))
        if torch := sys.modules.get("torch"):
            self._before["torch"] = torch.get_num_threads()
            torch.set_num_threads(self._count or cores())

    def __exit__(self, *_: object) -> None:
        for name, count in self._before.items():
            sys.modules[name].set_num_threads(count)


def _memory_gib() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (AttributeError, ValueError, OSError):
        return None


def _nvidia_driver() -> str:
    try:
        words = Path("/proc/driver/nvidia/version").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    found = re.search(r"\b\d{3,}(\.\d+)+", words)
    return found[0] if found else ""
