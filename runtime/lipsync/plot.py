"""A plot of phones over lips: what is said, and how far the lips part at it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from marotte.errors import MarotteError
from marotte.models.viseme.phones import BACK_ROUNDED, BILABIALS, VOWELS
from marotte.runtime.contracts import SAMPLE_RATE
from marotte.runtime.lipsync.labelled import LabelledSpeech
from marotte.runtime.lipsync.lips import LipTrack
from marotte.runtime.lipsync.measure import CLOSED, bilabial_spans, closed_episodes
from marotte.runtime.whole_file import written_whole

_STRIP = 6.0  # seconds in a strip
_MOST_STRIPS = 10
_SUFFIXES = (".png", ".svg", ".pdf")
_BILABIAL, _ROUNDED, _VOWEL, _OTHER = "#d1495b", "#8f6bbf", "#edae49", "#cbd5dc"


def plot(speech: LabelledSpeech, tracks: Sequence[tuple[str, LipTrack]], path: str | Path) -> None:
    """Write strips of 6 s: spectrogram, phones, and the lip gap of each named track, its closures marked.

    Bilabials are shaded. Of long speech the first minute is shown. Raises MarotteError for a name that is none of a
    plot's.
    """
    path = Path(path)
    if path.suffix.lower() not in _SUFFIXES:
        raise MarotteError(f"plots cannot be written as {path}: use {', '.join(_SUFFIXES)}")
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    seconds = len(speech.samples) / SAMPLE_RATE
    strips = min(max(1, int(np.ceil(seconds / _STRIP))), _MOST_STRIPS)
    figure, axes = plt.subplots(
        3 * strips,
        figsize=(14, 3.6 * strips),
        layout="constrained",
        squeeze=False,
        gridspec_kw={"height_ratios": [1.3, 0.45, 1.6] * strips},
    )
    for strip in range(strips):
        sound, phones, lips = axes[3 * strip : 3 * strip + 3, 0]
        _draw_sound(sound, speech.samples)
        _draw_phones(phones, speech)
        _draw_lips(lips, speech, tracks)
        for axis in (sound, phones, lips):
            axis.set_xlim(strip * _STRIP, strip * _STRIP + min(_STRIP, seconds))
        for axis in (sound, phones):
            axis.set_xticks([])
    axes[0, 0].set_title(f"{speech.text[:120]} ({speech.synthesiser} {speech.voice})".strip(), fontsize="medium")
    axes[-1, 0].set_xlabel("seconds")
    axes[2, 0].legend(loc="upper right", fontsize="small", frameon=False)
    try:
        with written_whole(path) as part:
            figure.savefig(part, dpi=90, format=path.suffix[1:].lower())
    finally:
        plt.close(figure)


def _draw_sound(axis: Any, samples: np.ndarray) -> None:
    """The spectrogram up to 6 kHz, in dB over 60 dB."""
    if len(samples) > 512:
        axis.specgram(samples + 1e-9, NFFT=256, noverlap=176, Fs=SAMPLE_RATE, cmap="Greys", vmin=_floor(samples))
    axis.set(ylim=(0, 6000), yticks=[0, 3000], ylabel="Hz")


def _floor(samples: np.ndarray) -> float:
    """The level that is drawn white: 90 dB under that of the sound (a spectrogram is in dB a hertz)."""
    return float(10 * np.log10(np.mean(np.square(samples, dtype=float)) + 1e-12)) - 90


def _draw_phones(axis: Any, speech: LabelledSpeech) -> None:
    for span in speech.spans:
        if span.phone == "SIL":
            continue
        axis.axvspan(span.start, span.end, facecolor=_colour(span.phone), edgecolor="white")
        axis.text((span.start + span.end) / 2, 0.5, span.phone, ha="center", va="center", fontsize=7, clip_on=True)
    axis.set(ylim=(0, 1), yticks=[])


def _draw_lips(axis: Any, speech: LabelledSpeech, tracks: Sequence[tuple[str, LipTrack]]) -> None:
    for start, end in bilabial_spans(speech):
        axis.axvspan(start, end, color=_BILABIAL, alpha=0.2, linewidth=0)
    axis.axhline(CLOSED, color="grey", linewidth=0.6, linestyle=":")
    highest = 0.2
    for index, (name, track) in enumerate(tracks):
        (line,) = axis.plot(track.seconds, track.gap, linewidth=1.4, label=name)
        highest = max(highest, float(track.gap.max(initial=0)) * 1.05)
        for first, last in closed_episodes(track):
            ends = np.array([first, last + 1]) / float(track.fps)
            axis.plot(ends, [-0.02 - 0.02 * index] * 2, color=line.get_color(), linewidth=3, solid_capstyle="butt")
    axis.set(ylim=(-0.02 - 0.03 * len(tracks), highest), ylabel="lip gap")
    axis.grid(alpha=0.3)


def _colour(phone: str) -> str:
    if phone in BILABIALS:
        return _BILABIAL
    if phone in BACK_ROUNDED:
        return _ROUNDED
    return _VOWEL if phone in VOWELS else _OTHER
