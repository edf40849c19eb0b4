"""Streaming resampling to mono with torchaudio's default windowed-sinc filter.

The filter is that of `torchaudio.transforms.Resample` (lowpass width 6, rolloff 0.99, Hann window),
which the published speech models were fed through. Output n is a sum of products over its own window
of the input, added up in double precision one tap after the other, so its bits depend on nothing but
that window: not on packets, blocks, vector widths or a BLAS.
"""

import math
from collections.abc import Iterator
from typing import Protocol

import numpy as np

from marotte.errors import MarotteError
from marotte.runtime.audio.source import HIGHEST_RATE, LOWEST_RATE

_WIDTH = 6  # zero crossings of the sinc on each side
_ROLLOFF = 0.99
# Work is done in pieces that stay in the processor's cache, which also keeps memory flat.
_INPUT_PIECE = 1 << 15
_OUTPUT_PIECE = 1 << 12


class Blocks(Protocol):
    """Sound that comes in blocks [n, channels] at a rate: an `AudioSource`, or what stands in for one."""

    rate: int

    def blocks(self, size: int) -> Iterator[np.ndarray]:
        """Yield float32 [size, channels], the last one shorter."""
        ...


class Resampler:
    """Brings one stream of samples from `source_rate` to `target_rate` and averages its channels.

    Published code filters each channel and averages then; the filter is linear, so averaging first
    (in double precision) is the same but for float32 rounding and costs one filter instead of many.
    n samples in give exactly ceil(target_rate * n / source_rate) out, once `finish` was called.
    Equal rates pass through.

    functional: compute the taps in float32 throughout, as `torchaudio.functional.resample` does on
    float32 input (the Mimi encoder's way), instead of as `transforms.Resample` does.

    Raises MarotteError for rates outside 1000..384000.
    """

    def __init__(self, source_rate: int, target_rate: int = 16000, *, functional: bool = False) -> None:
        for rate in (source_rate, target_rate):
            if not LOWEST_RATE <= rate <= HIGHEST_RATE:
                raise MarotteError(f"sample rate {rate} is not within {LOWEST_RATE} to {HIGHEST_RATE}")
        common = math.gcd(source_rate, target_rate)
        self._step, self._phases = source_rate // common, target_rate // common
        self._same = source_rate == target_rate
        if not self._same:
            taps, self._before = _taps(self._step, self._phases, functional)
            self._after = len(taps) - 1 - self._before
            # Repeated so that a piece of output is one long vector operation a tap, whatever the rates.
            repeats = max(1, _OUTPUT_PIECE // self._phases)
            self._taps = np.tile(taps, (1, repeats))
            self._offsets = np.arange(self._phases * repeats, dtype=np.int64) * self._step // self._phases
        self.reset()

    def reset(self) -> None:
        """Forget everything: the next sample is the first of a new stream."""
        self._received = 0
        self._sent = 0
        self._finished = False
        # Input still needed, in double; it begins `before` samples ahead of the window's centre of
        # the next output, with zeros ahead of the first sample.
        self._kept = np.zeros(0 if self._same else self._before)

    def feed(self, block: np.ndarray) -> np.ndarray:
        """Take in floats [n] or [n, channels] and return the samples that are settled, float32 [m]."""
        if self._finished:
            raise MarotteError("this resampler has finished its stream: call reset() before feeding another")
        if block.ndim not in (1, 2) or block.dtype.kind != "f":
            raise MarotteError(
                f"sound of shape {list(block.shape)} and type {block.dtype} cannot be resampled: "
                "give floats of -1..1, [samples] or [samples, channels]"
            )
        pieces = [block[at : at + _INPUT_PIECE] for at in range(0, len(block), _INPUT_PIECE)]
        if self._same:
            return _join([_mono(piece).astype(np.float32) for piece in pieces])
        return _join([self._push(_mono(piece)) for piece in pieces])

    def finish(self) -> np.ndarray:
        """Return what is left, float32 [m], taking zeros for what comes after the last sample."""
        if self._finished:
            raise MarotteError("this resampler has finished its stream already: call reset()")
        self._finished = True
        return np.zeros(0, np.float32) if self._same else self._push(np.zeros(self._after))

    def _push(self, mono: np.ndarray) -> np.ndarray:
        kept = np.concatenate([self._kept, mono])
        self._received += len(mono)
        # Output n is settled once its window's last sample, floor(n step / phases) + after, is in.
        settled = -(-(self._received - self._after) * self._phases // self._step)
        out = np.empty(max(0, settled - self._sent), np.float32)
        origin = self._sent * self._step // self._phases
        done = 0
        while done < len(out):
            turn, first = divmod(self._sent + done, len(self._offsets))
            last = min(len(self._offsets), first + len(out) - done)
            start = turn * (len(self._offsets) // self._phases * self._step) - origin
            out[done : done + last - first] = self._weigh(kept, start + self._offsets[first:last], first, last)
            done += last - first
        self._sent += done
        # A copy: a view would keep the whole packet alive.
        self._kept = kept[self._sent * self._step // self._phases - origin :].copy()
        return out

    def _weigh(self, kept: np.ndarray, starts: np.ndarray, first: int, last: int) -> np.ndarray:
        """Return the sums of tap k times kept[starts + k], double, with k ascending."""
        total = np.zeros(len(starts))
        product = np.empty(len(starts))
        for k, taps in enumerate(self._taps):
            # mode="clip" lets numpy write straight into `product`; no start is out of range.
            np.take(kept[k:], starts, out=product, mode="clip")
            np.multiply(product, taps[first:last], out=product)
            np.add(total, product, out=total)
        return total


def mono_blocks(source: Blocks, rate: int = 16000, packet: int = 16000) -> Iterator[np.ndarray]:
    """Yield an open source as mono float32 [packet] at `rate`; the last one may be shorter."""
    if packet < 1:
        raise MarotteError(f"packet of {packet} samples is not above 0")
    resampler = Resampler(source.rate, rate)
    waiting = np.zeros(0, np.float32)
    for block in source.blocks(_INPUT_PIECE):
        waiting = np.concatenate([waiting, resampler.feed(block)])
        whole = len(waiting) // packet * packet
        yield from waiting[:whole].reshape(-1, packet)
        waiting = waiting[whole:].copy()
    waiting = np.concatenate([waiting, resampler.finish()])
    for at in range(0, len(waiting), packet):
        yield waiting[at : at + packet]


def _mono(block: np.ndarray) -> np.ndarray:
    """Average [n] or [n, channels] to double [n]; column by column, so that no layout changes a bit."""
    if block.ndim == 1:
        return block.astype(np.float64)
    total = block[:, 0].astype(np.float64)
    for channel in range(1, block.shape[1]):
        total += block[:, channel]
    return total / block.shape[1]


def _join(parts: list[np.ndarray]) -> np.ndarray:
    return np.concatenate(parts) if parts else np.zeros(0, np.float32)


def _taps(step: int, phases: int, functional: bool) -> tuple[np.ndarray, int]:
    """Return the filter of every phase as double [taps, phases], and how many taps precede the centre.

    Tap k of phase j weighs input sample floor(j step / phases) - before + k, counted from the sample
    at which phase 0 stands. Values are rounded where torchaudio rounds them: -j / phases to float32,
    the finished taps to float32, and everything between in double (functional: all in float32).
    """
    kind = np.dtype(np.float32 if functional else np.float64)
    band = min(step, phases) * _ROLLOFF
    reach = math.ceil(_WIDTH * step / band)
    phase = -np.arange(phases, dtype=np.float32) / np.float32(phases)
    centre = np.arange(phases, dtype=np.int64) * step // phases
    taps = np.empty((2 * reach + 2, phases))
    for k in range(len(taps)):  # row by row: 16000 phases (odd rates) would make large temporaries
        time = phase + (centre + (k - reach)).astype(kind) / step
        time = np.clip(time * band, -_WIDTH, _WIDTH)
        window = np.cos(time * math.pi / _WIDTH / 2) ** 2
        angle = time * math.pi
        sinc = np.where(angle == 0, 1, np.sin(angle) / np.where(angle == 0, 1, angle))
        taps[k] = (sinc * (window * (band / step))).astype(np.float32)
    used = np.flatnonzero(np.abs(taps).max(axis=1) > 1e-20)  # beyond the window only rounding is left
    return taps[used[0] : used[-1] + 1], reach - int(used[0])
