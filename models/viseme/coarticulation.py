"""From phones to articulators: what a mouth does between the targets of its phones, row by row as they come.

Each row of 20 ms asks for the targets of its phones (`articulation`), each phone in the measure of its chance. What
an articulator does is the mean of the targets of the rows around it, weighted by chance and dominance: the strength
of the phone for this articulator, falling with the time between (Cohen and Massaro 1993, there by segments, here by
rows). So a strong target is met on time, a weak one bends to its neighbours, a doubtful row pulls as far as it is
believed, and a rounded vowel lends its lips to the consonants before and after. Articulators have their own times:
the jaw drifts from vowel to vowel while the lips do the consonants. A row may look at the two after it (40 ms), in
which lips can come most of the way to a closure, and at twelve before.

A mean never quite arrives, but lips that miss a closure are seen at once. So three things act on the mean, each a
graded amount and never a switch:

- closure: the chance of a bilabial (p, b, m). From .45 on the lips shut and stay shut for three rows, which any
  display of 25 frames a second or more shows; below, they come as close as the chance is high. In noise, where
  nothing is sure, less chance will do. Around a closure lips
  are no further apart than they can travel in the time: an open vowel gives way, a close one need not.
- rest: silence, or sound far below the speaker's own level. It takes the mouth back within 140 ms, which gaps between
  words are too short for, and lets go of it 40 ms before speech.
- a least gap: in speech, lips that are not at a closure stay visibly apart.

Effort, how loud a vowel is beside the speaker's usual, opens jaw and lips wider or less wide. Closures do not care.
"""

from dataclasses import dataclass

import numpy as np

from marotte.models.viseme.articulation import ARTICULATORS, JAW, LIPS, TARGETS, dominance, posteriors, silence
from marotte.models.viseme.kernels import dense
from marotte.models.viseme.network import RATE, ROW, Rows
from marotte.models.viseme.phones import INDEX, SILENCE, VOWELS, mask

# Rows that a row looks at after itself and before.
AHEAD, BEHIND = 2, 12

# Gap of the lips in speech outside of closures, as a share of full opening: over the 5 % that count as closed.
LEAST_GAP = 0.085

# Whether: chance of a bilabial at its height from which lips begin to close for it, and from which on they shut.
_SURE = (0.25, 0.45)
# Noise, by the level in dB beside the peak that the sound has not been under lately: from clean to noisy. In noise a
# chance of a bilabial counts for so much more. What is lately: the lowest level rises so many dB a row.
_CLEAN, _NOISY, _IN_NOISE, _RISE = -24.0, -12.0, 0.25, 0.2
# When: share of that height at which they begin, and from which on they are shut.
_NOW = (0.45, 0.85)
# How far apart lips may be so many rows from a closure: they go 480 mm/s at most.
_TRAVEL = (0.0, 0.28, 0.56, 0.84)
# The gap that a closure half done leaves.
_HALF_DONE = 0.25

# Chance of anything but silence, and level in dB beside the speaker's peak: from rest to speech.
_SPEAKS = (0.3, 0.6)
_HEARD = (-40.0, -32.0)
# How much of speech is left before it (2 rows, 1 row) and after it (1 row, 2 rows and so on).
_WAKING, _SETTLING = (0.3, 0.75), (0.97, 0.88, 0.74, 0.56, 0.37, 0.19, 0.06)

# Effort of an ordinary vowel, how much wider lips and jaw are for an effort of 1 more, and bounds of their scale.
_USUAL_EFFORT, _PER_EFFORT, _SCALES = 0.92, 0.6, (0.75, 1.1)

_DOMINANCE = dominance(AHEAD, BEHIND, ROW / RATE)
_PULLS = _DOMINANCE * TARGETS
_NONE = np.zeros(len(ARTICULATORS), np.float32)
_OPENS = np.isin(np.arange(len(ARTICULATORS)), (JAW, LIPS))


@dataclass(frozen=True)
class Postures:
    """The mouth in n rows.

    values: [n, 7] the ARTICULATORS. ceiling: [n] the gap that lips must not be over because of a closure here or near,
    0 in it. rest: [n] 0..1, how much of all this is taken back to rest.
    """

    values: np.ndarray
    ceiling: np.ndarray
    rest: np.ndarray

    def __len__(self) -> int:
        return len(self.values)


