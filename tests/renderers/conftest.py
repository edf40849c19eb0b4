"""Fixtures that several tests of renderers share."""

from types import SimpleNamespace

import numpy as np
import pytest

from marotte.models.flame import FlameModel
from marotte.models.gagavatar import GAGAvatarConfig
from marotte.models.rotations import rotvec_to_matrix
from marotte.renderers.gagavatar import GAGAvatarRenderer
from marotte.runtime.avatar import Avatar
from marotte.runtime.contracts import RenderOptions

# All but FLAME's own size and the photo's.
SMALL_GAGAVATAR = GAGAvatarConfig(
    vit_width=8,
    vit_depth=5,
    vit_heads=2,
    vit_patch=4,
    vit_grid=3,
    decoder_channels=(4, 6, 8, 8),
    features=8,
    hidden=6,
    channels=7,
    unet_channels=(8, 6, 5, 4),
    style_width=16,
)


@pytest.fixture(scope="session")
def gagavatar_folder(tmp_path_factory):
    """A head of FLAME's size, a small GAGAvatar network whose noise acts as in a trained one, and two people."""
    torch = pytest.importorskip("torch", reason="GAGAvatar needs torch")
    from marotte.models.gagavatar import GAGAvatar

    path = tmp_path_factory.mktemp("gagavatar")
    write_head(path / "head.npz", SMALL_GAGAVATAR.vertices)
    torch.manual_seed(5)
    network = GAGAvatar(SMALL_GAGAVATAR)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.endswith("modulation.bias"):
                parameter.fill_(1)
            elif ".style_conv" in name and parameter.shape == (1,):
                parameter.fill_(0.3)
            elif name.endswith(("pos_embed", "cls_token")):
                parameter.normal_()
    torch.save({"model": network.state_dict()}, path / "network.pt")
    for seed in range(2):
        np.savez(path / f"person{seed}.npz", **gagavatar_source(seed))
    return path


def write_head(path, count):
    random = np.random.default_rng(0)
    height = np.linspace(-1, 1, count)
    around, wide = np.arange(count) * 2.4, np.sqrt(1 - height**2)
    places = np.stack([wide * np.cos(around), height, wide * np.sin(around)], axis=1) * (0.08, 0.12, 0.1)
    shape, expression = (np.zeros((count, 3, width), np.float32) for width in (300, 100))
    shape[..., :3], expression[..., :3] = random.normal(0, 2e-3, (2, count, 3, 3))
    weights = np.zeros((count, 5), np.float32)
    weights[:, 1:3] = 0.5
    regressor = np.zeros((5, count), np.float32)
    regressor[:, :20] = 1 / 20
    FlameModel(
        v_template=places.astype(np.float32),
        faces=np.array([[0, 1, 2]], np.int32),
        shape_dirs=shape,
        expression_dirs=expression,
        pose_dirs=np.zeros((count, 3, 36), np.float32),
        joint_regressor=regressor,
        skinning_weights=weights,
        parents=(-1, 0, 1, 1, 1),
        basis="flame2020",
    ).save(path)


def gagavatar_source(seed):
    random = np.random.default_rng(seed)
    rotation = rotvec_to_matrix(random.normal(0, 0.2, 3)) @ np.diag([-1.0, 1.0, -1.0])
    shift = np.array([[0.02], [0.05 * seed], [9.6]])
    return {
        "image": random.integers(0, 256, (3, 512, 512), dtype=np.uint8),
        "transform_matrix": np.concatenate([rotation, shift], axis=1).astype(np.float32),
        "shapecode": random.normal(size=300).astype(np.float32),
    }


@pytest.fixture
def gagavatar(gagavatar_folder, tmp_path, monkeypatch):
    """What tests of the renderer share: config, people (two avatars), source, write_head, load, renderer, options.

    The cache is a folder of the test's own.
    """
    monkeypatch.setenv("MAROTTE_CACHE", str(tmp_path / "cache"))
    from marotte.models.gagavatar import GAGAvatar

    def load(path, **options):
        return GAGAvatar.load(path, config=SMALL_GAGAVATAR, **options)

    def options(size=(32, 32), **extra):
        return RenderOptions(*size, extra={"device": "cpu", **extra})

    people = [
        Avatar(
            name=f"person{seed}",
            path=gagavatar_folder,
            renderer="gagavatar",
            basis="flame2020",
            head="head.npz",
            network="network.pt",
            source=f"person{seed}.npz",
            unit=5.0,
            head_rotation="camera",
        )
        for seed in range(2)
    ]
    return SimpleNamespace(
        config=SMALL_GAGAVATAR,
        people=people,
        load=load,
        options=options,
        renderer=GAGAvatarRenderer(load),
        source=gagavatar_source,
        write_head=write_head,
    )
