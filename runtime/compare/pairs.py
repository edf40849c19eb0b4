"""How far two pictures that should look alike are apart, frame by frame, from their exact pixels.

Pictures are uint8 [H, W, 3] RGB of one size. What `marotte.runtime.picture_metrics` defines is the same here, by ways
that are quick on bytes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from marotte.errors import MarotteError
from marotte.runtime.compare.pair_kernels import difference_into, similarity_sum
from marotte.runtime.picture_metrics import Lpips, psnr

# SSIM and LPIPS are taken so often in a second, PSNR and the difference at each frame.
SLOW_RATE = 5
# The heat map's scale ends here, in steps of 255, whatever the pictures; from the second on a pixel counts as changed.
HEAT_MOST, HEAT_CHANGED = 32, 8
_BAR, _INK, _PAPER = 34, (236, 238, 241), (24, 26, 30)
_COLOURS = "inferno"
# Of the 68 landmarks.
_RIGHT_EYE, _LEFT_EYE = slice(36, 42), slice(42, 48)


def byte_psnr(squares: float, count: int) -> float:
    """Return the PSNR in dB of so many values, 0 to 255, whose squared differences sum up to `squares`."""
    return psnr(np.array([(squares / max(count, 1)) ** 0.5 / 255]), np.zeros(1)) if count else float("nan")


def ssim_bytes(a: np.ndarray, b: np.ndarray) -> float:
    """Return `picture_metrics.ssim` of two pictures [H, W, 3] uint8, by a kernel in single precision.

    It is within 1e-6 of it on rendered heads; a test holds it to 1e-4.
    """
    if a is b or np.array_equal(a, b):
        return 1.0
    return float(similarity_sum(np.ascontiguousarray(a), np.ascontiguousarray(b)) / a.size)


@dataclass(frozen=True)
class Worst:
    """A frame at which two pictures differ much. difference: mean absolute, 0 to 255."""

    frame: int
    difference: float


class PairMeter:
    """Takes the frames of two films in turn. fps: of the frames; lpips: whether LPIPS is taken too; box: left, top,
    right and bottom of the head in pixels, for a PSNR of it alone. Raises MarotteError where LPIPS is not there."""

    def __init__(self, fps: Fraction, *, lpips: bool = False, box: Sequence[float] | None = None) -> None:
        self._every = max(1, round(fps / SLOW_RATE))
        self._fps = fps
        self._lpips = Lpips() if lpips else None
        self._box = box
        names = ["psnr", "difference", "ssim"] + ["lpips"] * lpips + ["psnr_head"] * (box is not None)
        self._tracks: dict[str, list[float]] = {name: [] for name in names}
        self._heat: np.ndarray | None = None
        self._counted = 0

    def __len__(self) -> int:
        return len(self._tracks["psnr"])

    @property
    def tracks(self) -> dict[str, np.ndarray]:
        """`psnr` in dB, `difference` (mean absolute, 0 to 255), `ssim`, and `lpips` and `psnr_head` if asked for: [T],
        NaN at frames that were left out or not there."""
        return {name: np.array(values, np.float64) for name, values in self._tracks.items()}

    def add(self, a: np.ndarray | None, b: np.ndarray | None) -> None:
        """Measure a frame; None for a film that has none at that time. Raises MarotteError for two sizes."""
        index = len(self)
        values = dict.fromkeys(self._tracks, float("nan"))
        if a is not None and b is not None:
            if a.shape != b.shape or a.ndim != 3 or a.shape[2] != 3:
                raise MarotteError(f"pictures of {list(a.shape)} and {list(b.shape)} cannot be compared: align them")
            values |= self._quick(a, b)
            if index % self._every == 0:
                values |= self._slow(a, b, values["difference"] == 0)
        for name, value in values.items():
            self._tracks[name].append(value)

    def worst(self, count: int = 3, apart: float = 1.0) -> list[Worst]:
        """Return the frames that differ most, the worst first, each at least `apart` seconds from the others; none of
        them equal."""
        difference = self.tracks["difference"]
        left, found = np.nan_to_num(difference, nan=0.0), list[Worst]()
        reach = max(1, round(apart * self._fps))
        while len(found) < count and len(left) and left.max() > 0:
            frame = int(left.argmax())
            found.append(Worst(frame, float(difference[frame])))
            left[max(0, frame - reach + 1) : frame + reach] = 0
        return found

    def mean_difference(self) -> np.ndarray:
        """Return the mean absolute difference [H, W] of each pixel over the frames, 0 to 255. Raises MarotteError where
        no frame was measured."""
        if self._heat is None:
            raise MarotteError("no two pictures were compared, so there is no map of their difference")
        return np.asarray(self._heat / np.float32(3 * self._counted), np.float32)

    def heatmap(self) -> np.ndarray:
        """Return `mean_difference` in colours [H + bar, W, 3] uint8, the bar below it with the scale, which is the same
        for all: black 0, lightest 32 steps of 255 and above."""
        from matplotlib import colormaps

        table = (255 * colormaps[_COLOURS](np.linspace(0, 1, 256))[:, :3] + 0.5).astype(np.uint8)
        mean = self.mean_difference()
        picture = table[np.minimum(mean * (255 / HEAT_MOST), 255).astype(np.uint8)]
        return np.concatenate([picture, _bar(table, mean.shape[1])])

    def heat_words(self) -> str:
        """Return in a sentence what `heatmap` shows."""
        mean = self.mean_difference()
        row, column = np.unravel_index(int(mean.argmax()), mean.shape)
        if not mean.any():
            return f"All {self._counted} frames are equal."
        return (
            f"Mean absolute difference of each pixel over {self._counted} frames, from 0 to {HEAT_MOST} of 255; "
            f"{100 * np.mean(mean > HEAT_CHANGED):.1f} % of the picture differs by more than {HEAT_CHANGED}, most "
            f"({mean.max():.0f}) at {column}, {row}."
        )

    def _quick(self, a: np.ndarray, b: np.ndarray) -> dict[str, float]:
        if self._heat is None:
            self._heat = np.zeros(a.shape[:2], np.uint32)
        self._counted += 1
        if a is b or np.array_equal(a, b):
            found = {"psnr": byte_psnr(0, a.size), "difference": 0.0}
            head = found["psnr"]
        else:
            top, bottom, left, right = self._box_sides(a)
            one, other = np.ascontiguousarray(a), np.ascontiguousarray(b)
            whole, squares, inside = difference_into(one, other, self._heat, top, bottom, left, right)
            found = {"psnr": byte_psnr(float(squares), a.size), "difference": float(whole) / a.size}
            head = byte_psnr(float(inside), 3 * max(bottom - top, 0) * max(right - left, 0))
        return found | ({"psnr_head": head} if "psnr_head" in self._tracks else {})

    def _slow(self, a: np.ndarray, b: np.ndarray, equal: bool) -> dict[str, float]:
        found = {"ssim": 1.0 if equal else ssim_bytes(a, b)}
        if self._lpips is not None:
            found["lpips"] = 0.0 if equal else self._lpips(*(each.astype(np.float32) / 255 for each in (a, b)))
        return found

    def _box_sides(self, picture: np.ndarray) -> tuple[int, int, int, int]:
        """Return first and last row and column of the head's box within a picture."""
        if self._box is None or not np.isfinite(self._box).all():
            return 0, 0, 0, 0
        left, top, right, bottom = (round(float(side)) for side in self._box)
        height, width = picture.shape[:2]
        return max(0, top), min(bottom, height), max(0, left), min(right, width)


