"""What is said when in a sound, for lips to be measured against: from its text, or as a network hears it."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from marotte.models.viseme.network import RATE, ROW, VisemeNetwork
from marotte.models.viseme.phones import BILABIALS, INDEX, OPENNESS, PHONES, mask
from marotte.runtime.lipsync.align import align
from marotte.runtime.lipsync.labelled import LabelledSpeech, Span
from marotte.runtime.lipsync.measure import bilabial_spans, joined, runs, within

# Frames so near to a phone are of speech: that lips close after the last one is a part of it.
AROUND = 0.25
_STEP = ROW / RATE
_MOUTH = 0.060  # seconds
# Sound that the network gets at once.
_PIECE = 10 * RATE
# A bilabial of the network's counts where it is this sure of it, in the mean over its rows.
_SURE = 0.5
BY_TEXT = "from the text, aligned with the sound by pocketsphinx"
BY_NETWORK = (
    "as Marotte's phone network hears the sound (every 20 ms the likeliest of 29 classes, none for 20 ms alone, "
    "bilabials where they are likelier than all else); the driver viseme hears with the same network"
)


@dataclass(frozen=True, eq=False)
class Speech:
    """A sound's phones. by: `text` or `network`; words: where they come from, in a sentence.

    bilabials: [N, 2] start and end in seconds of p, b and m, adjacent ones as one.
    """

    labelled: LabelledSpeech
    by: str
    words: str
    bilabials: np.ndarray

    @cached_property
    def talk(self) -> np.ndarray:
        """[N, 2] start and end in seconds of what is spoken without a pause."""
        return joined([(span.start, span.end) for span in self.labelled.spans if span.phone != "SIL"])

    def spoken(self, seconds: np.ndarray) -> np.ndarray:
        """Return which times [T] are of speech, or within 250 ms of it: [T] bool."""
        return within(seconds, self.talk, AROUND)

    def openness(self, seconds: np.ndarray) -> np.ndarray:
        """Return how far the lips part at the phones of times [T], 0 to 1, in the mean over 60 ms: no mouth jumps."""
        edges, opened = self._opened
        reached = [np.interp(seconds + side, edges, opened) for side in (-_MOUTH / 2, _MOUTH / 2)]
        return np.asarray((reached[1] - reached[0]) / _MOUTH)

    @cached_property
    def _opened(self) -> tuple[np.ndarray, np.ndarray]:
        """Times [2 N + 1], and the integral of the phones' openness up to each."""
        spans = self.labelled.spans
        edges = np.array([0.0, *(edge for span in spans for edge in (span.start, span.end))])
        gains = [OPENNESS[INDEX[span.phone]] * (span.end - span.start) for span in spans]
        opened = np.zeros(len(edges))
        opened[2::2] = np.cumsum(gains)
        opened[1::2] = opened[:-1:2]
        return edges, opened


def hear(sound: np.ndarray, text: str = "") -> Speech:
    """Return what is said in a sound [n] float32 at 16 kHz: aligned with its English text, or heard without one.

    Raises MarotteError where the text does not fit: see `marotte.runtime.lipsync.align`.
    """
    if text:
        labelled = align(sound, text)
        return Speech(labelled, "text", BY_TEXT, bilabial_spans(labelled))
    stream = VisemeNetwork.load().open()
    pieces = (sound[start : start + _PIECE] for start in range(0, len(sound), _PIECE))
    rows = [*(stream.feed(np.ascontiguousarray(piece, np.float32)) for piece in pieces), stream.finish()]
    return _heard(sound, np.concatenate([part.logits for part in rows]))


def _heard(sound: np.ndarray, logits: np.ndarray) -> Speech:
    """Return the phones of logits [n, 29], of which row i is for 20 i ms and stands for the 20 ms around that."""
    raised = np.exp(logits - logits.max(axis=1, keepdims=True, initial=-np.inf))
    chances = raised / raised.sum(axis=1, keepdims=True)
    best = _lasting(chances)
    edges = np.flatnonzero(np.diff(best)) + 1
    spans, closed = [], []
    for first, stop in zip(np.r_[0, edges], np.r_[edges, len(best)], strict=True):
        if stop > first:
            start, end = max((first - 0.5) * _STEP, 0.0), min((stop - 0.5) * _STEP, len(sound) / RATE)
            spans.append(Span(float(start), float(end), PHONES[best[first]]))
    together = chances[:, mask(BILABIALS)].sum(axis=1)
    for first, last in runs(mask(BILABIALS)[best]):
        if together[first : last + 1].mean() >= _SURE:
            closed.append((max((first - 0.5) * _STEP, 0.0), (last + 0.5) * _STEP))
    labelled = LabelledSpeech(sound, tuple(spans), "", "", "", "recording")
    return Speech(labelled, "network", BY_NETWORK, np.array(closed, float).reshape(-1, 2))


def _lasting(chances: np.ndarray) -> np.ndarray:
    """Return the likeliest class [n] of chances [n, 29]; one of a row alone gives way to the likelier neighbour."""
    best = chances.argmax(axis=1)
    for i in range(1, len(best) - 1):
        before, after = best[i - 1], best[i + 1]
        if before != best[i] != after:
            best[i] = before if chances[i, before] >= chances[i, after] else after
    return np.asarray(best)
