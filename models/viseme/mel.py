"""Log-mels of one speaker as the sound comes in, and how loud each is beside the speaker's own peak.

Mel frame k is the 25 ms of sound that end at 10 (k + 1) ms, so it needs no sound after that. Its power is divided
by the speaker's running peak, which rises within a few frames and falls by 1 dB a second: the network sees the same
numbers for the same voice near and far.
"""

import numpy as np
from scipy import fft

from marotte.models.viseme.kernels import dense

RATE = 16000
HOP = 160
WINDOW = 400
FFT = 512
BANDS = 40

# The running peak in dB below full scale: where it starts, how low it may fall, how fast it falls a frame, and what
# part of the way up it goes in a frame.
_START, _LOWEST, _FALL, _RISE = -45.0, -62.0, 0.01, 0.25

# Log power beside the peak is cut to this range (natural logarithms), then centred and scaled to about -2..2.
_RANGE = (-14.0, 5.0)
_CENTRE, _SCALE = -5.0, 3.5

_TAPER = np.hanning(WINDOW + 1)[:-1].astype(np.float32)
_POWER = np.float32(1 / np.sum(np.square(_TAPER, dtype=np.float64)))
_NEPER = np.log(10) / 10
_SILENT = np.float32(1e-10)


class MelStream:
    """One speaker's mel frames. filters: [40, 257] float32, rows that sum to 1 over the bins of a 512-point FFT."""

    def __init__(self, filters: np.ndarray) -> None:
        self._filters = np.ascontiguousarray(filters.T, np.float32)
        self._none = np.zeros(len(filters), np.float32)
        self.reset()

    def reset(self, peak: float = _START) -> None:
        """Forget the speaker. peak: dB below full scale to begin with, for training on what was said before."""
        self._held = np.zeros(WINDOW - HOP, np.float32)
        self._peak = peak

    def feed(self, samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Take sound [n] float32 at 16 kHz; return the mel frames [m, 40] that are now whole and their levels [m].

        Levels are in dB beside the running peak: about 0 in loud vowels, below -25 in pauses.
        """
        self._held = np.concatenate([self._held, samples])
        count = max(0, (len(self._held) - WINDOW) // HOP + 1)
        if not count:
            return np.zeros((0, len(self._none)), np.float32), np.zeros(0, np.float32)
        windows = np.lib.stride_tricks.sliding_window_view(self._held, WINDOW)[::HOP][:count]
        spectrum = fft.rfft(windows * _TAPER, FFT, axis=1)
        power = (np.square(spectrum.real) + np.square(spectrum.imag)) * _POWER
        mels = np.log(dense(power, self._filters, self._none) + _SILENT)
        # Below 60 Hz there is no voice but much rumble.
        loud = 10 * np.log10(np.cumsum(power[:, 2:], axis=1)[:, -1] / (FFT / 2) + _SILENT)
        peaks = np.array([self._follow(level) for level in loud.tolist()])
        self._held = self._held[count * HOP :]
        relative = np.clip(mels - (peaks * _NEPER)[:, None], *_RANGE)
        return ((relative - _CENTRE) / _SCALE).astype(np.float32), (loud - peaks).astype(np.float32)

    def _follow(self, level: float) -> float:
        if level > self._peak:
            self._peak += _RISE * (level - self._peak)
        else:
            self._peak = max(self._peak - _FALL, _LOWEST)
        return self._peak
