"""AvatarOutput: a live session in the shape of an agent framework's avatar: sound in, frames out, playback told.

Push what an agent says, `flush` at the end of each utterance, `clear_buffer` where it is interrupted; iterate over
`frames` for what is heard and seen, on one clock. An adapter for a framework turns these frames into its own.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import numpy as np

from marotte.errors import MarotteError
from marotte.runtime.clock import TICK_RATE
from marotte.runtime.contracts import SAMPLE_RATE
from marotte.runtime.live.bell import Bell
from marotte.runtime.live.live_session import Closed, LiveSession
from marotte.runtime.live.speaker import Event, Finished
from marotte.runtime.live.viewing import Picture, Viewer

# Sound that may wait before `push_audio` does, and how often it then looks.
_AHEAD_S, _LOOK_S = 5.0, 0.05


@dataclass(frozen=True, eq=False)
class AudioFrame:
    """Sound: samples [n] int16 mono at `rate`; pts: ticks of 1/48000 s of its first one."""

    pts: int
    samples: np.ndarray
    rate: int = TICK_RATE


@dataclass(frozen=True, eq=False)
class VideoFrame:
    """A picture: pixels [h, w, 3] uint8 sRGB; pts: ticks of 1/48000 s."""

    pts: int
    pixels: np.ndarray


# Called with the seconds of the utterance that were heard, and whether it was interrupted.
Played = Callable[[float, bool], None]


class AvatarOutput:
    """One live session as an output of speech. Make it, and call it, on one event loop."""

    def __init__(self, session: LiveSession) -> None:
        self.session = session
        self._loop = asyncio.get_running_loop()
        self._bell = Bell()
        self._viewer = Viewer("pixels", self._bell.ring)
        self._played: list[Played] = []
        self._made = 0
        self._turn: str | None = None
        self._before, session.on_event = session.on_event, self._happened
        session.watch(self._viewer)

    def on_playback_finished(self, callback: Played) -> None:
        """Call it at the end of each utterance."""
        self._played.append(callback)

    async def push_audio(self, samples: np.ndarray, rate: int = SAMPLE_RATE) -> None:
        """Say sound [n], int16 or floats; the first after a `flush` begins an utterance.

        Waits while some seconds of sound wait to be played. Raises MarotteError where the session is closed, or the
        rate changes within an utterance.
        """
        if self.session.closed:
            raise MarotteError(f"session {self.session.name} is closed: open another")
        speaker = self.session.speaker
        if self._turn is None:
            self._made += 1
            self._turn, self._rate = f"utterance-{self._made}", rate
            speaker.speak(self._turn, rate)
        if rate != self._rate:
            raise MarotteError(f"sound of {rate} samples a second in an utterance of {self._rate}: flush between them")
        turn = self._turn
        while speaker.waiting_s > _AHEAD_S and turn == self._turn and not self.session.closed:
            await asyncio.sleep(_LOOK_S)
        if turn == self._turn:
            speaker.push(samples, turn=turn)

    def flush(self) -> None:
        """Say that the utterance is complete."""
        if self._turn is not None:
            self.session.speaker.end(self._turn)
            self._turn = None

    def clear_buffer(self) -> None:
        """Stop speaking now; what was pushed and not heard is forgotten."""
        self._turn = None
        self.session.speaker.interrupt()

    async def frames(self) -> AsyncIterator[AudioFrame | VideoFrame]:
        """Yield what is heard and seen, in the order in which it is due, until the session ends."""
        waiting: deque[AudioFrame | VideoFrame] = deque()
        while not self.session.closed:
            await self._bell.wait()
            waiting.extend(AudioFrame(sound.tick, sound.pcm) for sound in self._viewer.sound())
            picture = self._viewer.picture()
            if isinstance(picture, Picture):
                waiting.append(VideoFrame(picture.tick, picture.pixels))
            while waiting:
                yield waiting.popleft()

    def close(self) -> None:
        """Leave the session, which goes on."""
        self.session.on_event = self._before
        self.session.leave(self._viewer)

    def _happened(self, event: Event | Closed) -> None:
        self._before(event)
        try:
            if isinstance(event, Finished):
                self._loop.call_soon_threadsafe(self._tell, event.heard.seconds, event.reason == "interrupted")
        except RuntimeError:  # the loop is closed: nobody listens any more
            return
        if isinstance(event, Closed):
            self._bell.ring()

    def _tell(self, seconds: float, interrupted: bool) -> None:
        for callback in self._played:
            callback(seconds, interrupted)
