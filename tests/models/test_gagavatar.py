"""The GAGAvatar network at small sizes: values, batches, noise, precision, checkpoints and what they refuse."""

import math
import subprocess
import sys

import numpy as np
import pytest

from marotte.errors import MarotteError
from marotte.models.gagavatar import GAGAvatarConfig
from marotte.models.torch_writer import write_torch

torch = pytest.importorskip("torch", reason="GAGAvatar needs torch")
from marotte.models.gagavatar import GAGAvatar, driven_transform, rasterizer_camera, smooth_forehead  # noqa: E402
from marotte.models.gagavatar.camera import TAN_HALF_FOV, encode_direction, head_rotation, plane_points  # noqa: E402
from marotte.models.gagavatar.forehead import FOREHEAD  # noqa: E402
from marotte.models.gagavatar.stylegan import ModulatedConv  # noqa: E402
from marotte.models.rotations import rotvec_to_matrix  # noqa: E402

SMALL = GAGAvatarConfig(
    vit_width=8,
    vit_depth=5,
    vit_heads=2,
    vit_patch=4,
    vit_grid=3,
    decoder_channels=(4, 6, 8, 8),
    features=8,
    hidden=6,
    vertices=20,
    channels=7,
    unet_channels=(8, 6, 5, 4),
    style_width=16,
)


@pytest.fixture(scope="module")
def model():
    """A small network whose noise and modulation act as in a trained one."""
    torch.manual_seed(5)
    small = GAGAvatar(SMALL)
    with torch.no_grad():
        for name, parameter in small.named_parameters():
            if name.endswith("modulation.bias"):
                parameter.fill_(1)
            elif ".style_conv" in name and parameter.shape == (1,):
                parameter.fill_(0.3)
            elif name.endswith(("pos_embed", "cls_token")):
                parameter.normal_()
    return small


@pytest.fixture
def photos():
    """(pictures [2, 3, 40, 40], transforms [2, 3, 4])."""
    generator = torch.Generator().manual_seed(1)
    turned = driven_transform(torch.tensor([[0.1, -0.4, 0.2], [0.0, 0.3, 0.1]]), torch.tensor([0.02, 0.1, 9.5]))
    return torch.rand(2, 3, 40, 40, generator=generator), turned


@pytest.fixture
def drawn():
    """Rasterized pictures [2, 7, 32, 32]."""
    return torch.randn(2, 7, 32, 32, generator=torch.Generator().manual_seed(2))


def tensors(identity):
    looks = identity.looks
    return looks.features, looks.opacities, looks.scales, looks.quats_wxyz, identity.plane_means


def test_identities_in_a_batch_do_not_meet(model, photos):
    images, transforms = photos
    kept = images.clone(), transforms.clone()
    together = model.identity(images, transforms)
    assert together.looks.features.shape == (2, SMALL.gaussians, 7)
    for i in range(2):
        alone = model.identity(images[i : i + 1], transforms[i : i + 1])
        for one, both in zip(tensors(alone), tensors(together), strict=True):
            assert (one - both[i : i + 1]).abs().max() <= 1e-5
    assert all((a == b).all() for a, b in zip(kept, photos, strict=True))
    for first, again in zip(tensors(together), tensors(model.identity(images, transforms)), strict=True):
        assert (first == again).all()


