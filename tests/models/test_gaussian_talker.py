"""The GaussianTalker network at small sizes: the fast form, batches, precision, and the pieces by themselves."""

import subprocess
import sys
from dataclasses import fields, replace

import numpy as np
import pytest

from marotte.errors import MarotteError
from marotte.models.gaussian_talker import TalkerConfig

torch = pytest.importorskip("torch", reason="GaussianTalker needs torch")
from marotte.models.gaussian_talker import Canonical, GaussianTalker, camera_token, fused  # noqa: E402
from marotte.models.gaussian_talker.tokens import eye_encoding  # noqa: E402

SMALL = TalkerConfig(
    features=4, planes=(4, 5, 6), multires=(1, 2), d_model=8, n_head=2, n_layer=2, ffn_hidden=12, net_width=10
)
NAMES = tuple(field.name for field in fields(Canonical))


def made(config):
    """A network of random weights that are large enough to matter."""
    torch.manual_seed(5)
    network = GaussianTalker(config)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.endswith((".gamma", ".beta")):
                parameter.add_(0.2 * torch.randn_like(parameter))
            elif ".grids." in name:
                parameter.normal_(0.8, 0.4)
        network.deformation_net.tri_plane.grid.aabb.copy_(torch.tensor([[1.0, 1.3, 0.9], [-1.2, -1.0, -0.8]]))
    return network


@pytest.fixture(scope="module")
def network():
    return made(SMALL)


@pytest.fixture(scope="module")
def canonical():
    """23 Gaussians, some outside of the box."""
    rng = np.random.default_rng(1)
    shapes = ((23, 3), (23, 3), (23, 4), (23,), (23, 16, 3))
    return Canonical(*(torch.from_numpy(rng.standard_normal(shape, dtype=np.float32)) for shape in shapes))


@pytest.fixture(scope="module")
def frames():
    """(audio [3, 8, 29, 16], eye [3], cam12 [3, 12])."""
    generator = torch.Generator().manual_seed(2)
    audio = 3 * torch.randn(3, 8, 29, 16, generator=generator)
    return audio, torch.tensor([0.0, 0.37, 1.0], dtype=torch.float64), torch.randn(3, 12, generator=generator)


def apart(deformed, other, names=(*NAMES, "attention")):
    return max((getattr(deformed, name) - getattr(other, name)).abs().max().item() for name in names)


@pytest.mark.parametrize(
    "config",
    [
        SMALL,
        replace(SMALL, n_layer=1, n_head=1),
        replace(SMALL, n_layer=3, n_head=4),
        replace(SMALL, moves=frozenset({"xyz", "opacity_logits"})),
        replace(SMALL, moves=frozenset({"sh"})),
        replace(SMALL, moves=frozenset({"quats_wxyz", "sh", "log_scales"})),
        replace(SMALL, moves=frozenset()),
        TalkerConfig(),
    ],
    # A set's order differs from process to process.
    ids=lambda config: f"{config.d_model}-{config.n_layer}-{config.n_head}-{'+'.join(sorted(config.moves))}",
)
@pytest.mark.parametrize("rows", [7, 1024])
def test_fast_form_is_the_plain_one(config, rows, canonical, frames, monkeypatch):
    """They add in another order: 2e-6 is a few steps of float32 at values of 4."""
    monkeypatch.setattr(fused, "_ROWS_CPU", rows)
    network = made(config)
    with torch.no_grad():
        tokens = network.tokens(*frames)
        plain = network.reference(canonical, tokens)
    fast = network.deform(network.prepare(canonical), tokens, attention=True)
    assert apart(fast, plain) <= 2e-6
    assert apart(network(canonical, *frames), fast) == 0
    assert fast.attention.shape == (3, config.n_layer, 23, 4)
    for name in NAMES:
        moved = (getattr(fast, name) != getattr(canonical, name)).any()
        assert moved == (name in config.moves), name
    assert network.deform(network.prepare(canonical), tokens).attention is None


def test_what_a_gpu_does_at_once_is_the_same(network, canonical, frames, monkeypatch):
    """Rows of all frames in one product, here on the CPU."""
    prepared, tokens = network.prepare(canonical), network.tokens(*frames)
    wanted = network.deform(prepared, tokens, attention=True)
    monkeypatch.setattr(fused, "_at_once", lambda device, batch: (2, 9))
    assert apart(network.deform(prepared, tokens, attention=True), wanted) <= 2e-6


