"""Cameras and similarities: heads that are to be compared are as large, and in the same place."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marotte.errors import MarotteError
from marotte.models.rotations import rotvec_to_matrix
from marotte.runtime.avatar import load_avatar
from marotte.runtime.camera import FACING, Camera, facing_camera, pinhole
from marotte.runtime.compare.views import (
    Candidate,
    Seen,
    Similarity,
    align,
    at_rest,
    candidate,
    choose_views,
    pictured,
    shown_by,
    similarities,
    similarity,
)
from marotte.runtime.contracts import FacePoints, RenderStream

scales, lengths = st.floats(0.2, 5), st.floats(-200, 200)
FACE = np.random.default_rng(0).normal(0, 40, (68, 2)) + 128


def seen(points=FACE, box=None, size=(256, 256), hair=True):
    return Seen(*size, points, None if box is None else np.array(box, float), hair)


@settings(max_examples=60, deadline=None)
@given(scales, lengths, lengths, st.booleans())
def test_what_was_done_to_a_head_is_undone(scale, x, y, by_box):
    box = np.array([60.0, 40, 180, 200])
    moved = Similarity(scale, x, y).affine
    own = seen(None, moved.apply(box.reshape(2, 2)).ravel()) if by_box else seen(moved.apply(FACE))
    how = similarity(own, seen(None, box) if by_box else seen())
    back = how.affine @ moved
    if how.applied:
        assert np.allclose(back.matrix, np.eye(3), atol=1e-6)
    else:
        assert how.affine.matrix.tolist() == np.eye(3).tolist()
        assert np.abs(moved.apply(FACE.mean(axis=0)) - FACE.mean(axis=0)).max() < 2.5 + 1.1 * by_box


@settings(max_examples=40, deadline=None)
@given(scales, lengths, lengths, st.integers(0, 2**31))
def test_no_other_similarity_brings_landmarks_closer(scale, x, y, seed):
    rng = np.random.default_rng(seed)
    own = Similarity(scale, x, y).affine.apply(FACE + rng.normal(0, 3, FACE.shape))
    how = similarity(seen(own, size=(128, 128)), seen())
    firm, target = own[17:], FACE[17:]
    least = np.square(how.affine.apply(firm) - target).sum()
    for _ in range(4):
        change = 1 + rng.normal(0, 0.02)
        other = Similarity(how.scale * change, *(np.array([how.x, how.y]) + rng.normal(0, 1, 2))).affine
        assert np.square(other.apply(firm) - target).sum() >= least - 1e-6


def test_a_head_nearly_in_place_is_left_alone():
    for shift, applied in ((0, False), (1, False), (1.9, False), (2.5, True)):
        how = similarity(seen(FACE + np.array([shift, 0])), seen())
        assert how.applied is applied, shift
        assert f"{shift:.1f} pixels" in how.words
    middle = FACE[17:].mean(axis=0)
    for factor, applied in ((1.008, False), (1.02, True)):
        how = similarity(seen((FACE - middle) * factor + middle), seen())
        assert how.applied is applied and ("0.8 %" in how.words or applied)
    # Another size is never left alone.
    assert similarity(seen(FACE, size=(128, 128)), seen()).applied


def test_boxes_count_where_landmarks_are_missing():
    points = np.full((68, 2), np.nan)
    points[:17] = FACE[:17]
    how = similarity(seen(points, (0, 0, 50, 100)), seen(FACE, (10, 10, 110, 210)))
    assert how.scale == pytest.approx(2) and "boxes" in how.words and "hair" not in how.words
    # What only one side says by its width and the other by its height is halved.
    assert similarity(seen(None, (0, 0, 50, 100)), seen(None, (0, 0, 50, 400))).scale == pytest.approx(2)
    assert "without its hair" in similarity(seen(None, (0, 0, 50, 90), hair=False), seen(None, (0, 0, 50, 100))).words


def test_of_an_unknown_head_only_the_size_is_matched():
    how = similarity(seen(None, size=(128, 64)), seen(None))
    assert (how.scale, how.x, how.y, how.applied) == (2, 0, 64, True) and "not known" in how.words
    assert not similarity(seen(None), seen(None)).applied
    assert not similarity(seen(None, (np.nan,) * 4), seen(None, (0, 0, 9, 9))).applied


def test_heads_of_no_size_or_of_another_world_are_refused():
    with pytest.raises(MarotteError, match="no size"):
        similarity(seen(None, (5, 5, 5, 9)), seen(None, (0, 0, 9, 9)))
    with pytest.raises(MarotteError, match="upside down"):
        similarity(seen(-FACE), seen())
    with pytest.raises(MarotteError, match="times as large"):
        similarity(seen(FACE / 100), seen())


def test_a_bare_mesh_finds_a_head_of_hair_by_one_that_has_both():
    talker = seen(None, (50, 20, 150, 180))
    splat = seen(FACE, (100, 40, 300, 360))
    mesh = seen(FACE, (105, 80, 295, 360), hair=False)
    first, by_hair, by_face = similarities([talker, splat, mesh])
    assert not first.applied
    assert np.allclose([by_face.scale, by_face.x, by_face.y], [by_hair.scale, by_hair.x, by_hair.y])
    assert by_face.scale == pytest.approx(0.5) and "landmarks" in by_face.words
    _, back, _ = similarities([mesh, talker, splat])
    assert back.scale == pytest.approx(2) and "without its hair" not in back.words
    # Alone with the mesh, its box is all there is.
    assert "without its hair" in similarities([talker, mesh])[1].words


def test_align_moves_what_is_there():
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (20, 30, 3), dtype=np.uint8)
    assert align(picture, Similarity(), (30, 20)) is picture
    moved = align(picture, Similarity(1, 3, -2, applied=True), (30, 20), (0, 0, 0))
    assert np.array_equal(moved[:18, 3:], picture[2:, :27]) and not moved[18:].any() and not moved[:, :3].any()
    edges = align(picture, Similarity(1, 3, -2, applied=True), (30, 20))
    assert np.array_equal(edges[:18, 3:], picture[2:, :27])
    assert np.array_equal(edges[:18, 0], picture[2:, 0]) and np.array_equal(edges[19, 3:], picture[19, :27])
    with pytest.raises(MarotteError, match="common size"):
        align(picture, Similarity(), (20, 20))
    with pytest.raises(MarotteError, match="outside"):
        align(picture, Similarity(1, 100, 0, applied=True), (30, 20))


@settings(max_examples=25, deadline=None)
@given(st.floats(0.4, 3), st.floats(-20, 20), st.floats(-20, 20))
def test_align_puts_things_where_the_map_says(scale, x, y):
    rows, columns = np.mgrid[:64, :64] + 0.5
    ramp = np.stack([2 * columns + 40, 2 * rows + 40, 0 * rows], axis=2).astype(np.uint8)
    how = Similarity(scale, x, y, applied=True)
    out = align(ramp, how, (64, 64), (0, 0, 1)).astype(float)
    v, u = np.mgrid[:64, :64] + 0.5
    at = how.affine.inverse.apply(np.stack([u, v], axis=2))
    margin = 1 + 1.5 / scale
    inside = ((at > margin) & (at < 64 - margin)).all(axis=2)
    assert np.abs(out[..., :2] - (2 * at + 40))[inside].max(initial=0) <= 2
    beyond = ((at < -margin) | (at > 64 + margin)).any(axis=2)
    assert (out[beyond] == (0, 0, 255)).all()


def test_fine_detail_is_averaged_not_sampled():
    checks = (np.indices((64, 64)).sum(axis=0) % 2 * 255).astype(np.uint8)
    out = align(np.repeat(checks[..., None], 3, axis=2), Similarity(0.25, applied=True), (16, 16))
    assert np.abs(out.astype(int) - 127).max() < 8


# Heads in space: a face, and hair above it that only some have.
SOLID = np.random.default_rng(1).normal(0, (0.04, 0.06, 0.03), (68, 3))
HAIR = np.array([[-0.09, -0.11, 0.0], [0.09, 0.16, 0.0]])


def a_head(unit=1.0, middle=(0, 0, 0), landmarks=True, hair=True):
    def look(camera: Camera) -> Seen:
        points = camera.project(SOLID * unit + middle) if landmarks else None
        corners = camera.project(HAIR * (1, 1 if hair else 0.9, 1) * unit + middle)
        box = np.concatenate([corners.min(axis=0), corners.max(axis=0)])
        return Seen(camera.width, camera.height, points, box, hair)

    return look


def fixed_camera(size=(200, 160), unit=10.0):
    turn = FACING @ rotvec_to_matrix(np.array([0.05, 0.2, -0.03]))
    return Camera(turn, np.array([0.2, -0.1, 11.0]), pinhole(700, 700, 90, 85), *size, space="video", unit=unit)


@pytest.mark.parametrize("landmarks", [True, False])
def test_free_arms_take_the_fixed_camera(landmarks):
    like = fixed_camera()
    framing = facing_camera((0.0, 0.3, 0.04), 1.2, 0.5, (512, 512))
    arms = [
        Candidate("free", framing, False, a_head(1.0, (0.02, 0.3, 0.05))),
        Candidate("fixed", like, True, a_head(10.0, (0.3, -0.2, 0.1), landmarks=landmarks)),
        Candidate("bare", framing, False, a_head(1.0, (0.02, 0.3, 0.05), hair=False)),
    ]
    views = choose_views(arms)
    assert [view.rule for view in views] == ["taken", "own", "taken"] and views[1].camera is None
    target = a_head(10.0, (0.3, -0.2, 0.1))(like)
    for view in (views[0], views[2]):
        camera = view.camera
        assert (camera.width, camera.height, camera.unit) == (200, 160, 1.0)
        assert np.array_equal(camera.R, like.R) and np.array_equal(camera.K, like.K)
        # The same heads in another unit: the camera is where the fixed one is, in heads. A flat box tells its distance
        # as well as landmarks do, if the head is one.
        assert np.abs(view.seen.points - target.points).max() < 0.05
        assert np.allclose(camera.centre - (0.02, 0.3, 0.05), (like.centre - (0.3, -0.2, 0.1)) / 10, atol=2e-3)
    assert "fixed" in views[0].words and ("landmarks" in views[0].words) is landmarks
    assert not any(each.applied for each in similarities([view.seen for view in views]))


def test_without_a_fixed_arm_framings_stay():
    camera = facing_camera((0, 0, 0), 1.2, 0.5, (64, 64))
    views = choose_views([Candidate("a", camera, False, a_head()), Candidate("b", camera, False, a_head(1.1))])
    assert [view.rule for view in views] == ["framing"] * 2 and all(view.camera is None for view in views)
    how = similarities([view.seen for view in views])[1]
    assert how.applied and how.scale < 1


def test_two_fixed_arms_keep_what_they_have():
    arms = [Candidate("a", fixed_camera(), True, a_head(10.0)), Candidate("b", fixed_camera(), True, a_head(12.0))]
    views = choose_views(arms)
    assert [view.rule for view in views] == ["own", "own"]
    assert similarities([view.seen for view in views])[1].scale == pytest.approx(1 / 1.2, rel=0.02)


def test_where_no_head_is_known_the_framing_stays():
    arms = [
        Candidate("fixed", fixed_camera(), True, lambda camera: Seen(camera.width, camera.height)),
        Candidate("free", facing_camera((0, 0, 0), 1.2, 0.5, (64, 64)), False, a_head()),
    ]
    view = choose_views(arms)[1]
    assert view.rule == "framing" and view.camera is None and "not known" in view.words


class Stream(RenderStream):
    """Knows where its head is; may have a camera of its own, of a square, and a head that moves by itself."""

    def __init__(self, size, camera=None, neutral=None):
        self.width, self.height = size
        self.camera, self.neutral = camera, neutral
        self.drives = []

    def face_points(self, drive):
        self.drives.append(drive)
        return FacePoints(np.repeat(SOLID[None], len(drive), axis=0), SOLID, 1.0, "vertices")

    def head_boxes(self, drive):
        return np.outer(drive.ticks / 1e6, np.ones(4)) + np.array([1, 2, 30, 40])


def test_a_streams_head_is_looked_at_by_its_own_camera():
    square = facing_camera((0, 0, 0), 1.2, 0.5, (64, 64))
    stream = Stream((96, 48), square)
    arm = candidate("fixed", stream, load_avatar("demo"), square)
    assert arm.fixed and (arm.camera.width, arm.camera.height) == (96, 48)
    found = arm.look(arm.camera)
    assert np.allclose(found.points, square.project(SOLID) * 0.75 + (24, 0)) and not found.hair
    assert np.allclose(found.points, arm.camera.project(SOLID))
    assert stream.drives[0].cameras == (square,) and len(stream.drives[0]) == 1
    free = candidate("free", Stream((64, 64)), load_avatar("demo-talker"), square)
    assert not free.fixed and np.allclose(free.look(square).points, square.project(SOLID))


def test_a_head_that_moves_by_itself_is_looked_at_for_a_minute():
    square = facing_camera((0, 0, 0), 1.2, 0.5, (64, 64))
    neutral = facing_camera((0.1, 0, 0), 1.2, 0.5, (64, 64))
    stream = Stream((64, 64), square, neutral)
    arm = candidate("talker", stream, load_avatar("demo-talker"), square)
    assert arm.camera is neutral
    box = arm.look(arm.camera).box
    (drive,) = stream.drives
    assert len(drive) > 10 and np.allclose(box, np.median(drive.ticks) / 1e6 + np.array([1, 2, 30, 40]))
    assert len(drive.head.expression) == len(drive) == len(drive.head.eyelids)


def test_pictures_of_another_size_show_a_cameras_image_in_their_middle():
    camera = facing_camera((0, 0, 0), 1.0, 0.5, (512, 512))
    assert shown_by(camera, 512, 512) is camera
    wide = shown_by(camera, 101, 50)
    assert wide.project(np.zeros(3)).tolist() == [50, 25]
    points = pictured(np.zeros((2, 1, 3)), [camera, camera], 50, 101)
    assert points.tolist() == [[[25, 50]], [[25, 50]]]


def test_an_avatars_own_head_at_rest():
    from marotte.renderers.mesh import MeshRenderer
    from marotte.runtime.contracts import RenderOptions

    demo = load_avatar("demo")
    camera = demo.framing("head").camera(128, 128)
    found = at_rest(MeshRenderer().open(demo, RenderOptions(128, 128)), demo, camera)
    assert found.points.shape == (68, 2) and not found.hair
    assert (found.points[17:] > found.box[:2]).all() and (found.points[17:] < found.box[2:]).all()
    assert SimpleNamespace(**vars(found)).width == 128
