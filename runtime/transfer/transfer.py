"""Transfer: motion of one expression basis as motion of another, frame by frame and without a memory."""

from dataclasses import dataclass, replace

import numpy as np

from marotte.errors import MarotteError
from marotte.runtime.arkit import ACTIONS, SLOT, eye_rotations, look_weights
from marotte.runtime.motion import EXPRESSION, JAW, Motion

BLINKS = (SLOT["eyeBlinkLeft"], SLOT["eyeBlinkRight"])
_LOOKS = [slot for name, slot in SLOT.items() if name.startswith("eyeLook")]

# Steps towards the best weights in 0..1, 8 microseconds each; more make no difference that is seen.
_STEPS = 10


@dataclass(frozen=True)
class Residual:
    """What a transfer does not reproduce in a region of the face, over all units of the source, each alone.

    unexplained: share of the displacements' variance, 0 to about 1; rms_mm, largest_mm: of the difference, in
    millimetres on the target's head at a unit's full weight (one deviation, of FLAME).
    """

    region: str
    unexplained: float
    rms_mm: float
    largest_mm: float


@dataclass(frozen=True, eq=False)
class Bounds:
    """What finds weights in 0..1 where a linear map leaves them.

    gram: [K, K] and mixed: [K, S], the normal equations of the target's K coefficients (its jaw's rotation last) for
    the source's S, scaled so that the gram matrix has ones on its diagonal; scale: [K] takes the scaled coefficients
    to true ones; step: of the descent.
    """

    gram: np.ndarray
    mixed: np.ndarray
    scale: np.ndarray
    step: float

    def refined(self, start: np.ndarray, source: np.ndarray) -> np.ndarray:
        """Return coefficients [K], all but the last three in 0..1, near the best for a source [S], from a start [K].

        Projected gradients with Nesterov's momentum; always the same number of steps.
        """
        high = np.append(1 / self.scale[:-3], (np.inf,) * 3)
        low = np.append(np.zeros(len(high) - 3), (-np.inf,) * 3)
        aim = self.mixed @ source
        before = ahead = np.clip(start / self.scale, low, high)
        pace = 1.0
        for _ in range(_STEPS):
            now = np.clip(ahead - self.step * (self.gram @ ahead - aim), low, high)
            quicker = (1 + np.sqrt(1 + 4 * pace * pace)) / 2
            ahead = now + (pace - 1) / quicker * (now - before)
            before, pace = now, quicker
        return before * self.scale


