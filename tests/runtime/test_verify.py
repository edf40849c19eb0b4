"""An avatar and its tracking: healthy as they are, and each well-known mistake by its name."""

import json
import os
import shutil
from copy import copy
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from marotte.errors import MarotteError
from marotte.models.flame import FlameModel
from marotte.models.flame_numba import HeadEvaluator
from marotte.runtime import tracked_frames, verify_training
from marotte.runtime.avatar import Avatar
from marotte.runtime.cameras import read_cameras, write_cameras
from marotte.runtime.cameras.doctor import diagnose
from marotte.runtime.splats import avatar_splats
from marotte.runtime.tracked_frames import AvatarHead, open_tracked
from marotte.runtime.verify import verify
from marotte.runtime.verify_overlay import write_overlay
from marotte.runtime.verify_report import as_json, report
from marotte.runtime.verify_training import compare_training
from marotte.runtime.video.probe import probe, read_frames


@pytest.fixture(scope="module", autouse=True)
def _files_that_stay_are_read_once():
    """An avatar's head and its Gaussians, which are large and which nothing here changes."""
    heads, splats = {}, {}

    def head_of(avatar):
        name = repr(replace(avatar, splats=""))
        if name not in heads:
            heads[name] = AvatarHead(avatar)
        head = copy(heads[name])
        head.avatar = avatar
        return head

    def splats_of(avatar, model):
        if avatar.splats not in splats:
            splats[avatar.splats] = avatar_splats(avatar, model)
        return splats[avatar.splats]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tracked_frames, "AvatarHead", head_of)
        patch.setattr(verify_training, "avatar_splats", splats_of)
        yield


@pytest.fixture
def recording(published, tmp_path):
    """A function that writes the recording anew, with world_mat and intrinsics changed, and returns its folder."""

    def write(matrices=None, intrinsics=None, keypoints=True, pictures=None):
        data = tmp_path / "data"
        data.mkdir(exist_ok=True)
        if not (data / "images").exists():
            (data / "images").symlink_to(pictures or published / "data" / "images")
        table = json.loads((published / "data" / "flame_params.json").read_text())
        for frame in table["frames"]:
            if matrices is not None:
                frame["world_mat"] = matrices(np.array(frame["world_mat"])).tolist()
            if callable(keypoints):
                frame["flame_keypoints"] = keypoints(np.array(frame["flame_keypoints"])).tolist()
            elif not keypoints:
                del frame["flame_keypoints"]
        if intrinsics is not None:
            table["intrinsics"] = intrinsics(np.array(table["intrinsics"])).tolist()
        (data / "flame_params.json").write_text(json.dumps(table))
        return data

    return write


def transposed(matrix):
    return np.concatenate([matrix[:, :3].T, matrix[:, 3:]], axis=1)


def flip_missing(matrix):
    return matrix * [[1], [-1], [-1]]


def factor_missing(matrix):
    return matrix * [1, 1, 1, 0.25]


def inverted(matrix):
    turn = matrix[:, :3].T
    return np.concatenate([turn, -turn @ matrix[:, 3:]], axis=1)


def y_flipped(matrix):
    return matrix * [[1], [-1], [1]]


def crop_forgotten(intrinsics):
    return intrinsics + np.array([0, 0, 0.07, -0.05])


def half_an_angle(intrinsics):
    angle = 2 * np.arctan(0.5 / np.abs(intrinsics[:2]))
    return np.concatenate([np.sign(intrinsics[:2]) * 0.5 / np.tan(angle / 4), intrinsics[2:]])


def test_a_healthy_recording(published_avatar, published, tmp_path):
    found = verify(published_avatar, published / "data")
    assert found.healthy and not found.faults and found.diagnosis is None
    assert found.landmarks.median < 1e-3 and found.landmarks.exact
    assert found.outline.as_read.share < 0.03
    assert found.training.rms_mm < 1e-3
    assert any("projections of this very head" in line for line in report(found))
    table = json.loads(json.dumps(as_json(found)))
    assert table["healthy"] and len(table["landmarks"]["frames"]) == 6 and table["doctor"] is None


