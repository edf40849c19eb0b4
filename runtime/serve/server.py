"""The server: it listens at once, is ready once the whole path has run, and gives everything back when it stops."""

import asyncio
import contextlib
import signal
import socket
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from fractions import Fraction

from marotte.errors import MarotteError
from marotte.runtime.live.push_target import read_target
from marotte.runtime.live.studio import Studio
from marotte.runtime.serve.config import ServeConfig

try:
    from aiohttp import web
    from aiohttp.typedefs import Middleware

    from marotte.runtime.serve.answers import Handler
    from marotte.runtime.serve.app import SERVER, make_app
    from marotte.runtime.serve.aside import aside
    from marotte.runtime.serve.asked import with_variant
    from marotte.runtime.serve.pushed import Pushed
except ImportError as error:
    raise MarotteError(f"live needs what is not installed ({error.name}): pip install 'marotte[live]'") from error

# The usual rate is the highest of these of which a session takes no more of the renderer than so much. 50 is not among
# them: on most displays it stutters.
_USUAL, _COMFORT = (25, 30, 60), 0.7
_BACKLOG = 128
Slow = Callable[[str], AbstractContextManager[None]]


class Listening:
    """An open port with the application behind it. Use `listen` to make one."""

    def __init__(self, config: ServeConfig, studio: Studio, opened: socket.socket) -> None:
        self.config, self.studio = config, studio
        self.port: int = opened.getsockname()[1]
        self._socket = opened
        # Connections without a request so far, and what will end them.
        self._silent: dict[asyncio.BaseProtocol, asyncio.TimerHandle] = {}

    async def start(self) -> None:
        """Begin to answer; sessions can be opened after `warm_up`."""
        limits = self.config.limits
        self.app = make_app(self.studio, self.config)
        self.app.middlewares.insert(0, self._note)
        self._runner = web.AppRunner(
            self.app,
            access_log=None,
            auto_decompress=False,
            keepalive_timeout=limits.request_s,
            lingering_time=limits.close_s / 2,
            shutdown_timeout=limits.close_s / 2,
        )
        await self._runner.setup()
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            self._protocol, sock=self._socket, ssl=self.config.ssl_context(), backlog=_BACKLOG
        )

    async def warm_up(self) -> ServeConfig:
        """Run the whole path once; return the configuration with the frame rate that the machine can draw."""
        self.config = await aside(self._warmed)
        self.app[SERVER].config = self.config
        await self.app[SERVER].known_drivers()
        self.app[SERVER].rooms.ready.set()
        return self.config

    async def stop(self) -> None:
        """Close the port, the sessions and the connections."""
        self._server.close()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._runner.cleanup(), self.config.limits.close_s)

    def _warmed(self) -> ServeConfig:
        config = self.config
        settings = with_variant(replace(config.session, fps=config.fps or config.session.fps), config, config.variant)
        self.studio.warm_up(settings)
        with contextlib.suppress(ImportError):  # whoever offers WebRTC without it is told
            import marotte.runtime.serve.rtc  # noqa: F401 - the loop would stand still for it at the first offer
        return config.with_rate(best_rate(self.studio.cost(settings)))

    def _protocol(self) -> asyncio.BaseProtocol:
        """Return what handles a new connection, and ends it where nothing comes."""
        server, limits = self._runner.server, self.config.limits
        assert server is not None
        if len(server.connections) >= limits.connections:
            return _Full()
        handler = server()
        self._silent[handler] = asyncio.get_running_loop().call_later(limits.request_s, self._end, handler)
        return handler

    def _end(self, handler: web.RequestHandler) -> None:
        del self._silent[handler]
        handler.force_close()

    @property
    def _note(self) -> Middleware:
        @web.middleware
        async def note(request: web.Request, handler: Handler) -> web.StreamResponse:
            if timer := self._silent.pop(request.protocol, None):
                timer.cancel()
            return await handler(request)

        return note


class _Full(asyncio.Protocol):
    """Ends a connection that is one too many."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()


def best_rate(cost: float) -> Fraction:
    """Return the usual frame rate for frames of `cost` seconds."""
    fits = [rate for rate in _USUAL if rate * cost <= _COMFORT]
    return Fraction(max(fits, default=min(_USUAL)))


def bind(config: ServeConfig) -> socket.socket:
    """Return a bound socket. Raises MarotteError for a host that is none and a port that is taken."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            config.host, config.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (OSError, UnicodeError) as error:
        raise MarotteError(f"--host {config.host!r} is no address of this machine: {error}") from None
    opened = socket.socket(family, kind, protocol)
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind(address)
        opened.setblocking(False)
    except OSError as error:
        opened.close()
        reason = error.strerror or str(error)
        raise MarotteError(
            f"port {config.port} of {config.host} cannot be opened: {reason}; give another --port, or 0 for any"
        ) from None
    return opened


def serve(config: ServeConfig, *, say: Callable[[str], None], slow: Slow = lambda what: nullcontext()) -> None:
    """Serve until SIGINT or SIGTERM. say: gets what to print; slow: see `progress.announce_slow`.

    Raises MarotteError where it cannot start.
    """
    config.ssl_context()
    for url in config.push:
        read_target(url)
    opened = bind(config)
    try:
        asyncio.run(_serve(config, opened, say, slow))
    finally:
        opened.close()


async def _serve(config: ServeConfig, opened: socket.socket, say: Callable[[str], None], slow: Slow) -> None:
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError):
            loop.add_signal_handler(number, stop.set)
    studio = Studio(limits=config.limits)
    listening = Listening(config, studio, opened)
    await listening.start()
    say(f"marotte live: {config.url(listening.port)} (warming up; Ctrl-C stops it)")
    stopping = asyncio.create_task(stop.wait())
    pushing: asyncio.Task[None] | None = None
    try:
        with slow("live"):
            studio.start()
            warming = asyncio.create_task(listening.warm_up())
            await asyncio.wait({warming, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if warming.done():
            ready = warming.result()
            size = f"{ready.session.width}x{ready.session.height}"
            say(f"marotte live: ready: {ready.session.avatar} at {size} and {float(ready.fps or 0):g} frames a second")
            if config.push:
                pushing = asyncio.create_task(Pushed(listening.app[SERVER].rooms, ready, say).run())
            await stop.wait()
        else:
            warming.cancel()
    finally:
        stopping.cancel()
        if pushing:
            pushing.cancel()
            await asyncio.wait({pushing})
        await listening.stop()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(aside(studio.close), config.limits.close_s)
    say("marotte live: stopped")
