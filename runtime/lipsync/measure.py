"""The figures of lip sync: how well the lips of a motion follow speech whose phones are known.

`DEFINITIONS` says in words what each figure is. Figures are pooled over utterances; their intervals come from
drawing whole utterances again and again (Efron's bootstrap, percentiles 2.5 and 97.5).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from marotte.models.viseme.phones import BACK_ROUNDED, BILABIALS, OPENNESS, SILENCE, VOWELS, mask
from marotte.runtime.contracts import SAMPLE_RATE
from marotte.runtime.lipsync.labelled import LabelledSpeech
from marotte.runtime.lipsync.lips import LipTrack

CLOSED = 0.05  # of the gap at full jaw opening
NEAR = 0.060  # seconds
FROM_SPEECH = 0.150  # seconds
UNDER_FLOOR = 10.0  # dB
LARGEST_LAG = 0.200  # seconds
_LAG_STEP = 0.010
# Shorter unlabelled time is rounding between two phones, not a pause.
_SHORTEST_PAUSE = 0.020
_LEVEL_WINDOW = SAMPLE_RATE // 50
_STOPS = ("PB", "TD", "KG", "CH")

DEFINITIONS = {
    "recall": "closure recall: of the bilabials (p, b, m; adjacent ones are one; those between two pauses left out), "
    "the share during which, or within 60 ms of which, the lips are closed: the inner lips' gap is under 5 % of the "
    "gap at full jaw opening",
    "precision": "closure precision: of the episodes of closed lips in speech (more than 60 ms from any pause), the "
    "share within 60 ms of a bilabial. An episode is an unbroken run of closed frames; what of it goes on for more "
    "than 60 ms outside of that neighbourhood is an episode of its own, and a wrong one",
    "f1": "closure F1: the harmonic mean of closure recall and precision; 0 where the lips never close",
    "openness": "Pearson's r of the lips' gap with the openness of the vowel spoken, over the frames of vowels",
    "openness_all": "Pearson's r of the lips' gap with the openness of the phone spoken, over all frames",
    "lag": "lag in ms: the shift within 200 ms at which the lips' gap follows the phones' openness best over all "
    "frames (r, with parabolic interpolation); above 0 the lips are late",
    "rounding": "area under the ROC curve of the lips' rounding, which tells back rounded vowels (AO, OW, UW) from the "
    "other vowels (YY and ER left out); .5 is chance",
    "silence": "share of frames with closed lips where the sound of 20 ms is 10 dB under the speech floor (the 10th "
    "percentile of level in phones that are no stops) and speech is more than 150 ms away",
    "largest_gap": "largest gap of the lips on sound that is no speech, as a share of the gap at full jaw opening",
    "high_gap": "the 99th percentile of the same gap",
}


@dataclass(frozen=True)
class Figure:
    """A figure with its 95 % interval; NaN where nothing decides it, as the interval of a single utterance.

    count: of what it was taken over: bilabials, episodes, frames.
    """

    value: float
    low: float
    high: float
    count: int


@dataclass(frozen=True)
class Figures:
    """Lip sync on labelled speech; `DEFINITIONS` says what each figure is. seconds: of sound."""

    recall: Figure
    precision: Figure
    f1: Figure
    openness: Figure
    openness_all: Figure
    lag: Figure
    rounding: Figure
    silence: Figure
    utterances: int
    seconds: float


@dataclass(frozen=True)
class Stillness:
    """How still the lips are on sound that is no speech: gaps as shares of full opening. seconds: of sound."""

    largest_gap: float
    high_gap: float
    clips: int
    seconds: float


def measure(pairs: Sequence[tuple[LipTrack, LabelledSpeech]], *, resamples: int = 1000, seed: int = 0) -> Figures:
    """Return the figures of lip tracks, each with the speech that it was made from."""
    rng = np.random.default_rng(seed)
    count = len(pairs)
    # Row 0 takes each utterance once; the others are draws with replacement: [1 + resamples, utterances].
    draws = rng.multinomial(count, np.full(count, 1 / count), resamples) if count > 1 else np.zeros((0, count))
    weights = np.concatenate([np.ones((1, count)), draws])

    closures = weights @ np.array([_closures(*pair) for pair in pairs], float).reshape(count, 4)
    hits, bilabials, right, wrong = closures.T
    recall, precision = ratio(hits, bilabials), ratio(right, right + wrong)
    vowels = weights @ np.array([_moments(*_vowel_frames(*pair)) for pair in pairs]).reshape(count, 6)
    shifts = lags()
    shifted = np.array([[_moments(t.gap, _openness(s, t.seconds - lag)) for lag in shifts] for t, s in pairs])
    at_lags = pearson(np.einsum("bu,ulk->blk", weights, shifted.reshape(count, len(shifts), 6)))
    quiet = weights @ np.array([_silence(*pair) for pair in pairs], float).reshape(count, 2)
    wins, rounded, others = _rounding(pairs)
    return Figures(
        recall=_figure(recall, bilabials),
        precision=_figure(precision, right + wrong),
        f1=_figure(
            np.where(bilabials > 0, np.nan_to_num(ratio(2 * recall * precision, recall + precision)), np.nan),
            bilabials,
        ),
        openness=_figure(pearson(vowels), vowels[:, 0]),
        openness_all=_figure(at_lags[:, len(shifts) // 2], weights @ [len(track) for track, _ in pairs]),
        lag=_figure(peak(shifts, at_lags) * 1000, weights @ [len(track) for track, _ in pairs]),
        rounding=_figure(
            ratio(np.einsum("bi,ij,bj->b", weights, wins, weights), (weights @ rounded) * (weights @ others)),
            weights @ (rounded + others),
        ),
        silence=_figure(ratio(*quiet.T), quiet[:, 1]),
        utterances=count,
        seconds=sum(len(speech.samples) for _, speech in pairs) / SAMPLE_RATE,
    )


def stillness(tracks: Sequence[LipTrack]) -> Stillness:
    """Return how still lips are on clips that hold no speech."""
    gap = np.concatenate([track.gap for track in tracks] or [np.zeros(0)])
    largest, high = (gap.max(), np.percentile(gap, 99)) if len(gap) else (np.nan, np.nan)
    return Stillness(float(largest), float(high), len(tracks), sum(len(t) / float(t.fps) for t in tracks))


def bilabial_spans(speech: LabelledSpeech) -> np.ndarray:
    """Return [N, 2] start and end of the bilabials in seconds: adjacent ones are one, lone ones in pauses left out."""
    spans = joined([(span.start, span.end) for span in speech.spans if span.phone in BILABIALS])
    pauses = _pauses(speech)
    alone = [np.isclose(pauses[:, 1], a).any() and np.isclose(pauses[:, 0], b).any() for a, b in spans]
    return spans[~np.array(alone, bool)]


def closed_episodes(track: LipTrack) -> np.ndarray:
    """Return [N, 2] first and last frame of each unbroken run of closed lips."""
    return runs(track.gap < CLOSED)


def _closures(track: LipTrack, speech: LabelledSpeech) -> tuple[int, int, int, int]:
    """Return bilabials met, bilabials, right and wrong episodes of closed lips."""
    seconds, closed, spans = track.seconds, track.gap < CLOSED, bilabial_spans(speech)
    met = sum(bool(closed[(seconds >= a - NEAR) & (seconds <= b + NEAR)].any()) for a, b in spans)
    in_speech = ~within(seconds, _pauses(speech), NEAR)
    in_reach = within(seconds, spans, NEAR)
    good, stray = closed & in_speech & in_reach, closed & in_speech & ~in_reach
    episodes = closed_episodes(track)
    is_right = np.array([good[first : last + 1].any() for first, last in episodes], bool)
    wrong = 0
    for first, last in runs(stray):
        hangs_on = is_right[np.searchsorted(episodes[:, 0], first, "right") - 1]
        wrong += not hangs_on or (last + 1 - first) / float(track.fps) > NEAR
    return met, len(spans), int(is_right.sum()), wrong


def _vowel_frames(track: LipTrack, speech: LabelledSpeech) -> tuple[np.ndarray, np.ndarray]:
    phones = speech.phones_at(track.seconds)
    vowel = mask(VOWELS)[phones]
    return track.gap[vowel], OPENNESS[phones[vowel]]


def _openness(speech: LabelledSpeech, seconds: np.ndarray) -> np.ndarray:
    return OPENNESS[speech.phones_at(seconds)]


def _silence(track: LipTrack, speech: LabelledSpeech) -> tuple[int, int]:
    """Return silent frames with closed lips, and silent frames."""
    seconds = track.seconds
    phones = speech.phones_at(seconds)
    level = _level(speech.samples, seconds)
    spoken = level[(phones != SILENCE) & ~mask(_STOPS)[phones]]
    if not len(spoken):
        return 0, 0
    talk = joined([(span.start, span.end) for span in speech.spans if span.phone != "SIL"])
    quiet = (level < np.percentile(spoken, 10) - UNDER_FLOOR) & ~within(seconds, talk, FROM_SPEECH)
    return int((track.gap[quiet] < CLOSED).sum()), int(quiet.sum())


def _level(samples: np.ndarray, seconds: np.ndarray) -> np.ndarray:
    """Return the level [T] in dB of full scale of the 20 ms around each time."""
    energy = np.concatenate([[0], np.cumsum(np.square(samples, dtype=np.float64))])
    middle = np.round(seconds * SAMPLE_RATE).astype(int)
    first = np.clip(middle - _LEVEL_WINDOW // 2, 0, len(samples))
    last = np.clip(middle + _LEVEL_WINDOW // 2, 0, len(samples))
    return 10 * np.log10(np.maximum(energy[last] - energy[first], 0) / np.maximum(last - first, 1) + 1e-12)


def _rounding(pairs: Sequence[tuple[LipTrack, LabelledSpeech]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return wins [U, U] of utterance i's rounded vowels over j's others (a tie is half), and frames [U] of each."""
    rounded, others = [], []
    for track, speech in pairs:
        phones = speech.phones_at(track.seconds)
        is_rounded = mask(BACK_ROUNDED)[phones]
        rounded.append(track.rounding[is_rounded])
        others.append(np.sort(track.rounding[mask(VOWELS)[phones] & ~is_rounded & ~mask(("YY", "ER"))[phones]]))
    sizes = np.array([len(values) for values in rounded], int)
    owner = np.repeat(np.arange(len(pairs)), sizes)
    values = np.concatenate(rounded or [np.zeros(0)])
    wins = np.zeros((len(pairs), len(pairs)))
    for j, beaten in enumerate(others):
        won = (np.searchsorted(beaten, values, "left") + np.searchsorted(beaten, values, "right")) / 2
        wins[:, j] = np.bincount(owner, won, len(pairs))
    return wins, sizes, np.array([len(values) for values in others], int)


