"""ARKit's 52 face actions in Apple's order, and how the basis `arkit52` uses them.

Slots 0..51 of a motion's codes are the actions with weights 0..1. jawOpen, jawLeft and jawRight act
only through the jaw rotation (codes 103:106); their slots stay zero.
"""

import numpy as np

ACTIONS = tuple(
    """
    eyeBlinkLeft eyeLookDownLeft eyeLookInLeft eyeLookOutLeft eyeLookUpLeft eyeSquintLeft eyeWideLeft
    eyeBlinkRight eyeLookDownRight eyeLookInRight eyeLookOutRight eyeLookUpRight eyeSquintRight eyeWideRight
    jawForward jawLeft jawRight jawOpen
    mouthClose mouthFunnel mouthPucker mouthLeft mouthRight
    mouthSmileLeft mouthSmileRight mouthFrownLeft mouthFrownRight mouthDimpleLeft mouthDimpleRight
    mouthStretchLeft mouthStretchRight mouthRollLower mouthRollUpper mouthShrugLower mouthShrugUpper
    mouthPressLeft mouthPressRight mouthLowerDownLeft mouthLowerDownRight mouthUpperUpLeft mouthUpperUpRight
    browDownLeft browDownRight browInnerUp browOuterUpLeft browOuterUpRight
    cheekPuff cheekSquintLeft cheekSquintRight noseSneerLeft noseSneerRight tongueOut
    """.split()
)
SLOT = {name: index for index, name in enumerate(ACTIONS)}

# The jaw rotation that the action weight 1 stands for, as rotation vectors in radians.
JAW_OPEN = np.array([0.40, 0.0, 0.0])
JAW_LEFT = np.array([0.0, 0.13, 0.0])
JAW_RIGHT = -JAW_LEFT

# The eye rotation at which an eyeLook action reaches 1, in radians.
LOOK_RANGE = np.deg2rad(30.0)


def jaw_rotation(open_: np.ndarray, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return jaw rotation vectors [T, 3] for weights [T] of jawOpen, jawLeft and jawRight."""
    return np.outer(open_, JAW_OPEN) + np.outer(left, JAW_LEFT) + np.outer(right, JAW_RIGHT)


def look_weights(eyes: np.ndarray) -> np.ndarray:
    """Return the lids' part of gaze: weights [T, 52] of the eyeLook actions for eye rotations [T, 6].

    Rotation vectors in head axes: +x looks down, +y looks to the person's left.
    """
    weights = np.zeros((len(eyes), len(ACTIONS)), np.float32)
    for side, start in (("Left", 0), ("Right", 3)):
        down = eyes[:, start] / LOOK_RANGE
        left = eyes[:, start + 1] / LOOK_RANGE
        outward = left if side == "Left" else -left
        for name, value in (("Down", down), ("Up", -down), ("Out", outward), ("In", -outward)):
            weights[:, SLOT[f"eyeLook{name}{side}"]] = np.clip(value, 0, 1)
    return weights


def eye_rotations(weights: np.ndarray) -> np.ndarray:
    """Return the eye rotations [T, 6] that the look actions in weights [T, 52 or more] stand for, undoing the above."""
    eyes = np.zeros((len(weights), 6), weights.dtype)
    for start, side, sign in ((0, "Left", 1), (3, "Right", -1)):
        down, up, outward, inward = (weights[:, SLOT[f"eyeLook{way}{side}"]] for way in ("Down", "Up", "Out", "In"))
        eyes[:, start], eyes[:, start + 1] = (down - up) * LOOK_RANGE, sign * (outward - inward) * LOOK_RANGE
    return eyes
