"""Measuring: CPU-ms a frame at one thread, wall time at all, stage by stage, medians after warm-up.

Wall times on shared cores are noise, so the figure that counts is the CPU time of one thread; what
it is compared with (a slow twin, a peer) is measured in the same run. Plug-ins bring their own cases
through the entry points `marotte.benchmarks`: callables that take a `Request` and yield `Case`s.
"""

import json
import os
import platform
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

import marotte
from marotte.errors import MarotteError, unknown_name
from marotte.runtime.contracts import Drive, Pending, Renderer, RenderStream
from marotte.runtime.info import OPTIONAL, cores, cuda, processor
from marotte.runtime.registry import found, load

FORMAT = "marotte-bench-1"

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
    """Milliseconds a frame of one stage: CPU time at one thread, wall time at all threads."""

    cpu_ms: float
    cpu_p95_ms: float
    wall_ms: float
    wall_p95_ms: float


@dataclass(frozen=True)
class Result:
    """What was measured of a case; `total` is of whole frames, not the sum of medians."""

    name: str
    settings: dict[str, Any]
    frames: int
    total: Stage
    stages: dict[str, Stage]
    facts: dict[str, float] = field(default_factory=dict)
    twin_of: str = ""

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
    if count == 1:  # too slow to be run for warmth: its first frame is what is measured, on one thread
        with _Threads(1):
            cpu, wall, facts = _laps(frame, 1, clock)
    else:
        with _Threads(1):
            _laps(frame, min(3, count), clock)
            cpu, _, facts = _laps(frame, count, clock)
        with _Threads(None):
            frame(_ignore)
            _, wall, _ = _laps(frame, count, clock)
    stages = {name: _stage(cpu[name], wall[name], case.frames_a_call) for name in cpu}
    total = stages.pop("")
    return Result(case.name, dict(case.settings), count, total, stages, facts, case.twin_of)


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
    """Return all of it for a JSON file: results, hardware, versions, commit, protocol."""
    return {
        "format": FORMAT,
        "hardware": {"cpu": processor(), "threads": cores(), **({"cuda": cuda()} if "torch" in sys.modules else {})},
        "versions": {
            "marotte": marotte.__version__,
            "python": platform.python_version(),
            **{name: version(name) for name in ("numpy", "numba")},
            **{name: version(name) for name in OPTIONAL if name in sys.modules},
        },
        "commit": commit(),
        "protocol": "CPU-ms: process time at one thread; wall: at all threads; medians and 95th percentiles after "
        "warm-up",
        "results": [asdict(result) for result in results],
    }


def read_report(path: str | Path) -> dict[tuple[str, str], Result]:
    """Return the results of an earlier run by key."""
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        if content["format"] != FORMAT:
            raise MarotteError(f"{path} is of format {content['format']!r}, this version reads {FORMAT}")
        results = [
            Result(
                **{
                    **entry,
                    "total": Stage(**entry["total"]),
                    "stages": {name: Stage(**stage) for name, stage in entry["stages"].items()},
                }
            )
            for entry in content["results"]
        ]
    except FileNotFoundError:
        raise MarotteError(f"{path} does not exist: give a JSON file that `marotte bench --json` wrote") from None
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise MarotteError(f"{path} is no report of `marotte bench --json` ({error})") from error
    return {result.key: result for result in results}


def commit() -> str:
    """Return the checkout's commit, with `+` where files differ from it; empty outside a checkout."""
    command = ["git", "describe", "--always", "--dirty=+", "--abbrev=10", "--exclude=*"]
    here = Path(__file__).parent
    try:
        return subprocess.run(command, cwd=here, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


def _laps(
    frame: Callable[[Lap], Mapping[str, float] | None], count: int, clock: Callable[[], float]
) -> tuple[dict[str, list[float]], dict[str, list[float]], dict[str, float]]:
    """Return milliseconds by `clock` and of wall time for `count` frames, and the last frame's facts.

    Both are by stage, and of whole frames under the empty name.
    """
    cpu: dict[str, list[float]] = {"": []}
    wall: dict[str, list[float]] = {"": []}
    facts: Mapping[str, float] = {}
    for _ in range(count):
        marks = [("", clock(), time.perf_counter())]

        def lap(name: str, marks: list[tuple[str, float, float]] = marks) -> None:
            marks.append((name, clock(), time.perf_counter()))

        facts = frame(lap) or {}
        cpu[""].append((clock() - marks[0][1]) * 1e3)
        wall[""].append((time.perf_counter() - marks[0][2]) * 1e3)
        spent: dict[str, list[float]] = {}
        for before, after in pairwise(marks):
            total = spent.setdefault(after[0], [0.0, 0.0])
            total[0] += (after[1] - before[1]) * 1e3
            total[1] += (after[2] - before[2]) * 1e3
        for name, (of_clock, of_wall) in spent.items():
            cpu.setdefault(name, []).append(of_clock)
            wall.setdefault(name, []).append(of_wall)
    return cpu, wall, dict(facts)


def _stage(cpu: list[float], wall: list[float], frames: int) -> Stage:
    return Stage(*(round(float(np.percentile(v, p)) / frames, 4) for v in (cpu, wall) for p in (50, 95)))


def _process_time() -> float:
    """CPU seconds of this process and of its children that have ended; in steps of 10 ms."""
    return sum(os.times()[:4])


def _ignore(name: str) -> None:
    """Take a lap that nobody asked for."""


class _Threads:
    """So many threads of numba and torch inside the block; None for all."""

    def __init__(self, count: int | None) -> None:
        self._count = count

    def __enter__(self) -> None:
        self._before = {}
        if numba := sys.modules.get("numba"):
            self._before["numba"] = numba.get_num_threads()
            numba.set_num_threads(min(self._count or numba.config.NUMBA_NUM_THREADS, numba.config.NUMBA_NUM_THREADS))
        if torch := sys.modules.get("torch"):
            self._before["torch"] = torch.get_num_threads()
            torch.set_num_threads(self._count or cores())

    def __exit__(self, *_: object) -> None:
        for name, count in self._before.items():
            sys.modules[name].set_num_threads(count)
