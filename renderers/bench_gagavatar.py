"""Benchmark cases of the GAGAvatar renderer, from head states to bytes on the host, stage by stage on the CPU.

The network has the published size and random weights, as the settings say: what it costs does not depend on them. How
far half precision is off does, so that is only a hint; it is of pictures that use the whole range.
"""

import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction
from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np

from marotte.errors import MarotteError, MarotteWarning
from marotte.models.flame import FlameModel
from marotte.models.flame_numba import HeadEvaluator
from marotte.models.gagavatar.config import FLAME_SCALE, FOCAL_NDC
from marotte.renderers.devices import choose_device
from marotte.renderers.gagavatar import GAGAvatarRenderer
from marotte.renderers.rasterizers.scenes import PLANE_VERTICES, plane_scene
from marotte.runtime.background import Background
from marotte.runtime.bench import Case, Lap, Request, draw_all
from marotte.runtime.camera import facing_camera
from marotte.runtime.clock import frame_ticks
from marotte.runtime.contracts import Drive, RenderOptions
from marotte.runtime.head import HeadState

if TYPE_CHECKING:
    from marotte.models.gagavatar import GAGAvatar
    from marotte.renderers.gagavatar_stream import GAGAvatarStream

_NAME = "renderer/gagavatar"
_FPS = Fraction(25)
# From the camera to the head, in world units.
_DISTANCE = 9.7
_CPU_PRECISIONS = ("float32", "bfloat16")
# Precision, and whether compiled.
_CUDA_WAYS = (("float32", False), ("float32", True), ("bfloat16", True), ("float16", False), ("float16", True))
# Frames of a call, by those of a batch: so many that what waits at the ends does not count.
_CUDA_BATCHES = {1: 32, 8: 64, 32: 128}


def cases(request: Request) -> Iterator[Case]:
    """Yield `renderer/gagavatar/cpu` by precision, one frame each, and on CUDA by batch, precision and compilation.

    Batches are submitted while others are under way, single frames one when the last has arrived. Without torch there
    is nothing to measure, which a warning says.
    """
    if find_spec("torch") is None:
        why = "torch is not installed (pip install 'marotte[gagavatar]')"
        warnings.warn(f"{_NAME} is not measured: {why}", MarotteWarning, stacklevel=2)
        return
    settings = {"size": 512, "weights": "random"}
    for precision in _CPU_PRECISIONS:
        yield Case(f"{_NAME}/cpu", {**settings, "precision": precision}, _on_cpu(precision), frames=1)
    try:
        device, rasterizer = choose_device("auto", "auto")
    except MarotteError:
        return
    if device != "cuda":
        return
    for precision, compiled in _CUDA_WAYS:
        for batch, frames in _CUDA_BATCHES.items():
            way = {"rasterizer": rasterizer, "precision": precision, "compile": compiled, "batch": batch}
            yield Case(
                f"{_NAME}/cuda",
                {**settings, **way},
                _on_cuda(rasterizer, precision, compiled, batch, frames),
                frames=5,
                frames_a_call=frames,
            )


def random_network(device: str, precision: str = "float32") -> "GAGAvatar":
    """Return a network of the published size that only upsamples: random weights, of a seed, that keep numbers at 1."""
    import torch

    from marotte.models.gagavatar import GAGAvatar

    generator = torch.Generator().manual_seed(0)
    with torch.device("meta"):
        network = GAGAvatar()
    network.to_empty(device="cpu")
    for name, tensor in network.upsampler.state_dict().items():
        if tensor.dim() > 1 or "noises" in name:
            whole = "noises" in name or name.endswith("constant_input.weight")
            # Modulated convolutions have one more dimension, of one, before.
            inputs = 1 if whole else math.prod(tensor.shape[2 if tensor.dim() == 5 else 1 :])
            tensor.normal_(0, inputs**-0.5, generator=generator)
        else:
            tensor.fill_(1 if name.endswith("modulation.bias") else 0.1 if ".style_conv" in name else 0)
    return network.to(device=device, dtype=getattr(torch, precision))


def _on_cpu(precision: str) -> Callable[[], Callable[[Lap], Mapping[str, float]]]:
    def prepare() -> Callable[[Lap], Mapping[str, float]]:
        stream = _stream("cpu", "cpu", precision, False)
        facts = _deviation(stream) if precision != "float32" else {}
        renderer, time = GAGAvatarRenderer(), 0
        renderer.render(stream, _drive(stream, time, 1))

        def frame(lap: Lap) -> Mapping[str, float]:
            nonlocal time
            stream.lap, time = lap, time + 1
            renderer.render(stream, _drive(stream, time, 1))
            return facts

        return frame

    return prepare


