"""Plug-ins that are simple enough to know what they must give."""

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from marotte.runtime.avatar import Avatar, Framing
from marotte.runtime.contracts import Driver, DriverStream, Features, FeatureStream, Renderer, RenderStream
from marotte.runtime.frames import Frames
from marotte.runtime.motion import Motion


class Loudness(Driver):
    """Jaw by loudness, at 25 fps, in chunks of `chunk` seconds, as late as `lookahead` says."""

    basis = "arkit52"
    fps = Fraction(25)

    def __init__(self, chunk: float = 0.0, lookahead: float = 0.0) -> None:
        self.chunk, self.lookahead = chunk, lookahead

    def open(self, options=None):
        return LoudnessStream(self)


class LoudnessStream(DriverStream):
    def __init__(self, driver: Loudness) -> None:
        self._driver = driver
        self.reset()

    def reset(self) -> None:
        self._sound = np.zeros(0, np.float32)
        self._given = 0

    def feed(self, samples):
        self._sound = np.concatenate([self._sound, samples])
        heard = len(self._sound) - round(self._driver.lookahead * 16000)
        frames = max(heard // 640, 0)
        if self._driver.chunk:
            whole = round(self._driver.chunk * 25)
            frames = frames // whole * whole
        return self._until(frames)

    def finish(self):
        return self._until(-(-len(self._sound) // 640))

    def _until(self, stop: int) -> Motion:
        start, self._given = self._given, max(stop, self._given)
        codes = np.zeros((self._given - start, 106), np.float32)
        for row, frame in zip(codes, range(start, self._given), strict=True):
            row[103] = np.abs(self._sound[frame * 640 : frame * 640 + 640]).mean()
        return Motion(codes, Fraction(25), "arkit52")


class Bars(Renderer):
    """Paints each frame with its jaw rotation and its feature window's mean."""

    def open(self, avatar, options):
        stream = RenderStream()
        stream.width, stream.height = options.width, options.height
        return stream

    def render(self, stream, drive):
        pixels = np.zeros((len(drive), stream.height, stream.width, 3), np.uint8)
        pixels[..., 0] = np.clip(drive.head.jaw[:, 0] * 1000, 0, 255).astype(np.uint8)[:, None, None]
        if drive.features is not None:
            pixels[..., 1] = drive.features.mean(axis=(1, 2)).astype(np.uint8)[:, None, None]
        return Frames(drive.ticks, pixels)


class Count(Features):
    """Each row is the number of 10 ms before it, and comes 30 ms late."""

    rate = Fraction(100)
    width = 2
    lookahead = 0.03

    def open(self):
        return CountStream()


class CountStream(FeatureStream):
    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self._heard = self._given = 0

    def feed(self, samples):
        self._heard += len(samples)
        return self._until(max((self._heard - 480) // 160, 0))

    def finish(self):
        return self._until(self._heard // 160)

    def _until(self, stop):
        rows = np.repeat(np.arange(self._given, max(stop, self._given), dtype=np.float32)[:, None], 2, axis=1)
        self._given = max(stop, self._given)
        return rows


@pytest.fixture
def avatar() -> Avatar:
    return Avatar(
        name="test",
        path=Path("."),
        renderer="bars",
        basis="arkit52",
        framings={"head": Framing((0, 0, 0), 1.0, 0.4)},
    )


@pytest.fixture
def loudness():
    return Loudness


@pytest.fixture
def bars():
    return Bars


@pytest.fixture
def count():
    return Count


def syllables(count: int, *, pitch: float = 120.0, gain: float = 0.1, seconds: float = 0.14, gap: float = 0.06):
    """Return so many equal syllables [n] at 16 kHz, each with harmonics of `pitch` and a rise and a fall."""
    time = np.arange(round(seconds * 16000)) / 16000
    tone = sum(np.sin(2 * np.pi * k * pitch * time) / k for k in range(1, int(3500 / pitch)))
    one = gain * tone * np.sin(np.pi * time / seconds) ** 0.5
    return np.tile(np.concatenate([one, np.zeros(round(gap * 16000))]), count).astype(np.float32)


@pytest.fixture(name="syllables")
def _syllables():
    return syllables


@pytest.fixture(scope="session")
def talk() -> np.ndarray:
    """24 s of sentences with pauses, whose syllables differ in level, length and pitch, over a little noise."""
    random = np.random.default_rng(5)
    parts = []
    while sum(map(len, parts)) < 24 * 16000:
        for _ in range(random.integers(6, 14)):
            loud = random.random() < 0.25
            parts.append(
                syllables(
                    1,
                    pitch=110 * 2 ** (random.normal(0, 1.5) / 12 + (random.random() < 0.15) * 0.6),
                    gain=0.2 if loud else 0.05 * 2 ** random.normal(0, 0.3),
                    seconds=0.24 if loud else random.uniform(0.1, 0.16),
                    gap=random.uniform(0.03, 0.07),
                )
            )
        parts.append(np.zeros(random.integers(4000, 9000)))
    sound = np.concatenate(parts)[: 24 * 16000]
    return (sound + 0.0005 * random.standard_normal(len(sound))).astype(np.float32)


FILMED = 12


@pytest.fixture(scope="session")
def trained_talker(tmp_path_factory) -> Path:
    """A small trained GaussianTalker on disk: `model` and `data`, 10 frames to train by and 2 after. Read only."""
    from marotte.models.gaussian_talker import TalkerConfig
    from marotte.models.ply import write_ply_vertices
    from marotte.models.splatting_files import gaussian_columns
    from marotte.models.torch_writer import write_torch
    from marotte.runtime.avatars.talker_network import expected_entries

    folder, random = tmp_path_factory.mktemp("talker"), np.random.default_rng(3)
    cloud = folder / "model" / "point_cloud" / "iteration_10000"
    cloud.mkdir(parents=True)
    (folder / "model" / "point_cloud" / "coarse_iteration_20000").mkdir()
    (folder / "model" / "cfg_args").write_text("Namespace(d_model=64, n_head=2, n_layer=1, source_path='data')")
    shapes = expected_entries(TalkerConfig(planes=(3, 4, 5), multires=(1, 2)))
    entries = {name: random.normal(0, 0.1, shape).astype(np.float32) for name, shape in shapes.items()}
    entries["deformation_net.tri_plane.grid.aabb"] = np.array([[2, 3, 4], [-2, -3, -4]], np.float32)
    write_torch(cloud / "deformation.pth", entries)
    columns = gaussian_columns(
        means=random.normal(0, 1, (7, 3)),
        sh=random.normal(0, 1, (7, 16, 3)),
        opacity_logits=random.normal(0, 1, 7),
        log_scales=random.normal(-3, 1, (7, 3)),
        quats_wxyz=random.normal(0, 1, (7, 4)),
    )
    write_ply_vertices(cloud / "point_cloud.ply", columns)
    _write_recording(folder / "data", random)
    return folder


def _write_recording(folder: Path, random: np.random.Generator) -> None:
    from PIL import Image

    from marotte.models.torch_writer import write_torch

    (folder / "torso_imgs").mkdir(parents=True)
    euler = random.uniform(-0.3, 0.3, (FILMED, 3)).astype(np.float32)
    trans = np.tile(np.array([0.1, -0.2, -7], np.float32), (FILMED, 1))
    mesh = np.zeros((FILMED, 5, 3), np.float32)
    write_torch(
        folder / "track_params.pt",
        {"vertices": mesh, "euler": euler, "trans": trans, "focal": np.array([90], np.float32)},
    )
    lens = {"focal_len": 90.0, "cx": 16.0, "cy": 12.0}
    for split, ids in (("train", range(10)), ("val", range(10, FILMED))):
        frames = [{"img_id": i, "aud_id": i} for i in ids]
        (folder / f"transforms_{split}.json").write_text(json.dumps({**lens, "frames": frames}))
    blinks = [f"{i + 1}, {0.25 * i:.2f}, 0" for i in range(FILMED)]
    (folder / "au.csv").write_text("\n".join(["frame, AU45_r, AU45_c", *blinks]) + "\n")
    for i in range(FILMED):
        torso = random.integers(0, 256, (24, 32, 4), np.uint8)
        Image.fromarray(torso).save(folder / "torso_imgs" / f"{i}.png")
    Image.fromarray(np.full((24, 32, 3), 77, np.uint8)).save(folder / "bc.jpg", quality=100)
    np.save(folder / "aud_ds.npy", np.zeros((FILMED, 16, 29)))
