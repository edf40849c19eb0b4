"""Rooms: a live session as its clients know it, and what belongs to it: sockets, viewers, sound files on their way.

A room's name is random and long, and nothing lists names: who knows it may use the session, and nobody else. Studio's
threads tell rooms what happens; all else here runs on the event loop.
"""

import asyncio
import math
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from marotte.runtime.background import Background
from marotte.runtime.live.limits import Limits
from marotte.runtime.live.live_session import Closed, LiveSession
from marotte.runtime.live.push import Push
from marotte.runtime.live.settings import LiveSettings
from marotte.runtime.live.speaker import Event, Finished, RanDry, Started
from marotte.runtime.live.studio import Busy, Studio
from marotte.runtime.serve.answers import Refused
from marotte.runtime.serve.aside import aside
from marotte.runtime.serve.asked import changes_of

_NAME_BYTES = 16
# Messages that may wait for a socket that does not read.
_WAITING = 64
_REPORT_S = 1.0
Message = dict[str, Any]


@dataclass(eq=False)
class Listener:
    """A control socket's messages. full: it did not read; it is to be closed."""

    queue: asyncio.Queue[Message] = field(default_factory=lambda: asyncio.Queue(_WAITING))
    full: bool = False

    def put(self, message: Message) -> None:
        """Add a message; of metrics there is nothing to lose."""
        try:
            self.queue.put_nowait(message)
        except asyncio.QueueFull:
            self.full = self.full or message["type"] != "metrics"


