"""WebRTC: a browser's offer answered with a session's sound and picture, and its microphone taken.

H.264 and Opus where the browser has them: our own packets, which aiortc sends as they are. Else VP8, and other sound,
which aiortc encodes.
"""

import asyncio
import logging
import re
from typing import Any

import numpy as np
from aiortc import RTCConfiguration, RTCIceServer, RTCPeerConnection, RTCRtpSender, RTCSessionDescription
from aiortc.codecs import vpx
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack
from av import AudioFrame

from marotte.errors import MarotteError
from marotte.runtime.clock import TICK_RATE
from marotte.runtime.live.bell import Bell
from marotte.runtime.live.encode import EncodedPicture
from marotte.runtime.live.viewing import Picture, Viewer
from marotte.runtime.serve.answers import Refused
from marotte.runtime.serve.config import IceServer
from marotte.runtime.serve.rooms import Room
from marotte.runtime.serve.rtc_tracks import OpusVoice, PictureTrack, SoundTrack

_LOG = logging.getLogger("marotte.live")
OFFER_BYTES = 1 << 17
# Of VP8, bits a second: aiortc starts too low for a face, and begins a new encoder at every estimate.
_VP8_BITRATE = 2_500_000
# Names that only the browser's own network can look up (RFC 8828): asking for them takes a second. It is reached
# nevertheless, once it calls us.
_LOCAL_NAME = re.compile(r"^a=candidate:(?:\S+ ){4}\S+\.local .*\r?\n", re.MULTILINE)
# Firefox says that no more will come: where none is left, aiortc gives up before it begins.
_NO_MORE = re.compile(r"^a=end-of-candidates\r?\n", re.MULTILINE)
_MARK = re.compile(r"^a=mid:(\S+)", re.MULTILINE)
_BUNDLE = re.compile(r"^a=group:BUNDLE (.*)$", re.MULTILINE)
# Each costs ports and memory.
_MOST_MEDIA = 8
_MEDIA = re.compile(r"^m=(audio|video) (\d+) \S+ (\S+)", re.MULTILINE)


