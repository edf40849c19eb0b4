"""Which device pictures are drawn on: CUDA where there is all that it needs, else the CPU. Importing this is cheap."""

import os
import sys
from ctypes.util import find_library
from importlib.util import find_spec
from pathlib import Path

from marotte.errors import MarotteError, unknown_name
from marotte.renderers.rasterizers import backends

DEVICES = ("auto", "cpu", "cuda")

# What NVIDIA's driver leaves in the file system; the last is Windows' subsystem for Linux.
_DRIVER_FILES = ("/proc/driver/nvidia/version", "/dev/nvidiactl", "/dev/nvidia0", "/dev/dxg")


def choose_device(device: str, rasterizer: str) -> tuple[str, str]:
    """Return the device, `cpu` or `cuda`, and the rasterizer to use there, for names that may be `auto`.

    The name of a rasterizer implies its device. Raises MarotteError for unknown names, for two that do not go
    together, and where what is asked for is not there.
    """
    if device not in DEVICES:
        raise unknown_name("device", device, DEVICES)
    if rasterizer not in ("auto", *backends.BACKENDS):
        raise unknown_name("rasterizer", rasterizer, ("auto", *backends.BACKENDS))
    implied = "" if rasterizer == "auto" else _home(rasterizer)
    wanted, on_cpu = implied or device, rasterizer if implied else backends.choose(None)
    if implied and device not in ("auto", implied):
        others = ", ".join(name for name in backends.BACKENDS if _home(name) == device)
        raise MarotteError(
            f"rasterizer {rasterizer!r} draws on device {implied!r}, not on {device!r}: name one of {others}, or leave "
            "one of the two out"
        )
    if wanted == "cpu":
        return "cpu", on_cpu
    if reason := why_no_cuda(thorough=wanted == "cuda"):
        if wanted == "auto":
            return "cpu", on_cpu
        name = f"rasterizer {rasterizer!r}" if implied else "device 'cuda'"
        raise MarotteError(f"{name} cannot be used here: {reason}; leave it out to draw on the CPU")
    if implied:
        backends.check(rasterizer)
        return "cuda", rasterizer
    import torch

    try:
        return "cuda", backends.choose(torch.device("cuda"))
    except MarotteError:
        if wanted == "cuda":
            raise
        return "cpu", on_cpu


def _home(rasterizer: str) -> str:
    """Return the device that a rasterizer draws on."""
    return "cuda" if backends.backend(rasterizer).module else "cpu"


def why_no_cuda(thorough: bool = True) -> str:
    """Return "" where torch has a CUDA device, else one line that says why not.

    thorough: off, a machine without any trace of NVIDIA's driver is believed to have none, and torch, which takes
    seconds to import, is left alone.
    """
    if find_spec("torch") is None:
        return "torch is not installed (pip install 'marotte[cuda]')"
    if not thorough and not _driver_traces():
        return "there is no trace of NVIDIA's driver"
    import torch

    if not torch.cuda.is_available():
        return f"torch {torch.__version__} finds no CUDA device"
    return ""


def _driver_traces() -> bool:
    if os.environ.get("CUDA_VISIBLE_DEVICES", "all").strip() in ("", "-1"):
        return False
    if any(Path(file).exists() for file in _DRIVER_FILES):
        return True
    return sys.platform == "win32" and find_library("nvcuda") is not None
