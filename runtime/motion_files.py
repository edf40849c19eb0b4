"""Motion on disk: our own `.npz`, ARTalk's `.pt` and `.npy` tensors, Live Link Face's CSV."""

import json
import os
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from marotte.errors import MarotteError
from marotte.runtime.clock import as_fps
from marotte.runtime.motion import EXTRAS, WIDTH, Motion

FORMAT = "marotte-motion-1"
SUFFIXES = (".npz", ".npy", ".pt", ".csv")

# What a bare [T, 106] array means where nobody says otherwise: ARTalk's output.
BARE_BASIS = "flame2020"
BARE_FPS = Fraction(25)


@dataclass(frozen=True)
class MotionFile:
    """A motion and what its file says about it (`driver`, `audio`, notes on what was assumed)."""

    motion: Motion
    about: dict[str, Any] = field(default_factory=dict)


def save_motion(path: str | Path, motion: Motion, about: dict[str, Any] | None = None) -> None:
    """Write a motion as `.npz`; the file appears under its name only when it is whole."""
    path = Path(path)
    if path.suffix != ".npz":
        raise MarotteError(f"motion file {path} must end in .npz")
    if not path.parent.is_dir():
        raise MarotteError(f"cannot write {path}: there is no folder {path.parent}")
    header = {
        "format": FORMAT,
        "basis": motion.basis,
        "fps": f"{motion.fps.numerator}/{motion.fps.denominator}",
        "about": about or {},
    }
    part = path.with_name(path.name + ".part")
    try:
        with part.open("wb") as file:
            arrays: dict[str, Any] = {"codes": motion.codes, **motion.extras}
            np.savez_compressed(file, header=np.array(json.dumps(header)), **arrays)
        os.replace(part, path)
    except OSError as error:
        raise MarotteError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        part.unlink(missing_ok=True)


def read_motion(path: str | Path, *, basis: str | None = None, fps: str | float | Fraction | None = None) -> MotionFile:
    """Read a motion of any known format.

    basis, fps: needed only where the file does not say them: a bare array is taken as ARTalk's
    (`flame2020`, 25 fps) and `about` notes the assumption. They cannot overrule what a file says.
    """
    path = Path(path)
    if not path.is_file():
        raise MarotteError(f"there is no motion file {path}")
    rate = None if fps is None else as_fps(fps)
    if path.suffix == ".csv":
        from marotte.runtime.live_link import read_live_link

        return MotionFile(read_live_link(path, fps=rate), {"source": "Live Link Face CSV"})
    if path.suffix == ".npz":
        return _read_npz(path, basis, rate)
    if path.suffix in (".npy", ".pt"):
        return _bare(path, _read_bare(path), basis, rate)
    raise MarotteError(f"motion file {path} ends in {path.suffix!r}; known are {', '.join(SUFFIXES)}")


def _read_npz(path: Path, basis: str | None, fps: Fraction | None) -> MotionFile:
    from marotte.models.safe_files import read_npz

    arrays = read_npz(path)
    if "header" not in arrays:
        if "codes" in arrays:
            return _bare(path, arrays["codes"], basis, fps)
        raise MarotteError(f"{path} is no motion: it has no array `codes`, only {', '.join(arrays) or 'nothing'}")
    try:
        header = json.loads(str(arrays["header"]))
        known = header["format"] == FORMAT
        says_basis, says_fps, about = header["basis"], Fraction(header["fps"]), dict(header.get("about", {}))
    except (ValueError, KeyError, TypeError, ZeroDivisionError) as error:
        raise MarotteError(f"{path} has a damaged header ({error}); write it again with `marotte drive`") from error
    if not known:
        raise MarotteError(f"{path} is of format {header['format']!r}, this version reads {FORMAT}: update marotte")
    for name, asked, says in (("basis", basis, says_basis), ("frame rate", fps, says_fps)):
        if asked is not None and asked != says:
            raise MarotteError(f"{path} says that its {name} is {says}, which {asked} cannot overrule")
    motion = Motion(arrays["codes"], says_fps, says_basis, **{n: arrays[n] for n in EXTRAS if n in arrays})
    return MotionFile(motion, about)


def _read_bare(path: Path) -> np.ndarray:
    from marotte.models.safe_files import read_torch

    if path.suffix == ".pt":
        value = read_torch(path)
        if not isinstance(value, np.ndarray):
            raise MarotteError(f"{path} holds a {type(value).__name__}, not one tensor [T, {WIDTH}]")
        return value
    try:
        return np.load(path, allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise MarotteError(f"{path} is not a plain .npy array ({error})") from error


def _bare(path: Path, codes: np.ndarray, basis: str | None, fps: Fraction | None) -> MotionFile:
    if codes.ndim == 3 and len(codes) == 1:
        codes = codes[0]
    if codes.ndim != 2 or codes.shape[1] != WIDTH or codes.dtype.kind not in "fiu":
        raise MarotteError(
            f"{path} holds {codes.dtype} {list(codes.shape)}, not motion [frames, {WIDTH}] "
            "(100 expression, 3 head rotation, 3 jaw)"
        )
    about = {}
    if basis is None:
        about["assumed basis"] = BARE_BASIS
    if fps is None:
        about["assumed fps"] = str(BARE_FPS)
    return MotionFile(Motion(codes, fps or BARE_FPS, basis or BARE_BASIS), about)