def test_quirks_of_the_generators(model, photos):
    images, transforms = photos
    looks, head, size = model.identity(images, transforms).looks, SMALL.vertices, SMALL.plane_size
    # Over the vertices, each component of the head's quaternions has length 1.
    assert torch.allclose(looks.quats_wxyz[:, :head].norm(dim=1), torch.ones(2, 4))
    assert torch.allclose(looks.quats_wxyz[:, head:].norm(dim=2), torch.ones(2, 2 * size**2))
    assert (looks.features[:, :head, :3].min() > 0) and (looks.features[:, :head, :3].max() < 1)
    # Of a plane, the first three columns are squeezed, in all channels; nothing else is.
    features, direction = model.encode(images), encode_direction(transforms[:, :, 2])
    directions = direction[:, :, None, None].expand(-1, -1, size, size)
    for k, generator in enumerate((model.gs_generator_l0, model.gs_generator_l1)):
        with torch.no_grad():
            raw = generator.gaussian_conv(torch.cat([features.map, directions], dim=1))[:, : SMALL.channels]
        got = looks.features[:, head + k * size**2 :][:, : size**2].unflatten(1, (size, size)).permute(0, 3, 1, 2)
        assert (got[..., :3] - raw[..., :3].sigmoid()).abs().max() <= 1e-6
        assert (got[..., 3:] - raw[..., 3:]).abs().max() <= 1e-6


def test_vector_is_the_first_patch(model, photos):
    image = photos[0][:1]
    with torch.no_grad():
        features = model.encode(image)
        resized = torch.nn.functional.interpolate(image, SMALL.image_size, mode="bilinear", antialias=True)
        mean, deviation = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]])[..., None, None]
        dino = model.base_model.dino_model
        patches = dino.patch_embed((resized - mean) / deviation)
        x = torch.cat([dino.cls_token, patches], dim=1) + dino.pos_embed
        for block in dino.blocks:
            x = block(x)
    assert (features.vector - dino.norm(x)[:, 1]).abs().max() <= 1e-5
    assert (features.vector - dino.norm(x)[:, 0]).abs().max() > 1e-2
    assert features.map.shape == (1, SMALL.features, SMALL.plane_size, SMALL.plane_size)


def test_places(model, photos):
    images, transforms = photos
    identity = model.identity(images[:1], transforms[:1])
    vertices = torch.randn(4, SMALL.vertices, 3)
    means = identity.means(vertices)
    assert means.shape == (4, SMALL.gaussians, 3) and (means[:, : SMALL.vertices] == vertices).all()
    # As the source's camera sees it, the first plane is behind the world's origin and the second before it.
    depth = (means[0, SMALL.vertices :] @ transforms[0, :, :3] + transforms[0, :, 3])[:, 2].unflatten(0, (2, -1))
    assert (depth[0] > transforms[0, 2, 3]).all() and (depth[1] < transforms[0, 2, 3]).all()
    two = model.identity(images, transforms)
    assert (two.means(vertices[:2])[1, SMALL.vertices :] == two.plane_means[1]).all()


def test_camera_agrees_with_its_parts():
    rotvec = torch.tensor([[0.0, 0.0, 0.0], [0.3, -0.7, 0.2], [2.0, 1.5, -1.2], [1e-9, 0.0, 0.0]], dtype=torch.float64)
    kept = rotvec.clone()
    transform = driven_transform(rotvec, torch.tensor([0.1, -0.2, 9.0], dtype=torch.float64))
    assert (rotvec == kept).all()
    facing = torch.diag(torch.tensor([-1.0, 1.0, -1.0], dtype=torch.float64))
    assert (head_rotation(rotvec[:1])[0] == facing).all()
    signs = torch.tensor([-1.0, 1.0, -1.0], dtype=torch.float64)
    expected = torch.linalg.inv(rotvec_to_matrix(rotvec * signs) @ facing)
    assert (transform[:, :, :3] - expected).abs().max() <= 1e-7  # rotvec_to_matrix adds 1e-8 to each component

    view, projection, position = rasterizer_camera(transform)
    assert (position == transform[:, :, 3]).all()
    near, far = 0.01, 100
    lens = torch.zeros(4, 4, dtype=torch.float64)
    lens[0, 0] = lens[1, 1] = 1 / TAN_HALF_FOV
    lens[2, 2], lens[2, 3], lens[3, 2] = far / (far - near), 1, -far * near / (far - near)
    assert (projection - view @ lens).abs().max() <= 1e-12
    # The corners of the image plane are the corners of the picture, top left first.
    points, normal = plane_points(transform, 5)
    homogeneous = torch.cat([points, torch.ones_like(points[..., :1])], dim=-1)
    clip = homogeneous @ projection
    ndc = clip[..., :2] / clip[..., 3:]
    corners = torch.tensor([[-1.0, -1.0], [1.0, -1.0], [-1.0, 1.0], [1.0, 1.0]], dtype=torch.float64)
    assert (ndc[:, [0, 4, 20, 24]] - corners).abs().max() <= 1e-9
    assert (points * normal[:, None]).sum(dim=-1).abs().max() <= 1e-9


