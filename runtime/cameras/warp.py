"""Pictures that follow their cameras: the 2D map between two cameras of one pose, and the picture that it makes.

A format that has no principal point, or one focal length for good, fixes the picture too. What it cannot hold then is
not lost but moved into the pixels: R and t stay, the picture is shifted and zoomed. No depth is needed for that and
nothing is approximate, since a change of K alone is an affine map of the picture. Source:
reference/cameras/SPEC.md, sections 4.2, 8 and 9.
"""

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np

from marotte.errors import MarotteError
from marotte.runtime.affine import Affine2D
from marotte.runtime.camera import Camera
from marotte.runtime.cameras.track import CameraTrack

Size = tuple[int, int]

# Catmull and Rom's cubic, the sharpest that keeps ramps as they are.
_SHARPNESS = -0.5
# Pixels that are the rounding of float32 files.
_TINY = 1e-3


@dataclass(frozen=True)
class PictureNeeds:
    """What a format asks of its pictures, because it has no field for it.

    centred: the principal point is in the middle. one_focal: fx is fy, the same for all cameras. square: width is
    height. focal: in pixels of `size`. size: (width, height), None for any.
    """

    centred: bool = False
    one_focal: bool = False
    square: bool = False
    focal: float | None = None
    size: Size | None = None

    def met_by(self, track: CameraTrack) -> bool:
        """Whether the pictures are as they have to be."""
        cameras = track.cameras
        sizes = np.array([(camera.width, camera.height) for camera in cameras])
        focal = np.array([(camera.K[0, 0], camera.K[1, 1]) for camera in cameras])
        centre = np.array([camera.K[:2, 2] for camera in cameras])
        return bool(
            (not self.centred or np.abs(centre - sizes / 2).max() < _TINY)
            and (not self.one_focal or np.ptp(focal) < _TINY)
            and (not self.square or (sizes[:, 0] == sizes[:, 1]).all())
            and (self.focal is None or np.abs(focal - self.focal).max() < _TINY)
            and (self.size is None or (sizes == self.size).all())
        )


NEEDS = {
    "nerf": PictureNeeds(centred=True, one_focal=True),
    "imavatar": PictureNeeds(square=True, one_focal=True),
    "3dgs": PictureNeeds(centred=True),
    "gaussian-talker": PictureNeeds(centred=True, one_focal=True),
    # 12 in NDC of 512 pixels.
    "gagavatar": PictureNeeds(centred=True, one_focal=True, square=True, focal=3072.0, size=(512, 512)),
    "facelift": PictureNeeds(square=True),
}


@dataclass(frozen=True)
class Fit:
    """A track whose pictures are made by maps: `maps[i]` takes pixels of the old picture i to the new one.

    kept: the least share of an old picture that the new one shows. empty: the largest share of a new picture that
    shows nothing.
    """

    track: CameraTrack
    maps: tuple[Affine2D, ...]
    kept: float
    empty: float


def picture_map(source: Camera, target: Camera) -> Affine2D:
    """Return the map from the pixels of one camera to those of another that stands in the same place.

    Raises MarotteError where the poses differ: then no 2D map takes one picture to the other.
    """
    target = target.scaled(source.unit / target.unit)
    if not (np.allclose(source.R, target.R, atol=1e-6) and np.allclose(source.t, target.t, rtol=1e-6, atol=1e-9)):
        raise MarotteError("the two cameras differ in R or t: their pictures are not maps of one another")
    scale_x, scale_y = target.K[0, 0] / source.K[0, 0], target.K[1, 1] / source.K[1, 1]
    return Affine2D(
        scale_x, scale_y, target.K[0, 2] - scale_x * source.K[0, 2], target.K[1, 2] - scale_y * source.K[1, 2]
    )


def fit_pictures(track: CameraTrack, needs: PictureNeeds, size: Size | None = None, *, fill: bool = False) -> Fit:
    """Return the cameras of pictures that a format can hold, and the maps that make those pictures.

    The whole of every old picture is shown, with empty borders where the middle moved; with `fill` nothing is empty,
    and the borders of the old ones are cut. Where the format fixes the focal length, that decides. size: of the new
    pictures, where the format leaves it open (the old size). Raises MarotteError where `fill` cannot be, the
    principal point being outside of a picture.
    """
    if size and needs.size and size != needs.size:
        raise MarotteError(f"pictures of this format are {needs.size[0]}x{needs.size[1]}: leave the size out")
    if size and needs.square and size[0] != size[1]:
        raise MarotteError(f"pictures of this format are square, not {size[0]}x{size[1]}")
    sizes = [needs.size or size or _own_size(camera, needs.square) for camera in track.cameras]
    pairs = list(zip(track.cameras, sizes, strict=True))
    zooms = [_zoom(camera, new, needs.centred, fill) for camera, new in pairs]
    focals = [(camera.K[0, 0] * zoom, camera.K[1, 1] * zoom) for camera, zoom in zip(track.cameras, zooms, strict=True)]
    if needs.one_focal:
        best = max if fill else min
        common = needs.focal or best(best(focal) for focal in focals)
        focals = [(common, common)] * len(focals)
    maps = tuple(_map(camera, new, focal, needs.centred) for (camera, new), focal in zip(pairs, focals, strict=True))
    cameras = tuple(
        camera.through(map_, *new, f"fitted:{new[0]}x{new[1]}") for (camera, new), map_ in zip(pairs, maps, strict=True)
    )
    shares = [
        _shares(map_, (camera.width, camera.height), new) for (camera, new), map_ in zip(pairs, maps, strict=True)
    ]
    fitted = replace(track, cameras=cameras, crop=None)
    return Fit(fitted, maps, min(kept for kept, _ in shares), 1 - min(shown for _, shown in shares))


