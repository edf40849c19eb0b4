"""Sound files that clients send: kept under a name of ours until they are spoken, and read piece by piece.

What may be a file is told by its first bytes: decoders also read lists of other files, which a client could have them
fetch from this machine.
"""

import asyncio
import contextlib
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from aiohttp import web

from marotte.errors import MarotteError
from marotte.runtime.audio.source import AudioSource, open_audio
from marotte.runtime.serve.answers import Refused, plain_only
from marotte.runtime.serve.rooms import Room

# Seconds of sound that are read at once, that may wait to be played, and between looks.
_BLOCK_S, _AHEAD_S, _LOOK_S = 0.5, 4.0, 0.1
# Bytes a second below which an upload is given up.
_SLOWEST = 8192
_CHUNK = 1 << 16
# Of wav, aiff, au, caf, flac, ogg and opus, webm and mkv, and mp3 with a tag.
_BEGINNINGS = (b"RIFF", b"RF64", b"FORM", b".snd", b"caff", b"fLaC", b"OggS", b"\x1aE\xdf\xa3", b"ID3")


def is_sound(start: bytes) -> bool:
    """Return whether a file that starts so can be sound of a kind that we read."""
    frames = len(start) > 1 and start[0] == 0xFF and start[1] & 0xE0 == 0xE0  # mp3, or aac in its own frames
    return start.startswith(_BEGINNINGS) or start[4:8] == b"ftyp" or frames


class Upload:
    """A sound file of one client: receive it, open it, speak it; `close` in every case."""

    def __init__(self, room: Room) -> None:
        self._room, self._limits = room, room.limits
        # A folder of its own: a file that names its neighbours finds none.
        self._folder = tempfile.TemporaryDirectory(prefix="marotte-live-")
        self._path = Path(self._folder.name) / "sound"
        self._source: AudioSource | None = None
        self.seconds: float | None = None
        self.begun = False  # its turn
        self._reading = threading.Lock()
        self._closed = False

    async def receive(self, request: web.Request) -> None:
        """Take the request's body. Raises Refused and TimeoutError."""
        plain_only(request)
        most, loop = self._limits.upload_bytes, asyncio.get_running_loop()
        if (request.content_length or 0) > most:
            raise Refused(413, f"{request.content_length} bytes are more than the limit upload_bytes = {most}")
        began, received = loop.time(), 0
        with self._path.open("wb") as file:
            while piece := await asyncio.wait_for(request.content.read(_CHUNK), self._limits.request_s):
                if not received and not is_sound(piece):
                    raise Refused(415, "this is no sound that can be read: send wav, flac, ogg, mp3, m4a, mp4 or webm")
                received += len(piece)
                if received > most:
                    raise Refused(413, f"the sound file has more bytes than the limit upload_bytes = {most}")
                if received < _SLOWEST * (loop.time() - began - self._limits.request_s):
                    raise TimeoutError
                file.write(piece)
        if not received:
            raise Refused(415, "the sound file is empty")

    async def open(self) -> None:
        """Look what it is. Raises Refused."""
        opening = asyncio.to_thread(open_audio, self._path)
        try:
            self._source = await asyncio.wait_for(opening, self._limits.request_s)
        except MarotteError as error:
            raise Refused(415, str(error).replace(str(self._path), "the sound file")) from None
        frames = self._source.frames
        self.seconds = None if frames is None else frames / self._source.rate
        if self.seconds is not None and self.seconds > self._limits.turn_s:
            raise Refused(
                413, f"{self.seconds:.0f} s of sound are more than the limit turn_s = {self._limits.turn_s:g}"
            )

    async def speak(self, turn: str) -> None:
        """Say it, after the files before it; until its end, or until another turn is opened or interrupts it."""
        source, speaker = self._source, self._room.session.speaker
        assert source is not None
        async with self._room.talking:
            self._room.turn_microphone(None)
            speaker.speak(turn, source.rate)
            self.begun = True
            said = 0
            try:
                blocks = source.blocks(max(1, round(_BLOCK_S * source.rate)))
                while (block := await asyncio.to_thread(self._read, blocks)) is not None:
                    while speaker.waiting_s > _AHEAD_S:
                        await asyncio.sleep(_LOOK_S)
                    said += len(block)
                    if said > self._limits.turn_s * source.rate:
                        raise MarotteError(f"the sound file was cut at the limit turn_s = {self._limits.turn_s:g}")
                    if not speaker.push(block.mean(axis=1), turn=turn):
                        return
            except MarotteError as error:
                reason = str(error).replace(str(self._path), "the sound file")
                self._room.tell({"type": "error", "reason": reason})
            finally:
                speaker.end(turn)

    def close(self) -> None:
        """Delete the file; at once, or when the read that is under way is done."""
        self._closed = True
        if self._reading.acquire(blocking=False):
            with contextlib.ExitStack() as last:
                last.callback(self._reading.release)
                last.callback(self._folder.cleanup)
                if self._source:
                    self._source.close()

    def _read(self, blocks: Iterator[np.ndarray]) -> np.ndarray | None:
        """Return the next block, None at the end; on a thread of its own."""
        with self._reading:
            block = None if self._closed else next(blocks, None)
        if self._closed:
            self.close()
        return block


async def say(room: Room, request: web.Request) -> dict[str, object]:
    """Receive a sound file and have it spoken; return the turn's name and how long it is, where that is known.

    Raises Refused, also where an interruption came before it was there.
    """
    room.check_speech()
    if room.uploads >= room.limits.uploads:
        raise Refused(429, f"{room.uploads} sound files wait to be spoken, the limit `uploads`")
    room.uploads += 1
    upload, generation = Upload(room), room.session.speaker.generation

    def done() -> None:
        room.uploads -= 1
        upload.close()

    try:
        await upload.receive(request)
        await upload.open()
        if room.session.speaker.generation != generation:
            raise Refused(409, "interrupted before it was there")
    except BaseException:
        done()
        raise
    turn = room.new_turn()

    def over(speaking: asyncio.Task[None]) -> None:
        done()
        if speaking.cancelled() and not upload.begun and not room.closed.is_set():
            room.tell_finished(turn, "interrupted")

    # Also where it is cancelled before its first step.
    room.start(upload.speak(turn), "say").add_done_callback(over)
    room.session.touch()
    return {"turn": turn, "seconds": None if upload.seconds is None else round(upload.seconds, 3)}
