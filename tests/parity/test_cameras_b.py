"""Camera files of the 3DGS family, GaussianTalker, GAGAvatar, FaceLift and MAMMAL against the published code's numbers.

Every fixture describes the same six cameras and 68 points. Continuous pixels are compared with `uv_*` within 1e-4 px
where a float32 is on the way, within 1e-9 px else, through reading and through writing in another format and reading
that.
"""

from dataclasses import replace

import numpy as np
import pytest

from marotte.runtime.cameras import FORMATS, load_format, read_cameras, write_cameras
from marotte.runtime.cameras.formats.facelift import FLAME_TO_FACELIFT, inference_cameras, turntable
from marotte.runtime.cameras.formats.gagavatar import (
    fitted_head_to_gagavatar,
    head_motion_to_gagavatar,
    mesh_camera,
    opencv_to_gagavatar,
)
from marotte.runtime.cameras.formats.gaussian_splatting import inria_to_opencv, opencv_to_inria
from marotte.runtime.cameras.formats.gaussian_talker import (
    euler_to_matrix,
    matrix_to_euler,
    opencv_to_gaussian_talker,
    opencv_to_transform,
)
from marotte.runtime.cameras.formats.mammal import distances, normalised
from marotte.runtime.imavatar import opencv_to_3dgs

FLOAT32, FLOAT64 = 1e-4, 1e-9
# Fixture -> format, image space, tolerance.
SOURCES = {
    "gaussiantalker": ("gaussian-talker", "gaussiantalker", FLOAT32),
    "gaussiantalker/track_params.pt": ("gaussian-talker", "gaussiantalker", FLOAT32),
    "gagavatar/tracked.pt": ("gagavatar", "gagavatar", FLOAT32),
    "gagavatar": ("gagavatar", "gagavatar", FLOAT32),
    "facelift/opencv_cameras.json": ("facelift", "facelift", FLOAT64),
    "mammal/new_cam_list.pkl": ("mammal", "video", FLOAT64),
    "mammal/new_cam_list_numpy1.pkl": ("mammal", "video", FLOAT64),
    "mammal/new_cam_dict_int.pkl": ("mammal", "video", FLOAT64),
    "mammal/new_cam_dict_str.pkl": ("mammal", "video", FLOAT64),
    "imavatar/splattingavatar_cameras.npz": ("splatting-avatar", "tracked", FLOAT32),
}
# What a format cannot hold of the spaces: an off-centre principal point, any focal length but its own.
CENTRED = {"gaussiantalker", "gagavatar", "facelift"}
ONLY = {"3dgs": CENTRED, "gaussian-talker": CENTRED, "gagavatar": {"gagavatar"}}
FLOAT32_FORMATS = {"gaussian-talker", "gagavatar", "metrical", "pytorch3d"}


@pytest.fixture(scope="module")
def read(fixtures, truth):
    """Read a fixture as its format, with the unit that FaceLift's file does not say."""

    def act(name):
        format, space, _ = SOURCES[name]
        track = read_cameras(fixtures / name, format, size=tuple(truth[f"wh_{space}"].tolist()))
        if format == "facelift":
            unit = float(truth["unit_scale_facelift"])
            track = replace(track, cameras=tuple(replace(camera, unit=unit) for camera in track.cameras))
        return track

    return act


def error(track, truth, space):
    seen = np.array([camera.project(truth["points3d"] * track.unit) for camera in track.cameras])
    assert (np.array([camera.to_camera(truth["points3d"] * track.unit)[:, 2] for camera in track.cameras]) > 0).all()
    return np.abs(seen - truth[f"uv_{space}"]).max()


@pytest.mark.parametrize("name", SOURCES)
def test_reading(read, truth, name):
    format, space, tolerance = SOURCES[name]
    track = read(name)
    assert track.format == format and len(track) == len(set(track.names)) == 6
    assert error(track, truth, space) < tolerance
    assert [(camera.width, camera.height) for camera in track.cameras] == [tuple(truth[f"wh_{space}"])] * 6


@pytest.mark.parametrize("name", SOURCES)
def test_what_it_is_shows_by_its_content(fixtures, name):
    others = {"imavatar/splattingavatar_cameras.npz"}
    found = [format for format in FORMATS if load_format(format).recognises(fixtures / name)]
    assert SOURCES[name][0] in found and (len(found) == 1 or name in others)


