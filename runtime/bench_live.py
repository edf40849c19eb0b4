"""Measuring a live server as its users have it: frames, delays, sound and picture, interruptions, what sessions leave.

The server runs in a process of its own and its page in headless Chromium on the same cores; the page reads the frame
numbers that the server paints and hears its bursts, so that what is measured is what is seen and heard.
"""

import asyncio
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from marotte.errors import MarotteError
from marotte.runtime import bench
from marotte.runtime.bench_live_client import Api, Page, Program, Server
from marotte.runtime.bench_live_simulated import Source, bursts, simulate
from marotte.runtime.clock import TICK_RATE
from marotte.runtime.contracts import SAMPLE_RATE
from marotte.runtime.live.face import FADE_S
from marotte.runtime.live.metrics import STAGES
from marotte.runtime.live.segment import to_int16
from marotte.runtime.testing import speech_like

FORMAT = "marotte-bench-live-1"
# The variant of the demo avatar, and the frames a second, for each number of Gaussians; targets are for these.
KINDS = {20000: ("live", 60), 60000: ("full", 30)}
_VOICES = (440.0, 660.0)
_SOUND_KIND, _KEY_KIND, _HEAD = 3, 1, 9
_SETTLE_S, _SOON_S = 0.5, 3.0
# By then a server has given back what ended sessions held: it looks once a second.
_FREED_S = 2.5
# How often, and after how long, a server that refuses its session is asked again.
_ATTEMPTS, _AGAIN_S = 5, 6.0


@dataclass(frozen=True)
class LiveRequest:
    """What to measure. fps: None for what belongs to the Gaussians. seconds: of each film. turns: of delays and
    interruptions. sessions: that are opened and closed one after the other; 0: none. hours: simulated; 0: none."""

    gaussians: int = 20000
    size: int = 512
    fps: Fraction | None = None
    driver: str = "viseme"
    seconds: float = 10.0
    turns: int = 10
    sessions: int = 23
    hours: float = 0.0

    @property
    def rate(self) -> Fraction:
        """Frames a second."""
        return self.fps or Fraction(KINDS[self.gaussians][1])

    def server_arguments(self) -> list[str]:
        """Return what `marotte live` is started with."""
        asked = {
            "--size": self.size,
            "--fps": self.rate,
            "--driver": self.driver,
            "--variant": KINDS[self.gaussians][0],
        }
        return [str(part) for pair in asked.items() for part in pair]


@dataclass(frozen=True)
class Figure:
    """One result. least, most: its target, where it has one. wall: whether other work on the machine makes it worse."""

    name: str
    value: float
    unit: str
    least: float | None = None
    most: float | None = None
    wall: bool = True

    @property
    def target(self) -> str:
        """The target in words, empty where there is none."""
        if self.least is not None and self.most is not None:
            return f"{self.least:g} to {self.most:g}"
        return (
            f"at least {self.least:g}"
            if self.least is not None
            else f"at most {self.most:g}"
            if self.most is not None
            else ""
        )

    @property
    def met(self) -> bool | None:
        """Whether the value is within the target; None where there is none."""
        if self.least is None and self.most is None:
            return None
        return (self.least is None or self.value >= self.least) and (self.most is None or self.value <= self.most)


Tell = Callable[[Figure], None]


def measure_live(request: LiveRequest, tell: Tell) -> list[Figure]:
    """Measure it all; tell: called for each figure as it is known. Raises MarotteError where something is missing."""
    figures: list[Figure] = []

    def add(figure: Figure) -> None:
        figures.append(figure)
        tell(figure)

    asyncio.run(_measure(request, add))
    for figure in simulated(request.hours) if request.hours else ():
        add(figure)
    return figures


def report(results: list[tuple[LiveRequest, list[Figure]]]) -> dict[str, Any]:
    """Return all of it for a JSON file, with hardware, versions and commit as other benchmarks."""
    return {
        **bench.report([]),
        "format": FORMAT,
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "protocol": "server in its own process, page in headless Chromium on the same cores; wall: figures that other "
        "work on the machine makes worse",
        "results": [
            {
                "settings": {**asdict(request), "fps": float(request.rate)},
                "figures": [{**asdict(figure), "met": figure.met} for figure in figures],
            }
            for request, figures in results
        ],
    }


