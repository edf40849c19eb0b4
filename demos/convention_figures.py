"""Draw the figures of docs/conventions.md: `python demos/convention_figures.py`, or with names of single figures."""

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from convention_drawing import (
    ACCENT,
    AXIS_COLOURS,
    INK,
    PAGE,
    PALE,
    arrow,
    blank,
    camera,
    draw_camera,
    draw_face,
    draw_picture,
    draw_projected,
    draw_scene,
    draw_text,
    draw_world,
    page,
)
from convention_faults import faults
from convention_texts import TEXTS

from marotte.runtime.affine import Affine2D
from marotte.runtime.camera import Camera
from marotte.runtime.cameras.crop_chain import tracker_crop

OUT = Path(__file__).resolve().parents[1] / "docs" / "conventions"

OPENCV = {"x": (1, 0, 0), "y": (0, 1, 0), "z": (0, 0, 1)}
OPENGL = {"x": (1, 0, 0), "y": (0, -1, 0), "z": (0, 0, -1)}
PYTORCH3D = {"x": (-1, 0, 0), "y": (0, -1, 0), "z": (0, 0, 1)}


def _row(widths: tuple[float, ...] = (1.25, 1, 0.95), height: float = 3.5) -> tuple[Any, Any]:
    figure, axes = plt.subplots(
        1,
        len(widths),
        figsize=(3.35 * sum(widths), height),
        layout="constrained",
        gridspec_kw={"width_ratios": widths},
    )
    return figure, axes


def _turned(**changes: Any) -> Camera:
    return camera(**{"yaw": 14, "pitch": -6, "centre": (290, 240), **changes})


def _text(axis: Any, name: str, title: str) -> None:
    draw_text(axis, TEXTS[name].strip("\n"), title)


def canonical() -> Any:
    """OpenCV axes, continuous pixels."""
    figure, (scene, picture, text) = _row()
    draw_scene(
        scene, OPENCV, title="camera axes: OpenCV", note="grey: the world, FLAME's axes (y up, z out of the face)"
    )
    draw_picture(picture, _turned(), title="picture: from the upper left corner")
    _text(text, "canonical", "what Marotte calculates with")
    return figure


def pixels() -> Any:
    """Continuous against index pixels, and what a resize does to each."""
    figure, axes = plt.subplots(1, 2, figsize=(11.5, 2.7), layout="constrained")
    for axis, shift, title in zip(
        axes,
        (0.0, 0.5),
        ("continuous: edges at i, centres at i + 0.5", "index: centres at i, edges at i - 0.5"),
        strict=True,
    ):
        blank(axis, title)
        for base, count, name in ((0.0, 8, "8 pixels"), (-2.1, 4, "halved")):
            size = 8 / count
            for i in range(count):
                axis.fill_between([i * size, (i + 1) * size], base, base + 1, color="#fbf3ea", zorder=0)
                axis.plot((i + 0.5) * size, base + 0.42, ".", color=INK, markersize=4)
                axis.text((i + 0.5) * size, base + 0.75, f"{i + 0.5 - shift:g}", fontsize=7.5, ha="center", va="center")
            for i in range(count + 1):
                axis.plot((i * size, i * size), (base, base + 1), color=INK, linewidth=0.8)
                axis.text(i * size, base - 0.1, f"{i - shift:g}", fontsize=7, ha="center", va="top", color="#7b8a95")
            axis.text(-0.5, base + 0.5, name, fontsize=8.5, ha="right", va="center")
            axis.plot((5.2, 5.2), (base, base + 1.12), color=ACCENT, linewidth=1.4)
            axis.text(
                5.2, base + 1.16, f"{5.2 / size - shift:.2f}", fontsize=8.5, color=ACCENT, ha="center", va="bottom"
            )
        rule = "x' = x / 2" if not shift else "x' = (x + 0.5) / 2 - 0.5"
        axis.text(4, -2.75, rule, fontsize=9.5, family="monospace", ha="center", va="top", color=ACCENT)
        axis.set_xlim(-2.0, 8.4)
        axis.set_ylim(-3.3, 1.6)
        axis.set_aspect("auto")
    return figure


