"""FLAME against the numbers of the published code: reference/flame/SPEC.md, section 8."""

from types import SimpleNamespace

import numpy as np
import pytest

from marotte.errors import MarotteError
from marotte.models import flame_files
from marotte.models.flame import FlameModel
from marotte.models.flame_landmarks import contour_rows, contour_rows_tracker
from marotte.models.flame_numba import HeadEvaluator
from marotte.models.rotations import matrix_to_sixd, rotvec_to_matrix, sixd_to_matrix

TOLERANCE = 1e-6  # of the SPEC, for vertices and landmarks
FAST = 1e-5  # the numba form adds up in another order


def close(got, expected, tolerance=TOLERANCE):
    np.testing.assert_allclose(got, expected, rtol=0, atol=tolerance)


def directions(tables, seeded_array, seed):
    """Return both big arrays by their recipe, with the seed that the stored heads agree with."""
    count = len(tables["v_template"])
    for candidate in (int(tables.get("seed", seed)), seed, *range(8)):
        shape = np.float32(0.05) * seeded_array("shapedirs", (count, 3, 400), candidate)
        if np.array_equal(shape[:2, :, :5], tables["shapedirs_head"]):
            pose = np.float32(0.02) * seeded_array("posedirs", (count, 3, 36), candidate)
            np.testing.assert_array_equal(pose[:2, :, :5], tables["posedirs_head"])
            for array, name in ((shape, "shapedirs"), (pose, "posedirs")):
                wide = array.astype(np.float64)
                stats = [wide.sum(), wide.mean(), wide.std(), np.abs(wide).max()]
                np.testing.assert_allclose(stats, tables[f"{name}_stats"], rtol=1e-9, atol=1e-9)
            return shape, pose
    pytest.fail("no seed gives the stored directions: set MAROTTE_REFERENCE_SEED")


@pytest.fixture(scope="session")
def heads(reference, reference_seed, seeded_array):
    """Give the synthetic model that a fixture file (`..._v400.npz`) was made with."""
    made = {}

    def head(file, n_shape=300, n_expression=100):
        size = file.stem.rpartition("_v")[2]
        if size not in made:
            tables = dict(np.load(file.with_name(f"model_v{size}.npz")))
            made[size] = tables, directions(tables, seeded_array, reference_seed)
        tables, (shape, pose) = made[size]
        marks = flame_files._landmarks_of(file, tables).merged(
            flame_files._landmarks_of(
                file, {k.removeprefix("mediapipe_"): v for k, v in tables.items() if k.startswith("mediapipe_")}
            )
        )
        renamed = {"f": tables["f"], "shapedirs": shape, "posedirs": pose}
        fields = flame_files._published(file, tables | renamed, n_shape, n_expression, "flame2020")
        return FlameModel(**fields, landmarks=marks)

    return head


def check_intermediates(posed, data):
    names = {
        "v_shaped": "shaped",
        "joints": "joints",
        "rot_mats": "rotations",
        "pose_feature": "pose_feature",
        "pose_offsets": "pose_offsets",
        "joints_posed": "joints_posed",
        "rel_transforms": "transforms",
        "transformations": "transforms",
    }
    for key, attribute in names.items():
        if key in data:
            close(getattr(posed, attribute), data[key])


@pytest.mark.reference_files("flame/rotations.npz")
def test_rotations(reference_file):
    data = np.load(reference_file)
    close(rotvec_to_matrix(data["rotvec"]), data["rotmat"], 3e-7)
    close(sixd_to_matrix(data["six"]), data["six_matrix"], 3e-7)
    close(matrix_to_sixd(data["six_matrix"]), data["six_back"], 0)
    assert np.isnan(data["rotmat_nan"]).any()
    np.testing.assert_array_equal(rotvec_to_matrix(data["rotvec_nan"]), np.eye(3, dtype=np.float32)[None])


