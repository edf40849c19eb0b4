"""The demo talker's teacher: the demo avatar's head, Gaussian by Gaussian, in the units of a tracked recording.

Its head is held still in a frame of its own: x right, y up, z towards the camera, ten units a metre, so that a camera
stands about 11 units away, as in published recordings. What speech and blinks do to it is kept as a sum of few shapes.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from tqdm import trange

from marotte.models.flame_numba import HeadEvaluator
from marotte.models.splatting_avatar import SplattingAvatar
from marotte.models.splatting_npz import Parts, read_parts
from marotte.models.splatting_numba import SplattingEvaluator
from marotte.runtime.arkit import JAW_OPEN, SLOT
from marotte.runtime.avatar import load_avatar
from marotte.runtime.splats import avatar_head, avatar_splats

AVATAR, VARIANT = "demo", "live"
# Head frame: units a metre, and where its origin lies in the avatar's, in metres.
SCALE = 10.0
ORIGIN = (0.0, 0.004, 0.04)
# Share of the neck's turn above which a Gaussian belongs to the head, and below which to the torso: some to both.
RIGID, OVERLAP = 0.97, 0.999
# One pixel of the recording, in units: 512 of them span 0.34 m.
PIXEL = 0.34 * SCALE / 512
# The canonical head has its jaw ajar and its lids half shut: what touches or folds at rest lies apart there.
AJAR, HALF_SHUT = 0.3, 0.5

BLINKS = (SLOT["eyeBlinkLeft"], SLOT["eyeBlinkRight"])
ACTIONS = 103
# Of a quaternion's change beside a Gaussian's own size: a turn by an angle changes it by half of that.
_TURN = 2.0
_BATCH = 32


def canonical_actions() -> np.ndarray:
    """Return the actions [1, 103] of the canonical head, without its lids."""
    actions = np.zeros((1, ACTIONS), np.float32)
    actions[0, -3:] = AJAR * JAW_OPEN
    return actions


class Teacher:
    """The demo avatar's head.

    head: [P] the indices of its Gaussians among all; arrays of P follow that order. torso: the indices of the torso's.
    shares: [N] how much of the neck's turn each of all follows. neck: [3] that joint, in metres in the avatar's frame.
    """

    def __init__(self) -> None:
        self.avatar = load_avatar(AVATAR)
        model = avatar_head(self.avatar)
        self.splats = avatar_splats(self.avatar, model, VARIANT)
        parts = read_parts(self.avatar.path / self.avatar.variants[VARIANT])
        self.shares = neck_shares(self.splats, model.skinning_weights)
        # The neck goes on behind the chin, and under the head's lower edge, so that no gap shows.
        skin, cloth = (parts.ids == parts.names.index(name) for name in ("skin", "cloth"))
        self.torso = np.flatnonzero(cloth | (skin & (self.shares < OVERLAP)))
        self.head = np.flatnonzero((self.shares > RIGID) & ~cloth)
        self.parts = Parts(parts.ids[self.head], parts.names)
        self.neck = (model.joint_regressor @ model.v_template)[1].astype(np.float64)
        self._mesh, self._gaussians = HeadEvaluator(model), SplattingEvaluator(self.splats)
        assert not self.splats.with_mesh_scaling, "its scales would change with the face"

    def posed(self, actions: np.ndarray, blink: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return means [T, P, 3] in head units and unit quats_wxyz [T, P, 4] near the canonical head's.

        actions: [T, 103], the jaw rotation last; blink: [T] 0 open to 1 shut, in place of the actions' own.
        """
        means, quats = self._posed(actions, blink)
        _, near = self.canonical
        sign = np.where((quats * near).sum(-1, keepdims=True) < 0, np.float32(-1), np.float32(1))
        return means, quats * sign

    @cached_property
    def canonical(self) -> tuple[np.ndarray, np.ndarray]:
        """Means [P, 3] and quaternions [P, 4] of the canonical head."""
        means, quats = self._posed(canonical_actions(), np.array([HALF_SHUT], np.float32))
        return means[0], quats[0]

    @cached_property
    def log_scales(self) -> np.ndarray:
        """[P, 3] in head units; they do not change."""
        return self.splats.log_scales[self.head] + np.float32(np.log(SCALE))

    def _posed(self, actions: np.ndarray, blink: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        expression, pose = actions[:, :100].copy(), np.zeros((len(actions), 15), np.float32)
        expression[:, BLINKS] = blink[:, None]
        pose[:, 6:9] = actions[:, -3:]
        driven = [self._gaussians.drive(mesh) for mesh in self._mesh.vertices(expression, pose)]
        means = np.stack([splats.means[self.head] for splats in driven])
        quats = np.stack([splats.quats_wxyz[self.head] for splats in driven])
        return (means - np.float32(ORIGIN)) * np.float32(SCALE), quats


@dataclass(frozen=True)
class Shapes:
    """The moves of P Gaussians as sums of K shapes.

    mean: [P, 7] and shapes: [K, P, 7], changes of means (units) and quaternions against the canonical head;
    blinks: [S, P, 7] what lids add, shut by 0 to 1 in equal steps; weights: [R, K] of R rows of speech.
    """

    mean: np.ndarray
    shapes: np.ndarray
    blinks: np.ndarray
    weights: np.ndarray

    def moves(self, rows: np.ndarray, blink: np.ndarray, chosen: np.ndarray) -> np.ndarray:
        """Return the changes [B, C, 7] of the chosen Gaussians [C] for rows [B] of speech and lids [B] 0..1."""
        shapes = self.shapes[:, chosen]
        speech = self.mean[chosen] + np.tensordot(self.weights[rows], shapes, axes=1)
        place = blink * (len(self.blinks) - 1)
        low = np.minimum(place.astype(int), len(self.blinks) - 2)
        share = (place - low).astype(np.float32)[:, None, None]
        blinks = self.blinks[:, chosen]
        return speech + blinks[low] * (1 - share) + blinks[low + 1] * share


def neck_shares(splats: SplattingAvatar, skinning_weights: np.ndarray) -> np.ndarray:
    """Return the share [N] of the neck's turn that each Gaussian follows."""
    corners = splats.faces[splats.face_ids]
    return 1 - (skinning_weights[corners, 0] * splats.bary).sum(1)


def changes(teacher: Teacher, actions: np.ndarray, blink: np.ndarray) -> np.ndarray:
    """Return what [T, P, 7] of means and quaternions changes against the canonical head."""
    means, quats = teacher.posed(actions, blink)
    rest_means, rest_quats = teacher.canonical
    return np.concatenate([means - rest_means, quats - rest_quats], axis=-1)


def shapes_of(
    teacher: Teacher, actions: np.ndarray, seed: int, count: int = 48, seen: int = 900, steps: int = 16
) -> Shapes:
    """Return the moves of rows of speech [R, 103] as sums of `count` shapes, which `seen` of the rows decide."""
    rng = np.random.default_rng(seed)
    chosen = np.sort(rng.choice(len(actions), min(seen, len(actions)), replace=False))
    count = min(count, len(chosen))
    # In pixels, so that a shape counts by what it shows.
    size = pixels(teacher)
    sample = np.concatenate([part * size for part in _talking(teacher, actions[chosen], "shapes")])
    mean = sample.mean(0)
    flat = (sample - mean).reshape(len(sample), -1)
    _, vectors = np.linalg.eigh(flat @ flat.T)
    axes = np.linalg.qr((vectors[:, ::-1][:, :count].T @ flat).T)[0].T
    parts = [(part * size - mean).reshape(len(part), -1) @ axes.T for part in _talking(teacher, actions, "teacher")]
    still = np.zeros((1, ACTIONS), np.float32)
    levels = np.linspace(0, 1, steps + 1, dtype=np.float32)
    lids = np.concatenate([changes(teacher, still, level[None]) for level in levels])
    return Shapes(mean / size, axes.reshape(count, *mean.shape) / size, lids - lids[:1], np.concatenate(parts))


def _talking(teacher: Teacher, actions: np.ndarray, what: str) -> Iterator[np.ndarray]:
    """Yield what rows of speech [R, 103] change, lids open, some rows at a time; `what` is shown with the progress."""
    for start in trange(0, len(actions), _BATCH, desc=what):
        rows = actions[start : start + _BATCH]
        yield changes(teacher, rows, np.zeros(len(rows), np.float32))


def pixels(teacher: Teacher) -> np.ndarray:
    """Return what [P, 7] turns changes of means and quaternions into pixels: a turn counts by the Gaussian's size."""
    size = np.exp(teacher.log_scales).max(1, keepdims=True)
    return np.concatenate([np.ones((len(size), 3)), np.repeat(_TURN * size, 4, 1)], 1).astype(np.float32) / PIXEL