@dataclass(frozen=True, eq=False)
class Transfer:
    """A linear map from one basis to another, and how well it does.

    source, target: bases. method: what the heads were brought together by. expression: [E, S] the target's
    coefficients for a unit of each of the source's; jaw: [3, S] the rotation vector that goes with them, radians;
    jaw_gain: factor on the jaw's opening, with which both heads' lips part equally far. own_lids: the target's head
    takes `eyelids` as they are. lids: [2, E] how far a unit of each of the target's coefficients shuts its left and
    right lid, 1 for all the way; [2, 0] where nobody knows. bounds: for weights in 0..1; None where any number will do.
    residuals: by region, and `all` of them by their weights.
    """

    source: str
    target: str
    method: str
    expression: np.ndarray
    jaw: np.ndarray
    jaw_gain: float
    own_lids: bool
    lids: np.ndarray
    bounds: Bounds | None
    residuals: tuple[Residual, ...]

    def apply(self, motion: Motion, gain: float = 1.0) -> Motion:
        """Return the motion in the target's basis: codes, and the extras as the target's head wants them.

        gain: factor on the target's expression; ARKit's lids stay as they are, since a blink that is shut shuts no
        farther. Of ARKit: blinks come from the actions and from `eyelids`, whichever shuts more; eyes from `eyes`, or
        else from the look actions. Raises MarotteError where the motion is in another basis than the source's.
        """
        if motion.basis != self.source:
            raise MarotteError(f"a transfer from {self.source} cannot take motion in {motion.basis}")
        units = motion.expression.copy()
        held = [*BLINKS, *_LOOKS] if self.source == "arkit52" else []
        if self.source == "arkit52":
            motion = self._from_arkit(motion, units)
        codes = motion.codes.copy()
        width = self.expression.shape[0]
        codes[:, EXPRESSION] = 0
        # Row by row, so that a frame's values do not depend on what frames come with it.
        for row, unit, jaw in zip(codes, units[:, : self.expression.shape[1]], motion.jaw, strict=True):
            row[:width], turn = self.coefficients(unit)
            if gain != 1:
                row[:width] = gain * row[:width] + (1 - gain) * (self.expression[:, held] @ unit[held])
            row[JAW] = jaw + turn
            row[JAW.start] += (self.jaw_gain - 1) * jaw[0]
            # Expression may shut an open jaw, it never bites beyond.
            row[JAW.start] = max(row[JAW.start], min(0.0, self.jaw_gain * jaw[0]))
        return replace(motion, codes=codes, basis=self.target)

    def coefficients(self, unit: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the target's coefficients [E] and jaw rotation [3] for one frame's source coefficients [S]."""
        found, turn = self.expression @ unit, self.jaw @ unit
        if self.bounds is not None:
            found = np.clip(found, 0, 1)
            refined = self.bounds.refined(np.concatenate([found, turn]), unit)
            found, turn = refined[:-3], refined[-3:]
        return found, turn

    def describe(self) -> tuple[str, ...]:
        """Return lines for reports; the first alone is a label."""
        shares = ", ".join(
            f"{r.region} {_percent(r.unexplained)}" for r in self.residuals if r.region in ("lips", "lids", "all")
        )
        lines = [
            f"{self.source} on {self.target} through {self.method}: unexplained {shares}; "
            f"jaw opening times {self.jaw_gain:.2f}"
        ]
        lines += [
            f"{r.region}: {_percent(r.unexplained)} unexplained, {r.rms_mm:.2f} mm RMS, {r.largest_mm:.1f} mm at most"
            for r in self.residuals
        ]
        return tuple(lines)

    def residual(self, region: str = "all") -> Residual:
        """Return the residual of a region. Raises KeyError for one that was not solved for."""
        return {r.region: r for r in self.residuals}[region]

    def blink(self) -> "Blink":
        """Return how the target blinks, from a transfer from ARKit. Raises MarotteError of any other."""
        if self.source != "arkit52" or self.own_lids:
            raise MarotteError(f"a transfer from {self.source} to {self.target} does not know how lids shut")
        columns = self.expression[:, BLINKS].T.copy()
        # So that a whole blink counts as shut, whatever of the gap it leaves.
        full = np.einsum("le,le->l", self.lids, columns) if self.lids.size else np.ones(2)
        if (full < 0.1).any():
            return Blink(columns, np.zeros((2, 0)), self.method)
        return Blink(columns, self.lids / full[:, None], self.method)

    def _from_arkit(self, motion: Motion, units: np.ndarray) -> Motion:
        """Put lids and gaze where the target wants them: in `units` [T, 100] or the extras of the motion returned."""
        actions, eyes = units[:, : len(ACTIONS)], motion.eyes
        if eyes is None and actions[:, _LOOKS].any():
            eyes = eye_rotations(actions)
        if eyes is not None:
            np.maximum(actions, look_weights(eyes), out=actions)
        lids = actions[:, BLINKS]
        if motion.eyelids is not None:
            lids = np.maximum(lids, motion.eyelids)
        actions[:, BLINKS] = 0 if self.own_lids else lids
        return replace(motion, eyes=eyes, eyelids=lids if self.own_lids else None)


@dataclass(frozen=True, eq=False)
class Blink:
    """Blinks of a head whose lids are a matter of expression.

    columns: [2, E] what shuts the left and the right lid; shut: [2, E] the share of that which a unit of each
    coefficient does by itself, [2, 0] where nobody knows; method: as a `Transfer`'s.
    """

    columns: np.ndarray
    shut: np.ndarray
    method: str

    def added(self, expression: np.ndarray, lids: np.ndarray) -> np.ndarray:
        """Return expression [T, E] with lids shut as far as `lids` [T, 2] say, or as they are already, if that is more.

        Lids that the expression holds wide open shut all the same.
        """
        out = np.array(expression, np.float32)
        for row, wanted in zip(out, lids, strict=True):
            own = self.shut @ row if self.shut.size else np.zeros(2)
            missing = np.maximum(wanted - np.maximum(own, 0), 0) + wanted * np.maximum(-own, 0)
            row += missing @ self.columns
        return out


def _percent(share: float) -> str:
    if share < 0.0005:
        return "under 0.1 %"
    return f"{100 * share:.1f} %" if share < 0.0995 else f"{100 * share:.0f} %"
