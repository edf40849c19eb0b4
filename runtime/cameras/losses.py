"""What formats cannot hold, in one line each, with its size."""

import numpy as np

from marotte.errors import MarotteError
from marotte.runtime.cameras.track import CameraTrack

# Pixels below which a difference is the rounding of float32 files.
TINY = 1e-3


def crop_box(track: CameraTrack) -> list[str]:
    """Name the way back to the video."""
    if track.crop is None:
        return []
    left, right, top, bottom = track.crop.box
    width, height = track.crop.video
    return [f"crop box: columns {left} to {right}, rows {top} to {bottom} of {width}x{height}"]


def principal_point(track: CameraTrack) -> list[str]:
    """Name the principal point where it is not in the picture's centre."""
    off = max(float(np.abs(c.K[:2, 2] - (c.width / 2, c.height / 2)).max()) for c in track.cameras)
    return [f"principal point: up to {off:.4g} px from the centre"] if off > TINY else []


def focal_lengths(track: CameraTrack, only: float | None = None) -> list[str]:
    """Name the focal lengths where they are not one for both axes and all frames. only: the one that the format has."""
    focal = np.array([(c.K[0, 0], c.K[1, 1]) for c in track.cameras])
    low, high = float(focal.min()), float(focal.max())
    off = max(abs(low - only), abs(high - only)) if only else high - low
    if off <= TINY:
        return []
    there = f"{low:.6g} px" if high - low <= TINY else f"{low:.6g} to {high:.6g} px"
    return [f"focal length: {there}, the format has {f'{only:g} px for good' if only else 'one for all'}"]


def own_lenses(track: CameraTrack, least: float) -> list[str]:
    """Name what frames' K differ by from the first frame's, where that is more than `least` pixels."""
    off = max(float(np.abs(c.K - track.cameras[0].K).max()) for c in track.cameras)
    if off <= least:
        return []
    return [f"each frame's own focal length and principal point: up to {off:.3g} px from the first frame's"]


def picture_size(track: CameraTrack, only: tuple[int, int]) -> list[str]:
    """Name the pictures' sizes where they are not the one that the format has."""
    sizes = sorted({(c.width, c.height) for c in track.cameras} - {only})
    listed = ", ".join(f"{w}x{h}" for w, h in sizes[:4])
    return [f"picture size: {listed}, the format has {only[0]}x{only[1]} for good"] if sizes else []


def one_size(track: CameraTrack) -> tuple[int, int]:
    """Return the (width, height) of all pictures. Raises MarotteError where they differ."""
    sizes = {(c.width, c.height) for c in track.cameras}
    if len(sizes) > 1:
        listed = ", ".join(f"{w}x{h}" for w, h in sorted(sizes)[:4])
        raise MarotteError(f"the pictures have several sizes ({listed}) and this format holds one: resize them first")
    return sizes.pop()
