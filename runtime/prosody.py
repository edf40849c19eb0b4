"""Prosody: when a speaker pauses, which syllables are stressed and where the pitch rises.

For what a face does beside the words: it blinks at pauses, nods at stress, lifts its brows at pitch
accents. Plain signal processing and nothing learned, so that it works in any language and after any
driver. Every 20 ms it measures level and pitch; everything is judged against what the same speaker
did in the seconds before:

- a pause is 200 ms of silence, or 400 ms without voice, after half a second of speech;
- a stress is a syllable's nucleus that is louder and longer than the speaker's usual ones (level and
  duration carry prominence: Silipo and Greenberg 1999, Kochanski et al. 2005);
- an accent is a peak or a rise of the pitch over the speaker's median: by 5 semitones where the speaker's
  pitch moves much, by less where it moves little, never under the 1.5 that are heard as prominent
  (Rietveld and Gussenhoven 1985).

It never looks ahead: an event carries the time at which it is known, some 40 to 80 ms after a peak.
What does not speak (noise, hum, breath) makes next to no events: it has no voice, or no syllables.
"""

from bisect import bisect_left, insort
from collections import deque
from dataclasses import dataclass

import numpy as np

from marotte.runtime.contracts import SAMPLE_RATE

HOP = 320  # samples: 20 ms
WINDOW = 2 * HOP
FFT = 1024

PAUSE, STRESS, ACCENT = "pause", "stress", "accent"

# No two events of a kind come closer than this, in seconds: faces nod and lift brows no faster.
APART = {PAUSE: 0.0, STRESS: 0.6, ACCENT: 1.2}

# What is silence, in dB: below full scale, above the speaker's floor (the quietest frame of 2 s), and
# below the speaker's peak, which falls by so many dB a frame.
_GATE, _OVER_FLOOR, _UNDER_PEAK = -58.0, 8.0, 25.0
_FLOOR_FRAMES, _PEAK_FALL = 100, 0.04

# Frames that make a pause: of silence, or without voice, for where noise fills the silence and because no
# consonants last so long; and of speech and of voice that must come before it.
_PAUSE_FRAMES, _VOICELESS_FRAMES = 10, 20
_SPEECH_FRAMES, _VOICED_FRAMES = 25, 10
_LONG_SPEECH_FRAMES = 150  # a pause after this much speech has strength 1

# A nucleus is known once the level has fallen so far (dB) from its peak, or the voice has ended; the next
# one begins once it has risen as far. It lasts while it is within so many dB of its peak.
_NUCLEUS_FALL, _NUCLEUS_EDGE = 2.0, 3.0
_NUCLEUS_FRAMES, _LONGEST_NUCLEUS = 3, 25
# What the speaker usually does: the last nuclei, about 6 s of them, and how many there must be to judge.
_USUAL_NUCLEI, _FIRST_NUCLEI = 24, 3
# How much a nucleus stands out: its level over the usual in units of 4 dB, and its length in units of 80 ms.
_LEVEL_UNIT, _LENGTH_UNIT, _MOST_LENGTH = 4.0, 4.0, 1.5
# Stressed is what stands out so much, and more than this share of the speaker's nuclei.
_STRESSED, _STRESSED_SHARE, _FULL_STRESS = 0.6, 0.7, 2.0

_PITCH_LOW, _PITCH_HIGH = 65, 500
_VOICED = 0.55  # the least periodicity of a voiced frame
_LONGEST_VOICE = 150  # frames: what goes on for longer without a break hums, and is no speech
_USUAL_PITCHES, _FIRST_PITCHES = 500, 15  # voiced frames: about 15 s of speech, and 0.3 s
_SMOOTHED_PITCHES, _BRIDGED_FRAMES = 5, 3  # by their median; unvoiced frames that do not end an accent
# An accent is so many times as high over the speaker's median as the 84th percentile is, in these bounds (semitones).
_ACCENT_LEAST, _ACCENT_SPREADS, _ACCENT_MOST = 1.5, 1.4, 5.0
_FULL_ACCENT, _WILD_SEMITONES = 2.0, 15.0  # times that for strength 1; what is higher is a wrong measurement
_ACCENT_FRAMES, _STEADY_FRAMES = 3, 3  # that high at least, and without a new peak: the rise is over


@dataclass(frozen=True)
class Event:
    """Something heard. kind: PAUSE, STRESS or ACCENT. strength: above 0, up to 1.

    seconds: from the first sample to the moment at which it is known; no later sound counts.
    """

    kind: str
    seconds: float
    strength: float


@dataclass(frozen=True)
class Heard:
    """One frame. level: dB below full scale. pitch: in semitones over 1 Hz, None where nothing is voiced."""

    level: float
    pitch: float | None = None


