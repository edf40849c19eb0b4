"""GAGAvatar's landmarks: FLAME's, in the world of the drive's cameras."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from marotte.models.flame import FlameModel
from marotte.models.flame_landmarks import Embedding, Landmarks
from marotte.runtime.background import Background
from marotte.runtime.bridge import Bridge
from marotte.runtime.clock import frame_ticks
from marotte.runtime.compare.faces import face_tracks
from marotte.runtime.compare.views import pictured
from marotte.runtime.contracts import Drive
from marotte.runtime.motion import Motion

pytest.importorskip("torch", reason="GAGAvatar needs torch")


@pytest.fixture
def with_landmarks(gagavatar, tmp_path):
    """An avatar whose head is that of the others, with landmarks here and there."""
    avatar = gagavatar.people[0]
    for name in ("network.pt", avatar.source):
        (tmp_path / name).symlink_to(avatar.path / name)
    head = FlameModel.load(avatar.head_path, n_expression=avatar.expressions, basis=avatar.basis)
    rng = np.random.default_rng(0)
    faces = rng.permutation(len(head.v_template))[: 3 * 68].reshape(68, 3).astype(np.int32)
    marks = Landmarks(full68=Embedding(np.arange(68), np.full((68, 3), 1 / 3, np.float32)))
    replace(head, faces=faces, landmarks=marks).save(tmp_path / "head.npz")
    return replace(avatar, path=tmp_path)


def drive_of(avatar, camera, head_rotation=None):
    rng = np.random.default_rng(1)
    codes = np.zeros((4, 106), np.float32)
    codes[:, :3] = rng.normal(0, 2, (4, 3))
    codes[:, 100:103] = rng.normal(0, 0.2, (4, 3))
    tracks = {"neck": rng.normal(0, 0.1, (4, 3)), "translation": rng.normal(0, 0.02, (4, 3))}
    motion = Motion(codes, Fraction(25), "flame2020", **tracks)
    bridge = Bridge(avatar, camera, head_rotation=head_rotation)
    ticks = frame_ticks(0, 4, motion.fps)
    return Drive(ticks, bridge.head_state(motion), bridge.cameras(motion), Background(own=True)), motion


@pytest.mark.parametrize("head_rotation", ["camera", "root", "neck"])
def test_pictures_show_them_where_the_drives_cameras_do(gagavatar, with_landmarks, head_rotation):
    stream = gagavatar.renderer.open(with_landmarks, gagavatar.options((48, 32)))
    drive, _ = drive_of(with_landmarks, stream.camera, head_rotation)
    found = stream.face_points(drive)
    assert found.by == "vertices" and found.metres == 0.2
    vertices, cameras = stream.posed(drive)
    still = stream.face.marks.points(vertices.numpy()).points
    # The forehead lags behind; nothing else of the head does.
    plain = stream.face.head.vertices(drive.head.expression, np.zeros((4, 15), np.float32))
    lags = np.abs(still - stream.face.marks.points(plain).points).max(axis=(0, 2)) > 1e-6
    for points, camera, mine, other in zip(still, cameras, found.points, drive.cameras, strict=True):
        assert np.abs(camera.project(points) - other.project(mine))[~lags].max() < 1e-3
    assert lags.sum() < 20
    # The network's square in the middle of the picture.
    (seen, *_) = pictured(found.points, drive.cameras, 48, 32)
    assert np.allclose(seen, drive.cameras[0].project(found.points[0]) + np.array([8, 0]))


def test_to_measure_is_to_change_nothing(gagavatar, with_landmarks):
    renderer = gagavatar.renderer
    stream, other = (renderer.open(with_landmarks, gagavatar.options()) for _ in range(2))
    drive, _ = drive_of(with_landmarks, stream.camera)
    expected = renderer.render(stream, drive).pixels
    other.face_points(drive)
    first = renderer.render(other, drive).pixels
    other.face_points(drive)
    assert np.array_equal(first, expected)
    assert other.head_boxes(drive) is None and other.gaussian_count > gagavatar.config.vertices


def test_a_camera_that_turns_counts_as_a_head_that_turns(gagavatar, with_landmarks):
    stream = gagavatar.renderer.open(with_landmarks, gagavatar.options())
    tracks = []
    for head_rotation in ("camera", "root"):
        drive, _ = drive_of(with_landmarks, stream.camera, head_rotation)
        tracks.append(face_tracks(stream.face_points(drive), drive.cameras, stream.camera).head)
    assert np.allclose(*tracks, atol=1e-4) and np.abs(tracks[0]).max() > 5


def test_a_head_without_landmarks_says_nothing(gagavatar):
    avatar = gagavatar.people[0]
    stream = gagavatar.renderer.open(avatar, gagavatar.options())
    assert stream.face_points(drive_of(avatar, stream.camera)[0]) is None
