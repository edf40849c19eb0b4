"""The shipped demo head: FLAME's schema, ARKit's actions, and a face that moves as a face does."""

from importlib.resources import files
from itertools import pairwise

import numpy as np
import pytest
from scipy.spatial import cKDTree

HEAD = files("marotte.runtime") / "data/avatars/demo/head.npz"
PARENTS = [-1, 0, 1, 1, 1]
MASKS = (
    "lips lips_upper lips_lower lids_left lids_right brow_left brow_right left_ear right_ear left_eyeball "
    "right_eyeball teeth_upper teeth_lower tongue lashes mouth_inside scalp neck face shoulders"
).split()


@pytest.fixture(scope="module")
def head():
    with HEAD.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
        return dict(archive)


def matrix(vector):
    angle = np.linalg.norm(vector)
    if angle == 0:
        return np.eye(3)
    x, y, z = np.asarray(vector) / angle
    k = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * k + (1 - np.cos(angle)) * k @ k


def regressor(head):
    dense = np.zeros((5, len(head["v_template"])))
    dense[head["joint_regressor_rows"], head["joint_regressor_cols"]] = head["joint_regressor_values"]
    return dense


def field(head, name):
    slot = head["expression_names"].tolist().index(name)
    return head["expression_dirs"][..., head["expression_slots"].tolist().index(slot)].astype(float)


def posed(head, actions=None, jaw=(0, 0, 0), neck=(0, 0, 0), root=(0, 0, 0)):
    """FLAME's computation, written out."""
    points = head["v_template"].astype(float)
    for name, weight in (actions or {}).items():
        points = points + weight * field(head, name)
    joints = regressor(head) @ points
    turns = [matrix(root), matrix(neck), matrix(jaw), np.eye(3), np.eye(3)]
    points = points + head["pose_dirs"].astype(float) @ np.concatenate([(r - np.eye(3)).ravel() for r in turns[1:]])
    linear, origin = [turns[0]], [joints[0]]
    for i in range(1, 5):
        parent = PARENTS[i]
        linear.append(linear[parent] @ turns[i])
        origin.append(origin[parent] + linear[parent] @ (joints[i] - joints[parent]))
    result = np.zeros_like(points)
    for i in range(5):
        result += head["skinning_weights"][:, i, None] * ((points - joints[i]) @ linear[i].T + origin[i])
    return result


def landmarks(head, points=None):
    points = head["v_template"] if points is None else points
    return (points[head["faces"][head["lmk68_faces"]]] * head["lmk68_bary"][..., None]).sum(1)


def front_parts(head, points, places):
    """Per place (x, y): whether the front-most triangle there is an eyeball's."""
    eyes = np.isin(np.arange(len(points)), np.concatenate([head["mask_left_eyeball"], head["mask_right_eyeball"]]))
    corners = points[head["faces"]]
    low, high = places.min(0), places.max(0)
    near = ((corners[:, :, :2].max(1) >= low) & (corners[:, :, :2].min(1) <= high)).all(1) & (corners[:, 0, 2] > 0.05)
    (ax, ay), (bx, by), (cx, cy) = (corners[near, i, :2].T for i in range(3))
    x, y = places[:, :1], places[:, 1:]
    area = (bx - ax) * (cy - ay) - (cx - ax) * (by - ay)
    area = np.where(np.abs(area) < 1e-14, np.nan, area)
    u = ((bx - x) * (cy - y) - (cx - x) * (by - y)) / area
    v = ((cx - x) * (ay - y) - (ax - x) * (cy - y)) / area
    inside = (u >= 0) & (v >= 0) & (u + v <= 1)
    depth = u * corners[near, 0, 2] + v * corners[near, 1, 2] + (1 - u - v) * corners[near, 2, 2]
    front = np.argmax(np.where(inside, depth, -np.inf), axis=1)
    return eyes[head["faces"][near][front, 0]]


