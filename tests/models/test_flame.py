"""FLAME on a small synthetic head: what must hold whatever the numbers are."""

import dataclasses
import pickle
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marotte.errors import MarotteError
from marotte.models import flame_files, flame_numba
from marotte.models.flame import FlameModel
from marotte.models.flame_landmarks import Embedding, Landmarks, contour_rows
from marotte.models.flame_numba import HeadEvaluator
from marotte.models.rotations import matrix_to_sixd, rotvec_to_matrix


def make_head(vertices=300, identity=7, expressions=20, seed=0):
    """A head whose odd expression columns, first pose features and many weights are zero."""
    rng = np.random.default_rng(seed)

    def normal(*shape, scale=0.05):
        return (scale * rng.normal(size=shape)).astype(np.float32)

    faces = rng.integers(0, vertices, (2 * vertices, 3)).astype(np.int32)

    def embedding(*shape):
        weights = rng.random((*shape, 3)).astype(np.float32)
        return Embedding(rng.integers(0, len(faces), shape).astype(np.int32), weights / weights.sum(-1, keepdims=True))

    expression, pose = normal(vertices, 3, expressions), normal(vertices, 3, 36, scale=0.01)
    expression[..., 1::2] = 0
    pose[..., :9] = 0
    weights = rng.random((vertices, 5)).astype(np.float32) * (rng.random((vertices, 5)) < 0.5)
    weights[:, 1] += 0.1
    regressor = rng.random((5, vertices)).astype(np.float32) * (rng.random((5, vertices)) < 0.1)
    regressor[:, 0] += 0.01
    marks = Landmarks(
        static51=embedding(51),
        contour=embedding(79, 17),
        full68=embedding(68),
        full70=embedding(70),
        mediapipe105=embedding(105),
        mediapipe_ids=np.arange(105, dtype=np.int32),
    )
    return FlameModel(
        v_template=normal(vertices, 3, scale=0.1),
        faces=faces,
        shape_dirs=normal(vertices, 3, identity),
        expression_dirs=expression,
        pose_dirs=pose,
        joint_regressor=(regressor / regressor.sum(1, keepdims=True)).astype(np.float32),
        skinning_weights=(weights / weights.sum(1, keepdims=True)).astype(np.float32),
        parents=(-1, 0, 1, 1, 1),
        basis="arkit52",
        landmarks=marks,
        masks={"lips": np.arange(5, dtype=np.int32)},
        eyelid_fields=(normal(vertices, 3, scale=0.01), normal(vertices, 3, scale=0.01)),
        render={"colour": np.arange(6.0, dtype=np.float32).reshape(2, 3)},
    )


HEAD = make_head()


def inputs(frames, seed=1, head=HEAD):
    rng = np.random.default_rng(seed)
    return {
        "expression": rng.normal(size=(frames, head.expression_dirs.shape[-1])).astype(np.float32),
        "full_pose": (0.4 * rng.normal(size=(frames, 15))).astype(np.float32),
    }


def twin(head, expression, full_pose, shape=None):
    return head.posed(rotvec_to_matrix(full_pose.reshape(-1, 5, 3)), shape, expression).vertices


def test_at_rest_the_head_is_its_template():
    rest = HEAD.imavatar(np.zeros((2, 20), np.float32), np.zeros((2, 15), np.float32))
    np.testing.assert_allclose(rest.vertices, np.stack([HEAD.v_template] * 2), rtol=0, atol=1e-7)
    np.testing.assert_array_equal(rest.pose_feature, 0)


def test_the_root_turns_about_joint_0():
    expression, pose = np.zeros((1, 20), np.float32), np.zeros((1, 15), np.float32)
    pose[0, :3] = 0.3, -1, 0.5
    posed = HEAD.imavatar(expression, pose)
    joint = (HEAD.joint_regressor @ HEAD.v_template)[0]
    turned = (HEAD.v_template - joint) @ rotvec_to_matrix(pose[0, :3]).T + joint
    np.testing.assert_allclose(posed.vertices[0], turned, rtol=0, atol=1e-6)


