"""The figure of docs/conventions.md that shows what each mistake looks like."""

from dataclasses import replace
from typing import Any

import numpy as np
from convention_drawing import ACCENT, GOOD, INK, camera, draw_picture, draw_projected

from marotte.runtime.camera import FACING, Camera, pinhole
from marotte.runtime.cameras.track import Crop

# A 1280x720 video, and a box of it that is not square: the face is off the middle, as in most recordings.
CROP = Crop((1280, 720), (110, 850, 0, 600), (0, 70), (512, 512))


def _right() -> Camera:
    """The camera of the crop: turned by 15 and nodding by 20 degrees, its principal point off the middle."""
    video = camera(focal=2150, size=(1280, 720), centre=(480, 330), distance=0.98, yaw=15, pitch=20)
    return video.through(CROP.affine, 512, 512, "tracked:512")


def _matrix(seen: Camera) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = seen.R, seen.t
    return matrix


def _principal(seen: Camera, cx: float, cy: float, focal: float | None = None) -> Camera:
    f = focal or seen.K[0, 0]
    return replace(seen, K=pinhole(f, f, cx, cy))


def _faults() -> dict[str, tuple[Camera, str]]:
    right = _right()
    f, (cx, cy) = right.K[0, 0], right.K[:2, 2]
    to_world = np.linalg.inv(_matrix(right))
    scale = CROP.affine.scale_x
    return {
        "none": (right, "as it should be"),
        "r_transposed": (replace(right, R=right.R.T), "R^T for R: nods the other way"),
        "yz_flipped": (
            replace(right, R=FACING @ right.R, t=FACING @ right.t),
            "OpenGL axes: behind the camera",
        ),
        "xy_flip_missing": (
            replace(right, R=np.diag([-1.0, -1, 1]) @ right.R, t=np.diag([-1.0, -1, 1]) @ right.t),
            "PyTorch3D axes read as OpenCV's",
        ),
        "c2w_as_w2c": (
            replace(right, R=to_world[:3, :3], t=to_world[:3, 3]),
            "c2w for w2c: out of sight",
        ),
        "scale4_missing": (replace(right, t=right.t / 4), "t in metres, vertices times 4"),
        "crop_offset_missing": (_principal(right, cx + scale * 110, cy), "box corner not taken off"),
        "padding_missing": (_principal(right, cx, cy - scale * 70), "70 rows of padding forgotten"),
        "principal_point_dropped": (_principal(right, 256, 256), "principal point put in the middle"),
        "fov_half_angle": (
            _principal(right, cx, cy, 256 / np.tan(np.arctan(256 / f) / 2)),
            "half the angle as the whole",
        ),
    }


def faults() -> Any:
    """Draw the same face through a right camera and through nine wrong ones."""
    import matplotlib.pyplot as plt

    cases = _faults()
    figure, axes = plt.subplots(2, 5, figsize=(13, 5.9), layout="constrained")
    for axis, (name, (seen, words)) in zip(axes.flat, cases.items(), strict=True):
        draw_picture(axis, seen, origin="", mark_centre=False)
        for artist in list(axis.lines[1:]):
            artist.remove()
        draw_projected(axis, cases["none"][0], faded=True)
        draw_projected(axis, seen, colour=GOOD if name == "none" else ACCENT)
        axis.set_title(name, fontsize=9.5, color=GOOD if name == "none" else ACCENT, weight="bold", loc="left")
        axis.text(0.5, 0.02, words, transform=axis.transAxes, fontsize=8, color=INK, ha="center", va="top")
    return figure
