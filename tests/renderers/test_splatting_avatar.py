"""The SplattingAvatar renderer as a plug-in: the contract, backgrounds, options, avatars that do not fit."""

import shutil
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from marotte.errors import MarotteError
from marotte.models.flame import FlameModel
from marotte.models.splatting_avatar import SplattingAvatar
from marotte.models.splatting_files import write_splatting_avatar
from marotte.renderers.splat_pictures import to_pixels
from marotte.renderers.splatting_avatar import SplattingAvatarRenderer
from marotte.runtime.avatar import Framing, load_avatar
from marotte.runtime.background import Background
from marotte.runtime.bridge import Bridge
from marotte.runtime.clock import frame_ticks
from marotte.runtime.contracts import Drive, RenderOptions
from marotte.runtime.motion import Motion
from marotte.runtime.testing import check_renderer

UNIT = 4.0
SPLATS = "point_cloud/iteration_7"


def splats_on(head: FlameModel, count=6000, degree=0, **settings) -> SplattingAvatar:
    """Return Gaussians of one colour a part all over a head, large enough to cover it."""
    rng = np.random.default_rng(0)
    canonical = (head.v_template * UNIT).round(6).astype(np.float32)
    a, b, c = (canonical[head.faces[:, i]] for i in range(3))
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1)
    sh = np.zeros((count, (degree + 1) ** 2, 3), np.float32)
    sh[:, 0] = rng.uniform(-1, 1, (count, 3))
    return SplattingAvatar(
        face_ids=rng.choice(len(area), count, p=area / area.sum()).astype(np.int32),
        bary=rng.dirichlet((1, 1, 1), count).astype(np.float32),
        uvd=np.zeros((count, 3), np.float32),
        rotations_wxyz=np.tile(np.array([1, 0, 0, 0], np.float32), (count, 1)),
        log_scales=np.full((count, 3), -4, np.float32),
        opacity_logits=np.full(count, 4, np.float32),
        sh=sh,
        canonical=canonical,
        faces=head.faces,
        **settings,
    )


def build(folder, **settings):
    demo = load_avatar("demo")
    write_splatting_avatar(splats_on(FlameModel.load(demo.head_path), **settings), folder, 7)
    near = demo.framing("head")
    framing = Framing(tuple(UNIT * x for x in near.target), UNIT * near.distance, UNIT * near.height)
    return replace(
        demo,
        path=folder,
        head=str(demo.head_path.resolve()),
        splats=SPLATS,
        unit=UNIT,
        framings={"head": framing},
        files={},
    )


@pytest.fixture(scope="module")
def avatar(tmp_path_factory):
    return build(tmp_path_factory.mktemp("splats"))


def picture(avatar, background=None, size=(96, 96), head=(0, 0, 0), **extra):
    renderer = SplattingAvatarRenderer()
    stream = renderer.open(avatar, RenderOptions(*size, extra=extra))
    codes = np.zeros((1, 106), np.float32)
    codes[0, 100:103] = head
    motion = Motion(codes, Fraction(25), avatar.basis)
    bridge = Bridge(avatar, avatar.framing("head").camera(*size))
    drive = Drive(
        frame_ticks(0, 1, motion.fps),
        bridge.head_state(motion),
        bridge.cameras(motion),
        background or Background(colour=(0, 0, 1)),
    )
    return renderer.render(stream, drive).pixels[0]


def test_it_keeps_the_contract(avatar):
    check_renderer(SplattingAvatarRenderer(), avatar)


def test_a_folder_with_its_toml(avatar, tmp_path):
    shutil.copytree(avatar.path, tmp_path / "mine")
    (tmp_path / "mine" / "avatar.toml").write_text(
        f'name = "mine"\nrenderer = "splatting-avatar"\nhead = "{avatar.head}"\nsplats = "{SPLATS}"\n'
        'basis = "arkit52"\nunit = 4.0\n[framing.head]\ntarget = [0.0, 0.0, 0.16]\ndistance = 4.4\nheight = 1.4\n'
    )
    mine = load_avatar(tmp_path / "mine")
    assert (mine.splats, mine.shape) == (SPLATS, "")
    assert picture(mine).std() > 10


