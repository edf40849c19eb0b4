"""ARTalk: speech to FLAME motion in chunks of four seconds, by the published network (Chu et al. 2025).

The network is `marotte.models.artalk`; this is its place in the line: which checkpoint, on which device, in which
precision, with which style, how many frames a sound gives, and what the published code does to the motion after it.
Source: reference/artalk/SPEC.md.
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from marotte.drivers.artalk_early import EarlyStream
from marotte.drivers.artalk_engine import Engine, EngineOptions, engine
from marotte.drivers.artalk_stream import BASIS, FPS, ARTalkStream, feed_together
from marotte.errors import MarotteError, MarotteWarning, unknown_name
from marotte.models.safe_files import read_torch
from marotte.runtime.assets import asset_path, catalogue
from marotte.runtime.contracts import SAMPLE_RATE, Driver, DriverStream
from marotte.runtime.motion import WIDTH, Motion
from marotte.runtime.smoothing import DELAY

CHECKPOINT = "ARTalk_wav2vec.pt"
STYLE_FRAMES = 50
_CHOICES = {
    "latency": ("exact", "low"),
    "jaw": ("published", "full"),
    "count": ("one-shot", "streaming"),
}


@dataclass(frozen=True)
class ARTalkOptions:
    """What a speaker is opened with.

    style: a style clip, `[50, 106]` FLAME motion, as an array, a `.pt` or `.npy` file, or the name of a published one
    (`happy_0`); None, "" or "default" for none. weights: the checkpoint; None is the asset. smooth: the published
    Savitzky-Golay smoother, in its delayed form. jaw: `published` keeps only its opening, `full` all. count: how many
    frames a sound gives: `one-shot`, or `streaming` as the published stream counts, which can be one off. latency:
    `exact`, or `low` for frames before their chunk is full, which deviate (CUDA only).
    device, precision, compile: see `EngineOptions`.
    """

    style: Any = None
    weights: str | Path | None = None
    smooth: bool = True
    jaw: str = "published"
    count: str = "one-shot"
    latency: str = "exact"
    device: str = "auto"
    precision: str = "float32"
    compile: bool = False

    def __post_init__(self) -> None:
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                raise unknown_name(f"{name} of the driver artalk", str(getattr(self, name)), choices)
        for name in ("smooth", "compile"):
            if not isinstance(getattr(self, name), bool):
                raise MarotteError(f"{name} {getattr(self, name)!r} of the driver artalk is not true or false")
        if not isinstance(self.weights, str | Path | None):
            raise MarotteError(f"weights {self.weights!r} is not a path: give the checkpoint's file")
        _ = self.engine  # which refuses what it does not know

    @property
    def engine(self) -> EngineOptions:
        """What the network is loaded with."""
        return EngineOptions(self.device, self.precision, self.compile)


class ARTalk(Driver):
    """From sound to FLAME 2020 motion at 25 fps, chunk by chunk.

    Sessions share one set of weights, and what several have ready at a time goes through the network in one batch
    (values then agree with those alone to rounding, which the codes absorb: their bits are the same).

    network: an open `Engine`; by default the checkpoint that each speaker's options name.
    """

    basis = BASIS
    fps = FPS
    lookahead = float(DELAY / FPS)
    chunk = 4.0
    smooths = True

    @staticmethod
    def why_not() -> str:
        """Return which of its libraries is not installed."""
        missing = [name for name in ("torch", "transformers") if find_spec(name) is None]
        return f"{' and '.join(missing)} not installed: pip install 'marotte[artalk]'" if missing else ""

    def __init__(self, network: Engine | None = None) -> None:
        self._network = network
        self._engines: list[Engine] = []
        if network is not None:
            self.chunk = network.chunk_samples / SAMPLE_RATE

    def open(self, options: Mapping[str, Any] | None = None) -> ARTalkStream:
        """Return the stream of a new speaker. Raises MarotteError for an option that it does not know or take,
        and where weights, torch or transformers are missing."""
        for name in options or ():
            if name not in (known := [field.name for field in fields(ARTalkOptions)]):
                raise unknown_name("option of the driver artalk", name, known)
        chosen = ARTalkOptions(**(options or {}))
        style = read_style(chosen.style)
        network = self._network or self._open(chosen)
        if chosen.latency == "exact":
            return ARTalkStream(network, style, chosen)
        if network.device.type != "cuda":
            raise MarotteError(
                f"latency 'low' decodes each chunk many times, which {network.device.type} is too slow for: use a CUDA "
                "device, or latency 'exact'"
            )
        return EarlyStream(network, style, chosen)

    def step(self, work: Sequence[tuple[DriverStream, np.ndarray]]) -> list[Motion]:
        """Feed several speakers; their chunks go through the network together."""
        return feed_together(work)

    def warm_up(self) -> None:
        """Run the networks that are open once, where that is quick; where it is not, say what to expect."""
        for network in self._engines:
            if network.device.type == "cuda":
                network.warm_up()
            else:
                warnings.warn(
                    f"ARTalk runs on the CPU here, which takes seconds for each {self.chunk:g} s of sound: live use "
                    "on such a machine is not supported",
                    MarotteWarning,
                    stacklevel=2,
                )

    def _open(self, chosen: ARTalkOptions) -> Engine:
        path = asset_path(CHECKPOINT) if chosen.weights is None else Path(chosen.weights)
        if not path.is_file():
            raise MarotteError(
                f"weights {path} is no file: give a checkpoint, or leave it out and `marotte assets fetch artalk`"
            )
        network = engine(path, chosen.engine)
        if network not in self._engines:
            self._engines.append(network)
        return network


def read_style(style: Any) -> np.ndarray | None:
    """Return a style clip [50, 106] float32, raw FLAME units, or None for none.

    style: see `ARTalkOptions`. Raises MarotteError where it cannot be read or has another shape.
    """
    if style is None or (isinstance(style, str) and style in ("", "default")):
        return None
    what = "style"
    if isinstance(style, str | Path):
        path = Path(style)
        if path.suffix not in (".pt", ".npy"):
            path = asset_path(_published(str(style)))
        what, style = f"style {path}", _array(path)
    if not isinstance(style, np.ndarray) or style.dtype.kind not in "fiu" or style.shape != (STYLE_FRAMES, WIDTH):
        found = f"{style.dtype} {list(style.shape)}" if isinstance(style, np.ndarray) else f"a {type(style).__name__}"
        raise MarotteError(
            f"{what} is {found}: a style clip is {STYLE_FRAMES} frames of motion, [{STYLE_FRAMES}, {WIDTH}]"
        )
    with np.errstate(over="ignore"):
        clip = style.astype(np.float32)
    if not np.isfinite(clip).all():
        raise MarotteError(f"{what} has a value that is not finite: repair the clip, or use another")
    return clip


def _published(name: str) -> str:
    """Return the asset of a published style."""
    assets = {Path(asset.name).stem: asset.name for asset in catalogue().values() if asset.group == "styles"}
    if name not in assets:
        raise unknown_name("published style (nor does it end in .pt or .npy)", name, assets)
    return assets[name]


def _array(path: Path) -> Any:
    if path.suffix == ".pt":
        return read_torch(path)
    try:
        return np.load(path, allow_pickle=False)
    except OSError as error:
        raise MarotteError(f"cannot read {path}: {error.strerror or error}") from None
    except (ValueError, EOFError):
        raise MarotteError(f"style {path} is no .npy array of plain numbers: write it again with numpy.save") from None
