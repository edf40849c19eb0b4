"""What arms cost: each in a process of its own, all taking turns, by the protocol that `marotte bench` keeps to.

Arms that are measured one after the other are compared with the machine's mood; here each draws a few frames, then the
next one does, in an order that changes, so that what slows the machine slows all arms alike, and turns are pairs.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from marotte.runtime.bench import Stage
from marotte.runtime.bench_protocol import PROTOCOL, circumstances
from marotte.runtime.camera import Camera
from marotte.runtime.compare.cost_process import LostError, Process, answering
from marotte.runtime.compare.model import Arm

_CHILD = "marotte.runtime.compare.cost_child"
# A turn is of so many frames at one thread; every fourth has as many at all threads.
_TURN = 5
_ALL_THREADS = 4
_FEWEST, _MOST = 3, 60
# Frames that are drawn before anything counts, and a frame's seconds from which on its first one is warm-up enough.
_WARM, _SLOW_S = 3, 1.0
_BATCH_ROUNDS = 3
# A first run compiles for a minute.
_START_TIMEOUT_S = 300.0

PROTOCOL_OF_TURNS = (
    f"{PROTOCOL}. Each arm has a process of its own, with its own driver, and no two work at a time: they take turns "
    f"of {_TURN} frames ({_FEWEST} to {_MOST} turns, as many as fit in about 6 s an arm; slow arms fewer, of 1 frame) "
    "in an order that changes; the first frame of a turn warms the caches and does not count, and each is fed by "
    "itself. Throughput: frames fed one at a time, and in full batches, at all threads. Start-up: from the process's "
    "start to the first picture, with warm caches; load: with the checks of a comparison. Peak memory: of that "
    "process, without the encoder"
)

# Called with the turns that are done and those expected at most.
Progress = Callable[[int, int | None], None]


@dataclass(frozen=True, eq=False)
class ArmCost:
    """What one arm costs; `failed` says why the rest is not there, or ends early.

    turns: CPU-ms of single frames at one thread, for each turn [n]; turn k of one arm is beside turn k of any other.
    total, stages: of frames. single, batched: frames a second at all threads, fed one by one and in full batches.
    start_up: seconds of its parts, in their order. memory, device_memory: the most bytes at a time, of the process and
    of the CUDA device's tensors. gaussians, batch, in_flight, size: as its stream says.
    """

    failed: str = ""
    turns: tuple[np.ndarray, ...] = ()
    total: Stage | None = None
    stages: Mapping[str, Stage] = field(default_factory=dict)
    single: float | None = None
    batched: float | None = None
    start_up: Mapping[str, float] = field(default_factory=dict)
    memory: int | None = None
    device_memory: int | None = None
    gaussians: int | None = None
    batch: int | None = None
    in_flight: int | None = None
    size: tuple[int, int] | None = None

    def content(self) -> dict[str, Any]:
        """Return it as plain data without the turns; a figure that is not there is left out."""
        found: dict[str, Any] = {"failed": self.failed} if self.failed else {}
        if self.total is not None:
            found["frames"] = sum(map(len, self.turns))
            found["frame"] = asdict(self.total)
            found["stages"] = {name: asdict(stage) for name, stage in self.stages.items()}
        if self.start_up:
            found["start_up_s"] = {"whole": round(sum(self.start_up.values()), 4), **self.start_up}
        facts = {
            "single_per_second": self.single,
            "batched_per_second": self.batched,
            "memory_mib": None if self.memory is None else round(self.memory / 2**20, 1),
            "device_memory_mib": None if self.device_memory is None else round(self.device_memory / 2**20, 1),
            "gaussians": self.gaussians,
            "batch": self.batch,
            "in_flight": self.in_flight,
        }
        return found | {name: value for name, value in facts.items() if value is not None}


@dataclass(frozen=True, eq=False)
class Cost:
    """What arms cost, by name. circumstances: hardware, versions, commit, load, as `bench_protocol` gathers them;
    seconds: that measuring took."""

    arms: Mapping[str, ArmCost]
    circumstances: Mapping[str, Any]
    seconds: float

    def content(self) -> dict[str, Any]:
        """Return it as plain data: `samples` are the turns, from which another run can be compared."""
        return {
            "protocol": PROTOCOL_OF_TURNS,
            **self.circumstances,
            "seconds": round(self.seconds, 1),
            "arms": {name: arm.content() for name, arm in self.arms.items()},
            "samples": {name: [turn.tolist() for turn in arm.turns] for name, arm in self.arms.items()},
        }


def make_spec(
    arm: Arm,
    audio: str | Path,
    *,
    fps: Fraction,
    camera: Camera | None = None,
    size: str | None = None,
    seed: int = 0,
    start: float = 0.0,
    duration: float | None = None,
) -> dict[str, Any]:
    """Return a drawn arm as its process is told it. camera: in place of its framing's; size: asked for, of pictures;
    start, duration: seconds of the sound."""
    told = None if camera is None else {name: _plain(value) for name, value in vars(camera).items()}
    return {
        "arm": {**vars(arm), "render": dict(arm.render), **{n: dict(getattr(arm, n)) for n in _OPTIONS}},
        "audio": str(audio),
        "fps": str(fps),
        "camera": told,
        "size": size,
        "seed": seed,
        "start": start,
        "duration": duration,
    }


_OPTIONS = ("driver_options", "renderer_options")


def measure_cost(
    specs: Mapping[str, dict[str, Any]],
    *,
    seconds: float = 6.0,
    timeout: float = 120.0,
    progress: Progress | None = None,
) -> Cost:
    """Measure arms by name, each told as by `make_spec`, for about so many seconds each after its start.

    timeout: seconds after which a turn counts as hung. An arm that fails, dies or hangs is one with a reason; the
    others go on. No process is left, whatever happens.
    """
    began = time.perf_counter()
    found: dict[str, Any] = circumstances()
    with ExitStack() as stack:
        runs = []
        for name, spec in specs.items():
            run = _Run(stack.enter_context(answering(_CHILD)), spec, timeout)
            with run.trying():
                _merge(found, run.start())
            runs.append((name, run))
        _frames([run for _, run in runs], seconds * 0.75, progress)
        for _ in range(_BATCH_ROUNDS):
            for _, run in runs:
                with run.trying():
                    run.draw_batches(seconds * 0.25 / _BATCH_ROUNDS)
        for _, run in runs:
            with run.trying():
                run.remember()
        arms = {name: run.cost() for name, run in runs}
    return Cost(arms, found, time.perf_counter() - began)


def _frames(runs: Sequence["_Run"], seconds: float, progress: Progress | None) -> None:
    """Let the runs take turns until all together have had so many seconds each; one that is much slower than the
    others stops before them."""
    rng = np.random.default_rng(0)
    before: _Run | None = None
    for turn in range(_MOST):
        order = [runs[index] for index in rng.permutation(len(runs))]
        if order[0] is before:  # nobody has two turns on end, and the caches to itself
            order.append(order.pop(0))
        before = order[-1]
        for run in order:
            if run.spent < (2 if turn >= _FEWEST else 4) * seconds:
                with run.trying():
                    run.draw_turn(turn)
        if progress:
            progress(turn + 1, _MOST)
        left = [run for run in runs if not run.failed and run.spent < 2 * seconds]
        if turn + 1 >= _FEWEST and (not left or sum(run.spent for run in left) >= seconds * len(left)):
            break
    if progress:
        progress(_MOST, _MOST)


class _Run:
    """One arm's process, and what it answered."""

    def __init__(self, process: Process, spec: dict[str, Any], timeout: float) -> None:
        self._process, self._spec, self._timeout = process, spec, timeout
        self.failed = ""
        self.spent = 0.0  # seconds of turns
        self._about: dict[str, Any] = {}
        self._memory: dict[str, Any] = {}
        self._frame_s = 0.0
        self._turns: list[np.ndarray] = []
        self._cpu: dict[str, list[float]] = {}
        self._wall: dict[str, list[float]] = {}
        self._single = [0.0, 0.0]  # frames, seconds
        self._batched = [0.0, 0.0]

    @contextmanager
    def trying(self) -> Iterator[None]:
        """What is asked inside may fail, and is not asked where something failed before."""
        try:
            yield
        except LostError as error:
            self.failed = self.failed or str(error)

    def start(self) -> dict[str, Any]:
        """Open the arm; return its circumstances."""
        self._about = self._ask({**self._spec, "began": self._process.began}, _START_TIMEOUT_S)
        self._frame_s = self._about["start_up"]["first frame"]
        if self._frame_s < _SLOW_S:
            warm = self._ask({"do": "frames", "count": _WARM, "threads": 1, "warm": False})
            self._frame_s = warm["seconds"] / warm["frames"]
        return self._about

    def draw_turn(self, turn: int) -> None:
        """Draw some frames at one thread, and in some turns at all threads too."""
        began = time.perf_counter()
        fast = self._frame_s < _SLOW_S / 4
        asked = {"do": "frames", "count": _TURN if fast else 1, "warm": fast}
        found = self._ask({**asked, "threads": 1})
        self._turns.append(np.array(found["cpu"][""]))
        _extend(self._cpu, found["cpu"])
        if turn % _ALL_THREADS == 0:
            found = self._ask({**asked, "threads": None})
            _extend(self._wall, found["wall"])
            _count(self._single, found)
        self.spent += time.perf_counter() - began

    def draw_batches(self, seconds: float) -> None:
        """Draw full batches, as many as the renderer keeps under way; none where that took too long."""
        packet = self._about.get("batch", 1) * self._about.get("in_flight", 1)
        if packet * self._frame_s < max(8 * seconds, 3.0):
            _count(self._batched, self._ask({"do": "batches", "packet": packet, "seconds": seconds}))

    def remember(self) -> None:
        """Ask for the peak of memory."""
        self._memory = self._ask({"do": "memory"})

    def cost(self) -> ArmCost:
        """Return what was measured."""
        about = self._about
        stages = {name: Stage.of(self._cpu[name], self._wall[name]) for name in self._cpu if name in self._wall}
        return ArmCost(
            failed=self.failed,
            turns=tuple(self._turns),
            total=stages.pop("", None),
            stages=stages,
            single=_per_second(self._single),
            batched=_per_second(self._batched),
            start_up=about.get("start_up", {}),
            memory=self._memory.get("peak"),
            device_memory=self._memory.get("device"),
            gaussians=about.get("gaussians"),
            batch=about.get("batch"),
            in_flight=about.get("in_flight"),
            size=(about["size"][0], about["size"][1]) if about else None,
        )

    def _ask(self, content: dict[str, Any], timeout: float | None = None) -> dict[str, Any]:
        if self.failed:
            raise LostError(self.failed)
        return self._process.ask(content, self._timeout if timeout is None else timeout)


def _extend(kept: dict[str, list[float]], found: Mapping[str, list[float]]) -> None:
    for name, values in found.items():
        kept.setdefault(name, []).extend(values)


def _count(kept: list[float], found: Mapping[str, float]) -> None:
    kept[0] += found["frames"]
    kept[1] += found["seconds"]


def _per_second(counted: Sequence[float]) -> float | None:
    frames, seconds = counted
    return round(frames / seconds, 3) if frames and seconds > 0 else None


def _merge(found: dict[str, Any], own: Mapping[str, Any]) -> None:
    """Add what an arm's process has and this one does not: a device, the versions of its libraries."""
    for section in ("hardware", "versions"):
        for name, value in own[section].items():
            found[section].setdefault(name, value)


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray) else value
