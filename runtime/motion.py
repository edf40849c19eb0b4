"""Motion: what a driver says the face does, frame by frame."""

from dataclasses import dataclass, fields, replace
from fractions import Fraction
from typing import Any

import numpy as np

from marotte.errors import MarotteError

WIDTH = 106
EXPRESSION = slice(0, 100)
HEAD = slice(100, 103)
JAW = slice(103, 106)

# What may travel beside the codes, with its width a frame.
EXTRAS = {"eyes": 6, "eyelids": 2, "neck": 3, "translation": 3}

BASES = ("flame2020", "flame2023", "arkit52")


@dataclass(frozen=True)
class Motion:
    """T frames of face motion in one expression basis.

    codes: [T, 106] float32: 0:100 expression coefficients, 100:103 head rotation, 103:106 jaw
        rotation, both as rotation vectors in radians (ARTalk's layout).
    fps: frames a second, exact.
    basis: the space of the expression coefficients: one of `BASES`.
    eyes: [T, 6] rotation vectors in radians, left eye then right; eyelids: [T, 2] left, right,
        0 open to 1 shut; neck: [T, 3] rotation vector; translation: [T, 3] metres. None where the
        source says nothing about them.

    Raises MarotteError when an array has the wrong shape or holds a value that is not finite.
    """

    codes: np.ndarray
    fps: Fraction
    basis: str
    eyes: np.ndarray | None = None
    eyelids: np.ndarray | None = None
    neck: np.ndarray | None = None
    translation: np.ndarray | None = None

    def __post_init__(self) -> None:
        if self.basis not in BASES:
            raise MarotteError(f"motion basis {self.basis!r} is unknown: use one of {', '.join(BASES)}")
        object.__setattr__(self, "fps", Fraction(self.fps))
        if self.fps <= 0:
            raise MarotteError(f"motion frame rate {self.fps} is not above 0")
        self._check("codes", WIDTH)
        for name, width in EXTRAS.items():
            if getattr(self, name) is not None:
                self._check(name, width)

    def _check(self, name: str, width: int) -> None:
        array = np.ascontiguousarray(getattr(self, name), dtype=np.float32)
        frames = len(self.codes) if name != "codes" else len(array) if array.ndim else 0
        if array.shape != (frames, width):
            raise MarotteError(f"motion {name} has shape {list(array.shape)}, expected [{frames or 'frames'}, {width}]")
        if not np.isfinite(array).all():
            frame = int(np.argwhere(~np.isfinite(array))[0, 0])
            raise MarotteError(f"motion {name} holds a value that is not finite at frame {frame}: repair the source")
        array.flags.writeable = False
        object.__setattr__(self, name, array)

    def __len__(self) -> int:
        return len(self.codes)

    def __getitem__(self, frames: slice) -> "Motion":
        """Return the frames of a slice as a motion."""
        cut: dict[str, Any] = {n: None if (a := getattr(self, n)) is None else a[frames] for n in EXTRAS}
        return replace(self, codes=self.codes[frames], **cut)

    @property
    def expression(self) -> np.ndarray:
        """[T, 100] expression coefficients."""
        return self.codes[:, EXPRESSION]

    @property
    def head(self) -> np.ndarray:
        """[T, 3] head rotation vectors in radians."""
        return self.codes[:, HEAD]

    @property
    def jaw(self) -> np.ndarray:
        """[T, 3] jaw rotation vectors in radians; the first component opens the jaw."""
        return self.codes[:, JAW]

    @property
    def extras(self) -> dict[str, np.ndarray]:
        """The extras that this motion has."""
        return {name: array for name in EXTRAS if (array := getattr(self, name)) is not None}

    @property
    def duration(self) -> Fraction:
        """Seconds."""
        return len(self) / self.fps


def empty(fps: Fraction, basis: str) -> Motion:
    """Return a motion of no frames."""
    return Motion(np.zeros((0, WIDTH), np.float32), fps, basis)


def concatenate(parts: list[Motion]) -> Motion:
    """Join motions of one rate and basis; an extra that only some parts have is zero in the others."""
    first = parts[0]
    for part in parts[1:]:
        if (part.fps, part.basis) != (first.fps, first.basis):
            raise MarotteError(
                f"cannot join motion at {part.fps} fps in {part.basis} to motion at {first.fps} fps in {first.basis}"
            )
    joined: dict[str, Any] = dict.fromkeys(EXTRAS)
    for name, width in EXTRAS.items():
        if any(getattr(part, name) is not None for part in parts):
            zeros = [np.zeros((len(part), width), np.float32) for part in parts]
            joined[name] = np.concatenate(
                [z if (a := getattr(p, name)) is None else a for p, z in zip(parts, zeros, strict=True)]
            )
    return replace(first, codes=np.concatenate([part.codes for part in parts]), **joined)


assert {f.name for f in fields(Motion)} == {"codes", "fps", "basis", *EXTRAS}
