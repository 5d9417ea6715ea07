"""The ASGI application, and the server that runs it until it is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import mimetypes
import re
import signal
import socket
import tempfile
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.staticfiles import StaticFiles

from msqnet import __version__
from msqnet.errors import ConfigError, ServiceError
from msqnet.models import resolve_model
from msqnet.models.open_models import open_model_source
from msqnet.serving.request_errors import STATUS_OF, ErrorBody, ErrorDetail, RequestError
from msqnet.serving.routes import predictions, results, server, validation_message
from msqnet.serving.security import SECURITY_HEADERS, Access, is_loopback
from msqnet.serving.service import Service
from msqnet.serving.uploads import limit_body

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import AsyncIterator, Callable, Iterator, Mapping

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from msqnet.config import ServerSettings

_DESCRIPTION = """Predicts which actions happen when in a video.

Send a video to `POST /api/v1/predictions`, poll `GET /api/v1/predictions/{id}` until its state is
`done`, and fetch the results. Ids are unguessable; whoever knows one can see the video and its
results. All errors have the same body, which names the limit if one was exceeded.
"""
# Windows may have registered another type, which browsers then refuse to run.
mimetypes.add_type("text/javascript", ".js")
_logger = logging.getLogger(__name__)


def serve(settings: ServerSettings, announce: Callable[[str], None]) -> None:
    """Run a server until SIGINT or SIGTERM.

    ``announce`` is called with its address when it listens. The model may still be loading.

    Without such a model it is a `CheckpointError`, a `ServiceError` if that cannot be loaded or the
    work folder cannot be used, and a `ConfigError` if it cannot listen on the address.
    """
    if open_model_source(settings.worker.model) is None:
        resolve_model(settings.worker.model)
    host, port = settings.host, settings.port
    if not is_loopback(host) and settings.token is None:
        _logger.warning(
            "listening on %s without a token: anyone who reaches it can use it; set one with "
            "--token-file",
            host,
        )
    with contextlib.closing(listen(host, port)) as listener:
        service = Service(settings, on_failure=lambda: setattr(server, "should_exit", True))
        # Uploads are spooled on the disk where they are kept.
        tempfile.tempdir = str(service.storage.scratch)
        server = make_server(create_app(settings, service), settings.limits.stop_seconds)
        shown = f"[{host}]" if ":" in host else host
        with stopped_by_signals(server):
            announce(f"http://{shown}:{listener.getsockname()[1]}/")
            server.run(sockets=[listener])
        tempfile.tempdir = None
    if service.worker.failure is not None and service.worker.facts is None:
        raise ServiceError(f"the model cannot be loaded: {service.worker.failure}")


def listen(host: str, port: int, advice: str = "--host or --port") -> socket.socket:
    """A socket that listens on an address; `ConfigError` with the advice if that cannot be had."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=128)
    except (OSError, OverflowError) as error:
        raise ConfigError(
            f"{host}:{port}: cannot listen there ({error}); choose another {advice}"
        ) from error


def make_server(app: ASGIApp, stop_seconds: float) -> uvicorn.Server:
    """A server for an application; requests have ``stop_seconds`` to end when it is stopped."""
    return uvicorn.Server(
        uvicorn.Config(
            app,
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=max(1, round(stop_seconds)),
        )
    )


@contextlib.contextmanager
def stopped_by_signals(server: uvicorn.Server) -> Iterator[None]:
    """Let SIGINT and SIGTERM stop a server, also before it listens to them itself.

    It raises them again after it has stopped, which then does nothing.
    """

    def stop(*_: object) -> None:
        server.should_exit = True

    numbers = (signal.SIGINT, signal.SIGTERM)
    handlers = {number: signal.signal(number, stop) for number in numbers}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def create_app(settings: ServerSettings, service: Service) -> ASGIApp:
    """The application; the service is started and stopped with it."""
    access = Access.from_settings(settings)

    @contextlib.asynccontextmanager
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
    add_error_handlers(app, service.errors)
    app.state.service, app.state.access = service, access
    for router in (server, predictions, results):
        app.include_router(router)
    # The page is public: it holds no data.
    page = PageFiles(packages=[("msqnet.serving", "page"), ("msqnet.report", "assets")])
    app.mount("/assets", page)

    @app.get("/", include_in_schema=False)
    async def get_page(request: Request) -> Response:
        return await page.get_response("index.html", request.scope)

    limited = limit_body(app, settings.limits.upload_bytes)
    return guarded(limited, access, service.errors, service.requests)


class PageFiles(StaticFiles):
    """The page's files; a browser asks each time whether they have changed."""

    def file_response(self, *args: Any, **options: Any) -> Response:
        """One file, or 304 if the browser has it."""
        response = super().file_response(*args, **options)
        response.headers["Cache-Control"] = "no-cache"
        return response


def add_error_handlers(app: FastAPI, errors: Counter[tuple[str, ...]]) -> None:
    """Give every error the same shape, and count error responses by their codes."""

    @app.exception_handler(RequestError)
    async def on_request_error(_request: Request, error: RequestError) -> Response:
        return _error_response(error, errors)

    @app.exception_handler(RequestValidationError)
    async def on_invalid(_request: Request, error: RequestValidationError) -> Response:
        message = validation_message(error.errors())
        return _error_response(RequestError("invalid_request", message), errors)

    @app.exception_handler(HTTPException)
    async def on_http_error(request: Request, error: HTTPException) -> Response:
        if isinstance(error.__cause__, RequestError):  # raised while FastAPI read the body
            return _error_response(error.__cause__, errors)
        codes = {404: "not_found", 405: "method_not_allowed", 400: "bad_request"}
        code = codes.get(error.status_code, HTTPStatus(error.status_code).phrase.lower())
        headers = dict(error.headers or {})
        if error.status_code == 405:
            headers["Allow"] = ", ".join(_allowed_methods(app.openapi(), request.url.path))
        body = ErrorBody(error=ErrorDetail(code=code, message=str(error.detail)))
        return JSONResponse(body.model_dump(), error.status_code, headers)


def _error_response(error: RequestError, errors: Counter[tuple[str, ...]]) -> Response:
    code = error.detail.code
    errors[code,] += 1
    headers = {}
    if error.retry_after_seconds is not None:
        headers["Retry-After"] = str(error.retry_after_seconds)
    if code == "token_needed":
        headers["WWW-Authenticate"] = "Bearer"
    body = ErrorBody(error=error.detail)
    return JSONResponse(body.model_dump(), STATUS_OF.get(code, 422), headers)


def _allowed_methods(document: Mapping[str, Any], path: str) -> list[str]:
    """Methods of a path in the OpenAPI document; the framework names those of one route only."""
    for pattern, operations in document["paths"].items():
        if re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", pattern), path):
            return sorted(method.upper() for method in operations)
    return ["GET"]  # the page and its files, which are not described


def guarded(
    app: ASGIApp,
    access: Access,
    errors: Counter[tuple[str, ...]],
    requests: Counter[tuple[str, ...]],
) -> ASGIApp:
    """ASGI middleware: checks requests, adds headers to responses, and counts them.

    ``errors`` are counted by code, ``requests`` by method, route and status.
    """

    async def guarded_app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        # If the application fails, the server itself responds with 500.
        status = 500

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        allowed = app
        try:
            try:
                access.check(scope)
            except RequestError as error:
                allowed = _error_response(error, errors)
            await allowed(scope, receive, send_with_headers)
        finally:
            route = getattr(scope.get("route"), "path", "other")
            method = scope["method"] if len(scope["method"]) < 8 else "OTHER"
            requests[method, route, str(status)] += 1

    return guarded_app
