"""What leaves an avatar: the published folder as it came, a plain point cloud that draws alike, our own npz."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from marotte.errors import MarotteError
from marotte.models.ply import read_ply_vertices
from marotte.models.sh_turn import turn_sh
from marotte.models.spherical_harmonics import sh_colours
from marotte.models.splatting_avatar import rotate_back
from marotte.models.splatting_files import read_point_cloud, read_splatting_avatar
from marotte.models.splatting_npz import read_splats
from marotte.renderers.gaussians import Gaussians
from marotte.renderers.rasterizers import rasterize
from marotte.renderers.splat_pictures import to_pixels
from marotte.renderers.splatting_avatar import SplattingAvatarRenderer
from marotte.runtime.avatar import load_avatar
from marotte.runtime.avatars.export import export_npz, export_plain, export_published, on_mesh
from marotte.runtime.avatars.moment import moment
from marotte.runtime.avatars.splatting import import_splatting_avatar
from marotte.runtime.background import Background
from marotte.runtime.clock import frame_ticks
from marotte.runtime.contracts import Drive, RenderOptions
from marotte.runtime.motion import Motion
from marotte.runtime.splats import avatar_head, avatar_splats

SIZE = 96
WHITE = Background(colour=(1, 1, 1))


def drawn(avatar, state, camera):
    """Return the avatar's own picture of a moment."""
    renderer = SplattingAvatarRenderer()
    stream = renderer.open(avatar, RenderOptions(SIZE, SIZE))
    drive = Drive(frame_ticks(0, 1, Fraction(25)), state, (camera,), WHITE)
    return renderer.render(stream, drive).pixels[0]


def drawn_from(path, camera):
    """Return the picture of a plain point cloud, as any 3DGS renderer makes it."""
    cloud = read_point_cloud(path)
    gaussians = Gaussians(
        means=cloud.xyz,
        quats_wxyz=cloud.rotations_wxyz,
        scales=np.exp(cloud.log_scales),
        opacities=1 / (1 + np.exp(-cloud.opacity_logits)),
        sh=cloud.sh,
    )
    raster = rasterize(gaussians, camera)
    picture = np.empty((SIZE, SIZE, 3), np.uint8)
    to_pixels(raster.color, raster.transmittance, WHITE, picture)
    return picture


@pytest.fixture
def motion():
    rng = np.random.default_rng(0)
    codes = np.zeros((3, 106), np.float32)
    codes[:, :50] = rng.normal(0, 0.8, (3, 50))
    codes[:, 100:106] = rng.normal(0, 0.25, (3, 6))
    return Motion(codes, Fraction(25), "flame2020")


@pytest.mark.parametrize("settings", [{}, {"degree": 1}, {"degree": 3, "colours_outside": True}], ids=str)
def test_a_plain_point_cloud_draws_the_same_picture(tmp_path, store, make_trained, motion, settings):
    root = tmp_path / "p" / "q" / "r" / "s"
    root.mkdir(parents=True)
    avatar = import_splatting_avatar(make_trained(root, **settings).model).avatar
    state = moment(avatar, motion, 1)
    camera = avatar.framing("head").camera(SIZE, SIZE)
    assert export_plain(avatar, tmp_path / "a.ply", state) == 400
    one, other = drawn(avatar, state, camera).astype(int), drawn_from(tmp_path / "a.ply", camera).astype(int)
    assert (one < 250).any(axis=-1).mean() > 0.2
    # The logarithm and its exponential, and the turned harmonics, round: a step of a byte here and there.
    assert np.abs(one - other).max() <= 1


def test_the_layout_that_viewers_read(trained, store, tmp_path):
    avatar = import_splatting_avatar(trained.model).avatar
    path = tmp_path / "a.ply"
    export_plain(avatar, path, moment(avatar))
    header, _, body = path.read_bytes().partition(b"end_header\n")
    names = [*"xyz", "nx", "ny", "nz", *(f"f_dc_{i}" for i in range(3)), *(f"f_rest_{i}" for i in range(45))]
    names += ["opacity", *(f"scale_{i}" for i in range(3)), *(f"rot_{i}" for i in range(4))]
    lines = ["ply", "format binary_little_endian 1.0", "element vertex 400", *(f"property float {n}" for n in names)]
    assert header.decode() == "\n".join(lines) + "\n"
    assert len(body) == 400 * 62 * 4  # 248 bytes a Gaussian, which some viewers insist on
    columns = read_ply_vertices(path)
    quats = np.stack([columns[f"rot_{i}"] for i in range(4)], axis=1)
    np.testing.assert_allclose(np.linalg.norm(quats, axis=1), 1, atol=1e-6)
    assert all(not columns[n].any() for n in ("nx", "f_rest_0", "f_rest_44"))
    splats = avatar_splats(avatar, avatar_head(avatar))
    np.testing.assert_array_equal(columns["opacity"], splats.opacity_logits)
    np.testing.assert_array_equal(columns["f_dc_2"], splats.sh[:, 0, 2])
    export_plain(avatar, tmp_path / "small.ply", moment(avatar), world_unit=1.0, degree=0)
    metres = read_ply_vertices(tmp_path / "small.ply")
    assert "f_rest_0" not in metres
    np.testing.assert_allclose(metres["y"] * 4, columns["y"], rtol=1e-6)
    np.testing.assert_allclose(np.exp(metres["scale_1"]) * 4, np.exp(columns["scale_1"]), rtol=1e-5)