def test_frames_in_a_batch_do_not_meet(network, canonical, frames):
    kept = [x.clone() for x in frames], [getattr(canonical, name).clone() for name in NAMES]
    prepared, tokens = network.prepare(canonical), network.tokens(*frames)
    together = network.deform(prepared, tokens, attention=True)
    for i in range(3):
        alone = network.deform(prepared, network.tokens(*(x[i : i + 1] for x in frames)), attention=True)
        row = type(together)(**{name: getattr(together, name)[i : i + 1] for name in (*NAMES, "attention")})
        assert apart(alone, row) <= 2e-6
    assert apart(network.deform(prepared, tokens, attention=True), together) == 0
    assert all((a == b).all() for a, b in zip(kept[0], frames, strict=True))
    assert all((a == getattr(canonical, name)).all() for a, name in zip(kept[1], NAMES, strict=True))


def test_what_was_prepared_stays(canonical, frames):
    network = made(SMALL)
    tokens = network.tokens(*frames).detach()
    prepared = network.prepare(canonical)
    before = network.deform(prepared, tokens, attention=True)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(2)
    assert apart(network.deform(prepared, tokens, attention=True), before) == 0
    assert apart(network.deform(network.prepare(canonical), tokens, attention=True), before) > 1e-2


def test_plain_form_can_be_trained(canonical, frames):
    network = made(SMALL)
    deformed = network.reference(canonical, network.tokens(*frames))
    sum(getattr(deformed, name).square().sum() for name in NAMES).backward()
    net = network.deformation_net
    for parameter in (net.tri_plane.grid.grids[1][2], net.audio_net.encoder_conv[0].weight, net.null_vector):
        assert parameter.grad.abs().max() > 0
    assert net.tri_plane.grid.aabb.grad is None and not network.train().training


def test_tokens(network, frames):
    audio, eye, cam12 = frames
    tokens = network.tokens(*frames).detach()
    assert tokens.shape == (3, 4, 8)
    for k, changed in ((0, (audio + 1, eye, cam12)), (1, (audio, 1 - eye * 0.5, cam12)), (2, (audio, eye, cam12 + 1))):
        moved = (network.tokens(*changed) - tokens).abs().amax(dim=(0, 2)) > 1e-3
        assert moved.tolist() == [i == k for i in range(4)]
    # Silence before the start is heard as zeros, which is not hearing nothing.
    codes = network.audio_codes(torch.zeros(1, 8, 29, 16))
    assert codes.abs().max() > 1e-2 and (codes == codes[:, :1]).all()
    assert torch.allclose(network.audio_weights(network.audio_codes(audio)).sum(dim=1), torch.ones(3))


def test_eyes_are_encoded_in_float64():
    value = torch.tensor([0.123456789012345], dtype=torch.float64)
    code = eye_encoding(value)[0]
    assert code.dtype == torch.float32 and len(code) == 32
    frequency = float(np.float32(10000.0 ** (15 / 16)))
    assert code[30] == np.float32(np.sin(value.item() * frequency))
    assert code[1] == np.float32(np.cos(value.item()))
    assert (eye_encoding(value.float()) - code).abs().max() > 1e-6


@pytest.mark.parametrize("convert", [np.asarray, torch.from_numpy], ids=["numpy", "torch"])
def test_camera_token(convert):
    turn = np.arange(18, dtype=np.float64).reshape(2, 3, 3)
    token = camera_token(convert(turn), convert(np.array([[0.1, 2, 3], [4, 5, 6]])))
    assert token.dtype in (np.float32, torch.float32)
    assert token.tolist()[0] == [0, 3, 6, 1, 4, 7, 2, 5, 8, float(np.float32(0.1)), 2, 3]
    assert token.tolist()[1][9:] == [4, 5, 6]


def bilinear(plane, across, down):
    """The slow twin: the value [C] of a plane [C, h, w] at a cell's coordinates, held at its border."""
    _, height, width = plane.shape
    x, y = np.clip(across, 0, width - 1), np.clip(down, 0, height - 1)
    i, j = min(int(x), width - 2), min(int(y), height - 2)
    a, b = x - i, y - j
    top = (1 - a) * plane[:, j, i] + a * plane[:, j, i + 1]
    return (1 - b) * top + b * ((1 - a) * plane[:, j + 1, i] + a * plane[:, j + 1, i + 1])


