"""Access control: host names, origins, tokens, and headers that make browsers strict."""

from __future__ import annotations

import hmac
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.requests import cookie_parser

from msqnet.serving.request_errors import RequestError

if TYPE_CHECKING:
    from starlette.types import Scope

    from msqnet.config import ServerSettings

COOKIE = "msqnet_session"
LOOPBACK_HOSTS = ("127.0.0.1", "localhost", "::1")
_SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
_SAME_SITE = ("same-origin", "none")
_OPEN_PATHS = ("/", "/healthz", "/readyz", "/api/v1/session")
_OPEN_FOLDER = "/assets/"
SECURITY_HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
        "media-src 'self' blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
    "cache-control": "no-store",
}


@dataclass(frozen=True)
class Access:
    """Who may use the server.

    Attributes:
        token: what a client must send; None for no access control.
        host_names: names under which the server may be addressed; None for any. This keeps out
            pages of other sites that point their own name at this machine (DNS rebinding).
        session: value of the cookie that a browser gets for the token.
        cookie: its name: all servers of a machine share a browser's cookies, whatever their ports.
    """

    token: str | None = None
    host_names: frozenset[str] | None = None
    session: str = field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)
    cookie: str = COOKIE

    @classmethod
    def from_settings(cls, settings: ServerSettings) -> Access:
        """A server on its own machine or behind a proxy has known names; no others are accepted."""
        names: frozenset[str] | None = None
        if is_loopback(settings.host) or settings.public_hosts:
            own = (settings.host, *settings.public_hosts, *LOOPBACK_HOSTS)
            names = frozenset(name.lower() for name in own)
        return cls(settings.token, names)

    def check(self, scope: Scope) -> None:
        """Raise `RequestError` for a request that is not allowed, before its body is read."""
        headers = Headers(scope=scope)
        self.check_host(headers.get("host", ""))
        if scope["method"] not in _SAFE_METHODS:
            self.check_origin(headers)
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        if path not in _OPEN_PATHS and not path.startswith(_OPEN_FOLDER):
            self.check_token(headers)

    def check_host(self, host: str) -> None:
        """Raise `RequestError` for a host name that is not one of ours.

        Starlette's TrustedHostMiddleware checks the same, but responds with plain text.
        """
        try:
            name = urlsplit(f"//{host}").hostname or ""  # lower case, without port and brackets
        except ValueError:
            name = ""
        if self.host_names is not None and name not in self.host_names:
            raise RequestError(
                "host_not_allowed",
                f"this server does not respond to the name {host[:80]!r}; start it with "
                "--public-host to allow it",
            )

    def check_origin(self, headers: Headers) -> None:
        """Raise `RequestError` for a request that another site's page makes a browser send."""
        site, origin = headers.get("sec-fetch-site"), headers.get("origin")
        is_foreign = site is not None and site not in _SAME_SITE
        if origin is not None and site is None:
            try:
                address = urlsplit(origin).netloc.lower()  # host and port
            except ValueError:
                address = ""
            is_foreign = address != headers.get("host", "").lower()
        if is_foreign:
            raise RequestError("cross_origin", "requests from pages of other sites are rejected")

    def is_token(self, candidate: str) -> bool:
        """Whether this is the token, compared in constant time."""
        token = self.token
        return token is not None and hmac.compare_digest(candidate.encode(), token.encode())

    def check_token(self, headers: Headers) -> None:
        """Raise `RequestError` unless the token was sent, or the cookie that was given for it."""
        if self.token is None or self.is_token(bearer_token(headers)):
            return
        cookie = cookie_parser(headers.get("cookie", "")).get(self.cookie, "")
        if not hmac.compare_digest(cookie.encode(), self.session.encode()):
            message = "this server needs a token: Authorization: Bearer TOKEN"
            raise RequestError("token_needed", message)


def bearer_token(headers: Headers) -> str:
    """The token of an ``Authorization`` header; empty if there is none."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def is_loopback(host: str) -> bool:
    """Whether an address is reached from this machine only."""
    return host in LOOPBACK_HOSTS or host.startswith("127.")
