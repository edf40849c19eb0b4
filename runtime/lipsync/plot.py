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


def plot(
    speech: LabelledSpeech,
    tracks: Sequence[tuple[str, LipTrack]],
    path: str | Path,
    pictures: Sequence[tuple[float, np.ndarray]] = (),
) -> None:
    """Write strips of 6 s: spectrogram, phones, and the lip gap of each named track, its closures marked.

    Bilabials are shaded. Of long speech the first minute is shown. pictures: (seconds, pixels [H, W, 3] uint8) to
    show in a row below the lips, in order of time. Raises MarotteError for a name that is none of a plot's.
    """
    path = Path(path)
    if path.suffix.lower() not in _SUFFIXES:
        raise MarotteError(f"plots cannot be written as {path}: use {', '.join(_SUFFIXES)}")
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    seconds = len(speech.samples) / SAMPLE_RATE
    strips = min(max(1, int(np.ceil(seconds / _STRIP))), _MOST_STRIPS)
    heights = [1.3, 0.45, 1.6, *([1.2] if pictures else [])]
    figure, axes = plt.subplots(
        len(heights) * strips,
        figsize=(14, 1.075 * sum(heights) * strips),
        layout="constrained",
        squeeze=False,
        gridspec_kw={"height_ratios": heights * strips},
    )
    for strip in range(strips):
        sound, phones, lips, *row = axes[len(heights) * strip :, 0][: len(heights)]
        _draw_sound(sound, speech.samples)
        _draw_phones(phones, speech)
        _draw_lips(lips, speech, tracks)
        for axis in (sound, phones, lips):
            axis.set_xlim(strip * _STRIP, strip * _STRIP + min(_STRIP, seconds))
        for axis in (sound, phones):
            axis.set_xticks([])
        for axis in row:
            shown = [(at, pixels) for at, pixels in pictures if strip * _STRIP <= at < (strip + 1) * _STRIP]
            _draw_pictures(axis, lips, shown)
    axes[0, 0].set_title(f"{speech.text[:120]} ({speech.synthesiser} {speech.voice})".strip(), fontsize="medium")
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
    axis.set(ylim=(-0.02 - 0.03 * len(tracks), highest), ylabel="lip gap", xlabel="seconds")
    axis.grid(alpha=0.3)


def _draw_pictures(axis: Any, lips: Any, shown: Sequence[tuple[float, np.ndarray]]) -> None:
    """Put the pictures side by side, each under a dotted line in the lips' axis at its time, with a letter for both."""
    axis.set_axis_off()
    if not shown:
        return
    room = 12
    height, width = shown[0][1].shape[:2]
    strip = np.full((height, len(shown) * (width + room) - room, 3), 255, np.uint8)
    for index, (at, pixels) in enumerate(shown):
        left = index * (width + room)
        strip[:, left : left + width] = pixels
        letter = chr(ord("a") + index % 26)
        axis.text(left + 8, 8, letter, va="top", fontsize=11, weight="bold")
        lips.axvline(at, color="black", linewidth=0.6, linestyle=":")
        lips.text(at, lips.get_ylim()[1], letter, ha="center", va="bottom", fontsize=9, weight="bold")
    axis.imshow(strip)


def _colour(phone: str) -> str:
    if phone in BILABIALS:
        return _BILABIAL
    if phone in BACK_ROUNDED:
        return _ROUNDED
    return _VOWEL if phone in VOWELS else _OTHER