def test_variants_agree_where_they_say_the_same():
    given_, rng = inputs(3), np.random.default_rng(3)
    shape = rng.normal(size=(3, 7)).astype(np.float32)
    pose = given_["full_pose"]
    pose[:, 3:6] = 0
    a = HEAD.artalk(shape, given_["expression"], np.concatenate([pose[:, :3], pose[:, 6:9]], 1), pose[:, 9:])
    sixd = matrix_to_sixd(rotvec_to_matrix(pose.reshape(3, 5, 3)))
    t = HEAD.tracker(
        shape,
        np.eye(3, dtype=np.float32)[None],
        root=sixd[:, 0],
        jaw=sixd[:, 2],
        eyes=sixd[:, 3:].reshape(3, 12),
        expression=given_["expression"],
    )
    np.testing.assert_allclose(t.vertices, a, rtol=0, atol=1e-6)
    np.testing.assert_allclose(t.landmarks105, HEAD.dense105(a), rtol=0, atol=1e-6)
    for i in range(3):
        baked = HEAD.baked(shape[i], 4).imavatar(given_["expression"][i : i + 1], pose[i : i + 1])
        np.testing.assert_allclose(baked.vertices[0], 4 * a[i], rtol=0, atol=4e-6)


def test_lids_do_not_turn_with_the_head():
    shape, lids = np.zeros((1, 7), np.float32), np.array([[1, 0.5]], np.float32)
    root = matrix_to_sixd(rotvec_to_matrix(np.array([[0, 1, 0]], np.float32)))
    camera = np.eye(3, dtype=np.float32)[None]
    moved = np.array([[1, 2, 3]], np.float32)
    still = HEAD.tracker(shape, camera, root=root)
    shut = HEAD.tracker(shape, camera, root=root, eyelids=lids, translation=moved)
    left, right = HEAD.eyelid_fields
    np.testing.assert_allclose(shut.vertices - still.vertices - moved, [left + 0.5 * right], rtol=0, atol=1e-6)


def test_contour_rows_over_the_whole_turn():
    degrees = np.array([0, 0.6, 39.4, 60, -0.4, -1.2, -38.8, -39.2, -40, -80])
    pose = np.zeros((len(degrees), 15))
    pose[:, 1] = np.radians(degrees)
    assert contour_rows(pose).tolist() == [0, 1, 39, 39, 0, 40, 78, 78, 78, 78]


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 5), st.integers(1, 700), st.sampled_from([1.0, 4.0]), st.booleans(), st.integers(0, 99))
def test_the_fast_form_agrees_with_its_twin(frames, vertices, scale, lids_too, seed):
    # Vertex counts on both sides of a block of 256. Tolerance: float32 sums in another order.
    head = make_head(max(vertices, 50), seed=seed)
    given_, rng = inputs(frames, seed), np.random.default_rng(seed)
    shape = rng.normal(size=7).astype(np.float32)
    lids = rng.random((frames, 2)).astype(np.float32) if lids_too else None
    moved = rng.normal(size=(frames, 3)).astype(np.float32) if lids_too else None
    got = HeadEvaluator(head, shape, scale).vertices(**given_, eyelids=lids, translation=moved)
    expected = twin(head, **given_, shape=shape)
    if lids_too:
        fields = np.stack(head.eyelid_fields)
        expected = expected + np.einsum("ts,svc->tvc", lids, fields) + moved[:, None]
    assert got.dtype == np.float32 and got.shape == (frames, len(head.v_template), 3)
    np.testing.assert_allclose(got, scale * expected, rtol=0, atol=1e-5)


