"""ARTalk's network as sessions share it: loaded once for a device and a precision, run in batches."""

import threading
import warnings
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from marotte.errors import MarotteError, MarotteWarning, unknown_name
from marotte.models.artalk.frames import HOP
from marotte.runtime.compiling import compiling

if TYPE_CHECKING:
    from marotte.models.artalk import ARTalk, ChunkState

PRECISIONS = ("float32", "bfloat16", "float16")
# Chunks that go through the network at once; more gain nothing and take memory.
_MOST_TOGETHER = 16


@dataclass(frozen=True)
class EngineOptions:
    """How the network runs.

    device: `auto` (CUDA where torch finds a device), `cpu`, `cuda` or `cuda:1`. precision: of the two large
    transformers; `float32` is the published one, the others flip bits of the codes now and then (docs/artalk.md has
    how many). compile: torch.compile, which takes a minute at first and moves values by rounding.
    """

    device: str = "auto"
    precision: str = "float32"
    compile: bool = False

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise unknown_name("precision of the driver artalk", str(self.precision), PRECISIONS)


class Engine:
    """One network and the lock that keeps its calls one after another.

    Sound is [n] float32 at 16 kHz, motion [frames, 106] float32 in raw FLAME units.
    """

    def __init__(self, model: "ARTalk", options: EngineOptions | None = None) -> None:
        self.options = options or EngineOptions()
        self.model = model
        self.device = model.pos_embed.device
        self.chunk_samples, self.chunk_frames = model.config.chunk_samples, model.config.frames
        self._lock = threading.Lock()
        if self.options.compile:
            for part in (model.audio_encoder, *model.attn_blocks):
                part.compile()

    def start(self, style: np.ndarray | None) -> "ChunkState":
        """Return the state of a speaker who has said nothing yet, with a style clip [50, 106] or none."""
        with self._lock:
            clip = None if style is None else self._tensor(style[None])
            return self.model.initial_state(self.model.style_condition(clip))

    def step(
        self, states: Sequence["ChunkState"], chunks: Sequence[np.ndarray]
    ) -> list[tuple[np.ndarray, "ChunkState"]]:
        """Return the motion of one chunk of each speaker and the state after it. Chunks shorter than
        `chunk_samples` are padded with silence."""
        from marotte.models.artalk import ChunkState

        results: list[tuple[np.ndarray, ChunkState]] = []
        for some in _batches(len(states)):
            with self._lock, compiling("ARTalk", self.options.compile):
                motion, after = self.model.step(ChunkState.stack(states[some]), self._chunks(chunks[some]))
                results += zip(motion.float().cpu().numpy(), after.split(), strict=True)
        return results

    def decode(self, states: Sequence["ChunkState"], sounds: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Return the motion [frames, 106] of a chunk of each speaker that is not full yet, as if silence followed."""
        from marotte.models.artalk import ChunkState

        results: list[np.ndarray] = []
        for some in _batches(len(states)):
            with self._lock, compiling("ARTalk", self.options.compile):
                features = self.model.encode_audio(self._chunks(sounds[some]))
                motion, _ = self.model.decode_chunk(ChunkState.stack(states[some]), features)
                results.extend(motion.float().cpu().numpy())
        return results

    def warm_up(self) -> None:
        """Run once on silence."""
        self.step([self.start(None)], [np.zeros(HOP, np.float32)])

    def _chunks(self, chunks: Sequence[np.ndarray]) -> Any:
        padded = np.zeros((len(chunks), self.chunk_samples), np.float32)
        for row, chunk in zip(padded, chunks, strict=True):
            row[: len(chunk)] = chunk
        return self._tensor(padded)

    def _tensor(self, array: np.ndarray) -> Any:
        import torch

        return torch.from_numpy(np.ascontiguousarray(array)).to(self.device)


def _batches(count: int) -> Iterator[slice]:
    for start in range(0, count, _MOST_TOGETHER):
        yield slice(start, start + _MOST_TOGETHER)


_OPEN: "weakref.WeakValueDictionary[tuple[Path, EngineOptions], Engine]" = weakref.WeakValueDictionary()
_OPENING = threading.Lock()


def engine(weights: Path, options: EngineOptions) -> Engine:
    """Return the network of a checkpoint, loaded once for all who hold it.

    Raises MarotteError where it cannot be read, or where torch, transformers or the device are missing.
    """
    from marotte.models.artalk import ARTalk

    device = torch_device(options.device)
    options = replace(options, device=str(device))
    key = (weights.absolute(), options)
    with _OPENING:
        open_one = _OPEN.get(key)
        if open_one is None:
            open_one = Engine(ARTalk.load(weights, device=device, dtype=_dtype(options, device)), options)
            _OPEN[key] = open_one
    return open_one


def torch_device(name: str) -> Any:
    """Return the torch device of a name, a GPU with its number; `auto` is CUDA if torch finds it.

    Raises MarotteError where it is not there, or torch is not.
    """
    try:
        import torch
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise MarotteError("ARTalk needs torch, which is not installed: pip install 'marotte[artalk]'") from None
    if isinstance(name, str) and name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except (RuntimeError, TypeError):
        raise MarotteError(f"device {name!r} is unknown: use auto, cpu or cuda") from None
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise MarotteError(
            f"device {name!r} is not there: torch finds {torch.cuda.device_count()} CUDA devices; use cpu"
        )
    if device.type not in ("cpu", "cuda"):
        raise MarotteError(f"device {name!r} is not supported: use auto, cpu or cuda")
    if device.type == "cpu":
        return torch.device("cpu")
    return torch.device("cuda", torch.cuda.current_device() if device.index is None else device.index)


def _dtype(options: EngineOptions, device: Any) -> Any:
    import torch

    if options.precision == "float16" and device.type == "cpu":
        raise MarotteError("precision 'float16' takes the CPU ten times as long as float32: use bfloat16 or float32")
    if options.precision != "float32":
        warnings.warn(
            f"ARTalk in {options.precision} deviates from the published motion (docs/artalk.md says how far)",
            MarotteWarning,
            stacklevel=4,
        )
    return getattr(torch, options.precision)