async def _measure(request: LiveRequest, add: Tell) -> None:
    server = Server(request.server_arguments())
    try:
        await server.ready()
        async with Api.open(server.url) as api:
            await _admitted(api, request)
            async with Page.open(server.url) as page:
                stats = await page.stats()
                add(Figure(f"first picture, by {stats['transport']}", stats["firstFrameMs"], "ms", most=3000))
                async with api.control(stats["session"]) as program:
                    for part in (_flow, _delay, _offsets, _interruptions):
                        await part(request, api, page, program, add)
            await api.end(stats["session"])
            await _voices(api, add)
            if request.sessions:
                await _sessions(request.sessions, api, server, add)
    finally:
        server.close()


async def _admitted(api: Api, request: LiveRequest) -> None:
    """Wait until the server lets a session in: on a busy machine frames seem dear. Raises MarotteError."""
    for attempt in range(_ATTEMPTS):
        try:
            await api.end(await api.session(fps=float(request.rate)))
            return
        except MarotteError:
            if attempt == _ATTEMPTS - 1:
                raise
            await asyncio.sleep(_AGAIN_S)


async def _flow(request: LiveRequest, api: Api, page: Page, program: Program, add: Tell) -> None:
    """Frames a second at every stage while it speaks, and what they cost."""
    whole = np.tile(speech_like(4.0), int(request.seconds / 4) + 2)
    await program.send("speak", turn="flow")
    for sound in np.array_split(to_int16(whole), max(1, len(whole) // SAMPLE_RATE)):
        await program.push(sound)
    await program.send("end")
    await program.of("started", "flow")
    await asyncio.sleep(_SETTLE_S)
    before, shown, began = await api.metrics(), await page.stats(), time.monotonic()
    await asyncio.sleep(request.seconds)
    after, now, seconds = await api.metrics(), await page.stats(), time.monotonic() - began
    metrics = await program.next("metrics")
    await program.send("interrupt")
    frames = max(after["frames_total"] - before["frames_total"], 1)
    cpu = 1000 * (after["process_cpu_seconds"] - before["process_cpu_seconds"]) / frames
    usual = request.fps is None and request.size == 512
    fast = usual and request.gaussians == 20000
    add(Figure("frames encoded and sent", frames / seconds, "a second", least=0.99 * float(request.rate)))
    for name, value in metrics["delays_ms"]["interval"].items():
        add(Figure(f"interval between them, {name}", value, "ms", most=25 if fast and name == "p99" else None))
    for name, target in (("decoded", 57), ("shown", 50)):
        rate = (now[name] - shown[name]) / seconds
        add(Figure(f"frames {name}", rate, "a second", least=target if fast else None))
    add(Figure("the server alone", cpu, "CPU-ms a frame", most=22 if fast else None, wall=False))
    waits = {"jitterBufferMs": "pictures wait", "soundBufferMs": "sound waits"}
    for name, what in {**waits, "avOffsetMs": "sound before picture by its own account"}.items():
        if now[name] is not None:
            add(Figure(f"in the page {what}", now[name], "ms"))
    _stages(metrics, ("render", "encode", "send"), add)


def _stages(metrics: dict[str, Any], stages: tuple[str, ...], add: Tell) -> None:
    """Add the server's delays, of its last turn."""
    for stage in stages:
        if found := metrics["delays_ms"].get(stage):
            for name in ("p50", "p99"):
                add(Figure(f"{STAGES[stage]}, {name}", found[name], "ms"))


async def _delay(request: LiveRequest, api: Api, page: Page, program: Program, add: Tell) -> None:
    """From the first sound of a turn that is live to the picture of its frame."""
    delays = []
    sound = to_int16(speech_like(0.6))
    for index in range(request.turns):
        turn = f"delay-{index}"
        await page.measured()
        await program.send("speak", turn=turn, rate=SAMPLE_RATE, stream=True)
        sent = await program.push_live(sound)
        await program.send("end")
        started = await program.of("started", turn)
        await program.of("finished", turn)
        delays.append(await _seen_soon(page, started["tick"] / TICK_RATE) - sent)
    add(Figure("audio in to picture shown, median", 1000 * float(np.median(delays)), "ms", most=300))
    add(Figure("audio in to picture shown, worst", 1000 * max(delays), "ms"))
    _stages(await program.next("metrics"), ("motion", "total"), add)


async def _offsets(request: LiveRequest, api: Api, page: Page, program: Program, add: Tell) -> None:
    """Bursts of a tone: when they are heard against when their pictures are seen; above 0 the sound is early."""
    sound = bursts(0, round(max(request.seconds, 2.0) * SAMPLE_RATE))
    await page.synchronise()
    await page.measured()
    await program.send("speak", turn="bursts")
    for piece in np.array_split(sound, max(1, len(sound) // SAMPLE_RATE)):
        await program.push(piece)
    await program.send("end")
    started = await program.of("started", "bursts")
    await program.of("finished", "bursts", request.seconds + 10)
    await asyncio.sleep(_SETTLE_S)
    pictures, heard = await page.measured()
    starts = np.flatnonzero(np.diff((sound != 0).astype(int), prepend=0) == 1)
    begins = starts[np.diff(starts, prepend=-SAMPLE_RATE) > SAMPLE_RATE // 2] / SAMPLE_RATE
    offsets = av_offsets(pictures, heard, started["tick"] / TICK_RATE + begins)
    add(Figure("bursts heard", len(offsets), f"of {len(begins)}", least=len(begins) - 1))
    if len(offsets):
        values = 1000 * np.percentile(offsets, (0, 50, 100))
        for name, value in zip(("least", "median", "most"), values, strict=True):
            add(Figure(f"sound before picture, {name}", float(value), "ms", least=-60, most=40))


async def _interruptions(request: LiveRequest, api: Api, page: Page, program: Program, add: Tell) -> None:
    """From an interruption, at any moment, to the picture in which the fade to a closed mouth is over."""
    rng, delays, spoke = np.random.default_rng(0), [], 0
    sound = to_int16(np.tile(speech_like(2.0), 2))
    for index in range(request.turns):
        turn = f"interrupted-{index}"
        await page.measured()
        await program.send("speak", turn=turn)
        await program.push(sound)
        started = await program.of("started", turn)
        await asyncio.sleep(rng.uniform(0.05, 1.5))
        sent = await program.send("interrupt")
        finished = await program.of("finished", turn)
        closed = started["tick"] / TICK_RATE + finished["position_s"] + FADE_S
        delays.append(await _seen_soon(page, closed) - sent)
        early = f"early-{index}"
        await program.send("speak", turn=early)
        await program.push(sound)
        await program.send("interrupt")
        await program.of("finished", early)
        spoke += any(message["type"] == "started" and message["turn"] == early for message in program.messages)
    add(Figure("interrupt to closed mouth, median", 1000 * float(np.median(delays)), "ms", most=250))
    add(Figure("interrupt to closed mouth, worst", 1000 * max(delays), "ms", most=250))
    add(Figure("interrupted before the first sound that spoke", spoke, f"of {request.turns}", most=0, wall=False))


async def _voices(api: Api, add: Tell) -> None:
    """Two sessions at once, each with a tone of its own: how much louder its own is than the other's."""

    async def one(hertz: float, other: float) -> tuple[float, int]:
        session = await api.session(size=128, fps=10)  # small: a busy machine lets two in
        seconds = np.arange(SAMPLE_RATE) / SAMPLE_RATE
        async with api.control(session) as program, api.media(session) as media:
            await program.send("speak", turn="tone")
            await program.push(to_int16(0.5 * np.sin(2 * np.pi * hertz * seconds)))
            await program.send("end")
            heard, pictures, end = bytearray(), 0, time.monotonic() + 1.6
            while time.monotonic() < end:
                data = (await media.receive()).data
                if isinstance(data, bytes):
                    heard += data[_HEAD:] if data[0] == _SOUND_KIND else b""
                    pictures += data[0] not in (0, _SOUND_KIND)
        await api.end(session)
        power = np.abs(np.fft.rfft(np.frombuffer(heard, "<i2").astype(float) * np.hanning(len(heard) // 2))) ** 2
        own, foreign = (power[round(each * len(heard) / 2 / TICK_RATE)] for each in (hertz, other))
        return 10 * float(np.log10((own + 1e-9) / (foreign + 1e-9))), pictures

    found = await asyncio.gather(one(*_VOICES), one(*_VOICES[::-1]))
    add(
        Figure("own voice over the other session's", min(decibels for decibels, _ in found), "dB", least=40, wall=False)
    )
    add(Figure("pictures of the slower of two sessions", min(count for _, count in found), "in 1.6 s"))


async def _sessions(count: int, api: Api, server: Server, add: Tell) -> None:
    """What sessions leave behind that spoke and were watched."""
    first = 20 if count >= 100 else min(3, count - 1)
    sound = to_int16(speech_like(0.2))
    marks: list[tuple[int, float]] = []
    for index in range(count + 1):
        if index in (first, count):
            await asyncio.sleep(_FREED_S)
            marks.append((server.memory(), (await api.metrics())["python_blocks"]))
        if index == count:
            break
        session = await api.session(size=256)
        async with api.control(session) as program, api.media(session) as media:
            await program.send("speak", turn="short")
            await program.push(sound)
            await program.send("end")
            while (data := (await media.receive()).data) is not None and data[0] != _KEY_KIND:
                pass
        await api.end(session)
    (before, blocks), (after, more) = marks
    between = f"sessions {first} to {count}"
    if before:
        kilobytes = (after - before) / 1000 / (count - first)
        add(Figure(f"memory left by {between}", kilobytes, "kB each", most=10, wall=False))
    add(Figure(f"Python's blocks left by {between}", (more - blocks) / (count - first), "each", wall=False))


def seen(pictures: np.ndarray, at: float) -> float:
    """Return when the first picture was seen that shows the session's second `at` or later; infinity where none."""
    index = np.flatnonzero(pictures[:, 0] >= at - 0.001)
    return float(pictures[index[0], 1]) if len(index) else float("inf")


async def _seen_soon(page: Page, at: float) -> float:
    """Return when the session's second `at` was seen first; infinity where it is not within some seconds."""
    end = time.monotonic() + _SOON_S
    while (found := seen((await page.measured())[0], at)) == float("inf") and time.monotonic() < end:
        await asyncio.sleep(0.1)
    return found


def av_offsets(pictures: np.ndarray, heard: np.ndarray, begins: np.ndarray) -> np.ndarray:
    """Return for each burst that was heard how much later its picture was seen, in seconds.

    pictures: [n, 2] as `Page.measured`; begins: the bursts' places in the session, in seconds. A burst's picture is
    taken to be seen between its neighbours where it falls between them.
    """
    if len(pictures) < 2 or not len(heard):
        return np.zeros(0)
    at = np.interp(begins, pictures[:, 0], pictures[:, 1], left=np.nan, right=np.nan)
    at = at[~np.isnan(at)]
    nearest = np.array([heard[np.argmin(np.abs(heard - each))] for each in at])
    offsets = at - nearest
    return offsets[np.abs(offsets) < 0.4]


def simulated(hours: float, source: Source | None = None) -> Iterator[Figure]:
    """Yield what the viewer of a session got in hours that were simulated: see `bench_live_simulated`."""
    found = list(simulate(3600 * hours, source=source))
    offsets = np.concatenate([hour.offsets for hour in found])
    name = f"simulated {hours:g} h, source 200 ppm fast, 2 % lost, jitter"
    for which, value in (("least", offsets.min()), ("median", np.median(offsets)), ("most", offsets.max())):
        yield Figure(f"{name}: sound before picture, {which}", 1000 * float(value), "ms", -60, 40, wall=False)
    inside = np.mean((offsets >= -0.06) & (offsets <= 0.04))
    yield Figure(f"{name}: bursts within", 100 * float(inside), "%", least=99.9, wall=False)
    for which, hour in (("first", found[0]), ("last", found[-1])):
        yield Figure(f"{name}: delay of the {which} hour", 1000 * float(np.median(hour.delays)), "ms", wall=False)
    yield Figure(f"{name}: ran dry", sum(hour.ran_dry for hour in found) / hours, "times an hour", wall=False)