@pytest.mark.parametrize(
    ("matrices", "intrinsics", "keypoints", "name"),
    [
        (transposed, None, True, "r_transposed"),
        (transposed, None, False, "r_transposed"),
        (flip_missing, None, True, "yz_flipped"),
        (flip_missing, None, False, "yz_flipped"),
        (factor_missing, None, True, "scale4_missing"),
        (factor_missing, None, False, "scale4_missing"),
        (inverted, None, True, "c2w_as_w2c"),
        (y_flipped, None, True, "yz_flipped"),
        (None, crop_forgotten, True, "crop_offset_missing"),
        (None, crop_forgotten, False, "crop_offset_missing"),
        (None, half_an_angle, True, "fov_half_angle"),
    ],
)
def test_each_mistake_has_its_name(published_avatar, recording, matrices, intrinsics, keypoints, name):
    found = verify(published_avatar, recording(matrices, intrinsics, keypoints))
    assert not found.healthy
    assert found.faults[0] == name
    assert report(found)[0].endswith(", ".join(found.faults))
    assert json.loads(json.dumps(as_json(found)))["faults"] == list(found.faults)


def test_hair_and_shaky_tracking_are_no_fault(published_avatar, published, recording, tmp_path):
    """Hair on one side only, a mask that is cut too tight, cameras that shake: as real recordings are."""
    pictures = tmp_path / "hairy"
    pictures.mkdir()
    random = np.random.default_rng(2)
    for path in sorted((published / "data" / "images").glob("*.png")):
        pixels = np.asarray(Image.open(path)).copy()
        inside = pixels[..., 3] > 127
        tight = inside & np.roll(inside, 2, axis=1) & np.roll(inside, -2, axis=1)
        hair = np.logical_or.reduce([np.roll(tight[:90], shift, axis=1) for shift in range(0, 15, 3)])
        pixels[..., 3] = tight * 255
        pixels[:90, :, 3] |= (hair * 255).astype(np.uint8)
        Image.fromarray(pixels).save(pictures / path.name)

    def shaken(matrix):
        return matrix + random.normal(0, 0.008, (3, 4)) * [0, 0, 0, 1]

    found = verify(published_avatar, recording(shaken, keypoints=False, pictures=pictures))
    assert found.outline.as_read.share > 0.03 and found.healthy, report(found)
    found = verify(published_avatar, recording(factor_missing, keypoints=False, pictures=pictures))
    assert found.faults[0] == "scale4_missing"


def test_keypoints_that_were_damaged_as_well(published_avatar, recording):
    """A converter that projects its keypoints with its own wrong camera: only the pictures can tell."""
    found = verify(published_avatar, recording(None, crop_forgotten, keypoints=lambda p: p + np.array([0.14, -0.1])))
    assert not found.landmarks.off and found.landmarks.exact
    assert found.outline.off and found.faults[0] == "crop_offset_missing"


def test_landmarks_of_something_else_judge_no_camera(published_avatar, recording):
    def scattered(points):
        return np.random.default_rng(int(1e6 * abs(points).sum())).uniform(-0.6, 0.6, points.shape)

    found = verify(published_avatar, recording(keypoints=scattered))
    assert found.landmarks.strange and found.landmarks.off
    assert found.faults == ("unexplained",) and not found.lens
    assert any("no camera fits them" in line for line in report(found))


def test_without_pictures_of_the_head_nothing_is_said_of_cameras(published_avatar, recording, published, tmp_path):
    plain = tmp_path / "plain"
    plain.mkdir()
    for path in (published / "data" / "images").glob("*.png"):
        Image.open(path).convert("RGB").save(plain / path.name)
    found = verify(published_avatar, recording(keypoints=False, pictures=plain))
    assert found.landmarks is None and found.outline is None and found.healthy
    assert "nothing shows whether the cameras are right" in report(found)[0]


def test_noisy_landmarks_alone(published_avatar, recording, published):
    """Detections with noise, a bias, and no mask: healthy as they are, and still enough to name a mistake."""
    random = np.random.default_rng(1)
    bias = random.normal(0, 0.006, (68, 2))

    def noisy(points):
        return points + bias + random.normal(0, 0.01, points.shape)

    pictures = published.parent / "opaque"
    if not pictures.exists():
        pictures.mkdir()
        for path in (published / "data" / "images").glob("*.png"):
            Image.open(path).convert("RGB").save(pictures / path.name)
    found = verify(published_avatar, recording(keypoints=noisy, pictures=pictures))
    assert found.healthy and not found.landmarks.exact and found.landmarks.median > 0.5
    assert any("no masks" in line for line in report(found))
    found = verify(published_avatar, recording(transposed, keypoints=noisy))
    assert found.faults == ("r_transposed",)