def test_forehead():
    generator = torch.Generator().manual_seed(4)
    vertices = torch.randn(6, 5023, 3, generator=generator, dtype=torch.float64)
    kept, index = vertices.clone(), list(FOREHEAD)
    whole, state = smooth_forehead(vertices)
    assert len(set(FOREHEAD)) == 68 and (vertices == kept).all() and (whole[0] == vertices[0]).all()
    weights = 0.98 ** torch.arange(5, -1, -1, dtype=torch.float64)
    weights[1:] *= 0.02
    assert (whole[5, index] - (weights[:, None, None] * vertices[:, index]).sum(dim=0)).abs().max() <= 1e-12
    others = np.setdiff1d(np.arange(5023), index)
    assert (whole[:, others] == vertices[:, others]).all()
    first, between = smooth_forehead(vertices[:2])
    second, last = smooth_forehead(vertices[2:], between)
    assert (torch.cat([first, second]) == whole).all() and (last == state).all()
    with pytest.raises(MarotteError, match="no frames"):
        smooth_forehead(vertices[:0])


def test_pictures_in_a_batch_do_not_meet(model, drawn):
    kept = drawn.clone()
    together = model.upsample(drawn)
    assert together.shape == (2, 3, 32, 32) and together.dtype == torch.float32
    assert together.min() >= 0 and together.max() <= 1 and (drawn == kept).all()
    for i in range(2):
        assert (model.upsample(drawn[i : i + 1]) - together[i : i + 1]).abs().max() <= 1e-5
    assert (together[0] - together[1]).abs().max() > 1e-3


