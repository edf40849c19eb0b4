"""Benchmark cases of ARTalk: a chunk of four seconds through the full-size network, for one session and several.

Only where ARTalk is asked for (`marotte bench --driver artalk`), since it takes 2 GB and a while. Without the official
weights the network has random ones: what it costs does not depend on them.
"""

import math
from collections.abc import Callable, Iterator, Mapping

from marotte.drivers.artalk import CHECKPOINT
from marotte.drivers.artalk_engine import Engine, EngineOptions, engine, torch_device
from marotte.errors import MarotteError
from marotte.runtime.assets import asset_path
from marotte.runtime.bench import Case, Lap, Request
from marotte.runtime.testing import speech_like

NAME = "artalk"
_SESSIONS = {"cpu": (1,), "cuda": (1, 4, 16)}
_PRECISIONS = {"cpu": ("float32",), "cuda": ("float32", "bfloat16", "float16")}


def cases(request: Request) -> Iterator[Case]:
    """Yield `drive/artalk` for each precision and number of sessions that suit the device; milliseconds a session."""
    if request.driver != NAME:
        return
    device = torch_device("auto").type
    weights = "official"
    try:
        asset_path(CHECKPOINT)
    except MarotteError:
        weights = "random"
    for precision in _PRECISIONS[device]:
        for sessions in _SESSIONS[device]:
            settings = {"device": device, "precision": precision, "sessions": sessions, "weights": weights}
            yield Case(
                f"drive/{NAME}", settings, _chunks(precision, sessions, weights), frames=3, frames_a_call=sessions
            )


def random_network(precision: str, device: str = "auto") -> Engine:
    """Return the full-size network with random weights."""
    import torch

    from marotte.models.artalk import ARTalk

    generator = torch.Generator().manual_seed(0)
    with torch.device("meta"):
        model = ARTalk()
    model.to_empty(device="cpu")
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point() and "mask" not in name:
            fan = tensor.shape[-1] if tensor.ndim > 1 else 1
            tensor.normal_(0.0, 1 / math.sqrt(fan), generator=generator)
        else:
            tensor.zero_()
    model = model.to(device=torch_device(device), dtype=getattr(torch, precision))
    return Engine(model, EngineOptions(device, precision))


def _chunks(precision: str, sessions: int, weights: str) -> Callable[[], Callable[[Lap], Mapping[str, float]]]:
    def prepare() -> Callable[[Lap], Mapping[str, float]]:
        if weights == "official":
            network = engine(asset_path(CHECKPOINT), EngineOptions(precision=precision))
        else:
            network = random_network(precision)
        sound = speech_like(network.chunk_samples / 16000)
        states = [network.start(None) for _ in range(sessions)]
        seconds = network.chunk_samples / 16000

        def frame(lap: Lap) -> Mapping[str, float]:
            network.step(states, [sound[: network.chunk_samples]] * sessions)
            return {"seconds of sound a session": seconds}

        return frame

    return prepare
