"""Measuring: CPU-ms a frame at one thread, wall time at all, stage by stage, medians after warm-up.

Wall times on shared cores are noise, so the figure that counts is the CPU time of one thread; what
it is compared with (a slow twin, a peer) is measured in the same run. Plug-ins bring their own cases
through the entry points `marotte.benchmarks`: callables that take a `Request` and yield `Case`s.
The protocol is `marotte.runtime.bench_protocol`, which `marotte compare` keeps to as well.
"""

import json
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np

from marotte.errors import MarotteError, unknown_name
from marotte.runtime.bench_protocol import PROTOCOL, Threads, circumstances, synchronise, yardstick
from marotte.runtime.contracts import Drive, Pending, Renderer, RenderStream
from marotte.runtime.registry import found, load

FORMAT = "marotte-bench-2"
# Of longer runs so many quantiles are kept.
_SAMPLES = 1000

# Called at the end of each stage of a frame, with its name.
Lap = Callable[[str], None]


def draw_all(renderer: Renderer, stream: RenderStream, drives: Sequence[Drive]) -> None:
    """Draw batches of one stream as a session does: with others under way, where they are of several frames."""
    pending: deque[Pending] = deque()
    most = stream.in_flight if len(drives[0]) > 1 else 1
    for drive in drives:
        if len(pending) == most:
            pending.popleft().result()
        pending.append(renderer.submit([(stream, drive)]))
    for work in pending:
        work.result()


@dataclass(frozen=True)
class Request:
    """What to measure. sizes: of square pictures; gaussians: how many in a scene; driver: one driver alone, with
    what takes too long to be measured unasked."""

    sizes: tuple[int, ...] = (512,)
    gaussians: tuple[int, ...] = (20000, 60000)
    frames: int = 30
    driver: str = ""


@dataclass(frozen=True)
class Case:
    """One thing to measure.

    name: `rasterizer/cpu`. settings: what distinguishes it from its siblings of that name.
    prepare: sets it up and returns the function of one frame, which calls its `Lap` after each
        stage and may return facts about the frame (numbers by name).
    frames: how many calls to measure, where the request's number would take too long.
    frames_a_call: for what only makes sense for several frames at once; figures are divided by it.
    children: count the CPU time of child processes that end within a call.
    twin_of: the name of the fast case that this one is the slow twin of.
    """

    name: str
    settings: Mapping[str, Any]
    prepare: Callable[[], Callable[[Lap], Mapping[str, float] | None]]
    frames: int | None = None
    frames_a_call: int = 1
    children: bool = False
    twin_of: str = ""


@dataclass(frozen=True)
class Stage:
    """Milliseconds a frame of one stage: CPU time at one thread, wall time at all threads; the medians first."""

    cpu_ms: float
    cpu_p95_ms: float
    cpu_p99_ms: float
    wall_ms: float
    wall_p95_ms: float
    wall_p99_ms: float

    @classmethod
    def of(cls, cpu: Sequence[float], wall: Sequence[float], frames: int = 1) -> "Stage":
        """Return the stage of milliseconds of calls that were of so many frames each."""
        return cls(*(round(float(np.percentile(v, p)) / frames, 4) for v in (cpu, wall) for p in (50, 95, 99)))


@dataclass(frozen=True)
class Result:
    """What was measured of a case; `total` is of whole frames, not the sum of medians.

    samples: ms of single frames, `cpu` and `wall`, in their order. per_second: frames of the whole run at all threads,
    from its first frame's start until the device had done its last. yardstick_ms: `yardstick` beside it.
    """

    name: str
    settings: dict[str, Any]
    frames: int
    total: Stage
    stages: dict[str, Stage]
    facts: dict[str, float] = field(default_factory=dict)
    twin_of: str = ""
    samples: dict[str, list[float]] = field(default_factory=dict)
    per_second: float | None = None
    yardstick_ms: float | None = None

    @property
    def key(self) -> tuple[str, str]:
        """What makes results of two runs comparable."""
        return self.name, json.dumps(self.settings, sort_keys=True)


def all_cases(request: Request, only: str = "") -> list[Case]:
    """Return the cases of every plug-in whose names contain `only`."""
    cases = [case for name in found("benchmark") for case in load("benchmark", name)(request)]
    if request.driver:
        if request.driver not in found("driver"):
            raise unknown_name("driver", request.driver, found("driver"))
        cases = [case for case in cases if case.name == f"drive/{request.driver}"]
        if not cases:
            raise MarotteError(
                f"the driver {request.driver} cannot be measured alone: `marotte info` says what it needs"
            )
    chosen = [case for case in cases if only in case.name]
    if not chosen:
        names = ", ".join(sorted({case.name for case in cases}))
        raise MarotteError(f"no benchmark is called {only!r}: there are {names or 'none'}")
    return chosen


