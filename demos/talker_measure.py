"""How near the demo talker comes to its teacher: pictures of both with the same cameras and torsos, and their lips."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from talker_clips import Clip
from talker_teacher import PIXEL, Teacher

from marotte.models.flame_landmarks import Landmarks
from marotte.models.gaussian_talker import GaussianTalker, camera_token, find_model, read_canonical
from marotte.models.gaussian_talker.windows import context, rows_to_windows
from marotte.renderers.gaussians import Gaussians
from marotte.renderers.rasterizers import rasterize
from marotte.runtime.avatars.talker_expand import DATA, MODEL
from marotte.runtime.recording import Recording, read_recording
from marotte.runtime.splats import avatar_head

# Of the 68 landmarks: the inner lips' three pairs, upper and lower.
_UPPER, _LOWER = (61, 62, 63), (67, 66, 65)
_AT_LANDMARK = 4  # Gaussians that stand for one
_OPEN = 0.05  # of full opening, from which lips count as apart
_LIP_MARGIN = 10  # pixels around the lips that count as the mouth

# Means [1, P, 3] and quaternions [1, P, 4] of any length.
Head = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Figures:
    """psnr: [T] dB over the face; mouth: [T] dB around the lips; gaps: [2, F] of student and teacher, in pixels;
    lips, lids: mean distance in pixels between their Gaussians and the teacher's.
    """

    psnr: np.ndarray
    mouth: np.ndarray
    gaps: np.ndarray
    lips: float
    lids: float

    @property
    def aperture(self) -> float:
        """Correlation of the lips' gaps."""
        return float(np.corrcoef(self.gaps)[0, 1])

    def lines(self) -> list[str]:
        """Return the figures in words."""
        student, teacher = self.gaps - np.quantile(self.gaps, 0.02, axis=1, keepdims=True)
        shut = teacher < _OPEN * np.quantile(teacher, 0.99)
        also = student < 2 * _OPEN * np.quantile(teacher, 0.99)
        return [
            f"PSNR over the face {self.psnr.mean():.1f} dB (least {self.psnr.min():.1f})",
            f"PSNR around the lips {self.mouth.mean():.1f} dB (least {self.mouth.min():.1f})",
            f"lip aperture: correlation {self.aperture:.3f}, mean error {np.abs(student - teacher).mean():.2f} pixels "
            f"of {teacher.max():.0f}",
            f"frames with shut lips {shut.sum()}, shut here too {100 * also[shut].mean():.0f} %",
            f"lips' Gaussians off by {self.lips:.2f} pixels, lids' by {self.lids:.2f}",
        ]