def test_the_fast_form_in_parts_threads_and_with_few_coefficients():
    evaluator, given_ = HeadEvaluator(HEAD), inputs(6)
    whole = evaluator.vertices(**given_)
    for i in range(6):
        one = evaluator.vertices(given_["expression"][i : i + 1], given_["full_pose"][i : i + 1])
        np.testing.assert_allclose(one[0], whole[i], rtol=0, atol=1e-6)
    results = [None] * 4
    threads = [
        threading.Thread(target=lambda i=i: results.__setitem__(i, evaluator.vertices(**given_))) for i in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for result in results:
        np.testing.assert_array_equal(result, whole)
    few = evaluator.vertices(given_["expression"][:, :5], given_["full_pose"])
    np.testing.assert_allclose(few, twin(HEAD, given_["expression"][:, :5], given_["full_pose"]), rtol=0, atol=1e-5)


def test_other_arrays_compile_nothing():
    evaluator, given_ = HeadEvaluator(HEAD), inputs(6)
    expected = evaluator.vertices(**given_)
    kernels = flame_numba._pose, flame_numba._evaluate
    before = [len(kernel.signatures) for kernel in kernels]
    fixed = {name: array.copy() for name, array in given_.items()}
    for array in fixed.values():
        array.flags.writeable = False
    for change in (lambda a: a, np.asfortranarray, lambda a: a.astype(np.float64), lambda a: a[::-1][::-1]):
        given_ = {name: change(array) for name, array in fixed.items()}
        np.testing.assert_array_equal(evaluator.vertices(**given_), expected)
    bare = dataclasses.replace(HEAD, eyelid_fields=None)
    HeadEvaluator(bare).vertices(**fixed, translation=np.zeros((6, 3)))
    assert [len(kernel.signatures) for kernel in kernels] == before


def test_a_head_that_nothing_moves():
    head = dataclasses.replace(
        HEAD, expression_dirs=np.zeros_like(HEAD.expression_dirs), pose_dirs=np.zeros_like(HEAD.pose_dirs)
    )
    given_ = inputs(2)
    np.testing.assert_allclose(HeadEvaluator(head).vertices(**given_), twin(head, **given_), rtol=0, atol=1e-5)


def test_the_fast_form_says_what_does_not_fit():
    given_ = inputs(2)
    bare = dataclasses.replace(HEAD, eyelid_fields=None)
    HeadEvaluator(bare).vertices(**given_, eyelids=np.zeros((2, 2)))
    for head, change, words in (
        (bare, {"eyelids": np.ones((2, 2))}, "no eyelid fields"),
        (HEAD, {"full_pose": np.zeros((3, 15))}, r"full_pose has shape \[3, 15\]"),
        (HEAD, {"expression": np.zeros((2, 21))}, "21 expression"),
        (HEAD, {"translation": np.zeros(3)}, "translation"),
    ):
        with pytest.raises(MarotteError, match=words):
            HeadEvaluator(head).vertices(**{**given_, **change})


def test_save_and_load(tmp_path):
    HEAD.save(tmp_path / "head.npz")
    read = FlameModel.load(tmp_path / "head.npz")
    assert [p.name for p in tmp_path.iterdir()] == ["head.npz"]
    assert read.basis == "arkit52" and read.parents == HEAD.parents
    for name in ("v_template", "faces", "joint_regressor", "skinning_weights"):
        np.testing.assert_array_equal(getattr(read, name), getattr(HEAD, name))
        assert getattr(read, name).dtype == getattr(HEAD, name).dtype
    for name in ("shape_dirs", "expression_dirs", "pose_dirs"):  # float16 in the file
        np.testing.assert_allclose(getattr(read, name), getattr(HEAD, name), rtol=5e-4, atol=1e-7)
    assert read.expression_dirs.shape == HEAD.expression_dirs.shape
    for name in ("static51", "contour", "full68", "full70", "mediapipe105"):
        np.testing.assert_array_equal(getattr(read.landmarks, name).faces, getattr(HEAD.landmarks, name).faces)
        np.testing.assert_array_equal(getattr(read.landmarks, name).bary, getattr(HEAD.landmarks, name).bary)
    np.testing.assert_array_equal(read.landmarks.mediapipe_ids, np.arange(105))
    np.testing.assert_array_equal(read.masks["lips"], HEAD.masks["lips"])
    np.testing.assert_array_equal(read.eyelid_fields, HEAD.eyelid_fields)
    np.testing.assert_array_equal(read.render["colour"], HEAD.render["colour"])
    assert FlameModel.load(tmp_path / "head.npz", basis="flame2023").basis == "flame2023"


def stored(tmp_path, **changes):
    """Our own format with keys changed, or (None) left out."""
    HEAD.save(tmp_path / "head.npz")
    with np.load(tmp_path / "head.npz") as archive:
        arrays = {k: v for k, v in {**archive, **changes}.items() if v is not None}
    np.savez_compressed(tmp_path / "changed.npz", **arrays)
    return tmp_path / "changed.npz"


def test_whole_numbers_with_a_scale_and_a_dense_regressor(tmp_path):
    steps = np.float32(0.3 / 32767)
    path = stored(
        tmp_path,
        shape_dirs=np.round(HEAD.shape_dirs / steps).astype(np.int16),
        shape_dirs_scale=np.full(7, steps),
        joint_regressor=HEAD.joint_regressor,
        joint_regressor_rows=None,
        eyelid_left=None,
    )
    read = FlameModel.load(path)
    np.testing.assert_allclose(read.shape_dirs, HEAD.shape_dirs, rtol=0, atol=steps)
    np.testing.assert_array_equal(read.joint_regressor, HEAD.joint_regressor)
    assert read.eyelid_fields is None


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"format": np.array("marotte-head-9")}, "marotte-head-9"),
        ({"pose_dirs": None}, "lacks 'pose_dirs'"),
        ({"pose_dirs": np.zeros((300, 3, 9))}, r"'pose_dirs' of shape \[300, 3, 9\]"),
        ({"v_template": np.full((300, 3), np.nan)}, "not finite"),
        ({"expression_slots": np.zeros(10, np.int32)}, "expression_slots"),
        ({"n_expression": np.array(10**9)}, "n_expression"),
        ({"faces": np.full((1, 3), 300)}, "faces names 300 to 300, but there are 300 vertices"),
        ({"lmk68_faces": np.full(68, 600)}, "landmarks 'full68' names 600"),
        ({"mask_lips": np.array([-1])}, "mask_lips"),
        ({"parents": np.array([-1, 0, 1, 7, 1])}, "parents"),
        ({"joint_regressor_rows": np.full(3, 9)}, "joint_regressor_rows"),
        ({"shape_dirs": np.zeros((300, 3, 7), np.int8)}, "shape_dirs_scale"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path, changes, words):
    with pytest.raises(MarotteError, match=words):
        FlameModel.load(stored(tmp_path, **changes))


