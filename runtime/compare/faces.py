"""What a face did, from its 68 landmarks in space: how far its lips parted, how shut its eyes were, where it turned.

The head is held still first: each frame is laid on the face at rest by the rigid motion that brings those points
closest that a face moves least, the nose's ridge, the corners of the eyes and the ends of the jaw line before the ears;
any that a face does move (a blink pulls at the corners) lose their say. What is left is the face's own. Where a head
model has no jaw line, a hard blink still seems to turn the head by about a degree. World axes are FLAME's: x to the
person's left, y up, z to the front.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from fractions import Fraction
from typing import NamedTuple

import numpy as np

from marotte.errors import MarotteError
from marotte.models.flame_numba import HeadEvaluator
from marotte.models.rotations import rotvec_to_matrix
from marotte.runtime.avatar import NO_BASIS, Avatar, load_avatar
from marotte.runtime.bridge import Bridge
from marotte.runtime.camera import Camera, facing_camera
from marotte.runtime.contracts import FacePoints
from marotte.runtime.face_marks import FaceMarks, rest_vertices
from marotte.runtime.motion import Motion
from marotte.runtime.session import SessionOptions, open_bridge
from marotte.runtime.splats import avatar_head, avatar_identity

# Of the 68: what a face moves least, the mouth, its inner pairs of upper and lower lip, and the eyes, right and left.
# An eye goes from one corner along the upper lid to the other, and back along the lower.
STILL = (0, 1, 15, 16, 27, 28, 29, 30, 36, 39, 42, 45)
MOUTH = slice(48, 68)
UPPER, LOWER = (61, 62, 63), (67, 66, 65)
EYES = (slice(36, 42), slice(42, 48))
# A point that is so many mm off has half the say of one that is in place; and how often that is weighed.
_OFF, _ROUNDS = 0.3, 12
# So many points tell how a head is turned; eyes whose height at rest is less than so much of their width tell no blink.
_FEWEST, _LEAST_ASPECT = 4, 0.05
_MM = 1000.0
# Frames that are posed at once.
_BATCH = 128


@dataclass(frozen=True, eq=False)
class FaceTracks:
    """T frames of a face; NaN where it is not known.

    opening: [T] mm that the inner lips are apart along the head's vertical axis, the widest of three pairs, 0 where
        they touch or cross.
    blink: [T] of both eyes' mean, 0 as open as at rest (or wider) to 1 where the lids touch or cross: what is gone of
        the eye's height along the head's vertical axis, by its width.
    head: [T, 3] degrees from rest, right-handed: pitch about x, above 0 looks down; yaw about y, above 0 to the
        person's left; roll about z, above 0 with the crown to the person's right. Rolled first, yawed last.
    lips: [T, 20, 3] mm, the landmarks 48 to 67, head held still.
    """

    opening: np.ndarray
    blink: np.ndarray
    head: np.ndarray
    lips: np.ndarray

    def __len__(self) -> int:
        return len(self.opening)

    @classmethod
    def joined(cls, parts: Sequence["FaceTracks"]) -> "FaceTracks":
        """Return tracks in one."""
        return cls(**{each.name: np.concatenate([getattr(part, each.name) for part in parts]) for each in fields(cls)})

    @classmethod
    def unknown(cls, frames: int) -> "FaceTracks":
        """Return tracks of frames of which nothing is known."""
        shapes = (frames,), (frames,), (frames, 3), (frames, 20, 3)
        return cls(*(np.full(shape, np.nan) for shape in shapes))


def face_tracks(
    points: FacePoints, cameras: Sequence[Camera] | None = None, straight: Camera | None = None
) -> FaceTracks:
    """Return the tracks of landmarks; every frame by itself, so that parts of a film may be measured one by one.

    cameras: of the frames, and straight: of a straight head, for avatars whose camera moves in place of the head: then
    the head's angles are those that the pictures show. Without them they are those of the world.
    """
    turns, places = laid_on(points.points[:, STILL], points.rest[STILL, :], _OFF / (points.metres * _MM))
    still = points.points @ turns.transpose(0, 2, 1) + places[:, None]
    heads = turns.transpose(0, 2, 1)
    if cameras is not None and straight is not None:
        heads = np.array([straight.R.T @ camera.R for camera in cameras]).reshape(-1, 3, 3) @ heads
    return FaceTracks(
        opening=_opening(still) * points.metres * _MM,
        blink=_blink(still, points.rest),
        head=head_angles(heads),
        lips=still[:, MOUTH] * points.metres * _MM,
    )


def laid_on(points: np.ndarray, rest: np.ndarray, off: float = np.inf) -> tuple[np.ndarray, np.ndarray]:
    """Return the rotations [T, 3, 3] and shifts [T, 3] that bring points [T, n, 3] closest to rest [n, 3]: R x + s.

    off: how far off a point has half its say (Cauchy's weights, found in rounds); infinite for plain least squares.
    What is NaN at rest is left out. NaN for frames that hold one, and for all where too few are left.
    """
    turns, shifts = np.full((len(points), 3, 3), np.nan), np.full((len(points), 3), np.nan)
    known = np.isfinite(rest).all(axis=1)
    points, rest = points[:, known], rest[known]
    fine = np.isfinite(points).all(axis=(1, 2))
    if len(rest) < _FEWEST or not fine.any():
        return turns, shifts
    weights = np.ones((int(fine.sum()), len(rest)))
    for _ in range(1 if np.isinf(off) else _ROUNDS):
        turns[fine], shifts[fine] = _closest(points[fine], rest, weights)
        away = points[fine] @ turns[fine].transpose(0, 2, 1) + shifts[fine][:, None] - rest
        weights = 1 / (1 + np.square(away / off).sum(axis=2))
    return turns, shifts


def _closest(points: np.ndarray, rest: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return R [T, 3, 3] and s [T, 3] of the least weighted squares, weights [T, n]. Source: Kabsch, 1976, A solution
    for the best rotation to relate two sets of vectors."""
    shares = (weights / weights.sum(axis=1, keepdims=True))[..., None]
    middle, centre = (points * shares).sum(axis=1), (rest * shares).sum(axis=1)
    spread = (points - middle[:, None]).transpose(0, 2, 1) @ ((rest - centre[:, None]) * shares)
    left, _, right = np.linalg.svd(spread)
    # Without a reflection: the least axis is turned over where there would be one.
    sign = np.ones((len(left), 3))
    sign[:, 2] = np.sign(np.linalg.det(left @ right))
    turns = (left * sign[:, None] @ right).transpose(0, 2, 1)
    return turns, centre - np.einsum("tij,tj->ti", turns, middle)


def head_angles(rotations: np.ndarray) -> np.ndarray:
    """Return pitch, yaw and roll [T, 3] in degrees of rotations [T, 3, 3], which are yaw times pitch times roll."""
    pitch = np.arcsin(np.clip(-rotations[:, 1, 2], -1, 1))
    yaw = np.arctan2(rotations[:, 0, 2], rotations[:, 2, 2])
    roll = np.arctan2(rotations[:, 1, 0], rotations[:, 1, 1])
    return np.rad2deg(np.stack([pitch, yaw, roll], axis=1))


class Asked(NamedTuple):
    """What a driver's motion asks for, at its own rate, as in `FaceTracks`. words: on which head that is."""

    opening: np.ndarray
    blink: np.ndarray
    head: np.ndarray
    words: str


def asked_tracks(motion: Motion, avatar: Avatar, options: SessionOptions | None = None) -> Asked:
    """Return what a driver's own motion asks for, on the avatar's head as it is, or else on the demo's.

    options: of the arm; of them only what takes a motion to another basis counts: neither gain nor what conditions the
    motion does. Opening and blink are NaN where the motion's expressions reach neither head, or it has no landmarks.
    """
    told = options or SessionOptions()
    plain = SessionOptions(flame=told.flame, basis_approx=told.basis_approx)
    for person in (avatar, load_avatar("demo")):
        if not person.head or person.basis == NO_BASIS:
            continue
        head = HeadEvaluator(avatar_head(person), avatar_identity(person))
        marks = FaceMarks.of(head.model)
        # The camera is the bridge's other half, which nothing here looks at.
        bridge = open_bridge(person, facing_camera((0, 0, 0), 1.0, 1.0, (1, 1)), motion.basis, plain)
        try:
            bridge.check(motion.basis)
        except MarotteError:
            continue
        if marks is not None:
            tracks = _asked(motion, head, marks, bridge)
            approximate = "; ".join(bridge.approximations(motion.basis))
            words = f"on the head of {person.name}" + (f" ({approximate})" if approximate else "")
            return Asked(tracks.opening, tracks.blink, _asked_head(motion), words)
    unknown = np.full(len(motion), np.nan)
    return Asked(unknown, unknown.copy(), _asked_head(motion), f"not known: no head with landmarks for {motion.basis}")


def at_times(values: np.ndarray, fps: Fraction, wanted: Fraction, frames: int) -> np.ndarray:
    """Return values [T, ...] at `fps` at the times of so many frames at another rate, on the line between two.

    Frame i is for the time i / fps. Before the first and after the last, these; all NaN where there are none.
    """
    if not len(values):
        return np.full((frames, *values.shape[1:]), np.nan)
    place = np.clip(np.arange(frames) * float(fps / wanted), 0, len(values) - 1)
    low = np.minimum(place.astype(int), max(len(values) - 2, 0))
    high = np.minimum(low + 1, len(values) - 1)
    share = (place - low).reshape(-1, *(1,) * (values.ndim - 1))
    # At a frame's own time its neighbour does not count, even where it is not known.
    between = values[low] * (1 - share) + values[high] * share
    return np.where(share == 0, values[low], np.where(share == 1, values[high], between))


def _asked(motion: Motion, head: HeadEvaluator, marks: FaceMarks, bridge: Bridge) -> FaceTracks:
    rest = marks.points(rest_vertices(head)[None])[0]
    parts = [FaceTracks.unknown(0)]
    for start in range(0, len(motion), _BATCH):
        state = bridge.head_state(motion[start : start + _BATCH])
        pose = state.full_pose
        pose[:, :6] = 0
        lids = state.eyelids if head.model.eyelid_fields is not None else None
        points = marks.points(head.vertices(state.expression, pose, lids))
        parts.append(face_tracks(FacePoints(points, rest, 1.0, "vertices")))
    return FaceTracks.joined(parts)


def _asked_head(motion: Motion) -> np.ndarray:
    turns = rotvec_to_matrix(motion.head.astype(np.float64))
    if motion.neck is not None:
        turns = turns @ rotvec_to_matrix(motion.neck.astype(np.float64))
    return head_angles(turns)


def _opening(still: np.ndarray) -> np.ndarray:
    pairs = np.maximum(still[:, UPPER, 1] - still[:, LOWER, 1], 0)
    return np.asarray(np.fmax.reduce(pairs, axis=1))


def _blink(still: np.ndarray, rest: np.ndarray) -> np.ndarray:
    shut = []
    for eye in EYES:
        (open_,) = _aspect(rest[None, eye])
        usual = open_ if open_ >= _LEAST_ASPECT else np.nan
        shut.append(np.clip(1 - _aspect(still[:, eye]) / usual, 0, 1))
    return np.asarray(np.mean(shut, axis=0))


def _aspect(eyes: np.ndarray) -> np.ndarray:
    """Return the height by the width [T] of eyes [T, 6, 3]. After Soukupova and Cech, 2016, Real-time eye blink
    detection using facial landmarks; heights have a sign here, since lids may cross."""
    outer, upper_a, upper_b, inner, lower_b, lower_a = eyes.transpose(1, 0, 2)
    heights = (upper_a - lower_a + upper_b - lower_b)[:, 1] / 2
    return np.asarray(heights / np.linalg.norm(outer - inner, axis=1))
