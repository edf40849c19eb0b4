"""What the figures of docs/conventions.md are drawn with: a face that shows every flip, axes, pictures, text."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from marotte.runtime.camera import FACING, Camera, pinhole

INK, PALE, ACCENT, GOOD = "#22303c", "#b8c4cc", "#d1495b", "#2a9d6f"
AXIS_COLOURS = {"x": "#d1495b", "y": "#2a9d6f", "z": "#2a6f97"}
_HAIR, _SKIN = "#8a5a2b", "#fbf3ea"


def page(turn: float = -40.0, tilt: float = 20.0) -> np.ndarray:
    """Return how a scene is drawn, [2, 3], FLAME's axes to the page: watched from a side and from above (degrees)."""
    across, above = np.radians(turn), np.radians(tilt)
    return np.array(
        [
            [np.cos(across), 0.0, -np.sin(across)],
            [-np.sin(above) * np.sin(across), np.cos(above), -np.sin(above) * np.cos(across)],
        ]
    )


PAGE = page()


def _arc(centre: Sequence[float], radii: Sequence[float], start: float, end: float, count: int = 24) -> np.ndarray:
    """[count, 3] a piece of an ellipse in x and y, angles in degrees, 0 to the person's left."""
    angle = np.radians(np.linspace(start, end, count))
    x, y, z = centre
    return np.stack([x + radii[0] * np.cos(angle), y + radii[1] * np.sin(angle), np.full(count, z)], axis=1)


def face() -> list[tuple[np.ndarray, str, float]]:
    """Return lines of a face in FLAME's axes and metres, with colour and width.

    Nothing in it is symmetric, so that a flip or a turn shows: it winks with its left eye, smiles on that side, has its
    parting and a mole on the right.
    """
    jaw = _arc((0, 0, 0.015), (0.074, 0.112), 0, 360, 60)
    jaw[:, 0] *= np.where(jaw[:, 1] < -0.02, 1 - 2.6 * np.square(-0.02 - jaw[:, 1]) / 0.1, 1)
    parting = np.array([(-0.03, 0.115, 0.02), (-0.034, 0.085, 0.055), (-0.055, 0.06, 0.05), (-0.074, 0.03, 0.02)])
    fringe = np.array([(-0.034, 0.085, 0.055), (0.0, 0.088, 0.066), (0.04, 0.075, 0.06), (0.075, 0.03, 0.02)])
    tuft = np.array([(0.0, 0.112, 0.02), (0.025, 0.137, 0.01), (0.052, 0.138, 0.0)])
    nose = np.array([(-0.002, 0.035, 0.07), (-0.006, 0.008, 0.09), (-0.014, -0.012, 0.082), (0.008, -0.014, 0.085)])
    mouth = np.array([(-0.026, -0.05, 0.064), (-0.01, -0.056, 0.073), (0.012, -0.053, 0.073), (0.033, -0.036, 0.06)])
    return [
        (jaw, INK, 1.6),
        (_arc((0.079, 0.0, -0.01), (0.012, 0.022), -90, 90), INK, 1.2),
        (_arc((-0.079, 0.0, -0.01), (0.012, 0.022), 90, 270), INK, 1.2),
        (_smooth(parting), _HAIR, 2.0),
        (_smooth(fringe), _HAIR, 2.0),
        (_smooth(tuft), _HAIR, 2.0),
        (_arc((-0.031, 0.03, 0.062), (0.0155, 0.009), 0, 360), INK, 1.2),
        (_arc((-0.031, 0.03, 0.064), (0.0045, 0.006), 0, 360), INK, 2.2),
        (_arc((0.031, 0.034, 0.062), (0.0155, 0.009), 200, 340), INK, 1.8),
        (_arc((-0.031, 0.034, 0.064), (0.021, 0.021), 40, 130), _HAIR, 1.8),
        (_arc((0.031, 0.03, 0.064), (0.024, 0.016), 50, 140), _HAIR, 1.8),
        (_smooth(nose), INK, 1.4),
        (_smooth(mouth), ACCENT, 2.0),
        (_arc((-0.042, -0.03, 0.055), (0.0025, 0.0025), 0, 360), _HAIR, 2.4),
    ]


