"""The demo head as the bake of its Gaussians sees it: a surface, its poses, and points on it.

All lengths are metres in FLAME's axes (x to the person's left, y up, z out of the face). V vertices, F faces, N points.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp

from marotte.models.flame import FlameModel
from marotte.models.flame_numba import HeadEvaluator
from marotte.renderers.mesh_materials import srgb_to_linear
from marotte.runtime.arkit import ACTIONS, JAW_LEFT, JAW_OPEN, JAW_RIGHT, SLOT

# Poses whose vertices tell apart what touches at rest (lips, lids), and in which distances count.
APART: tuple[dict[str, float], ...] = (
    {},
    {"eyeBlinkLeft": 1, "eyeBlinkRight": 1},
    {"jawOpen": 0.7, "mouthFunnel": 0.5},
)
# Beside each action alone: what speech and laughter mix.
MIXED: tuple[dict[str, float], ...] = (
    {"jawOpen": 0.5},
    {"jawOpen": 0.6, "mouthFunnel": 0.8},
    {"jawOpen": 0.4, "mouthSmileLeft": 0.8, "mouthSmileRight": 0.8},
    {"jawOpen": 0.8, "mouthStretchLeft": 0.6, "mouthStretchRight": 0.6},
    {"jawOpen": 0.5, "mouthLowerDownLeft": 0.7, "mouthLowerDownRight": 0.7},
    {"jawOpen": 0.4, "mouthUpperUpLeft": 0.7, "mouthUpperUpRight": 0.7},
    {"mouthPucker": 0.9, "jawOpen": 0.15},
    {"eyeBlinkLeft": 0.5, "eyeBlinkRight": 0.5},
    {"browDownLeft": 1, "browDownRight": 1, "noseSneerLeft": 1, "noseSneerRight": 1},
    {"browInnerUp": 1, "browOuterUpLeft": 1, "browOuterUpRight": 1},
    {"eyeBlinkLeft": 1, "eyeBlinkRight": 1, "eyeSquintLeft": 0.7, "eyeSquintRight": 0.7},
)
_JAWS = {"jawOpen": JAW_OPEN, "jawLeft": JAW_LEFT, "jawRight": JAW_RIGHT}


class Points(NamedTuple):
    """N points on the head's surface: the face of each [N] and its weights there [N, 3], which sum to 1."""

    faces: np.ndarray
    bary: np.ndarray

    def taken(self, chosen: np.ndarray) -> "Points":
        """The points where `chosen` (a mask or indices) says so."""
        return Points(self.faces[chosen], self.bary[chosen])