def landmark_distance(own: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean distance of landmarks [T, 68, 2] in two films, frame by frame: [T] in pixels, and [T] as a share
    of the distance between the middles of the other's eyes.

    Landmarks that are NaN in either do not count; NaN for frames without any. Raises MarotteError for two lengths.
    """
    if own.shape != other.shape:
        raise MarotteError(f"landmarks of {list(own.shape)} and {list(other.shape)} cannot be compared")
    apart = np.linalg.norm(np.asarray(own, np.float64) - other, axis=-1)
    known = np.isfinite(apart)
    count = known.sum(axis=1)
    total = np.where(known, apart, 0).sum(axis=1)
    pixels = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    between = np.linalg.norm(other[:, _RIGHT_EYE].mean(axis=1) - other[:, _LEFT_EYE].mean(axis=1), axis=-1)
    return pixels, pixels / np.where(between > 0, between, np.nan)


def _bar(table: np.ndarray, width: int) -> np.ndarray:
    from PIL import Image, ImageDraw, ImageFont

    strip = np.full((_BAR, width, 3), _PAPER, np.uint8)
    strip[4:14] = table[np.linspace(0, 255, width).astype(np.uint8)]
    image = Image.fromarray(strip)
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(11)
    words = [(2, "0", "la"), (width - 2, f"{HEAT_MOST} or more", "ra")]
    if width >= 300:
        words.append((width // 2, "mean absolute difference, of 255", "ma"))
    for at, text, anchor in words:
        draw.text((at, 17), text, _INK, font, anchor=anchor)
    return np.asarray(image)
