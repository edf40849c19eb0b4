"""The page's files: those that lie in the package when the server starts, by their exact names, and no others."""

import hashlib
from importlib.resources import files
from importlib.resources.abc import Traversable

from aiohttp import web

from marotte.runtime.serve.answers import Refused

_TYPES = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".mjs": "text/javascript",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".ico": "image/vnd.microsoft.icon",
    ".webmanifest": "application/manifest+json",
    ".woff2": "font/woff2",
}
_TEXT = ("text/", "image/svg", "application/")
INDEX = "index.html"


class Page:
    """The files in memory, with their types and marks."""

    def __init__(self) -> None:
        self._files: dict[str, tuple[bytes, str, str]] = {}
        self._take(files("marotte.runtime.serve") / "page", "")

    async def file(self, request: web.Request) -> web.Response:
        """Answer with the file that is named, or the page itself."""
        name = request.match_info.get("file", INDEX)
        if name not in self._files:
            raise Refused(404, f"no file {name[:60]!r} belongs to the page")
        data, kind, mark = self._files[name]
        headers = {"ETag": mark, "Cache-Control": "no-cache"}
        if request.headers.get("If-None-Match") == mark:
            return web.Response(status=304, headers=headers)
        charset = "utf-8" if kind.startswith(_TEXT) else None
        return web.Response(body=data, content_type=kind, charset=charset, headers=headers)

    def _take(self, folder: Traversable, place: str) -> None:
        for file in folder.iterdir() if folder.is_dir() else ():
            kind = _TYPES.get("." + file.name.rpartition(".")[2])
            if file.name.startswith("."):
                continue
            if file.is_dir():
                self._take(file, f"{place}{file.name}/")
            elif kind:
                data = file.read_bytes()
                self._files[place + file.name] = data, kind, f'"{hashlib.sha256(data).hexdigest()[:24]}"'
