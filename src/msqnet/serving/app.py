"""Puts the parts together as one ASGI application."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from fastapi import FastAPI

from msqnet import __version__
from msqnet.serving.answers import add_error_handlers, refusal_answer
from msqnet.serving.pages import load_assets, pages_router
from msqnet.serving.routes_extras import extras_router
from msqnet.serving.routes_predictions import predictions_router
from msqnet.serving.routes_server import server_router
from msqnet.serving.security import LOOPBACK_HOSTS, Access, Guard, is_loopback

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from msqnet.serving.metrics import RequestCounts
    from msqnet.serving.refusals import Refusal
    from msqnet.serving.service import Service
    from msqnet.serving.settings import ServerSettings

_DESCRIPTION = """Which actions happen when in a video.

Send a video to `POST /api/v1/predictions`, ask `GET /api/v1/predictions/{id}` until its state is
`done`, and take what you need. Ids are unguessable and are all that is needed to see a video and
its results. Every error has the same body; a limit that was exceeded is named in it.
"""


def create_app(settings: ServerSettings, service: Service) -> ASGIApp:
    """The application.

    Args:
        settings: who may use it.
        service: what it does; started and stopped with the application.
    """
    access = access_of(settings)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        service.start()
        yield
        await asyncio.to_thread(service.stop)

    app = FastAPI(
        title="msqnet",
        version=__version__,
        description=_DESCRIPTION,
        lifespan=lifespan,
        # The pages that FastAPI offers load scripts from elsewhere.
        docs_url=None,
        redoc_url=None,
        openapi_url="/api/v1/openapi.json",
    )
    add_error_handlers(app, service)
    app.include_router(server_router(service, access))
    app.include_router(predictions_router(service))
    app.include_router(extras_router(service))
    app.include_router(pages_router(load_assets()))

    def refuse(refusal: Refusal) -> ASGIApp:
        service.requests.note_refusal(refusal.problem.code)
        return refusal_answer(refusal)

    return CountRequests(Guard(app, access, refuse), service.requests)


def access_of(settings: ServerSettings) -> Access:
    """Who may use a server.

    One that listens to its own machine only, or is offered by a proxy under known names, answers to
    these names and no others.
    """
    names: frozenset[str] | None = None
    if is_loopback(settings.host) or settings.public_hosts:
        own = (settings.host, *settings.public_hosts, *LOOPBACK_HOSTS)
        names = frozenset(name.lower() for name in own)
    return Access(settings.token, names)


class CountRequests:
    """Counts answers by the pattern of their address.

    Args:
        app: what answers.
        counts: where they are counted.
    """

    def __init__(self, app: ASGIApp, counts: RequestCounts) -> None:
        self._app = app
        self._counts = counts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        # Where the application fails, the server itself answers 500.
        status = 500

        async def note_status(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, note_status)
        finally:
            route = getattr(scope.get("route"), "path", "other")
            method = scope["method"] if len(scope["method"]) < 8 else "OTHER"
            self._counts.note_request(method, route, status)
