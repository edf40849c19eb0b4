"""The media socket: the session's packets and sound over a WebSocket, where WebRTC cannot connect.

Every message is binary: 1 byte of kind, 8 bytes of tick, little endian, and the payload. Nothing is queued for a
reader that is slow: what it misses is gone, and it goes on at the next key frame.
"""

import asyncio
import contextlib
import json
import re
import socket as sockets
import struct

from aiohttp import WSMsgType, web

from marotte.runtime.live.bell import Bell
from marotte.runtime.live.encode import EncodedPicture
from marotte.runtime.live.viewing import Viewer
from marotte.runtime.serve.auth import Bucket
from marotte.runtime.serve.rooms import Room

CONFIG, KEY, DELTA, SOUND = range(4)
_HEAD = struct.Struct("<BQ")
# What may wait for the network: in the process, and in the system, where it would only grow old.
_WRITING, _SENDING = 1 << 16, 1 << 17
# A client has nothing to say here but `key`, and `silent`: it wants no sound.
_SAYS, _SAYS_BYTES = 20, 1024
_SPS = re.compile(rb"\x00\x00\x01[\x07\x27\x47\x67](...)", re.DOTALL)


def pack(kind: int, tick: int, payload: bytes) -> bytes:
    """Return a message."""
    return _HEAD.pack(kind, tick) + payload


def unpack(message: bytes) -> tuple[int, int, bytes]:
    """Return kind, tick and payload of a message."""
    return *_HEAD.unpack_from(message), message[_HEAD.size :]


def codec_of(packet: bytes) -> str:
    """Return what browsers call the codec of a key frame: `avc1.` and profile, constraints and level in hex."""
    found = _SPS.search(packet)
    return "avc1." + (found.group(1).hex() if found else "42e01f")


class Media:
    """One media socket of a room."""

    def __init__(self, room: Room) -> None:
        self._room, self._session = room, room.session
        self._bell = Bell()
        self._viewer = Viewer("h264", self._bell.ring)
        self._codec = ""
        self._silent = False

    async def run(self, request: web.Request) -> web.WebSocketResponse:
        """Send until either side has enough. Raises Refused where the room has enough viewers."""
        limits = self._room.limits
        socket = web.WebSocketResponse(
            heartbeat=limits.heartbeat_s,
            max_msg_size=_SAYS_BYTES,
            compress=False,
            timeout=limits.close_s,
            writer_limit=_WRITING,
        )

        async def leave() -> None:
            await socket.close(message=self._room.reason.encode()[:120])

        self._room.enter(self, leave)
        try:
            self._session.watch(self._viewer)
            await socket.prepare(request)
            if request.transport is not None and (plain := request.transport.get_extra_info("socket")):
                plain.setsockopt(sockets.SOL_SOCKET, sockets.SO_SNDBUF, _SENDING)
            sending = asyncio.create_task(self._send(socket))
            try:
                await self._listen(socket)
            finally:
                sending.cancel()
                with contextlib.suppress(asyncio.CancelledError, ConnectionError):
                    await sending
        finally:
            self._session.leave(self._viewer)
            self._room.exit(self)
        return socket

    async def _listen(self, socket: web.WebSocketResponse) -> None:
        bucket = Bucket(_SAYS, self._session.clock.now)
        async for message in socket:
            if (wait := bucket.take()) > 0:
                await asyncio.sleep(wait)
            if message.type == WSMsgType.TEXT and message.data == "key":
                self._viewer.ask_for_key()
            elif message.type == WSMsgType.TEXT and message.data == "silent":
                self._silent = True

    async def _send(self, socket: web.WebSocketResponse) -> None:
        while not socket.closed:
            await self._bell.wait()
            sounds = self._viewer.sound()
            for sound in () if self._silent else sounds:
                await socket.send_bytes(pack(SOUND, sound.tick, sound.pcm.astype("<i2").tobytes()))
            while isinstance(picture := self._viewer.picture(), EncodedPicture):
                if picture.key and not self._codec:
                    self._codec = codec_of(picture.data)
                    await socket.send_bytes(pack(CONFIG, picture.tick, self._config()))
                await socket.send_bytes(pack(KEY if picture.key else DELTA, picture.tick, picture.data))
                self._session.metrics.delay("send", self._session.clock.now() - picture.made)

    def _config(self) -> bytes:
        width, height = self._session.size
        return json.dumps(
            {
                "codec": self._codec,
                "width": width,
                "height": height,
                "fps": round(float(self._session.fps), 3),
                "sample_rate": 48000,
                "label": self._room.label,
            }
        ).encode()
