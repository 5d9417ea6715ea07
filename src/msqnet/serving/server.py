"""Runs the server until it is told to stop."""

from __future__ import annotations

import contextlib
import logging
import signal
import socket
from importlib.util import find_spec
from typing import TYPE_CHECKING

from msqnet.errors import ConfigError, MissingExtra, ServiceError
from msqnet.models import resolve_model

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from msqnet.serving.settings import ServerSettings

_NEEDED = ("fastapi", "uvicorn", "python_multipart", "PIL")
_BACKLOG = 128
_logger = logging.getLogger(__name__)


def serve(settings: ServerSettings, announce: Callable[[str], None]) -> None:
    """Run a server; returns when it was stopped by SIGINT or SIGTERM.

    Args:
        settings: how it is set up.
        announce: called with its address when it listens. The model may still be loading.

    Raises:
        MissingExtra: what serving needs is not installed.
        CheckpointError: there is no such model.
        ConfigError: the address cannot be listened at.
        ServiceError: the model cannot be loaded, or the work folder cannot be used.
    """
    if any(find_spec(name) is None for name in _NEEDED):
        raise MissingExtra("the server", extra="serve")
    import uvicorn

    from msqnet.serving.app import create_app
    from msqnet.serving.security import is_loopback
    from msqnet.serving.service import Service

    if not str(settings.worker.model or "").startswith("clip-zero-shot:"):
        resolve_model(settings.worker.model)
    if not is_loopback(settings.host) and settings.token is None:
        _logger.warning(
            "listening at %s without a token: everybody who reaches it can use it; "
            "give one with --token_file",
            settings.host,
        )
    with contextlib.closing(_listen(settings.host, settings.port)) as listener:
        service = Service(settings, on_failure=lambda: setattr(server, "should_exit", True))
        server = uvicorn.Server(
            uvicorn.Config(
                create_app(settings, service),
                lifespan="on",
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=max(1, round(settings.limits.stop_seconds)),
            )
        )
        announce(_address(settings.host, listener))
        with _stopped_by_signals(server):
            server.run(sockets=[listener])
    if service.worker.failure is not None and service.worker.facts is None:
        raise ServiceError(f"the model cannot be loaded: {service.worker.failure}")


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except (OSError, OverflowError) as error:
        raise ConfigError(
            f"{host}:{port}: cannot listen there ({error}); choose another --host or --port"
        ) from error


def _address(host: str, listener: socket.socket) -> str:
    port = listener.getsockname()[1]
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


@contextlib.contextmanager
def _stopped_by_signals(server: object) -> Iterator[None]:
    """SIGINT and SIGTERM end the server; what it raises again afterwards does no harm."""
    handlers = {
        number: signal.signal(number, lambda *_: None) for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