@pytest.mark.parametrize("target", FORMATS)
@pytest.mark.parametrize("name", ["gaussiantalker", "gagavatar", *list(SOURCES)[4:6], list(SOURCES)[-1]])
def test_reading_writing_and_reading(read, truth, tmp_path, name, target):
    _, space, tolerance = SOURCES[name]
    track = read(name)
    if space not in ONLY.get(target, {space}):
        assert load_format(target).losses(track.scaled(load_format(target).unit or track.unit))
        return
    path = tmp_path / "cameras"
    if not load_format(target).is_folder:
        path = path.with_suffix({"mammal": ".pkl", "gagavatar": ".pt"}.get(target, ".json"))
        path = path.with_suffix(".npz") if target in ("splatting-avatar", "pytorch3d") else path
    write_cameras(track, path, target, allow_loss=True)
    again = read_cameras(path, target, size=tuple(truth[f"wh_{space}"].tolist()))
    assert again.unit == pytest.approx(load_format(target).unit or track.unit)
    assert error(again, truth, space) < (FLOAT32 if target in FLOAT32_FORMATS else tolerance)


def test_losses_name_what_a_format_cannot_hold(read):
    video = read("mammal/new_cam_list.pkl")
    assert load_format("3dgs").losses(video) == ["principal point: up to 28 px from the centre"]
    lost = load_format("gagavatar").losses(video)
    assert [line.partition(":")[0] for line in lost][:3] == ["principal point", "focal length", "picture size"]
    assert "5134.84 px, the format has 3072 px for good" in lost[1]
    assert load_format("splatting-avatar").losses(video) == load_format("facelift").losses(video) == []
    talker = load_format("gaussian-talker").losses(video)
    assert talker[0].startswith("principal point") and "BFM identity, expression" in talker[-1]
    assert load_format("gaussian-talker").losses(read("gaussiantalker")) == []
    assert load_format("gagavatar").losses(read("gagavatar")) == []


def test_splatting_avatars_cameras(fixtures, read, truth):
    expected = np.load(fixtures / "imavatar" / "splattingavatar_cameras.npz")
    for i, camera in enumerate(read("imavatar/splattingavatar_cameras.npz").cameras):
        given = opencv_to_3dgs(camera)
        np.testing.assert_allclose(given.view, expected["world_view_transform"][i], atol=1e-6)
        np.testing.assert_allclose(given.projection, expected["projection_matrix"][i], atol=1e-6)
        np.testing.assert_allclose(given.full_projection, expected["full_proj_transform"][i], atol=5e-6)
        np.testing.assert_allclose(given.centre, expected["camera_center"][i], atol=1e-6)
        np.testing.assert_allclose(given.tan_half_fov, expected["tanfov"][i], rtol=1e-12)
        inria = opencv_to_inria(camera)
        np.testing.assert_array_equal(inria.R, expected["R_stored"][i])
        np.testing.assert_array_equal(inria.T, expected["T_stored"][i])
        # The original drops the principal point, which moves the picture by as much.
        pixels = inria_to_opencv(inria).project(4 * truth["points3d"])
        np.testing.assert_allclose(pixels - 0.5, expected["px_index_fovonly"][i], atol=2e-4)
        np.testing.assert_allclose(camera.project(4 * truth["points3d"]) - 0.5, expected["px_index"][i], atol=2e-4)


def test_gaussian_talkers_cameras(fixtures, read):
    expected = np.load(fixtures / "gaussiantalker" / "gaussiantalker_cameras.npz")
    track = read("gaussiantalker")
    for i, camera in enumerate(track.cameras):
        inria = opencv_to_inria(camera)
        np.testing.assert_allclose(inria.R, expected["R_stored"][i], atol=2e-7)
        np.testing.assert_allclose(inria.T, expected["T_stored"][i, 0], atol=2e-6)
        np.testing.assert_allclose((inria.FoVx, inria.FoVy), expected["fov_xy"][i], rtol=1e-12)
        np.testing.assert_allclose(opencv_to_3dgs(camera).view.T, expected["world_view"][i], atol=2e-6)
        euler, _ = opencv_to_gaussian_talker(camera)
        np.testing.assert_allclose(euler_to_matrix(euler), expected["euler2rot"][i], atol=2e-7)
        pixels = camera.project(track.extra["vertices"][i])
        np.testing.assert_allclose(pixels, expected["tracker_projection"][i], atol=1e-4)


