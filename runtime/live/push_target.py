"""Where a session can be pushed to: what an address means to ffmpeg, and how it is written down without its secrets."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from marotte.errors import MarotteError
from marotte.runtime.video.ffmpeg import run_ffmpeg

_HIDDEN = "***"
_KNOWN = "rtmp:// or rtmps:// (RTMP), srt:// (SRT), https:// or http:// (WHIP)"
_AAC = ("-c:a", "aac", "-b:a", "128k", "-ac", "2")
_OPUS = ("-c:a", "libopus", "-b:a", "96k", "-ac", "2", "-application", "lowdelay")


@dataclass(frozen=True)
class Target:
    """An address. shown: it, without its secrets; output: what ffmpeg's command ends with."""

    shown: str
    output: tuple[str, ...]
    secrets: tuple[str, ...]

    def scrub(self, text: str) -> str:
        """Return the text without the address's secrets."""
        for secret in self.secrets:
            text = text.replace(secret, _HIDDEN)
        return text


@dataclass(frozen=True)
class _Kind:
    """A way to push. path: which parts of the address's path may be shown."""

    muxer: str
    protocols: tuple[str, ...]
    sound: tuple[str, ...]
    path: Callable[[list[str]], list[str]]
    options: tuple[str, ...] = ()

    def output(self, url: str) -> tuple[str, ...]:
        return (*self.sound, *self.options, "-f", self.muxer, url)


# What follows the name of an RTMP application is the stream key; a WHIP endpoint may have its key anywhere.
_RTMP = _Kind(
    "flv", ("rtmp",), _AAC, lambda parts: parts[: min(1, len(parts) - 1)], ("-flvflags", "no_duration_filesize")
)
_KINDS = {
    "rtmp": _RTMP,
    "rtmps": _Kind(_RTMP.muxer, ("rtmps",), _RTMP.sound, _RTMP.path, _RTMP.options),
    "srt": _Kind("mpegts", ("srt",), _AAC, lambda parts: []),
    "http": _Kind("whip", ("http", "udp", "dtls"), _OPUS, lambda parts: []),
    "https": _Kind("whip", ("https", "udp", "dtls"), _OPUS, lambda parts: []),
}


def read_target(url: str) -> Target:
    """Return what an address means. A token for WHIP is given as its user: `https://TOKEN@host/path`.

    Raises MarotteError, without the address's secrets, where it is no address, of an unknown kind, or of one that this
    ffmpeg has not.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise MarotteError("the address to push to has no valid host and port: give scheme://host:port/path") from None
    kind = _KINDS.get(parts.scheme)
    if kind is None:
        raise MarotteError(f"cannot push to an address of kind {parts.scheme or 'none'!r}: give {_KNOWN}")
    if not host or re.search(r"[\x00-\x20\x7f]", url):
        raise MarotteError(
            f"the {parts.scheme} address to push to has no host or has spaces: give {parts.scheme}://host/path"
        )
    _check_ffmpeg(kind, parts.scheme)
    place = f"[{host}]" if ":" in host else host
    place += f":{port}" if port else ""
    user = f"{_HIDDEN}@" if "@" in parts.netloc else ""
    shown = f"{parts.scheme}://{user}{place}{_shown_path(parts, kind)}{_shown_query(parts)}"
    if kind.muxer == "whip" and user:
        token = unquote(parts.password or parts.username or "")
        bare = parts._replace(netloc=place).geturl()
        return Target(shown, ("-authorization", token, *kind.output(bare)), _secrets(parts, kind, url, bare))
    return Target(shown, kind.output(url), _secrets(parts, kind, url))


def _segments(parts: SplitResult) -> list[str]:
    return [part for part in parts.path.split("/") if part]


def _shown_path(parts: SplitResult, kind: _Kind) -> str:
    every = _segments(parts)
    kept = kind.path(every)
    return "".join(f"/{part}" for part in (*kept, *([_HIDDEN] if len(kept) < len(every) else [])))


def _shown_query(parts: SplitResult) -> str:
    names = [name for name, _ in parse_qsl(parts.query, keep_blank_values=True)]
    return "?" + "&".join(f"{name}={_HIDDEN}" for name in names) if names else ""


def _secrets(parts: SplitResult, kind: _Kind, *urls: str) -> tuple[str, ...]:
    """Return what must not be seen, as it is written and as it is meant, the longest first."""
    every = _segments(parts)
    hidden = every[len(kind.path(every)) :]
    fields = [field.partition("=")[2] for field in parts.query.split("&")]
    user = parts.netloc.rpartition("@")[0]
    found = [*urls, parts.query, "/".join(hidden), *hidden, *fields, parts.fragment, user, *user.split(":")]
    return tuple(sorted({each for text in found for each in (text, unquote(text)) if each}, key=len, reverse=True))


def _check_ffmpeg(kind: _Kind, scheme: str) -> None:
    muxers = run_ffmpeg(["-loglevel", "error", "-muxers"]).stdout.decode("utf-8", "replace")
    protocols = run_ffmpeg(["-loglevel", "error", "-protocols"]).stdout.decode("utf-8", "replace")
    there = set(protocols.partition("Output:")[2].split())
    lacking = [name for name in kind.protocols if name not in there]
    if not re.search(rf"^\s*\S*E\S*\s+{kind.muxer}\s", muxers, re.MULTILINE):
        lacking.insert(0, f"the muxer {kind.muxer}")
    if lacking:
        raise MarotteError(
            f"this ffmpeg cannot push to {scheme}:// (it lacks {', '.join(lacking)}): install imageio-ffmpeg's own, or "
            "name one that can in IMAGEIO_FFMPEG_EXE"
        )