def published(**changes):
    rng = np.random.default_rng(0)
    content = {
        "v_template": rng.normal(size=(9, 3)),
        "f": np.arange(9, dtype=np.uint32).reshape(3, 3),
        "shapedirs": rng.normal(size=(9, 3, 400)),
        "posedirs": rng.normal(size=(9, 3, 36)),
        "J_regressor": rng.random((5, 9)),
        "weights": rng.random((9, 5)),
        "kintree_table": np.array([[2**32 - 1, 0, 1, 1, 1], [0, 1, 2, 3, 4]], np.uint32),
    }
    return {k: v for k, v in {**content, **changes}.items() if v is not None}


def write_pickle(path, content):
    path.write_bytes(pickle.dumps(content, 2))
    return path


def test_the_basis_is_never_guessed_in_silence(tmp_path):
    for name, basis in (("generic_model.pkl", "flame2020"), ("flame2023_no_jaw.pkl", "flame2023")):
        path = write_pickle(tmp_path / name, published())
        with pytest.warns(UserWarning, match=basis):
            assert FlameModel.load(path).basis == basis
        assert FlameModel.load(path, basis="other").basis == "other"


def test_expression_columns_begin_at_300(tmp_path):
    content = published()
    head = FlameModel.load(write_pickle(tmp_path / "m.pkl", content), n_shape=10, n_expression=4, basis="flame2020")
    np.testing.assert_array_equal(head.shape_dirs, content["shapedirs"][..., :10].astype(np.float32))
    np.testing.assert_array_equal(head.expression_dirs, content["shapedirs"][..., 300:304].astype(np.float32))
    assert head.parents == (-1, 0, 1, 1, 1)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"weights": None}, "lacks weights"),
        ({"shapedirs": np.zeros((9, 3, 350))}, "350 shape columns, 400 are needed"),
        ({"J_regressor": np.zeros((24, 9))}, "J_regressor"),
        ({"kintree_table": np.zeros((2, 24), int)}, "kintree_table"),
        ({"f": np.full((3, 3), 9)}, "faces names 9"),
        ({"f": np.full((3, 3), -1)}, "'f'"),
        ({"posedirs": [1, 2]}, "posedirs"),
        ({"weights": np.full((9, 5), "a")}, "damaged|type"),
    ],
)
def test_what_is_not_flame_is_named(tmp_path, changes, words):
    with pytest.raises(MarotteError, match=words):
        FlameModel.load(write_pickle(tmp_path / "m.pkl", published(**changes)), basis="flame2020")