def test_gaussian_talkers_json(fixtures, read, tmp_path):
    import json

    write_cameras(read("gaussiantalker"), tmp_path / "person", "gaussian-talker")
    for name in ("transforms_train.json", "transforms_val.json"):
        got, expected = (json.loads((f / name).read_text()) for f in (tmp_path / "person", fixtures / "gaussiantalker"))
        assert [frame["img_id"] for frame in got["frames"]] == [frame["img_id"] for frame in expected["frames"]]
        assert (got["focal_len"], got["cx"], got["cy"]) == (expected["focal_len"], expected["cx"], expected["cy"])
        for one, other in zip(got["frames"], expected["frames"], strict=True):
            np.testing.assert_allclose(one["transform_matrix"], other["transform_matrix"], atol=1e-6)


@pytest.mark.reference_files("gaussiantalker/tiny/expected.npz")
def test_a_whole_person_of_gaussian_talker(reference_file):
    expected = np.load(reference_file)
    track = read_cameras(reference_file.parent / "data")
    assert track.format == "gaussian-talker" and len(track) == 24 and track.notes == ()
    assert (track.cameras[0].width, track.cameras[0].height) == (64, 48) and track.images[3] == "ori_imgs/3.jpg"
    stored = np.concatenate([expected["train_R"], expected["val_R"]])
    views = np.concatenate([expected["train_world_view_transform"], expected["val_world_view_transform"]])
    np.testing.assert_allclose([camera.R.T for camera in track.cameras], stored, atol=2e-7)
    np.testing.assert_allclose([opencv_to_3dgs(camera).view for camera in track.cameras], views, atol=2e-6)
    fov = np.concatenate([expected["train_FoVx"], expected["val_FoVx"]])
    np.testing.assert_allclose([opencv_to_inria(camera).FoVx for camera in track.cameras], fov.ravel(), rtol=1e-9)


def test_gagavatars_cameras(fixtures, read):
    expected = np.load(fixtures / "gagavatar" / "gagavatar_cameras.npz")
    track = read("gagavatar")
    points = np.load(fixtures / "truth.npz")["points3d"] * 5
    for i, camera in enumerate(track.cameras):
        np.testing.assert_array_equal(opencv_to_gagavatar(camera), expected["transform_matrix"][i])
        given = opencv_to_3dgs(camera)
        np.testing.assert_allclose(given.view, expected["view_matrix"][i], atol=1e-6)
        # The third column is depth, which has other limits there and is read by nobody.
        columns = [0, 1, 3]
        np.testing.assert_allclose(given.full_projection[:, columns], expected["full_proj"][i][:, columns], atol=1e-5)
        np.testing.assert_allclose(given.tan_half_fov, (1 / 12, 1 / 12), rtol=1e-12)
        np.testing.assert_allclose(camera.project(points) - 0.5, expected["px_index"][i], atol=2e-4)


def test_head_motion_becomes_gagavatars_camera(fixtures):
    expected = np.load(fixtures / "gagavatar" / "gagavatar_cameras.npz")
    turns = expected["emoca_axis_angle"]
    got = head_motion_to_gagavatar(turns)
    np.testing.assert_allclose(got, expected["emoca_transform_nofit"], atol=1e-6)
    points, pixels = expected["emoca_pred_lmks"], expected["emoca_gt_lmks"]
    fitted = [fitted_head_to_gagavatar(turn, points, seen) for turn, seen in zip(turns, pixels, strict=True)]
    np.testing.assert_allclose(fitted, expected["emoca_transform_fit_scaled"], atol=2e-6)
    np.testing.assert_array_equal(turns, expected["emoca_axis_angle"])  # the published code changes its input
    matrix = opencv_to_gagavatar(mesh_camera())
    np.testing.assert_array_equal(matrix, [[-1, 0, 0, 0], [0, 1, 0, 0], [0, 0, -1, 10]])


@pytest.mark.reference_files("gagavatar/camera.npz")
def test_artalks_camera_of_each_frame(reference_file):
    expected = np.load(reference_file)
    got = head_motion_to_gagavatar(expected["emoca_rotation"])
    np.testing.assert_allclose(got, expected["emoca_transform"], atol=1e-6)


