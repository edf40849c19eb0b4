"""What a transfer is found with: warps, closest points, landmarks, weights within bounds."""

from dataclasses import replace

import numpy as np
import pytest

from marotte.errors import MarotteError
from marotte.models.flame import FlameModel
from marotte.models.flame_landmarks import Embedding, Landmarks
from marotte.models.rotations import rotvec_to_matrix
from marotte.runtime.avatar import SHIPPED
from marotte.runtime.transfer import transfer as transfers
from marotte.runtime.transfer.correspondence import correspond
from marotte.runtime.transfer.landmarks import face_marks
from marotte.runtime.transfer.regions import WEIGHTS, regions
from marotte.runtime.transfer.surface import Skin, skin
from marotte.runtime.transfer.transfer import Bounds
from marotte.runtime.transfer.warp import similarity, warp

RANDOM = np.random.default_rng(0)


@pytest.fixture(scope="module")
def demo():
    return FlameModel.load(SHIPPED / "demo" / "head.npz")


def test_a_similarity_is_found_again():
    points = RANDOM.normal(size=(20, 3))
    R = rotvec_to_matrix(np.array([0.3, -0.2, 0.5]))
    fit = similarity(points, 1.7 * points @ R.T + (1, 2, 3))
    assert fit.scale == pytest.approx(1.7) and np.allclose(fit.R, R) and fit.rms < 1e-8
    assert np.allclose(fit(points), 1.7 * points @ R.T + (1, 2, 3))


def test_a_warp_meets_its_points_and_is_a_similarity_where_one_will_do():
    points, loose = RANDOM.normal(size=(30, 3)), np.zeros(30, bool)
    bent = points + 0.1 * np.sin(points)
    assert np.abs(warp(points, bent, loose)(points) - bent).max() < 2e-3
    moved = warp(points, 2 * points + 1, loose)
    others = RANDOM.normal(size=(4, 5, 3))
    assert np.allclose(moved(others), 2 * others + 1)


def test_a_loose_point_pulls_less_and_touching_points_do_not_fold():
    points, loose = RANDOM.normal(size=(30, 3)), np.arange(30) == 0
    astray = points.copy()
    astray[0] += 0.3
    pulled = [np.abs(warp(points, astray, free)(points)[0] - points[0]).max() for free in (loose, 0 * loose > 0)]
    assert pulled[0] < 0.8 * pulled[1]
    apart = np.array([[0, 1e-3, 0]])
    lips, crossed = np.concatenate([points, points[:1] + apart]), np.concatenate([points, points[:1] - apart])
    step = np.array([[0, 0.05, 0]])
    moved = warp(lips, crossed, np.zeros(31, bool))
    assert np.allclose(moved(points[:1] + step) - moved(points[:1]), step, atol=0.01)


def test_the_closest_point_is_the_closest_of_all():
    corners = RANDOM.normal(size=(12, 3, 3))
    vertices, faces = corners.reshape(-1, 3), np.arange(36).reshape(12, 3)
    points = RANDOM.normal(size=(40, 3)) * 1.5
    _, apart, _ = Skin(vertices, faces, np.arange(12), np.zeros_like(vertices)).closest(points, np.zeros_like(points))
    share = RANDOM.dirichlet((1, 1, 1), 20000)
    dense = np.einsum("sc,fcx->sfx", share, corners).reshape(-1, 3)
    brute = np.array([np.linalg.norm(dense - point, axis=1).min() for point in points])
    assert (apart < brute + 1e-9).all() and (apart > brute - 0.1).all()


def test_normals_keep_the_sides_of_a_sheet_apart():
    square = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], float)
    sheets = np.concatenate([square, square[::-1] + np.array([0, 0, 0.02])])
    faces = np.array([[0, 1, 2], [0, 2, 3], [4, 5, 6], [4, 6, 7]] * 3)
    both = Skin(sheets, faces, np.arange(12), np.zeros_like(sheets))
    point = np.array([[0.5, 0.4, 0.02]])
    up, _, cosine = both.closest(point, np.array([[0, 0, 1.0]]))
    assert up.faces[0] % 4 < 2 and cosine[0] == pytest.approx(1)
    assert both.closest(point, np.array([[0, 0, -1.0]]))[0].faces[0] % 4 >= 2


def test_the_skin_is_without_eyes_teeth_tongue_and_lashes(demo):
    used = np.unique(skin(demo).faces)
    for name in ("left_eyeball", "right_eyeball", "teeth_upper", "teeth_lower", "tongue", "lashes"):
        assert not np.isin(demo.masks[name], used).any()
    assert np.isin(demo.masks["lips"], used).all() and np.isin(demo.masks["lids_left"], used).mean() > 0.7


