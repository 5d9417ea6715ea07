"""Receives a form with one file, piece by piece, straight into a file of our own.

Limits hold while bytes arrive, not afterwards: what is too large or too slow is refused as soon as
that shows. The client's name of the file is text to be shown; no path is ever made from it.
"""

from __future__ import annotations

import asyncio
import unicodedata
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect

from msqnet.serving.refusals import Problem, Refusal, over_limit

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path
    from typing import BinaryIO

    from python_multipart.multipart import MultipartCallbacks
    from starlette.requests import Request

    from msqnet.config import ServingLimits

FILE_FIELD = "file"
_MAX_FIELD_BYTES = 16_384
_MAX_FIELDS = 16
_MAX_HEADER_BYTES = 8_192
# Of the form around the file: boundaries, headers, other fields.
_FORM_BYTES = 300_000
_MAX_NAME_LENGTH = 120
_LINGER_SECONDS = 3.0
_WRITE_BYTES = 2**20


@dataclass
class Form:
    """What a form held.

    Attributes:
        file_name: the client's name of the file, cleaned for display; None where no file came.
        num_bytes: size of the file.
        fields: the other fields.
    """

    file_name: str | None = None
    num_bytes: int = 0
    fields: dict[str, str] = field(default_factory=dict)


async def receive_form(request: Request, path: Path, limits: ServingLimits) -> Form:
    """Read a ``multipart/form-data`` request.

    Args:
        request: whose body nobody has read yet.
        path: where the content of the field `FILE_FIELD` goes.
        limits: how large and how slow it may be.

    Raises:
        Refusal: no such form, too large, too slow, or broken off.
    """
    boundary = _boundary(request.headers.get("content-type", ""))
    _check_announced(request.headers.get("content-length"), limits)
    try:
        async with asyncio.timeout(limits.upload_seconds):
            return await _read(request.stream(), boundary, path, limits)
    except TimeoutError as error:
        raise Refusal(
            Problem(
                "upload_too_slow",
                f"the upload was not complete after {limits.upload_seconds:g} s "
                "(upload_seconds); send a smaller file or use a faster connection",
                limit="upload_seconds",
                allowed=limits.upload_seconds,
            )
        ) from error
    except ClientDisconnect as error:
        raise Refusal(Problem("bad_request", "the upload was broken off")) from error
    except FormParserError as error:
        raise Refusal(Problem("bad_request", f"not a valid form: {error}")) from error


async def linger(request: Request) -> None:
    """Read on for a moment, so that a client that is still sending sees the answer first."""
    try:
        async with asyncio.timeout(_LINGER_SECONDS):
            async for _ in request.stream():
                pass
    except (TimeoutError, ClientDisconnect, RuntimeError):
        return  # still sending, gone, or all was read


def display_name(name: str) -> str:
    """A client's file name as something to show: its last part, printable, not too long."""
    last = name.replace("\\", "/").rsplit("/", 1)[-1]
    shown = "".join(
        character
        for character in unicodedata.normalize("NFC", last)
        if unicodedata.category(character)[0] not in "CZ" or character == " "
    ).strip()
    if len(shown) > _MAX_NAME_LENGTH:
        shown = shown[: _MAX_NAME_LENGTH - 9] + "…" + shown[-8:]
    return shown.strip(". ") or "video"


def _boundary(content_type: str) -> bytes:
    kind, options = parse_options_header(content_type)
    boundary = options.get(b"boundary")
    if kind != b"multipart/form-data" or not boundary:
        raise Refusal(
            Problem(
                "unsupported_media_type",
                f"found content type {content_type[:80]!r}, expected multipart/form-data with the "
                f"video in the field {FILE_FIELD!r}",
            )
        )
    return boundary


def _check_announced(content_length: str | None, limits: ServingLimits) -> None:
    if content_length is not None and content_length.isdecimal():
        _check_size(int(content_length) - _FORM_BYTES, limits)


def _check_size(num_bytes: int, limits: ServingLimits) -> None:
    if num_bytes > limits.upload_bytes:
        raise over_limit(
            "upload_too_large",
            f"a file of at least {num_bytes} bytes",
            "upload_bytes",
            limits.upload_bytes,
            num_bytes,
        )


