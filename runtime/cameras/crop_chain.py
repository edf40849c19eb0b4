"""How metrical-tracker cuts its pictures from a video: a box about 68 landmarks, padding to a square, a cubic resize.

All of it follows from the box, the video's size and the picture's size, so the map is exact and can be undone. Boxes
are (left, right, top, bottom) in video pixels, right and bottom exclusive, as `bbox.pt` has them. Source:
reference/cameras/SPEC.md, section 4.2.
"""

from pathlib import Path

import numpy as np

from marotte.errors import MarotteError
from marotte.models.safe_files import read_torch
from marotte.runtime.cameras.track import Crop

Box = tuple[int, int, int, int]
Size = tuple[int, int]

# The tracker's `bbox_scale`: the box is this many times as wide as the face.
SCALE = 2.5
# The cubic kernel of OpenCV; Pillow's has -0.5, and widens where it shrinks.
_SHARPNESS = -0.75
# OpenCV's weights for bytes are whole numbers of this fraction.
_WEIGHT_ONE = 1 << 11


def box_from_landmarks(landmarks: np.ndarray, video: Size, scale: float = SCALE) -> Box:
    """Return the box that the tracker makes of the first frame's landmarks.

    landmarks: [N, 2] pixels (68 as published); video: (width, height); scale: of the box against the face.
    Raises MarotteError where they are no numbers or the box is empty.
    """
    points = np.asarray(landmarks, np.float64)
    if points.ndim != 2 or points.shape[1] != 2 or not len(points) or not np.isfinite(points).all():
        raise MarotteError(f"landmarks must be finite [N, 2], got shape {list(points.shape)}")
    whole = points.astype(np.int32)
    low, high = whole.min(axis=0), whole.max(axis=0)
    centre = [int((a + b) / 2) for a, b in zip(low, high, strict=True)]
    side = int(scale * 2 * max(c - int(a) for c, a in zip(centre, low, strict=True)))
    edges: list[int] = []
    for middle, length in zip(centre, video, strict=True):
        start, stop = (min(max(edge, 0), length - 1) for edge in (middle - side // 2, middle + side // 2))
        edges += [start + (stop - start) % 2, stop]
    left, right, top, bottom = edges
    if right <= left or bottom <= top:
        raise MarotteError(f"the landmarks give an empty box {(left, right, top, bottom)} in a video of {video}")
    return left, right, top, bottom


def tracker_crop(box: Box, video: Size, side: int = 512) -> Crop:
    """Return how the tracker cuts a box: limited to the video, padded to a square, resized to side x side.

    The last column and row of the video are never used. A box made by hand may reach out of the video, and may have
    an odd difference of its sides: then the padding is one pixel short and the resize is not the same both ways.
    Raises MarotteError where nothing of the box is in the video.
    """
    left, right, top, bottom = _limited(box, video)
    longest = max(right - left, bottom - top)
    padding = (longest - (right - left)) // 2, (longest - (bottom - top)) // 2
    return Crop(video, (left, right, top, bottom), padding, (side, side))


def box_alone(box: Box, video: Size) -> Crop:
    """Return the tracker's cut where `image_size` is not square: the box, neither padded nor resized."""
    left, right, top, bottom = _limited(box, video)
    return Crop(video, (left, right, top, bottom), (0, 0), (right - left, bottom - top))


def whole_picture(video: Size, size: Size) -> Crop:
    """Return the tracker's map with `crop_image: false`: the whole picture resized to (width, height) `size`."""
    return Crop(video, (0, video[0], 0, video[1]), (0, 0), size)


def read_bbox(path: str | Path) -> Box:
    """Return the box in a `bbox.pt`, which may reach out of the video where it was made by hand.

    Raises MarotteError where the file is damaged, asks to run anything, or holds something else.
    """
    value = read_torch(path)
    if not isinstance(value, np.ndarray) or value.shape != (4,) or value.dtype.kind not in "iuf":
        what = f"{value.dtype} {list(value.shape)}" if isinstance(value, np.ndarray) else type(value).__name__
        raise MarotteError(f"{path} holds {what}, not the tracker's box of 4 whole numbers")
    if not np.isfinite(value).all() or (value != np.round(value)).any():
        raise MarotteError(f"{path} holds {value.tolist()}: a box is 4 whole numbers")
    left, right, top, bottom = (int(edge) for edge in value)
    if right <= left or bottom <= top:
        raise MarotteError(f"{path} holds {[left, right, top, bottom]}: expected [left, right, top, bottom], in order")
    return left, right, top, bottom


def crop_frame(image: np.ndarray, crop: Crop) -> np.ndarray:
    """Return the picture that the tracker makes of a frame: cut, padded with black, resized as OpenCV does (cubic).

    image: [height, width] or [height, width, channels]; bytes come back as bytes, floats as float32. Raises
    MarotteError where the frame is not of the crop's video size.
    """
    if image.shape[1::-1] != crop.video:
        raise MarotteError(
            f"the frame is {image.shape[1]}x{image.shape[0]}, the crop is of a video of {crop.video[0]}x{crop.video[1]}"
        )
    left, right, top, bottom = crop.box
    across, down = crop.padding
    border = [(down, down), (across, across)] + [(0, 0)] * (image.ndim - 2)
    return resize_cubic(np.pad(image[top:bottom, left:right], border), crop.size)


def resize_cubic(image: np.ndarray, size: Size) -> np.ndarray:
    """Return the image at (width, height) `size` by the cubic kernel of `cv2.INTER_CUBIC`.

    Pixel centres are at i + 0.5, edges are repeated, nothing is smoothed where the image shrinks. Bytes are weighed in
    whole numbers of 1/2048 and rounded once, at the end, half up; anything else is computed in float32.
    """
    if image.shape[1::-1] == size:
        return image.copy() if image.dtype == np.uint8 else image.astype(np.float32)
    exact = image.dtype == np.uint8
    # Two sums of whole numbers: at most 255 * 2048^2 times the weights' overshoot, which int64 holds.
    values = image.astype(np.int64 if exact else np.float32)
    for axis, new in ((1, size[0]), (0, size[1])):
        at, weights = _taps(image.shape[axis], new, exact)
        shape = [1] * image.ndim
        shape[axis] = new
        values = sum(np.take(values, at[:, k], axis) * weights[:, k].reshape(shape) for k in range(4))
    if not exact:
        return values
    one = _WEIGHT_ONE * _WEIGHT_ONE
    return np.clip((values + one // 2) // one, 0, 255).astype(np.uint8)


def _limited(box: Box, video: Size) -> Box:
    """Return the part of a box that the tracker cuts: without the video's last column and row."""
    left, top = max(box[0], 0), max(box[2], 0)
    right, bottom = min(box[1], video[0] - 1), min(box[3], video[1] - 1)
    if right <= left or bottom <= top:
        raise MarotteError(f"the box {list(box)} has no part of a video of {video[0]}x{video[1]}: is it of another?")
    return left, right, top, bottom


def _taps(old: int, new: int, exact: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return which 4 pixels [new, 4] of a line make each new one, and their weights [new, 4].

    The weights are those of the cubic convolution kernel (Keys 1981) with OpenCV's parameter; the last is what the
    others leave of 1. All is float32, as OpenCV computes it.
    """
    at = ((np.arange(new) + 0.5) * (old / new) - 0.5).astype(np.float32)
    first = np.floor(at).astype(np.int64)
    x, a = at - first.astype(np.float32), np.float32(_SHARPNESS)
    one = np.float32(1)
    outer = ((a * (x + one) - 5 * a) * (x + one) + 8 * a) * (x + one) - 4 * a
    inner = ((a + 2) * x - (a + 3)) * x * x + one
    after = ((a + 2) * (one - x) - (a + 3)) * (one - x) * (one - x) + one
    weights = np.stack([outer, inner, after, one - outer - inner - after], axis=1)
    pixels = np.clip(first[:, None] + np.arange(-1, 3), 0, old - 1)
    if exact:
        return pixels, np.rint(weights * _WEIGHT_ONE).astype(np.int64)
    return pixels, weights
