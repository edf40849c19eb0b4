import threading

import numba
import numpy as np
import pytest

from marotte.errors import MarotteError
from marotte.renderers.mesh_materials import MATERIALS, srgb_to_linear
from marotte.renderers.mesh_painter import Canvas, MeshPainter
from marotte.renderers.mesh_raster import SAMPLES, TILE, bin_faces, fill_tile, find_boxes, new_frame, project
from marotte.renderers.mesh_reference import sample_scene
from marotte.renderers.mesh_shading import draw_tiles

# Looks along the world's -z from one unit in front of the origin: right is +x, down is -y.
FACING = np.diag([1.0, -1.0, -1.0])
AHEAD = np.array([0.0, 0.0, 1.0])


def intrinsics(focal, cx, cy):
    return np.array([[focal, 0, cx], [0, focal, cy], [0, 0, 1.0]])


def triangle_at(point, size=0.02):
    """A small face around a point, seen from +z."""
    around = np.array([[-1, -1, 0], [1, -1, 0], [0, 1, 0]]) * size
    return (np.asarray(point) + around).astype(np.float32), np.array([[0, 1, 2]])


def quad(left, right, bottom, top, depth=0.0):
    """Two faces that share a diagonal."""
    points = [[left, bottom, depth], [right, bottom, depth], [right, top, depth], [left, top, depth]]
    return np.array(points, np.float32), np.array([[0, 1, 2], [0, 2, 3]])


def ball(rows=40, columns=50, radius=0.3, centre=(0, 0, 0)):
    polar, around = np.meshgrid(np.linspace(0.01, np.pi - 0.01, rows), np.arange(columns) / columns * 2 * np.pi)
    points = np.stack([np.sin(polar) * np.sin(around), np.cos(polar), np.sin(polar) * np.cos(around)], -1)
    ids = np.arange(rows * columns).reshape(columns, rows)
    a, b = ids[:, :-1], np.roll(ids, -1, axis=0)[:, :-1]
    faces = np.concatenate([np.stack([a, a + 1, b], -1).reshape(-1, 3), np.stack([b, a + 1, b + 1], -1).reshape(-1, 3)])
    return (points.reshape(-1, 3) * radius + centre).astype(np.float32), faces


