"""Idle life: blinks, gaze, breath and small head motion, and what a face does about what it hears.

The same after every driver. The first are functions of time and a seed (`marotte.runtime.idle_motion`);
the rest, blinks at pauses, nods at stress and brow raises at pitch accents, follow the sound
(`marotte.runtime.prosody`, `marotte.runtime.idle_reactions`) and are missing where there is none. Packets
do not change any of it: what happens at a time depends on the sound up to that time only.

It writes what every basis has (head rotation, eyes, eyelids, translation) and, in `arkit52`, the brows,
whose directions in FLAME's expression space are not known. It leaves a channel to the driver, within a
fraction of a second, when the driver moves it.
"""

from dataclasses import dataclass, replace

import numpy as np

from marotte.errors import MarotteError
from marotte.runtime.arkit import SLOT
from marotte.runtime.idle_motion import breath, gaze, head_sway
from marotte.runtime.idle_reactions import Reactions
from marotte.runtime.motion import HEAD, Motion
from marotte.runtime.prosody import Prosody

# How fast (per second) a driver must move a channel to own it: radians, or share of a blink or a raise.
_OWNED_AT = {"head": 0.05, "eyes": 0.1, "lids": 0.5, "brows": 0.25}
_RELEASE_SECONDS = 1.5
_FADE_SECONDS = 0.25

# How far an accent raises each part of the brows.
_BROWS = {"browInnerUp": 1.0, "browOuterUpLeft": 0.8, "browOuterUpRight": 0.8}
_BROW_SLOTS = [SLOT[name] for name in _BROWS]
_BROW_SHARES = np.array(list(_BROWS.values()), np.float32)
_BROW_CHANNEL = [*_BROW_SLOTS, SLOT["browDownLeft"], SLOT["browDownRight"]]


@dataclass(frozen=True)
class IdleOptions:
    """amount: 0 switches idle life off, 1 is natural. seed: another seed, another person's habits."""

    amount: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.amount <= 2:
            raise MarotteError(f"idle {self.amount} is not between 0 (none) and 2 (1: natural)")


class Idle:
    """The idle life of one face: feed it consecutive motion, get the same motion alive.

    To have it react to a sound, let it `hear` the sound up to a frame's time before that frame.
    """

    def __init__(self, options: IdleOptions | None = None) -> None:
        self.options = options or IdleOptions()
        self.reset()

    def reset(self) -> None:
        """Start again at time 0."""
        self._prosody = Prosody()
        self._reactions = Reactions(self.options.seed)
        self._frame = 0
        self._before: dict[str, np.ndarray] = {}
        self._owned = dict.fromkeys(_OWNED_AT, 0.0)
        self._weight = dict.fromkeys(_OWNED_AT, 1.0)

    def hear(self, samples: np.ndarray) -> None:
        """Take the next sound [n] float32 at 16 kHz mono; its first sample is at time 0, as frame 0 is."""
        if self.options.amount:
            self._reactions.hear(self._prosody.feed(samples))

    def apply(self, motion: Motion) -> Motion:
        """Return the next frames of motion with idle life added."""
        if not len(motion) or self.options.amount == 0:
            return motion
        seconds = (self._frame + np.arange(len(motion))) / float(motion.fps)
        self._frame += len(motion)
        weight = {name: track[:, None] for name, track in self._weights(motion).items()}
        seed, amount = self.options.seed, np.float32(self.options.amount)
        moves = self._reactions.at(seconds)

        codes = motion.codes.copy()
        turn = head_sway(seconds, seed)
        turn[:, 0] += moves.nod  # +x looks down
        codes[:, HEAD] += amount * weight["head"] * turn
        if motion.basis == "arkit52":
            raised = amount * weight["brows"] * moves.brows[:, None] * _BROW_SHARES
            codes[:, _BROW_SLOTS] += raised * (1 - codes[:, _BROW_SLOTS])
        translation = np.zeros((len(motion), 3), np.float32) if motion.translation is None else motion.translation
        eyes = np.zeros((len(motion), 6), np.float32) if motion.eyes is None else motion.eyes
        lids = np.zeros((len(motion), 2), np.float32) if motion.eyelids is None else motion.eyelids
        # Eyes stay on the viewer while the head moves under them.
        held = gaze(seconds, seed) * amount - 0.8 * np.clip(codes[:, HEAD] * (1, 1, 0), -0.25, 0.25)
        shut = weight["lids"] * min(float(amount), 1.0) * moves.lids[:, None]
        return replace(
            motion,
            codes=codes,
            translation=translation + amount * weight["head"] * breath(seconds, seed),
            eyes=eyes + weight["eyes"] * np.tile(held, 2).astype(np.float32),
            eyelids=np.maximum(lids, shut),
        )

    def _weights(self, motion: Motion) -> dict[str, np.ndarray]:
        """Return how much of each idle channel to show in each frame, [T] from 0 to 1."""
        channels = {"head": motion.head, "eyes": motion.eyes, "lids": motion.eyelids, "brows": None}
        if motion.basis == "arkit52":
            blinks = motion.codes[:, [SLOT["eyeBlinkLeft"], SLOT["eyeBlinkRight"]]]
            channels["lids"] = blinks if motion.eyelids is None else np.maximum(blinks, motion.eyelids)
            channels["brows"] = motion.codes[:, _BROW_CHANNEL]
        return {
            name: np.ones(len(motion), np.float32) if channel is None else self._follow(name, channel, motion)
            for name, channel in channels.items()
        }

    def _follow(self, name: str, channel: np.ndarray, motion: Motion) -> np.ndarray:
        rate = float(motion.fps)
        first = self._before.get(name, channel[:1])
        speed = np.abs(channel - np.concatenate([first, channel[:-1]])).max(axis=1) * rate
        self._before[name] = channel[-1:].copy()
        release, fade = np.exp(-1 / (rate * _RELEASE_SECONDS)), np.exp(-1 / (rate * _FADE_SECONDS))
        owned, weight = self._owned[name], self._weight[name]
        track = np.empty(len(channel), np.float32)
        for frame, moved in enumerate(np.minimum(speed / _OWNED_AT[name], 1)):
            owned = max(owned * release, moved)
            weight = 1 - owned + (weight - 1 + owned) * fade
            track[frame] = weight
        self._owned[name], self._weight[name] = owned, weight
        return track
