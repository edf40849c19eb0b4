"""A picture of a rig: where the cameras stand and look, and what part of the video their pictures are."""

from pathlib import Path
from typing import Any

import numpy as np

from marotte.errors import MarotteError
from marotte.runtime.affine import Affine2D
from marotte.runtime.camera import Camera
from marotte.runtime.cameras.summary import orbit, up_axis
from marotte.runtime.cameras.track import CameraTrack
from marotte.runtime.whole_file import written_whole

_SUFFIXES = (".png", ".svg", ".pdf")
# More pyramids than this hide one another.
_MOST_CAMERAS = 40
_FIRST, _LAST, _HEAD, _INK = "#2a6f97", "#d1495b", "#8d99ae", "#22303c"
# A head, in FLAME units, for scale.
_HEAD_RADIUS = 0.1


def plot(track: CameraTrack, path: str | Path) -> None:
    """Write a picture with the rig in 3D, its orbit, and the footprints of its pictures in the video.

    Cameras run from blue (the first) to red (the last); of many, an even choice is drawn. Where the crop is known the
    footprints are drawn in the video, else in the picture itself. Raises MarotteError for a name that is no picture's.
    """
    path = Path(path)
    if path.suffix.lower() not in _SUFFIXES:
        raise MarotteError(f"plots cannot be written as {path}: use {', '.join(_SUFFIXES)}")
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib.colors import LinearSegmentedColormap

    chosen = np.unique(np.linspace(0, len(track) - 1, min(len(track), _MOST_CAMERAS)).round().astype(int))
    colours = LinearSegmentedColormap.from_list("rig", [_FIRST, "#edae49", _LAST])(np.linspace(0, 1, len(chosen)))
    cameras = [track.cameras[index] for index in chosen]
    figure = plt.figure(figsize=(13, 6.4), layout="constrained")
    try:
        grid = figure.add_gridspec(2, 2, width_ratios=(1.25, 1))
        _draw_rig(figure.add_subplot(grid[:, 0], projection="3d"), cameras, colours)
        _draw_orbit(figure.add_subplot(grid[0, 1]), track, chosen, colours)
        _draw_footprints(figure.add_subplot(grid[1, 1]), track, cameras, colours)
        name = f"{track.format}, " if track.format else ""
        figure.suptitle(f"{name}{len(track)} camera{'s' if len(track) > 1 else ''}", fontsize="medium")
        with written_whole(path) as part:
            figure.savefig(part, dpi=110, format=path.suffix[1:].lower())
    finally:
        plt.close(figure)


def _draw_rig(axis: Any, cameras: list[Camera], colours: np.ndarray) -> None:
    """Draw each camera as the pyramid that it sees through, and a ball of a head's size at the origin."""
    up = up_axis(tuple(cameras))
    order, names = _axes(up)
    places = np.array([camera.centre for camera in cameras])
    depth = 0.16 * float(np.linalg.norm(places, axis=1).mean())
    for camera, colour in zip(cameras, colours, strict=True):
        corners = camera.unproject(_corners(camera), np.full(4, depth))
        # A long lens sees a thin pyramid, which would hide in its own axis.
        middle = corners.mean(axis=0)
        width = np.linalg.norm(corners - middle, axis=1).max()
        corners = middle + (corners - middle) * max(1.0, 0.25 * depth / width)
        rim = corners[[0, 1, 2, 3, 0]]
        axis.plot(*order(rim).T, color=colour, linewidth=1.0)
        for corner in corners:
            axis.plot(*order(np.stack([camera.centre, corner])).T, color=colour, linewidth=0.6)
        # The picture's upper edge is thick: a rig that is upside down shows at once.
        axis.plot(*order(corners[:2]).T, color=colour, linewidth=2.4)
    axis.plot(*order(places).T, color=_INK, linewidth=0.5, alpha=0.4)
    _draw_head(axis, order, cameras[0].unit)
    ends = np.concatenate([order(places), np.zeros((1, 3))])
    middle, reach = (ends.max(axis=0) + ends.min(axis=0)) / 2, float(np.ptp(ends, axis=0).max()) / 2
    reach = max(1.15 * reach, 1.5 * _HEAD_RADIUS * cameras[0].unit)
    for which, name, at in zip("xyz", names, middle, strict=True):
        getattr(axis, f"set_{which}lim")(at - reach, at + reach)
        getattr(axis, f"set_{which}label")(name)
    axis.set_box_aspect((1, 1, 1), zoom=1.1)
    axis.view_init(elev=22, azim=-60)
    axis.set_title(f"the rig, in world units ({up} up; thick: the upper edge of the picture)", fontsize="small")
    axis.tick_params(labelsize=7)


