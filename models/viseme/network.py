"""The viseme network: log-mels in; at 50 Hz, logits of 29 phone classes, voicing and effort out.

Dilated causal convolutions over 20 ms rows of two mel frames (Lea et al. 2017; van den Oord et al. 2016), small
enough for a 20 ms packet to take a millisecond on one core. It is trained by demos/train_viseme.py with torch and
runs without it. The model card is README.md beside this file.
"""

from collections import deque
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open

from marotte.errors import MarotteError
from marotte.models.viseme.kernels import dense
from marotte.models.viseme.mel import BANDS, FFT, HOP, RATE, MelStream
from marotte.models.viseme.phones import PHONES

WEIGHTS = Path(__file__).with_name("viseme.safetensors")

# Samples a row: 50 rows a second, each of two mel frames.
ROW = 2 * HOP
# Rows of sound after its own time that a row waits for: row i is for 20 i ms and needs the sound up to 60 ms later.
DELAY = 2
LOOKAHEAD = (DELAY + 1) * ROW / RATE

TAPS = 3

FORMAT = "marotte-viseme-1"


@dataclass(frozen=True)
class Rows:
    """What the network hears: n rows, each for the time 20 ms after the one before.

    logits: [n, 29] in the order of PHONES. voicing: [n] 0..1, the probability of voice. effort: [n] 0..1, how loud
    beside the speaker's usual. level: [n] dB of the sound beside the running peak, measured, not learned.
    """

    logits: np.ndarray
    voicing: np.ndarray
    effort: np.ndarray
    level: np.ndarray

    def __len__(self) -> int:
        return len(self.logits)

    def __getitem__(self, rows: slice) -> "Rows":
        return Rows(self.logits[rows], self.voicing[rows], self.effort[rows], self.level[rows])