@dataclass(frozen=True, eq=False)
class Head:
    """One person's neutral head.

    model: with the identity in its template; points: [V, 3]; plain: [V, 3] of the head without identity, in which
    regions are drawn; faces: [F, 3]; render: the head file's arrays for pictures; material: [F] names of what each
    face is made of.
    """

    model: FlameModel
    points: np.ndarray
    plain: np.ndarray
    faces: np.ndarray
    render: dict[str, np.ndarray]
    material: np.ndarray

    @classmethod
    def load(cls, path: Path, shape: np.ndarray) -> "Head":
        """The head in a file, with identity coefficients [S]."""
        plain = FlameModel.load(path)
        model = plain.baked(shape, 1.0)
        faces = np.asarray(model.faces, np.int64)
        render = model.render
        material = np.asarray(render["material_names"])[np.asarray(render["materials"])]
        points = np.asarray(model.v_template, np.float64)
        return cls(model, points, np.asarray(plain.v_template, np.float64), faces, render, material)

    def posed(self, poses: "list[dict[str, float]] | tuple[dict[str, float], ...]") -> np.ndarray:
        """Vertices [P, V, 3] under action weights by name."""
        expression, pose = np.zeros((len(poses), 100), np.float32), np.zeros((len(poses), 15), np.float32)
        for row, weights in enumerate(poses):
            for name, weight in weights.items():
                if name in _JAWS:
                    pose[row, 6:9] += weight * _JAWS[name]
                else:
                    expression[row, SLOT[name]] = weight
        return HeadEvaluator(self.model).vertices(expression, pose).astype(np.float64)

    @cached_property
    def stretches(self) -> np.ndarray:
        """Vertices [P, V, 3] of every pose that Gaussians must be large enough for; the first is at rest."""
        return self.posed([{}, *({name: 1.0} for name in ACTIONS), *MIXED])

    @cached_property
    def normals(self) -> np.ndarray:
        """[V, 3] unit, weighted by area: as the avatar's own."""
        return vertex_normals(self.points, self.faces)

    @cached_property
    def smoother(self) -> sp.csr_matrix:
        """[V, V] the mean over a vertex's neighbours and itself."""
        edges = self.faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)
        count = len(self.points)
        links = sp.coo_matrix((np.ones(len(edges)), (edges[:, 0], edges[:, 1])), (count, count)).tocsr()
        links = ((links + links.T) > 0).astype(float) + sp.identity(count)
        return sp.diags(1 / np.asarray(links.sum(1)).ravel()) @ links

    @cached_property
    def albedo(self) -> np.ndarray:
        """[V, 3] sRGB 0..1 as painted for the mesh."""
        return np.asarray(self.render["albedo"], np.float64) / 255

    @cached_property
    def eye_centres(self) -> np.ndarray:
        """[2, 3] of the left and the right eyeball."""
        masks = self.model.masks
        return np.array([self.points[masks[f"{side}_eyeball"]].mean(0) for side in ("left", "right")])

    @property
    def eye_radius(self) -> float:
        """Of the eyeballs at rest."""
        balls = self.points[self.model.masks["left_eyeball"]] - self.eye_centres[0]
        return float(np.linalg.norm(balls, axis=1).mean())

    def mask(self, name: str) -> np.ndarray:
        """[V] True for the vertices of a named region."""
        inside = np.zeros(len(self.points), bool)
        inside[self.model.masks[name]] = True
        return inside

    def at(self, values: np.ndarray, where: Points) -> np.ndarray:
        """Values [V, ...] at points: [N, ...]."""
        corners = values[self.faces[where.faces]]
        return np.einsum("nk,nk...->n...", where.bary, corners)

    def at_faces(self, values: np.ndarray) -> np.ndarray:
        """Means [F] over the faces' corners of values [V]."""
        return values[self.faces].astype(np.float64).mean(1)

    def normals_at(self, where: Points) -> np.ndarray:
        """[N, 3] unit."""
        return unit(self.at(self.normals, where))


def vertex_normals(points: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Unit normals [V, 3], weighted by the faces' areas."""
    a, b, c = (points[faces[:, i]] for i in range(3))
    cross = np.cross(b - a, c - a)
    total = np.stack([np.bincount(faces.ravel(), np.repeat(cross[:, i], 3), len(points)) for i in range(3)], axis=1)
    return unit(total)


def unit(vectors: np.ndarray) -> np.ndarray:
    """Vectors [..., 3] at length 1."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)


def step(low: float, high: float, x: np.ndarray) -> np.ndarray:
    """0 below low, 1 above high, smooth between; with low > high it falls."""
    t = np.clip((x - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def mix(base: np.ndarray, other: "np.ndarray | tuple[float, ...]", share: np.ndarray) -> np.ndarray:
    """Colours [N, 3] with a share [N] of another."""
    return base + (np.asarray(other) - base) * np.clip(share, 0, 1)[:, None]


def linear(red: int, green: int, blue: int) -> np.ndarray:
    """Linear light of an sRGB colour in bytes."""
    return srgb_to_linear(np.array([red, green, blue]) / 255)


def noise(points: np.ndarray, scale: float, seed: int) -> np.ndarray:
    """Smooth noise [N], mean 0 and about -1..1, of blotches as large as `scale` in metres."""
    rng = np.random.default_rng(seed)
    waves = rng.normal(size=(24, 3))
    waves = unit(waves) * rng.uniform(0.6, 1.4, (24, 1)) * (2.2 / scale)
    return np.sin(points @ waves.T + rng.uniform(0, 2 * np.pi, 24)).sum(1) / 5.0
