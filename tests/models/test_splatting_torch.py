"""The heads and Gaussians of a torch device against those of the CPU: on CPU tensors, and on CUDA where there is."""

from dataclasses import replace

import numpy as np
import pytest

from marotte.errors import MarotteError
from marotte.models.flame import FlameModel
from marotte.models.flame_numba import HeadEvaluator
from marotte.models.splatting_avatar import SplattingAvatar
from marotte.models.splatting_numba import SplattingEvaluator
from marotte.runtime.avatar import load_avatar
from marotte.runtime.splats import avatar_splats

torch = pytest.importorskip("torch", reason="torch is not installed")

DEVICES = [
    "cpu",
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")),
]


@pytest.fixture(scope="module")
def demo():
    avatar = load_avatar("demo")
    head = FlameModel.load(avatar.head_path, n_expression=avatar.expressions, basis=avatar.basis)
    return head, avatar_splats(avatar, head, "live")


def moves(head, frames=4, seed=0):
    """Return expression, pose, eyelids and translation of lively frames, the first of them at rest."""
    rng = np.random.default_rng(seed)
    expression = rng.uniform(0, 0.7, (frames, head.expression_dirs.shape[-1])).astype(np.float32)
    pose = rng.normal(0, 0.3, (frames, 15)).astype(np.float32)
    lids, moved = rng.uniform(0, 1, (frames, 2)).astype(np.float32), rng.normal(0, 0.1, (frames, 3)).astype(np.float32)
    for array in (expression, pose, lids, moved):
        array[0] = 0
    return expression, pose, lids, moved


def on(device, *arrays):
    return [None if a is None else torch.from_numpy(np.ascontiguousarray(a)).to(device) for a in arrays]


def close(got, expected, tolerance):
    np.testing.assert_allclose(got.cpu().numpy(), expected, rtol=0, atol=tolerance)


def close_turns(got, expected, tolerance):
    """Compare quaternions; where w is nearly 0, rounding decides which of the two signs w >= 0 leaves."""
    flipped = (np.abs(expected[:, :1]) < 1e-6) & (np.sum(got.cpu().numpy() * expected, axis=1, keepdims=True) < 0)
    close(got, np.where(flipped, -expected, expected), tolerance)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("scale", [1.0, 4.0])
def test_head_as_on_the_cpu(demo, device, scale):
    from marotte.models.flame_torch import TorchHead

    rng = np.random.default_rng(1)
    model = demo[0]
    lids = tuple(rng.normal(0, 0.01, model.v_template.shape).astype(np.float32) for _ in range(2))
    shape = rng.normal(0, 1, 2).astype(np.float32)
    shapes = rng.normal(0, 0.001, (*model.v_template.shape, 2)).astype(np.float32)
    model = replace(model, eyelid_fields=lids, shape_dirs=shapes)
    given = moves(model)
    expected = HeadEvaluator(model, shape, scale).vertices(*given)
    head = TorchHead(model, shape, scale, device)
    got = head.vertices(*on(device, *given))
    assert got.dtype == torch.float32 and got.shape == expected.shape
    # Both sum some 60 terms of up to a few units; float32 has 24 bits.
    close(got, expected, 1e-6 * scale)
    still = HeadEvaluator(model, shape, scale).vertices(*given[:2])
    close(head.vertices(*on(device, *given[:2])), still, 1e-6 * scale)


@pytest.mark.parametrize("device", DEVICES)
def test_gaussians_as_on_the_cpu(demo, device):
    from marotte.models.splatting_torch import TorchSplats

    head, avatar = demo
    meshes = HeadEvaluator(head).vertices(*moves(head)[:2])
    fast, batch = SplattingEvaluator(avatar), TorchSplats(avatar, device)
    got = batch.drive(*on(device, meshes))
    for frame, mesh in enumerate(meshes):
        expected = fast.drive(mesh)
        close(got.means[frame], expected.means, 1e-6)
        close_turns(got.quats_wxyz[frame], expected.quats_wxyz, 2e-6)
        close(got.scales, expected.scales, 1e-6)  # the demo avatar's do not follow the mesh
    assert all(part.is_contiguous() for part in (got.means, got.quats_wxyz, got.scales))
    close(batch.opacities, fast.opacities, 1e-6)