class Peer:
    """One peer connection of a room."""

    def __init__(self, room: Room, ice_servers: tuple[IceServer, ...]) -> None:
        self._room, self._session = room, room.session
        servers = [RTCIceServer(server.url, server.user, server.password) for server in ice_servers]
        self._connection = RTCPeerConnection(RTCConfiguration(iceServers=servers))
        self._picture_bell, self._sound_bell = Bell(), Bell()
        self._viewer = Viewer("h264", self._picture_bell.ring, self._sound_bell.ring)
        self._sound = SoundTrack(self._viewer, self._sound_bell, self._session.clock.now, self._session.time_of)
        self._watching = False
        self._closing = False
        self._hearing: asyncio.Task[None] | None = None
        room.enter(self, self.close)

    async def answer(self, offer: str) -> dict[str, Any]:
        """Return the answer to an offer. Raises Refused for one that is none, or has nothing that we can send."""
        kinds = {kind for kind, port, _ in _MEDIA.findall(offer) if port != "0"}
        if not kinds:
            raise Refused(422, "the offer has neither sound nor picture")
        if len(_MEDIA.findall(offer)) > _MOST_MEDIA:
            raise Refused(
                422, f"the offer has more than {_MOST_MEDIA} media: one of sound and one of picture is enough"
            )
        marks, bundle = _MARK.findall(offer), _BUNDLE.search(offer)
        if len(set(marks)) < len(marks) or (bundle and set(bundle.group(1).split()) - set(marks)):
            raise Refused(422, "the offer's media are not told apart: each needs a mark (a=mid) of its own")
        for needed in ("a=fingerprint:", "a=ice-ufrag:", "a=ice-pwd:"):
            if needed not in offer:
                raise Refused(422, f"the offer has no {needed[2:-1]}: without it nobody is sure who connects")
        self._connection.on("connectionstatechange", self._changed)
        self._connection.on("track", self._heard)
        self._room.start(self._give_up(), "connect")
        try:
            self._offer_tracks(kinds)
            await self._connection.setRemoteDescription(RTCSessionDescription(reachable(offer), "offer"))
            await self._connection.setLocalDescription(await self._connection.createAnswer())
            made = self._connection.localDescription
            codec = codec_of(made.sdp)
            if codec_of(made.sdp, "audio") == "opus":
                self._sound.voice = OpusVoice()
        except (MarotteError, asyncio.CancelledError):
            raise
        except Exception as error:
            raise Refused(422, f"the offer cannot be answered: {type(error).__name__}: {error}"[:200]) from None
        self._viewer.kind = "pixels" if codec == "VP8" else "h264"
        if codec == "H264":
            self._tell_of_lost_pictures()
        microphone = any(t.kind == "audio" and "recv" in str(t.currentDirection) for t in self._transceivers())
        return {"sdp": made.sdp, "type": made.type, "video": codec, "microphone": microphone}

    async def close(self) -> None:
        """End it; once."""
        if self._closing:
            return
        self._closing = True
        self._room.exit(self)
        self._session.leave(self._viewer)
        if self._hearing:
            self._hearing.cancel()
        for sender in self._connection.getSenders():
            if sender.track is not None:
                sender.track.stop()
        for bell in (self._picture_bell, self._sound_bell):
            bell.ring()
        try:
            await asyncio.wait_for(self._connection.close(), self._room.limits.close_s)
        except Exception as error:  # one that was only half made has nothing to close
            _LOG.debug("closing a peer connection: %r", error)
        self._connection.remove_all_listeners()

    def _transceivers(self) -> list[Any]:
        return list(self._connection.getTransceivers())

    def _offer_tracks(self, kinds: set[str]) -> None:
        if "audio" in kinds:
            self._connection.addTrack(self._sound)
        if "video" in kinds:
            self._connection.addTrack(PictureTrack(self._viewer, self._picture_bell, self._sent))
            codecs = RTCRtpSender.getCapabilities("video").codecs
            ours = [codec for codec in codecs if codec.mimeType == "video/H264"]
            video = next(t for t in self._transceivers() if t.kind == "video")
            video.setCodecPreferences(ours + [codec for codec in codecs if codec not in ours])
            set_vp8_bitrate()

    def _tell_of_lost_pictures(self) -> None:
        """Hear of a browser's requests for a key frame. aiortc has no public way for senders of packets: without this
        one a browser waits for the next regular key frame."""
        for sender in self._connection.getSenders():
            if sender.kind == "video" and callable(getattr(sender, "_send_keyframe", None)):
                setattr(sender, "_send_keyframe", self._viewer.ask_for_key)  # noqa: B010

    async def _give_up(self) -> None:
        """Close what does not connect in time."""
        await asyncio.sleep(self._room.limits.connect_s)
        if not self._watching:
            await self.close()

    async def _changed(self) -> None:
        state = self._connection.connectionState
        if state == "connected" and not self._watching and not self._closing:
            self._watching = True
            try:
                self._session.watch(self._viewer)
            except MarotteError as error:
                self._room.tell({"type": "error", "reason": str(error)})
                await self.close()
        elif state in ("failed", "closed"):
            await self.close()

    def _heard(self, track: MediaStreamTrack) -> None:
        if track.kind == "audio" and self._hearing is None:
            self._hearing = self._room.start(self._hear(track), "microphone")

    async def _hear(self, track: MediaStreamTrack) -> None:
        """Hand the browser's microphone to the turn that it speaks, while it does; what is lost stays a gap."""
        turn, first = None, 0
        while True:
            try:
                frame = await track.recv()
            except MediaStreamError:
                return
            if not isinstance(frame, AudioFrame) or frame.pts is None:
                continue
            if self._room.microphone != turn:
                turn, first = self._room.microphone, frame.pts
            if turn is None:
                continue
            sound = frame.to_ndarray().reshape(-1, len(frame.layout.channels)).astype(np.float32).mean(axis=1)
            try:
                taken = self._session.speaker.push(
                    (sound / 32768).astype(np.float32),
                    at=(frame.pts - first) * TICK_RATE // frame.sample_rate,
                    turn=turn,
                )
            except MarotteError as error:
                self._room.tell({"type": "error", "reason": str(error)})
                continue
            if not taken and self._room.microphone == turn:
                self._room.turn_microphone(None)

    def _sent(self, picture: EncodedPicture | Picture) -> None:
        self._session.metrics.delay("send", self._session.clock.now() - picture.made)


def reachable(offer: str) -> str:
    """Return an offer without the candidates whose names we cannot look up; what it lacks then may come yet."""
    known, hidden = _LOCAL_NAME.subn("", offer)
    return _NO_MORE.sub("", known) if hidden else offer


def codec_of(sdp: str, of: str = "video") -> str | None:
    """Return the name of the codec that an answer has first for its `video` or `audio`, None without that."""
    for kind, port, rest in re.findall(r"^m=(audio|video) (\d+) \S+ (.*?)\r?$", sdp, re.MULTILINE):
        if kind == of and port != "0":
            named = re.search(rf"^a=rtpmap:{rest.split()[0]} ([^/]+)/", sdp, re.MULTILINE)
            return named.group(1) if named else None
    return None


def set_vp8_bitrate() -> None:
    """Have VP8 start at a rate that a face needs, and stay near it."""
    for name in ("DEFAULT_BITRATE", "MAX_BITRATE"):
        if hasattr(vpx, name):
            setattr(vpx, name, max(_VP8_BITRATE, getattr(vpx, name)))
