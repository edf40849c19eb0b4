"""The shipped demo avatars, measured: one-hot part colours in place of skin tell what shows where."""

import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numba
import numpy as np
import pytest
from scipy import ndimage

from marotte.errors import MarotteError
from marotte.models.splatting_files import read_splatting_avatar, write_splatting_avatar
from marotte.models.splatting_npz import Parts, read_parts, read_splats, write_splats
from marotte.models.splatting_numba import SplattingEvaluator
from marotte.renderers.gaussians import Gaussians
from marotte.renderers.rasterizers import rasterize
from marotte.renderers.splatting_avatar import SplattingAvatarRenderer
from marotte.runtime.arkit import ACTIONS, JAW_LEFT, JAW_OPEN, JAW_RIGHT, SLOT
from marotte.runtime.avatar import SHIPPED, load_avatar
from marotte.runtime.camera import facing_camera
from marotte.runtime.contracts import RenderOptions

NAMES = ("demo", "demo-basil", "demo-imara")
VARIANTS = (None, "live")
JAWS = {"jawOpen": JAW_OPEN, "jawLeft": JAW_LEFT, "jawRight": JAW_RIGHT}
BOTH_EYES = {"eyeBlinkLeft": 1.0, "eyeBlinkRight": 1.0}
SIZE = 160
INNER = ("mouth", "teeth", "tongue")


@numba.njit
def fill(triangles, picture):
    """Set the pixels of `picture` [H, W] whose centres lie in or within half a pixel of triangles [T, 3, 2]."""
    height, width = picture.shape
    for triangle in triangles:
        left, right = min(triangle[:, 0]) - 1, max(triangle[:, 0])
        top, bottom = min(triangle[:, 1]) - 1, max(triangle[:, 1])
        (ax, ay), (bx, by), (cx, cy) = triangle[0], triangle[1], triangle[2]
        if (bx - ax) * (cy - ay) < (by - ay) * (cx - ax):
            bx, by, cx, cy = cx, cy, bx, by
        edges = ((ax, ay, bx, by), (bx, by, cx, cy), (cx, cy, ax, ay))
        for row in range(max(int(top), 0), min(int(bottom) + 1, height)):
            for column in range(max(int(left), 0), min(int(right) + 1, width)):
                inside = True
                for px, py, qx, qy in edges:
                    dx, dy = qx - px, qy - py
                    off = dx * (row + 0.5 - py) - dy * (column + 0.5 - px)
                    inside &= off >= -0.5 * np.hypot(dx, dy)
                if inside:
                    picture[row, column] = True


class Face:
    """An avatar with its head and the part of each Gaussian."""

    def __init__(self, name, variant=None):
        self.avatar = replace(load_avatar(name), renderer="splatting-avatar")
        extra = {} if variant is None else {"variant": variant}
        self.stream = SplattingAvatarRenderer().open(self.avatar, RenderOptions(SIZE, SIZE, extra=extra))
        file = self.avatar.splats if variant is None else self.avatar.variants[variant]
        self.parts = read_parts(self.avatar.path / file)
        self.model = self.stream.head.model

    def mesh(self, weights=None, turn=(0, 0, 0)):
        """Vertices [V, 3] under action weights, with the neck turned by a rotation vector."""
        expression, pose = np.zeros((1, 100), np.float32), np.zeros((1, 15), np.float32)
        pose[0, 3:6] = turn
        for name, weight in (weights or {}).items():
            if name in JAWS:
                pose[0, 6:9] += weight * JAWS[name]
            else:
                expression[0, SLOT[name]] = weight
        return self.stream.head.vertices(expression, pose)[0]

    def camera(self, size=SIZE):
        return self.avatar.framing("head").camera(size, size)

    def one_hot(self, *names):
        """Colours [N, 3]: white for the parts that are named, black for others."""
        chosen = np.isin(self.parts.ids, [self.parts.names.index(name) for name in names])
        return np.repeat(chosen[:, None], 3, axis=1).astype(np.float32)

    def draw(self, mesh, camera, colours=None):
        """The picture on black and the coverage."""
        gaussians = self.stream.gaussians(mesh, camera)
        if colours is not None:
            gaussians = replace(gaussians, features=colours, sh=None, sh_degree=None)
        raster = rasterize(gaussians, camera, background=np.zeros(3, np.float32), backend="cpu")
        return raster.color.copy(), 1 - raster.transmittance

    def silhouette(self, mesh, camera):
        """[H, W] True where the mesh's head, without its shirt and lashes, covers a pixel."""
        names, ids = self.model.render["material_names"], self.model.render["materials"]
        shown = np.isin(np.asarray(names)[ids], ("skin", "hair", "lips"))
        picture = np.zeros((camera.height, camera.width), np.bool_)
        fill(camera.project(mesh)[self.model.faces[shown]], picture)
        return ndimage.binary_fill_holes(picture)