def crop_chain() -> Any:
    """The box, the padding and the resize of metrical-tracker."""
    video = camera(focal=5134.8, size=(1920, 1080), centre=(957, 512), distance=1.69, yaw=8, pitch=-5)
    crop = tracker_crop((370, 1494, 1, 1079), (1920, 1080))
    figure, axes = _row((1.75, 1.05, 1.05, 1), 3.2)
    left, right, top, bottom = crop.box
    across, down = crop.padding
    draw_picture(axes[0], video, title="video 1920x1080, bbox.pt [370, 1494, 1, 1079]")
    frame = np.array([(left, top), (right, top), (right, bottom), (left, bottom), (left, top)])
    axes[0].plot(*frame.T, color=ACCENT, linewidth=1.8)
    padded = video.through(Affine2D(1, 1, across - left, down - top), right - left, bottom - top + 2 * down, "padded")
    draw_picture(axes[1], padded, title="cut to 1124x1078, padded by (0, 23)")
    for edge in (0, padded.height - down):
        axes[1].fill_between([0, padded.width], edge, edge + down, color=INK, zorder=4)
    tracked = video.through(crop.affine, 512, 512, "tracked:512")
    draw_picture(axes[2], tracked, title="resized to 512x512")
    numbers = [
        f"{name:<3}{old:7.1f} -> {new:7.2f}"
        for name, old, new in (
            ("f", video.K[0, 0], tracked.K[0, 0]),
            ("cx", video.K[0, 2], tracked.K[0, 2]),
            ("cy", video.K[1, 2], tracked.K[1, 2]),
        )
    ]
    rules = [f"s   = 512 / 1124 = {crop.affine.scale_x:.5f}", "x_t = s (x_v - 370 + 0)", "y_t = s (y_v - 1 + 23)"]
    draw_text(axes[3], "\n".join([*rules, "", *numbers, "", "R and t do not change"]), "K follows the picture")
    return figure


def pytorch3d() -> Any:
    """Row vectors, x left and y up, NDC."""
    figure, (scene, picture, text) = _row()
    draw_scene(scene, PYTORCH3D, title="camera axes: PyTorch3D", note="x left, y up, z forward")
    draw_picture(picture, _turned(), title="picture: NDC, from the middle", origin="ndc")
    _text(text, "pytorch3d", "from the canonical camera")
    return figure


def transforms() -> Any:
    """INSTA's and NeRF's files of one name."""
    figure, (left, right, text) = _row((1.2, 1.2, 1.1))
    draw_scene(left, OPENCV, title="INSTA: OpenCV axes", note="x right, y down, z forward")
    draw_scene(right, OPENGL, title="NeRF, Blender: OpenGL axes", note="x right, y up, z backward")
    _text(text, "transforms", "transforms.json, twice")
    return figure


def imavatar() -> Any:
    """Everything times four, OpenGL axes, normalised intrinsics."""
    figure, (scene, picture, text) = _row()
    blank(scene, "camera axes: OpenGL; the world is 4 times as large")
    aside = np.array([0.55, -0.62, -0.1])
    for scale, at, colour in ((4.0, np.zeros(3), INK), (1.0, aside, PALE)):
        seen = camera(distance=0.5)
        seen = replace(seen, t=scale * seen.t - seen.R @ at)
        draw_face(scene, scale, at)
        draw_camera(scene, seen, depth=0.1 * scale, colour=colour)
        if colour is INK:
            for name, direction in OPENGL.items():
                tip = seen.centre + 0.48 * (seen.R.T @ np.array(direction, float))
                arrow(scene, PAGE @ seen.centre, PAGE @ tip, AXIS_COLOURS[name], name, width=2.2, away=8)
    scene.text(*(PAGE @ (aside - (0.0, 0.2, 0.0))), "FLAME, metres", fontsize=8.5, color=INK, ha="center", va="top")
    scene.margins(0.06)
    draw_picture(picture, _turned(), title="picture: the same")
    _text(text, "imavatar", "flame_params.json")
    return figure


def gaussian_splatting() -> Any:
    """The principal point that 3DGS has no field for."""
    figure, (kept, lost, text) = _row((1, 1, 1))
    seen = _turned(centre=(330, 210))
    draw_picture(kept, seen, title="SplattingAvatar: K in pixels")
    draw_picture(lost, _turned(centre=(256, 256)), title="original 3DGS: FoVx, FoVy alone")
    draw_projected(lost, seen, faded=True)
    arrow(lost, (330, 210), (256, 256), ACCENT)
    _text(text, "3dgs", "cameras of the 3DGS family")
    return figure


def gaussian_talker() -> Any:
    """Euler angles and a centred picture."""
    figure, (scene, before, after, text) = _row((1.25, 1, 1, 1.1))
    draw_scene(scene, OPENGL, title="camera axes: OpenGL", note="what the camera sees has negative z")
    seen = _turned(centre=(310, 215))
    draw_picture(before, seen, title="before: + at (310, 215)")
    scale = 256 / 310
    moved = seen.through(Affine2D(scale, scale, 256 - scale * 310, 256 - scale * 215), 512, 512, "fitted")
    draw_picture(after, moved, title="after: + at (256, 256), zoom 0.83")
    corners = np.array([(0, 0), (512, 0), (512, 512), (0, 512), (0, 0)]) * scale + (0, 256 - scale * 215)
    after.plot(*corners.T, color=ACCENT, linewidth=1, linestyle="--")
    _text(text, "gaussian-talker", "track_params.pt")
    return figure