def _pauses(speech: LabelledSpeech) -> np.ndarray:
    """Return [N, 2] start and end of the time in which nothing is spoken; the ends of the sound are open."""
    talk = joined([(span.start, span.end) for span in speech.spans if span.phone != "SIL"])
    edges = np.concatenate([[-np.inf], talk.ravel(), [np.inf]]).reshape(-1, 2)
    return edges[edges[:, 1] - edges[:, 0] >= _SHORTEST_PAUSE]


def joined(spans: Sequence[tuple[float, float]]) -> np.ndarray:
    """Return [N, 2] spans in order, those that touch (within the labels' rounding, 1 ms) made one."""
    array = np.array(spans, float).reshape(-1, 2)
    if not len(array):
        return array
    apart = array[1:, 0] > array[:-1, 1] + 0.001
    return np.stack([array[np.r_[True, apart], 0], array[np.r_[apart, True], 1]], axis=1)


def within(seconds: np.ndarray, spans: np.ndarray, margin: float) -> np.ndarray:
    """Return [T] bool: which times lie in one of the spans [N, 2], which do not overlap, or within `margin` of it."""
    if not len(spans):
        return np.zeros(len(seconds), bool)
    before = np.searchsorted(spans[:, 0] - margin, seconds, "right") - 1
    return (before >= 0) & (seconds <= spans[np.maximum(before, 0), 1] + margin)