def test_noise_is_an_argument(model, drawn):
    assert (model.upsample(drawn) == model.upsample(drawn, model.stored_noise())).all()
    batch = model.random_noise(torch.Generator().manual_seed(0), batch=2)
    assert [tuple(x.shape) for x in batch] == [(2, 1, 2 ** ((k + 5) // 2), 2 ** ((k + 5) // 2)) for k in range(7)]
    generator = torch.Generator().manual_seed(0)
    singles = [model.random_noise(generator) for _ in range(2)]
    for layer, (first, second) in zip(batch, zip(*singles, strict=True), strict=True):
        assert (layer == torch.cat([first, second])).all()
    noisy = model.upsample(drawn, batch)
    assert (noisy[1:] - model.upsample(drawn[1:], singles[1])).abs().max() <= 1e-5
    assert (noisy - model.upsample(drawn)).abs().max() > 1e-3


@pytest.mark.parametrize(("kernel", "demodulate"), [(3, True), (1, False)])
def test_modulated_convolution_is_the_published_one(kernel, demodulate):
    """The slow twin multiplies the weights and convolves each picture by itself."""
    generator = torch.Generator().manual_seed(6)
    conv = ModulatedConv(5, 4, kernel, 16, demodulate).double()
    x = torch.randn(3, 5, 9, 9, generator=generator, dtype=torch.float64)
    style = torch.randn(3, 16, generator=generator, dtype=torch.float64)
    with torch.no_grad():
        got, factors = conv(x, style), conv.modulation(style)
        for picture, factor, want in zip(x, factors, got, strict=True):
            weight = conv.weight[0] * factor[:, None, None]
            if demodulate:
                lengths = (weight.square().sum(dim=(1, 2, 3), keepdim=True) + 1e-8).sqrt()
                weight = math.sqrt(2) * weight / lengths
            assert (torch.nn.functional.conv2d(picture, weight, padding=kernel // 2) - want).abs().max() <= 1e-12


def test_half_precision_does_not_overflow():
    conv = ModulatedConv(64, 8, 3, 4, demodulate=True)
    with torch.no_grad():
        conv.weight.mul_(10)
        conv.modulation.bias.fill_(5000)
    x, style = torch.randn(1, 64, 8, 8, generator=torch.Generator().manual_seed(7)), torch.zeros(1, 4)
    with torch.no_grad():
        want = conv(x, style)
        got = conv.half()(x.half(), style)
    assert got.dtype == torch.float16 and (got.float() - want).abs().max() <= 2e-2  # values to 4


@pytest.mark.parametrize(("name", "limit"), [("float16", 4e-3), ("bfloat16", 3e-2)])
def test_only_the_upsampler_is_shortened(model, drawn, photos, name, limit):
    dtype = getattr(torch, name)
    short = GAGAvatar(SMALL)
    short.load_state_dict(model.state_dict())
    short = short.to(dtype)
    kinds = {key: x.dtype for key, x in short.state_dict().items()}
    assert {kind for key, kind in kinds.items() if not key.startswith("upsampler.")} == {torch.float32}
    # The style, colours and levels of up to 16 pixels are exact; this small network has one level more, of 32.
    shortened = {key for key, kind in kinds.items() if kind == dtype}
    decoder = "upsampler.stylegan_decoder"
    parts = ("conv_body_first", "conv_body_up.2", "condition_scale.2", "condition_shift.2", "toRGB")
    largest = [f"upsampler.{part}." for part in parts]
    largest += [f"{decoder}.style_convs.{i}." for i in (4, 5)] + [f"{decoder}.noises."]
    assert shortened == {key for key in kinds if key.startswith(tuple(largest)) and "modulation" not in key}
    picture = short.upsample(drawn)
    assert picture.dtype == torch.float32 and (picture - model.upsample(drawn)).abs().max() <= limit
    for x, y in zip(tensors(short.identity(*photos)), tensors(model.identity(*photos)), strict=True):
        assert (x == y).all()


def test_float64_is_a_twin(model, drawn, photos):
    wide = GAGAvatar(SMALL).double()
    wide.load_state_dict(model.state_dict())
    assert (wide.upsample(drawn.double()) - model.upsample(drawn)).abs().max() <= 1e-5
    for x, y in zip(tensors(wide.identity(*photos)), tensors(model.identity(*photos)), strict=True):
        assert x.dtype == torch.float64 and (x - y).abs().max() <= 1e-4


def test_always_in_eval_mode(model):
    assert not model.train().training


def test_wrong_shapes_are_named(model, photos, drawn):
    images, transforms = photos
    with pytest.raises(MarotteError, match=r"photos have shape \[2, 40, 40\], expected \[any, 3, any, any\]"):
        model.encode(images[:, 0])
    with pytest.raises(MarotteError, match=r"photos are uint8, expected floating numbers"):
        model.encode((255 * images).byte())
    with pytest.raises(MarotteError, match=r"transforms have shape \[1, 3, 4\], expected \[2, 3, 4\]"):
        model.identity(images, transforms[:1])
    with pytest.raises(MarotteError, match=r"rasterized pictures have shape .*, expected \[any, 7, 32, 32\]"):
        model.upsample(drawn[:, :, :16])


@pytest.fixture
def entries(model):
    return dict(model.state_dict())


@pytest.fixture
def load(tmp_path):
    """Save content and load it."""

    def loaded(content, **options):
        torch.save(content, tmp_path / "model.pt")
        return GAGAvatar.load(tmp_path / "model.pt", config=SMALL, **options)

    return loaded


def same(loaded, entries):
    return all((x == entries[name]).all() for name, x in loaded.state_dict().items())


WORLD = {"MODEL": {"NAME": "GAGAvatar"}, "DATASET": {"POINT_PLANE_SIZE": 296, "FLAME_SCALE": 5.0, "FOCAL_LENGTH": 12.0}}


def test_checkpoint_comes_back(entries, load, model, tmp_path, drawn):
    training = {"percep_loss.net.0.weight": torch.zeros(3), "model.percep_loss.bias": torch.zeros(1)}
    loaded = load({"model": entries | training, "meta_cfg": WORLD})
    assert same(loaded, entries) and not loaded.training
    assert not any(x.requires_grad for x in loaded.parameters())
    assert (loaded.upsample(drawn) == model.upsample(drawn)).all()

    from safetensors.torch import save_file

    save_file({name: x.contiguous() for name, x in entries.items()}, tmp_path / "model.safetensors")
    assert same(GAGAvatar.load(tmp_path / "model.safetensors", config=SMALL), entries)
    short = load({"model": entries}, dtype=torch.float16)
    assert short.upsampler.conv_body_first.weight.dtype == torch.float16
    assert (short.head_base == entries["head_base"]).all()


def test_full_size_checkpoint_loads_strictly(tmp_path):
    with torch.device("meta"):
        expected = GAGAvatar().state_dict()
    assert (len(expected), sum(x.numel() for x in expected.values())) == (561, 169_616_198)
    # One element stands for all of a tensor's, so that the file is small.
    small = {name: np.broadcast_to(np.float32(0), x.shape) for name, x in expected.items()}
    small["percep_loss.alex.0.weight"] = np.zeros(3, np.float32)
    write_torch(tmp_path / "GAGAvatar.pt", {"meta_cfg": WORLD, "model": small})
    loaded = GAGAvatar.load(tmp_path / "GAGAvatar.pt").state_dict()
    assert {name: x.shape for name, x in loaded.items()} == {name: x.shape for name, x in expected.items()}


def test_what_is_wrong_with_a_checkpoint_is_named(entries, load, tmp_path):
    wrong = entries | {"optimizer.step": torch.zeros(1), "head_base": torch.zeros(9, 8)}
    del wrong["base_model.dino_model.mask_token"]
    with pytest.raises(MarotteError) as error:
        load({"model": wrong})
    assert "1 missing: base_model.dino_model.mask_token" in str(error.value)
    assert "1 not GAGAvatar's: optimizer.step" in str(error.value)
    assert "1 of another shape: head_base [9, 8] (expected [20, 8])" in str(error.value)
    assert "marotte assets fetch gagavatar" in str(error.value) and "\n" not in str(error.value)
    with pytest.raises(MarotteError, match="FLAME_SCALE 1, expected 5 as published"):
        load({"model": entries, "meta_cfg": {"DATASET": {"FLAME_SCALE": 1.0}}})
    for content in ({"model": {"head_base": 3}}, {"state_dict": entries}, torch.zeros(3), {"model": torch.zeros(3)}):
        with pytest.raises(MarotteError, match="not a flat dictionary of tensors"):
            load(content)
    with pytest.raises(MarotteError, match=r"cannot read .*No such file"):
        GAGAvatar.load(tmp_path / "absent.pt")


class Evil:
    def __reduce__(self):
        return (print, ("run",))


def test_nothing_in_a_file_is_run(load, tmp_path, capsys, entries):
    with pytest.raises(MarotteError, match="asks for more than tensors"):
        load({"model": entries, "meta_cfg": Evil()})
    (tmp_path / "model.pt").write_bytes((tmp_path / "model.pt").read_bytes()[:3000])
    with pytest.raises(MarotteError, match="truncated"):
        GAGAvatar.load(tmp_path / "model.pt", config=SMALL)
    assert "run" not in capsys.readouterr().out


def test_without_torch():
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from marotte.models.gagavatar import GAGAvatarConfig\n"
        "print(GAGAvatarConfig().gaussians)\n"
        "try: from marotte.models.gagavatar import GAGAvatar\n"
        "except Exception as error: print(type(error).__name__, error)\n"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.startswith("180255\nMarotteError GAGAvatar needs torch")
    assert "pip install 'marotte[gagavatar]'" in out