def test_the_head_stands_in_the_picture(avatar):
    pixels = picture(avatar)
    sky = np.all(pixels == (0, 0, 255), axis=-1)
    assert sky[:3].all() and not sky[42:54, 42:54].any() and 0.15 < sky.mean() < 0.85
    turned = picture(avatar, head=(0, 0.6, 0))
    assert (turned != pixels).any(axis=-1).mean() > 0.05


def test_what_stands_behind_shows_through_alike(avatar):
    colour = picture(avatar, Background(colour=(1, 0, 0.2)))
    image = np.full((96, 96, 3), (255, 0, 51), np.uint8)
    np.testing.assert_array_equal(picture(avatar, Background(image=image)), colour)
    # Bytes of colour and alpha are each half a step off at most, and alpha's is divided by.
    clear = picture(avatar, Background(transparent=True)).astype(np.float64)
    alpha = clear[..., 3:] / 255
    over = clear[..., :3] * alpha + np.array([255, 0, 51]) * (1 - alpha)
    assert clear[0, 0, 3] == 0 and clear[48, 48, 3] > 240
    assert np.abs(over - colour).max() <= 1.5


@pytest.mark.parametrize("degree", [1, 3])
def test_colours_outside_the_rasterizer(tmp_path, degree):
    # Without higher coefficients both ways give one colour from everywhere.
    inside, outside = tmp_path / "in", tmp_path / "out"
    one = picture(build(inside, degree=degree)).astype(int)
    other = picture(build(outside, degree=degree, colours_outside=True)).astype(int)
    assert np.abs(one - other).max() <= 1


@pytest.mark.parametrize("size", [(1, 1), (3, 120), (120, 3)])
def test_odd_sizes(avatar, size):
    assert picture(avatar, size=size).shape == (size[1], size[0], 3)


def test_an_identity_is_baked_in(avatar, tmp_path):
    model = FlameModel.load(avatar.head_path)
    wide = np.zeros((*model.v_template.shape, 2), np.float32)
    wide[:, 1, 0] = 0.01  # the whole head a centimetre up
    replace(model, shape_dirs=wide).save(tmp_path / "head.npz")
    shaped = replace(avatar, head=str(tmp_path / "head.npz"))
    np.save(tmp_path / "still.npy", np.zeros(2, np.float32))
    np.savez(tmp_path / "up.npz", shape=np.array([[3.0]]))
    same = picture(replace(shaped, shape=str(tmp_path / "still.npy")))
    moved = picture(replace(shaped, shape=str(tmp_path / "up.npz")))
    np.testing.assert_array_equal(same, picture(avatar))
    rows = [np.flatnonzero((p != (0, 0, 255)).any(axis=-1).any(axis=1)).min() for p in (same, moved)]
    assert rows[1] < rows[0]
    np.save(tmp_path / "nan.npy", np.full(2, np.nan))
    with pytest.raises(MarotteError, match=r"nan.npy holds no identity"):
        picture(replace(shaped, shape=str(tmp_path / "nan.npy")))


def test_options_are_checked(avatar):
    with pytest.raises(MarotteError, match=r"no option of splatting-avatar is called 'rasteriser'.*'rasterizer'"):
        picture(avatar, rasteriser="auto")
    with pytest.raises(MarotteError, match="no rasterizer is called 'gsplatt'"):
        picture(avatar, rasterizer="gsplatt")


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"head": ""}, "names no head model"),
        ({"splats": ""}, "names no folder of Gaussians.*add splats"),
        ({"splats": "point_cloud/iteration_8"}, "iteration_8"),
        ({"unit": 1.0}, "unit = 1, but its Gaussians lie on a mesh 4 times.*set unit = 4"),
    ],
)
def test_avatars_that_do_not_fit_are_named(avatar, change, match):
    with pytest.raises(MarotteError, match=match):
        picture(replace(avatar, **change))


