"""A person in the published layout, made here and small: a head of some hundred Gaussians in twelve filmed frames."""

import json
from fractions import Fraction

import numpy as np
import pytest
from PIL import Image

from marotte.models.torch_writer import write_torch
from marotte.renderers.gaussian_talker import GaussianTalkerRenderer
from marotte.renderers.rasterizers.scenes import head_scene
from marotte.runtime.avatar import NO_BASIS, Avatar
from marotte.runtime.background import Background
from marotte.runtime.clock import frame_ticks
from marotte.runtime.contracts import Drive, RenderOptions
from marotte.runtime.head import HeadState
from marotte.runtime.recording import Recording, camera_of, read_recording

WIDTH, HEIGHT, FRAMES, GAUSSIANS, FOCAL = 48, 40, 12, 300, 90.0


@pytest.fixture(scope="session")
def torch():
    return pytest.importorskip("torch", reason="torch is not installed")


@pytest.fixture(scope="session")
def avatar(torch, tmp_path_factory) -> Avatar:
    folder = tmp_path_factory.mktemp("talker")
    _write_model(torch, folder / "model")
    _write_data(folder / "data")
    return Avatar(
        name="small",
        path=folder,
        renderer="gaussian-talker",
        basis=NO_BASIS,
        network="model",
        recording="data",
        features="marotte-phones",
        unit=10.0,
        head_rotation="root",
        size=(WIDTH, HEIGHT),
        background="own",
    )


@pytest.fixture(scope="session")
def recording(avatar) -> Recording:
    return read_recording(avatar.path / "data")


def _write_model(torch, folder):
    from marotte.models.gaussian_talker import Canonical, GaussianTalker, TalkerConfig, write_canonical

    config = TalkerConfig(
        features=8, planes=(8, 10, 12), multires=(1, 2), d_model=16, ffn_hidden=16, net_width=16, n_head=2
    )
    torch.manual_seed(0)
    network = GaussianTalker(config)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if "_deform.3." in name:
                parameter.mul_(0.1)
    gaussians, _ = head_scene(GAUSSIANS)
    opacities = np.clip(gaussians.opacities, 0.01, 0.99)
    sh = np.zeros((GAUSSIANS, 16, 3), np.float32)
    sh[:, 0] = (gaussians.features - 0.5) / 0.282
    sh[:, 1:] = np.random.default_rng(0).normal(0, 0.03, (GAUSSIANS, 15, 3))
    arrays = (
        gaussians.means * np.float32(10),
        np.log(gaussians.scales * np.float32(10)),
        gaussians.quats_wxyz,
        np.log(opacities / (1 - opacities)),
        sh,
    )
    iteration = folder / "point_cloud" / "iteration_10"
    iteration.mkdir(parents=True)
    write_canonical(iteration / "point_cloud.ply", Canonical(*map(torch.from_numpy, arrays)))
    torch.save(network.state_dict(), iteration / "deformation.pth")
    (folder / "cfg_args").write_text("Namespace(n_head=2, sh_degree=3)\n")


def track():
    time = np.arange(FRAMES) / FRAMES
    euler = np.stack([0.1 * np.sin(7 * time), 0.3 * time - 0.15, 0.1 * np.cos(5 * time)], axis=1).astype(np.float32)
    trans = np.stack([0.2 * time, 0.1 * time, -7 - 0.2 * time], axis=1).astype(np.float32)
    return euler, trans


def _write_data(folder):
    (folder / "torso_imgs").mkdir(parents=True)
    euler, trans = track()
    write_torch(folder / "track_params.pt", {"euler": euler, "trans": trans, "focal": np.array([FOCAL], np.float32)})
    for split, ids in (("train", range(10)), ("val", range(10, FRAMES))):
        frames = [{"img_id": i, "aud_id": i, "transform_matrix": np.eye(4).tolist()} for i in ids]
        table = {"focal_len": FOCAL, "cx": WIDTH / 2, "cy": HEIGHT / 2, "frames": frames}
        (folder / f"transforms_{split}.json").write_text(json.dumps(table))
    blinks = np.zeros(FRAMES)
    blinks[3:5] = (1.5, 2.5)
    rows = "".join(f"{i + 1}, {value:.3f}\n" for i, value in enumerate(blinks))
    (folder / "au.csv").write_text("frame, AU45_r\n" + rows)
    Image.new("RGB", (WIDTH, HEIGHT), (90, 120, 150)).save(folder / "bc.jpg", quality=100)
    for i in range(FRAMES):
        torso = np.zeros((HEIGHT, WIDTH, 4), np.uint8)
        torso[HEIGHT // 2 :, 8 + i : 30 + i] = (200 - 5 * i, 40, 60, 255)
        torso[HEIGHT // 2, 8 + i : 30 + i, 3] = 128
        Image.fromarray(torso).save(folder / "torso_imgs" / f"{i}.png")


def make_drive(frames=5, start=0, fps=25, background=None, root=None, seed=0, camera=None, **state) -> Drive:
    rng = np.random.default_rng(seed)
    features = rng.normal(0, 2, (start + frames, 8, 464)).astype(np.float32)[start:]
    zero = np.zeros((frames, 3), np.float32)
    head = HeadState(
        shape=np.zeros(0, np.float32),
        expression=np.zeros((frames, 0), np.float32),
        root=zero if root is None else np.asarray(root, np.float32),
        neck=state.get("neck", zero),
        jaw=zero,
        eyes=np.zeros((frames, 6), np.float32),
        eyelids=state.get("eyelids", np.zeros((frames, 2), np.float32)),
        translation=state.get("translation", zero),
    )
    ticks = frame_ticks(start, start + frames, Fraction(fps))
    ahead = camera or camera_of(*(each[0] for each in track()), FOCAL, WIDTH, HEIGHT)
    return Drive(ticks, head, (ahead,) * frames, background or Background(own=True), features)


def make_options(size=(WIDTH, HEIGHT), **extra) -> RenderOptions:
    return RenderOptions(*size, extra=extra)


def open_stream(avatar, renderer=None, **extra):
    renderer = renderer or GaussianTalkerRenderer()
    return renderer, renderer.open(avatar, make_options(device="cpu", **extra))


def draw(avatar, drive, **extra):
    renderer, stream = open_stream(avatar, **extra)
    return renderer.render(stream, drive).pixels


@pytest.fixture
def drive_of():
    return make_drive


@pytest.fixture
def options():
    return make_options


@pytest.fixture
def opened():
    return open_stream


@pytest.fixture
def pixels():
    return draw