class Prosody:
    """Listens to one speaker. Fed at once or in packets of any size, the events are the same."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget the speaker: the next sample is the first."""
        self._held = np.zeros(WINDOW - HOP, np.float32)  # silence before the first sample
        self._hops = 0
        self._lag = 0.0  # of the frame before, 0 where it had no voice
        self._voice = 0  # frames since it began
        self._silence = _Silence()
        self._listeners: dict[str, _Pauses | _Stresses | _Accents] = {
            PAUSE: _Pauses(),
            STRESS: _Stresses(),
            ACCENT: _Accents(),
        }
        self._last = dict.fromkeys(APART, -np.inf)

    def feed(self, samples: np.ndarray) -> list[Event]:
        """Take sound [n] float32 at 16 kHz mono; return the events that are now known, in order of time."""
        self._held = np.concatenate([self._held, samples])
        count = max(0, (len(self._held) - WINDOW) // HOP + 1)
        events = [event for hop in range(count) for event in self._step(self._held[hop * HOP : hop * HOP + WINDOW])]
        self._held = self._held[count * HOP :]
        return events

    def _step(self, window: np.ndarray) -> list[Event]:
        power, level = _power(window)
        self._hops += 1
        seconds = self._hops * HOP / SAMPLE_RATE
        sounds = self._silence.over(level)
        lag, periodicity = _period(power, self._lag) if sounds else (0.0, 0.0)
        self._lag = lag if periodicity >= _VOICED else 0.0
        self._voice = self._voice + 1 if self._lag else 0
        speaks = 0 < self._voice <= _LONGEST_VOICE
        heard = Heard(level, 12 * np.log2(SAMPLE_RATE / lag) if speaks else None) if sounds else None
        events = []
        for kind, listener in self._listeners.items():
            strength = listener.step(heard)
            if strength > 0 and seconds - self._last[kind] >= APART[kind]:
                self._last[kind] = seconds
                events.append(Event(kind, seconds, min(strength, 1.0)))
        return events


class _Silence:
    """Tells sound from silence by the speaker's own floor and peak."""

    def __init__(self) -> None:
        self._peak = -30.0
        self._levels: deque[float] = deque(maxlen=_FLOOR_FRAMES)

    def over(self, level: float) -> bool:
        self._levels.append(level)
        self._peak = max(self._peak - _PEAK_FALL, level, _GATE + _UNDER_PEAK)
        # A long vowel has no quiet frame: what is near the peak is never the floor.
        floor = min(*self._levels, self._peak - _UNDER_PEAK)
        return level > max(_GATE, floor + _OVER_FLOOR, self._peak - _UNDER_PEAK)


class _Usual:
    """The last `size` values, for their quantiles."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._order: deque[float] = deque()
        self._sorted: list[float] = []

    def __len__(self) -> int:
        return len(self._sorted)

    def add(self, value: float) -> None:
        if len(self._order) == self._size:
            del self._sorted[bisect_left(self._sorted, self._order.popleft())]
        self._order.append(value)
        insort(self._sorted, value)

    def quantile(self, share: float) -> float:
        return self._sorted[int(share * (len(self._sorted) - 1))]


class _Pauses:
    """Silence after speech."""

    def __init__(self) -> None:
        self._speech = self._voiced = 0  # frames since the pause before
        self._silent = self._voiceless = 0  # frames on end

    def step(self, heard: Heard | None) -> float:
        voiced = heard is not None and heard.pitch is not None
        self._speech += heard is not None
        self._voiced += voiced
        self._silent = 0 if heard else self._silent + 1
        self._voiceless = 0 if voiced else self._voiceless + 1
        if self._silent != _PAUSE_FRAMES and self._voiceless != _VOICELESS_FRAMES:
            return 0.0
        enough = self._speech >= _SPEECH_FRAMES and self._voiced >= _VOICED_FRAMES
        strength = self._speech / _LONG_SPEECH_FRAMES if enough else 0.0
        self._speech = self._voiced = 0
        return strength


class _Stresses:
    """Nuclei that stand out: each is one rise and fall of the level while there is voice."""

    def __init__(self) -> None:
        self._levels, self._lengths, self._scores = (_Usual(_USUAL_NUCLEI) for _ in range(3))
        self._before: float | None = None
        self._valley: float | None = None  # the lowest level since the last nucleus, while the voice goes on
        self._nucleus: deque[float] = deque(maxlen=_LONGEST_NUCLEUS)

    def step(self, heard: Heard | None) -> float:
        if heard is None or heard.pitch is None:
            self._before = self._valley = None
            return self._end()
        level = heard.level if self._before is None else (heard.level + self._before) / 2
        self._before = heard.level
        if self._nucleus and level < max(self._nucleus) - _NUCLEUS_FALL:
            self._valley = level
            return self._end()
        if self._valley is not None and not self._nucleus:
            self._valley = min(self._valley, level)
            if level < self._valley + _NUCLEUS_FALL:
                return 0.0
        self._nucleus.append(level)
        return 0.0

    def _end(self) -> float:
        """Return how much the nucleus that has ended stands out, 0 where it does not."""
        levels = list(self._nucleus)
        self._nucleus.clear()
        if len(levels) < _NUCLEUS_FRAMES:
            return 0.0
        peak = max(levels)
        length = sum(level > peak - _NUCLEUS_EDGE for level in levels)
        strength = 0.0
        if len(self._levels) >= _FIRST_NUCLEI:
            louder = (peak - self._levels.quantile(0.5)) / _LEVEL_UNIT
            longer = (length - self._lengths.quantile(0.5)) / _LENGTH_UNIT
            score = louder + min(longer, _MOST_LENGTH)
            if score >= max(_STRESSED, self._scores.quantile(_STRESSED_SHARE) if len(self._scores) else 0):
                strength = score / _FULL_STRESS
            self._scores.add(score)
        self._levels.add(peak)
        self._lengths.add(length)
        return strength


class _Accents:
    """Excursions of the pitch over the speaker's usual one, each told once: when it rises no more."""

    def __init__(self) -> None:
        self._usual = _Usual(_USUAL_PITCHES)
        self._recent: deque[float] = deque(maxlen=_SMOOTHED_PITCHES)
        self._unvoiced = 0
        self._start()

    def _start(self) -> None:
        self._frames = self._steady = 0
        self._top = 0.0
        self._told = False

    def step(self, heard: Heard | None) -> float:
        if heard is None or heard.pitch is None:
            self._unvoiced += 1
            if self._unvoiced <= _BRIDGED_FRAMES:
                return 0.0
            self._recent.clear()
            return self._end()
        self._unvoiced = 0
        self._recent.append(heard.pitch)
        height = self._height(sorted(self._recent)[len(self._recent) // 2])
        self._usual.add(heard.pitch)
        if height == 0:
            return self._end()
        self._frames += 1
        self._steady += 1
        if height > self._top:
            self._top, self._steady = height, 0
        return self._tell() if self._steady >= _STEADY_FRAMES else 0.0

    def _height(self, pitch: float) -> float:
        """Return how high a pitch is, in units of the lowest accent of this speaker, 0 where it is none."""
        if len(self._usual) < _FIRST_PITCHES:
            return 0.0
        median = self._usual.quantile(0.5)
        spread = self._usual.quantile(0.84) - median
        height = pitch - median
        least = min(max(_ACCENT_LEAST, _ACCENT_SPREADS * spread), _ACCENT_MOST)
        return height / least if least <= height < _WILD_SEMITONES else 0.0

    def _tell(self) -> float:
        if self._told or self._frames < _ACCENT_FRAMES:
            return 0.0
        self._told = True
        return self._top / _FULL_ACCENT

    def _end(self) -> float:
        strength = self._tell()
        self._start()
        return strength


_HZ = np.fft.rfftfreq(FFT, 1 / SAMPLE_RATE)
_TAPER = np.hanning(WINDOW + 1)[:-1].astype(np.float32)
_VOWELS = slice(*np.searchsorted(_HZ, (200, 3500)))  # where nuclei are loud, and hiss and rumble are not
_HARMONICS = ((_HZ > 50) & (_HZ < 1200)).astype(np.float32)
_LAGS = np.arange(SAMPLE_RATE // _PITCH_HIGH, SAMPLE_RATE // _PITCH_LOW + 2).astype(int)
_OCTAVES = np.log2(_LAGS)
_TAPER_ACF = np.fft.irfft(np.abs(np.fft.rfft(_TAPER, FFT)) ** 2)
_TAPER_ACF = _TAPER_ACF[_LAGS] / _TAPER_ACF[0]
# What a candidate loses for each octave of lag, and for each octave from the pitch before.
_OCTAVE_COST, _JUMP_COST = 0.03, 0.10


def _power(window: np.ndarray) -> tuple[np.ndarray, float]:
    """Return the power spectrum and the vowels' level in dB below full scale."""
    spectrum = np.fft.rfft(window * _TAPER, FFT)
    power = spectrum.real**2 + spectrum.imag**2
    mean_square = 2 * float(power[_VOWELS].sum()) / (FFT * float(np.square(_TAPER).sum()))
    return power, 10 * np.log10(mean_square + 1e-12)


def _period(power: np.ndarray, before: float) -> tuple[float, float]:
    """Return the period in samples and how periodic the frame is, 0 to 1.

    The highest peak of the autocorrelation with the window's divided out (Boersma 1993). before: the
    frame before's period, 0 for none.
    """
    acf = np.fft.irfft(power * _HARMONICS)
    scaled = acf[_LAGS] / (_TAPER_ACF * (acf[0] + 1e-12))
    score = scaled - _OCTAVE_COST * _OCTAVES
    if before:
        score -= _JUMP_COST * np.abs(_OCTAVES - np.log2(before))
    peaks = np.flatnonzero((scaled[1:-1] > scaled[:-2]) & (scaled[1:-1] >= scaled[2:])) + 1
    if not len(peaks):
        return 0.0, 0.0
    best = peaks[score[peaks].argmax()]
    left, middle, right = (float(x) for x in scaled[best - 1 : best + 2])
    # The parabola through the peak and its neighbours tops between the samples.
    return float(_LAGS[best]) + 0.5 * (left - right) / (left - 2 * middle + right), middle
