"""The lips of a motion, measured on a head model: how far they part, how wide and how rounded they are.

Landmarks are the 68 of the face that FLAME's models carry: the outer lips are 48 to 59, the inner ones 60 to 67.
The head is held still: its rotation and translation, blinks and idle life do not count.
"""

from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cache
from pathlib import Path

import numpy as np

from marotte.errors import MarotteError
from marotte.models.flame import FlameModel
from marotte.models.flame_landmarks import Embedding, Landmarks
from marotte.models.flame_lbs import JOINTS
from marotte.models.flame_numba import HeadEvaluator
from marotte.runtime.arkit import JAW_OPEN
from marotte.runtime.avatar import Avatar, load_avatar
from marotte.runtime.bridge import Bridge
from marotte.runtime.camera import facing_camera
from marotte.runtime.motion import HEAD, JAW, WIDTH, Motion
from marotte.runtime.splats import avatar_person

# Rows of the 20 mouth landmarks: the outer corners, the upper lip's middle, inner pairs of upper and lower lip.
_MOUTH = slice(48, 68)
_CORNERS = (0, 6)
_UPPER_MIDDLE = 3
_INNER_UPPER, _INNER_LOWER = (13, 14, 15), (19, 18, 17)


@dataclass(frozen=True)
class LipTrack:
    """The lips at T frames; frame i is for the time i / fps.

    gap: [T] the inner lips' gap, 0 where they touch or cross, 1 at full jaw opening (the jaw rotation `JAW_OPEN`
        alone): the widest of the three pairs of inner-lip landmarks, along the head's vertical axis.
    width: [T] the distance of the mouth's outer corners, 1 at rest.
    rounding: [T] how much narrower than at rest the mouth is, plus how much further forward the upper lip is, in
        widths of the mouth at rest; 0 at rest, above it for rounded lips, below it for spread ones. (The lower lip
        rides on the jaw, so it does not tell.)
    """

    gap: np.ndarray
    width: np.ndarray
    rounding: np.ndarray
    fps: Fraction

    def __len__(self) -> int:
        return len(self.gap)

    @property
    def seconds(self) -> np.ndarray:
        """[T] the frames' times."""
        return np.arange(len(self)) / float(self.fps)


class Lips:
    """One avatar's lips. Raises MarotteError where it has no head model, or one without mouth landmarks."""

    def __init__(self, avatar: Avatar) -> None:
        if not avatar.head:
            raise MarotteError(f"avatar {avatar.name} names no head model, so its lips cannot be measured")
        self._model = _mouth(avatar_person(avatar))
        self._head = HeadEvaluator(self._model)
        # The camera is the bridge's other half, which nothing here looks at.
        self._bridge = Bridge(avatar, facing_camera((0, 0, 0), 1.0, 1.0, (1, 1)))
        ends = np.zeros((2, WIDTH), np.float32)
        ends[1, JAW] = JAW_OPEN
        points = self._points(Motion(ends, Fraction(1), avatar.basis))
        self._full = float(_gap(points)[1])
        self._rest_width, self._rest_forward = float(_width(points)[0]), float(points[0, _UPPER_MIDDLE, 2])
        if min(self._full, self._rest_width) <= 0:
            raise MarotteError(f"the mouth of avatar {avatar.name} does not open with its jaw: mend its head model")

    def track(self, motion: Motion) -> LipTrack:
        """Return the lips of a motion. Raises MarotteError where its basis cannot reach the avatar."""
        points = self._points(motion)
        width = _width(points) / self._rest_width
        forward = (points[:, _UPPER_MIDDLE, 2] - self._rest_forward) / self._rest_width
        return LipTrack(_gap(points) / self._full, width, 1 - width + forward, motion.fps)

    def _points(self, motion: Motion) -> np.ndarray:
        """Return the mouth's landmarks [T, 20, 3] in metres, x to the person's left, y up, z to the front."""
        codes = motion.codes.copy()
        codes[:, HEAD] = 0
        state = self._bridge.head_state(replace(motion, codes=codes, neck=None, translation=None, eyelids=None))
        vertices = self._head.vertices(state.expression, state.full_pose)
        assert self._model.landmarks is not None
        return self._model.landmarks.need("full68").points(vertices, self._model.faces).astype(np.float64)


@cache
def _lips(avatar: str) -> Lips:
    return Lips(load_avatar(avatar))


def lip_track(motion: Motion, avatar: str | Path = "demo") -> LipTrack:
    """Return the lips of a motion on the avatar of a name or folder; see `Lips`."""
    return _lips(str(avatar)).track(motion)


def _mouth(model: FlameModel) -> FlameModel:
    """Return the head cut down to what the mouth's landmarks need, which moves them exactly as the whole one does.

    The vertices are those of the landmarks' triangles, and one for each joint that lies on it and moves with it.
    """
    marks = model.landmarks or Landmarks()
    whole = marks.full68 or marks.full70
    part = _MOUTH
    if whole is None and marks.static51 is not None:
        whole, part = marks.static51, slice(_MOUTH.start - 17, _MOUTH.stop - 17)  # it leaves out the jaw line's 17
    if whole is None:
        whole = marks.need("full68")
    corners = model.faces[whole.faces[part]]
    kept, faces = np.unique(corners, return_inverse=True)
    regressor, count = model.joint_regressor, len(kept)
    joint_dirs = np.einsum("jv,vck->jck", regressor, model.expression_dirs)
    weights = np.concatenate([model.skinning_weights[kept], np.eye(JOINTS, dtype=np.float32)])
    picks = np.concatenate([np.zeros((JOINTS, count), np.float32), np.eye(JOINTS, dtype=np.float32)], axis=1)
    triangles = np.arange(len(corners), dtype=np.int32)
    return replace(
        model,
        v_template=np.concatenate([model.v_template[kept], regressor @ model.v_template]),
        faces=faces.reshape(-1, 3).astype(np.int32),
        shape_dirs=np.zeros((count + JOINTS, 3, 0), np.float32),
        expression_dirs=np.concatenate([model.expression_dirs[kept], joint_dirs]),
        pose_dirs=np.concatenate([model.pose_dirs[kept], np.zeros((JOINTS, 3, model.pose_dirs.shape[-1]), np.float32)]),
        joint_regressor=picks,
        skinning_weights=weights,
        landmarks=Landmarks(full68=Embedding(triangles, whole.bary[part])),
        masks={},
        eyelid_fields=None,
        render={},
    )


def _gap(points: np.ndarray) -> np.ndarray:
    pairs = points[:, _INNER_UPPER, 1] - points[:, _INNER_LOWER, 1]
    return np.maximum(pairs, 0).max(axis=1)


def _width(points: np.ndarray) -> np.ndarray:
    left, right = _CORNERS
    return np.linalg.norm(points[:, left] - points[:, right], axis=-1)
