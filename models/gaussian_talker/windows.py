"""The sound as GaussianTalker hears it: windows of 16 rows of logits, 25 a second, and eight of them for a frame.

numpy only. Source: reference/gaussiantalker/SPEC.md, section 7.
"""

from pathlib import Path

import numpy as np

from marotte.errors import MarotteError
from marotte.models.gaussian_talker.config import CLASSES, STEPS, WINDOWS
from marotte.models.safe_files import read_npy_object

# Rows are at 50 Hz, two a frame; half of a window, and half of the windows, lie before the frame's time.
_STRIDE = 2


def read_windows(path: str | Path) -> np.ndarray:
    """Return the windows [N, 29, 16] float32 of an `aud_ds.npy`, which holds [N, 16, 29].

    Raises MarotteError where the file is damaged, of another shape, or its numbers are not finite.
    """
    stored = read_npy_object(path)
    if not isinstance(stored, np.ndarray) or stored.dtype.kind not in "fiu":
        raise MarotteError(f"{path} holds no array of numbers: name an aud_ds.npy, [N, {STEPS}, {CLASSES}]")
    if stored.ndim != 3 or stored.shape[1:] != (STEPS, CLASSES) or not len(stored):
        wanted = f"[N, {STEPS}, {CLASSES}]: 25 windows a second of {STEPS} rows of {CLASSES} logits"
        raise MarotteError(f"{path} has shape {list(stored.shape)}, expected {wanted}")
    with np.errstate(over="ignore"):
        windows = stored.astype(np.float32).transpose(0, 2, 1)
    if not np.isfinite(windows).all():
        raise MarotteError(f"{path} holds numbers that are not finite: make it again")
    return np.ascontiguousarray(windows)


def rows_to_windows(logits: np.ndarray) -> np.ndarray:
    """Return the windows [ceil((M - 1) / 2), 29, 16] of rows [M, 29] at 50 Hz; the type stays.

    As published, the last row is dropped and rows outside are zero; window k is rows 2k - 8 to 2k + 7, centred on
    k / 25 s. Raises MarotteError for another width.
    """
    logits = np.asarray(logits)
    if logits.ndim != 2 or logits.shape[1] != CLASSES:
        raise MarotteError(f"logits have shape {list(logits.shape)}, expected [M, {CLASSES}]")
    rows = logits[:-1]
    half = np.zeros((STEPS // 2, CLASSES), logits.dtype)
    first = _STRIDE * np.arange((len(rows) + 1) // _STRIDE)
    padded = np.concatenate([half, rows, half])
    return padded[first[:, None] + np.arange(STEPS)].transpose(0, 2, 1)


def context(windows: np.ndarray, frame: int | np.ndarray) -> np.ndarray:
    """Return the windows [..., 8, 29, 16] that frames [...] hear of a sequence [N, 29, 16]: frame - 4 to frame + 3.

    Windows outside of the sequence are zero. (The published code returns fewer than eight far behind its end.)
    """
    index = np.asarray(frame)[..., None] + np.arange(-WINDOWS // 2, WINDOWS // 2)
    inside = (index >= 0) & (index < len(windows))
    heard = np.zeros((*index.shape, *windows.shape[1:]), windows.dtype)
    heard[inside] = windows[index[inside]]
    return heard
