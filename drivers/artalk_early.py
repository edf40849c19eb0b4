"""ARTalk with early frames: for a live microphone, which fills a chunk only every four seconds.

The sound so far is decoded as if silence followed, again and again while more arrives; frames are sent as soon as what
they hear can hardly change any more, and each new decode takes over from where the last one left the face, without a
jump. Once the chunk is full it is decoded as in exact mode, and only that decode is what the next chunk builds on. So
frames deviate from the exact mode's within a chunk, never beyond it.

Frames depend on when the sound came, since what is complete by then is never guessed: sound that comes faster than
real time (from a synthesiser) gives exact chunks.
"""

from typing import TYPE_CHECKING

import numpy as np

from marotte.drivers.artalk_engine import Engine
from marotte.drivers.artalk_stream import FPS, ARTalkStream
from marotte.models.artalk.frames import HOP
from marotte.runtime.smoothing import WINDOW

if TYPE_CHECKING:
    from marotte.drivers.artalk import ARTalkOptions

# The last frames of an unfinished chunk hear the silence that is put behind them: so many are held back.
_MARGIN = 2
# Frames of new sound that a decode is worth: 0.24 s, in which an H100 decodes twice.
_REFRESH = 6
# How soon a decode's own values take over from where the last one left the face.
_SETTLE_SECONDS = 0.2


class EarlyStream(ARTalkStream):
    """First motion after 0.44 s of sound (the smoother wants 9 frames), from then on within 0.5 s of it."""

    def __init__(self, network: Engine, style: np.ndarray | None, options: "ARTalkOptions") -> None:
        self._fade = np.float32(np.exp(-1 / (_SETTLE_SECONDS * float(FPS))))
        super().__init__(network, style, options)

    def reset(self) -> None:
        """Forget the speaker, but not the style."""
        super().reset()
        self._sent = 0  # frames of this chunk
        self._due = max(WINDOW, _REFRESH) + _MARGIN  # frames of sound in this chunk at which to decode
        self._gap: np.ndarray | None = None  # from a decode's last frame to what was sent for it
        self._last: np.ndarray | None = None  # what was sent last

    @property
    def wants_early(self) -> bool:
        """Whether enough of the chunk is new to decode it."""
        return self._held // HOP >= self._due

    def early(self, motion: np.ndarray) -> np.ndarray:
        """Return what the motion of the sound so far gives now."""
        frames = self._held // HOP
        if self._sent and self._last is not None:
            self._gap = self._last - motion[self._sent - 1]
        self._due = frames + _REFRESH
        return self.emit(self._joined(motion[: frames - _MARGIN]))

    def unsent(self, motion: np.ndarray, count: int | None = None) -> np.ndarray:
        """Return the frames of a complete chunk that were not sent early; a new chunk begins."""
        if self._sent and self._last is not None:
            self._gap = self._last - motion[self._sent - 1]
        rest = self._joined(motion if count is None else motion[: self._sent + count])
        self._sent, self._due = 0, _REFRESH + _MARGIN
        return rest

    def _joined(self, motion: np.ndarray) -> np.ndarray:
        """Return the frames from the first unsent one on, led over from what was sent before."""
        frames = motion[self._sent :]
        if not len(frames):
            return frames
        if self._gap is not None:
            share = self._fade ** np.arange(1, len(frames) + 1, dtype=np.float32)
            frames = frames + share[:, None] * self._gap
        self._sent = len(motion)
        self._last = frames[-1]
        self._gap = self._last - motion[-1]
        return frames
