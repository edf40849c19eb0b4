"""Push: a live session's sound and picture out to a media server, by RTMP, SRT or WHIP, through ffmpeg.

The session's packets and sound are put into NUT without a change and go through a pipe to an ffmpeg that copies the
picture, encodes the sound and speaks the protocol. Whatever becomes of server and network, only this file's threads
wait for it: the viewer that they read from drops what they do not take.
"""

import contextlib
import random
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import IO, Any, Literal

import numpy as np

from marotte.runtime.clock import TICK_RATE
from marotte.runtime.live.encode import EncodedPicture
from marotte.runtime.live.live_session import LiveSession
from marotte.runtime.live.push_target import Target, read_target
from marotte.runtime.live.viewing import Sound, Viewer
from marotte.runtime.video.ffmpeg import Child

# Seconds before the next attempt: the first, and the most that doubling makes of it.
_FIRST_S, _MOST_S = 0.5, 15.0
# An attempt that held so long was a good one: the next wait is short again.
_GOOD_S = 10.0
# A server that took nothing for so long, or never answered, is given up for this attempt.
_STUCK_S, _ANSWER_S = 10.0, 15.0
# What an end may take: for the last packets, and all in all before ffmpeg is killed.
_LAST_WORDS_S, _END_S = 0.9, 2.0
# Sound that is kept until the key frame that it belongs to comes.
_SOUND_AHEAD = 2 * TICK_RATE
# The most silence in one piece.
_SILENCE = np.zeros(TICK_RATE // 10, "<i2")
_LOOK_S = 0.05

State = Literal["connecting", "pushing", "waiting", "closed"]
_STATES: tuple[State, ...] = ("closed", "connecting", "pushing", "waiting")


@dataclass(frozen=True)
class PushState:
    """What a push does now. url: without its secrets; reason: why it is not pushing, empty where it is."""

    state: State
    url: str
    reason: str = ""


class Push:
    """Pushes a session until it is closed, or the session is. url: see `read_target`. name: tells several pushes of one
    session apart in the metrics.

    on_event: called for each change of state, on this push's thread. random_share: 0..1, for the jitter of waits.
    Raises MarotteError where the address cannot be pushed to; what happens later is an event, and tried again.
    """

    def __init__(
        self,
        session: LiveSession,
        url: str,
        on_event: Callable[[PushState], None] = lambda event: None,
        *,
        name: str = "1",
        random_share: Callable[[], float] = random.random,
    ) -> None:
        self._session, self._target, self._on_event = session, read_target(url), on_event
        self._random_share = random_share
        self._labels = {"session": session.name, "push": name, "url": self._target.shown}
        self._stop = threading.Event()
        self._state = PushState("connecting", self._target.shown)
        self._child: Child | None = None
        self._thread = threading.Thread(target=self._run, name="marotte-push", daemon=True)
        self._thread.start()

    @property
    def state(self) -> PushState:
        """What it does now."""
        return self._state

    def close(self) -> None:
        """End it, within two seconds; what has not been sent by then is lost."""
        self._stop.set()
        self._thread.join(_END_S)
        if self._thread.is_alive() and (child := self._child):
            child.kill()
        self._thread.join()

    def _run(self) -> None:
        wait = _FIRST_S
        reason = ""
        while not self._over():
            self._tell("connecting")
            began = time.monotonic()
            try:
                reason = self._attempt()
            except Exception as error:  # nothing of a server's making ends a push
                reason = self._target.scrub(str(error) or type(error).__name__)
            if self._over():
                break
            wait = _FIRST_S if time.monotonic() - began > _GOOD_S else wait
            self._tell("waiting", reason)
            self._session.touch()  # it is used, though nobody watches now
            self._session.metrics.count("push_reconnects")
            self._stop.wait(wait * (0.75 + 0.5 * self._random_share()))
            wait = min(2 * wait, _MOST_S)
        self._tell("closed", "" if self._stop.is_set() else "the session is closed")

    def _over(self) -> bool:
        return self._stop.is_set() or self._session.closed

    def _tell(self, state: State, reason: str = "") -> None:
        level = None if state == "closed" else _STATES.index(state)
        self._session.metrics.level("push_state", level, **self._labels)
        self._state = PushState(state, self._target.shown, reason)
        self._on_event(self._state)

    def _attempt(self) -> str:
        """Push until it fails or is over; return why it failed."""
        news = threading.Event()
        viewer = Viewer("h264", news.set)
        self._session.watch(viewer)
        try:
            return self._feed(viewer, news)
        finally:
            self._session.leave(viewer)

    def _feed(self, viewer: Viewer, news: threading.Event) -> str:
        child = self._child = Child(_command(self._target), feed=True)
        feed = _Feed(viewer, news, child.stdin, self._session.size, self._session.fps)
        reason = ""
        try:
            feed.start()
            reason = self._watch(feed, child)
            feed.stop.set()
            feed.join(_LAST_WORDS_S if self._over() else 0)
            if not feed.is_alive():
                child.end_input()
            status = child.wait(_LAST_WORDS_S if not reason else 0)
            if not reason:
                reason = self._target.scrub(child.complaint()) if status else "the server closed the connection"
        finally:
            feed.stop.set()
            child.kill()
            feed.join()
            self._child = None
        return reason

    def _watch(self, feed: "_Feed", child: Child) -> str:
        """Wait until the feeding ends or is to end; return why it is to be cut off, empty where it ended by itself."""
        began, connected = time.monotonic(), False
        while feed.is_alive() and not self._stop.wait(_LOOK_S) and not self._session.closed:
            now = time.monotonic()
            self._session.metrics.count("push_bytes", feed.take_count())
            if not connected and any(line.startswith("Output #0") for line in child.stderr_lines):
                connected = True
                self._tell("pushing")
            if not connected and now - began > _ANSWER_S:
                return f"the server did not answer within {_ANSWER_S:g} s"
            if now - feed.wrote_at > _STUCK_S:
                return f"the server took nothing for {_STUCK_S:g} s"
        return ""


class _Feed(threading.Thread):
    """Writes what a viewer is given into ffmpeg's pipe, until it is stopped or the pipe breaks."""

    def __init__(
        self, viewer: Viewer, news: threading.Event, pipe: IO[bytes], size: tuple[int, int], fps: Fraction
    ) -> None:
        super().__init__(name="marotte-push-feed", daemon=True)
        self.stop = threading.Event()
        self.wrote_at = time.monotonic()
        self._viewer, self._news, self._pipe, self._count = viewer, news, pipe, 0
        self._mux = Mux(self, *size, fps)
        self._lock = threading.Lock()

    def run(self) -> None:
        """Feed; what goes wrong with ffmpeg shows in its exit status and last words."""
        with contextlib.closing(self._mux):
            while not self.stop.is_set():
                self._news.wait(_LOOK_S)
                self._news.clear()
                for sound in self._viewer.sound():
                    self._mux.hear(sound)
                while isinstance(picture := self._viewer.picture(), EncodedPicture):
                    self._mux.see(picture)

    def write(self, data: bytes) -> int:
        """Write to the pipe: what PyAV takes for a file. Where it broke or was closed, feeding stops."""
        try:
            self._pipe.write(data)
            self._pipe.flush()
        except (OSError, ValueError):
            self.stop.set()
            return len(data)
        self.wrote_at = time.monotonic()
        with self._lock:
            self._count += len(data)
        return len(data)

    def take_count(self) -> int:
        """Return how many bytes were written since the last time."""
        with self._lock:
            count, self._count = self._count, 0
        return count


class Mux:
    """Sound and pictures to NUT, with time from the first key frame on; time never goes back and sound has no gaps.

    file: what is written to, with a method `write`. width, height: of the pictures, odd ones too.
    """

    def __init__(self, file: Any, width: int, height: int, fps: Fraction) -> None:
        self._file, self._fps = file, fps
        self._width, self._height = width + width % 2, height + height % 2
        self._container: Any = None
        self._early: deque[Sound] = deque()
        self._start = self._heard = 0  # ticks of the session: where time begins, where the next sound is to begin
        self._seen = -1

    def hear(self, sound: Sound) -> None:
        """Take a piece of sound; what is missing before it is filled with silence."""
        if self._container is None:
            self._early.append(sound)
            while sound.tick - self._early[0].tick > _SOUND_AHEAD:
                self._early.popleft()
            return
        while (gap := sound.tick - self._heard) > 0:
            self._sound(_SILENCE[:gap])
        if -gap < len(sound.pcm):
            self._sound(sound.pcm[-gap:])

    def see(self, picture: EncodedPicture) -> None:
        """Take a packet; what comes before the first key frame, or not after the one before, is left out."""
        if self._container is None:
            if not picture.key:
                return
            self._open(picture.tick)
        if picture.tick <= self._seen:
            return
        self._seen = picture.tick
        self._write(self._video, picture.data, picture.tick, round(TICK_RATE / self._fps), picture.key)

    def close(self) -> None:
        """Write the end."""
        if self._container is not None:
            self._container.close()

    def _open(self, tick: int) -> None:
        import av

        self._container = av.open(self._file, "w", format="nut", options={"fflags": "+flush_packets"})
        unit = Fraction(1, TICK_RATE)
        self._video = self._container.add_mux_stream(
            "h264", rate=self._fps, width=self._width, height=self._height, time_base=unit
        )
        self._audio = self._container.add_stream("pcm_s16le", rate=TICK_RATE, layout="mono")
        self._start = self._heard = tick
        early, self._early = self._early, deque()
        for sound in early:
            if sound.tick + len(sound.pcm) > tick:
                self.hear(sound)

    def _sound(self, pcm: np.ndarray) -> None:
        self._write(self._audio, pcm.astype("<i2").tobytes(), self._heard, len(pcm), True)
        self._heard += len(pcm)

    def _write(self, stream: Any, data: bytes, tick: int, duration: int, key: bool) -> None:
        import av

        packet = av.Packet(data)
        packet.stream, packet.time_base = stream, Fraction(1, TICK_RATE)
        packet.pts = packet.dts = tick - self._start
        packet.duration, packet.is_keyframe = duration, key
        self._container.mux_one(packet)


def _command(target: Target) -> list[str]:
    """Return ffmpeg's arguments: it looks at half a second of what comes, which it then has to catch up with."""
    came = ["-analyzeduration", "500000", "-f", "nut", "-i", "pipe:0", "-map", "0", "-c:v", "copy"]
    return ["-nostats", "-loglevel", "info", *came, *target.output]