def glued(degree, seed=0, **settings):
    """Return 300 Gaussians on a bent sheet, and three poses of it."""
    rng = np.random.default_rng(seed)
    x, y = np.meshgrid(np.linspace(-1, 1, 9), np.linspace(-1, 1, 8))
    sheet = np.stack([x, y, 0.3 * np.sin(2 * x + y)], axis=-1).reshape(-1, 3).astype(np.float32)
    corner = (np.arange(8)[None] + 9 * np.arange(7)[:, None]).reshape(-1)
    faces = np.concatenate([corner[:, None] + (0, 1, 10), corner[:, None] + (0, 10, 9)]).astype(np.int32)
    avatar = SplattingAvatar(
        face_ids=rng.integers(0, len(faces), 300).astype(np.int32),
        bary=rng.dirichlet((1, 1, 1), 300).astype(np.float32),
        uvd=rng.normal(0, 0.05, (300, 3)).astype(np.float32),
        rotations_wxyz=rng.normal(size=(300, 4)).astype(np.float32),
        log_scales=rng.normal(-4, 0.5, (300, 3)).astype(np.float32),
        opacity_logits=rng.normal(size=300).astype(np.float32),
        sh=rng.normal(0, 0.4, (300, (degree + 1) ** 2, 3)).astype(np.float32),
        canonical=sheet,
        faces=faces,
        **settings,
    )
    # Not by a right angle, where the older sign rule has two equal components to choose from.
    turned = sheet @ np.array([[0.8, -0.6, 0], [0.6, 0.8, 0], [0, 0, 1]], np.float32)
    return avatar, np.stack([sheet, sheet * (1, 1.3, 2) + 0.1, turned]).astype(np.float32)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("degree", range(4))
@pytest.mark.parametrize(
    "settings", [{}, {"xyz_as_uvd": False}, {"with_mesh_scaling": False}, {"positive_w": False}], ids=str
)
def test_every_setting_of_an_avatar(device, degree, settings):
    from marotte.models.splatting_torch import TorchSplats

    avatar, meshes = glued(degree, colours_outside=True, **settings)
    centres = np.random.default_rng(3).normal(0, 4, (len(meshes), 3)).astype(np.float32)
    got = TorchSplats(avatar, device).drive(*on(device, meshes, centres))
    for frame, (mesh, centre) in enumerate(zip(meshes, centres, strict=True)):
        expected = SplattingEvaluator(avatar).drive(mesh, centre)
        close(got.means[frame], expected.means, 2e-6)
        close_turns(got.quats_wxyz[frame], expected.quats_wxyz, 3e-6)
        close(got.scales[frame] if avatar.with_mesh_scaling else got.scales, expected.scales, 1e-5)
        close(got.colours[frame], expected.colours, 3e-6)


@pytest.mark.parametrize("device", DEVICES)
def test_a_frame_is_the_same_in_any_batch(demo, device):
    from marotte.models.flame_torch import TorchHead
    from marotte.models.splatting_torch import TorchSplats

    head, avatar = demo
    model, splats = TorchHead(head, device=device), TorchSplats(avatar, device)
    given = on(device, *moves(head, frames=7)[:2])
    whole = splats.drive(model.vertices(*given))
    for frame in range(7):
        one = splats.drive(model.vertices(*(part[frame : frame + 1] for part in given)))
        assert torch.equal(one.means[0], whole.means[frame]) and torch.equal(one.quats_wxyz[0], whole.quats_wxyz[frame])


def test_what_does_not_fit_is_refused(demo):
    from marotte.models.flame_torch import TorchHead
    from marotte.models.splatting_torch import TorchSplats

    head, avatar = demo
    expression, pose, lids, _ = on("cpu", *moves(head))
    with pytest.raises(MarotteError, match="99 expression coefficients are given, expected 100"):
        TorchHead(head).vertices(expression[:, :99], pose)
    with pytest.raises(MarotteError, match="has no eyelid fields"):
        TorchHead(head).vertices(expression, pose, lids)
    with pytest.raises(MarotteError, match=r"\[1, 5, 3\], but the avatar's canonical mesh has 14177 vertices"):
        TorchSplats(avatar).drive(torch.zeros(1, 5, 3))