@pytest.mark.reference_files("flame/artalk_v*.npz")
def test_artalk(reference_file, heads):
    data, head = dict(np.load(reference_file)), heads(reference_file)
    shape, expression = data["shape_params"], data["expression_params"]
    pose, eyes = data["pose_params"], data["eye_pose_params"]
    if "full_pose" in data:
        rotations = rotvec_to_matrix(data["full_pose"].reshape(-1, 5, 3))
        check_intermediates(head.posed(rotations, shape, expression), data)
    if "motion_code_106" in data:
        code = data["motion_code_106"]
        np.testing.assert_array_equal(code, np.concatenate([expression, pose], axis=1))
    calls = {
        "vertices_scale1": lambda: head.artalk(shape, expression, pose, eyes),
        "vertices_scale5": lambda: head.artalk(shape, expression, pose, eyes, scale=5),
        "vertices_scale1_no_eye": lambda: head.artalk(shape, expression, pose),
        "vertices_scale5_no_eye": lambda: head.artalk(shape, expression, pose, scale=5),
        "vertices_scale5_pose3": lambda: head.artalk(shape, expression, pose[:, 3:], scale=5),
        "vertices_scale5_no_pose": lambda: head.artalk(shape, expression, scale=5),
        "landmarks_dense105_scale5": lambda: head.dense105(head.artalk(shape, expression, pose, eyes, scale=5)),
        "vertices_n100_50_scale1": lambda: heads(reference_file, 100, 50).artalk(
            shape[:, :100], expression[:, :50], pose, eyes
        ),
        "vertices_scale5_every17": lambda: head.artalk(shape, expression, pose, eyes, scale=5)[:, ::17],
        "vertices_verts_sclae1_every17": lambda: head.artalk(shape, expression, pose, eyes)[:, ::17],
        "landmarks70_scale5": lambda: head.lmks70(head.artalk(shape, expression, pose, eyes, scale=5)),
        "landmarks70_verts_sclae1": lambda: head.lmks70_reselected(head.artalk(shape, expression, pose, eyes)),
        "landmarks70_reselected_unscaled": lambda: head.lmks70_reselected(head.artalk(shape, expression, pose, eyes)),
    }
    for key in data:
        if key.startswith(("vertices_", "landmarks")) and key != "vertices_stats":
            close(calls[key](), data[key])
    if "vertices_stats" in data:
        wide = head.artalk(shape, expression, pose, eyes, scale=5).astype(np.float64)
        np.testing.assert_allclose(
            [wide.sum(), wide.mean(), wide.std(), np.abs(wide).max()], data["vertices_stats"], rtol=1e-4, atol=1e-6
        )


@pytest.mark.reference_files("flame/imavatar_v*.npz")
def test_imavatar(reference_file, heads):
    data = dict(np.load(reference_file))
    head = heads(reference_file, 100, 50).baked(data["shape_params"], 4)
    close(head.v_template, data["v_template_baked"])
    posed = head.imavatar(data["expression_params"], data["full_pose"])
    check_intermediates(posed, data)
    close(posed.vertices, data["vertices"])
    close(head.landmarks2d(posed.vertices, data["full_pose"]), data["landmarks2d"])
    close(head.landmarks3d(posed.vertices), data["landmarks3d"])
    rows = contour_rows(data["full_pose"])
    np.testing.assert_array_equal(head.landmarks.contour.faces[rows], data["dynamic_faces_idx"])
    np.testing.assert_array_equal(head.landmarks.contour.bary[rows], data["dynamic_bary"])
    wide = np.pad(data["expression_params"], ((0, 0), (0, 50)), constant_values=3)
    np.testing.assert_array_equal(head.imavatar(wide, data["full_pose"]).vertices, posed.vertices)
    close(HeadEvaluator(head).vertices(data["expression_params"], data["full_pose"]), data["vertices"], FAST)


@pytest.mark.reference_files("flame/tracker_v*.npz")
def test_tracker(reference_file, heads):
    data = dict(np.load(reference_file))
    lids = data["l_eyelid"].astype(np.float32), data["r_eyelid"].astype(np.float32)
    plain = heads(reference_file)
    head = FlameModel(**{**vars(plain), "eyelid_fields": lids})
    every = {
        "root": data["rot_params"],
        "neck": data["neck_pose_params"],
        "jaw": data["jaw_pose_params"],
        "eyes": data["eye_pose_params"],
        "expression": data["expression_params"],
        "eyelids": data["eyelid_params"],
        "translation": data["trans_params"],
    }
    partial = {name: value for name, value in every.items() if name not in ("root", "neck", "translation")}
    rotations = sixd_to_matrix(
        np.concatenate([every[n] for n in ("root", "neck", "jaw", "eyes")], axis=1).reshape(-1, 5, 6)
    )
    check_intermediates(head.posed(rotations, data["shape_params"], data["expression_params"]), data)
    for suffix, cameras, given in (
        ("", data["cameras"], every),
        ("_defaults", data["cameras"], {}),
        ("_partial", data["cameras"][:1], partial),
    ):
        if f"vertices{suffix}" in data:
            tracked = head.tracker(data["shape_params"], cameras, **given)
            close(tracked.vertices, data[f"vertices{suffix}"])
            close(tracked.landmarks68, data[f"landmarks68{suffix}"])
            close(tracked.landmarks105, data[f"landmarks_mediapipe105{suffix}"])
    rows = contour_rows_tracker(data["cameras"], rotations[:, 0], rotations[:, 1])
    np.testing.assert_array_equal(rows, data["contour_row"])


@pytest.mark.reference_files("flame/contour_rows.npz")
def test_contour_rows(reference_file):
    data = np.load(reference_file)
    np.testing.assert_array_equal(contour_rows(data["full_pose"]), data["row_artalk_imavatar"])
    matrices = sixd_to_matrix(data["full_pose_6d"].reshape(-1, 5, 6))
    rows = contour_rows_tracker(np.eye(3, dtype=np.float32)[None], matrices[:, 0], matrices[:, 1])
    np.testing.assert_array_equal(rows, data["row_tracker_identity_camera"])