def test_the_file_is_small_and_whole(head):
    assert len(HEAD.read_bytes()) < 2_500_000
    assert str(head["format"]) == "marotte-head-1" and str(head["basis"]) == "arkit52"
    vertices, triangles = len(head["v_template"]), len(head["faces"])
    assert vertices <= 14_500 and triangles <= 28_000
    slots = len(head["expression_slots"])
    shapes = {
        "v_template": (vertices, 3),
        "faces": (triangles, 3),
        "shape_dirs": (vertices, 3, len(head["shape_names"])),
        "expression_dirs": (vertices, 3, slots),
        "pose_dirs": (vertices, 3, 36),
        "skinning_weights": (vertices, 5),
        "parents": (5,),
        "expression_names": (52,),
        "lmk68_faces": (68,),
        "lmk68_bary": (68, 3),
        "render_albedo": (vertices, 3),
        "render_occlusion": (vertices,),
        "render_hair": (vertices,),
        "render_materials": (triangles,),
        "render_eye_local": (vertices, 3),
        "render_eye_look": (8, 3),
    }
    assert {name: head[name].shape for name in shapes} == shapes
    for name, values in head.items():
        if values.dtype.kind == "f":
            assert np.isfinite(values).all(), name
    assert np.array_equal(np.unique(head["faces"]), np.arange(vertices))
    assert head["render_materials"].max() < len(head["render_material_names"])
    assert head["parents"].tolist() == PARENTS
    assert int(head["n_expression"]) == 100


def test_every_mask_names_vertices(head):
    for name in MASKS:
        mask = head[f"mask_{name}"]
        assert len(mask) and mask.max() < len(head["v_template"]), name


def test_jaw_actions_have_no_slot(head):
    names = head["expression_names"].tolist()
    stored = {names[slot] for slot in head["expression_slots"]}
    assert set(names) - stored == {"jawOpen", "jawLeft", "jawRight"}
    assert (np.abs(head["expression_dirs"].astype(float)).max((0, 1)) > 1e-4).all()


def test_weights_and_regressor_are_convex(head):
    weights = head["skinning_weights"].astype(np.float32)
    assert (weights >= 0).all() and (weights.sum(1) == 1).all()
    dense = regressor(head)
    assert (dense >= 0).all() and np.allclose(dense.sum(1), 1, atol=1e-5)


def test_joints_lie_where_flame_has_them(head):
    joints = regressor(head) @ head["v_template"]
    assert np.allclose(joints[:3, 0], 0, atol=1e-4)
    assert joints[0, 1] < joints[1, 1] < joints[3, 1]
    for joint, name in ((3, "left_eyeball"), (4, "right_eyeball")):
        ball = head["v_template"][head[f"mask_{name}"]]
        distance = np.linalg.norm(ball - joints[joint], axis=1)
        assert np.allclose(distance, head["render_eye_radius"], atol=1e-4)
    assert joints[3, 0] > 0.02 > -0.02 > joints[4, 0]
    assert 0 < joints[2, 2] < joints[3, 2]
    expressive = regressor(head) @ field(head, "mouthSmileLeft")
    assert np.abs(expressive).max() < 2e-4


def test_the_template_poses_to_itself(head):
    assert np.abs(posed(head) - head["v_template"]).max() < 1e-6


def test_the_jaw_opens_downward_and_to_its_sides(head):
    rest = landmarks(head)
    opened = landmarks(head, posed(head, jaw=head["render_jaw_open"]))
    assert head["render_jaw_open"][0] > 0
    assert opened[8, 1] < rest[8, 1] - 0.015
    assert np.abs(opened[27:31] - rest[27:31]).max() < 2e-3
    assert (opened[62] - opened[66])[1] > 0.02 > 0.003 > (rest[62] - rest[66])[1]
    assert landmarks(head, posed(head, jaw=head["render_jaw_left"]))[8, 0] > 0.004
    assert landmarks(head, posed(head, jaw=head["render_jaw_right"]))[8, 0] < -0.004


def test_mouth_close_undoes_the_open_jaw(head):
    rest = landmarks(head)
    for weight in (0.3, 0.6):
        pose = landmarks(head, posed(head, {"mouthClose": weight}, jaw=weight * head["render_jaw_open"]))
        assert pose[62, 1] - pose[66, 1] < rest[62, 1] - rest[66, 1] + 0.002


def test_the_neck_turns_the_head_but_not_the_shoulders(head):
    turned = posed(head, neck=(0, 0.5, 0))
    moved = np.linalg.norm(turned - head["v_template"], axis=1)
    assert moved[head["mask_shoulders"]].max() < 0.002
    assert moved[head["mask_lips"]].min() > 0.02
    rooted = posed(head, root=(0, 0.5, 0))
    edges = head["faces"][:, :2]
    before, after = (np.linalg.norm(p[edges[:, 0]] - p[edges[:, 1]], axis=1) for p in (head["v_template"], rooted))
    assert np.allclose(before, after, atol=1e-6)