@pytest.fixture(scope="module", params=[(name, variant) for name in NAMES for variant in VARIANTS], ids=str)
def face(request):
    return Face(*request.param)


@pytest.fixture(scope="module")
def demo():
    return Face("demo")


def poses():
    yield {}, 0.0
    for name in ACTIONS:
        yield {name: 1.0}, 0.0
    for turn in (-np.pi / 6, np.pi / 6):
        yield {}, turn
        yield {"jawOpen": 1.0}, turn
        yield {"mouthFunnel": 1.0, "jawOpen": 0.5}, turn
        yield {"mouthSmileLeft": 1.0, "mouthSmileRight": 1.0}, turn


def test_the_counts_are_as_promised(face):
    assert len(face.parts.ids) in (60_000, 20_000)
    assert set(face.parts.names) >= {"skin", "eye", "teeth", "hair", "brows", "lashes", "cloth"}


def test_all_shipped_avatars_together_are_small():
    def size(pattern):
        return sum(path.stat().st_size for path in SHIPPED.glob(pattern) if path.is_file())

    assert size("demo-talker/*") < 8_000_000
    assert size("*/*") < 10_000_000


def test_shut_lids_cover_the_eyeballs(face):
    for side in ("left", "right"):
        middle = face.mesh()[face.model.masks[f"{side}_eyeball"]].mean(0)
        camera = facing_camera(middle, 0.8, 0.05, (SIZE, SIZE))
        colours = face.one_hot("eye")
        opening = face.draw(face.mesh(), camera, colours)[0][..., 0] > 0.5
        shut = face.draw(face.mesh(BOTH_EYES), camera, colours)[0][..., 0]
        assert opening.mean() > 0.05
        assert shut[opening].mean() < 0.01
        assert shut.max() < 0.1


@pytest.fixture(scope="module")
def insides():
    """The insides of silhouettes by mesh and camera: of a head's variants, which have one mesh, worked out once."""
    return {}


def test_the_head_is_whole_and_the_mouth_stays_inside_in_every_pose(face, insides):
    camera, inner = face.camera(), face.one_hot(*INNER)
    least, most = 1.0, 0.0
    for weights, turn in poses():
        mesh = face.mesh(weights, (0, turn, 0))
        colour, cover = face.draw(mesh, camera, inner)
        key = mesh.tobytes(), camera.K.tobytes(), camera.R.tobytes(), camera.t.tobytes()
        if key not in insides:
            insides[key] = ndimage.binary_erosion(face.silhouette(mesh, camera), iterations=2)
        inside = insides[key]
        # Where the shirt begins it hides the neck; above, all is head.
        least = min(least, float(cover[inside].min()))
        lips = camera.project(mesh[face.model.masks["lips"]])
        low, high = np.floor(lips.min(0)).astype(int) - 2, np.ceil(lips.max(0)).astype(int) + 3
        outside = colour[..., 0].copy()
        outside[low[1] : high[1], low[0] : high[0]] = 0
        most = max(most, float(outside.max()))
    assert least >= 0.99
    assert most < (0.02 if len(face.parts.ids) > 20_000 else 0.08)


def test_teeth_show_in_an_open_mouth(face):
    mesh = face.mesh({"jawOpen": 0.4})
    camera = facing_camera(mesh[face.model.masks["lips"]].mean(0), 0.8, 0.07, (SIZE, SIZE))
    teeth = face.draw(mesh, camera, face.one_hot("teeth"))[0][..., 0]
    # Twenty-five pixels of the picture, or 5 square millimetres; the upper lip blurs their edge.
    assert teeth.max() > 0.25 and teeth.sum() > 25
    closed = face.draw(face.mesh(), camera, face.one_hot(*INNER))[0][..., 0]
    assert closed.mean() < 0.005


