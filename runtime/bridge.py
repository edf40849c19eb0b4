"""The bridge: from a driver's motion to one avatar's conventions, frame by frame.

Options act on the motion first (`MotionOptions`), then the avatar's basis, its place for head
rotation, its eyes and lids. Nothing here has a memory.
"""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from marotte.errors import MarotteError
from marotte.models.rotations import rotvec_to_matrix
from marotte.runtime.arkit import ACTIONS, SLOT, look_weights
from marotte.runtime.avatar import HEAD_ROTATIONS, NO_BASIS, Avatar
from marotte.runtime.camera import Camera
from marotte.runtime.head import HeadState
from marotte.runtime.motion import EXPRESSION, HEAD, JAW, Motion

if TYPE_CHECKING:
    from marotte.runtime.transfer.transfer import Blink, Transfer

JAW_MODES = ("full", "pitch")
APPROXIMATIONS = ("jaw+head",)

# What matching expression to an avatar's training may multiply it by.
LEAST_GAIN, MOST_GAIN = 0.5, 2.0

# The basis whose expressions say how far each lid is shut.
_BLINK_BASIS = "arkit52"
_BLINKS = (SLOT["eyeBlinkLeft"], SLOT["eyeBlinkRight"])

# What a true transfer between two expression bases needs and nobody may ship.
_FLAME_FILES = {
    "flame2020": "FLAME 2020's generic_model.pkl or ARTalk's FLAME_with_eye.pt",
    "flame2023": "FLAME 2023's flame2023.pkl",
}


@dataclass(frozen=True)
class MotionOptions:
    """What the caller asks of every motion.

    jaw: `full`, or `pitch` to keep only opening (as ARTalk's published post-processing does).
    head_motion: 0..1, share of head rotation, neck and translation that is kept.
    expressiveness: factor on expression and jaw; 1 leaves them as they are.
    fix_pose: no head motion at all.
    """

    jaw: str = "full"
    head_motion: float = 1.0
    expressiveness: float = 1.0
    fix_pose: bool = False

    def __post_init__(self) -> None:
        if self.jaw not in JAW_MODES:
            raise MarotteError(f"jaw {self.jaw!r} is unknown: use {' or '.join(JAW_MODES)}")
        if not 0 <= self.head_motion <= 1:
            raise MarotteError(f"head motion {self.head_motion} is not between 0 (still) and 1 (as driven)")
        if not 0 <= self.expressiveness <= 3:
            raise MarotteError(f"expressiveness {self.expressiveness} is not between 0 and 3 (1: as driven)")


def condition(motion: Motion, options: MotionOptions) -> Motion:
    """Return the motion as the options want it; untouched where they ask for nothing."""
    keep = np.float32(0 if options.fix_pose else options.head_motion)
    if keep == 1 and options.expressiveness == 1 and options.jaw == "full":
        return motion
    codes = motion.codes.copy()
    codes[:, EXPRESSION] *= np.float32(options.expressiveness)
    codes[:, JAW] *= np.float32(options.expressiveness)
    if motion.basis == "arkit52":
        codes[:, EXPRESSION] = np.clip(codes[:, EXPRESSION], 0, 1)
    if options.jaw == "pitch":
        codes[:, 104:106] = 0
    codes[:, HEAD] *= keep
    return replace(
        motion,
        codes=codes,
        neck=None if motion.neck is None else motion.neck * keep,
        translation=None if motion.translation is None else motion.translation * keep,
    )


def expression_level(motion: Motion, width: int = 100) -> float:
    """Return the mean |coefficient| of a motion's first `width` expression coefficients; 0 for one without frames."""
    return float(np.abs(motion.expression[:, :width]).mean()) if len(motion) else 0.0


def expression_match(level: float, wanted: float) -> tuple[float, str]:
    """Return the gain that brings expression of one mean |coefficient| to another, and a line that says so.

    level: of the motion; wanted: of the avatar's training (`Avatar.expression_level`). The gain is 1 where either is
    unknown (0), and kept within `LEAST_GAIN` and `MOST_GAIN`.
    """
    if level <= 0 or wanted <= 0:
        what = "motion" if wanted > 0 else "avatar's training"
        return 1.0, f"expression as it is: the {what} has no known level"
    ratio = wanted / level
    gain = min(max(ratio, LEAST_GAIN), MOST_GAIN)
    kept = "" if gain == ratio else f", not times {ratio:.2f}: it is kept within {LEAST_GAIN:g} to {MOST_GAIN:g}"
    return gain, f"expression times {gain:.2f}: mean |coefficient| {level:.3f} against {wanted:.3f} in training{kept}"


