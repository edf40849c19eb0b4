"""Idle life: blinks, gaze, breath and small head motion, the same after every driver.

All of it is a function of time and a seed, so it needs no history and packets do not change it; it
writes only what every basis has (head rotation, eyes, eyelids, translation) and leaves a channel to
the driver, within a fraction of a second, when the driver moves it.

Timing follows common measurements of people in conversation: a blink every 2 to 6 s that shuts in
90 ms and opens in 170 ms, fixations of about a second joined by saccades of 40 ms, 14 breaths a
minute.
"""

from dataclasses import dataclass, replace

import numpy as np

from marotte.errors import MarotteError
from marotte.runtime.arkit import SLOT
from marotte.runtime.motion import HEAD, Motion

BLINK_EVERY = 3.7
BLINK_SHUT, BLINK_HOLD, BLINK_OPEN = 0.09, 0.03, 0.17
DOUBLE_BLINK_SHARE, DOUBLE_BLINK_AFTER = 0.15, 0.33
FIXATION = 1.3
SACCADE = 0.045
BREATH_HZ = 14 / 60

# How fast (per second) a driver must move a channel to own it: radians, or share of a blink.
_OWNED_AT = {"head": 0.05, "eyes": 0.1, "lids": 0.5}
_RELEASE_SECONDS = 1.5
_FADE_SECONDS = 0.25


@dataclass(frozen=True)
class IdleOptions:
    """amount: 0 switches idle life off, 1 is natural. seed: another seed, another person's habits."""

    amount: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.amount <= 2:
            raise MarotteError(f"idle {self.amount} is not between 0 (none) and 2 (1: natural)")


class Idle:
    """The idle life of one face: feed it consecutive motion, get the same motion alive."""

    def __init__(self, options: IdleOptions | None = None) -> None:
        self.options = options or IdleOptions()
        self.reset()

    def reset(self) -> None:
        """Start again at time 0."""
        self._frame = 0
        self._before: dict[str, np.ndarray] = {}
        self._owned = dict.fromkeys(_OWNED_AT, 0.0)
        self._weight = dict.fromkeys(_OWNED_AT, 1.0)

    def apply(self, motion: Motion) -> Motion:
        """Return the next frames of motion with idle life added."""
        if not len(motion) or self.options.amount == 0:
            return motion
        seconds = (self._frame + np.arange(len(motion))) / float(motion.fps)
        self._frame += len(motion)
        weight = {name: track[:, None] for name, track in self._weights(motion).items()}
        seed, amount = self.options.seed, np.float32(self.options.amount)

        codes = motion.codes.copy()
        codes[:, HEAD] += amount * weight["head"] * head_sway(seconds, seed)
        translation = np.zeros((len(motion), 3), np.float32) if motion.translation is None else motion.translation
        eyes = np.zeros((len(motion), 6), np.float32) if motion.eyes is None else motion.eyes
        lids = np.zeros((len(motion), 2), np.float32) if motion.eyelids is None else motion.eyelids
        # Eyes stay on the viewer while the head moves under them.
        held = gaze(seconds, seed) * amount - 0.8 * np.clip(codes[:, HEAD] * (1, 1, 0), -0.25, 0.25)
        shut = weight["lids"] * min(float(amount), 1.0) * blink(seconds, seed)[:, None]
        return replace(
            motion,
            codes=codes,
            translation=translation + amount * weight["head"] * breath(seconds, seed),
            eyes=eyes + weight["eyes"] * np.tile(held, 2).astype(np.float32),
            eyelids=np.maximum(lids, shut),
        )

    def _weights(self, motion: Motion) -> dict[str, np.ndarray]:
        """Return how much of each idle channel to show in each frame, [T] from 0 to 1."""
        channels = {"head": motion.head, "eyes": motion.eyes, "lids": motion.eyelids}
        if motion.basis == "arkit52":
            blinks = motion.codes[:, [SLOT["eyeBlinkLeft"], SLOT["eyeBlinkRight"]]]
            channels["lids"] = blinks if motion.eyelids is None else np.maximum(blinks, motion.eyelids)
        return {
            name: np.ones(len(motion), np.float32) if channel is None else self._follow(name, channel, motion)
            for name, channel in channels.items()
        }

    def _follow(self, name: str, channel: np.ndarray, motion: Motion) -> np.ndarray:
        rate = float(motion.fps)
        first = self._before.get(name, channel[:1])
        speed = np.abs(np.diff(channel, axis=0, prepend=first)).max(axis=1) * rate
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


