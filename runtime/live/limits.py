"""What a live server lets its clients do; every number is an option of `marotte live`."""

from dataclasses import dataclass, field, fields
from typing import Any

from marotte.errors import MarotteError, unknown_name


def _limit(value: float, text: str) -> Any:
    return field(default=value, metadata={"text": text})


@dataclass(frozen=True)
class Limits:
    """Numbers by name; `texts` says what each is for. Raises MarotteError for one that is not above 0."""

    sessions: int = _limit(8, "sessions at once")
    session_s: float = _limit(4.0 * 3600, "seconds that a session may last")
    idle_s: float = _limit(300.0, "seconds without sound, message or viewer before a session ends")
    orphan_s: float = _limit(5.0, "seconds without viewer and control socket before a session makes room for another")
    viewers: int = _limit(4, "viewers of one session, and programs that control it")
    pixels: int = _limit(1920 * 1080, "of one picture")
    message_bytes: int = _limit(1 << 20, "of one WebSocket message")
    messages: int = _limit(200, "messages, or requests of one address, a second; a faster client waits")
    bad_messages: int = _limit(20, "messages that mean nothing before their socket is closed")
    upload_bytes: int = _limit(50 << 20, "of one sound file")
    uploads: int = _limit(4, "sound files of one session that wait to be spoken")
    turn_s: float = _limit(900.0, "seconds of sound in a turn that is given faster than it is played")
    stream_s: float = _limit(10.0, "seconds of sound that may wait in a live stream")
    connections: int = _limit(256, "connections at once")
    connect_s: float = _limit(15.0, "seconds for a viewer to connect by WebRTC")
    request_s: float = _limit(10.0, "seconds for a request to arrive, and for each piece of an upload")
    heartbeat_s: float = _limit(10.0, "seconds between looks whether a WebSocket's client is still there")
    close_s: float = _limit(2.0, "seconds for everything to end when the server stops")

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if not value > 0:
                raise MarotteError(f"limit {each.name} = {value} is not above 0")

    @classmethod
    def texts(cls) -> dict[str, tuple[float, str]]:
        """Return each limit's usual value and what it is for, by name."""
        return {each.name: (getattr(cls, each.name), each.metadata["text"]) for each in fields(cls)}

    @classmethod
    def read(cls, given: list[str]) -> "Limits":
        """Return limits with some changed as `NAME=VALUE` says. Raises MarotteError."""
        known: dict[str, tuple[float, str]] = cls.texts()
        values: dict[str, Any] = {}
        for entry in given:
            name, _, text = entry.partition("=")
            if name not in known:
                raise unknown_name("limit", name, known)
            try:
                values[name] = type(known[name][0])(text) if isinstance(known[name][0], int) else float(text)
            except ValueError:
                raise MarotteError(f"limit {entry!r} is not a number: write {name}={known[name][0]:g}") from None
        return cls(**values)
