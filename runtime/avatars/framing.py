"""Cameras for an imported avatar: as its training saw it, or fitted to what its Gaussians fill."""

import numpy as np

from marotte.models.splatting_avatar import SplattingAvatar
from marotte.runtime.avatar import Framing
from marotte.runtime.avatars.companions import Training
from marotte.runtime.camera import Camera

# In FLAME units (metres): from where a head is looked at when nothing else says it.
_DISTANCE = 1.1
# Of the head's height, what is left free above and below together; and the bust's picture by the head's.
_MARGIN, _BUST = 1.25, 1.35
# Centres of Gaussians that count as the head's outline, by opacity and by rank: single ones fly far.
_SEEN, _RANK = 0.2, 0.005
# A training camera whose picture the head fills by less or more than these parts of it is not believed.
_LEAST, _MOST = 0.15, 4.0


def outline(splats: SplattingAvatar, neutral: np.ndarray, root_weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the corners (low, high) [3] of the box that the head's Gaussians fill on the head at rest [V, 3].

    root_weights: [V] of the skinning; what the root moves more than the neck does is no part of the head.
    """
    means = np.asarray(splats.drive(neutral).means)
    held = root_weights[splats.faces[splats.face_ids]].mean(axis=1) > 0.5
    seen = means[(splats.opacities > _SEEN) & ~held]
    points = seen if len(seen) > 100 else means
    low, high = np.quantile(points, (_RANK, 1 - _RANK), axis=0)
    return low, high


def framings(
    box: tuple[np.ndarray, np.ndarray], training: Training | None, unit: float
) -> tuple[dict[str, Framing], str]:
    """Return the framings `head` and `bust`, and where they are from, in words."""
    seen = None if training is None or training.size is None else _as_trained(box, training)
    head = seen or _fitted(box, unit)
    source = "as in the training" if seen else "fitted to the head"
    x, y, z = head.target
    bust = Framing((x, _round(y - 0.35 * (_BUST - 1) * head.height), z), head.distance, _round(_BUST * head.height))
    return {"head": head, "bust": bust}, source


def _fitted(box: tuple[np.ndarray, np.ndarray], unit: float) -> Framing:
    low, high = box
    middle = (low + high) / 2
    # The near side of the head is closer to the camera than its middle, and so larger.
    near = _DISTANCE * unit / max(_DISTANCE * unit - (high[2] - middle[2]), 0.5 * unit)
    height = float(max(high[1] - low[1], high[0] - low[0])) * _MARGIN * near
    return _framing(middle, _DISTANCE * unit, height)


def _as_trained(box: tuple[np.ndarray, np.ndarray], training: Training) -> Framing | None:
    """Return the camera in front of the head that sees it as large and in that place as the training's mostly do."""
    low, high = box
    middle = (low + high) / 2
    rows = np.array([_seen_from(camera, middle) for camera in training.train.cameras])
    rows = rows[np.isfinite(rows).all(axis=1)]
    if not len(rows):
        return None
    distance, height, right, down = np.median(rows, axis=0)
    filled = float(high[1] - low[1]) / height
    if not _LEAST <= filled <= _MOST or max(abs(right), abs(down)) > height / 2:
        return None
    return _framing(middle + np.array([-right, down, 0.0]), distance, height)


def _seen_from(camera: Camera, point: np.ndarray) -> tuple[float, float, float, float]:
    """Return the distance of a point, what the picture's shorter side spans there, and how far right of the picture's
    centre and below it the point is, all in world units; NaN for a point behind the camera.
    """
    depth = camera.to_camera(point)[2]
    if depth <= 0:
        return (np.nan,) * 4
    u, v = camera.project(point)
    focal = camera.K[1, 1]
    shorter = min(camera.width, camera.height)
    return (
        float(depth),
        float(shorter * depth / focal),
        float((u - camera.width / 2) * depth / camera.K[0, 0]),
        float((v - camera.height / 2) * depth / focal),
    )


def _framing(target: np.ndarray, distance: float, height: float) -> Framing:
    x, y, z = (_round(float(value)) for value in target)
    return Framing((x, y, z), _round(distance), _round(height))


def _round(value: float) -> float:
    return round(float(value), 4)
