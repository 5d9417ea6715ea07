"""Who may ask what: host names, origins, tokens, and headers that tell browsers to be strict."""

from __future__ import annotations

import hmac
import secrets
from dataclasses import dataclass, field
from http.cookies import CookieError, SimpleCookie
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders

from msqnet.serving.refusals import Problem, Refusal

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

COOKIE = "msqnet_session"
LOOPBACK_HOSTS = ("127.0.0.1", "localhost", "::1")
_SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
_SAME_SITE = ("same-origin", "none")
_OPEN_PATHS = ("/", "/healthz", "/readyz", "/api/v1/session")
_OPEN_FOLDER = "/assets/"
_SECURITY_HEADERS = {
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
}


@dataclass(frozen=True)
class Access:
    """Who may use the server.

    Attributes:
        token: what a client must know; None lets everybody in who reaches the server.
        host_names: names under which the server may be addressed; None for any. A page of another
            site that points its own name at this machine is turned away by it.
    """

    token: str | None = None
    host_names: frozenset[str] | None = None
    _session: str = field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)

    @property
    def session(self) -> str:
        """Value of the cookie that a browser gets for the token; it ends with the server."""
        return self._session

    def check_host(self, host: str) -> None:
        """Turn away requests for another name.

        Raises:
            Refusal: the name is not one of ours.
        """
        if self.host_names is not None and _host_name(host) not in self.host_names:
            raise Refusal(
                Problem(
                    "host_not_allowed",
                    f"this server does not answer as {host[:80]!r}; start it with --public_host "
                    "to allow that name",
                )
            )

    def check_origin(self, headers: Headers) -> None:
        """Turn away what another site's page makes a browser send.

        Raises:
            Refusal: the request comes from another origin.
        """
        site, origin = headers.get("sec-fetch-site"), headers.get("origin")
        is_foreign = site is not None and site not in _SAME_SITE
        if origin is not None and site is None:
            is_foreign = _address(origin) != headers.get("host", "").lower()
        if is_foreign:
            raise Refusal(
                Problem("cross_origin", "requests from pages of other sites are not taken")
            )

    def is_token(self, candidate: str) -> bool:
        """Whether this is the token; takes the same time wherever the two differ."""
        return self.token is not None and hmac.compare_digest(
            candidate.encode(), self.token.encode()
        )

    def check_token(self, headers: Headers) -> None:
        """Let in who knows the token, or has the cookie that was given for it.

        Raises:
            Refusal: neither.
        """
        if self.token is None or self.is_token(bearer_token(headers)):
            return
        if hmac.compare_digest(_cookie(headers).encode(), self._session.encode()):
            return
        raise Refusal(
            Problem("token_needed", "this server needs a token: Authorization: Bearer TOKEN")
        )


def bearer_token(headers: Headers) -> str:
    """The token of an ``Authorization`` header; empty where there is none."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def _cookie(headers: Headers) -> str:
    try:
        morsel = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        return ""
    return "" if morsel is None else morsel.value


def _address(origin: str) -> str | None:
    """Host and port of an origin, lower case; None where it is none."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return None


def _host_name(host: str) -> str:
    """The name without the port, lower case; brackets of an IPv6 address removed."""
    try:
        return (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return ""


def is_loopback(host: str) -> bool:
    """Whether an address is reached from this machine only."""
    return host in LOOPBACK_HOSTS or host.startswith("127.")


class Guard:
    """Checks every request before anything of it is read, and adds headers to every answer.

    Args:
        app: what answers.
        access: who may ask.
        refuse: makes the answer to a refused request.
    """

    def __init__(self, app: ASGIApp, access: Access, refuse: Callable[[Refusal], ASGIApp]) -> None:
        self._app = app
        self._access = access
        self._refuse = refuse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        answer = self._app
        try:
            self._check(scope)
        except Refusal as refusal:
            answer = self._refuse(refusal)
        await answer(scope, receive, _with_headers(send))

    def _check(self, scope: Scope) -> None:
        headers = Headers(scope=scope)
        self._access.check_host(headers.get("host", ""))
        if scope["method"] not in _SAFE_METHODS:
            self._access.check_origin(headers)
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        if path not in _OPEN_PATHS and not path.startswith(_OPEN_FOLDER):
            self._access.check_token(headers)


def _with_headers(send: Send) -> Callable[[Message], Awaitable[None]]:
    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in _SECURITY_HEADERS.items():
                headers.setdefault(name, value)
            headers.setdefault("cache-control", "no-store")
        await send(message)

    return send_with_headers