@pytest.mark.parametrize("name", ["eyeBlink", "mouthSmile", "mouthFrown", "browDown", "browOuterUp", "noseSneer"])
def test_left_and_right_mirror_each_other(head, name):
    points = head["v_template"][head["mask_face"]].astype(float)
    distance, twin = cKDTree(points).query(points * [-1, 1, 1])
    close = distance < 0.0005
    assert close.mean() > 0.9
    left, right = (field(head, name + side)[head["mask_face"]] for side in ("Left", "Right"))
    error = np.abs(left * [-1, 1, 1] - right[twin])[close]
    assert error.max() < 0.001 and np.median(error) < 1e-4
    assert np.abs(left[points[:, 0] > 0.01]).max() > 3 * np.abs(left[points[:, 0] < -0.01]).max()


def test_a_blink_covers_the_eyes(head):
    rest = landmarks(head)
    for ring, name in ((slice(36, 42), "right"), (slice(42, 48), "left")):
        centre, reach = rest[ring, :2].mean(0), np.ptp(rest[ring, :2], axis=0)
        grid = np.stack(np.meshgrid(np.linspace(-0.45, 0.45, 25), np.linspace(-0.6, 0.8, 25)), axis=2).reshape(-1, 2)
        places = centre + grid * reach
        action = f"eyeBlink{name.title()}"
        shown = [front_parts(head, posed(head, {action: w}), places).mean() for w in (0.0, 0.25, 0.5, 0.75, 1.0)]
        assert shown[0] > 0.4
        assert shown[4] == 0
        assert all(a > b for a, b in pairwise(shown))


def test_landmarks_are_in_ibug_order(head):
    points = landmarks(head)
    assert np.allclose(head["lmk68_bary"].sum(1), 1, atol=1e-5)
    assert (np.diff(points[:17, 0]) > 0).all() and points[8, 1] == points[:17, 1].min()
    for ring in (slice(17, 22), slice(22, 27), slice(31, 36), slice(48, 55), slice(60, 65)):
        assert (np.diff(points[ring, 0]) > 0).all()
    assert (points[36:42, 0] < 0).all() and (points[42:48, 0] > 0).all()
    assert (np.diff(points[27:31, 1]) < 0).all() and points[30, 2] == points[:, 2].max()
    for outer, inner, top, bottom in ((36, 39, (37, 38), (40, 41)), (42, 45, (43, 44), (46, 47))):
        assert points[outer, 0] < points[inner, 0]
        assert points[list(top), 1].min() > points[list(bottom), 1].max()
    assert points[[50, 51, 52], 1].min() > points[[61, 62, 63], 1].max()
    assert points[[65, 66, 67], 1].min() > points[[56, 57, 58], 1].max()
    assert points[17:27, 1].min() > points[36:48, 1].max()


def test_eye_coordinates_are_of_unit_length_on_the_eyeballs_alone(head):
    length = np.linalg.norm(head["render_eye_local"].astype(float), axis=1)
    balls = np.zeros(len(length), bool)
    balls[head["mask_left_eyeball"]] = balls[head["mask_right_eyeball"]] = True
    assert np.allclose(length[balls], 1, atol=2e-3) and not length[~balls].any()


def test_identity_axes_are_small_and_move_the_joints(head):
    steps = np.linalg.norm(head["shape_dirs"].astype(float), axis=1)
    assert len(head["shape_names"]) == len(set(head["shape_names"].tolist())) >= 6
    assert (steps.max(0) > 2e-4).all() and steps.max() < 0.04
    moved = np.einsum("jv,vks->jks", regressor(head), head["shape_dirs"].astype(float))
    assert np.abs(moved).max() > 1e-4


def test_the_jaw_means_what_arkit_motion_means():
    from marotte.runtime.arkit import JAW_LEFT, JAW_OPEN, JAW_RIGHT

    with np.load(HEAD) as head:
        for name, rotation in (("open", JAW_OPEN), ("left", JAW_LEFT), ("right", JAW_RIGHT)):
            assert head[f"render_jaw_{name}"] == pytest.approx(rotation, abs=0.005)


def test_the_avatar_describes_this_very_file():
    from marotte.runtime.avatar import load_avatar

    assert load_avatar("demo").head_path == HEAD


def test_the_eyes_landmarks_lie_on_the_lids(head):
    eyes = landmarks(head)[36:48]
    assert np.ptp(eyes[:, 2]) < 0.012, "one of them lies in the socket behind the lids"
    assert np.abs(eyes[[0, 1, 2, 3, 4, 5]] * (-1, 1, 1) - eyes[[9, 8, 7, 6, 11, 10]]).max() < 0.002