def _on_cuda(
    rasterizer: str, precision: str, compiled: bool, batch: int, frames: int
) -> Callable[[], Callable[[Lap], Mapping[str, float]]]:
    def prepare() -> Callable[[Lap], Mapping[str, float]]:
        import torch

        stream = _stream("cuda", rasterizer, precision, compiled)
        stream.face.engine.batch = stream.batch = batch
        exact = precision == "float32" and not compiled
        facts = {} if exact else _deviation(stream)
        renderer, drives = GAGAvatarRenderer(), [_drive(stream, first, batch) for first in range(0, frames, batch)]
        torch.cuda.reset_peak_memory_stats()

        def call(lap: Lap) -> Mapping[str, float]:
            stream.reset()
            draw_all(renderer, stream, drives)
            return {**facts, "peak GB": torch.cuda.max_memory_allocated() / 1e9}

        return call

    return prepare


def _stream(device: str, rasterizer: str, precision: str, compiled: bool) -> "GAGAvatarStream":
    """Return a stream of a head and two planes before a random network."""
    import torch

    from marotte.renderers.gagavatar_engine import Engine, EngineOptions, lay_channels_together, painter
    from marotte.renderers.gagavatar_identity import Person
    from marotte.renderers.gagavatar_stream import Face, GAGAvatarStream

    network = lay_channels_together(random_network(device, precision))
    options = EngineOptions(device, rasterizer, precision, compiled)
    engine = Engine(network, options, lambda: painter(rasterizer, torch.device(device)))
    scene, _ = plane_scene()
    parts = (scene.features, scene.opacities, scene.covariances, scene.means[PLANE_VERTICES:])
    face = Face(
        engine,
        Person(*(torch.from_numpy(np.ascontiguousarray(part)) for part in parts)),
        HeadEvaluator(_flame(scene.means[:PLANE_VERTICES] / np.float32(FLAME_SCALE)), scale=FLAME_SCALE),
        facing_camera((0.0, 0.0, 0.0), _DISTANCE, 2 * _DISTANCE / FOCAL_NDC, (512, 512)),
    )
    return GAGAvatarStream(face, RenderOptions(512, 512), None, None)


def _flame(places: np.ndarray) -> FlameModel:
    """Return a head of FLAME's sizes with vertices at these places [5023, 3]; its expressions are random."""
    random, count = np.random.default_rng(0), len(places)
    weights = np.zeros((count, 5), np.float32)
    weights[:, 1:3] = 0.5
    return FlameModel(
        v_template=places,
        faces=np.array([[0, 1, 2]], np.int32),
        shape_dirs=np.zeros((count, 3, 0), np.float32),
        expression_dirs=random.normal(0, 2e-4, (count, 3, 100)).astype(np.float32),
        pose_dirs=random.normal(0, 1e-4, (count, 3, 36)).astype(np.float32),
        joint_regressor=np.full((5, count), 1 / count, np.float32),
        skinning_weights=weights,
        parents=(-1, 0, 1, 1, 1),
        basis="flame2020",
    )


def _drive(stream: "GAGAvatarStream", first: int, frames: int) -> Drive:
    """Return frames of a head that talks and turns, from frame `first` of a film on."""
    time = (first + np.arange(frames)) / float(_FPS)
    zero = np.zeros((frames, 3), np.float32)
    head = HeadState(
        shape=np.zeros(0, np.float32),
        expression=np.sin(time[:, None] * np.linspace(2, 9, 100)).astype(np.float32),
        root=zero,
        neck=zero,
        jaw=np.outer(0.15 + 0.15 * np.sin(17 * time), (1, 0, 0)).astype(np.float32),
        eyes=np.zeros((frames, 6), np.float32),
        eyelids=np.zeros((frames, 2), np.float32),
        translation=zero,
    )
    camera = stream.face.camera
    angles = 0.15 * np.sin(2 * time)
    turns = [np.array([[np.cos(a), 0, np.sin(a)], [0, 1, 0], [-np.sin(a), 0, np.cos(a)]]) for a in angles]
    cameras = tuple(camera.moved(turn, np.zeros(3)) for turn in turns)
    return Drive(frame_ticks(first, first + frames, _FPS), head, cameras, Background())


def _deviation(stream: "GAGAvatarStream") -> dict[str, float]:
    """Return how far a picture of the stream's engine is from that of float32, and how wide that one's range is."""
    face, engine = stream.face, stream.face.engine
    vertices, cameras = stream.posed(_drive(stream, 0, 1))
    stream.reset()
    with engine.at_work():
        raster, _ = engine.paint(face.gaussians(vertices.to(engine.device)), cameras, stream.lap)
        exact = random_network(engine.device.type).upsample(raster.color.permute(0, 3, 1, 2))
        off = engine.upsample(raster.color, None) - exact
        return {
            "mean |off|": float(off.abs().mean()),
            "PSNR dB": float(-10 * off.square().mean().log10()),
            "deviation of the picture": float(exact.std()),
        }