def warp_picture(picture: np.ndarray, to_new: Affine2D, size: Size) -> np.ndarray:
    """Return the picture (width, height) `size` that a map of continuous pixels makes; black where nothing is.

    picture: uint8 [H, W] or [H, W, C]. Cubic where it grows, and the same kernel as wide as the new pixels where it
    shrinks, so that nothing aliases; the picture's edge is cut to a fraction of a pixel.
    """
    if picture.dtype != np.uint8 or picture.ndim not in (2, 3):
        raise MarotteError(f"pictures are bytes [H, W] or [H, W, C], got {picture.dtype} {list(picture.shape)}")
    height, width = picture.shape[:2]
    if size == (width, height) and to_new == Affine2D():
        return picture.copy()
    rows = _weights(height, size[1], to_new.scale_y, to_new.shift_y)
    columns = _weights(width, size[0], to_new.scale_x, to_new.shift_x)
    depth = picture.shape[2] if picture.ndim == 3 else 1
    tall = (rows @ picture.reshape(height, -1).astype(np.float32)).reshape(size[1], width, depth)
    wide = columns @ tall.transpose(1, 0, 2).reshape(width, -1)
    new = wide.reshape(size[0], size[1], depth).transpose(1, 0, 2).reshape(size[1], size[0], *picture.shape[2:])
    return np.clip(new + 0.5, 0, 255).astype(np.uint8)


def _own_size(camera: Camera, square: bool) -> Size:
    side = max(camera.width, camera.height)
    return (side, side) if square else (camera.width, camera.height)


def _zoom(camera: Camera, new: Size, centred: bool, fill: bool) -> float:
    """Return how much a picture is enlarged so that all of it is in the new one (or the new one is full of it)."""
    old = camera.width, camera.height
    middle = camera.K[:2, 2] if centred else np.array(old) / 2
    before, after = middle, np.array(old) - middle
    if fill:
        if min(*before, *after) <= 0:
            raise MarotteError(
                f"the principal point {camera.K[:2, 2].round(1).tolist()} is outside of the {old[0]}x{old[1]} picture: "
                "it cannot be the middle of a full one; leave out --fill"
            )
        return float((np.array(new) / 2 / np.minimum(before, after)).max())
    return float((np.array(new) / 2 / np.maximum(before, after)).min())


def _map(camera: Camera, new: Size, focal: tuple[float, float], centred: bool) -> Affine2D:
    scale_x, scale_y = focal[0] / camera.K[0, 0], focal[1] / camera.K[1, 1]
    middle = camera.K[:2, 2] if centred else (camera.width / 2, camera.height / 2)
    return Affine2D(scale_x, scale_y, new[0] / 2 - scale_x * middle[0], new[1] / 2 - scale_y * middle[1])


def _shares(map_: Affine2D, old: Size, new: Size) -> tuple[float, float]:
    """Return which share of the old picture is in the new one, and which share of the new one shows the old."""
    corners = map_.apply(np.array([(0, 0), old], float))
    low, high = corners.min(axis=0), corners.max(axis=0)
    seen = np.clip(np.minimum(high, new) - np.maximum(low, 0), 0, None).prod()
    return float(seen / (high - low).prod()), float(seen / (new[0] * new[1]))


@lru_cache(maxsize=8)  # the frames of a video mostly share one map
def _weights(old: int, new: int, scale: float, shift: float) -> Any:
    """Return the weights, sparse [new, old], of a line's old pixels in its new ones; a row sums to what is covered."""
    from scipy.sparse import csr_array

    reach = max(1.0, 1 / abs(scale))
    centre = (np.arange(new) + 0.5 - shift) / scale
    ends = np.stack([np.arange(new) - shift, np.arange(new) + 1 - shift]) / scale
    covered = np.clip(np.minimum(ends.max(axis=0), old) - np.maximum(ends.min(axis=0), 0), 0, None) * abs(scale)
    taps = np.arange(int(np.ceil(4 * reach)) + 1)
    first = np.floor(centre - 2 * reach).astype(np.int64)
    at = first[:, None] + taps
    weights = _cubic((at + 0.5 - centre[:, None]) / reach)
    weights *= (covered / weights.sum(axis=1))[:, None]
    matrix = np.zeros((new, old), np.float32)
    # Beyond an edge its last pixel counts on.
    np.add.at(matrix, (np.arange(new)[:, None], np.clip(at, 0, old - 1)), weights)
    return csr_array(matrix)


def _cubic(x: np.ndarray) -> np.ndarray:
    """The cubic convolution kernel (Keys 1981)."""
    x, a = np.abs(x), _SHARPNESS
    inner = ((a + 2) * x - (a + 3)) * x * x + 1
    outer = ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
    return np.where(x <= 1, inner, np.where(x < 2, outer, 0.0))