def test_focal_lengths_over_the_wrong_side(published_avatar, published, recording, tmp_path):
    pictures = tmp_path / "oblong"
    pictures.mkdir()
    for path in (published / "data" / "images").glob("*.png"):
        Image.open(path).crop((0, 16, 192, 160)).save(pictures / path.name)

    def cut(intrinsics):  # the camera of the rows 16 to 160 of 192
        fx, fy, cx, cy = intrinsics
        return np.array([fx, fy * 192 / 144, cx, (cy * 192 - 16) / 144])

    healthy = verify(published_avatar, recording(None, cut, keypoints=False, pictures=pictures))
    assert healthy.healthy, report(healthy)
    found = verify(published_avatar, recording(None, lambda i: cut(i) * [192 / 144, 1, 1, 1], keypoints=False))
    assert found.faults[0] == "wrong_resolution"
    assert "fx is 1.333 times fy" in "\n".join(report(found))


def test_the_doctors_command_can_be_run(published_avatar, recording, tmp_path):
    data, points = recording(transposed), tmp_path / "points.npz"
    found = verify(published_avatar, data, points=points)
    assert str(points) in found.diagnosis.mend
    again = diagnose(data, points, size=(192, 192), points_unit=1.0)
    assert again.faults == ("r_transposed",)
    assert verify(published_avatar, data).diagnosis.mend == ""  # nothing was kept, so there is no command


def test_landmarks_from_a_file(published_avatar, published, recording, tmp_path):
    tracked = open_tracked(published_avatar, published / "data")
    points = tracked.head.model.landmarks3d(tracked.vertices(range(6)))
    pixels = np.stack([camera.project(each) for camera, each in zip(tracked.cameras, points, strict=True)])
    file = tmp_path / "seen.npz"
    np.savez(file, points2d=pixels)
    found = verify(published_avatar, recording(keypoints=False), landmarks=file)
    assert found.healthy and found.landmarks.median < 1e-3
    np.savez(file, points2d=pixels + 12.0)
    assert verify(published_avatar, recording(keypoints=False), landmarks=file).landmarks.off
    np.savez(file, points2d=pixels[:3])
    with pytest.raises(MarotteError, match="landmarks of 3 frames, the tracking has 6"):
        verify(published_avatar, published / "data", landmarks=file)
    np.savez(file, points2d=pixels[:, :9])
    with pytest.raises(MarotteError, match="has 9 points without points3d"):
        verify(published_avatar, published / "data", landmarks=file)


def test_another_format(published_avatar, published, tmp_path):
    """metrical-tracker's files have no neck: the cameras fit, and the training tells that something was left out."""
    out = tmp_path / "tracked"
    write_cameras(read_cameras(published / "data"), out, "metrical", allow_loss=True)
    found = verify(published_avatar, out, images=published / "data" / "images")
    assert found.outline is not None and found.outline.as_read.share < 0.1
    assert found.training.fault


def trained(published, published_avatar, tmp_path, canonical) -> Avatar:
    """Return the avatar with another canonical mesh, as a training with other parameters would have left it."""
    folder = tmp_path / "trained"
    shutil.copytree(published / "output" / "point_cloud" / "iteration_30000", folder, copy_function=os.symlink)
    os.symlink(published / "output" / "config.yaml", folder / "config.yaml")
    lines = (folder / "embedding.obj").read_text().splitlines()
    vertices = (f"v {x:.6f} {y:.6f} {z:.6f}" for x, y, z in canonical.tolist())
    changed = [next(vertices) if line.startswith("v ") else line for line in lines]
    (folder / "embedding.obj").unlink()
    (folder / "embedding.obj").write_text("\n".join(changed) + "\n")
    return replace(published_avatar, splats=str(folder))


