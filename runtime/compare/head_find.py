"""Where the head is in pictures of which nothing else is known: by what stands out from what is behind it, or moves.

It is approximate: hair and ears count, a high collar or hands may, and the chin, which no outline shows, is put where
heads have it.
"""

from collections.abc import Iterable

import numpy as np

# Pictures are looked at no wider than this.
_WIDE = 192
# A border is plain where most of it is within some steps of 255 of its middle; the head differs by more than the other.
_PLAIN, _STEPS, _STANDS_OUT = 0.7, 30, 24
# What moves changes by so many steps of 255, and by so many times as much as the usual pixel.
_MOVES, _TIMES = 3.0, 3.0
# A head's widest row is above this share of its width, from the crown; and its height, crown to chin, by its width.
_WIDEST_ABOVE, HIGH = 0.9, 1.45
# Less than this share of a picture's width is no head.
_LEAST = 0.12
_ROW_FILL = 0.03


def head_box(pictures: Iterable[np.ndarray]) -> np.ndarray | None:
    """Return left, top, right and bottom [4] float64 in pixels of the head in pictures [H, W, 3] uint8 of one film.

    A few dozen pictures from all over it are enough; where what is behind the head is plain one is. None where no head
    stands out. Mirrored pictures give the mirrored box.
    """
    small, scale = _small(pictures)
    if not len(small):
        return None
    for mask in (_before_plain(small), _moving(small)):
        found = None if mask is None else _head(mask)
        if found is not None:
            return np.asarray(found * scale)
    return None


def _small(pictures: Iterable[np.ndarray]) -> tuple[np.ndarray, float]:
    """Return small copies [T, h, w, 3], and how many pixels one of theirs is."""
    from PIL import Image

    small, scale = [], 1.0
    for picture in pictures:
        height, width = picture.shape[:2]
        scale = max(1.0, width / _WIDE)
        size = max(1, round(width / scale)), max(1, round(height / scale))
        small.append(np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BOX)))
        scale = width / size[0]
    return np.array(small), scale


def _before_plain(small: np.ndarray) -> np.ndarray | None:
    """Return what differs [h, w] from a plain border's colour, or None where the border is not plain."""
    height = small.shape[1]
    middle = np.median(small, axis=0)
    half = height // 2
    # Shoulders cross the lower half of the sides.
    border = np.concatenate([middle[0], middle[:half, 0], middle[:half, -1]])
    colour = np.median(border, axis=0)
    apart = abs(border - colour).max(axis=-1)
    if np.mean(apart < _STEPS) < _PLAIN:
        return None
    spread = float(np.quantile(apart[apart < _STEPS], 0.9))
    return np.asarray(abs(middle - colour).max(axis=-1) > max(_STANDS_OUT, 2 * spread))


def _moving(small: np.ndarray) -> np.ndarray | None:
    """Return what moves [h, w], or None for fewer than two pictures."""
    from scipy.ndimage import binary_closing, binary_opening

    if len(small) < 2:
        return None
    change = small.astype(np.float32).std(axis=0).mean(axis=-1)
    mask = change > max(_MOVES, _TIMES * float(np.median(change)))
    return np.asarray(binary_opening(binary_closing(mask, iterations=3), iterations=1))


def _head(mask: np.ndarray) -> np.ndarray | None:
    """Return the box of the head at the top of the largest piece of a mask [h, w]."""
    from scipy.ndimage import label

    pieces, count = label(mask)
    if not count:
        return None
    piece = pieces == 1 + np.bincount(pieces.ravel())[1:].argmax()
    height, width = piece.shape
    filled = piece.sum(axis=1) >= max(2, _ROW_FILL * width)
    if not filled.any():
        return None
    top = int(filled.argmax())
    first, last = piece.argmax(axis=1), width - piece[:, ::-1].argmax(axis=1)
    wide = np.where(piece.any(axis=1), last - first, 0)
    for row in range(top, height):
        widest = int(wide[top : row + 1].max())
        if row - top >= _WIDEST_ABOVE * widest:
            break
    else:
        return None
    if widest < _LEAST * width or widest > 0.98 * width:
        return None
    # Single hairs and ornaments do not count: rows that are nearly as wide as the widest decide.
    rows = np.flatnonzero(wide[: row + 1] >= 0.95 * widest)
    rows = rows[rows >= top]
    left, right = float(np.median(first[rows])), float(np.median(last[rows]))
    return np.array([left, top, right, min(top + HIGH * (right - left), height)])