def runs(on: np.ndarray) -> np.ndarray:
    """Return [N, 2] first and last index of each run of True."""
    edge = np.diff(np.concatenate([[0], on.astype(np.int8), [0]]))
    return np.stack([np.flatnonzero(edge == 1), np.flatnonzero(edge == -1) - 1], axis=1)


def _moments(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return [6]: count and sums from which Pearson's r of pooled utterances follows."""
    x, y = x.astype(np.float64), y.astype(np.float64)
    return np.array([len(x), x.sum(), y.sum(), x @ x, y @ y, x @ y])


def pearson(moments: np.ndarray) -> np.ndarray:
    """Return r [...] of moments [..., 6]; NaN where one side does not vary."""
    n, x, y, xx, yy, xy = np.moveaxis(moments, -1, 0)
    variances = np.maximum(n * xx - x * x, 0), np.maximum(n * yy - y * y, 0)
    # What rounding leaves of a constant's variance is none.
    varies = (variances[0] > 1e-9 * n * xx) & (variances[1] > 1e-9 * n * yy)
    return np.where(varies, (n * xy - x * y) / np.sqrt(np.where(varies, variances[0] * variances[1], 1)), np.nan)


def lags(largest: float = LARGEST_LAG) -> np.ndarray:
    """Return the shifts [L] in seconds, up to the largest either way, at which r is looked at."""
    steps = round(largest / _LAG_STEP)
    return np.arange(-steps, steps + 1) * _LAG_STEP


def peak(shifts: np.ndarray, r: np.ndarray) -> np.ndarray:
    """Return the lag [B] of the largest of r [B, L] at `lags`, between the steps by a parabola; NaN where r is."""
    known = ~np.isnan(r).any(axis=1)
    filled = np.where(known[:, None], r, 0)
    best = np.clip(np.argmax(filled, axis=1), 1, len(shifts) - 2)
    left, middle, right = (np.take_along_axis(filled, (best + i)[:, None], 1)[:, 0] for i in (-1, 0, 1))
    bend = left - 2 * middle + right
    shift = np.where(bend < 0, (left - right) / np.where(bend < 0, 2 * bend, 1), 0)
    return np.where(known, shifts[best] + np.clip(shift, -1, 1) * _LAG_STEP, np.nan)


def ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Return part / whole; NaN where the whole is none."""
    return np.where(whole > 0, part / np.where(whole > 0, whole, 1), np.nan)


def _figure(values: np.ndarray, counts: np.ndarray) -> Figure:
    """Return the figure of values [1 + resamples], of which the first is the figure itself."""
    drawn = values[1:][~np.isnan(values[1:])]
    low, high = np.percentile(drawn, (2.5, 97.5)) if len(drawn) and not np.isnan(values[0]) else (np.nan, np.nan)
    return Figure(float(values[0]), float(low), float(high), int(counts[0]))
