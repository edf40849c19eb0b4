"""A session as tracks of a peer connection: packets of our encoder, or pictures for VP8; sound in pieces of 20 ms.

Both carry the session's own time, so that a browser shows and plays them together.
"""

import asyncio
from collections.abc import Callable
from fractions import Fraction

import numpy as np
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack
from av import AudioFrame, Packet, VideoFrame

from marotte.runtime.clock import TICK_RATE
from marotte.runtime.live.bell import Bell
from marotte.runtime.live.encode import EncodedPicture
from marotte.runtime.live.viewing import Picture, Sound, Viewer

# Of video in RTP (RFC 3551), and of Opus, which counts what we do.
_VIDEO_RATE = 90000
PIECE = TICK_RATE // 50
# The longest gap in the sound that is filled with silence, in ticks.
_GAP = TICK_RATE // 10
# How long sound is kept before it is sent. A frame's sound comes at once when the frame begins, so that a piece is
# whole by its own length after its time; the rest is for pacing that is late.
_KEPT_S = PIECE / TICK_RATE + 0.005


# Told of every picture that goes out.
Sent = Callable[[EncodedPicture | Picture], None]


class PictureTrack(MediaStreamTrack):
    """The pictures of a viewer, as packets or as pictures, whichever it is for."""

    kind = "video"

    def __init__(self, viewer: Viewer, bell: Bell, sent: Sent) -> None:
        super().__init__()
        self._viewer, self._bell, self._sent = viewer, bell, sent

    async def recv(self) -> Packet | VideoFrame:
        """Return the next one."""
        while (picture := self._viewer.picture()) is None:
            if self.readyState != "live":
                raise MediaStreamError
            await self._bell.wait()
        made: Packet | VideoFrame
        if isinstance(picture, EncodedPicture):
            made = Packet(picture.data)
        else:
            height, width = picture.pixels.shape[:2]
            even = np.ascontiguousarray(picture.pixels[: height - height % 2, : width - width % 2])
            made = VideoFrame.from_ndarray(even, format="rgb24").reformat(format="yuv420p")
        made.pts, made.time_base = picture.tick * _VIDEO_RATE // TICK_RATE, Fraction(1, _VIDEO_RATE)
        self._sent(picture)
        return made


class Cutter:
    """Cuts sound of any lengths into pieces of 20 ms on the ticks of the session."""

    def __init__(self) -> None:
        self._kept = np.zeros(0, np.int16)
        self._tick: int | None = None  # of the first that is kept

    def feed(self, sound: Sound) -> None:
        """Take a piece. A short gap before it is silence; at any other it begins anew there."""
        gap = _GAP + 1 if self._tick is None else sound.tick - (self._tick + len(self._kept))
        if 0 < gap <= _GAP:
            self._kept = np.concatenate([self._kept, np.zeros(gap, np.int16)])
        elif gap:
            self._kept, self._tick = self._kept[:0], sound.tick
        self._kept = np.concatenate([self._kept, sound.pcm])

    def cut(self) -> Sound | None:
        """Return the next 20 ms, None where they are not there yet."""
        if self._tick is None or len(self._kept) < PIECE:
            return None
        piece = Sound(self._tick, self._kept[:PIECE])
        self._kept, self._tick = self._kept[PIECE:].copy(), self._tick + PIECE
        return piece


class SoundTrack(MediaStreamTrack):
    """The sound of a viewer, sent evenly by the session's clock: what comes a frame at a time would arrive in jolts.

    After a stall, what is overdue goes out at once and the rest at its time as before; nothing that is sent later than
    it must stays behind for good. time_of: tells when a tick is due by the session's clock.
    """

    kind = "audio"

    def __init__(self, viewer: Viewer, bell: Bell, now: Callable[[], float], time_of: Callable[[int], float]) -> None:
        super().__init__()
        self._viewer, self._bell, self._now, self._time_of = viewer, bell, now, time_of
        self._cutter = Cutter()

    async def recv(self) -> AudioFrame:
        """Return the next 20 ms, mono int16 at 48 kHz."""
        while (piece := self._cutter.cut()) is None:
            if self.readyState != "live":
                raise MediaStreamError
            for sound in self._viewer.sound():
                self._cutter.feed(sound)
            if (piece := self._cutter.cut()) is not None:
                break
            await self._bell.wait()
        if (early := self._time_of(piece.tick) + _KEPT_S - self._now()) > 0:
            await asyncio.sleep(early)
        frame = AudioFrame.from_ndarray(piece.pcm[None], format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = TICK_RATE, piece.tick, Fraction(1, TICK_RATE)
        return frame
