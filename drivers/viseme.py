"""Viseme: a small network hears which phones are spoken, phonetics says what lips and jaw do for them.

The network is `marotte.models.viseme.network`; what its phones do to a mouth is written down in `articulation`, how
they blend in `coarticulation`, and what a face makes of it in `face`, all beside it.
"""

from collections.abc import Mapping
from dataclasses import fields
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from marotte.errors import MarotteError, unknown_name
from marotte.models.viseme.coarticulation import AHEAD, Coarticulation, Postures
from marotte.models.viseme.face import Style, actions
from marotte.models.viseme.network import LOOKAHEAD, RATE, ROW, WEIGHTS, Rows, VisemeNetwork
from marotte.runtime.arkit import JAW_OPEN, SLOT
from marotte.runtime.contracts import Driver, DriverStream
from marotte.runtime.motion import JAW, WIDTH, Motion, concatenate

# The largest value of each number among the options; the smallest is 0.
_LARGEST = {"articulation": 2, "smile": 1, "happy": 1, "sad": 1}


class Listener(Protocol):
    """One speaker's sound to rows: `VisemeStream`, or what stands in for it."""

    def feed(self, samples: np.ndarray) -> Rows:
        """As `VisemeStream.feed`."""

    def finish(self) -> Rows:
        """As `VisemeStream.finish`."""

    def reset(self) -> None:
        """As `VisemeStream.reset`."""


class Network(Protocol):
    """What opens listeners: `VisemeNetwork`, or what stands in for it."""

    def open(self) -> Listener:
        """As `VisemeNetwork.open`."""


class Viseme(Driver):
    """From sound to ARKit actions of the mouth at 50 fps, by way of phones, 100 ms late.

    network: what hears the phones; by default the one that ships, or the file that the option `weights` names.
    """

    basis = "arkit52"
    fps = Fraction(RATE, ROW)
    lookahead = LOOKAHEAD + AHEAD * ROW / RATE

    def __init__(self, network: Network | None = None) -> None:
        self._network = network

    def open(self, options: Mapping[str, Any] | None = None) -> "VisemeDriverStream":
        """Return the stream of a new speaker. Raises MarotteError for an option that it does not know or take.

        articulation: 0..2, how far the mouth opens, rounds and spreads, 1 is natural; closures are closed at any.
        smile, happy, sad: 0..1. weights: a file of another network.
        """
        given = dict(options or {})
        weights = given.pop("weights", None)
        style = _style(given)
        return VisemeDriverStream(self._open(weights), style)

    def warm_up(self) -> None:
        """Load and compile."""
        stream = self.open()
        stream.feed(np.zeros(RATE, np.float32))
        stream.finish()

    def _open(self, weights: str | Path | None) -> Listener:
        if weights is None and self._network is not None:
            return self._network.open()
        if not isinstance(weights, str | Path | None):
            raise MarotteError(f"weights {weights!r} is not a path: give the .safetensors file of a viseme network")
        return VisemeNetwork.load(WEIGHTS if weights is None else weights).open()


class VisemeDriverStream(DriverStream):
    """One speaker's mouth."""

    def __init__(self, listener: Listener, style: Style) -> None:
        self._listener = listener
        self._style = style
        self._mouth = Coarticulation()

    def reset(self) -> None:
        """Forget the speaker."""
        self._listener.reset()
        self._mouth.reset()

    def feed(self, samples: np.ndarray) -> Motion:
        """Return the frames for which 100 ms of the sound after them have been heard."""
        return self._motion(self._mouth.feed(self._listener.feed(samples)))

    def finish(self) -> Motion:
        """Return the frames that are left."""
        parts = [self._mouth.feed(self._listener.finish()), self._mouth.finish()]
        return concatenate([self._motion(part) for part in parts])

    def _motion(self, postures: Postures) -> Motion:
        codes = np.zeros((len(postures), WIDTH), np.float32)
        for name, weight in actions(postures, self._style).items():
            if name == "jawOpen":
                codes[:, JAW] = weight[:, None] * JAW_OPEN
            else:
                codes[:, SLOT[name]] = weight
        return Motion(codes, Viseme.fps, Viseme.basis)


def _style(options: Mapping[str, Any]) -> Style:
    for name, value in options.items():
        if name not in _LARGEST:
            raise unknown_name("option of the driver viseme", name, (*_LARGEST, "weights"))
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not 0 <= value <= _LARGEST[name]:
            raise MarotteError(f"{name} {value!r} is not a number between 0 and {_LARGEST[name]}")
    return Style(**options)


assert {field.name for field in fields(Style)} == set(_LARGEST)