class Student:
    """The talker in an unpacked folder."""

    def __init__(self, folder: Path) -> None:
        model = find_model(folder / MODEL)
        self.network = GaussianTalker.load(folder / MODEL)
        self.prepared = self.network.prepare(read_canonical(model.ply))
        self.recording: Recording = read_recording(folder / DATA)

    def posed(self, windows: np.ndarray, eye: np.ndarray, frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return means [T, P, 3] and quaternions [T, P, 4], of any length, for windows [T, 8, 29, 16]."""
        cameras = [self.recording.cameras[i] for i in frames]
        R, t = (torch.from_numpy(np.stack([getattr(camera, name) for camera in cameras])) for name in "Rt")
        tokens = self.network.tokens(torch.from_numpy(windows), torch.from_numpy(eye), camera_token(R, t))
        made = self.network.deform(self.prepared, tokens)
        return made.xyz.numpy(), made.quats_wxyz.numpy()


def measure(teacher: Teacher, student: Student, clips: list[Clip], every: int) -> Figures:
    """Return the figures for speech: of every frame's lips, and of every so many pictures. Eyes are the recording's."""
    pairs = _landmarks(teacher)
    lips, lids = (_of(teacher, name) for name in ("lips", "lashes"))
    gaps, off = [], []
    seen: list[tuple[Head, Head, int]] = []
    for clip in clips:
        windows = rows_to_windows(clip.logits).astype(np.float32)
        for k in range(len(windows)):
            frame = np.array([_there_and_back(len(gaps), len(student.recording))])
            eye = student.recording.blinks[frame]
            made = student.posed(context(windows, np.array([k])), eye, frame)
            wanted = teacher.posed(clip.actions[2 * k][None], eye.astype(np.float32))
            if len(gaps) % every == 0:
                seen.append((made, wanted, int(frame[0])))
            gaps.append([_gap(made[0][0], pairs), _gap(wanted[0][0], pairs)])
            apart = np.linalg.norm((made[0][0] - wanted[0][0])[:, :2], axis=1) / PIXEL
            off.append([apart[lips].mean(), apart[lids].mean()])
    # Pictures come last: the rasterizer's threads would slow the network down.
    noise = [_noise(teacher, *pair, student.recording, frame, lips) for *pair, frame in seen]
    psnr, mouth = np.array(noise).T
    lips_off, lids_off = np.mean(off, axis=0)
    return Figures(psnr, mouth, np.array(gaps).T / PIXEL, float(lips_off), float(lids_off))


def _noise(
    teacher: Teacher, made: Head, wanted: Head, recording: Recording, frame: int, lips: np.ndarray
) -> tuple[float, float]:
    """Return the PSNR in dB between two heads' pictures, over the face and around the lips."""
    pictures = [_picture(teacher, *head, recording, frame) for head in (made, wanted)]
    face = _shown(teacher, wanted, ~_of(teacher, "hair"), recording, frame)
    at = recording.cameras[frame].project(wanted[0][0][lips])
    (left, top), (right, bottom) = (at.min(0) - _LIP_MARGIN).astype(int), (at.max(0) + _LIP_MARGIN).astype(int)
    around = np.zeros_like(face)
    around[top:bottom, left:right] = True
    return _psnr(*pictures, face), _psnr(*pictures, around)


def _there_and_back(i: int, count: int) -> int:
    i %= 2 * count - 2
    return min(i, 2 * count - 2 - i)


def _of(teacher: Teacher, name: str) -> np.ndarray:
    return teacher.parts.ids == teacher.parts.names.index(name)


def _landmarks(teacher: Teacher) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Return for each of the inner lips' landmarks, upper and lower, the Gaussians of the lips that are nearest."""
    marks = (avatar_head(teacher.avatar).landmarks or Landmarks()).need("full68")
    splats, lips = teacher.splats, np.flatnonzero(_of(teacher, "lips"))
    corners = splats.faces[splats.face_ids[teacher.head[lips]]]
    rest = (splats.canonical[corners] * splats.bary[teacher.head[lips]][..., None]).sum(1)
    points = (splats.canonical[splats.faces[marks.faces]] * marks.bary[..., None]).sum(1)
    means = teacher.canonical[0][lips]
    sides = []
    for rows in (_UPPER, _LOWER):
        upper = rows == _UPPER
        # Of the canonical head, whose lips are apart, the upper lip's Gaussians are those above the middle.
        own = means[:, 1] > np.median(means[:, 1]) if upper else means[:, 1] <= np.median(means[:, 1])
        far = np.where(own[None], np.linalg.norm(points[list(rows)][:, None] - rest, axis=-1), np.inf)
        sides.append([lips[order[:_AT_LANDMARK]] for order in np.argsort(far, axis=1)])
    return sides[0], sides[1]


def _gap(means: np.ndarray, pairs: tuple[list[np.ndarray], list[np.ndarray]]) -> float:
    """Return the widest gap of means [P, 3], in units."""
    return max(float(means[up, 1].mean() - means[down, 1].mean()) for up, down in zip(*pairs, strict=True))


def _picture(teacher: Teacher, means: np.ndarray, quats: np.ndarray, recording: Recording, frame: int) -> np.ndarray:
    """Return a picture [H, W, 3] of one head before the frame's torso, 0..1."""
    gaussians = _gaussians(teacher, means, quats, teacher.splats.sh[teacher.head], None)
    drawn = rasterize(gaussians, recording.cameras[frame], background=recording.behind(frame), backend="cpu")
    return np.clip(drawn.color, 0, 1)


def _shown(teacher: Teacher, head: Head, face: np.ndarray, recording: Recording, frame: int) -> np.ndarray:
    """Return [H, W] where what is seen is face, not hair nor torso."""
    colours = np.repeat(face[:, None], 3, axis=1).astype(np.float32)
    gaussians = _gaussians(teacher, *head, None, colours)
    return rasterize(gaussians, recording.cameras[frame], backend="cpu").color[..., 0] > 0.5


def _gaussians(
    teacher: Teacher, means: np.ndarray, quats: np.ndarray, sh: np.ndarray | None, colours: np.ndarray | None
) -> Gaussians:
    return Gaussians(
        means=means[0],
        opacities=teacher.splats.opacities[teacher.head],
        quats_wxyz=quats[0] / np.linalg.norm(quats[0], axis=1, keepdims=True),
        scales=np.exp(teacher.log_scales),
        features=colours,
        sh=sh,
        sh_degree=None if sh is None else 0,
    )


def _psnr(one: np.ndarray, other: np.ndarray, where: np.ndarray) -> float:
    return float(-10 * np.log10(np.mean((one[where] - other[where]) ** 2) + 1e-12))
