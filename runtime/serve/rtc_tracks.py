"""A session as tracks of a peer connection: packets of our encoder, or pictures for VP8; sound in pieces of 20 ms.

Both carry the session's own time, so that a browser shows and plays them together.
"""

import asyncio
from collections.abc import Callable
from fractions import Fraction

import numpy as np
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack
from av import AudioCodecContext, AudioFrame, CodecContext, Packet, VideoFrame

from marotte.runtime.clock import TICK_RATE
from marotte.runtime.live.bell import Bell
from marotte.runtime.live.encode import EncodedPicture
from marotte.runtime.live.viewing import Picture, Sound, Viewer

# Of video in RTP (RFC 3551), and of Opus, which counts what we do.
_VIDEO_RATE = 90000
PIECE = TICK_RATE // 50
# As aiortc's own.
_OPUS_BITRATE = 96_000
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
        self.tick: int | None = None  # of the first that is kept

    def feed(self, sound: Sound) -> None:
        """Take a piece. A short gap before it is silence; at any other it begins anew there."""
        gap = _GAP + 1 if self.tick is None else sound.tick - (self.tick + len(self._kept))
        if 0 < gap <= _GAP:
            self._kept = np.concatenate([self._kept, np.zeros(gap, np.int16)])
        elif gap:
            self._kept, self.tick = self._kept[:0], sound.tick
        self._kept = np.concatenate([self._kept, sound.pcm])

    def cut(self) -> Sound | None:
        """Return the next 20 ms, None where they are not there yet."""
        if self.tick is None or len(self._kept) < PIECE:
            return None
        piece = Sound(self.tick, self._kept[:PIECE])
        self._kept, self.tick = self._kept[PIECE:].copy(), self.tick + PIECE
        return piece


class SoundTrack(MediaStreamTrack):
    """The sound of a viewer, sent evenly by the session's clock: what comes a frame at a time would arrive in jolts.

    After a stall, what is overdue goes out at once and the rest at its time as before; nothing that is sent later than
    it must stays behind for good. time_of: tells when a tick is due by the session's clock. voice: makes packets of it;
    None for sound as it is, which aiortc encodes.
    """

    kind = "audio"

    def __init__(self, viewer: Viewer, bell: Bell, now: Callable[[], float], time_of: Callable[[int], float]) -> None:
        super().__init__()
        self._viewer, self._bell, self._now, self._time_of = viewer, bell, now, time_of
        self._cutter = Cutter()
        self.voice: OpusVoice | None = None

    async def recv(self) -> Packet | AudioFrame:
        """Return the next 20 ms, encoded or mono int16 at 48 kHz."""
        made: Packet | AudioFrame | None = None
        while made is None:
            piece = await self._piece()
            made = self.voice.packet(piece) if self.voice else _frame_of(piece)
        return made

    async def _piece(self) -> Sound:
        """Return the next 20 ms when they are to be sent."""
        while (piece := self._cutter.cut()) is None:
            if self.readyState != "live":
                raise MediaStreamError
            # By the time of the next piece its sound is there, as a rule: no frame's sound wakes anybody by itself.
            if self._cutter.tick is not None:
                await self._until(self._cutter.tick)
            sounds = self._viewer.sound()
            for sound in sounds:
                self._cutter.feed(sound)
            if not sounds:
                await self._bell.wait()
        await self._until(piece.tick)
        return piece

    async def _until(self, tick: int) -> None:
        if (early := self._time_of(tick) + _KEPT_S - self._now()) > 0:
            await asyncio.sleep(early)


class OpusVoice:
    """Makes Opus of pieces of 20 ms: mono, a third of what aiortc's stereo of the same sound costs, and clearer."""

    def __init__(self) -> None:
        codec = CodecContext.create("libopus", "w")
        assert isinstance(codec, AudioCodecContext)
        codec.bit_rate, codec.options = _OPUS_BITRATE, {"application": "voip", "compression_level": "5"}
        codec.format, codec.layout, codec.sample_rate = "s16", "mono", TICK_RATE
        codec.time_base = Fraction(1, TICK_RATE)
        self._codec, self._fed = codec, 0
        # One frame for all pieces: the encoder takes its samples before it returns.
        self._frame = AudioFrame("s16", "mono", PIECE)
        self._frame.sample_rate, self._frame.time_base = TICK_RATE, codec.time_base
        self._samples = np.frombuffer(memoryview(self._frame.planes[0]), np.int16)[:PIECE]

    def packet(self, piece: Sound) -> Packet | None:
        """Return the packet of a piece, None where the encoder keeps it back."""
        self._samples[:] = piece.pcm
        self._frame.pts = self._fed  # its own count of samples: a gap in the session's is none to the encoder
        self._fed += PIECE
        encoded = self._codec.encode(self._frame)
        if not encoded:
            return None
        encoded[0].pts, encoded[0].time_base = piece.tick, Fraction(1, TICK_RATE)
        return encoded[0]


def _frame_of(piece: Sound) -> AudioFrame:
    frame = AudioFrame.from_ndarray(piece.pcm[None], format="s16", layout="mono")
    frame.sample_rate, frame.pts, frame.time_base = TICK_RATE, piece.tick, Fraction(1, TICK_RATE)
    return frame