def _axes(up: str) -> tuple[Any, tuple[str, str, str]]:
    """Return a map of points [N, 3] to the plot's axes, whose third is up, and the axes' names."""
    sign = -1.0 if up[0] == "-" else 1.0
    if up[1] == "z":
        return lambda points: points * (sign, 1, sign), (f"{_name(sign)}x", "y", f"{_name(sign)}z")
    if up[1] == "x":
        return lambda points: points[:, (2, 1, 0)] * (1, -sign, sign), ("z", f"{_name(-sign)}y", f"{_name(sign)}x")
    return lambda points: points[:, (0, 2, 1)] * (sign, -1, sign), (f"{_name(sign)}x", "-z", f"{_name(sign)}y")


def _name(sign: float) -> str:
    return "-" if sign < 0 else ""


def _draw_head(axis: Any, order: Any, unit: float) -> None:
    around, along = np.meshgrid(np.linspace(0, 2 * np.pi, 25), np.linspace(0, np.pi, 13))
    ball = np.stack([np.cos(around) * np.sin(along), np.sin(around) * np.sin(along), np.cos(along)], axis=-1)
    x, y, z = (order(ball.reshape(-1, 3) * _HEAD_RADIUS * unit).reshape(*around.shape, 3)).transpose(2, 0, 1)
    axis.plot_wireframe(x, y, z, color=_HEAD, linewidth=0.4, alpha=0.7)


def _corners(camera: Camera) -> np.ndarray:
    """[4, 2] corners of the picture: upper left, upper right, lower right, lower left."""
    return np.array([(0, 0), (camera.width, 0), (camera.width, camera.height), (0, camera.height)], float)


def _draw_orbit(axis: Any, track: CameraTrack, chosen: np.ndarray, colours: np.ndarray) -> None:
    """Draw azimuth over elevation of all cameras about the origin, and the distance as the dots' size."""
    places = np.array([camera.centre for camera in track.cameras])
    azimuth, elevation = orbit(places, up_axis(track.cameras))
    axis.plot(azimuth, elevation, color=_INK, linewidth=0.5, alpha=0.4)
    axis.scatter(azimuth[chosen], elevation[chosen], c=colours, s=22, zorder=3)
    for where, offset in ((0, (6, 5)), (len(track) - 1, (6, -11))):
        at = (azimuth[where], elevation[where])
        axis.annotate(track.names[where], at, offset, textcoords="offset points", fontsize=8)
    axis.margins(0.12)
    if np.ptp(elevation) < 1:
        axis.set_ylim(elevation.mean() - 5, elevation.mean() + 5)
    if np.ptp(azimuth) < 1:
        axis.set_xlim(azimuth.mean() - 5, azimuth.mean() + 5)
    axis.set(xlabel="azimuth about the origin, degrees (0 is in front)", ylabel="elevation, degrees")
    axis.grid(alpha=0.3)


def _draw_footprints(axis: Any, track: CameraTrack, cameras: list[Camera], colours: np.ndarray) -> None:
    """Draw each picture's frame in the video (or its own pixels), its principal point, and a head at the origin."""
    crop = track.crop
    to_video = crop.affine.inverse if crop is not None else Affine2D()
    edge = np.array([0, 1, 2, 3, 0])
    if crop is not None:
        frame = np.array([(0, 0), (crop.video[0], 0), crop.video, (0, crop.video[1])], float)
        axis.plot(*frame[edge].T, color=_INK, linewidth=1.4)
        axis.text(0, 0, f"  {crop.video[0]}x{crop.video[1]}", fontsize=8, va="top")
    for camera, colour in zip(cameras, colours, strict=True):
        corners = to_video.apply(_corners(camera))
        axis.plot(*corners[edge].T, color=colour, linewidth=1.0)
        axis.plot(*to_video.apply(camera.K[:2, 2]), "+", color=colour, markersize=9)
        head = to_video.apply(camera.project(_outline(camera)))
        if camera.to_camera(np.zeros(3))[2] > 2 * _HEAD_RADIUS * camera.unit:
            axis.plot(*head.T, color=colour, linewidth=0.8, alpha=0.7)
    axis.invert_yaxis()
    axis.set_aspect("equal")
    axis.set_title("pixels of the video" if crop is not None else "pixels of the picture", fontsize="small")
    axis.set_xlabel("frame of each picture, + principal point, circle: a head at the origin", fontsize=8)
    axis.tick_params(labelsize=8)


def _outline(camera: Camera) -> np.ndarray:
    """[N, 3] a circle of a head's radius about the origin, square to the line of sight."""
    angle = np.linspace(0, 2 * np.pi, 49)[:, None]
    return _HEAD_RADIUS * camera.unit * (np.cos(angle) * camera.R[0] + np.sin(angle) * camera.R[1])
