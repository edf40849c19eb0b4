"""What a live session's frames cost, measured by a few of them, in the caller's thread."""

import time

import numpy as np

from marotte.runtime.contracts import SAMPLE_RATE
from marotte.runtime.live.live_session import THREADS, LiveSession
from marotte.runtime.live.settings import LiveSettings
from marotte.runtime.live.shot import Shot
from marotte.runtime.live.turn import drive_turns
from marotte.runtime.live.viewing import Viewer

# How many frames; the first of them is not counted.
_MEASURED = 6


def measured(session: LiveSession) -> float:
    """Run the whole path of a session that no thread has, sound to packets, and end it.

    Returns the renderer's seconds for a frame.
    """
    session.watch(Viewer())
    session.speaker.speak("warm-up")
    session.speaker.push(np.zeros(SAMPLE_RATE // 2, np.float32))
    session.speaker.end()
    costs = []
    try:
        drive_turns(session.speaker.work())
        for _ in range(_MEASURED):
            drive = session.face.drive(session.speaker.take())
            began = time.perf_counter()
            (frames,) = session.renderer.submit([(session.stream, drive)]).result()
            costs.append(time.perf_counter() - began)
            session.rendered(Shot(drive, 0, 0.0, 0.0, False), frames.pixels[0], costs[-1])
            session.encode()
    finally:
        end(session)
    return float(np.median(costs[1:]))


def end(session: LiveSession) -> None:
    """End a session that no thread has."""
    session.close()
    for thread in THREADS:
        session.release(thread)


def kind_of(settings: LiveSettings) -> tuple:
    """Return what the cost of a session's frames depends on."""
    return settings.avatar, settings.width, settings.height, repr(settings.renderer_options)