def test_plane_features(network, canonical):
    """The largest corner is at cell 0; the second coordinate of a pair runs along the height."""
    grid = network.deformation_net.tri_plane.grid
    largest, smallest = grid.aabb.detach().double().numpy()
    got = network.plane_features(canonical.xyz).detach().numpy()
    for place, found in zip(canonical.xyz.double().numpy(), got, strict=True):
        part = (largest - place) / (largest - smallest)
        wanted = []
        for planes in grid.grids:
            product = np.ones(SMALL.features)
            for (a, b), plane in zip(((0, 1), (0, 2), (1, 2)), planes, strict=True):
                cells = plane[0].detach().double().numpy()
                _, height, width = cells.shape
                product *= bilinear(cells, part[a] * (width - 1), part[b] * (height - 1))
            wanted.append(product)
        assert np.abs(found - np.concatenate(wanted)).max() <= 1e-5


def test_activations(network, canonical, frames):
    raw = network(canonical, *frames)
    raw.quats_wxyz[0, 0] = 0
    means, scales, quats_wxyz, opacities, sh = raw.activated()
    assert means is raw.xyz and sh is raw.sh and opacities.shape == (3, 23)
    assert torch.allclose(scales, raw.log_scales.exp()) and torch.allclose(opacities, raw.opacity_logits.sigmoid())
    lengths = quats_wxyz.norm(dim=-1)
    assert lengths[0, 0] == 0 and torch.allclose(lengths.flatten()[1:], torch.ones(68))


@pytest.mark.parametrize(("name", "limit"), [("bfloat16", 5e-2), ("float16", 5e-3)])
def test_large_products_can_be_shortened(network, canonical, frames, name, limit):
    tokens = network.tokens(*frames).detach()
    short = network.deform(network.prepare(canonical, getattr(torch, name)), tokens, attention=True)
    assert {getattr(short, each).dtype for each in NAMES} == {torch.float32}
    assert 0 < apart(short, network.deform(network.prepare(canonical), tokens, attention=True)) <= limit


def test_converting_the_network_shortens_nothing_and_float64_is_a_twin(network, canonical, frames):
    wide = made(SMALL).double()
    wide.load_state_dict(network.state_dict())
    with torch.no_grad():
        wanted = wide.reference(canonical, wide.tokens(*frames))
    assert wanted.xyz.dtype == torch.float64 and apart(wanted, network(canonical, *frames)) <= 1e-5
    assert {x.dtype for x in made(SMALL).to(torch.bfloat16).state_dict().values()} == {torch.float32}


def test_wrong_shapes_are_named(network, canonical, frames):
    audio, eye, cam12 = frames
    with pytest.raises(MarotteError, match=r"audio windows have shape \[3, 8, 16, 29\], expected \[any, 8, 29, 16\]"):
        network.tokens(audio.transpose(2, 3), eye, cam12)
    with pytest.raises(MarotteError, match=r"eyes have shape \[2\], expected \[3\]"):
        network.tokens(audio, eye[:2], cam12)
    with pytest.raises(MarotteError, match="eyes are float32, expected float64"):
        network.tokens(audio, eye.float(), cam12)
    with pytest.raises(MarotteError, match=r"camera tokens have shape \[1, 12\], expected \[3, 12\]"):
        network.tokens(audio, eye, cam12[:1])
    with pytest.raises(MarotteError, match=r"tokens have shape \[3, 4, 7\], expected \[any, 4, 8\]"):
        network.deform(network.prepare(canonical), torch.zeros(3, 4, 7))


def test_without_torch():
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from marotte.models.gaussian_talker import TalkerConfig, camera_token, find_model, read_cfg_args\n"
        "import marotte.models.gaussian_talker.windows\n"
        "print(TalkerConfig().d_model)\n"
        "try: from marotte.models.gaussian_talker import GaussianTalker\n"
        "except Exception as error: print(type(error).__name__, error)\n"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.startswith("64\nMarotteError GaussianTalker needs torch")
    assert "pip install 'marotte[gaussian-talker]'" in out
