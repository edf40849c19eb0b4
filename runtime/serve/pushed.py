"""A session of the server's own that is pushed to media servers, from its start to its end."""

import asyncio
from collections.abc import Callable
from functools import partial

from marotte.errors import MarotteError
from marotte.runtime.live.push import Push, PushState
from marotte.runtime.serve.aside import aside
from marotte.runtime.serve.asked import settings_of
from marotte.runtime.serve.config import ServeConfig
from marotte.runtime.serve.rooms import Room, Rooms

# Between sessions, where one ended or could not be opened.
_AGAIN_S = 5.0


class Pushed:
    """Keeps a session open that is what the configuration says, and pushes it to all its addresses.

    config: after warming up. say: gets what to print: the session's name, which programs need to have it speak, and
    how each push goes.
    """

    def __init__(self, rooms: Rooms, config: ServeConfig, say: Callable[[str], None]) -> None:
        self._rooms, self._config, self._say = rooms, config, say

    async def run(self) -> None:
        """Push until it is cancelled; open another session whenever one ends."""
        while True:
            try:
                await self._push_one()
            except MarotteError as error:
                self._say(f"marotte live: nothing to push: {error}")
            await asyncio.sleep(_AGAIN_S)

    async def _push_one(self) -> None:
        room = await self._rooms.open(await aside(lambda: settings_of({}, self._config, [])))
        try:
            self._say(f"marotte live: pushing the session /v1/sessions/{room.name}")
            for number, url in enumerate(self._config.push, 1):
                opening = partial(Push, room.session, url, self._teller(), name=str(number))
                room.pushes.append(await aside(opening))
            await room.closed.wait()
        finally:
            await asyncio.shield(self._end(room))

    async def _end(self, room: Room) -> None:
        await room.close("its push ended")
        await asyncio.gather(*(aside(push.close) for push in room.pushes))

    def _teller(self) -> Callable[[PushState], None]:
        """Return what prints a push's state where that is news."""
        told: list[PushState] = []

        def tell(now: PushState) -> None:
            if now.state in ("pushing", "waiting") and now not in told[-1:]:
                told[:] = [now]
                self._say(f"marotte live: {now.url}: {now.state}{now.reason and ': ' + now.reason}")

        return tell
