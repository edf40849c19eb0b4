"""A user's ONNX model as the ears of a GaussianTalker: DeepSpeech's front end, the model, the published windows.

As published the input is normalised over the whole clip, so nothing can come before the clip has ended. `running` is
for live sound, and an approximation: it normalises by what was heard so far, and the model hears a few seconds at a
time, not the whole clip.
"""

from pathlib import Path

import numpy as np

from marotte.drivers.speech_windows_network import LogitNetwork, why_not
from marotte.drivers.speech_windows_rows import RATE, WAIT, WIDTH, WindowRows
from marotte.errors import unknown_name
from marotte.runtime.audio.deepspeech import (
    CEPSTRA,
    CONTEXT,
    FRAME,
    ROW,
    as_int16,
    logit_count,
    mfcc,
    net_input,
    resampled,
    row_count,
    with_context,
)
from marotte.runtime.contracts import SAMPLE_RATE, Features, FeatureStream

# Of `running`, all in rows of 20 ms: how many are decided at a time; how many the model hears before and after them
# (a recurrent one that reads both ways wants some of either). A block's last row sees CONTEXT more of the coefficients:
# together whole blocks, so that a block is decided as another one is full.
BLOCK = 10
PAST = 100
AHEAD = 2 * BLOCK - CONTEXT
# What counts as heard before the sound begins: a second of speech, its coefficients' mean and deviation as measured
# on a minute of several speakers.
_PRIOR_ROWS, _PRIOR_MEAN, _PRIOR_DEVIATION = 50, 0.0, 12.0


class OnnxWindows(Features):
    """Windows of the logits of an ONNX model with 29 classes at 50 Hz.

    normalise: `clip`, as published, which knows nothing before the sound has ended; or `running`, live and
    approximate. space: the name of what its logits mean.
    Raises MarotteError where onnxruntime is missing or the model does not fit (`LogitNetwork`).
    """

    rate = RATE
    width = WIDTH

    def __init__(self, path: str | Path, normalise: str = "clip", space: str = "deepspeech") -> None:
        if normalise not in ("clip", "running"):
            raise unknown_name("way to normalise", normalise, ("clip", "running"))
        self._network = LogitNetwork(path)
        self._running = normalise == "running"
        # The first row of a block waits longest, and its window for the rows after it.
        rows = WAIT + BLOCK - 1 + AHEAD + CONTEXT
        self.lookahead = float(rows / RATE) + FRAME / SAMPLE_RATE if self._running else float("inf")
        self.space = space

    @staticmethod
    def why_not() -> str:
        """Return what is missing here, in words."""
        return why_not()

    def open(self) -> FeatureStream:
        """Return the stream of a new speaker."""
        return RunningStream(self._network) if self._running else ClipStream(self._network)


class ClipStream(FeatureStream):
    """One clip: everything comes when it has ended, exactly as published."""

    def __init__(self, network: LogitNetwork) -> None:
        self._network = network
        self.reset()

    def feed(self, samples: np.ndarray) -> np.ndarray:
        """Keep the sound; return no rows."""
        self._heard.append(as_int16(samples))
        return np.zeros((0, WIDTH), np.float32)

    def finish(self) -> np.ndarray:
        """Return the rows [2N, 464] of the whole clip."""
        sound = np.concatenate([np.zeros(0, np.int16), *self._heard])
        self.reset()
        windows = WindowRows()
        if not len(sound):
            return windows.finish()
        logits = resampled(self._network(net_input(sound)), len(sound))
        return np.concatenate([windows.feed(logits), windows.finish()])

    def reset(self) -> None:
        """Forget the clip."""
        self._heard: list[np.ndarray] = []


class RunningStream(FeatureStream):
    """One speaker, live. Fed at once or in packets of any size, the rows are the same, bit for bit.

    The work is done in blocks of ten rows, at fixed places in the sound. When the coefficients of rows up to 10 b + 29
    are known, the rows from 100 before 10 b to 10 b + 20 are normalised by the mean and deviation of all of them and a
    second of ordinary speech; the model hears these alone, and of its logits rows 10 b to 10 b + 9 are kept.
    """

    _sound: np.ndarray  # int16, from the sample before the next row's first on
    _known: int  # rows whose coefficients are known
    _out: int  # rows whose logits are decided
    _rows: np.ndarray  # of the coefficients what is still needed, zeros ahead of the first row
    _first: int  # the number of the first of these

    def __init__(self, network: LogitNetwork) -> None:
        self._network = network
        self._windows = WindowRows()
        self.reset()

    def feed(self, samples: np.ndarray) -> np.ndarray:
        """Return the rows [n, 464] that are now decided."""
        self._sound = np.concatenate([self._sound, as_int16(samples)])
        self._samples += len(samples)
        parts = [np.zeros((0, WIDTH), np.float32)]
        while len(self._sound) - 1 >= ROW * (BLOCK - 1) + FRAME:
            self._hear(BLOCK)
            if self._known >= self._out + BLOCK + AHEAD + CONTEXT:
                parts.append(self._windows.feed(self._logits(self._out + BLOCK + AHEAD)[:BLOCK]))
                self._out += BLOCK
                self._forget()
        return np.concatenate(parts)

    def finish(self) -> np.ndarray:
        """Return the rows that are left."""
        parts = []
        if self._samples:
            count = row_count(self._samples)
            self._hear(count - self._known)
            self._rows = np.concatenate([self._rows, np.zeros((CONTEXT, CEPSTRA))])
            logits = self._logits(count)[: logit_count(self._samples) - self._out]
            missing = max(0, logit_count(self._samples) - count)
            parts.append(self._windows.feed(np.concatenate([logits, np.repeat(logits[-1:], missing, axis=0)])))
        return np.concatenate([*parts, self._windows.finish()])

    def reset(self) -> None:
        """Forget the speaker."""
        self._windows.reset()
        self._samples = 0
        self._sound = np.zeros(1, np.int16)
        self._known = self._out = 0
        self._rows = np.zeros((CONTEXT, CEPSTRA))
        self._first = -CONTEXT
        self._numbers = _PRIOR_ROWS * CEPSTRA
        self._sum = _PRIOR_MEAN * self._numbers
        self._squares = (_PRIOR_DEVIATION**2 + _PRIOR_MEAN**2) * self._numbers

    def _hear(self, count: int) -> None:
        """Take the coefficients of the next `count` rows."""
        if count <= 0:
            return
        before = float(self._sound[0])
        rows = mfcc(self._sound[1 : 1 + ROW * (count - 1) + FRAME], step=2, count=count, before=before)
        self._sound = self._sound[ROW * count :]
        self._known += count
        self._rows = np.concatenate([self._rows, rows])
        self._numbers += rows.size
        self._sum += float(rows.sum())
        self._squares += float(np.square(rows).sum())

    def _logits(self, stop: int) -> np.ndarray:
        """Return the logits of the rows from the first undecided one up to `stop`."""
        start = max(0, self._out - PAST)
        mean = self._sum / self._numbers
        deviation = np.sqrt(self._squares / self._numbers - mean**2)
        seen = with_context(self._rows[start - CONTEXT - self._first : stop + CONTEXT - self._first])
        return self._network((seen - mean) / deviation)[self._out - start :]

    def _forget(self) -> None:
        """Drop the coefficients that no later row is heard with."""
        first = max(0, self._out - PAST) - CONTEXT
        self._rows, self._first = self._rows[first - self._first :], first