def measure(case: Case, request: Request) -> Result:
    """Measure one case: CPU time with one thread, then wall time with all."""
    count = case.frames or request.frames
    clock = _process_time if case.children else time.process_time
    frame = case.prepare()
    before = yardstick()
    if count == 1:  # too slow to be run for warmth: its first frame is what is measured, on one thread
        with Threads(1):
            cpu, wall, facts, seconds = _laps(frame, 1, clock)
    else:
        with Threads(1):
            _laps(frame, min(3, count), clock)
            cpu, _, facts, _ = _laps(frame, count, clock)
        with Threads(None):
            frame(_ignore)
            _, wall, _, seconds = _laps(frame, count, clock)
    stages = {name: Stage.of(cpu[name], wall[name], case.frames_a_call) for name in cpu}
    total = stages.pop("")
    return Result(
        case.name,
        dict(case.settings),
        count,
        total,
        stages,
        facts,
        case.twin_of,
        {"cpu": _kept(cpu[""], case.frames_a_call), "wall": _kept(wall[""], case.frames_a_call)},
        round(count * case.frames_a_call / max(seconds, 1e-9), 3),
        round((before + yardstick()) / 2, 4),
    )


def speedups(results: Iterable[Result]) -> dict[tuple[str, str], float]:
    """Return, by the key of each fast case whose slow twin was measured too, how many times faster it is."""
    results = list(results)
    fast = {result.key: result for result in results}
    ratios = {}
    for slow in results:
        key = slow.twin_of, json.dumps(slow.settings, sort_keys=True)
        if slow.twin_of and key in fast:
            ratios[key] = slow.total.cpu_ms / fast[key].total.cpu_ms
    return ratios


def report(results: list[Result]) -> dict[str, Any]:
    """Return all of it for a JSON file: results, hardware, versions, commit, load, protocol."""
    return {
        "format": FORMAT,
        **circumstances(),
        "protocol": PROTOCOL,
        "results": [asdict(result) for result in results],
    }


def time_call(
    call: Callable[[Lap], Mapping[str, float] | None], clock: Callable[[], float] = time.process_time
) -> tuple[dict[str, float], dict[str, float], dict[str, float]]:
    """Return milliseconds by `clock` and of wall time of one call, and its facts.

    Both are by stage, and of the whole call under the empty name.
    """
    marks = [("", clock(), time.perf_counter())]
    facts = call(lambda name: marks.append((name, clock(), time.perf_counter()))) or {}
    cpu = {"": (clock() - marks[0][1]) * 1e3}
    wall = {"": (time.perf_counter() - marks[0][2]) * 1e3}
    for before, after in pairwise(marks):
        cpu[after[0]] = cpu.get(after[0], 0.0) + (after[1] - before[1]) * 1e3
        wall[after[0]] = wall.get(after[0], 0.0) + (after[2] - before[2]) * 1e3
    return cpu, wall, dict(facts)


def _laps(
    frame: Callable[[Lap], Mapping[str, float] | None], count: int, clock: Callable[[], float]
) -> tuple[dict[str, list[float]], dict[str, list[float]], dict[str, float], float]:
    """Return milliseconds by `clock` and of wall time for `count` frames as `time_call`, the last frame's facts, and
    the seconds of all until the device had done them."""
    cpu: dict[str, list[float]] = {}
    wall: dict[str, list[float]] = {}
    facts: dict[str, float] = {}
    synchronise()
    began = time.perf_counter()
    for _ in range(count):
        of_clock, of_wall, facts = time_call(frame, clock)
        for name in of_clock:
            cpu.setdefault(name, []).append(of_clock[name])
            wall.setdefault(name, []).append(of_wall[name])
    synchronise()
    return cpu, wall, facts, time.perf_counter() - began


def _kept(samples: list[float], frames: int) -> list[float]:
    """Return the milliseconds a frame of calls, at most `_SAMPLES` of them."""
    values = np.asarray(samples) / frames
    if len(values) > _SAMPLES:
        values = np.quantile(values, (np.arange(_SAMPLES) + 0.5) / _SAMPLES)
    return [round(float(value), 4) for value in values]


def _process_time() -> float:
    """CPU seconds of this process and of its children that have ended; in steps of 10 ms."""
    return sum(os.times()[:4])


def _ignore(name: str) -> None:
    """Take a lap that nobody asked for."""
