"""ServeConfig: everything that `marotte live` can be told."""

import ipaddress
import re
import secrets
import ssl
from dataclasses import dataclass, field, replace
from fractions import Fraction

from marotte.errors import MarotteError
from marotte.runtime.live.limits import Limits
from marotte.runtime.live.settings import LiveSettings

_ORIGIN = re.compile(r"https?://[^/\s]+")
_ICE = re.compile(r"(stuns?|turns?):[^\s,]+")
# Of a token that we make.
_TOKEN_BYTES = 24


@dataclass(frozen=True)
class IceServer:
    """A STUN or TURN server, as browsers and aiortc take it."""

    url: str
    user: str | None = None
    password: str | None = None

    @classmethod
    def read(cls, text: str) -> "IceServer":
        """Return the server of `URL` or `URL,USER,PASSWORD`. Raises MarotteError."""
        parts = text.split(",", 2)
        if not _ICE.fullmatch(parts[0]) or len(parts) == 2:
            raise MarotteError(f"ICE server {text!r} is neither stun:HOST:PORT nor turn:HOST:PORT,USER,PASSWORD")
        return cls(*parts)

    def table(self) -> dict[str, str]:
        """Return it as a browser's RTCIceServer."""
        named = {"urls": self.url, "username": self.user, "credential": self.password}
        return {name: value for name, value in named.items() if value is not None}


@dataclass(frozen=True)
class ServeConfig:
    """host, port: to listen at, port 0 for any free one. token: what clients must know; made for other hosts than
    loopback. origins: pages of other servers that may use this one (`https://example.org`). tls_cert, tls_key: both
    files, or none. session: what a session is unless its client asks otherwise. fps: None for what the machine can
    draw. variant: the set of the avatars' data that is used where they have it. label: the page says that the face is
    synthetic. push: addresses of media servers that a session is pushed to from the start. Raises MarotteError.
    """

    host: str = "127.0.0.1"
    port: int = 8765
    token: str = ""
    origins: tuple[str, ...] = ()
    tls_cert: str | None = None
    tls_key: str | None = None
    ice_servers: tuple[IceServer, ...] = ()
    limits: Limits = field(default_factory=Limits)
    session: LiveSettings = field(default_factory=LiveSettings)
    fps: Fraction | None = None
    variant: str | None = "live"
    label: bool = True
    push: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise MarotteError(f"port {self.port} is not between 0 (any) and 65535")
        if bool(self.tls_cert) != bool(self.tls_key):
            raise MarotteError("give --tls-cert and --tls-key together, or none of them")
        for origin in self.origins:
            if not _ORIGIN.fullmatch(origin):
                raise MarotteError(f"origin {origin!r} is not of the form https://HOST or http://HOST:PORT")
        if not self.loopback and not self.token:
            object.__setattr__(self, "token", secrets.token_urlsafe(_TOKEN_BYTES))

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach it."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    def url(self, port: int) -> str:
        """Return the page's address."""
        anywhere = self.host in ("0.0.0.0", "::", "")
        host = "localhost" if anywhere else f"[{self.host}]" if ":" in self.host else self.host
        return f"http{'s' if self.tls_cert else ''}://{host}:{port}/" + (f"?token={self.token}" if self.token else "")

    def ssl_context(self) -> ssl.SSLContext | None:
        """Return what TLS needs, None without. Raises MarotteError for files that are none of that."""
        if not self.tls_cert:
            return None
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        try:
            context.load_cert_chain(self.tls_cert, self.tls_key)
        except (OSError, ssl.SSLError) as error:
            raise MarotteError(
                f"--tls-cert {self.tls_cert}, --tls-key {self.tls_key}: no certificate and its key in PEM: {error}"
            ) from error
        return context

    def with_rate(self, fps: Fraction) -> "ServeConfig":
        """Return the same with a frame rate where none was given."""
        return replace(self, fps=self.fps or fps)