def samples(vertices, faces, R, t, K, width, height, two_sided=False):
    """What the fast rasterizer finds at every sample, as `sample_scene` returns it."""
    faces = faces.astype(np.int32)
    frame = new_frame(len(vertices), len(faces))
    project(vertices, R, t, K, 1e-6, frame)
    find_boxes(faces, np.full(len(faces), two_sided), width, height, frame)
    columns, rows = -(-width // TILE), -(-height // TILE)
    first, members, common = bin_faces(frame.boxes, columns, rows)
    nearness = np.zeros((rows * TILE, columns * TILE, SAMPLES))
    owner = np.full(nearness.shape, -1)
    for tile in range(columns * rows):
        depth, own = np.zeros(TILE * TILE * SAMPLES, np.float32), np.full(TILE * TILE * SAMPLES, -1, np.int32)
        left, top = tile % columns * TILE, tile // columns * TILE
        mine = members[first[tile] : first[tile + 1]]
        fill_tile(faces, np.zeros(len(faces), np.uint8), 0, frame, common, mine, left, top, depth, own)
        nearness[top : top + TILE, left : left + TILE] = depth.reshape(TILE, TILE, SAMPLES)
        owner[top : top + TILE, left : left + TILE] = own.reshape(TILE, TILE, SAMPLES)
    return nearness[:height, :width], owner[:height, :width]


def paint(vertices, faces, K, canvas, R=FACING, t=AHEAD, **look):
    return MeshPainter(faces, vertices, **look).paint(vertices, R, t, K, canvas)


def paint_float(vertices, faces, K, canvas, R=FACING, t=AHEAD, **look):
    return MeshPainter(faces, vertices, **look).paint_float(vertices, R, t, K, canvas)


@pytest.mark.parametrize(("cx", "cy"), [(32.0, 24.0), (50.5, 10.25)])
def test_a_point_lands_where_the_camera_says(cx, cy):
    point = np.array([0.06, 0.03, 0.1])
    vertices, faces = triangle_at(point, size=0.05)
    alpha = paint_float(vertices, faces, intrinsics(100, cx, cy), Canvas(80, 60)).alpha
    # Right of the middle, above it (y points down), 0.9 away; centres of pixels lie at i + 0.5.
    x, y = 100 * point[0] / 0.9 + cx, -100 * point[1] / 0.9 + cy
    rows, columns = np.mgrid[:60, :80] + 0.5
    centroid = np.array([(alpha * columns).sum(), (alpha * rows).sum()]) / alpha.sum()
    np.testing.assert_allclose(centroid, [x, y + 100 * 0.05 / 0.9 / 3], atol=0.15)


def test_a_turned_camera_follows_xc_equals_r_x_plus_t():
    angle = 0.4
    turn = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
    R, t, K = FACING @ turn, np.array([0.05, -0.02, 1.3]), intrinsics(120, 31.0, 33.0)
    vertices, faces = triangle_at((0.1, 0.05, 0.02), size=0.06)
    alpha = paint_float(vertices, faces, K, Canvas(64, 64), R, t).alpha
    at = vertices @ R.T + t
    u, v = ((at @ K.T)[:, :2] / at[:, 2:]).T
    rows, columns = np.mgrid[:64, :64] + 0.5
    centroid = np.array([(alpha * columns).sum(), (alpha * rows).sum()]) / alpha.sum()
    np.testing.assert_allclose(centroid, [u.mean(), v.mean()], atol=0.15)


@pytest.mark.parametrize("seed", range(12))
def test_samples_agree_with_the_twin(seed):
    rng = np.random.default_rng(seed)
    width, height = int(rng.integers(20, 90)), int(rng.integers(20, 90))
    count = int(rng.integers(3, 60))
    # From slivers to faces far larger than the picture: 2 to 3000 pixels.
    size = 10 ** rng.uniform(-1.5, 1.5 if seed % 3 else 0.5, (count, 1, 1))
    centres = rng.uniform(-0.4, 0.4, (count, 1, 3))
    vertices = (centres + size * rng.normal(size=(count, 3, 3)) * [1, 1, 0.05]).clip([-30, -30, -0.6], [30, 30, 0.6])
    vertices = vertices.reshape(-1, 3).astype(np.float32)
    faces = np.arange(3 * count).reshape(-1, 3)
    K = intrinsics(80, width * rng.uniform(0.2, 0.8), height * rng.uniform(0.2, 0.8))
    args = (vertices, faces, FACING, AHEAD, K, width, height)
    two_sided = bool(seed % 2)
    fast_near, fast_owner = samples(*args, two_sided=two_sided)
    slow_near, slow_owner = sample_scene(*args, two_sided=two_sided)
    np.testing.assert_allclose(fast_near, slow_near, rtol=1e-4, atol=1e-6)
    differ = fast_owner != slow_owner
    # Where two faces cross, float32 may settle a draw the other way.
    assert differ.mean() < 1e-3
    assert (fast_owner >= 0).any()


def test_a_fan_covers_each_sample_once():
    """Corners on pixel centres and sample points, so that many samples lie exactly on edges."""
    rng = np.random.default_rng(3)
    rim = np.array([[8, 8], [30.375, 8.125], [56, 8], [56, 40], [56, 56], [20.875, 56], [8, 56], [8, 30]])
    hub = np.array([[32, 32.0]])
    pixels = np.concatenate([hub, rim])
    vertices = np.column_stack([(pixels - 32) / 100 * [1, -1], np.zeros(len(pixels))]).astype(np.float32)
    faces = np.array([[0, 1 + (i + 1) % 8, 1 + i] for i in range(8)])
    K = intrinsics(100, 32, 32)
    counts = np.zeros((64, 64, SAMPLES), int)
    for face in rng.permutation(faces):
        _, owner = samples(vertices, face[None], FACING, AHEAD, K, 64, 64)
        counts += owner >= 0
    expected = np.zeros((64, 64, SAMPLES), int)
    expected[8:56, 8:56] = 1
    np.testing.assert_array_equal(counts, expected)


def test_an_edge_covers_as_much_as_lies_under_it():
    for angle in np.deg2rad([0, 3, 17, 45, 71, 90, 133]):
        normal, along = np.array([np.cos(angle), np.sin(angle)]), np.array([-np.sin(angle), np.cos(angle)])
        corners = np.array([4 * along, -4 * along, -4 * along + 4 * normal, 4 * along + 4 * normal])
        vertices = np.column_stack([corners, np.zeros(4)]).astype(np.float32)
        faces = np.array([[0, 1, 2], [0, 2, 3]])
        alpha = paint_float(vertices, faces, intrinsics(100, 32.3, 31.6), Canvas(64, 64)).alpha
        rows, columns = np.mgrid[:64, :64] + 0.5
        distance = (columns - 32.3) * normal[0] - (rows - 31.6) * normal[1]
        ideal = np.clip(distance + 0.5, 0, 1)
        edge = np.abs(distance) < 1
        # Along an upright or level edge all pixels have the same one of five levels.
        upright = min(abs(normal)) < 1e-9
        assert abs((alpha - ideal)[edge].mean()) < (0.125 if upright else 0.02)
        assert np.abs(alpha - ideal).max() < 0.36
        assert set(np.unique(alpha)) <= {0, 0.25, 0.5, 0.75, 1}


def test_alpha_is_straight_and_composes_to_the_same_picture():
    vertices, faces = ball()
    K = intrinsics(60, 32, 32)
    clear = paint(vertices, faces, K, Canvas(64, 64))
    assert clear.shape == (64, 64, 4)
    assert clear[0, 0].tolist() == [0, 0, 0, 0]
    assert clear[32, 32, 3] == 255
    edge = (clear[..., 3] > 0) & (clear[..., 3] < 255)
    assert edge.any()
    # The colour at the edge is skin, not skin mixed with black.
    assert clear[edge][:, 0].min() > 40
    solid = paint(vertices, faces, K, Canvas(64, 64, (0.2, 0.4, 0.9)))
    alpha = clear[..., 3:] / 255
    composed = clear[..., :3] * alpha + np.array([0.2, 0.4, 0.9]) * 255 * (1 - alpha)
    np.testing.assert_allclose(solid, composed, atol=1.01)


def test_floats_and_bytes_say_the_same():
    vertices, faces = ball()
    K = intrinsics(60, 20, 40)
    painting = paint_float(vertices, faces, K, Canvas(64, 64))
    clear = paint(vertices, faces, K, Canvas(64, 64))
    np.testing.assert_array_equal(np.floor(painting.alpha * 255 + 0.5), clear[..., 3])
    np.testing.assert_array_equal(
        np.floor(np.clip(painting.rgb, 0, 1) * np.float32(255) + np.float32(0.5)), clear[..., :3]
    )


def test_the_background_shows_where_nothing_is():
    vertices, faces = quad(-0.05, 0.05, -0.05, 0.05)
    K = intrinsics(100, 24, 24)
    picture = np.random.default_rng(0).integers(0, 256, (48, 48, 3), np.uint8)
    for background in (picture, picture.astype(np.float32) / 255):
        shown = paint(vertices, faces, K, Canvas(48, 48, background))
        np.testing.assert_array_equal(shown[:18], picture[:18])
        assert (shown[22:26, 22:26] != picture[22:26, 22:26]).any()
    plain = paint(vertices, faces, K, Canvas(48, 48, np.array([10, 20, 30], np.uint8)))
    assert plain[0, 0].tolist() == [10, 20, 30]


def test_read_only_input_compiles_nothing_anew():
    vertices, faces = ball()
    K, picture = intrinsics(40, 16, 16), np.zeros((32, 32, 3), np.uint8)
    paint(vertices, faces, K, Canvas(32, 32, (1, 1, 1)))
    kernels = (project, find_boxes, draw_tiles)
    before = [len(kernel.signatures) for kernel in kernels]
    R, t = FACING.copy(), AHEAD.copy()
    for array in (vertices, faces, K, picture, R, t):
        array.flags.writeable = False
    paint(vertices, faces, K, Canvas(32, 32, picture), R, t, albedo=picture[0].repeat(63, 0)[: len(vertices)])
    paint(np.asfortranarray(vertices), np.asfortranarray(faces.astype(np.uint16)), K.T.copy().T, Canvas(32, 32), R.T)
    assert [len(kernel.signatures) for kernel in kernels] == before


def test_out_is_written_in_place():
    vertices, faces = ball()
    canvas, out = Canvas(32, 32, (1, 1, 1)), np.zeros((32, 32, 3), np.uint8)
    painter, K = MeshPainter(faces, vertices), intrinsics(40, 16, 16)
    assert painter.paint(vertices, FACING, AHEAD, K, canvas, out=out) is out
    np.testing.assert_array_equal(out, painter.paint(vertices, FACING, AHEAD, K, canvas))


def test_nearer_faces_hide_farther_ones_and_backs_are_not_seen():
    near, faces = quad(-0.2, 0.2, -0.2, 0.2, depth=0.1)
    far, _ = quad(-0.2, 0.2, -0.2, 0.2, depth=0.0)
    vertices, both = np.concatenate([far, near]), np.concatenate([faces, faces + 4])
    colours = np.repeat(np.array([[255, 0, 0], [0, 255, 0]], np.uint8), 4, axis=0)
    K = intrinsics(100, 16, 16)
    for order in (both, both[::-1]):
        middle = paint(vertices, order, K, Canvas(32, 32, (0, 0, 0)), albedo=colours)[16, 16]
        assert middle[1] > middle[0]
    turned = paint(vertices, both[:, ::-1], K, Canvas(32, 32))
    assert not turned.any()
    cloth = paint(vertices, both[:, ::-1], K, Canvas(32, 32), material_names=("cloth",))
    assert cloth[16, 16, 3] == 255


def test_vertices_that_coincide_share_a_normal():
    vertices, faces = ball(20, 24)
    split = vertices[faces.ravel()]
    K, canvas = intrinsics(60, 32, 32), Canvas(64, 64)
    whole = paint_float(vertices, faces, K, canvas)
    parted = paint_float(split, np.arange(len(split)).reshape(-1, 3), K, canvas)
    np.testing.assert_allclose(parted.rgb, whole.rgb, atol=0.02)


def test_an_eye_has_a_dark_pupil_a_coloured_iris_and_a_white():
    vertices, faces = ball(radius=0.4)
    picture = paint(
        vertices,
        faces,
        intrinsics(120, 64, 64),
        Canvas(128, 128),
        eye_local=vertices / 0.4,
        material_names=("eye",),
        iris=(0.1, 0.3, 0.9),
    ).astype(int)
    pupil, iris, white = picture[64, 64], picture[76, 66], picture[74, 95]
    assert pupil[:3].max() < 80
    assert iris[2] > iris[0] + 30
    assert white[:3].min() > 130 and np.ptp(white[:3]) < 40


def test_a_veil_lets_through_what_is_behind():
    vertices, faces = quad(-0.2, 0.2, -0.2, 0.2)
    front, _ = quad(-0.2, 0.2, -0.2, 0.2, depth=0.01)
    K, canvas = intrinsics(100, 16, 16), Canvas(32, 32)
    bare = paint_float(vertices, faces, K, canvas).rgb[16, 16]
    veiled = paint_float(
        np.concatenate([vertices, front]),
        np.concatenate([faces, faces + 4]),
        K,
        canvas,
        materials=np.array([0, 0, 1, 1]),
        material_names=("skin", "lashes"),
    )
    assert veiled.alpha[16, 16] == pytest.approx(1)
    lashes = srgb_to_linear(np.array(MATERIALS["lashes"].albedo)).max()
    assert lashes < veiled.rgb[16, 16].max() <= bare.max()


def test_threads_and_neighbours_change_nothing():
    vertices, faces = ball(80, 90)
    painter, canvas, K = MeshPainter(faces, vertices), Canvas(150, 130, (0.5, 0.6, 0.7)), intrinsics(160, 75, 65)
    before = numba.get_num_threads()
    pictures = []
    for threads in (1, min(2, numba.config.NUMBA_NUM_THREADS)):
        numba.set_num_threads(threads)
        pictures.append(painter.paint(vertices, FACING, AHEAD, K, canvas))
    numba.set_num_threads(before)
    if numba.threading_layer() != "workqueue":  # which takes one caller at a time
        workers = [
            threading.Thread(target=lambda: pictures.append(painter.paint(vertices, FACING, AHEAD, K, canvas)))
            for _ in range(4)
        ]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    for picture in pictures[1:]:
        np.testing.assert_array_equal(picture, pictures[0])


def test_nothing_to_draw_leaves_the_background():
    empty = np.zeros((0, 3), np.int32)
    K = intrinsics(100, 8, 8)
    assert not paint(np.zeros((0, 3), np.float32), empty, K, Canvas(16, 16)).any()
    assert not paint(np.zeros((5, 3), np.float32), empty, K, Canvas(16, 16)).any()


@pytest.mark.parametrize(("width", "height"), [(1, 1), (1, 700), (33, 31), (4096, 4096)])
def test_any_size_is_painted(width, height):
    vertices, faces = ball()
    shown = paint(vertices, faces, intrinsics(2 * max(width, height), width / 2, height / 2), Canvas(width, height))
    assert shown.shape == (height, width, 4)
    assert shown[height // 2, width // 2, 3] == 255


def test_bad_vertices_lose_their_faces_only():
    vertices, faces = ball()
    K, canvas = intrinsics(60, 32, 32), Canvas(64, 64)
    painter = MeshPainter(faces, vertices)
    whole = painter.paint(vertices, FACING, AHEAD, K, canvas)
    for value in (np.nan, np.inf, -np.inf, 1e30):
        torn = vertices.copy()
        torn[np.argmin(torn[:, 0])] = value
        shown = painter.paint(torn, FACING, AHEAD, K, canvas)
        np.testing.assert_array_equal(shown[:, 40:], whole[:, 40:])
    assert not painter.paint(np.full_like(vertices, np.nan), FACING, AHEAD, K, canvas).any()


def test_faces_behind_the_camera_are_left_out():
    vertices, faces = quad(-0.2, 0.2, -0.2, 0.2)
    K = intrinsics(50, 16, 16)
    assert not paint(vertices + np.float32([0, 0, 2]), faces, K, Canvas(32, 32)).any()
    across = vertices.copy()
    across[0, 2] = 3
    assert not paint(across, faces[:1], K, Canvas(32, 32)).any()


def test_huge_faces_are_drawn_in_time():
    vertices, faces = quad(-900, 900, -900, 900)
    many = np.tile(faces, (200, 1))
    shown = paint(vertices, many, intrinsics(400, 256, 256), Canvas(512, 512))
    assert (shown[..., 3] == 255).all()
    far_away = paint(vertices * np.float32(1e6), faces, intrinsics(400, 256, 256), Canvas(512, 512))
    assert not far_away.any()


@pytest.mark.parametrize(
    ("look", "message"),
    [
        ({"material_names": ("marble",)}, "marble"),
        ({"materials": np.array([0, 3])}, "material 3"),
    ],
)
def test_wrong_looks_are_named(look, message):
    vertices, faces = quad(-1, 1, -1, 1)
    with pytest.raises(MarotteError, match=message):
        MeshPainter(faces, vertices, **look)


def test_wrong_shapes_are_named():
    vertices, faces = quad(-1, 1, -1, 1)
    with pytest.raises(MarotteError, match=r"0\.\.9"):
        MeshPainter(np.array([[0, 1, 9]]), vertices)
    with pytest.raises(MarotteError, match=r"\[3, 3\]"):
        MeshPainter(faces, vertices).paint(vertices[:3], FACING, AHEAD, np.eye(3), Canvas(4, 4))
    with pytest.raises(MarotteError, match=r"\[5, 5, 3\]"):
        Canvas(4, 4, np.zeros((5, 5, 3)))
    with pytest.raises(MarotteError, match="0x4"):
        Canvas(0, 4)
