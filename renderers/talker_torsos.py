"""The pictures behind a GaussianTalker's head: torsos, at the size of the stream, and how they come under the head."""

import os
import threading
from collections import OrderedDict
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from weakref import WeakKeyDictionary, WeakValueDictionary

import numba
import numpy as np
from PIL import Image

from marotte.runtime.recording import Recording

# Pictures kept in memory, in bytes: some 500 of 512 x 512 pixels.
_KEPT = 512 << 20
_DECODERS = min(8, os.cpu_count() or 1)


class Torsos:
    """A recording's torsos at one size, read once each for as long as memory for them lasts. For any thread.

    width, height: of the pictures; where they are not the recording's, torsos are resampled with their edges as they
    are, not mixed with what is behind.
    """

    def __init__(self, recording: Recording, width: int, height: int, kept: int = _KEPT) -> None:
        self.width, self.height = width, height
        self._recording, self._most = recording, max(1, kept // (width * height * 4))
        self._known: OrderedDict[int, np.ndarray] = OrderedDict()
        self._lock = threading.Lock()
        self.plain = _resized(recording.plain(), width, height)

    @staticmethod
    def of(recording: Recording, width: int, height: int) -> "Torsos":
        """Return those of a recording at a size, the same for all who hold them."""
        with _SHARING:
            known = _SHARED.setdefault(recording, WeakValueDictionary())
            found = known.get((width, height))
            if found is None:
                found = known[width, height] = Torsos(recording, width, height)
        return found

    def shown(self, frame: int) -> int:
        """Return the frame whose picture a frame has: its own, or the first where all are clear."""
        return frame if self._recording.has_torsos else 0

    def torso(self, frame: int) -> np.ndarray:
        """Return a frame's torso [H, W, 4] uint8, straight alpha; not to be written to."""
        frame = self.shown(frame)
        with self._lock:
            if frame in self._known:
                self._known.move_to_end(frame)
                return self._known[frame]
        picture = _resized(self._recording.torso(frame), self.width, self.height)
        with self._lock:
            self._known[frame] = picture
            while len(self._known) > self._most:
                self._known.popitem(last=False)
        return picture

    def torsos(self, frames: Iterable[int]) -> dict[int, np.ndarray]:
        """Return the torsos that several frames show, by `shown`, read side by side."""
        wanted = list(dict.fromkeys(map(self.shown, frames)))
        with self._lock:
            missing = sum(frame not in self._known for frame in wanted)
        if missing < 2 or _DECODERS == 1:
            return {frame: self.torso(frame) for frame in wanted}
        with ThreadPoolExecutor(min(_DECODERS, missing)) as pool:
            return dict(zip(wanted, pool.map(self.torso, wanted), strict=True))


_SHARED: WeakKeyDictionary[Recording, WeakValueDictionary[tuple[int, int], Torsos]] = WeakKeyDictionary()
_SHARING = threading.Lock()


def _resized(picture: np.ndarray, width: int, height: int) -> np.ndarray:
    """Return a picture [h, w, 3 or 4] uint8 at another size, averaged where it shrinks."""
    if picture.shape[:2] == (height, width):
        return np.array(picture, np.uint8, order="C")
    form = "RGBA" if picture.shape[2] == 4 else "RGB"
    image = Image.fromarray(np.ascontiguousarray(picture, np.uint8), form)
    if form == "RGBA":
        # With colours times alpha, or what the file holds where nothing is to be seen would bleed in.
        return np.array(image.convert("RGBa").resize((width, height), Image.Resampling.BICUBIC).convert("RGBA"))
    return np.array(image.resize((width, height), Image.Resampling.BICUBIC))


@numba.njit(cache=True, nogil=True)
def put_under(colour, transmittance, torso):
    """Lay a torso [H, W, 4] uint8 under a picture drawn on black, in place: colour [H, W, 3], transmittance [H, W].

    What is seen through both is left in the transmittance, so that anything may come behind: C + T (a t + (1 - a) b)
    is (C + T a t) + (T (1 - a)) b.
    """
    for y in range(len(torso)):
        for x in range(torso.shape[1]):
            if torso[y, x, 3]:
                alpha = np.float32(torso[y, x, 3]) / np.float32(255)
                through = transmittance[y, x]
                for c in range(3):
                    colour[y, x, c] += through * (np.float32(torso[y, x, c]) / np.float32(255) * alpha)
                transmittance[y, x] = through * (np.float32(1) - alpha)