def _smooth(points: np.ndarray, count: int = 20) -> np.ndarray:
    from scipy.interpolate import CubicSpline

    return CubicSpline(np.arange(len(points)), points)(np.linspace(0, len(points) - 1, count))


def camera(
    *,
    yaw: float = 0.0,
    pitch: float = 0.0,
    distance: float = 1.0,
    focal: float = 1500.0,
    size: tuple[int, int] = (512, 512),
    centre: tuple[float, float] | None = None,
) -> Camera:
    """Return a camera that looks at the world's origin, where the face is. Angles in degrees."""
    about_y, about_x = np.radians(yaw), np.radians(pitch)
    turn = np.array([[np.cos(about_y), 0, np.sin(about_y)], [0, 1, 0], [-np.sin(about_y), 0, np.cos(about_y)]])
    nod = np.array([[1, 0, 0], [0, np.cos(about_x), -np.sin(about_x)], [0, np.sin(about_x), np.cos(about_x)]])
    cx, cy = centre or (size[0] / 2, size[1] / 2)
    return Camera(FACING @ nod @ turn, np.array([0, 0, distance]), pinhole(focal, focal, cx, cy), *size)


def blank(axis: Any, title: str = "") -> None:
    """Take ticks and frame away."""
    axis.set_axis_off()
    axis.set_aspect("equal")
    axis.set_title(title, fontsize=9.5, color=INK, loc="left")


def arrow(
    axis: Any, start: Any, end: Any, colour: str, label: str = "", width: float = 1.6, away: float = 11.0
) -> None:
    """Draw an arrow between two points in the axes' data, with a label `away` points beyond its head."""
    start, end = np.asarray(start, float), np.asarray(end, float)
    style = {"arrowstyle": "-|>", "color": colour, "lw": width, "shrinkA": 0, "shrinkB": 0, "mutation_scale": 11}
    axis.annotate("", end, start, arrowprops=style, annotation_clip=False)
    if label:
        along = end - start
        along[1] *= -1 if axis.yaxis_inverted() else 1
        offset = away * along / max(np.linalg.norm(along), 1e-12)
        axis.annotate(
            label,
            end,
            offset,
            textcoords="offset points",
            color=colour,
            fontsize=9.5,
            weight="bold",
            ha="center",
            va="center",
            annotation_clip=False,
        )


def draw_scene(axis: Any, axes: dict[str, tuple[float, float, float]], *, title: str = "", note: str = "") -> None:
    """Draw the face, its world axes, and a camera before it with its own axes.

    axes: of the camera, by name, as directions in OpenCV's camera axes (x right, y down, z forward).
    """
    blank(axis, title)
    draw_face(axis)
    seen = camera(distance=0.5)
    draw_camera(axis, seen)
    for name, direction in axes.items():
        tip = seen.centre + 0.12 * (seen.R.T @ np.array(direction, float))
        arrow(axis, PAGE @ seen.centre, PAGE @ tip, AXIS_COLOURS[name], name, width=2.2, away=8)
    draw_world(axis, 0.17)
    if note:
        axis.text(0.5, 0.0, note, transform=axis.transAxes, fontsize=8.5, color=INK, ha="center", va="bottom")
    ends = np.array([(0, 0.17, 0), (-0.09, -0.11, 0), (0, 0, 0.5), (0, -0.12, 0.5), (0, 0.12, 0.5), (0.12, 0, 0.5)])
    (low, bottom), (high, top) = (ends @ PAGE.T).min(axis=0), (ends @ PAGE.T).max(axis=0)
    axis.set_xlim(low - 0.06, high + 0.12)
    axis.set_ylim(bottom - 0.1, top + 0.05)


def draw_world(axis: Any, length: float, onto: np.ndarray = PAGE, basis: np.ndarray | None = None) -> None:
    """Draw the world's axes in grey. basis: [3, 3], columns are x, y, z in FLAME's axes."""
    for name, tip in zip("xyz", np.eye(3) if basis is None else basis.T, strict=True):
        arrow(axis, (0, 0), onto @ (length * tip), PALE, name, width=1.3, away=7)


def draw_face(axis: Any, scale: float = 1.0, at: Sequence[float] = (0, 0, 0), onto: np.ndarray = PAGE) -> None:
    """Draw the face in the scene, `scale` times as large, moved to `at`."""
    for line, colour, width in face():
        axis.plot(*(onto @ (line * scale + at).T), color=colour, linewidth=0.85 * width, solid_capstyle="round")


