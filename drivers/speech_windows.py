"""What a GaussianTalker hears: at 50 Hz, windows of 29 classes by 16 rows of logits.

The published network hears eight windows a frame, every second row of these at 25 frames a second; at other rates the
same windows step by single rows. A renderer asks for them by `FeatureNeed(kind, 8, stride=2, before=4)`. Three sources:
our own phones, live; a recorded `aud_ds.npy`; a user's ONNX model (`speech_windows_onnx`). A network hears only what it
was trained on. Source: reference/gaussiantalker/SPEC.md, section 7.
"""

import warnings
from fractions import Fraction
from pathlib import Path

import numpy as np

from marotte.drivers.speech_windows_onnx import OnnxWindows
from marotte.drivers.speech_windows_rows import RATE, WAIT, WIDTH, WindowRows
from marotte.errors import MarotteError, MarotteWarning
from marotte.models.gaussian_talker.config import CLASSES, STEPS
from marotte.models.gaussian_talker.windows import read_windows
from marotte.models.plain_files import written_whole
from marotte.models.viseme.network import LOOKAHEAD, VisemeNetwork, VisemeStream
from marotte.runtime.contracts import SAMPLE_RATE, Features, FeatureStream
from marotte.runtime.talker_features import PHONES

__all__ = ["OnnxWindows", "PhoneWindows", "RecordedWindows", "windows_of", "write_windows"]

_ROW = SAMPLE_RATE // RATE  # samples from one row to the next
# Seconds that a recording's windows may end before its sound does: the last are rounded away, and codecs add silence.
_SHORT = 0.1


class PhoneWindows(Features):
    """Windows of the viseme network's logits, in the order of `marotte.models.viseme.phones.PHONES`; live."""

    rate = RATE
    width = WIDTH
    lookahead = LOOKAHEAD + float(WAIT / RATE)
    space = PHONES

    def __init__(self) -> None:
        self._network = VisemeNetwork.load()

    def open(self) -> "PhoneWindowStream":
        """Return the stream of a new speaker."""
        return PhoneWindowStream(self._network.open())


class PhoneWindowStream(FeatureStream):
    """One speaker's windows. Fed at once or in packets of any size, they are the same, bit for bit."""

    def __init__(self, heard: VisemeStream) -> None:
        self._heard, self._windows = heard, WindowRows()

    def feed(self, samples: np.ndarray) -> np.ndarray:
        """Return the rows [n, 464] that are now decided."""
        return self._windows.feed(self._heard.feed(samples).logits)

    def finish(self) -> np.ndarray:
        """Return the rows that are left."""
        return np.concatenate([self._windows.feed(self._heard.finish().logits), self._windows.finish()])

    def reset(self) -> None:
        """Forget the speaker."""
        self._heard.reset()
        self._windows.reset()


class RecordedWindows(Features):
    """Windows from an `aud_ds.npy` [N, 16, 29] that was made of this very sound; of any kind, as the file names none.

    Even rows are as stored. The rows between are put together from the windows around them, which overlap; where they
    do not (a file that was cut or made otherwise), the one before is held.
    Raises MarotteError where the file is not such an array.
    """

    rate = RATE
    width = WIDTH

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        self._rows = _between(read_windows(path)).reshape(-1, WIDTH)

    def open(self) -> "RecordedWindowStream":
        """Return the stream of the recording's speaker."""
        return RecordedWindowStream(self._path, self._rows)


class RecordedWindowStream(FeatureStream):
    """The recording, played as its sound comes: row r once more than r / 50 s were heard."""

    def __init__(self, path: Path, rows: np.ndarray) -> None:
        self._path, self._rows = path, rows
        self.reset()

    def feed(self, samples: np.ndarray) -> np.ndarray:
        """Return the rows [n, 464] that are now due, zeros after the recording's end."""
        start = self._due()
        self._samples += len(samples)
        stop = self._due()
        rows = self._rows[start:stop]
        return np.concatenate([rows, np.zeros((stop - start - len(rows), WIDTH), np.float32)])

    def finish(self) -> np.ndarray:
        """Return no rows, as all that have their sound were given. Warns where recording and sound differ in length."""
        there, heard = float(len(self._rows) / RATE), self._samples / SAMPLE_RATE
        if heard > there + _SHORT:
            warnings.warn(
                f"{self._path} holds features of {there:.2f} s, but the sound lasts {heard:.2f} s: from there on the "
                "mouth hears nothing; make the features from this sound",
                MarotteWarning,
                stacklevel=2,
            )
        elif there > heard + _SHORT:
            warnings.warn(
                f"{self._path} holds features of {there:.2f} s, but the sound lasts {heard:.2f} s: what is over is not "
                "used; where the sound lacks its start, or the file is not of 25 windows a second, lips do not fit",
                MarotteWarning,
                stacklevel=2,
            )
        return self._rows[:0]

    def reset(self) -> None:
        """Begin again."""
        self._samples = 0

    def _due(self) -> int:
        return int(-(-self._samples // _ROW))


def windows_of(features: Features, samples: np.ndarray) -> np.ndarray:
    """Return the windows [N, 29, 16] float32, 25 a second, that `features` give of whole sound [n] float32 at 16 kHz.

    For training, and for `write_windows`. Raises MarotteError for features that are no windows.
    """
    if features.width != WIDTH or features.rate != RATE:
        found = f"{features.width} numbers at {Fraction(features.rate)} Hz"
        raise MarotteError(f"these features are {found}, not windows of {WIDTH} at {RATE} Hz: take one of the windows")
    stream = features.open()
    rows = np.concatenate([stream.feed(samples), stream.finish()])
    stream.close()
    return np.ascontiguousarray(rows[::2]).reshape(-1, CLASSES, STEPS)


def write_windows(path: str | Path, windows: np.ndarray) -> None:
    """Write windows [N, 29, 16] as a published `aud_ds.npy`: [N, 16, 29] float64. The file appears when it is whole.

    Raises MarotteError for another shape, for numbers that are not finite, and where it cannot be written.
    """
    if windows.ndim != 3 or windows.shape[1:] != (CLASSES, STEPS) or not np.isfinite(windows).all():
        wanted = f"finite numbers [N, {CLASSES}, {STEPS}]"
        raise MarotteError(f"windows of shape {list(windows.shape)} cannot be written to {path}: give {wanted}")
    stored = np.ascontiguousarray(windows.transpose(0, 2, 1), dtype=np.float64)
    with written_whole(Path(path)) as part, part.open("wb") as file:
        np.save(file, stored, allow_pickle=False)


def _between(windows: np.ndarray) -> np.ndarray:
    """Return windows [N, 29, 16] at 25 Hz as 2N at 50 Hz: each, then the one a row later, or itself again."""
    # After the last there is nothing more to hear, if its own last rows, from its neighbour's time on, are nothing.
    following = np.concatenate([windows[1:, :, :-2], np.zeros_like(windows[:1, :, :-2])])
    overlap = (windows[:, :, 2:] == following).all(axis=(1, 2))
    overlap[-1] = not windows[-1, :, STEPS // 2 + 2 :].any()
    last = np.concatenate([windows[1:, :, -2:-1], np.zeros_like(windows[:1, :, -2:-1])])
    later = np.concatenate([windows[:, :, 1:], last], axis=2)
    rows = np.repeat(windows, 2, axis=0)
    rows[1::2][overlap] = later[overlap]
    return rows