@pytest.mark.reference_files("flame/artalk_v*.npz")
def test_fast_form_agrees(reference_file, heads):
    data, head = dict(np.load(reference_file)), heads(reference_file)
    pose = np.pad(data["pose_params"], ((0, 0), (0, 9)))
    full = np.concatenate([pose[:, :3], pose[:, 9:12], pose[:, 3:6], data["eye_pose_params"]], axis=1)
    for shape in data["shape_params"]:
        expected = head.artalk(
            shape[None], data["expression_params"], data["pose_params"], data["eye_pose_params"], scale=5
        )
        close(HeadEvaluator(head, shape, 5.0).vertices(data["expression_params"], full), expected, FAST)


@pytest.fixture
def loader(reference):
    folder = reference / "flame" / "loader"
    if not (folder / "expected.npz").exists():
        pytest.skip(f"no loader fixtures in {folder}")
    return SimpleNamespace(folder=folder, expected=dict(np.load(folder / "expected.npz")))


def check_loaded(head, expected):
    np.testing.assert_array_equal(head.faces, expected["model_f"])
    np.testing.assert_array_equal(head.joint_regressor, expected["model_J_regressor"].astype(np.float32))
    np.testing.assert_array_equal(head.skinning_weights, expected["model_weights"].astype(np.float32))
    np.testing.assert_array_equal(head.v_template, expected["model_v_template"].astype(np.float32))
    np.testing.assert_array_equal(head.pose_dirs, expected["model_posedirs"])
    width, slots = head.shape_dirs.shape[-1], head.expression_dirs.shape[-1]
    np.testing.assert_array_equal(head.shape_dirs, expected["model_shapedirs"][..., :width])
    np.testing.assert_array_equal(head.expression_dirs, expected["model_shapedirs"][..., 300 : 300 + slots])
    assert list(head.parents) == [-1, *expected["model_kintree_table"][0, 1:]]


@pytest.mark.reference_files("flame/loader/generic_model*.pkl", "splatting_avatar/**/generic_model*.pkl")
def test_pkl(reference_file, loader):
    with pytest.warns(UserWarning, match="flame2020"):
        head = FlameModel.load(reference_file)
    assert head.basis == "flame2020"
    if reference_file.parent == loader.folder:
        check_loaded(head, loader.expected)
        check_loaded(FlameModel.load(reference_file, n_shape=100, n_expression=50, basis="flame2023"), loader.expected)


def test_pkl_end_to_end(loader):
    data = loader.expected
    head = FlameModel.load(
        loader.folder / "generic_model.pkl",
        n_shape=100,
        n_expression=50,
        basis="flame2020",
        landmarks=loader.folder / "landmark_embedding.npy",
        masks=loader.folder / "FLAME_masks.pkl",
    ).baked(data["shape_params"][0, :100])
    pose = data["pose_params"]
    full = np.concatenate([pose[:, :3], np.zeros_like(pose[:, :3]), pose[:, 3:], data["eye_pose_params"]], axis=1)
    posed = head.imavatar(data["expression_params"], full)
    close(posed.vertices, data["imavatar_vertices"])
    close(head.landmarks2d(posed.vertices, full), data["imavatar_landmarks2d"])
    close(head.landmarks3d(posed.vertices), data["imavatar_landmarks3d"])
    masks = {key.removeprefix("mask_"): value for key, value in data.items() if key.startswith("mask_")}
    assert set(head.masks) == set(masks)
    for name, value in masks.items():
        np.testing.assert_array_equal(head.masks[name], value)


def test_pt_end_to_end(loader):
    data = loader.expected
    head = FlameModel.load(loader.folder / "FLAME_with_eye.pt", basis="flame2020")
    check_loaded(head, data)
    parameters = [data[f"{n}_params"] for n in ("shape", "expression", "pose", "eye_pose")]
    close(head.artalk(*parameters), data["artalk_vertices"])
    assert head.landmarks.full70.faces.shape == (70,) and head.landmarks.mediapipe105.faces.shape == (105,)


def test_landmark_files(loader):
    marks = flame_files.read_landmarks(loader.folder / "landmark_embedding.npy")
    for name, key in (("static51", "static_lmk"), ("contour", "dynamic_lmk"), ("full68", "full_lmk")):
        embedding = getattr(marks, name)
        expected = loader.expected[f"lmk_{key}_faces_idx"]
        np.testing.assert_array_equal(embedding.faces, expected.reshape(embedding.faces.shape))
        weights = loader.expected[f"lmk_{key}_bary_coords"].reshape(embedding.bary.shape)
        np.testing.assert_array_equal(embedding.bary, weights.astype(np.float32))
    dense = flame_files.read_landmarks(loader.folder / "mediapipe_landmark_embedding.npz")
    assert dense.mediapipe105.bary.shape == (105, 3) and dense.mediapipe_ids.shape == (105,)


@pytest.mark.reference_files("flame/loader/malicious_*")
def test_malicious_files_are_refused(reference_file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for read in (FlameModel.load, flame_files.read_landmarks, flame_files.read_masks, flame_files.read_eyelid):
        with pytest.raises(MarotteError):
            read(reference_file)
    assert not (tmp_path / "talkie_pickle_marker.txt").exists()
