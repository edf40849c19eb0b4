"""Benchmark cases of the line itself: drivers, sound to frames with each renderer of the default avatar, encoding."""

import tempfile
from collections.abc import Callable, Iterator, Mapping
from itertools import cycle
from pathlib import Path

import numpy as np

from marotte.errors import MarotteError
from marotte.runtime.avatar import Avatar, load_avatar
from marotte.runtime.bench import Case, Lap, Request
from marotte.runtime.contracts import SAMPLE_RATE, RenderOptions
from marotte.runtime.offline import DEFAULT_AVATAR, DEFAULT_DRIVER
from marotte.runtime.registry import create, found
from marotte.runtime.session import Session, SessionOptions
from marotte.runtime.testing import speech_like
from marotte.runtime.video.provenance import Provenance
from marotte.runtime.video.sink import open_sink

_PACKET = SAMPLE_RATE // 50
_DRIVEN = 10  # seconds at once
_ENCODED = 100  # frames: enough that starting ffmpeg does not count


def cases(request: Request) -> Iterator[Case]:
    """Yield each driver; for the default avatar, each renderer that draws it, variant and size: the line, encoding."""
    for name in found("driver"):
        if _drives(name):
            yield Case(f"drive/{name}", {"milliseconds": 20}, _drive(name, _PACKET))
            yield Case(f"drive/{name}", {"seconds": _DRIVEN}, _drive(name, _DRIVEN * SAMPLE_RATE), frames=5)
    avatar = load_avatar(DEFAULT_AVATAR)
    for size in request.sizes:
        for renderer in found("renderer"):
            for variant in (None, *avatar.variants):
                extra = {"variant": variant} if variant else {}
                if _draws(renderer, avatar, extra):
                    settings = {"avatar": avatar.name, **extra, "size": size}
                    yield Case(f"line/{renderer}", settings, _line(renderer, avatar, extra, size))
        film = _encode(avatar, size)
        settings = {"avatar": avatar.name, "size": size}
        yield Case("encode/mp4", settings, film, frames=3, frames_a_call=_ENCODED, children=True)


def _drives(name: str) -> bool:
    try:
        create("driver", name).open().close()
    except MarotteError:  # it needs something: a motion, weights, a GPU
        return False
    return True


def _drive(name: str, samples: int) -> Callable[[], Callable[[Lap], None]]:
    def prepare() -> Callable[[Lap], None]:
        driver = create("driver", name)
        driver.warm_up()
        stream = driver.open()
        packets = cycle(np.split(speech_like(_DRIVEN), _DRIVEN * SAMPLE_RATE // samples))

        def packet(lap: Lap) -> None:
            stream.feed(next(packets))

        return packet

    return prepare


def _draws(renderer: str, avatar: Avatar, extra: Mapping[str, str]) -> bool:
    try:
        create("renderer", renderer).open(avatar, RenderOptions(16, 16, extra=extra)).close()
    except MarotteError:
        return False
    return True


def _line(renderer: str, avatar: Avatar, extra: Mapping[str, str], size: int) -> Callable[[], Callable[[Lap], None]]:
    def prepare() -> Callable[[Lap], None]:
        laps: list[Lap] = []
        session = _session(renderer, avatar, size, extra, lap=lambda name: laps[0](name))
        packets = iter(np.tile(speech_like(4.0), 200).reshape(-1, SAMPLE_RATE // 25))

        def frame(lap: Lap) -> None:
            laps[:] = [lap]
            made = 0
            while not made:
                packet = next(packets, None)
                if packet is None:
                    raise MarotteError("too many frames for one benchmark: ask for at most 2000")
                made = sum(len(frames) for frames in session.feed(packet))

        return frame

    return prepare


def _encode(avatar: Avatar, size: int) -> Callable[[], Callable[[Lap], None]]:
    def prepare() -> Callable[[Lap], None]:
        session = _session(avatar.renderer, avatar, size)
        batches = [*session.feed(speech_like(_ENCODED / 25)), *session.finish()]

        def film(lap: Lap) -> None:
            with tempfile.TemporaryDirectory() as folder:
                sink = open_sink(
                    Path(folder) / "x.mp4",
                    width=size,
                    height=size,
                    fps=session.fps,
                    provenance=Provenance("marotte bench"),
                )
                with sink:
                    for frames in batches:
                        sink.write(frames)

        return film

    return prepare


def _session(
    renderer: str, avatar: Avatar, size: int, extra: Mapping[str, str] | None = None, lap: Lap | None = None
) -> Session:
    driver, drawn_by = create("driver", DEFAULT_DRIVER), create("renderer", renderer)
    return Session(driver, drawn_by, avatar, SessionOptions(width=size, height=size, renderer=extra or {}), lap=lap)
