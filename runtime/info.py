"""What this installation has: versions, devices, plug-ins, and why one is not available."""

import os
import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version

import marotte
from marotte.runtime.avatar import avatar_folders
from marotte.runtime.registry import GROUPS, status

_LIBRARIES = ("numpy", "numba", "scipy", "librosa", "soundfile", "imageio-ffmpeg")
# What the extras bring.
OPTIONAL = ("torch", "triton", "transformers", "huggingface-hub", "gsplat", "lpips")


def gather() -> dict[str, dict[str, str]]:
    """Return sections of name -> value, all text."""
    facts = {
        "marotte": {
            "version": marotte.__version__,
            "python": f"{platform.python_version()} ({sys.executable})",
            "system": f"{platform.system()} {platform.machine()}",
        },
        "libraries": {name: _version(name) for name in (*_LIBRARIES, *OPTIONAL)} | {"ffmpeg": _ffmpeg()},
        "devices": {"cpu": f"{processor()}, {cores()} threads", "cuda": cuda()},
    }
    for kind in GROUPS:
        heading = kind if kind.endswith("s") else f"{kind}s"
        facts[heading] = {name: why or "available" for name, why in status(kind).items()} or {"none": "none registered"}
    facts["avatars"] = {name: str(folder) for name, folder in avatar_folders().items()}
    return facts


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed (not needed by the default path)" if name in OPTIONAL else "not installed"


def _ffmpeg() -> str:
    try:
        import imageio_ffmpeg

        return f"{imageio_ffmpeg.get_ffmpeg_version()} ({imageio_ffmpeg.get_ffmpeg_exe()})"
    except (ImportError, RuntimeError, OSError, subprocess.SubprocessError) as error:
        return f"not available: {error}"


def cores() -> int:
    """Return how many threads this process may run at once."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def processor() -> str:
    """Return the processor's name."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            names = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()


def cuda() -> str:
    """Return the names of the CUDA devices, or why there are none; imports torch where it is installed."""
    if _version("torch").startswith("not"):
        return "not available: torch is not installed"
    import torch

    if not torch.cuda.is_available():
        return f"not available: torch {torch.__version__} finds no CUDA device"
    return ", ".join(torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count()))