def blink(seconds: np.ndarray, seed: int) -> np.ndarray:
    """Return how far the lids are shut, [T] from 0 to 1."""
    slot = np.floor(seconds / BLINK_EVERY).astype(np.int64)
    shut = np.zeros(len(seconds))
    for near in (slot - 1, slot):
        start = BLINK_EVERY * (near + 0.35 + 0.55 * _uniform(near, seed, 1))
        double = _uniform(near, seed, 2) < DOUBLE_BLINK_SHARE
        for after in (0.0, DOUBLE_BLINK_AFTER):
            counts = (near >= 0) & (double | (after == 0))
            shut = np.maximum(shut, np.where(counts, _one_blink(seconds - start - after), 0))
    return shut.astype(np.float32)


def gaze(seconds: np.ndarray, seed: int) -> np.ndarray:
    """Return gaze as rotation vectors [T, 3]: mostly on the viewer, now and then a glance aside."""
    slot = np.floor(seconds / FIXATION).astype(np.int64)
    # Each slot holds one saccade, at a jittered moment, from the target before to the slot's own.
    begin = FIXATION * (slot + 0.1 + 0.75 * _uniform(slot, seed, 3))
    moved = _smoothstep((seconds - begin) / SACCADE)[:, None]
    return ((1 - moved) * _target(slot - 1, seed) + moved * _target(slot, seed)).astype(np.float32)


def head_sway(seconds: np.ndarray, seed: int) -> np.ndarray:
    """Return small head rotation vectors [T, 3] in radians."""
    slow = np.stack([_noise(seconds / 3.1, seed, 10 + axis) for axis in range(3)], axis=1)
    quick = np.stack([_noise(seconds / 1.1, seed, 20 + axis) for axis in range(3)], axis=1)
    breathing = np.sin(2 * np.pi * BREATH_HZ * seconds + seed)[:, None] * (-0.10, 0, 0)
    start = _smoothstep(seconds / 1.5)[:, None]  # the first frame stands straight
    return (start * np.deg2rad(slow * (1.1, 1.9, 0.9) + quick * (0.35, 0.4, 0.25) + breathing)).astype(np.float32)


def breath(seconds: np.ndarray, seed: int) -> np.ndarray:
    """Return the lift of breathing, [T, 3] metres."""
    lift = 0.5 * np.sin(2 * np.pi * BREATH_HZ * seconds + seed) - 0.5 * np.sin(seed)
    return np.stack([0 * lift, 0.0012 * lift, 0 * lift], axis=1).astype(np.float32)


def _one_blink(after: np.ndarray) -> np.ndarray:
    closing = _smoothstep(after / BLINK_SHUT)
    opening = _smoothstep((after - BLINK_SHUT - BLINK_HOLD) / BLINK_OPEN)
    return closing * (1 - opening)


def _target(slot: np.ndarray, seed: int) -> np.ndarray:
    aside = np.where(_uniform(slot, seed, 4) < 0.18, 6.0, 1.2)
    up = (2 * _uniform(slot, seed, 5) - 1) * aside * 0.5
    left = (2 * _uniform(slot, seed, 6) - 1) * aside
    return np.deg2rad(np.stack([up, left, 0 * up], axis=1)) * (slot >= 0)[:, None]


def _noise(at: np.ndarray, seed: int, channel: int) -> np.ndarray:
    """Return smooth noise in -1..1 with knots at the integers."""
    knot = np.floor(at).astype(np.int64)
    share = _smoothstep(at - knot)
    low, high = (2 * _uniform(k, seed, channel) - 1 for k in (knot, knot + 1))
    return low + (high - low) * share


def _smoothstep(x: np.ndarray) -> np.ndarray:
    x = np.clip(x, 0, 1)
    return x * x * x * (x * (6 * x - 15) + 10)


def _uniform(index: np.ndarray, seed: int, channel: int) -> np.ndarray:
    """Return numbers in 0..1 that depend on (index, seed, channel) alone: splitmix64's finaliser."""
    with np.errstate(over="ignore"):
        z = index.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z += np.uint64((seed * 1000 + channel) & 0xFFFFFFFF) * np.uint64(0xD1B54A32D192ED03)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return ((z ^ (z >> np.uint64(31))) >> np.uint64(11)) / np.float64(1 << 53)