def draw_camera(
    axis: Any, seen: Camera, depth: float = 0.1, spread: float = 0.55, colour: str = INK, onto: np.ndarray = PAGE
) -> None:
    """Draw a camera in the scene as a pyramid, the upper edge of its picture thick."""
    corners = np.array([(-1, -0.8), (1, -0.8), (1, 0.8), (-1, 0.8)]) * spread * depth
    rim = np.concatenate([corners, np.full((4, 1), depth)], axis=1) @ seen.R + seen.centre
    for corner in rim:
        axis.plot(*(onto @ np.stack([seen.centre, corner]).T), color=colour, linewidth=0.8)
    axis.plot(*(onto @ rim[[0, 1, 2, 3, 0]].T), color=colour, linewidth=1.2)
    axis.plot(*(onto @ rim[:2].T), color=colour, linewidth=3)


def draw_picture(
    axis: Any,
    seen: Camera,
    *,
    title: str = "",
    origin: str = "pixels",
    faded: bool = False,
    mark_centre: bool = True,
    unit: float = 1.0,
) -> None:
    """Draw what a camera sees, framed, with the axes of its pixels.

    origin: `pixels` (0 at the upper left corner), `ndc` (PyTorch3D's: 0 in the middle, x left, y up) or nothing.
    """
    width, height = seen.width, seen.height
    blank(axis, title)
    frame = np.array([(0, 0), (width, 0), (width, height), (0, height), (0, 0)])
    axis.fill(*frame.T, color=_SKIN, zorder=0)
    axis.plot(*frame.T, color=INK, linewidth=1.2)
    draw_projected(axis, seen, faded=faded, unit=unit)
    if mark_centre:
        axis.plot(*seen.K[:2, 2], "+", color=ACCENT, markersize=11, markeredgewidth=1.8, zorder=5)
    axis.set_xlim(-0.07 * width, 1.07 * width)
    axis.set_ylim(1.07 * height, -0.07 * height)
    middle, side = np.array([width, height]) / 2, min(width, height)
    if origin == "pixels":
        arrow(axis, (0, 0), (0.3 * side, 0), AXIS_COLOURS["x"])
        arrow(axis, (0, 0), (0, 0.3 * side), AXIS_COLOURS["y"])
        for name, at, offset in (("u", (0.3 * side, 0), (0, 7)), ("v", (0, 0.3 * side), (-8, 0))):
            axis.annotate(
                name,
                at,
                offset,
                textcoords="offset points",
                color=AXIS_COLOURS["x" if name == "u" else "y"],
                fontsize=9.5,
                weight="bold",
                ha="center",
                va="center",
            )
    elif origin == "ndc":
        arrow(axis, middle, middle - (0.5 * side, 0), AXIS_COLOURS["x"], "+1", away=10)
        arrow(axis, middle, middle - (0, 0.5 * side), AXIS_COLOURS["y"], "+1", away=8)


def draw_projected(
    axis: Any, seen: Camera, *, faded: bool = False, colour: str | None = None, unit: float = 1.0
) -> None:
    """Draw the face as a camera sees it, in its pixels, cut at the picture's frame; dotted where it is behind.

    unit: world units per metre.
    """
    from matplotlib.patches import Rectangle

    frame = Rectangle((0, 0), seen.width, seen.height, transform=axis.transData)
    for line, own, width in face():
        depth = seen.to_camera(line * unit)[:, 2]
        if not (np.abs(depth) > 1e-6).all():
            continue
        (drawn,) = axis.plot(
            *seen.project(line * unit).T,
            color=PALE if faded else colour or own,
            linewidth=width if depth[0] > 0 else 0.8,
            linestyle="-" if depth[0] > 0 else ":",
        )
        drawn.set_clip_path(frame)


def draw_text(axis: Any, lines: str, title: str = "", size: float = 9.2) -> None:
    """Write lines in a monospaced face."""
    axis.set_axis_off()
    axis.set_title(title, fontsize=9.5, color=INK, loc="left")
    axis.text(0, 0.97, lines, transform=axis.transAxes, family="monospace", fontsize=size, va="top", linespacing=1.45)
