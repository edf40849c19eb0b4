"""Acoustic: signal processing from sound to mouth, with no look-ahead and nothing learned.

The baseline that a learned driver must beat, and a mouth for any language at no cost. Every 20 ms it
measures level, voicing and the shape of the spectrum, and maps them:

- level against the speaker's own floor and peak opens the jaw; the first formant's region says how
  far (open vowels put their energy near 700 Hz, close ones near 300 Hz);
- the second formant's region says how wide: low is rounded (o, u), high is spread (i, e);
- a murmur, voiced with nothing above 500 Hz, closes the lips (m, b, n);
- hiss brings the teeth together: funnelled where it is low (sh), stretched where it is high (s);
- silence closes the mouth and lets it rest.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from typing import Any

import numpy as np

from marotte.runtime.arkit import JAW_OPEN, SLOT
from marotte.runtime.contracts import SAMPLE_RATE, Driver, DriverStream, refuse_options
from marotte.runtime.motion import JAW, WIDTH, Motion

HOP = 320  # samples: 50 frames a second
WINDOW = 2 * HOP  # centred on the frame's own time
FFT = 1024

_HZ = np.fft.rfftfreq(FFT, 1 / SAMPLE_RATE)
_LAGS = slice(SAMPLE_RATE // 400, SAMPLE_RATE // 70)  # pitch of 70 to 400 Hz

# What is silence, in dB: below full scale, above the speaker's floor, and below the speaker's peak
# (recordings of talks hold room noise and music 25 dB under the voice, and a mouth must rest there).
_GATE, _OVER_FLOOR, _UNDER_PEAK = -58.0, 8.0, 25.0
# The floor is the quietest frame of the last 2 s; the peak falls by so many dB a frame.
_FLOOR_FRAMES = 100
_PEAK_FALL = 0.04

# Time constants in seconds: a mouth opens faster than it shuts, and changes shape more slowly.
_OPENING, _SHUTTING, _SHAPING = 0.025, 0.055, 0.045


@dataclass(frozen=True)
class Sound:
    """What is measured in one frame, all from 0 to 1: how loud, how voiced, and of which colour."""

    level: float
    voiced: float
    open_: float
    rounded: float
    spread: float
    murmur: float
    hiss: float
    hiss_height: float


class Acoustic(Driver):
    """Signal processing from sound to ARKit mouth actions at 50 fps."""

    basis = "arkit52"
    fps = Fraction(SAMPLE_RATE, HOP)

    def open(self, options: Mapping[str, Any] | None = None) -> "AcousticStream":
        """Return the stream of a new speaker. It has no options."""
        refuse_options("acoustic", options)
        return AcousticStream()


class AcousticStream(DriverStream):
    """Follows one speaker's level and mouth."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget the speaker."""
        self._held = np.zeros(WINDOW - HOP, np.float32)  # silence before the first sample
        self._peak = -30.0
        self._levels: deque[float] = deque(maxlen=_FLOOR_FRAMES)
        self._mouth = np.zeros(len(_CHANNELS))

    def feed(self, samples: np.ndarray) -> Motion:
        """Return the frames whose 20 ms have been heard."""
        self._held = np.concatenate([self._held, samples])
        count = max(0, (len(self._held) - WINDOW) // HOP + 1)
        windows = np.lib.stride_tricks.sliding_window_view(self._held, WINDOW)[::HOP][:count] if count else ()
        rows = [self._step(window) for window in windows]
        self._held = self._held[count * HOP :]
        return Motion(np.array(rows, np.float32).reshape(count, WIDTH), Acoustic.fps, Acoustic.basis)

    def finish(self) -> Motion:
        """Return the last, partly heard frame."""
        heard = len(self._held) - (WINDOW - HOP)
        return self.feed(np.zeros(HOP - heard if heard else 0, np.float32))

    def _step(self, window: np.ndarray) -> np.ndarray:
        self._mouth = _follow(self._mouth, _targets(self._measure(window)))
        return _codes(self._mouth)

    def _measure(self, window: np.ndarray) -> Sound:
        power = np.abs(np.fft.rfft(window * _TAPER, FFT)) ** 2
        loud = 10 * np.log10(np.mean(np.square(window, dtype=np.float64)) + 1e-12)
        self._levels.append(loud)
        self._peak = max(self._peak - _PEAK_FALL, loud, _GATE + _UNDER_PEAK)
        # A long vowel has no quiet frame: what is near the peak is never the floor.
        floor = min(*self._levels, self._peak - _UNDER_PEAK)
        quiet = max(_GATE, floor + _OVER_FLOOR, self._peak - _UNDER_PEAK)
        level = float(np.clip((loud - quiet) / (self._peak - 3 - quiet), 0, 1))
        if level == 0:
            return Sound(0, 0, 0, 0, 0, 0, 0, 0)

        voiced = _ramp(_periodicity(power), 0.35, 0.65)
        low, mid, high = _band(power, 80, 400), _band(power, 500, 2500), _band(power, 2500, 7500)
        first = _centroid(power, 220, 1000)
        second = _centroid(power, 900, 2900)
        return Sound(
            level=level,
            voiced=voiced,
            open_=_ramp(first, 360, 640),
            rounded=_ramp(second, 1500, 1150) * voiced,
            spread=_ramp(second, 1650, 2150) * voiced,
            murmur=voiced * _ramp(10 * np.log10((mid + high + 1e-12) / (low + 1e-12)), -11, -19),
            hiss=(1 - voiced) * _ramp(10 * np.log10((high + 1e-12) / (low + mid + 1e-12)), -3, 6),
            hiss_height=_ramp(_centroid(power, 1500, 7800), 3400, 5000),
        )


# What the mouth does, each from 0 to 1.
_CHANNELS = ("jaw", "close", "round", "spread", "teeth", "press")


def _targets(sound: Sound) -> np.ndarray:
    voice = sound.level**0.8 * (1 - sound.hiss)
    jaw = voice * (0.16 + 0.44 * sound.open_) * (1 - 0.9 * sound.murmur) + 0.10 * sound.hiss * sound.level
    rounded = max(voice * sound.rounded * (1 - 0.5 * sound.open_), 0.7 * sound.hiss * (1 - sound.hiss_height))
    spread = max(voice * sound.spread, 0.6 * sound.hiss * sound.hiss_height) * (1 - 0.5 * sound.murmur)
    return np.array([jaw, sound.murmur * voice, rounded, spread, voice * sound.open_, sound.murmur * voice])


def _follow(now: np.ndarray, target: np.ndarray) -> np.ndarray:
    time = np.where(target > now, _OPENING, _SHUTTING)
    time[2:4] = _SHAPING
    return now + (target - now) * (1 - np.exp(-HOP / SAMPLE_RATE / time))


def _codes(mouth: np.ndarray) -> np.ndarray:
    jaw, close, rounded, spread, teeth, press = mouth
    weights = {
        "mouthClose": 0.5 * min(close, jaw * 2),
        "mouthFunnel": 0.45 * rounded,
        "mouthPucker": 0.50 * rounded * (1 - 0.4 * jaw),
        "mouthStretchLeft": 0.30 * spread,
        "mouthStretchRight": 0.30 * spread,
        "mouthSmileLeft": 0.16 * spread,
        "mouthSmileRight": 0.16 * spread,
        "mouthLowerDownLeft": 0.28 * teeth,
        "mouthLowerDownRight": 0.28 * teeth,
        "mouthUpperUpLeft": 0.16 * teeth,
        "mouthUpperUpRight": 0.16 * teeth,
        "mouthPressLeft": 0.35 * press,
        "mouthPressRight": 0.35 * press,
        "mouthRollLower": 0.20 * press,
    }
    codes = np.zeros(WIDTH, np.float32)
    for name, weight in weights.items():
        codes[SLOT[name]] = weight
    codes[JAW] = JAW_OPEN * jaw
    return codes


_TAPER = np.hanning(WINDOW + 1)[:-1].astype(np.float32)
_TAPER_ACF = np.fft.irfft(np.abs(np.fft.rfft(_TAPER, 2 * FFT)) ** 2)[:FFT]


def _periodicity(power: np.ndarray) -> float:
    """Return the highest normalised autocorrelation at a pitch's lag (Boersma 1993: the window divided out)."""
    acf = np.fft.irfft(power * (_HZ < 2000))
    scaled = acf[_LAGS] / (_TAPER_ACF[_LAGS] / _TAPER_ACF[0] + 1e-9)
    return float(scaled.max() / (acf[0] + 1e-12))


@cache
def _between(low: float, high: float) -> slice:
    return slice(*np.searchsorted(_HZ, (low, high)))


def _band(power: np.ndarray, low: float, high: float) -> float:
    return float(power[_between(low, high)].sum())


def _centroid(power: np.ndarray, low: float, high: float) -> float:
    """Return the mean frequency between two others, by amplitude with the voice's falling slope taken out."""
    inside = _between(low, high)
    weight = np.sqrt(power[inside]) * _HZ[inside]
    return float((weight * _HZ[inside]).sum() / (weight.sum() + 1e-12))


def _ramp(value: float, zero: float, one: float) -> float:
    """Return 0 at `zero`, 1 at `one`, straight between, whichever is larger."""
    return float(np.clip((value - zero) / (one - zero), 0, 1))