class Bridge:
    """Turns motion into head states and cameras for one avatar.

    camera: the picture's camera for a straight head. basis_approx: `jaw+head` lets motion of a foreign basis through
    with its expression dropped, even where there is a transfer. head_rotation: overrides the avatar's. transfer: takes
    motion of another basis to the avatar's, or to arkit52 for an avatar that reads no expressions: its lids shut by the
    blinks there; no_transfer: why there is none, for the error. blink: how a head without lids of its own shuts its
    eyes. expression_gain: factor on expression in the avatar's basis. See `marotte.runtime.transfer.find`.
    """

    def __init__(
        self,
        avatar: Avatar,
        camera: Camera,
        *,
        basis_approx: str | None = None,
        head_rotation: str | None = None,
        transfer: "Transfer | None" = None,
        no_transfer: str = "",
        blink: "Blink | None" = None,
        expression_gain: float = 1.0,
    ) -> None:
        if basis_approx is not None and basis_approx not in APPROXIMATIONS:
            raise MarotteError(f"basis approximation {basis_approx!r} is unknown: use {', '.join(APPROXIMATIONS)}")
        self.avatar = avatar
        self.camera = camera
        self.head_rotation = head_rotation or avatar.head_rotation
        if self.head_rotation not in HEAD_ROTATIONS:
            raise MarotteError(f"head rotation {head_rotation!r} cannot be placed: use {', '.join(HEAD_ROTATIONS)}")
        reaches = _BLINK_BASIS if avatar.basis == NO_BASIS else avatar.basis
        if transfer is not None and transfer.target != reaches:
            raise MarotteError(f"a transfer to {transfer.target} is not for avatar {avatar.name}, in {avatar.basis}")
        if not LEAST_GAIN <= expression_gain <= MOST_GAIN:
            raise MarotteError(f"expression gain {expression_gain:g} is not between {LEAST_GAIN:g} and {MOST_GAIN:g}")
        self._approx, self._transfer, self._no_transfer = basis_approx, transfer, no_transfer
        self._blink, self._gain = blink, np.float32(expression_gain)

    def approximations(self, basis: str) -> tuple[str, ...]:
        """Return what is approximated for motion of `basis`, for the labels on the output."""
        lines = []
        if self.avatar.basis not in (basis, NO_BASIS):
            transfer = self._transfer_from(basis)
            lines.append(f"{basis} on {self.avatar.basis}: {self._approx}" if not transfer else transfer.describe()[0])
        if self.avatar.basis == NO_BASIS and (transfer := self._transfer_from(basis)):
            lines.append(f"blinks in {basis} as {transfer.target}'s through {transfer.method}")
        if self._blink is not None and not (basis == "arkit52" and self._transfer_from(basis)):
            lines.append(f"blinks as expression: arkit52 on {self.avatar.basis} through {self._blink.method}")
        if self._gain != 1:
            lines.append(f"expression times {self._gain:.2f}")
        return tuple(lines)

    def check(self, basis: str) -> None:
        """Raise MarotteError where motion of `basis` cannot reach the avatar."""
        own = self.avatar.basis
        if basis == own or own == NO_BASIS or self._approx or self._transfer_from(basis):
            return
        needed = " or ".join(files for name, files in _FLAME_FILES.items() if name in (basis, own))
        raise MarotteError(
            f"the motion's expressions are in {basis}, avatar {self.avatar.name} has {own}: a true transfer needs "
            f"{needed} (licensed, from flame.is.tue.mpg.de), named by --flame FILE"
            f"{f' ({self._no_transfer})' if self._no_transfer else ''}; --basis-approx jaw+head shows jaw and head only"
        )

    def level(self, motion: Motion) -> np.ndarray:
        """Return the mean |coefficient| [T] of each frame's expression in the avatar's basis, without a gain."""
        if transfer := self._transfer_from(motion.basis):
            motion = transfer.apply(motion)
        return np.abs(motion.expression[:, : self.avatar.expressions]).mean(axis=1)

    def head_state(self, motion: Motion) -> HeadState:
        """Return the avatar's parameters for each frame of a motion."""
        self.check(motion.basis)
        if transfer := self._transfer_from(motion.basis):
            motion = transfer.apply(motion, float(self._gain))
        frames, own = len(motion), self.avatar.basis == motion.basis
        reads = 0 if self.avatar.basis == NO_BASIS else self.avatar.expressions
        expression = np.zeros((frames, reads), np.float32)
        if own:
            width = min(self.avatar.expressions, 100)
            expression[:, :width] = motion.expression[:, :width] * (1 if transfer else self._gain)
        eyes = np.zeros((frames, 6), np.float32) if motion.eyes is None else motion.eyes
        lids = np.zeros((frames, 2), np.float32) if motion.eyelids is None else motion.eyelids
        if self.avatar.basis == "arkit52":
            # Lids are actions here: a blink and the gaze's part of them meet what the driver asked.
            actions = expression[:, : len(ACTIONS)]
            if self._gain != 1:
                np.clip(actions, 0, 1, out=actions)
            np.maximum(actions, look_weights(eyes), out=actions)
            for side, slot in enumerate(_BLINKS):
                actions[:, slot] = np.maximum(actions[:, slot], lids[:, side])
        elif self.avatar.basis == NO_BASIS and motion.basis == _BLINK_BASIS:
            lids = np.maximum(lids, motion.expression[:, _BLINKS])
        elif self._blink is not None:
            expression, lids = self._blink.added(expression, lids), np.zeros_like(lids)
        zero = np.zeros((frames, 3), np.float32)
        neck = zero if motion.neck is None else motion.neck
        turn = motion.head
        return HeadState(
            shape=np.zeros(0, np.float32),
            expression=expression,
            root=turn if self.head_rotation == "root" else zero,
            neck=neck + turn if self.head_rotation == "neck" else neck,
            jaw=motion.jaw,
            eyes=eyes,
            eyelids=lids,
            translation=zero if motion.translation is None else motion.translation,
        )

    def _transfer_from(self, basis: str) -> "Transfer | None":
        """Return the transfer where it is to be used for motion of `basis`."""
        fits = self._transfer is not None and self._transfer.source == basis and not self._approx
        return self._transfer if fits else None

    def cameras(self, motion: Motion) -> tuple[Camera, ...]:
        """Return the camera of each frame; where head rotation goes to the camera, it moves."""
        if self.head_rotation != "camera":
            return (self.camera,) * len(motion)
        pivot = np.array(self.avatar.pivot)
        return tuple(self.camera.moved(turn, pivot) for turn in rotvec_to_matrix(motion.head.astype(np.float64)))
