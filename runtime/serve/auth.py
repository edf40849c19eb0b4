"""Who may do what: the token, the page's origin, the server's own name, and how fast.

A page of another site can send requests to 127.0.0.1 from the user's browser, by name, too, once its own name leads
there. So the name that a request gives must be ours, and where it comes from a page, the page.
"""

import hmac
from collections.abc import Callable
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.typedefs import Middleware

from marotte.runtime.serve.answers import Handler, Refused
from marotte.runtime.serve.config import ServeConfig

# Nothing that needs protection: the page's own files, and whether it is ready.
_OPEN = ("/", "/{file}", "/healthz")
_CHANGING = ("POST", "PUT", "PATCH", "DELETE")
# How many addresses' speeds are kept.
_ADDRESSES = 4096


class Bucket:
    """So many a second, and as many at once. now: seconds that never go back."""

    def __init__(self, rate: float, now: Callable[[], float]) -> None:
        self._rate, self._now = rate, now
        self._left, self._at = rate, now()

    def take(self) -> float:
        """Take one; return the seconds to wait before it is done."""
        self._fill()
        self._left -= 1
        return max(-self._left / self._rate, 0.0)

    def allow(self) -> bool:
        """Take one where there is one; return whether there was."""
        self._fill()
        there = self._left >= 1
        self._left -= there
        return there

    def _fill(self) -> None:
        now = self._now()
        self._left = min(self._left + (now - self._at) * self._rate, self._rate)
        self._at = now


class Guard:
    """Decides about requests. now: seconds that never go back."""

    def __init__(self, config: ServeConfig, now: Callable[[], float]) -> None:
        self._config, self._now = config, now
        self._origins = set(config.origins)
        self._names = {"localhost", "127.0.0.1", "::1", config.host.lower()}
        self._names |= {urlsplit(origin).hostname or "" for origin in config.origins}
        self._buckets: dict[str, Bucket] = {}

    def check(self, request: web.Request) -> None:
        """Raise Refused where a request may not be."""
        resource = request.match_info.route.resource
        place = resource.canonical if resource else ""
        if not self._bucket(request.remote or "").allow():
            raise Refused(429, f"more than {self._config.limits.messages} requests a second, the limit `messages`")
        if self._config.loopback and _name_of(request.host) not in self._names:
            raise Refused(421, f"host {request.host[:100]!r} is not this server's name: use {self._config.host}")
        origin = request.headers.get("Origin")
        upgrades = request.headers.get("Upgrade", "").lower() == "websocket"
        if origin is not None and (request.method in _CHANGING or upgrades) and not self._knows(origin, request):
            raise Refused(
                403, f"origin {origin[:100]!r} may not use this server: start it with --origin {origin[:100]}"
            )
        if self._config.token and place not in _OPEN and not self._has_token(request):
            raise Refused(401, "no token, or a wrong one: send `Authorization: Bearer TOKEN`, or ?token=TOKEN")

    def allowed_origin(self, request: web.Request) -> str | None:
        """Return the request's origin where it is a page of another server that may use this one."""
        origin = request.headers.get("Origin")
        return origin if origin in self._origins else None

    def _knows(self, origin: str, request: web.Request) -> bool:
        if origin in self._origins:
            return True
        # A proxy may speak https for us, but a page that came by https is never talked to without.
        schemes = ("https",) if request.secure else ("http", "https")
        return origin.lower() in [f"{scheme}://{request.host.lower()}" for scheme in schemes]

    def _has_token(self, request: web.Request) -> bool:
        kind, _, given = request.headers.get("Authorization", "").partition(" ")
        if kind.lower() != "bearer":
            given = request.query.get("token", "")
        return hmac.compare_digest(given.strip().encode(), self._config.token.encode())

    def _bucket(self, address: str) -> Bucket:
        if address not in self._buckets:
            if len(self._buckets) >= _ADDRESSES:
                self._buckets.pop(next(iter(self._buckets)))
            self._buckets[address] = Bucket(self._config.limits.messages, self._now)
        return self._buckets[address]


def guarding(guard: Guard) -> Middleware:
    """Return the middleware that asks the guard, and answers what browsers ask before a page of another server."""

    @web.middleware
    async def guarded(request: web.Request, handler: Handler) -> web.StreamResponse:
        origin = guard.allowed_origin(request)
        if origin and request.method == "OPTIONS":
            response: web.StreamResponse = web.Response(status=204)
            response.headers["Access-Control-Allow-Methods"] = "GET, POST, PATCH, DELETE"
            response.headers["Access-Control-Allow-Headers"] = "Authorization, Content-Type"
        else:
            guard.check(request)
            response = await handler(request)
        if origin and not response.prepared:
            response.headers["Access-Control-Allow-Origin"] = origin
            response.headers["Vary"] = "Origin"
        return response

    return guarded


def _name_of(host: str) -> str:
    """Return a Host header's name without its port."""
    try:
        return (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return ""