def test_more_files(tmp_path):
    head = write_pickle(tmp_path / "m.pkl", published())
    masks = write_pickle(tmp_path / "masks.pkl", {"nose": np.array([1, 2], np.uint32)})
    np.save(tmp_path / "l.npy", np.ones((9, 3)))
    dense = {"lmk_face_idx": np.zeros(105, np.uint32), "lmk_b_coords": np.full((105, 3), 1 / 3)}
    np.savez(tmp_path / "mediapipe.npz", landmark_indices=np.arange(105), **dense)
    lids = (tmp_path / "l.npy", tmp_path / "l.npy")
    read = FlameModel.load(head, basis="flame2020", masks=masks, eyelids=lids, landmarks=[tmp_path / "mediapipe.npz"])
    assert read.masks["nose"].tolist() == [1, 2] and read.eyelid_fields[0].shape == (9, 3)
    middle = read.v_template[read.faces[0]].mean(0)
    np.testing.assert_allclose(read.dense105(read.v_template[None])[0, 7], middle, rtol=0, atol=1e-6)
    with pytest.raises(MarotteError, match="no landmarks 'full70'"):
        read.lmks70(read.v_template[None])
    with pytest.raises(MarotteError, match="own topology"):
        HEAD.lmks70_reselected(HEAD.v_template[None])
    with pytest.raises(MarotteError, match="no landmark embedding"):
        flame_files.read_landmarks(masks)
    with pytest.raises(MarotteError, match="more than FLAME has"):
        FlameModel.load(head, n_shape=301, basis="flame2020")
    (tmp_path / "masks.pkl").write_bytes(masks.read_bytes().replace(b"\n", b"\r\n"))
    with pytest.raises(MarotteError, match="Windows line endings"):
        flame_files.read_masks(masks)


def test_torch_gives_the_same():
    torch = pytest.importorskip("torch", reason="torch is not installed")
    given_ = inputs(3)
    shape = np.random.default_rng(5).normal(size=(3, 7)).astype(np.float32)
    head = HEAD.like(torch.zeros(1))
    expected = HEAD.artalk(shape, given_["expression"], given_["full_pose"][:, :6], given_["full_pose"][:, 9:])
    tensors = [torch.tensor(a) for a in (shape, given_["expression"], given_["full_pose"])]
    got = head.artalk(tensors[0], tensors[1], tensors[2][:, :6], tensors[2][:, 9:])
    np.testing.assert_allclose(got.numpy(), expected, rtol=0, atol=1e-6)
    baked, posed = HEAD.baked(shape[0]), HEAD.baked(shape[0]).imavatar(given_["expression"], given_["full_pose"])
    moved = baked.like(torch.zeros(1))
    vertices = moved.imavatar(tensors[1], tensors[2]).vertices
    np.testing.assert_allclose(vertices.numpy(), posed.vertices, rtol=0, atol=1e-6)
    np.testing.assert_allclose(
        moved.landmarks2d(vertices, tensors[2]).numpy(),
        baked.landmarks2d(posed.vertices, given_["full_pose"]),
        rtol=0,
        atol=1e-6,
    )
    camera = np.eye(3, dtype=np.float32)[None]
    tracked = head.tracker(tensors[0], torch.tensor(camera), expression=tensors[1], eyelids=torch.ones(3, 2))
    plain = HEAD.tracker(shape, camera, expression=given_["expression"], eyelids=np.ones((3, 2), np.float32))
    for a, b in zip(tracked, plain, strict=True):
        np.testing.assert_allclose(a.numpy(), b, rtol=0, atol=1e-6)