def test_gagavatars_pictures_and_codes_go_through(read, tmp_path):
    track = read("gagavatar")
    write_cameras(track, tmp_path / "tracked.pt", "gagavatar")
    again = read_cameras(tmp_path / "tracked.pt")
    assert again.names == track.names
    for name in ("shape", "expression", "root", "jaw", "eyes"):
        np.testing.assert_array_equal(getattr(again.head, name), getattr(track.head, name))
    np.testing.assert_array_equal(again.extra["bbox"], track.extra["bbox"])
    assert again.extra["image"][0].shape == (3, 512, 512)


def test_the_turntable(fixtures):
    expected = np.load(fixtures / "facelift" / "turntable.npz")
    made = {
        "default": turntable(),
        "w512": turntable(num_views=24, width=512, height=512),
        "elev0": turntable(num_views=6, elevation=0),
    }
    for name, track in made.items():
        c2w, lens = expected[f"{name}_c2w"], expected[f"{name}_fxfycxcy"]
        assert len(track) == len(c2w)
        assert {(camera.width, camera.height) for camera in track.cameras} == {(int(expected[f"{name}_wh"][0]),) * 2}
        for camera, matrix, four in zip(track.cameras, c2w, lens, strict=True):
            np.testing.assert_allclose(camera.R.T, matrix[:3, :3], atol=1e-12)
            np.testing.assert_allclose(camera.centre, matrix[:3, 3], atol=1e-12)
            np.testing.assert_allclose(camera.K[[0, 1, 0, 1], [0, 1, 2, 2]], four, rtol=1e-12)


def test_facelifts_inference_cameras(fixtures, read):
    track = inference_cameras()
    places = np.array([camera.centre for camera in track.cameras]) / 2.7
    half = np.sqrt(0.5)
    there = [(-1, 0, 0), (-half, -half, 0), (0, -1, 0), (half, -half, 0), (1, 0, 0), (0, 1, 0)]
    np.testing.assert_allclose(places, there, atol=1e-12)
    expected = np.load(fixtures / "facelift" / "turntable.npz")
    assert track.cameras[0].K[0, 0] == pytest.approx(548.99377, abs=1e-5)
    for camera, view in zip(read("facelift/opencv_cameras.json").cameras, expected["cam_view"], strict=True):
        np.testing.assert_allclose(opencv_to_3dgs(camera).view, view, atol=1e-6)
    # The front view in FLAME's axes: up is up, and the face is turned to the camera.
    front = inference_cameras(flame_axes=True).cameras[2]
    np.testing.assert_allclose(front.R, np.diag([1, -1, -1]), atol=1e-12)
    np.testing.assert_allclose(front.centre, (0, 0, 2.7), atol=1e-12)
    assert np.linalg.det(FLAME_TO_FACELIFT) == pytest.approx(1)


def test_distance_normalisation_makes_the_mean_the_target(read, truth):
    published = np.array([246.1, 414.5, 363.7, 340.0, 318.3, 305.7])
    rig = read("mammal/new_cam_list.pkl")
    cameras = tuple(
        replace(camera, t=-camera.R @ (camera.centre / np.linalg.norm(camera.centre) * distance))
        for camera, distance in zip(rig.cameras, published, strict=True)
    )
    done = normalised(replace(rig, cameras=cameras))
    np.testing.assert_allclose(distances(done), [2.005, 3.377, 2.963, 2.770, 2.593, 2.491], atol=1e-3)
    assert "mean distance" in done.notes[-1] and "2.005, 3.377" in done.notes[-1]
    # Nothing but the unit changes: the same pixels of points scaled alike.
    assert error(normalised(rig), truth, "video") < FLOAT64
    assert normalised(rig, 1.0).unit == pytest.approx(1000 / distances(rig).mean())


def test_euler_angles(fixtures):
    for euler in np.random.default_rng(0).uniform(-1.5, 1.5, (50, 3)):
        np.testing.assert_allclose(matrix_to_euler(euler_to_matrix(euler)), euler, atol=1e-12)
    camera = read_cameras(fixtures / "gaussiantalker").cameras[1]
    matrix = opencv_to_transform(camera)
    np.testing.assert_allclose(matrix[:3, 3], camera.centre / 10, atol=1e-12)