def test_skin_that_does_not_move_does_not_flicker(demo):
    camera = demo.camera(256)
    rest = demo.mesh({"jawOpen": 0.1})
    moving = np.zeros(len(rest), bool)
    pictures = []
    for weight in (0.1, 0.2, 0.35, 0.6):
        mesh = demo.mesh({"jawOpen": weight, "mouthFunnel": 0.5 * weight})
        moving |= np.abs(mesh - rest).max(1) > 1e-7
        pictures.append(demo.draw(mesh, camera)[0])
    reach = camera.project(rest[moving])[:, 1].min()
    # A Gaussian reaches a few pixels farther than the vertices that carry it.
    still = slice(0, int(reach) - 6)
    assert still.stop > 60
    flicker = max(np.abs(after[still] - before[still]).max() for before, after in pairwise(pictures))
    assert flicker < 1 / 255


def test_a_slow_turn_does_not_pop(demo):
    camera, turns = demo.camera(), np.linspace(0.2, 0.21, 6)
    frames = [demo.draw(demo.mesh(turn=(0, turn, 0)), camera)[0] for turn in turns]
    steps = [np.abs(b - a) for a, b in pairwise(frames)]
    # A tenth of a degree moves the nearest points by a tenth of a pixel.
    assert max(np.quantile(step, 0.999) for step in steps) < 0.06


def test_the_published_form_draws_the_same_picture(demo, tmp_path):
    source = demo.stream.splats.avatar
    copy = read_splatting_avatar(write_splatting_avatar(source, tmp_path))
    mesh, camera = demo.mesh({"jawOpen": 0.4}), demo.camera()
    pictures = []
    for avatar in (source, copy):
        evaluator = SplattingEvaluator(avatar)
        splats = evaluator.drive(mesh)
        gaussians = Gaussians(
            splats.means, evaluator.opacities, splats.quats_wxyz, splats.scales, sh=evaluator.sh, sh_degree=0
        )
        pictures.append(rasterize(gaussians, camera, background=np.ones(3, np.float32), backend="cpu").color.copy())
    # Vertices are rounded to a micrometre: here and there two Gaussians change places.
    difference = np.abs(pictures[0] - pictures[1])
    assert difference.mean() < 1e-4 and np.quantile(difference, 0.999) < 0.02


def test_the_compact_form_is_its_own_round_trip(demo, tmp_path):
    source = demo.stream.splats.avatar
    write_splats(tmp_path / "a.npz", source, demo.parts)
    again = read_splats(tmp_path / "a.npz", source.canonical, source.faces)
    write_splats(tmp_path / "b.npz", again, demo.parts)
    for name in ("face_ids", "bary", "uvd", "log_scales", "opacity_logits", "sh"):
        assert np.allclose(getattr(source, name), getattr(again, name), atol=1e-5), name
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_splats_of_another_head_are_refused(demo, tmp_path):
    source = demo.stream.splats.avatar
    path = demo.avatar.path / demo.avatar.splats
    with pytest.raises(MarotteError, match="name the head model"):
        read_splats(path, source.canonical[:-1], source.faces)
    np.savez(tmp_path / "other.npz", format=np.array("marotte-head-1"))
    with pytest.raises(MarotteError, match="another file"):
        read_splats(tmp_path / "other.npz", source.canonical, source.faces)
    with pytest.raises(MarotteError, match="variant"):
        SplattingAvatarRenderer().open(demo.avatar, RenderOptions(extra={"variant": "tiny"}))


def test_the_bake_gives_the_same_bytes_each_time(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "demos"))
    import bake_demo_avatar as demos
    import splat_light
    from splat_layer import PARTS, as_avatar

    # Light from fewer directions and Gaussians for fewer poses go through the same code.
    monkeypatch.setattr(splat_light, "SKY", 16)
    monkeypatch.setattr(splat_light, "LAMP", 4)
    told = [{}, {"jawOpen": 1.0}, BOTH_EYES]
    monkeypatch.setattr(demos.Head, "stretches", property(lambda head: head.posed(told)))

    person = demos.PEOPLE["demo"]
    written = []
    for attempt in range(2):
        head = demos.Head.load(demos.HEAD, demos.identity(person))
        layer = demos.bake(head, person.look, 2000)
        assert len(layer) == 2000
        path = tmp_path / f"{attempt}.npz"
        write_splats(path, as_avatar(head, layer), Parts(layer.part.astype(np.uint8), PARTS))
        written.append(path.read_bytes())
    assert written[0] == written[1]
    for name in [name for name in sys.modules if name.startswith(("splat_", "bake_"))]:
        del sys.modules[name]
