"""Labelled speech: sound with the phone that is spoken at each moment."""

from dataclasses import dataclass

import numpy as np

from marotte.models.viseme.phones import INDEX, SILENCE


@dataclass(frozen=True)
class Span:
    """One phone class (a name of `PHONES`) from `start` to `end`, seconds from the first sample."""

    start: float
    end: float
    phone: str


@dataclass(frozen=True)
class LabelledSpeech:
    """Sound [n] float32 mono at 16 kHz, and its phones in order of time, without overlap.

    synthesiser: `espeak`, `flite`, `festival`, or `recording`. language: as `en`, `cmn`, `it`.
    """

    samples: np.ndarray
    spans: tuple[Span, ...]
    text: str
    language: str
    voice: str
    synthesiser: str

    def phones_at(self, seconds: np.ndarray) -> np.ndarray:
        """Return the class indices [T] at times [T]; SIL where no span is."""
        starts = np.array([span.start for span in self.spans])
        ends = np.array([span.end for span in self.spans])
        classes = np.array([INDEX[span.phone] for span in self.spans], np.int64)
        if not len(starts):
            return np.full(len(seconds), SILENCE)
        at = np.searchsorted(starts, seconds, "right") - 1
        inside = (at >= 0) & (seconds < ends[np.maximum(at, 0)])
        return np.where(inside, classes[np.maximum(at, 0)], SILENCE)