def test_the_published_folder_comes_back(trained, store, tmp_path):
    avatar = import_splatting_avatar(trained.model).avatar
    folder = export_published(avatar, tmp_path / "out")
    assert folder == tmp_path / "out/point_cloud/iteration_30000"
    files = {path.relative_to(trained.model) for path in trained.model.rglob("*") if path.is_file()}
    assert {path.relative_to(tmp_path / "out") for path in (tmp_path / "out").rglob("*") if path.is_file()} == files
    for name in files:
        assert (tmp_path / "out" / name).read_bytes() == (trained.model / name).read_bytes()
    again = read_splatting_avatar(folder)
    np.testing.assert_array_equal(again.uvd, avatar_splats(avatar, avatar_head(avatar)).uvd)
    with pytest.raises(MarotteError, match="is there already"):
        export_published(avatar, tmp_path / "out")


def test_our_own_form(trained, store, tmp_path, motion):
    avatar = import_splatting_avatar(trained.model).avatar
    path, notes = export_npz(avatar, tmp_path / "a.npz")
    head = avatar_head(avatar)
    again = read_splats(path, head.v_template * np.float32(avatar.unit), head.faces)
    assert len(again) == 400 and again.with_mesh_scaling == avatar_splats(avatar, head).with_mesh_scaling
    assert "scales to" in notes[0]
    state = moment(avatar, motion, 0)
    camera = avatar.framing("head").camera(SIZE, SIZE)
    (avatar.path / "a.npz").write_bytes(path.read_bytes())
    one = drawn(avatar, state, camera).astype(int)
    other = drawn(replace(avatar, splats="a.npz"), state, camera).astype(int)
    assert np.abs(one - other).mean() < 2.5


def test_another_canonical_mesh_changes_nothing_that_shows(make_trained, tmp_path):
    root = tmp_path / "p"
    root.mkdir()
    splats = read_splatting_avatar(make_trained(root, degree=2, colours_outside=True).iteration)
    rng = np.random.default_rng(1)
    bent = (splats.canonical + 0.02 * np.sin(9 * splats.canonical[:, ::-1])).astype(np.float32)
    turn = np.array([[0.8, 0, 0.6], [0, 1, 0], [-0.6, 0, 0.8]])
    posed = (splats.canonical @ turn.T + 0.01 * rng.normal(size=3)).astype(np.float32)
    moved = on_mesh(splats, bent)
    one, other = splats.drive(posed), moved.drive(posed)
    np.testing.assert_allclose(other.means, one.means, atol=1e-6)
    np.testing.assert_allclose(other.scales, one.scales, rtol=2e-5)
    agreement = np.abs(np.sum(one.quats_wxyz * other.quats_wxyz, axis=1))
    assert np.quantile(agreement, 0.05) > 0.999
    centre = np.array([0.2, 0.1, 4.0])
    # Colours turn by the same average of turns.
    assert np.abs(splats.colours(one, centre) - moved.colours(other, centre)).mean() < 0.02


@pytest.mark.parametrize("count", [1, 4, 9, 16])
def test_turned_harmonics(count):
    rng = np.random.default_rng(count)
    sh = rng.normal(0, 0.1, (50, count, 3)).astype(np.float32)
    quats = rng.normal(size=(50, 4))
    quats /= np.linalg.norm(quats, axis=1, keepdims=True)
    away = rng.normal(size=(50, 3))
    away /= np.linalg.norm(away, axis=1, keepdims=True)
    np.testing.assert_allclose(
        sh_colours(turn_sh(sh, quats), away), sh_colours(sh, rotate_back(quats, away)), atol=1e-6
    )


def test_moments(trained, store, motion):
    avatar = import_splatting_avatar(trained.model).avatar
    state = moment(avatar, motion, 2, expression="0=1.5, 49=-2", jaw_degrees=10)
    assert state.expression[0, [0, 49]].tolist() == [1.5, -2] and len(state) == 1
    np.testing.assert_array_equal(state.expression[0, 1:49], motion.codes[2, 1:49])
    assert state.jaw[0].tolist() == pytest.approx([np.deg2rad(10), 0, 0])
    demo = load_avatar("demo")
    assert moment(demo, expression="mouthSmileLeft=0.5").expression.max() == 0.5
    for name, text, words in (
        (avatar, "50=1", "expression 50 is not one of avatar anna's 50"),
        (avatar, "3", "write number=value"),
        (avatar, "3=many", "'many' is no number"),
        (avatar, "3=nan", "'nan' is no number"),
        (demo, "mouthSmileLef=1", "did you mean 'mouthSmileLeft'"),
    ):
        with pytest.raises(MarotteError, match=words):
            moment(name, expression=text)
    for degrees in (float("nan"), 500):
        with pytest.raises(MarotteError, match=r"a jaw at .* degrees is none"):
            moment(avatar, jaw_degrees=degrees)
    with pytest.raises(MarotteError, match="frame 3 is not in the motion: it has 3"):
        moment(avatar, motion, 3)


def test_places_and_degrees(trained, store, tmp_path):
    avatar = import_splatting_avatar(trained.model).avatar
    state = moment(avatar)
    for call, words in (
        (lambda: export_plain(avatar, tmp_path / "a.obj", state), r"must end in \.ply"),
        (lambda: export_plain(avatar, tmp_path / "no/a.ply", state), "there is no folder"),
        (lambda: export_plain(avatar, tmp_path / "a.ply", state, degree=4), "not 4"),
        (lambda: export_plain(avatar, tmp_path / "a.ply", state, world_unit=0.0), "unit 0.0 is no size"),
        (lambda: export_npz(avatar, tmp_path / "a.bin"), r"must end in \.npz"),
    ):
        with pytest.raises(MarotteError, match=words):
            call()
    assert not list(tmp_path.glob("a.*"))
