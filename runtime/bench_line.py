"""Benchmark cases of the line itself: sound to frames with each renderer of a shipped avatar, and encoding."""

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from marotte.errors import MarotteError
from marotte.runtime.avatar import avatar_folders, load_avatar
from marotte.runtime.bench import Case, Lap, Request
from marotte.runtime.contracts import SAMPLE_RATE
from marotte.runtime.offline import DEFAULT_DRIVER
from marotte.runtime.registry import create
from marotte.runtime.session import Session, SessionOptions
from marotte.runtime.testing import speech_like
from marotte.runtime.video.provenance import Provenance
from marotte.runtime.video.sink import open_sink

_ENCODED = 100  # frames: enough that starting ffmpeg does not count


def cases(request: Request) -> Iterator[Case]:
    """Yield for each avatar and size the line from sound to pictures, and the encoding of its pictures."""
    for size in request.sizes:
        for name in avatar_folders():
            renderer = load_avatar(name).renderer
            settings = {"avatar": name, "size": size}
            yield Case(f"line/{renderer}", settings, _line(name, size))
            film = _encode(name, size)
            yield Case("encode/mp4", settings, film, frames=3, frames_a_call=_ENCODED, children=True)


def _line(avatar: str, size: int) -> Callable[[], Callable[[Lap], None]]:
    def prepare() -> Callable[[Lap], None]:
        laps: list[Lap] = []
        session = _session(avatar, size, lap=lambda name: laps[0](name))
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


def _encode(avatar: str, size: int) -> Callable[[], Callable[[Lap], None]]:
    def prepare() -> Callable[[Lap], None]:
        session = _session(avatar, size)
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


def _session(avatar: str, size: int, lap: Lap | None = None) -> Session:
    picture = load_avatar(avatar)
    driver, renderer = create("driver", DEFAULT_DRIVER), create("renderer", picture.renderer)
    return Session(driver, renderer, picture, SessionOptions(width=size, height=size), lap=lap)