class Room:
    """One session. on_close: called once when it is over. beside: the room whose speech it shares."""

    def __init__(
        self, limits: Limits, label: bool, on_close: Callable[["Room"], None], beside: "Room | None" = None
    ) -> None:
        self.name = secrets.token_hex(_NAME_BYTES)
        self.limits, self.label, self.beside = limits, label, beside
        self.session: LiveSession
        self.closed = asyncio.Event()
        self.reason = ""
        # The turn that the microphone of a peer connection speaks, None while it is off.
        self.microphone: str | None = None
        self.talking = asyncio.Lock()  # held by the sound file that is being spoken
        self.uploads = 0
        self.pushes: list[Push] = []
        self.twins: list[Room] = []  # those beside it
        self._left = -math.inf  # when the last of its clients went
        self._loop = asyncio.get_running_loop()
        self._on_close = on_close
        self._listeners: set[Listener] = set()
        self._viewers = 0
        self._leaving: dict[object, Callable[[], Awaitable[None]]] = {}
        self._turns = 0
        self.changed: Message = {}  # settings, since it was opened
        self._tasks: set[asyncio.Task[Any]] = set()
        self._reporting: asyncio.Task[None] | None = None

    # What is said.

    def new_turn(self, given: Any = None) -> str:
        """Return a turn's name: the client's, or one of ours. Raises Refused."""
        if given is not None:
            if not isinstance(given, str) or not 0 < len(given) <= 64:
                raise Refused(422, "a turn's name is a text of 1 to 64 characters")
            return given
        self._turns += 1
        return f"turn-{self._turns}"

    def check_speech(self) -> None:
        """Raise Refused where it says what another one says."""
        if self.beside:
            raise Refused(409, "this session says what the one beside it says: speak to that one")

    def interrupt(self) -> None:
        """Stop what is said and what waits to be said: files on their way and the microphone included."""
        for task in [task for task in self._tasks if task.get_name() == "say"]:
            task.cancel()
        self.turn_microphone(None)
        self.session.speaker.interrupt()
        self.session.touch()

    def turn_microphone(self, turn: str | None) -> None:
        """Switch the peer connections' microphone to a turn, or off."""
        if turn != self.microphone:
            self.microphone = turn
            self.tell({"type": "microphone", "on": turn is not None, "turn": turn})

    def set(self, asked: Message) -> None:
        """Change settings of the running session. Raises MarotteError."""
        self.session.face.set(**changes_of(asked))
        self.changed |= asked
        self.session.touch()
        self.tell({"type": "settings", **self.settings})

    @property
    def settings(self) -> Message:
        """What the session was opened with, and changed to."""
        now = self.session.settings
        background = "own" if isinstance(now.background, Background) and now.background.own else now.background
        if isinstance(background, Background):
            background = "#" + "".join(f"{round(255 * value):02x}" for value in background.colour)
        opened = {
            "avatar": self.session.avatar.name,
            "variant": now.renderer_options.get("variant"),
            "driver": now.driver,
            "size": list(self.session.size),
            "fps": round(float(now.fps), 3),
            "background": background or self.session.avatar.background,
            "expressiveness": now.expressiveness,
            "head_motion": now.head_motion,
            "idle": now.idle,
            "seed": now.seed,
        }
        return opened | self.changed

    def about(self) -> Message:
        """Return what a client is told of its session."""
        return {
            "id": self.name,
            "settings": self.settings,
            "state": self.session.speaker.state,
            "label": self.label,
            "viewers": self._viewers,
            "microphone": self.microphone is not None,
            "pushes": [asdict(push.state) for push in self.pushes],
            "beside": self.beside and self.beside.name,
            "twins": [twin.name for twin in self.twins],
        }

    # Who listens and looks.

    def listen(self) -> Listener:
        """Return a new control socket's messages. Raises Refused where there are enough."""
        if len(self._listeners) >= self.limits.viewers:
            raise Refused(503, f"{len(self._listeners)} control sockets are open, the limit `viewers`")
        listener = Listener()
        listener.put({"type": "ready", **self.about()})
        self._listeners.add(listener)
        if self._reporting is None:
            self._reporting = self.start(self._report(), "report")
        self.session.touch()
        return listener

    def leave(self, listener: Listener) -> None:
        """Tell it nothing any more."""
        self._listeners.discard(listener)
        self._left = self.session.clock.now()
        if not self._listeners and self._reporting:
            self._reporting.cancel()
            self._reporting = None
        self.session.touch()

    def enter(self, key: object, leave: Callable[[], Awaitable[None]]) -> None:
        """Count a viewer in; leave: what ends it. Raises Refused where there are enough."""
        if self.closed.is_set():
            raise Refused(410, "the session is closed")
        if self._viewers >= self.limits.viewers:
            raise Refused(503, f"{self._viewers} viewers are there, the limit `viewers`: close another page first")
        self._viewers += 1
        self._leaving[key] = leave

    def exit(self, key: object) -> None:
        """Count a viewer out; once."""
        if self._leaving.pop(key, None) is not None:
            self._viewers -= 1
            self._left = self.session.clock.now()

    @property
    def alone_s(self) -> float:
        """For how many seconds it has had neither viewer nor control socket nor push."""
        if self._listeners or self._viewers or self.pushes:
            return 0.0
        alone = self.session.clock.now() - max(self.session.opened, self._left)
        return min([alone, *(twin.alone_s for twin in self.twins)])

    def tell(self, message: Message) -> None:
        """Send a message to all control sockets."""
        for listener in self._listeners:
            listener.put(message)

    def tell_finished(self, turn: str, reason: str, seconds: float = 0.0) -> None:
        """Tell that a turn is over, and how much of it was heard."""
        self.tell({"type": "finished", "turn": turn, "position_s": round(seconds, 4), "reason": reason})

    def start(self, work: Any, name: str) -> asyncio.Task[Any]:
        """Run a coroutine that ends with the room at the latest."""
        task = self._loop.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def close(self, reason: str) -> None:
        """End the session and all that belongs to it; wait until its viewers are gone."""
        self.session.close(reason)
        self._shut(reason)
        await asyncio.gather(*(task for task in self._tasks if task.get_name() == "leave"), return_exceptions=True)

    # What happens.

    def happened(self, event: Event | Closed) -> None:
        """Take an event of the session, on any thread."""
        try:
            self._loop.call_soon_threadsafe(self._tell_of, event)
        except RuntimeError:  # the loop is closed: nobody is there any more
            return

    def _tell_of(self, event: Event | Closed) -> None:
        if isinstance(event, Closed):
            self._shut(event.reason)
        elif isinstance(event, Started):
            waited = round(1000 * event.waited_s, 1)
            self.tell({"type": "started", "turn": event.turn, "tick": event.tick, "waited_ms": waited})
        elif isinstance(event, Finished):
            heard = event.heard
            self.tell_finished(heard.turn, event.reason, heard.seconds)
            if self.microphone == heard.turn:
                self.turn_microphone(None)
        elif isinstance(event, RanDry):
            self.tell({"type": "ran_dry", "turn": event.turn, "position_s": round(event.position / 48000, 4)})

    def _shut(self, reason: str) -> None:
        """Let everybody go; once."""
        if self.closed.is_set():
            return
        self.reason = reason
        self.tell({"type": "closed", "reason": reason})
        if self.beside and self in self.beside.twins:
            self.beside.twins.remove(self)
            self.beside.tell({"type": "twin", "id": self.name, "open": False, "reason": reason})
        self.closed.set()
        for task in self._tasks:
            task.cancel()
        for leave in list(self._leaving.values()):
            self.start(leave(), "leave")
        self._on_close(self)

    async def _report(self) -> None:
        """Tell once a second how it goes."""
        before = 0
        while True:
            await asyncio.sleep(_REPORT_S)
            report: Message = self.session.metrics.report()
            frames = report["counts"].get("frames", 0)
            speaker = self.session.speaker
            self.tell(
                {
                    "type": "metrics",
                    "fps": round((frames - before) / _REPORT_S, 1) if before else None,
                    "state": speaker.state,
                    "waiting_s": round(speaker.waiting_s, 3),
                    "unheard_samples": speaker.dropped,
                    "viewers": self._viewers,
                    **report,
                }
            )
            before = frames


