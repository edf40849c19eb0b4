"""A SplattingAvatar of random Gaussians on a ball."""

import numpy as np
import pytest

from marotte.models.rotations import rotvec_to_matrix
from marotte.models.splatting_avatar import SplattingAvatar

RADIUS = 0.4


def _ball(rows=11, columns=16):
    """Return a closed mesh: vertices [V, 3] float32 and faces [F, 3] int32, counter-clockwise from outside."""
    polar = np.linspace(0, np.pi, rows + 2)[1:-1, None]
    turn = np.arange(columns) * 2 * np.pi / columns
    rings = np.stack([np.sin(polar) * np.cos(turn), np.sin(polar) * np.sin(turn), np.cos(polar) + 0 * turn], axis=-1)
    vertices = np.concatenate([rings.reshape(-1, 3), [[0, 0, 1], [0, 0, -1]]]) * RADIUS
    here, next_ = np.arange(columns), (np.arange(columns) + 1) % columns
    faces = []
    for row in range(rows - 1):
        low, high = row * columns, (row + 1) * columns
        faces += [(low + here, high + here, high + next_), (low + here, high + next_, low + next_)]
    top, bottom, last = rows * columns, rows * columns + 1, (rows - 1) * columns
    faces += [(np.full(columns, top), here, next_), (np.full(columns, bottom), last + next_, last + here)]
    return vertices.astype(np.float32), np.concatenate([np.stack(f, axis=1) for f in faces]).astype(np.int32)


def _make(degree=0, count=500, seed=0, **settings):
    rng = np.random.default_rng(seed)
    vertices, faces = _ball()
    return SplattingAvatar(
        face_ids=rng.integers(0, len(faces), count).astype(np.int32),
        bary=(rng.dirichlet((1, 1, 1), count) + rng.normal(0, 0.02, (count, 3))).astype(np.float32),
        uvd=rng.normal(0, 0.02, (count, 3)).astype(np.float32),
        rotations_wxyz=rng.normal(0, 1, (count, 4)).astype(np.float32),
        log_scales=rng.normal(-4, 0.5, (count, 3)).astype(np.float32),
        opacity_logits=rng.normal(0, 3, count).astype(np.float32),
        sh=rng.normal(0, 0.4, (count, (degree + 1) ** 2, 3)).astype(np.float32),
        canonical=vertices.round(6),
        faces=faces,
        **settings,
    )


def _posed(avatar, seed=1, angle=0.8):
    rng = np.random.default_rng(seed)
    axis = rng.normal(size=3)
    turn = rotvec_to_matrix(axis / np.linalg.norm(axis) * angle)
    bent = avatar.canonical + 0.03 * np.sin(7 * avatar.canonical[:, ::-1] + rng.normal(size=3))
    return ((bent + rng.normal(0, 0.001, bent.shape)) @ turn.T + (0.1, 0.2, 0.3)).astype(np.float32)


@pytest.fixture(scope="session")
def ball():
    return _ball


@pytest.fixture(scope="session")
def make():
    """A function: the avatar with spherical harmonics of a degree, of so many Gaussians, with any settings."""
    return _make


@pytest.fixture(scope="session")
def posed():
    """A function: the avatar's mesh, bent and turned by an angle."""
    return _posed