@pytest.mark.parametrize(
    ("canonical", "fault"),
    [
        (lambda head, state: head.vertices(state)[0] / 4, "trained_other_unit"),
        (
            lambda head, state: HeadEvaluator(head.model, None, 4.0).vertices(state.expression, state.full_pose)[0],
            "trained_other_identity",
        ),
        (lambda head, state: head.vertices(replace(state, neck=state.jaw, jaw=state.neck))[0], "trained_pose_order"),
        (lambda head, state: head.vertices(replace(state, jaw=np.zeros_like(state.jaw)))[0], "trained_without_pose"),
        (
            lambda head, state: head.vertices(replace(state, expression=np.zeros_like(state.expression)))[0],
            "trained_without_expression",
        ),
        (
            lambda head, state: head.vertices(replace(state, root=state.root + np.float32(0.2)))[0],
            "trained_turned",
        ),
        (
            lambda head, state: head.vertices(state)[0] * (1 + 0.1 * np.sin(np.arange(3))),
            "trained_otherwise",
        ),
    ],
)
def test_an_avatar_trained_on_a_wrong_convention(published_avatar, published, tmp_path, canonical, fault):
    tracked = open_tracked(published_avatar, published / "data")
    wrong = trained(published, published_avatar, tmp_path, canonical(tracked.head, tracked.state([0])))
    found = verify(wrong, published / "data")
    assert found.faults == (fault,)
    assert not found.healthy and found.diagnosis is None


def test_two_mistakes_in_training(published_avatar, published, tmp_path):
    tracked = open_tracked(published_avatar, published / "data")
    state = tracked.state([0])
    mesh = HeadEvaluator(tracked.head.model, None, 1.0).vertices(state.expression, state.full_pose)[0]
    wrong = open_tracked(trained(published, published_avatar, tmp_path, mesh), published / "data")
    found = compare_training(wrong)
    assert found.fault == "trained_other_unit" and "mean identity" in found.what


def test_another_frame_is_no_fault(published_avatar, published, tmp_path):
    tracked = open_tracked(published_avatar, published / "data")
    found = verify(trained(published, published_avatar, tmp_path, tracked.vertices([3])[0]), published / "data")
    assert found.healthy and found.training.fault == "trained_other_frame" and "image/4" in found.training.what


def test_other_expressions_in_the_same_pose(published_avatar, published, tmp_path):
    """What FLAME 2023's expressions do to an published_avatar of FLAME 2020."""
    tracked = open_tracked(published_avatar, published / "data")
    other = FlameModel.load(published / "flame" / "flame2023.pkl", n_expression=50, basis="flame2023")
    state = tracked.state([0])
    mesh = HeadEvaluator(other, tracked.head.identity, 4.0).vertices(state.expression, state.full_pose)[0]
    found = verify(trained(published, published_avatar, tmp_path, mesh), published / "data")
    assert found.faults == ("trained_other_expressions",)
    assert any("FLAME 2023" in line for line in report(found))


def test_another_recording_is_no_fault(published_avatar, published, tmp_path):
    tracked = open_tracked(published_avatar, published / "data")
    random, state = np.random.default_rng(4), tracked.state([0])
    other = replace(
        state,
        expression=random.normal(0, 0.7, state.expression.shape).astype(np.float32),
        jaw=np.array([[0.2, 0, 0]], np.float32),
        root=np.array([[0.1, -0.2, 0.1]], np.float32),
    )
    found = verify(trained(published, published_avatar, tmp_path, tracked.head.vertices(other)[0]), published / "data")
    assert found.healthy and found.training.fault == "trained_other_recording"


def test_the_film(published_avatar, recording, published, tmp_path):
    out = tmp_path / "film.mp4"
    write_overlay(verify(published_avatar, recording(transposed), frames=3), out)
    assert probe(out).frames == 3
    first = next(iter(read_frames(out)))
    assert first.shape == (640, 640, 3)
    plain = np.asarray(Image.open(published / "data" / "images" / "1.png").convert("RGB").resize((640, 640)))
    assert (np.abs(first.astype(int) - plain) > 25).mean() > 0.03
    with pytest.raises(MarotteError, match="the cameras cannot be read"):
        write_overlay(verify(published_avatar, recording(y_flipped)), out)


def test_what_cannot_be_verified(published_avatar, published, recording, tmp_path):
    with pytest.raises(MarotteError, match="--frames 0"):
        verify(published_avatar, published / "data", frames=0)
    with pytest.raises(MarotteError, match="is not there"):
        verify(published_avatar, tmp_path / "nowhere")
    shutil.copytree(published / "data", tmp_path / "damaged")
    (tmp_path / "damaged" / "images" / "4.png").write_bytes(b"no picture")
    with pytest.raises(MarotteError, match="cannot be read"):
        verify(published_avatar, tmp_path / "damaged")
    Image.new("RGBA", (192, 192)).save(tmp_path / "damaged" / "images" / "4.png")
    assert verify(published_avatar, tmp_path / "damaged").healthy  # nobody is in that frame, so it says nothing