def test_another_head_model_is_named(avatar, tmp_path):
    model = FlameModel.load(avatar.head_path)
    count = len(model.v_template) + 1

    def grown(array):
        return np.concatenate([array, array[:1]])

    replace(
        model,
        v_template=grown(model.v_template),
        shape_dirs=grown(model.shape_dirs),
        expression_dirs=grown(model.expression_dirs),
        pose_dirs=grown(model.pose_dirs),
        joint_regressor=np.concatenate([model.joint_regressor, np.zeros((5, 1), np.float32)], axis=1),
        skinning_weights=grown(model.skinning_weights),
        landmarks=None,
        masks={},
        eyelid_fields=None,
        render={},
    ).save(tmp_path / "head.npz")
    with pytest.raises(MarotteError, match=f"a mesh of {count - 1} vertices, .* has {count}"):
        picture(replace(avatar, head=str(tmp_path / "head.npz")))


def test_a_motion_that_is_no_number_is_named(avatar):
    renderer = SplattingAvatarRenderer()
    stream = renderer.open(avatar, RenderOptions(32, 32))
    bridge = Bridge(avatar, avatar.framing("head").camera(32, 32))
    motion = Motion(np.zeros((2, 106), np.float32), Fraction(25), avatar.basis)
    head = bridge.head_state(motion)
    jaw = np.array([[0, 0, 0], [np.nan, 0, 0]], np.float32)
    drive = Drive(frame_ticks(0, 2, motion.fps), replace(head, jaw=jaw), bridge.cameras(motion), Background())
    with np.errstate(invalid="ignore"), pytest.raises(MarotteError, match="motion at tick 1920 has NaN"):
        renderer.render(stream, drive)


def test_bytes():
    colour = np.array([[[0.5, 2, -1], [np.nan, 0.25, 0.0019]]], np.float32)
    through = np.array([[0.5, 0]], np.float32)
    out = np.empty((1, 2, 3), np.uint8)
    to_pixels(colour, through, Background(colour=(0.5, 0, 0.2)), out)
    assert out.tolist() == [[[191, 255, 0], [0, 64, 0]]]
    clear = np.empty((1, 2, 4), np.uint8)
    to_pixels(np.zeros((1, 2, 3), np.float32) + 0.25, np.array([[0.5, 1]], np.float32), Background(), clear)
    assert clear.tolist() == [[[128, 128, 128, 128], [0, 0, 0, 0]]]


@pytest.mark.parametrize("size", [(1, 1), (3, 5), (31, 37), (64, 64)])
def test_bytes_are_those_of_the_formula(size):
    # Number by number and in float32, whose roundings are the same: not one byte may differ.
    rng = np.random.default_rng(0)
    colour = rng.uniform(-0.3, 1.3, (*size, 3)).astype(np.float32)
    some = colour.reshape(-1)[::5]
    some[:] = rng.choice(np.float32([0, 1, 0.5, 0.5 / 255, 254.5 / 255, 1e30, -1e30]), len(some))
    through = rng.choice(np.float32([0, 0.25, 0.7, 1]), size)
    image = rng.integers(0, 256, (*size, 3)).astype(np.uint8)
    ground = np.array((0.1, 0.2, 0.3), np.float32)

    def in_bytes(values):
        return np.floor(np.clip(values, 0, 1) * np.float32(255) + np.float32(0.5)).astype(np.uint8)

    alpha = 1 - through[..., None]
    over = np.divide(1, alpha, out=np.zeros_like(alpha), where=alpha > 0)
    straight = np.concatenate([colour * over, alpha], axis=-1)
    for background, expected in (
        (Background(colour=(0.1, 0.2, 0.3)), colour + through[..., None] * ground),
        (Background(image=image), colour + through[..., None] * (image / np.float32(255))),
        (Background(transparent=True), straight),
    ):
        out = np.empty((*size, 4 if background.transparent else 3), np.uint8)
        to_pixels(colour, through, background, out)
        np.testing.assert_array_equal(out, in_bytes(expected))
