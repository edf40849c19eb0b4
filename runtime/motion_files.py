"""Motion on disk: our own `.npz`, ARTalk's `.pt` and `.npy` tensors, Live Link Face's CSV, face trackers' files."""

import json
import os
import warnings
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from marotte.errors import MarotteError, MarotteWarning
from marotte.runtime.clock import as_fps
from marotte.runtime.motion import EXTRAS, WIDTH, Motion
from marotte.runtime.whole_file import check_place, written_whole

FORMAT = "marotte-motion-1"
SUFFIXES = (".npz", ".npy", ".pt", ".csv")
# Of face trackers' files; folders of theirs are read too.
TRACKS = (".json", ".frame")
WRITTEN = (".npz", ".pt")

# What a bare [T, 106] array means where nobody says otherwise: ARTalk's output.
BARE_BASIS = "flame2020"
BARE_FPS = Fraction(25)


@dataclass(frozen=True)
class MotionFile:
    """A motion and what its file says about it (`driver`, `audio`, notes on what was assumed)."""

    motion: Motion
    about: dict[str, Any] = field(default_factory=dict)


def check_format(path: str | Path, basis: str | None = None) -> None:
    """Raise MarotteError where no motion, or none in `basis`, can be written under this name."""
    suffix = Path(path).suffix
    if suffix not in WRITTEN:
        raise MarotteError(f"motion file {path} must end in {' or '.join(WRITTEN)}")
    if suffix == ".pt" and basis is not None and not basis.startswith("flame"):
        raise MarotteError(
            f"motion file {path} cannot hold {basis}: ARTalk's .pt is a bare tensor that is read as FLAME's "
            "expressions; write .npz"
        )


def save_motion(path: str | Path, motion: Motion, about: dict[str, Any] | None = None) -> None:
    """Write a motion as our own `.npz`, or as ARTalk's `.pt`; it appears under its name only when it is whole.

    ARTalk's is a bare float32 tensor [F, 106], for motion in a basis of FLAME's. It has no place for extras, for
    another rate than 25 fps or basis than flame2020, nor for `about`: a MarotteWarning names what is lost of the
    motion. Raises MarotteError.
    """
    path = Path(path)
    check_format(path, motion.basis)
    if path.suffix == ".pt":
        from marotte.models.torch_writer import write_torch

        check_place(path)
        _note_loss(path, motion)
        write_torch(path, motion.codes)
        return
    header = {
        "format": FORMAT,
        "basis": motion.basis,
        "fps": f"{motion.fps.numerator}/{motion.fps.denominator}",
        "about": about or {},
    }
    arrays: dict[str, Any] = {"codes": motion.codes, **motion.extras}
    with written_whole(path) as part, part.open("wb") as file:
        np.savez_compressed(file, header=np.array(json.dumps(header)), **arrays)


def _note_loss(path: Path, motion: Motion) -> None:
    """Warn of what a bare tensor does not say."""
    lost = list(motion.extras)
    if motion.fps != BARE_FPS:
        lost.append(f"its rate (read it with --fps {motion.fps})")
    if motion.basis != BARE_BASIS:
        lost.append(f"its basis (read it with --basis {motion.basis})")
    if lost:
        warnings.warn(f"{path} holds no more than the codes; left out: {', '.join(lost)}", MarotteWarning, stacklevel=3)


def read_motion(path: str | Path, *, basis: str | None = None, fps: str | float | Fraction | None = None) -> MotionFile:
    """Read a motion of any known format.

    A folder, a `.json` or a `.frame` is a face tracker's (`marotte.runtime.motion_tracks`).
    basis, fps: needed only where the file does not say them: a bare array is taken as ARTalk's
    (`flame2020`, 25 fps) and `about` notes the assumption. They cannot overrule what a file says.
    """
    path = Path(path)
    if not os.path.exists(path):
        raise MarotteError(f"there is no motion file {path}")
    rate = None if fps is None else as_fps(fps)
    if path.is_dir() or path.suffix in TRACKS:
        from marotte.runtime.motion_tracks import read_track_motion

        motion, about = read_track_motion(path, rate, BARE_FPS)
        _agree(path, "basis", basis, motion.basis)
        return MotionFile(motion, about)
    if path.suffix == ".csv":
        from marotte.runtime.live_link import read_live_link

        _agree(path, "basis", basis, "arkit52")
        return MotionFile(read_live_link(path, fps=rate), {"source": "Live Link Face CSV"})
    if path.suffix == ".npz":
        return _read_npz(path, basis, rate)
    if path.suffix in (".npy", ".pt"):
        return _bare(path, _read_bare(path), basis, rate)
    raise MarotteError(f"motion file {path} ends in {path.suffix!r}; known are {', '.join((*SUFFIXES, *TRACKS))}")


def _read_npz(path: Path, basis: str | None, fps: Fraction | None) -> MotionFile:
    from marotte.models.safe_files import read_npz

    arrays = read_npz(path)
    if "header" not in arrays:
        if "codes" in arrays:
            return _bare(path, arrays["codes"], basis, fps)
        raise MarotteError(f"{path} is no motion: it has no array `codes`, only {', '.join(arrays) or 'nothing'}")
    try:
        header = json.loads(str(arrays["header"]))
        # First, because a newer format may say the rest in another way.
        if header["format"] != FORMAT:
            raise MarotteError(f"{path} is of format {header['format']!r}, this version reads {FORMAT}: update marotte")
        says_basis, says_fps, about = header["basis"], Fraction(header["fps"]), dict(header.get("about", {}))
        codes = arrays["codes"]
    except (ValueError, KeyError, TypeError, ZeroDivisionError) as error:
        what = f"it lacks {error}" if isinstance(error, KeyError) else error
        raise MarotteError(f"{path} is damaged ({what}): write it again with `marotte drive`") from error
    _agree(path, "basis", basis, says_basis)
    _agree(path, "frame rate", fps, says_fps)
    return MotionFile(_motion(path, codes, says_fps, says_basis, {n: arrays[n] for n in EXTRAS if n in arrays}), about)


def _agree(path: Path, name: str, asked: object, says: object) -> None:
    if asked is not None and asked != says:
        raise MarotteError(f"{path} says that its {name} is {says}, which {asked} cannot overrule")


def _motion(path: Path, codes: np.ndarray, fps: Fraction, basis: str, extras: dict[str, np.ndarray]) -> Motion:
    """Return the motion, or the reason why there is none with the file's name before it."""
    try:
        return Motion(codes, fps, basis, **extras)
    except (MarotteError, ValueError) as error:  # ValueError: text where numbers should be
        raise MarotteError(f"{path}: {error}") from error


def _read_bare(path: Path) -> np.ndarray:
    from marotte.models.safe_files import read_torch

    if path.suffix == ".pt":
        value = read_torch(path)
        if not isinstance(value, np.ndarray):
            raise MarotteError(
                f"{path} holds a {type(value).__name__}, not one tensor [T, {WIDTH}]; "
                "of a face tracker's recording name the folder"
            )
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
    return MotionFile(_motion(path, codes, fps or BARE_FPS, basis or BARE_BASIS, {}), about)