def test_regions_are_where_the_masks_are(demo):
    points = face_marks(demo).points(demo.v_template, demo.faces)
    found = regions(demo.v_template.astype(np.float64), points)
    assert set(found) == set(WEIGHTS)
    everywhere = np.concatenate(list(found.values()))
    assert len(np.unique(everywhere)) == len(everywhere)
    assert np.isin(demo.masks["lips"], found["lips"]).mean() > 0.95
    for brow in ("brow_left", "brow_right"):
        assert np.isin(demo.masks[brow], found["brows"]).mean() > 0.8
    assert not np.isin(demo.masks["neck"], everywhere).any()


def test_landmarks_that_the_face_hides_are_left_out(demo):
    marks = demo.landmarks.full68
    deep = int(np.flatnonzero(np.isin(demo.faces, demo.masks["teeth_lower"]).all(axis=1))[0])
    faces = np.array(marks.faces)
    faces[50] = deep
    seen = face_marks(replace(demo, landmarks=Landmarks(full68=Embedding(faces, marks.bary)))).numbers
    assert 50 not in seen and {48, 51, 62, 66} <= set(seen.tolist())
    faces[62] = deep
    with pytest.raises(MarotteError, match="62 of the arkit52 head are not on its face"):
        face_marks(replace(demo, landmarks=Landmarks(full68=Embedding(faces, marks.bary))))


@pytest.mark.parametrize("kind", ["static51", "full70", "mediapipe105"])
def test_every_embedding_gives_the_same_points(demo, kind):
    marks = demo.landmarks.full68
    whole = face_marks(demo)
    if kind == "static51":
        other = Landmarks(static51=Embedding(marks.faces[17:], marks.bary[17:]))
    elif kind == "full70":
        faces, bary = (np.concatenate([a, a[:2]]) for a in (marks.faces, marks.bary))
        other = Landmarks(full70=Embedding(faces, bary))
    else:
        from marotte.runtime.transfer.landmarks import _MEDIAPIPE

        order = RANDOM.permutation(51)
        ids = np.concatenate([np.array(_MEDIAPIPE)[order], 400 + np.arange(54)])
        rows = np.concatenate([17 + order, np.zeros(54, int)])
        other = Landmarks(mediapipe105=Embedding(marks.faces[rows], marks.bary[rows]), mediapipe_ids=ids)
    found = face_marks(replace(demo, landmarks=other))
    before, after = (m.points(demo.v_template, demo.faces) for m in (whole, found))
    assert {n for n in before if n >= 17} == {n for n in after if n >= 17}
    assert all(np.array_equal(before[n], after[n]) for n in after)


def test_a_jaw_that_opens_no_mouth_is_left_alone(demo):
    weights = demo.skinning_weights.copy()
    weights[:, 1] += weights[:, 2]
    weights[:, 2] = 0
    stiff = replace(demo, skinning_weights=weights, pose_dirs=np.zeros_like(demo.pose_dirs))
    flipped = replace(stiff, faces=stiff.faces[::-1].copy(), landmarks=_renumbered(demo))
    pairs = correspond(demo, flipped)
    assert pairs.jaw_gain == 1 and not pairs.exact


def test_refinement_finds_the_best_weights_in_bounds(monkeypatch):
    from scipy.optimize import lsq_linear

    have, want = RANDOM.normal(size=(40, 8)), RANDOM.normal(size=(40, 5))
    gram, mixed = have.T @ have, have.T @ want
    scale = 1 / np.sqrt(np.diag(gram))
    scaled = gram * np.outer(scale, scale)
    bounds = Bounds(scaled, mixed * scale[:, None], scale, 1 / np.linalg.eigvalsh(scaled)[-1])
    unit = RANDOM.normal(size=5) * 3
    free = np.array([0.0] * 5 + [-np.inf] * 3), np.array([1.0] * 5 + [np.inf] * 3)
    best = lsq_linear(have, want @ unit, free, tol=1e-12).x
    start = np.clip(np.linalg.solve(gram, mixed @ unit), *free)
    monkeypatch.setattr(transfers, "_STEPS", 400)
    assert np.allclose(bounds.refined(start, unit), best, atol=1e-4)


def _renumbered(model):
    marks = model.landmarks.full68
    return Landmarks(full68=Embedding(len(model.faces) - 1 - np.asarray(marks.faces), marks.bary))
