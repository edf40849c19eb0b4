"""Idle life as functions of time and a seed: when the eyes blink, gaze, small head motion, breath.

They need no history, so any frame rate can sample them and packets do not change them. Timing follows
common measurements of people in conversation: a blink every 2 to 6 s that shuts in 90 ms and opens in
170 ms, fixations of about a second joined by saccades of 40 ms, 14 breaths a minute.
"""

import numpy as np

BLINK_EVERY = 3.7
BLINK_SHUT, BLINK_HOLD, BLINK_OPEN = 0.09, 0.03, 0.17
BLINK_SECONDS = BLINK_SHUT + BLINK_HOLD + BLINK_OPEN
DOUBLE_BLINK_SHARE, DOUBLE_BLINK_AFTER = 0.15, 0.33
FIXATION = 1.3
SACCADE = 0.045
BREATH_HZ = 14 / 60
# Channels of chance: a saccade's moment, then its target; three axes of slow sway, then of quick, and their pace.
_GAZE_CHANNELS = np.arange(3, 7)
_SWAY_CHANNELS = np.array([10, 11, 12, 20, 21, 22])
_SWAY_SECONDS = np.array([3.1, 3.1, 3.1, 1.1, 1.1, 1.1])


def blink_starts(slot: int, seed: int) -> tuple[float, ...]:
    """Return when the blink of a slot of `BLINK_EVERY` seconds starts, and the one right after it, if there is one."""
    index = np.array([slot])
    start = BLINK_EVERY * (slot + 0.35 + 0.55 * float(uniform(index, seed, 1)[0]))
    double = uniform(index, seed, 2)[0] < DOUBLE_BLINK_SHARE
    return (start, start + DOUBLE_BLINK_AFTER) if double else (start,)


def one_blink(after: np.ndarray) -> np.ndarray:
    """Return how far the lids are shut, [T] from 0 to 1, so many seconds after a blink's start."""
    closing = smoothstep(after / BLINK_SHUT)
    opening = smoothstep((after - BLINK_SHUT - BLINK_HOLD) / BLINK_OPEN)
    return closing * (1 - opening)


def gaze(seconds: np.ndarray, seed: int) -> np.ndarray:
    """Return gaze as rotation vectors [T, 3]: mostly on the viewer, now and then a glance aside."""
    slot = np.floor(seconds / FIXATION).astype(np.int64)
    slots = np.stack([slot - 1, slot])
    chance = uniform(slots[..., None], seed, _GAZE_CHANNELS)
    # Each slot holds one saccade, at a jittered moment, from the target before to the slot's own.
    begin = FIXATION * (slot + 0.1 + 0.75 * chance[1, :, 0])
    moved = smoothstep((seconds - begin) / SACCADE)[:, None]
    before, now = _targets(slots, chance[..., 1:])
    return ((1 - moved) * before + moved * now).astype(np.float32)


def head_sway(seconds: np.ndarray, seed: int) -> np.ndarray:
    """Return small head rotation vectors [T, 3] in radians."""
    noise = _noise(seconds[:, None] / _SWAY_SECONDS, seed, _SWAY_CHANNELS)
    slow, quick = noise[:, :3], noise[:, 3:]
    breathing = np.sin(2 * np.pi * BREATH_HZ * seconds + seed)[:, None] * (-0.10, 0, 0)
    start = smoothstep(seconds / 1.5)[:, None]  # the first frame stands straight
    return (start * np.deg2rad(slow * (1.1, 1.9, 0.9) + quick * (0.35, 0.4, 0.25) + breathing)).astype(np.float32)


def breath(seconds: np.ndarray, seed: int) -> np.ndarray:
    """Return the lift of breathing, [T, 3] metres."""
    lift = 0.5 * np.sin(2 * np.pi * BREATH_HZ * seconds + seed) - 0.5 * np.sin(seed)
    return np.stack([0 * lift, 0.0012 * lift, 0 * lift], axis=1).astype(np.float32)


def _targets(slots: np.ndarray, chance: np.ndarray) -> np.ndarray:
    """Return where one looks in slots [..., T], as rotation vectors [..., T, 3], by three chances each."""
    aside = np.where(chance[..., 0] < 0.18, 6.0, 1.2)
    up = (2 * chance[..., 1] - 1) * aside * 0.5
    left = (2 * chance[..., 2] - 1) * aside
    return np.deg2rad(np.stack([up, left, 0 * up], axis=-1)) * (slots >= 0)[..., None]


def _noise(at: np.ndarray, seed: int, channels: np.ndarray) -> np.ndarray:
    """Return smooth noise in -1..1 at [T, C], with knots at the integers; each column has its channel."""
    knot = np.floor(at).astype(np.int64)
    low, high = 2 * uniform(np.stack([knot, knot + 1]), seed, channels) - 1
    return low + (high - low) * smoothstep(at - knot)


def smoothstep(x: np.ndarray) -> np.ndarray:
    """Return 0 up to 0, 1 from 1 on, and a way between them with no jump in speed or acceleration."""
    x = np.minimum(np.maximum(x, 0), 1)
    return x * x * x * (x * (6 * x - 15) + 10)


def uniform(index: np.ndarray, seed: int, channel: int | np.ndarray) -> np.ndarray:
    """Return numbers in 0..1 that depend on (index, seed, channel) alone: splitmix64's finaliser.

    channel: one, or an array that goes with `index` by numpy's rules.
    """
    # Arrays, whose products wrap around without a word; single numbers' would warn.
    key = np.atleast_1d((seed * 1000 % 2**32 + channel) & 0xFFFFFFFF).astype(np.uint64) * np.uint64(0xD1B54A32D192ED03)
    z = index.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + key
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return ((z ^ (z >> np.uint64(31))) >> np.uint64(11)) / np.float64(1 << 53)
