"""The front end of DeepSpeech 0.1.0: sound to what its network is shown, and its logits to rows at 50 Hz.

Rows are 20 ms apart: row t is for the time t / 50 s. Its own 26 cepstral coefficients are those of the 25 ms of sound
that begin there. Source: reference/gaussiantalker/SPEC.md, section 7.3; Davis and Mermelstein 1980 for the
coefficients. scipy is imported at first use.
"""

from functools import cache

import numpy as np

from marotte.errors import MarotteError

RATE = 16000
ROW = 320  # samples from one row to the next
FRAME = 400  # samples that a row's coefficients are made of
CEPSTRA = 26
CONTEXT = 9  # rows before and after that the network sees with a row
WIDTH = CEPSTRA * (2 * CONTEXT + 1)

_HOP = 160
_FFT = 512
_HIGHEST = 8000.0  # Hz
_EMPHASIS = 0.97
_LIFTER = 22
_LEAST = np.finfo(np.float64).eps  # in place of zeros before logarithms
_PIECE = 1024  # frames worked on at a time: an hour of sound takes no more memory than a minute


def as_int16(samples: np.ndarray) -> np.ndarray:
    """Return sound [n] float32 in -1..1 as int16, truncated and not rounded; what was 16-bit PCM comes back exactly."""
    return np.clip(samples * np.float32(1 << 15), -(1 << 15), (1 << 15) - 1).astype(np.int16)


def mfcc(samples: np.ndarray, *, step: int = 1, count: int | None = None, before: float | None = None) -> np.ndarray:
    """Return the cepstral coefficients [F, 26] float64 of sound [n] of int16 values at 16 kHz.

    Frames of 400 samples begin every 160 * step, the last ones filled with zeros. count: how many frames; by default
    as many as begin in the sound's 100 frames a second, `1 + ceil((n - 400) / 160)` of them, every step-th. before: the
    sample ahead of the first, where this is a piece of a longer sound.
    """
    if count is None:
        count = -(-_frames(len(samples)) // step)
    hop = _HOP * step
    sound = np.zeros(max(len(samples), (count - 1) * hop + FRAME))
    sound[: len(samples)] = samples
    past = np.concatenate([[0.0 if before is None else before], sound[: len(samples) - 1]])
    sound[: len(samples)] -= _EMPHASIS * past[: len(samples)]
    frames = np.lib.stride_tricks.sliding_window_view(sound, FRAME)[::hop][:count]
    pieces = [_cepstra(frames[first : first + _PIECE]) for first in range(0, count, _PIECE)]
    return np.concatenate([np.zeros((0, CEPSTRA)), *pieces])


def row_count(samples: int) -> int:
    """Return how many rows the network is shown of so many samples: every second frame of 100 a second."""
    return -(-_frames(samples) // 2)


def with_context(rows: np.ndarray) -> np.ndarray:
    """Return for each row [T, 26] but the first and last nine those around it with it, oldest first: [T - 18, 494].

    It shares the rows' memory and is read-only.
    """
    seen = np.lib.stride_tricks.sliding_window_view(rows, 2 * CONTEXT + 1, axis=0)
    return seen.transpose(0, 2, 1).reshape(-1, WIDTH)


def net_input(samples: np.ndarray) -> np.ndarray:
    """Return what the network is shown of a whole clip [n] of int16 values: [T, 494] float64, zero mean and unit power.

    Outside the clip there are zero rows, before mean and deviation are taken over the whole of it.
    """
    rows = mfcc(samples, step=2)
    seen = with_context(np.pad(rows, ((CONTEXT, CONTEXT), (0, 0))))
    out = seen - seen.mean()
    out /= seen.std()
    return out


def logit_count(samples: int) -> int:
    """Return how many rows at 50 Hz are made of so many samples: the nearest to 50 a second, halves to even."""
    return round(50 * (samples / RATE))


def resampled(logits: np.ndarray, samples: int, count: int | None = None) -> np.ndarray:
    """Return logits [T, C] at 50 Hz as rows [M, C] float64 that cover so many samples, by linear interpolation.

    M is `logit_count`, so that rows stay as they are and the last is repeated or left out; or `count`, which spreads
    them. Raises MarotteError where there is nothing to take rows from.
    """
    if not samples or not len(logits):
        raise MarotteError(f"{len(logits)} rows of logits for {samples} samples: there is no sound to hear")
    length = logit_count(samples) if count is None else count
    rate = 50.0 if count is None else count / (samples / RATE)
    wanted, given = np.arange(length) / rate, np.arange(len(logits)) / 50.0
    return np.stack([np.interp(wanted, given, column) for column in logits.T.astype(np.float64)], axis=1)


def _frames(samples: int) -> int:
    return 1 + max(0, -(-(samples - FRAME) // _HOP))


def _cepstra(frames: np.ndarray) -> np.ndarray:
    """Return the liftered coefficients [F, 26] of emphasised frames [F, 400]; the first is the log of the power."""
    from scipy import fft

    spectrum = fft.rfft(frames, _FFT, axis=1)
    power = np.square(np.abs(spectrum)) / _FFT
    bands = power @ _mel_filters().T
    loud = np.log(np.where(bands == 0, _LEAST, bands))
    order = np.arange(CEPSTRA)
    out = fft.dct(loud, type=2, norm="ortho", axis=1)[:, :CEPSTRA]
    out *= 1 + _LIFTER / 2 * np.sin(np.pi * order / _LIFTER)
    total = power.sum(axis=1)
    out[:, 0] = np.log(np.where(total == 0, _LEAST, total))
    return out


@cache
def _mel_filters() -> np.ndarray:
    """Return 26 triangles over the bins of the spectrum [26, 257], evenly spaced in mels."""
    mels = np.linspace(0, 2595 * np.log10(1 + _HIGHEST / 700), CEPSTRA + 2)
    edges = np.floor((_FFT + 1) * 700 * (10 ** (mels / 2595) - 1) / RATE)[:, None]
    bins = np.arange(_FFT // 2 + 1)
    rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    return np.maximum(0, np.minimum(rising, falling))
