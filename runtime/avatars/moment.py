"""One moment of an avatar's face: a frame of a motion, with coefficients and jaw changed by hand."""

from dataclasses import replace
from fractions import Fraction

import numpy as np

from marotte.errors import MarotteError, unknown_name
from marotte.runtime.arkit import ACTIONS, SLOT
from marotte.runtime.avatar import Avatar
from marotte.runtime.bridge import Bridge
from marotte.runtime.camera import facing_camera
from marotte.runtime.head import HeadState
from marotte.runtime.motion import EXPRESSION, JAW, WIDTH, Motion

# Degrees; far beyond any face, so that whoever wants a stretched one can have it.
_JAW = 90.0


def moment(
    avatar: Avatar,
    motion: Motion | None = None,
    frame: int = 0,
    *,
    expression: str = "",
    jaw_degrees: float | None = None,
) -> HeadState:
    """Return the head state of one frame of a motion, or of the face at rest.

    expression: `3=1.5,jawOpen=...`: coefficients by number, in ARKit's basis also by name, in place of the motion's.
    jaw_degrees: in place of the motion's jaw. Where an avatar's head rotation goes to the camera, the head is as the
    camera sees it: unturned. Raises MarotteError for a frame or a coefficient that is not there.
    """
    if motion is None:
        motion = Motion(np.zeros((1, WIDTH), np.float32), Fraction(25), avatar.basis)
        frame = 0
    if not 0 <= frame < len(motion):
        raise MarotteError(f"frame {frame} is not in the motion: it has {len(motion)}, from 0")
    codes = motion.codes[frame : frame + 1].copy()
    for slot, value in _coefficients(avatar, expression).items():
        codes[0, EXPRESSION][slot] = value
    if jaw_degrees is not None:
        if not -_JAW <= jaw_degrees <= _JAW:
            raise MarotteError(f"a jaw at {jaw_degrees:g} degrees is none: heads open theirs by up to about 30")
        codes[0, JAW] = (np.deg2rad(jaw_degrees), 0, 0)
    bridge = Bridge(avatar, facing_camera((0, 0, 0), 1.0, 1.0, (1, 1)))
    return bridge.head_state(replace(motion[frame : frame + 1], codes=codes))


def _coefficients(avatar: Avatar, text: str) -> dict[int, float]:
    """Return coefficients by slot of `3=1.5,mouthSmileLeft=0.5`."""
    found = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals:
            raise MarotteError(f"expression {part!r} is no coefficient: write number=value, such as 3=1.5")
        if name.isdigit() and name.isascii():
            slot = int(name)
            if slot >= min(avatar.expressions, EXPRESSION.stop):
                raise MarotteError(
                    f"expression {slot} is not one of avatar {avatar.name}'s {avatar.expressions}, from 0"
                )
        elif avatar.basis == "arkit52" and name in SLOT:
            slot = SLOT[name]
        else:
            raise unknown_name(
                f"expression of avatar {avatar.name}", name, ACTIONS if avatar.basis == "arkit52" else ("0", "1", "2")
            )
        try:
            found[slot] = float(value)
        except ValueError:
            raise MarotteError(f"expression {part!r}: {value!r} is no number") from None
        if not np.isfinite(found[slot]):
            raise MarotteError(f"expression {part!r}: {value!r} is no number")
    return found
