"""The control socket: speak, end, interrupt and set in; started, finished, metrics and errors out.

Text messages are JSON objects with a `type`; binary ones are sound of the turn that this socket opened: int16 little
endian, mono. openapi.json has all of them. One socket lost is no session lost: connect again.
"""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import numpy as np
from aiohttp import WSCloseCode, WSMsgType, web

from marotte.errors import MarotteError
from marotte.runtime.contracts import SAMPLE_RATE
from marotte.runtime.serve.answers import read_json
from marotte.runtime.serve.auth import Bucket
from marotte.runtime.serve.rooms import Listener, Message, Room

_RATES = (8000, 96000)
# So often in a row nothing came from a client that is given up.
_LOOKS = 2


class Control:
    """One control socket of a room. now: seconds that never go back."""

    def __init__(self, room: Room, now: Callable[[], float]) -> None:
        self._room = room
        self._bucket = Bucket(room.limits.messages, now)
        self._alive = True  # its client was heard of since the last look
        self._turn: str | None = None  # that this socket's sound belongs to
        self._bad = 0
        self._does: dict[str, Callable[[Message], None]] = {
            "speak": self._speak,
            "end": self._end,
            "interrupt": self._interrupt,
            "set": self._set,
            "microphone": self._microphone,
        }

    async def run(self, request: web.Request) -> web.WebSocketResponse:
        """Talk until either side has enough. Raises Refused where the room has enough sockets."""
        limits = self._room.limits
        listener = self._room.listen()
        # Pings and pongs are ours: to a client that is slowed down, aiohttp's own heartbeat would be deaf.
        socket = web.WebSocketResponse(
            autoping=False, max_msg_size=limits.message_bytes, compress=False, timeout=limits.close_s
        )
        try:
            await socket.prepare(request)
            tasks = [
                asyncio.create_task(self._write(socket, listener)),
                asyncio.create_task(self._watch(socket, request)),
            ]
            try:
                await self._read(socket, listener, request)
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
        finally:
            self._room.leave(listener)
        return socket

    async def _write(self, socket: web.WebSocketResponse, listener: Listener) -> None:
        while not listener.full:
            message = await listener.queue.get()
            await socket.send_str(json.dumps(message))
            if message["type"] == "closed":
                await socket.close(code=WSCloseCode.OK, message=message["reason"].encode()[:120])
                return
        await socket.close(code=WSCloseCode.TRY_AGAIN_LATER, message=b"you do not read")

    async def _watch(self, socket: web.WebSocketResponse, request: web.Request) -> None:
        """Ask the client now and then whether it is there, and end the connection where nothing comes.

        By looks, not by time: after this process stood still, all that clients sent waits to be read.
        """
        every, silent = self._room.limits.heartbeat_s, 0
        while request.transport is not None:
            await asyncio.sleep(every)
            silent, self._alive = 0 if self._alive else silent + 1, False
            try:
                await asyncio.wait_for(socket.ping(), every)
            except TimeoutError:
                silent = _LOOKS
            if silent >= _LOOKS and request.transport is not None:
                request.transport.abort()

    async def _read(self, socket: web.WebSocketResponse, listener: Listener, request: web.Request) -> None:
        async for message in socket:
            if (wait := self._bucket.take()) > 0:
                await asyncio.sleep(wait)
            if request.transport is None or request.transport.is_closing():
                return  # nobody is there any more, however much waits
            self._alive = True
            try:
                if message.type == WSMsgType.TEXT:
                    self._take(message.data)
                elif message.type == WSMsgType.BINARY:
                    self._hear(message.data)
                elif message.type == WSMsgType.PING:
                    await socket.pong(message.data)
            except MarotteError as error:
                self._bad += 1
                listener.put({"type": "error", "reason": str(error)})
                if self._bad >= self._room.limits.bad_messages:
                    await socket.close(code=WSCloseCode.POLICY_VIOLATION, message=b"too many messages mean nothing")

    def _take(self, text: str) -> None:
        message = read_json(text)
        kind = message.pop("type", None)
        does = self._does.get(kind) if isinstance(kind, str) else None
        if does is None:
            raise MarotteError(f"message type {repr(kind)[:40]} is none of {', '.join(self._does)}")
        if kind != "set":
            self._room.check_speech()
        does(message)
        self._room.session.touch()

    def _hear(self, data: bytes) -> None:
        if len(data) % 2:
            raise MarotteError(f"sound of {len(data)} bytes is not of whole int16 samples")
        self._room.check_speech()
        sound = np.frombuffer(data, "<i2").astype(np.int16)
        self._room.session.speaker.push(sound, turn=self._turn or "")

    def _speak(self, message: Message) -> None:
        rate, stream = message.pop("rate", SAMPLE_RATE), message.pop("stream", False)
        least, most = _RATES
        if isinstance(rate, bool) or not isinstance(rate, int) or not least <= rate <= most:
            raise MarotteError(f"rate {repr(rate)[:40]} is not a number of samples a second, {least} to {most}")
        if not isinstance(stream, bool):
            raise MarotteError(f"stream {repr(stream)[:40]} is neither true nor false")
        turn = self._room.new_turn(message.pop("turn", None))
        _nothing_more(message)
        self._room.turn_microphone(None)
        self._room.session.speaker.speak(turn, rate, stream=stream)
        self._turn = turn

    def _end(self, message: Message) -> None:
        _nothing_more(message)
        if self._turn is not None:
            self._room.session.speaker.end(self._turn)
            self._turn = None

    def _interrupt(self, message: Message) -> None:
        _nothing_more(message)
        self._turn = None
        self._room.interrupt()

    def _set(self, message: Message) -> None:
        self._room.set(message)

    def _microphone(self, message: Message) -> None:
        wanted = message.pop("on", None)
        _nothing_more(message)
        if not isinstance(wanted, bool):
            raise MarotteError(f"on {repr(wanted)[:40]} is neither true nor false")
        if wanted and self._room.microphone is None:
            self._turn = None
            turn = self._room.new_turn()
            self._room.session.speaker.speak(turn, 48000, stream=True)
            self._room.turn_microphone(turn)
        elif not wanted and self._room.microphone is not None:
            self._room.session.speaker.end(self._room.microphone)
            self._room.turn_microphone(None)


def _nothing_more(message: dict[str, Any]) -> None:
    if message:
        raise MarotteError(f"{next(iter(message))[:40]!r} is not part of this message")
