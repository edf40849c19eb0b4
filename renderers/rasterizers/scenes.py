"""Synthetic Gaussians to measure rasterizers with, a head and a pair of planes: no file, no avatar, any size."""

import numpy as np

from marotte.models.rotations import rotvec_to_matrix
from marotte.renderers.gaussians import Gaussians
from marotte.runtime.camera import Camera, facing_camera

# Half axes of the head in metres: ear to ear, chin to crown, nose to nape.
_HALF_AXES = np.array([0.078, 0.118, 0.098])
# How much of the picture's height the head's box takes.
_BOX = 0.7
_DISTANCE = 1.0
# Of all Gaussians, those that are hair; the others lie on the skin.
_HAIR = 0.15
# How far hair stands off, over the head's radius.
_HAIR_HEIGHT = 0.08
# Standard deviation along the skin over the mean distance of neighbours: the skin closes (what shows
# through its middle is under 1 %), as it does in trained heads.
_SPREAD = 0.75
_THICKNESS = 0.1

# A GAGAvatar's: points of a plane along each side, vertices, world units of the camera's distance and of the largest
# standard deviation, focal length in half pictures.
PLANE_POINTS, PLANE_VERTICES = 296, 5023
_PLANE_DISTANCE, _PLANE_SCALE, _PLANE_FOCAL = 9.7, 0.05, 12.0
_PLANE_AXES = np.array([0.39, 0.55, 0.5])
# The camera is this far around the head, in radians: heads turn, and the planes stay.
_PLANE_TURN = 0.1


def head_scene(count: int, seed: int = 0, size: int = 512, channels: int = 3) -> tuple[Gaussians, Camera]:
    """Return a head of `count` Gaussians, and the camera of a picture of size x size that it fills to 70 %.

    Flat Gaussians lie on an ellipsoid, their size and opacity scattered, so that they cover it: half
    of them are hidden behind the face. One in seven is hair: thin, longer than wide, above the skin of
    the upper half. World axes are FLAME's, in metres. Colours, [N, channels], are smooth fields in 0..1.
    """
    random = np.random.default_rng(seed)
    hairs = int(count * _HAIR)
    directions = _evenly(count - hairs)
    upper = random.normal(size=(hairs, 3))
    upper[:, 1] = abs(upper[:, 1])
    directions = np.concatenate([directions, upper / np.linalg.norm(upper, axis=1, keepdims=True)])
    hair = np.arange(count) >= count - hairs
    means = directions * _HALF_AXES * (1 + _HAIR_HEIGHT * (hair * random.random(count))[:, None])

    area = 4 * np.pi * np.mean((_HALF_AXES * np.roll(_HALF_AXES, 1)) ** 1.6) ** (1 / 1.6)
    across = _SPREAD * np.sqrt(area / max(count - hairs, 1)) * np.exp(random.normal(0, 0.25, (count, 2)))
    across[hair] *= (2.5, 0.35)
    scales = np.column_stack([across, _THICKNESS * across.mean(axis=1)])
    normals = directions / _HALF_AXES
    quats = _facing(normals / np.linalg.norm(normals, axis=1, keepdims=True), random.uniform(0, 2 * np.pi, count))

    opacities = np.where(hair, random.uniform(0.1, 0.8, count), 1 - random.beta(1, 6, count))
    waves = random.normal(0, 25, (3, channels))
    features = 0.5 + 0.4 * np.sin(means @ waves + random.uniform(0, 2 * np.pi, channels))
    gaussians = Gaussians(
        means=means.astype(np.float32),
        opacities=opacities.astype(np.float32),
        quats_wxyz=quats.astype(np.float32),
        scales=scales.astype(np.float32),
        features=features.astype(np.float32),
    )
    top, bottom = _HALF_AXES[1] * (1 + _HAIR_HEIGHT), -_HALF_AXES[1]
    target = np.array([0.0, (top + bottom) / 2, 0.0])
    return gaussians, facing_camera(target, _DISTANCE, (top - bottom) / _BOX, (size, size))


def plane_scene(
    points: int = PLANE_POINTS, size: int = 512, channels: int = 32, seed: int = 0
) -> tuple[Gaussians, Camera]:
    """Return Gaussians as a GAGAvatar has them, and the camera of a picture of size x size that they fill.

    A head's vertices, a few for each hundred points of a plane, then two planes of points x points, off the plane
    through the origin by up to one world unit to the front and to the back. Shapes are covariances; standard deviations
    are sigmoids times 0.05, most of them about the distance of neighbours; opacities are sigmoids too. How wide trained
    ones are is not known here. Features are normal numbers.
    """
    random = np.random.default_rng(seed)
    vertices = round(PLANE_VERTICES * (points / PLANE_POINTS) ** 2)
    count = vertices + 2 * points**2
    edge = np.linspace(-1, 1, points) * _PLANE_DISTANCE / _PLANE_FOCAL
    down, across = np.meshgrid(edge, edge, indexing="ij")
    plane = np.column_stack([across.ravel(), -down.ravel(), np.zeros(points**2)])
    offsets = _sigmoid(random.normal(size=(2, points**2))) * [[-1.0], [1.0]]
    head = random.normal(size=(vertices, 3))
    head *= _PLANE_AXES / np.linalg.norm(head, axis=1, keepdims=True)
    means = np.concatenate([head, *(plane + off[:, None] * (0, 0, 1) for off in offsets)])

    # Neighbours are farther apart where there are fewer.
    scales = _PLANE_SCALE * _sigmoid(random.normal(-2, 1, (count, 3))) * PLANE_POINTS / points
    axes = rotvec_to_matrix(random.normal(size=(count, 3))) * scales[:, None]
    spread = axes @ axes.transpose(0, 2, 1)
    gaussians = Gaussians(
        means=means.astype(np.float32),
        opacities=_sigmoid(random.normal(size=count)).astype(np.float32),
        covariances=spread[:, [0, 0, 0, 1, 1, 2], [0, 1, 2, 1, 2, 2]].astype(np.float32),
        features=random.normal(size=(count, channels)).astype(np.float32),
    )
    height = 2 * _PLANE_DISTANCE / _PLANE_FOCAL
    camera = facing_camera((0.0, 0.0, 0.0), _PLANE_DISTANCE, height, (size, size))
    return gaussians, camera.moved(rotvec_to_matrix(np.array([0.0, _PLANE_TURN, 0.0])), np.zeros(3))


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def _evenly(count: int) -> np.ndarray:
    """Return unit vectors [count, 3] spread evenly: the golden spiral."""
    height = 1 - (2 * np.arange(count) + 1) / max(count, 1)
    turn = np.arange(count) * np.pi * (3 - np.sqrt(5))
    ring = np.sqrt(1 - height**2)
    return np.column_stack([ring * np.cos(turn), height, ring * np.sin(turn)])


def _facing(normals: np.ndarray, turns: np.ndarray) -> np.ndarray:
    """Return unit quaternions [N, 4] (wxyz) that take z to `normals` [N, 3], after a turn about z in radians."""
    # The shortest arc from z to n is the sum of (1, 0) and (n.z, z x n), made unit; away from n = -z.
    arc = np.column_stack([1 + normals[:, 2], -normals[:, 1], normals[:, 0]])
    arc[arc[:, 0] < 1e-6] = (0, 1, 0)
    w, x, y = (arc / np.linalg.norm(arc, axis=1, keepdims=True)).T
    c, s = np.cos(turns / 2), np.sin(turns / 2)
    return np.column_stack([w * c, x * c + y * s, y * c - x * s, w * s])
