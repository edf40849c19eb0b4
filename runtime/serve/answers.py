"""Answers: JSON in and out, and every error as one line with the right status."""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from marotte.errors import MarotteError
from marotte.runtime.live.studio import Busy

_LOG = logging.getLogger("marotte.live")
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; media-src 'self' blob:; img-src 'self' data: blob:; connect-src 'self'; "
        "worker-src 'self' blob:; object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "microphone=(self), camera=(), geolocation=()",
}


class Refused(MarotteError):
    """What a client asked for is not done. status: of HTTP."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


def answer(status: int = 200, /, **values: Any) -> web.Response:
    """Return a JSON response."""
    return web.json_response(values, status=status)


def read_json(text: str | bytes) -> dict[str, Any]:
    """Return a JSON object. Raises MarotteError for anything else, NaN and infinity included."""
    try:
        value = json.loads(text, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise MarotteError(f"not JSON: {error}"[:200]) from None
    if not isinstance(value, dict):
        raise MarotteError("not a JSON object: write {...}")
    return value


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is not a number of JSON")


async def body_of(request: web.Request, seconds: float) -> dict[str, Any]:
    """Return the JSON object of a request's body. Raises Refused; seconds: how long it may take to arrive."""
    if request.content_type != "application/json":
        raise Refused(415, f"content type {request.content_type!r}: send application/json")
    plain_only(request)
    text = await asyncio.wait_for(request.read(), seconds)
    try:
        return read_json(text)
    except MarotteError as error:
        raise Refused(400, str(error)) from None


def plain_only(request: web.Request) -> None:
    """Raise Refused for a compressed body: the server unpacks none, whatever it would grow to."""
    packed = request.headers.get("Content-Encoding", "identity")
    if packed.lower() != "identity":
        raise Refused(415, f"content encoding {packed[:40]!r}: send it as it is")


@web.middleware
async def errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn what a handler raises into an answer."""
    try:
        return await handler(request)
    except Refused as error:
        return answer(error.status, error=_line(error))
    except Busy as error:
        return answer(503, error=_line(error))
    except MarotteError as error:
        return answer(422, error=_line(error))
    except web.HTTPException as error:
        if error.status < 400:
            raise
        return answer(error.status, error=f"{request.method} {request.path}: {error.reason}"[:200])
    except TimeoutError:
        return answer(408, error="it took too long to arrive: see the limit request_s")
    except asyncio.CancelledError:
        raise
    except ConnectionError:  # nobody reads it
        return answer(400, error="the connection was lost")
    except Exception as error:
        _LOG.error("%s %s failed", request.method, request.match_info.handler.__name__, exc_info=error)
        return answer(500, error=f"internal error: {type(error).__name__}")


def _line(error: Exception) -> str:
    return " ".join(str(error).split())


async def add_headers(request: web.Request, response: web.StreamResponse) -> None:
    """Give every response what keeps a page to itself."""
    response.headers.update(_HEADERS)
    if response.content_type in ("application/json", "text/html"):
        response.headers["Cache-Control"] = "no-store"
