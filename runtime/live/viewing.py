"""Viewers of a live session: bounded queues that a slow reader cannot fill, and nobody waits for."""

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from marotte.runtime.clock import TICK_RATE
from marotte.runtime.live.encode import EncodedPicture

# Sound that a viewer may be behind; beyond it the oldest is dropped.
_MOST_SOUND_S = 0.5
# Pictures that may wait; beyond it all are dropped until one that needs none before it.
_MOST_PICTURES = 12


@dataclass(frozen=True, eq=False)
class Sound:
    """A piece of sound: pcm [n] int16 mono at 48 kHz, from `tick` on."""

    tick: int
    pcm: np.ndarray


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture that is not encoded: pixels [h, w, 3] uint8 of the frame that starts at `tick`. made: when it was."""

    tick: int
    pixels: np.ndarray
    made: float = 0.0


class Viewer:
    """One reader of a session's sound and pictures. kind: `h264` for packets, `pixels` for pictures.

    notify: called, on any thread and at once, when something new is there; heard: instead, where that is sound.
    """

    def __init__(
        self,
        kind: Literal["h264", "pixels"] = "h264",
        notify: Callable[[], None] = lambda: None,
        heard: Callable[[], None] | None = None,
    ) -> None:
        self.kind, self._seen, self._heard = kind, notify, heard or notify
        self.dropped_sound = self.dropped_pictures = 0
        self.wants_key = True
        self._lock = threading.Lock()
        self._sound: deque[Sound] = deque()
        self._samples = 0
        self._pictures: deque[EncodedPicture | Picture] = deque()
        self._lost = True  # what comes is of no use before a key frame

    def hear(self, sound: Sound) -> None:
        """Give it a piece of sound."""
        with self._lock:
            self._sound.append(sound)
            self._samples += len(sound.pcm)
            while self._samples > _MOST_SOUND_S * TICK_RATE and len(self._sound) > 1:
                self._samples -= len(self._sound.popleft().pcm)
                self.dropped_sound += 1
        self._heard()

    def see(self, picture: EncodedPicture | Picture) -> None:
        """Give it a picture."""
        with self._lock:
            whole = not isinstance(picture, EncodedPicture) or picture.key
            if self._lost and not whole:
                self.wants_key = True
                self.dropped_pictures += 1
                return
            self._lost = False
            self._pictures.append(picture)
            if len(self._pictures) > (_MOST_PICTURES if self.kind == "h264" else 1):
                self.dropped_pictures += len(self._pictures) - (self.kind == "pixels")
                newest = self._pictures[-1]
                self._pictures.clear()
                if self.kind == "pixels":
                    self._pictures.append(newest)
                else:
                    self._lost = self.wants_key = True
        self._seen()

    def sound(self) -> list[Sound]:
        """Take all the sound that waits."""
        with self._lock:
            waiting, self._sound, self._samples = list(self._sound), deque(), 0
        return waiting

    def picture(self) -> EncodedPicture | Picture | None:
        """Take the next picture, None where there is none."""
        with self._lock:
            return self._pictures.popleft() if self._pictures else None

    def ask_for_key(self) -> None:
        """Say that it cannot go on without a key frame."""
        with self._lock:
            self.wants_key = True