@dataclass(frozen=True)
class Dense:
    """A product: weight [I, O] and bias [O], float32."""

    weight: np.ndarray
    bias: np.ndarray

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Return x [T, I] times the weight, plus the bias: [T, O]."""
        return dense(x, self.weight, self.bias)


@dataclass(frozen=True)
class Block:
    """One residual step: a causal convolution of three taps, `dilation` rows apart, and a mix of its channels.

    taps: 3 C to C, the oldest tap first. mix: C to C.
    """

    dilation: int
    taps: Dense
    mix: Dense


@dataclass(frozen=True)
class VisemeNetwork:
    """The weights. `open` returns the state of a new speaker; any number may share one network.

    filters: [40, 257], the mel bands. first: three taps of 80 numbers to C channels. last: C to 31.
    """

    filters: np.ndarray
    first: Dense
    blocks: tuple[Block, ...]
    last: Dense

    @staticmethod
    def load(path: str | Path = WEIGHTS) -> "VisemeNetwork":
        """Return the network of a .safetensors file, the shipped one by default. Raises MarotteError."""
        return _load(Path(path).resolve())

    @property
    def parameters(self) -> int:
        """How many numbers were learned."""
        layers = [self.first, *(layer for block in self.blocks for layer in (block.taps, block.mix)), self.last]
        return sum(layer.weight.size + layer.bias.size for layer in layers)

    def open(self) -> "VisemeStream":
        """Return the stream of a new speaker."""
        return VisemeStream(self)

    @cached_property
    def rest(self) -> tuple[np.ndarray, ...]:
        """What each layer remembers of a long silence, in which every stream begins."""
        widths = [(1, len(self.first.weight))] + [(block.dilation, len(block.taps.weight)) for block in self.blocks]
        past = [np.zeros((2 * dilation, width // TAPS), np.float32) for dilation, width in widths]
        rows = 2 * sum(len(part) for part in past)  # what the deepest layer remembers has heard nothing else
        silence, _ = MelStream(self.filters).feed(np.zeros(ROW, np.float32))
        self.forward(np.tile(silence.reshape(1, 2 * BANDS), (rows, 1)), past)
        return tuple(past)

    def forward(self, x: np.ndarray, past: list[np.ndarray]) -> np.ndarray:
        """Return the outputs [T, 31] for rows of mels x [T, 80], the last of each DELAY rows late.

        past: what each layer remembers, [2 dilation, C]; it is brought up to date.
        """
        h = self.first(_taps(x, past, 0, 1))
        for index, block in enumerate(self.blocks, 1):
            seen = _taps(np.maximum(h, 0), past, index, block.dilation)
            h = h + block.mix(np.maximum(block.taps(seen), 0))
        return self.last(np.maximum(h, 0))


class VisemeStream:
    """One speaker. Fed at once or in packets of any size, the rows are the same, bit for bit."""

    def __init__(self, network: VisemeNetwork) -> None:
        self._network = network
        self._mels = MelStream(network.filters)
        self.reset()

    def reset(self) -> None:
        """Forget the speaker."""
        self._mels.reset()
        self._samples = self._out = 0
        self._odd = (np.zeros((0, BANDS), np.float32), np.zeros(0, np.float32))
        self._past = list(self._network.rest)
        self._levels: deque[float] = deque(maxlen=DELAY)
        self._early = DELAY  # rows for times before the sound began

    def feed(self, samples: np.ndarray) -> Rows:
        """Take sound [n] float32 at 16 kHz; return the rows that are now decided, maybe none."""
        self._samples += len(samples)
        return self._rows(samples)

    def finish(self) -> Rows:
        """Say that the sound has ended; return the rows that are left, so that all together cover it."""
        left = -(-self._samples // ROW) - self._out
        return self._rows(np.zeros(ROW * (left + DELAY + 1), np.float32))[:left]

    def _rows(self, samples: np.ndarray) -> Rows:
        mels, levels = self._mels.feed(samples)
        mels, levels = np.concatenate([self._odd[0], mels]), np.concatenate([self._odd[1], levels])
        count = len(mels) // 2
        self._odd = mels[2 * count :], levels[2 * count :]
        out = self._network.forward(mels[: 2 * count].reshape(count, 2 * BANDS), self._past)
        # The level of a row is that of its own time, so it waits as long as the network does.
        new = levels[: 2 * count].reshape(count, 2).max(axis=1, initial=-np.inf).tolist()
        waited = [*self._levels, *new]
        self._levels.extend(new)
        early = min(self._early, count)
        self._early -= early
        out = out[early:]
        self._out += len(out)
        return Rows(
            logits=out[:, : len(PHONES)],
            voicing=_sigmoid(out[:, len(PHONES)]),
            effort=_sigmoid(out[:, len(PHONES) + 1]),
            level=np.array(waited[: len(out)], np.float32),
        )


def _taps(x: np.ndarray, past: list[np.ndarray], index: int, dilation: int) -> np.ndarray:
    """Return each row [T, C] beside the two that a layer sees before it, [T, 3 C]; bring its past up to date."""
    seen = np.concatenate([past[index], x])
    past[index] = seen[len(x) :]
    return np.concatenate([seen[tap * dilation : tap * dilation + len(x)] for tap in range(TAPS)], axis=1)


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return (1 / (1 + np.exp(-x))).astype(np.float32)


@cache
def _load(path: Path) -> VisemeNetwork:
    try:
        with safe_open(path, framework="numpy") as file:
            meta = file.metadata() or {}
            names = file.keys()
            arrays = {name: np.ascontiguousarray(file.get_tensor(name), np.float32) for name in names}
    except FileNotFoundError:
        raise MarotteError(f"{path} does not exist: give the .safetensors file of a viseme network") from None
    except (OSError, SafetensorError) as error:
        raise MarotteError(f"{path} cannot be read as .safetensors: {error}") from error
    if meta.get("format") != FORMAT:
        raise MarotteError(f"{path} is no viseme network: its format is {meta.get('format')!r}, not {FORMAT!r}")
    try:
        dilations = [int(number) for number in meta["dilations"].split(",")]
        width = len(arrays["last.weight"])
        return VisemeNetwork(
            _array(arrays, "filters", BANDS, FFT // 2 + 1),
            _dense(arrays, "first", TAPS * 2 * BANDS, width),
            tuple(
                Block(
                    dilation,
                    _dense(arrays, f"blocks.{index}.taps", TAPS * width, width),
                    _dense(arrays, f"blocks.{index}.mix", width, width),
                )
                for index, dilation in enumerate(dilations)
            ),
            _dense(arrays, "last", width, len(PHONES) + 2),
        )
    except (KeyError, ValueError) as error:
        raise MarotteError(f"{path} is not a whole viseme network: {error}") from error


def _dense(arrays: dict[str, np.ndarray], name: str, inner: int, outer: int) -> Dense:
    return Dense(_array(arrays, f"{name}.weight", inner, outer), _array(arrays, f"{name}.bias", outer))


def _array(arrays: dict[str, np.ndarray], name: str, *shape: int) -> np.ndarray:
    if arrays[name].shape != shape:
        raise ValueError(f"{name} has shape {arrays[name].shape}, not {shape}")
    return arrays[name]