async def _read(
    stream: AsyncIterator[bytes], boundary: bytes, path: Path, limits: ServingLimits
) -> Form:
    with path.open("xb") as file:
        reader = _FormReader(file, limits)
        parser = MultipartParser(boundary, reader.callbacks())
        num_outside = 0
        async for chunk in stream:
            before = reader.form.num_bytes
            parser.write(chunk)
            num_outside += len(chunk) - (reader.form.num_bytes - before)
            if num_outside > _FORM_BYTES:
                raise Refusal(Problem("bad_request", "the form around the file is too large"))
            if reader.num_buffered >= _WRITE_BYTES:
                await asyncio.to_thread(reader.flush)
        parser.finalize()
        if not reader.is_complete:
            raise Refusal(Problem("bad_request", "the form ends before its last boundary"))
        await asyncio.to_thread(reader.flush)
    return reader.form


class _FormReader:
    """Takes the parser's events; file bytes are held back until `flush`."""

    def __init__(self, file: BinaryIO, limits: ServingLimits) -> None:
        self.form = Form()
        self.is_complete = False
        self.num_buffered = 0
        self._file = file
        self._limits = limits
        self._buffered: list[bytes] = []
        self._header = [b"", b""]
        self._disposition = b""
        self._field: str | None = None
        self._text = bytearray()

    def callbacks(self) -> MultipartCallbacks:
        """What the parser calls."""
        return {
            "on_part_begin": self._on_part_begin,
            "on_header_field": self._on_header_field,
            "on_header_value": self._on_header_value,
            "on_header_end": self._on_header_end,
            "on_headers_finished": self._on_headers_finished,
            "on_part_data": self._on_part_data,
            "on_part_end": self._on_part_end,
            "on_end": self._on_end,
        }

    def flush(self) -> None:
        """Write what is held back; from a thread that may wait."""
        self._file.write(b"".join(self._buffered))
        self._file.flush()
        self._buffered.clear()
        self.num_buffered = 0

    def _on_part_begin(self) -> None:
        self._header, self._disposition = [b"", b""], b""
        self._field, self._text = None, bytearray()

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header[0] += data[start:end]
        self._check_header()

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header[1] += data[start:end]
        self._check_header()

    def _check_header(self) -> None:
        if len(self._header[0]) + len(self._header[1]) > _MAX_HEADER_BYTES:
            raise Refusal(Problem("bad_request", "a header of the form is too long"))

    def _on_header_end(self) -> None:
        if self._header[0].lower() == b"content-disposition":
            self._disposition = self._header[1]
        self._header = [b"", b""]

    def _on_headers_finished(self) -> None:
        _, options = parse_options_header(self._disposition)
        name = options.get(b"name", b"").decode("utf-8", "replace")
        is_file = b"filename" in options or name == FILE_FIELD
        if is_file and (name != FILE_FIELD or self.form.file_name is not None):
            raise _invalid(f"field {name[:40]!r}: expected one file, in the field {FILE_FIELD!r}")
        if is_file:
            if b"filename" not in options:
                raise _invalid(f"field {FILE_FIELD!r}: found text, expected a file")
            self.form.file_name = display_name(options[b"filename"].decode("utf-8", "replace"))
        elif name in self.form.fields or len(self.form.fields) >= _MAX_FIELDS:
            raise _invalid(f"field {name[:40]!r}: given twice, or too many fields")
        self._field = None if is_file else name

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._field is None:
            self.form.num_bytes += end - start
            _check_size(self.form.num_bytes, self._limits)
            self._buffered.append(data[start:end])
            self.num_buffered += end - start
            return
        if len(self._text) + end - start > _MAX_FIELD_BYTES:
            raise over_limit(
                "invalid_request",
                f"field {self._field[:40]!r}: more than {_MAX_FIELD_BYTES} bytes",
                "field_bytes",
                _MAX_FIELD_BYTES,
                len(self._text) + end - start,
            )
        self._text += data[start:end]

    def _on_part_end(self) -> None:
        if self._field is not None:
            self.form.fields[self._field] = self._text.decode("utf-8", "replace")

    def _on_end(self) -> None:
        self.is_complete = True


def _invalid(message: str) -> Refusal:
    return Refusal(Problem("invalid_request", message))