class Rooms:
    """All of them. ready: set once sessions can be opened."""

    def __init__(self, studio: Studio, label: bool) -> None:
        self.studio, self._label = studio, label
        self.ready = asyncio.Event()
        self._rooms: dict[str, Room] = {}
        self._opening = 0

    def __len__(self) -> int:
        return len(self._rooms)

    async def open(self, settings: LiveSettings, beside: Room | None = None) -> Room:
        """Open a session; where there is no room, sessions that have lost their clients make some.

        beside: the room whose speech it shares. Raises what `Studio.open` does; nobody makes room for what cannot be.
        """
        first = beside.session if beside else None
        possible = False
        while True:
            try:
                return await self._open(settings, beside)
            except Busy:
                possible = possible or await aside(lambda: self.studio.could(settings, first))
                if not possible or not await self._make_room(beside):
                    raise

    async def _open(self, settings: LiveSettings, beside: Room | None) -> Room:
        limits = self.studio.limits
        if len(self._rooms) + self._opening >= limits.sessions:
            raise Busy(f"{len(self._rooms)} sessions are open, the limit `sessions`: close one, or raise it")
        self._opening += 1
        try:
            room = Room(limits, self._label, self._forget, beside)
            first = beside.session if beside else None
            room.session = await aside(lambda: self.studio.open(settings, room.happened, first))
        finally:
            self._opening -= 1
        if not room.session.closed:
            self._rooms[room.name] = room
            if beside:
                beside.twins.append(room)
                beside.tell({"type": "twin", "id": room.name, "open": True, "reason": ""})
        return room

    async def _make_room(self, beside: Room | None) -> bool:
        """Close the session that has been alone for the longest, beyond `orphan_s`, but for one beside which another is
        to be; return whether there was one."""
        others = [room for room in self._rooms.values() if room is not beside]
        alone = max(others, key=lambda room: room.alone_s, default=None)
        if alone is None or alone.alone_s <= self.studio.limits.orphan_s:
            return False
        self.studio.metrics.count("sessions_orphaned")
        await alone.close(f"it had no client for {alone.alone_s:.0f} s, and another session needed its place")
        return True

    def get(self, name: str) -> Room:
        """Return the room of that name. Raises Refused."""
        if name not in self._rooms:
            raise Refused(404, "no session has this id: it has ended, or never was; open one with POST /v1/sessions")
        return self._rooms[name]

    async def close(self, reason: str) -> None:
        """Close all."""
        await asyncio.gather(*(room.close(reason) for room in list(self._rooms.values())), return_exceptions=True)

    def _forget(self, room: Room) -> None:
        self._rooms.pop(room.name, None)