def gagavatar() -> Any:
    """The zoom that a fixed focal length asks for."""
    figure, (before, after, text) = _row((1, 1, 1))
    seen = _turned(focal=2339, distance=1.69, centre=(267.4, 243.2))
    draw_picture(before, seen, title="tracked, f = 2339: keep 389.8 px")
    half = 256 * 2339 / 3072
    window = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1), (-1, -1)]) * half + (267.4, 243.2)
    before.plot(*window.T, color=ACCENT, linewidth=1.8)
    zoom = 3072 / 2339
    fitted = seen.through(Affine2D(zoom, zoom, 256 - zoom * 267.4, 256 - zoom * 243.2), 512, 512, "gagavatar")
    draw_picture(after, fitted, title="enlarged to 512: f = 3072 = 12 NDC", origin="ndc")
    _text(text, "gagavatar", "tracked.pt")
    return figure


def facelift() -> Any:
    """The turntable, with z up."""
    figure, (scene, picture, text) = _row()
    blank(scene, "world z up; the face looks along -y, at 270°\n")
    to_flame = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])  # x, y, z of the turntable in FLAME's axes
    above = page(-22.0, 36.0)
    draw_face(scene, onto=above)
    draw_world(scene, 0.24, above, to_flame)
    for view in range(6):
        azimuth = (270 + 60 * view) % 360
        place = to_flame @ (0.55 * np.array([np.cos(np.radians(azimuth)), np.sin(np.radians(azimuth)), 0]))
        forward = -place / np.linalg.norm(place)
        right = np.cross(forward, (0, 1, 0))
        turn = np.stack([right, np.cross(forward, right), forward])
        colour = INK if view else ACCENT
        draw_camera(scene, Camera(turn, -turn @ place, np.diag((500, 500, 1)), 512, 512), colour=colour, onto=above)
        scene.text(*(above @ (1.25 * place)), f"{azimuth}°", fontsize=9, ha="center", va="center", color=colour)
    scene.margins(0.08)
    draw_picture(picture, camera(focal=549, distance=0.5), title="512x512, f = 549 px (50 degrees)")
    _text(text, "facelift", "opencv_cameras.json")
    return figure


def mammal() -> Any:
    """A rig in millimetres, and what normalising its distance does."""
    figure, (plan, after, text) = _row((1, 1, 1))
    distances = np.array([246.1, 414.5, 363.7, 340.0, 318.3, 305.7])
    angles = np.radians(np.arange(6) * 60 + 12)
    factor = 2.7 / distances.mean()
    for axis, radii, title, digits in (
        (plan, distances, "six cameras from above, millimetres", 0),
        (after, distances * factor, "times k = 2.7 / mean distance", 2),
    ):
        blank(axis, title)
        around = np.linspace(0, 2 * np.pi, 99)
        axis.plot(
            *(radii.mean() * np.stack([np.cos(around), np.sin(around)])), color=PALE, linewidth=0.9, linestyle="--"
        )
        axis.plot(0, 0, "o", color=PALE, markersize=14)
        for number, (radius, angle) in enumerate(zip(radii, angles, strict=True)):
            outward = np.array([np.cos(angle), np.sin(angle)])
            arrow(axis, radius * outward, (radius - 0.25 * radii.mean()) * outward, AXIS_COLOURS["z"])
            axis.plot(*(radius * outward), "s", color=INK, markersize=6)
            beyond = (radius + 0.2 * radii.mean()) * outward
            axis.text(*beyond, f"{radius:.{digits}f}", fontsize=9, ha="center", va="center", color=INK)
            axis.text(
                *((radius - 0.38 * radii.mean()) * outward),
                str(number),
                fontsize=9,
                ha="center",
                va="center",
                color=AXIS_COLOURS["z"],
            )
        axis.margins(0.2)
    _text(text, "mammal", "new_cam.pkl")
    return figure


FIGURES: dict[str, Callable[[], Any]] = {
    "canonical": canonical,
    "pixels": pixels,
    "crop-chain": crop_chain,
    "pytorch3d": pytorch3d,
    "transforms": transforms,
    "imavatar": imavatar,
    "3dgs": gaussian_splatting,
    "gaussian-talker": gaussian_talker,
    "gagavatar": gagavatar,
    "facelift": facelift,
    "mammal": mammal,
    "faults": faults,
}


def main() -> None:
    """Draw the figures that are named, or all."""
    OUT.mkdir(parents=True, exist_ok=True)
    for name in sys.argv[1:] or FIGURES:
        figure = FIGURES[name]()
        figure.savefig(OUT / f"{name}.png", dpi=96, facecolor="white")
        plt.close(figure)
        print(OUT / f"{name}.png")


if __name__ == "__main__":
    main()
