"""One arm's own process while arms are measured in turns: `python -m marotte.runtime.compare.cost_child`.

JSON lines: what to open comes first, then one line for each turn; each is answered with one line. `{"failed": why}`
stands for what goes wrong, and is the last. See `cost.py`, which asks.
"""

import json
import os
import signal
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import IO, Any

import numpy as np

from marotte.errors import MarotteError
from marotte.runtime.audio.resample import mono_blocks
from marotte.runtime.audio.source import open_audio
from marotte.runtime.bench import Lap, time_call
from marotte.runtime.bench_protocol import Threads, circumstances, synchronise
from marotte.runtime.camera import Camera
from marotte.runtime.compare.cast import open_member
from marotte.runtime.compare.model import Arm
from marotte.runtime.compiled import prepare
from marotte.runtime.contracts import SAMPLE_RATE, RenderStream, ignore_stage
from marotte.runtime.session import Session

# So much of the sound is read, and is said again from its start; a shorter one is repeated to the least.
_MOST_S, _LEAST_S = 60.0, 10.0


def main() -> int:
    """Answer until nobody asks."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever asks ends it
    # What a plug-in prints is no answer.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    prepare()
    try:
        _answer(sys.stdin, answers)
    except MarotteError as error:
        _tell(answers, {"failed": " ".join(str(error).split())})
    except Exception as error:
        _tell(answers, {"failed": " ".join(f"{type(error).__name__}: {error}".split())})
    return 0


def _answer(asked: IO[str], answers: IO[str]) -> None:
    spec = json.loads(asked.readline())
    work = _Work(spec)
    _tell(answers, {"start_up": work.start_up, **circumstances(), **work.about()})
    for line in asked:
        turn = json.loads(line)
        if turn["do"] == "frames":
            _tell(answers, work.frames(turn["count"], turn["threads"], turn["warm"]))
        elif turn["do"] == "batches":
            _tell(answers, work.batches(turn["packet"], turn["seconds"]))
        else:
            _tell(answers, _memory())


def _tell(answers: IO[str], content: dict[str, Any]) -> None:
    with suppress(BrokenPipeError):  # nobody waits any more
        print(json.dumps(content), file=answers, flush=True)


@dataclass(init=False)
class _Work:
    """The arm, its first picture drawn. start_up: seconds of each part of its start, by name."""

    start_up: dict[str, float]

    def __init__(self, spec: dict[str, Any]) -> None:
        """Raises MarotteError where the arm cannot be drawn."""
        import numba  # noqa: F401  what imports take longest for on the default path

        marks = {"import": time.monotonic()}
        arm = Arm(**spec["arm"])
        member = open_member(arm, spec["size"], spec["seed"], {})
        member.stream.close()
        marks["load"] = time.monotonic()
        if not arm.motion:
            member = replace(member, options=replace(member.options, driver=arm.driver_options))
        self._lap: Lap = ignore_stage
        self._stream: RenderStream = member.stream
        camera = None if spec["camera"] is None else Camera(**spec["camera"])
        told: dict[str, Any] = {"lap": lambda name: self._lap(name), "watch": self._watch}
        self._session: Session = member.session(camera, Fraction(spec["fps"]), **told)
        marks["open"] = time.monotonic()
        self._sound = _sound(spec)
        self._fed = 0  # frames' time of it
        marks["sound"] = time.monotonic()
        member.driver.warm_up()
        member.renderer.warm_up()
        marks["warm-up"] = time.monotonic()
        self._draw(1)
        marks["first frame"] = time.monotonic()
        ends = [spec["began"], *marks.values()]
        self.start_up = {name: round(end - begin, 4) for name, (begin, end) in zip(marks, pairwise(ends), strict=True)}

    def about(self) -> dict[str, Any]:
        """Return what it draws: Gaussians, frames in a batch, batches in flight, width and height."""
        stream = self._stream
        return {
            "gaussians": stream.gaussian_count,
            "batch": stream.batch,
            "in_flight": stream.in_flight,
            "size": list(self._session.size),
        }

    def frames(self, count: int, threads: int | None, warm: bool) -> dict[str, Any]:
        """Draw at least so many frames, one at a time; return ms of each, CPU and wall, by stage, and seconds of all.

        threads: None for all. warm: draw one before, that does not count, as another process had the caches. Where
        several come at once (a driver's chunk), each has its share of the whole.
        """
        cpu: dict[str, list[float]] = {}
        wall: dict[str, list[float]] = {}
        made = 0
        with Threads(threads):
            if warm:
                self._one(ignore_stage)
            synchronise()
            began = time.perf_counter()
            while made < count:
                of_clock, of_wall, facts = time_call(self._one)
                several = int(facts["frames"])
                for spent, kept in ((of_clock, cpu), (of_wall, wall)):
                    for name, ms in spent.items():
                        kept.setdefault(name, []).extend([round(ms / several, 4)] * several)
                made += several
            synchronise()
            seconds = time.perf_counter() - began
        return {"cpu": cpu, "wall": wall, "frames": made, "seconds": seconds}

    def batches(self, packet: int, seconds: float) -> dict[str, Any]:
        """Draw for about so long at all threads, so many frames' sound at a time; return the frames, and seconds."""
        self._lap = ignore_stage
        made = 0
        with Threads(None):
            synchronise()
            began = time.perf_counter()
            while not made or time.perf_counter() - began < seconds:
                made += self._draw(packet)
            synchronise()
            spent = time.perf_counter() - began
        return {"frames": made, "seconds": spent}

    def _one(self, lap: Lap) -> dict[str, float]:
        self._lap = lap
        return {"frames": self._draw(1)}

    def _draw(self, packet: int) -> int:
        """Feed sound, so many frames' of it at a time, until pictures come; return how many came."""
        fps, starts = self._session.fps, 0
        while starts < 2:
            begin, end = (int(index * SAMPLE_RATE / fps) for index in (self._fed, self._fed + packet))
            if end > len(self._sound):
                self._session.reset()
                self._fed = 0
                starts += 1
                continue
            self._fed += packet
            if made := sum(len(frames) for frames in self._session.feed(self._sound[begin:end])):
                return made
        raise MarotteError(f"{len(self._sound) / SAMPLE_RATE:.0f} s of sound gave no picture")

    def _watch(self, stream: RenderStream, drive: object) -> None:
        self._stream = stream


def _sound(spec: dict[str, Any]) -> np.ndarray:
    """Return the sound [n] float32 at 16 kHz."""
    seconds = min(spec["duration"] or _MOST_S, _MOST_S)
    with open_audio(spec["audio"], start=spec["start"], duration=seconds) as source:
        sound = np.concatenate([np.zeros(0, np.float32), *mono_blocks(source, SAMPLE_RATE)])
    if not len(sound):
        raise MarotteError(f"{spec['audio']} has no sound to be measured with")
    return np.tile(sound, max(1, int(np.ceil(_LEAST_S * SAMPLE_RATE / len(sound)))))


def _memory() -> dict[str, int | None]:
    """Return the most memory that this process had at a time, in bytes, and that of the CUDA device's tensors."""
    device = None
    if (torch := sys.modules.get("torch")) and torch.cuda.is_available() and torch.cuda.is_initialized():
        device = torch.cuda.max_memory_allocated()
    return {"peak": _peak(), "device": device}


def _peak() -> int | None:
    """Return the peak resident size of this process alone; `ru_maxrss` may be that of what it was forked from."""
    with suppress(OSError, StopIteration, ValueError):
        lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))
    try:
        import resource
    except ImportError:  # Windows
        return None
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else 1024 * most


if __name__ == "__main__":
    sys.exit(main())
