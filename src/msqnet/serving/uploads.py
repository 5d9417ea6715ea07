"""Receives a form with a video; a middleware limits the size of any request.

Starlette's parser spools the file to disk while it arrives, so that no body is held in memory. An
upload that is too large or too slow is rejected as early as possible. The client's file name is
only displayed; no path is ever made from it.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import unicodedata
from typing import TYPE_CHECKING

from python_multipart.multipart import parse_options_header
from starlette.datastructures import Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect

from msqnet.serving.request_errors import RequestError, check_limit

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from starlette.datastructures import FormData
    from starlette.requests import Request
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from msqnet.config import ServerLimits

FILE_FIELD = "file"
UPLOAD_PATH = "/api/v1/predictions"
# What may come besides the file: boundaries, headers, other fields; and as JSON.
_FORM_BYTES = 100_000
_MAX_FIELDS = 16
_MAX_FIELD_BYTES = 16_384
_MAX_NAME_LENGTH = 120
_DRAIN_SECONDS = 3.0


def limit_body(app: ASGIApp, upload_bytes: int) -> ASGIApp:
    """ASGI middleware: rejects a body over the limit before it is read, or once it exceeds it.

    Starlette's own middleware responds with plain text. An error response waits briefly while the
    rest of the body is read and dropped, because many clients send everything before they read.
    """

    async def limited(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        allowed = upload_bytes if path == UPLOAD_PATH else 0
        announced = Headers(scope=scope).get("content-length", "")
        num_bytes = int(announced) if announced.isdecimal() else 0
        num_received = 0
        is_complete = False

        async def limited_receive() -> Message:
            nonlocal num_received, is_complete
            # Checked in here, so that the application turns an error into a response.
            _check_size(num_bytes - _FORM_BYTES, allowed)
            message = await receive()
            num_received += len(message.get("body", b""))
            is_complete = not message.get("more_body", False)
            _check_size(num_received - _FORM_BYTES, allowed)
            return message

        async def send_when_drained(message: Message) -> None:
            nonlocal is_complete
            if message["type"] == "http.response.start" and message["status"] >= 400:
                with contextlib.suppress(TimeoutError):  # a client that goes on sending
                    async with asyncio.timeout(_DRAIN_SECONDS):
                        while not is_complete:
                            is_complete = not (await receive()).get("more_body", False)
            await send(message)

        await app(scope, limited_receive, send_when_drained)

    return limited


def _check_size(num_bytes: int, allowed: int) -> None:
    if num_bytes > 0 == allowed:
        raise RequestError("upload_too_large", f"a body of more than {_FORM_BYTES} bytes")
    what = f"a file of at least {num_bytes} bytes"
    check_limit("upload_too_large", what, "upload_bytes", allowed, num_bytes)


class _FormParser(MultiPartParser):
    """Starlette's parser, which does not say whether the form was complete."""

    is_complete = False

    def on_end(self) -> None:
        """Called at the last boundary."""
        self.is_complete = True


async def receive_form(
    request: Request, path: Path, limits: ServerLimits
) -> tuple[str, dict[str, str]]:
    """Read a ``multipart/form-data`` request and write its file to ``path``.

    Returns:
        The client's name of the file, cleaned for display, and the other fields.

    Raises:
        RequestError: not such a form, too large, too slow, or incomplete.
    """
    content_type = request.headers.get("content-type", "")
    kind, options = parse_options_header(content_type)
    if kind != b"multipart/form-data" or not options.get(b"boundary"):
        message = (
            f"found content type {content_type[:80]!r}, expected multipart/form-data with the "
            f"video in the field {FILE_FIELD!r}"
        )
        raise RequestError("unsupported_media_type", message)

    async def complete_body() -> AsyncGenerator[bytes, None]:
        async for chunk in request.stream():
            yield chunk
        if not parser.is_complete:
            raise RequestError("bad_request", "the form ends before its last boundary")

    # More than is allowed, so that `_checked` can name what exceeds a limit.
    parser = _FormParser(
        request.headers,
        complete_body(),
        max_files=2,
        max_fields=2 * _MAX_FIELDS,
        max_part_size=2 * _MAX_FIELD_BYTES,
    )
    try:
        async with asyncio.timeout(limits.upload_seconds):
            form = await parser.parse()
    except TimeoutError as error:
        allowed = limits.upload_seconds
        message = (
            f"the upload was not complete after {allowed:g} s (upload_seconds); send a smaller "
            "file or use a faster connection"
        )
        raise RequestError(
            "upload_too_slow", message, limit="upload_seconds", allowed=allowed
        ) from error
    except ClientDisconnect as error:
        raise RequestError("bad_request", "the connection was closed during the upload") from error
    except MultiPartException as error:
        raise RequestError("bad_request", f"not a valid form: {error.message}") from error
    try:
        upload, fields = _checked(form, limits)
        with path.open("xb") as file:
            await asyncio.to_thread(shutil.copyfileobj, upload.file, file)
    finally:
        await form.close()
    return display_name(upload.filename or ""), fields


def _checked(form: FormData, limits: ServerLimits) -> tuple[UploadFile, dict[str, str]]:
    """The one file of a form, and its other fields."""
    upload: UploadFile | None = None
    fields: dict[str, str] = {}
    for name, value in form.multi_items():
        shown = f"field {name[:40]!r}"
        if isinstance(value, UploadFile):
            if name != FILE_FIELD or upload is not None:
                message = f"{shown}: expected one file, in the field {FILE_FIELD!r}"
                raise RequestError("invalid_request", message)
            upload = value
        elif name == FILE_FIELD:
            raise RequestError("invalid_request", f"{shown}: found text, expected a file")
        elif name in fields or len(fields) >= _MAX_FIELDS:
            raise RequestError("invalid_request", f"{shown}: given twice, or too many fields")
        else:
            what = f"{shown}: more than {_MAX_FIELD_BYTES} bytes"
            num_bytes = len(value.encode())
            check_limit("invalid_request", what, "field_bytes", _MAX_FIELD_BYTES, num_bytes)
            fields[name] = value
    if upload is None:
        message = f"no video: expected a file in the field {FILE_FIELD!r}"
        raise RequestError("invalid_request", message)
    _check_size(upload.size or 0, limits.upload_bytes)
    return upload, fields


def display_name(name: str) -> str:
    """A client's file name for display: its last part, printable and shortened."""
    last = name.replace("\\", "/").rsplit("/", 1)[-1]
    shown = "".join(
        character
        for character in unicodedata.normalize("NFC", last)
        if unicodedata.category(character)[0] not in "CZ" or character == " "
    ).strip()
    if len(shown) > _MAX_NAME_LENGTH:
        shown = shown[: _MAX_NAME_LENGTH - 9] + "…" + shown[-8:]
    return shown.strip(". ") or "video"
