"""The routes, and what they do. Every one is in openapi.json, which a test holds to this."""

import asyncio
from importlib.resources import files

from aiohttp import web

from marotte.runtime.live.studio import Studio
from marotte.runtime.serve.answers import Refused, add_headers, answer, body_of, errors
from marotte.runtime.serve.aside import aside
from marotte.runtime.serve.asked import CHANGING, RANGES, RATES, SIZES, avatars, drivers, settings_of, usual_avatar
from marotte.runtime.serve.auth import Guard, guarding
from marotte.runtime.serve.config import ServeConfig
from marotte.runtime.serve.control import Control
from marotte.runtime.serve.media import Media
from marotte.runtime.serve.page import Page
from marotte.runtime.serve.rooms import Room, Rooms
from marotte.runtime.serve.uploads import say

_BODY_BYTES = 1 << 18
_PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"


class Server:
    """What the routes share. Made on the event loop."""

    def __init__(self, studio: Studio, config: ServeConfig) -> None:
        self.studio, self.config = studio, config
        self.rooms = Rooms(studio, config.label)
        self._drivers: list[str] | None = None
        self._openapi = (files("marotte.runtime.serve") / "openapi.json").read_bytes()

    async def health(self, request: web.Request) -> web.Response:
        """Say whether sessions can be opened."""
        ready = self.rooms.ready.is_set()
        return answer(200 if ready else 503, status="ready" if ready else "starting")

    async def metrics(self, request: web.Request) -> web.Response:
        """Give what Prometheus scrapes."""
        text = self.studio.metrics.prometheus(self.studio.gauges())
        return web.Response(body=text.encode(), headers={"Content-Type": _PROMETHEUS})

    async def openapi(self, request: web.Request) -> web.Response:
        """Give the description of all this."""
        return web.Response(body=self._openapi, content_type="application/json")

    async def options(self, request: web.Request) -> web.Response:
        """Say what a session can be asked to be."""
        known = await self.known_drivers()
        usual = self.config.session
        return answer(
            avatars=await aside(lambda: avatars(self.config)),
            drivers=known,
            sizes=SIZES,
            fps=RATES,
            ranges=RANGES,
            changing=CHANGING,
            defaults={
                "avatar": await aside(lambda: usual_avatar(self.config)),
                "driver": usual.driver,
                "size": [usual.width, usual.height],
                "fps": round(float(self.config.fps or usual.fps), 3),
                "expressiveness": usual.expressiveness,
                "head_motion": usual.head_motion,
                "idle": usual.idle,
                "seed": usual.seed,
            },
            limits={name: getattr(self.config.limits, name) for name in self.config.limits.texts()},
            ice_servers=[server.table() for server in self.config.ice_servers],
            label=self.config.label,
        )

    async def open(self, request: web.Request) -> web.Response:
        """Open a session."""
        asked = await body_of(request, self.config.limits.request_s)
        await self.rooms.ready.wait()
        known = await self.known_drivers()
        first = self._beside(asked.pop("beside", None))
        if first:
            asked = first.changed | asked
        settings = first.session.settings if first else None
        room = await self.rooms.open(await aside(lambda: settings_of(asked, self.config, known, settings)), first)
        path = f"/v1/sessions/{room.name}"
        urls = {"self": path, **{name: f"{path}/{name}" for name in ("control", "media", "offer", "say")}}
        return answer(201, **room.about(), urls=urls)

    async def show(self, request: web.Request) -> web.Response:
        """Tell of a session."""
        return answer(**self._room(request).about())

    async def change(self, request: web.Request) -> web.Response:
        """Change a session's settings."""
        room = self._room(request)
        room.set(await body_of(request, self.config.limits.request_s))
        return answer(**room.about())

    async def end(self, request: web.Request) -> web.Response:
        """End a session."""
        await self._room(request).close("its client ended it")
        return web.Response(status=204)

    async def offer(self, request: web.Request) -> web.Response:
        """Answer a browser's offer."""
        from marotte.runtime.serve.rtc import OFFER_BYTES, Peer

        room = self._room(request)
        asked = await body_of(request, self.config.limits.request_s)
        sdp = asked.get("sdp")
        if asked.get("type") != "offer" or not isinstance(sdp, str) or len(sdp) > OFFER_BYTES:
            raise Refused(422, 'this is no offer: send {"type": "offer", "sdp": "..."}')
        peer = Peer(room, self.config.ice_servers)
        try:
            return answer(**await asyncio.wait_for(peer.answer(sdp), self.config.limits.connect_s))
        except BaseException:
            await peer.close()
            raise

    async def say(self, request: web.Request) -> web.Response:
        """Have a sound file spoken."""
        return answer(202, **await say(self._room(request), request))

    async def control(self, request: web.Request) -> web.WebSocketResponse:
        """Talk with a program."""
        return await Control(self._room(request), self.studio.clock.now).run(_upgraded(request))

    async def media(self, request: web.Request) -> web.WebSocketResponse:
        """Send sound and picture."""
        return await Media(self._room(request)).run(_upgraded(request))

    async def known_drivers(self) -> list[str]:
        """Return the names of the drivers that can be used; looked up once."""
        if self._drivers is None:
            self._drivers = await aside(drivers)
        return self._drivers

    def _beside(self, given: object) -> Room | None:
        """Return the room beside which a session is to be. Raises Refused."""
        if given is None:
            return None
        room = self.rooms.get(given if isinstance(given, str) else "")
        if room.beside:
            raise Refused(409, "that session stands beside another itself: name the first")
        return room

    def _room(self, request: web.Request) -> Room:
        return self.rooms.get(request.match_info["id"])


SERVER: web.AppKey[Server] = web.AppKey("server", Server)


def make_app(studio: Studio, config: ServeConfig) -> web.Application:
    """Return the application for a studio that is started; `app[SERVER].rooms.ready` is for the caller to set.

    Call it on the event loop that it is to run on. It closes its sessions when it shuts down, the studio it does not.
    """
    server, page, guard = Server(studio, config), Page(), Guard(config, studio.clock.now)
    app = web.Application(middlewares=[errors, guarding(guard)], client_max_size=_BODY_BYTES)
    app[SERVER] = server
    app.on_response_prepare.append(add_headers)
    app.on_shutdown.append(_close_rooms)
    one = "/v1/sessions/{id}"
    app.add_routes(
        [
            web.get("/", page.file, allow_head=False),
            web.get("/healthz", server.health, allow_head=False),
            web.get("/metrics", server.metrics, allow_head=False),
            web.get("/openapi.json", server.openapi, allow_head=False),
            web.get("/v1/options", server.options, allow_head=False),
            web.post("/v1/sessions", server.open),
            web.get(one, server.show, allow_head=False),
            web.patch(one, server.change),
            web.delete(one, server.end),
            web.post(one + "/offer", server.offer),
            web.post(one + "/say", server.say),
            web.get(one + "/control", server.control, allow_head=False),
            web.get(one + "/media", server.media, allow_head=False),
            web.get("/{file:.+}", page.file, allow_head=False),
        ]
    )
    return app


def _upgraded(request: web.Request) -> web.Request:
    """Return the request, which is for a WebSocket. Raises Refused where it is not."""
    if request.headers.get("Upgrade", "").lower() != "websocket":
        raise Refused(426, "this is a WebSocket: connect to it with ws:// or wss://")
    return request


async def _close_rooms(app: web.Application) -> None:
    await app[SERVER].rooms.close("the server stops")