class Coarticulation:
    """One mouth. Fed at once or in packets of any size, the postures are the same, bit for bit."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget the speaker: what was before is silence."""
        self._chances = silence(BEHIND)
        self._scale = np.ones(BEHIND, np.float32)
        self._speech = np.zeros(BEHIND, np.float32)
        self._bilabial = np.zeros(BEHIND, np.float32)
        self._floor = _CLEAN

    def feed(self, rows: Rows) -> Postures:
        """Take the network's next rows and return the postures that are now decided: those of all but two."""
        chances = posteriors(rows.logits)
        speech = _ramp(1 - chances[:, SILENCE], *_SPEAKS) * _ramp(rows.level, *_HEARD)
        scale = np.clip(1 + _PER_EFFORT * (rows.effort - _USUAL_EFFORT), *_SCALES)
        floor = np.array([self._follow(level) for level in rows.level.tolist()], np.float32)
        noise = _ramp(floor, _CLEAN, _NOISY)
        bilabial = (chances[:, INDEX["PB"]] + chances[:, INDEX["M"]]) * (1 + np.float32(_IN_NOISE) * noise)
        return self._take(chances, scale.astype(np.float32), speech, bilabial)

    def finish(self) -> Postures:
        """Say that the sound has ended, silence follows; return the postures that are left."""
        none = np.zeros(AHEAD, np.float32)
        return self._take(silence(AHEAD), np.ones(AHEAD, np.float32), none, none)

    def _follow(self, level: float) -> float:
        """Return the level that the sound has not been under lately."""
        self._floor = max(min(level, self._floor + _RISE), _CLEAN)
        return self._floor

    def _take(self, chances: np.ndarray, scale: np.ndarray, speech: np.ndarray, bilabial: np.ndarray) -> Postures:
        chances = self._chances = np.concatenate([self._chances, chances])
        scale = self._scale = np.concatenate([self._scale, scale])
        speech = self._speech = np.concatenate([self._speech, speech])
        count = max(0, len(chances) - BEHIND - AHEAD)
        bilabial = np.concatenate([self._bilabial, bilabial])
        self._chances, self._scale, self._speech = chances[count:], scale[count:], speech[count:]
        self._bilabial = bilabial[count:]
        shut = _shut(np.minimum(bilabial, np.float32(1)))
        rest = 1 - _around(speech, _WAKING, _SETTLING, count)
        values = _means(chances, scale, count)
        values[:, LIPS] = np.maximum(values[:, LIPS], LEAST_GAP)
        return Postures(values, _ceiling(shut, count), rest)


_IS_VOWEL = mask(VOWELS).astype(np.float32)


def _means(chances: np.ndarray, scale: np.ndarray, count: int) -> np.ndarray:
    """Return the weighted means of the targets [count, 7] for rows of chances and of the scale of vowels."""
    scaled = chances * (1 + _IS_VOWEL * (scale - 1)[:, None])
    weight = np.zeros((count, len(ARTICULATORS)), np.float32)
    pull = np.zeros_like(weight)
    for lag, (dominances, pulls) in enumerate(zip(_DOMINANCE, _PULLS, strict=True)):
        rows = slice(lag, lag + count)
        weight += dense(chances[rows], dominances, _NONE)
        pull += np.where(_OPENS, dense(scaled[rows], pulls, _NONE), dense(chances[rows], pulls, _NONE))
    return pull / weight


def _shut(chance: np.ndarray) -> np.ndarray:
    """Return how much lips are shut [n - 1] in all rows but the last, for chances [n] of a bilabial.

    The highest chance near by says whether there is one, the share of it says when, so that a sure one does not
    spread into the vowels beside it and a doubtful one is as long as any. Each lasts three rows at least.
    """
    here, next_ = chance[:-1], chance[1:]
    height = np.maximum(np.maximum(here, next_), np.concatenate([here[:1], here[:-1]]))
    shut = _ramp(height, *_SURE) * _ramp(here / np.maximum(height, np.float32(1e-6)), *_NOW)
    ago = [np.concatenate([np.zeros(rows, np.float32), shut[:-rows]]) for rows in range(1, 5)]
    began = 1 - ago[2]
    return np.max([shut, ago[0] * began, ago[1] * began * (1 - ago[3])], axis=0)


def _ceiling(shut: np.ndarray, count: int) -> np.ndarray:
    """Return the largest gap [count] from which, and to which, lips can still go to closures [n] near by."""
    most = np.float32(_HALF_DONE) * (1 - shut) / np.maximum(shut, np.float32(0.01))
    lags = range(1 - len(_TRAVEL), AHEAD)
    return np.min([most[BEHIND + lag :][:count] + np.float32(_TRAVEL[abs(lag)]) for lag in lags], axis=0)


def _around(x: np.ndarray, before: tuple[float, ...], after: tuple[float, ...], count: int) -> np.ndarray:
    """Return the largest of x [n] around each row from `BEHIND` on, [count]: what is near counts for less.

    before: what is left of it so many rows before, from the furthest to the next one; after: from the next one on.
    """
    lags = [(len(before) - i, share) for i, share in enumerate(before)] + [(0, 1.0)]
    lags += [(-i, share) for i, share in enumerate(after, 1)]
    around = [np.float32(share) * x[BEHIND + lag : BEHIND + lag + count] for lag, share in lags]
    return np.max(around, axis=0)


def _ramp(x: np.ndarray, zero: float, one: float) -> np.ndarray:
    """Return 0 up to `zero`, 1 from `one` on, a smooth step between."""
    share = np.clip((x - np.float32(zero)) / np.float32(one - zero), 0, 1)
    return share * share * (3 - 2 * share)
