"""From articulators to ARKit's actions: which parts of a face make a posture of the mouth.

The lips' gap is a task of several parts together (Browman and Goldstein 1989: lip aperture): the jaw carries the lower
lip, forward lips part, rolled and pressed lips lose height. So the gap that all the others leave is computed first
(`_GAPS`), and what is missing is made up: by mouthClose, which is made to undo the jaw, where it is too wide, and by
lifting the lips off the teeth where it is too narrow. Closed lips are closed whatever the jaw does, or a smile.

An action's part in the gap was measured on the demo head at the middle of the lips and is linear within 1 % of full
opening; rigs that follow ARKit's definitions differ little.
"""

from dataclasses import dataclass

import numpy as np

from marotte.models.viseme.articulation import FLARE, JAW, LIPS, PUCKER, SPREAD, TEETH, TUCK
from marotte.models.viseme.coarticulation import LEAST_GAP, Postures

# Gap of the lips that each action makes at weight 1, both sides together, as a share of the gap at full jaw opening.
_GAPS = {
    "jawOpen": 0.97,
    "mouthClose": -1.06,
    "mouthFunnel": 0.385,
    "mouthSmile": -0.07,
    "mouthRollLower": -0.105,
    "mouthRollUpper": -0.09,
    "mouthPress": -0.08,
    "mouthShrugLower": -0.13,
    "mouthLowerDown": 0.115,
    "mouthUpperUp": 0.138,
}
# Gap of lips at rest, which touch.
_REST_GAP = 0.026

# Lips that must not be further apart than this for a closure begin to press.
_PRESS_FROM = 0.3

# Out-turned lips, however much articulation is asked for.
_MOST_FLARE = 0.7

# The lips part no further than this, however much articulation is asked for; they near it from the first on.
_WIDE, _WIDEST = 0.6, 0.95

# How far lips are lifted off the teeth at most, to make up for a jaw that is not open enough.
_LIFT = 0.7
# mouthClose goes no further than the jaw is open, and so much more: beyond that lips would pass through each other.
_CLOSE_PAST_JAW = 0.04

_PAIRED = (
    "mouthSmile mouthFrown mouthStretch mouthPress mouthLowerDown mouthUpperUp eyeSquint eyeBlink cheekSquint "
    "browDown browOuterUp"
).split()

# What an emotion at 1 adds to a face, and by what it scales openings.
_HAPPY = {"mouthSmile": 0.5, "cheekSquint": 0.5, "eyeSquint": 0.2, "browInnerUp": 0.1, "browOuterUp": 0.2}
_SAD = {"mouthFrown": 0.9, "browInnerUp": 0.9, "browDown": 0.1, "eyeBlink": 0.18, "mouthShrugLower": 0.25}
_HAPPY_SCALE, _SAD_SCALE = 1.06, 0.86


@dataclass(frozen=True)
class Style:
    """How a face speaks. articulation: 0..2, how far it opens, rounds and spreads, 1 is natural; closures are closed
    at any. smile, happy, sad: 0..1, alone or together."""

    articulation: float = 1.0
    smile: float = 0.0
    happy: float = 0.0
    sad: float = 0.0


def actions(postures: Postures, style: Style = Style()) -> dict[str, np.ndarray]:
    """Return the weights [n], 0..1, of ARKit's actions by name; jawOpen is a share of full opening."""
    awake = 1 - postures.rest
    open_ = np.clip(postures.ceiling / np.float32(_PRESS_FROM), 0, 1)
    closure = 1 - open_
    amount = style.articulation * (1 + style.happy * (_HAPPY_SCALE - 1)) * (1 + style.sad * (_SAD_SCALE - 1))
    mouth = postures.values * awake[:, None]
    jaw, pucker, flare, spread, teeth = (
        np.clip(mouth[:, index] * np.float32(amount), 0, 1) for index in (JAW, PUCKER, FLARE, SPREAD, TEETH)
    )
    jaw, tuck = _soft(jaw), mouth[:, TUCK]
    lips = LEAST_GAP + (postures.values[:, LIPS] - LEAST_GAP) * np.float32(amount)
    gap = np.minimum(_soft(lips) * awake + np.float32(_REST_GAP) * postures.rest, postures.ceiling)

    face: dict[str, np.ndarray] = {
        name: np.full(len(postures), weight, np.float32) for name, weight in _mood(style).items()
    }
    face["jawOpen"] = jaw
    face["mouthPucker"] = pucker
    # Out-turned lips part, so a closure takes most of it away, and lips that come together some.
    face["mouthFunnel"] = np.minimum(flare, np.float32(_MOST_FLARE)) * (0.35 + 0.65 * open_)
    # A smile gives way to rounding.
    face["mouthSmile"] = face["mouthSmile"] * (1 - 0.6 * pucker) + 0.22 * spread * (1 - face["mouthSmile"])
    face["mouthStretch"] = 0.5 * spread
    face["mouthRollLower"] = np.maximum(0.85 * tuck * open_, 0.22 * closure)
    face["mouthRollUpper"] = 0.16 * closure
    face["mouthPress"] = 0.3 * closure
    face["mouthLowerDown"] = 0.55 * teeth * open_
    face["mouthUpperUp"] = 0.5 * teeth * open_
    _part(face, gap)
    return {name: np.clip(weight, 0, 1) for name, weight in _sided(face).items()}


def _mood(style: Style) -> dict[str, float]:
    """Return what smile and emotions add, by name: the stronger counts, and sad corners of the mouth do not smile."""
    mood = {"mouthSmile": 0.6 * style.smile, "cheekSquint": 0.25 * style.smile}
    for amount, weights in ((style.happy, _HAPPY), (style.sad, _SAD)):
        for name, weight in weights.items():
            mood[name] = max(mood.get(name, 0.0), amount * weight)
    return mood


def _part(face: dict[str, np.ndarray], gap: np.ndarray) -> None:
    """Bring the lips of a face to a gap [n], by mouthClose where they are too far apart, by lifting where too near."""
    missing = gap - _REST_GAP - sum(np.float32(_GAPS[name]) * face[name] for name in face if name in _GAPS)
    lift = np.maximum(missing, 0) / np.float32(_GAPS["mouthLowerDown"] + _GAPS["mouthUpperUp"])
    for name in ("mouthLowerDown", "mouthUpperUp"):
        face[name] = face[name] + np.clip(lift, 0, np.maximum(_LIFT - face[name], 0))
    too_wide = np.maximum(-missing, 0) / np.float32(-_GAPS["mouthClose"])
    face["mouthClose"] = np.minimum(too_wide, face["jawOpen"] + np.float32(_CLOSE_PAST_JAW))


def _soft(share: np.ndarray) -> np.ndarray:
    """Return shares unchanged up to `_WIDE`, above it nearing `_WIDEST`."""
    room = np.float32(_WIDEST - _WIDE)
    return np.where(share < _WIDE, share, _WIDE + room * np.tanh((share - np.float32(_WIDE)) / room))


def _sided(face: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return a face with its paired actions on both sides."""
    sided: dict[str, np.ndarray] = {}
    for name, weight in face.items():
        sides = ("Left", "Right") if name in _PAIRED else ("",)
        sided |= {name + side: weight for side in sides}
    return sided
