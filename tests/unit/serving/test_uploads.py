from __future__ import annotations

import asyncio
import gc
import tempfile
import tracemalloc
from dataclasses import dataclass, field
from itertools import chain, repeat
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import Response

from msqnet.config import ServerLimits
from msqnet.serving.request_errors import STATUS_OF, RequestError
from msqnet.serving.uploads import UPLOAD_PATH, display_name, limit_body, receive_form

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

_LIMITS = ServerLimits(upload_bytes=200_000, upload_seconds=30)
_PIECE_BYTES = 1000


def _encoded(**parts: Any) -> tuple[str, bytes]:
    """Content type and body of a form, as a client makes them."""
    request = httpx.Request("POST", "http://x/", **parts)
    return request.headers["content-type"], request.read()


def _pieces(body: bytes, num_bytes: int = _PIECE_BYTES) -> list[bytes]:
    return [body[start : start + num_bytes] for start in range(0, len(body), num_bytes)]


@dataclass
class Upload:
    """A request to an application that receives one form, and what became of it.

    Attributes:
        path: where the file goes.
        limits: of the server.
        before_piece: awaited before each piece of the body.
        ends: whether the client says that the body is complete.
    """

    path: Path
    limits: ServerLimits = _LIMITS
    before_piece: Callable[[], Any] | None = None
    ends: bool = True
    form: tuple[str, dict[str, str]] | None = None
    error: RequestError | None = None
    status: int = 0
    num_read_at_error: int = 0
    num_read: int = 0
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)

    def send(self, content_type: str, pieces: Iterable[bytes], length: int | None = None) -> Upload:
        """Send a body in pieces; its length is announced if it is given."""
        self.headers = [(b"content-type", content_type.encode())]
        if length is not None:
            self.headers.append((b"content-length", str(length).encode()))
        scope = {"type": "http", "method": "POST", "path": UPLOAD_PATH, "headers": self.headers}
        waiting = iter(pieces)
        limited = limit_body(self._app, self.limits.upload_bytes)

        async def receive() -> dict[str, Any]:
            if self.before_piece:
                await self.before_piece()
            piece = next(waiting, None)
            if piece is None:
                is_complete = {"type": "http.request", "body": b"", "more_body": False}
                return is_complete if self.ends else {"type": "http.disconnect"}
            self.num_read += 1
            return {"type": "http.request", "body": piece, "more_body": True}

        async def send(message: Any) -> None:
            self.status = message.get("status", self.status)

        asyncio.run(limited(scope, receive, send))
        return self

    async def _app(self, scope: Any, receive: Any, send: Any) -> None:
        status = 202
        try:
            self.form = await receive_form(Request(scope, receive), self.path, self.limits)
        except RequestError as error:
            self.error, status = error, STATUS_OF.get(error.detail.code, 422)
            self.num_read_at_error = self.num_read
        await Response(status_code=status)(scope, receive, send)


def _rejected(upload: Upload, code: str, words: str = "") -> RequestError:
    error = upload.error
    assert error is not None
    assert error.detail.code == code
    assert words in str(error)
    assert upload.status == STATUS_OF.get(code, 422)
    assert not upload.path.exists()
    return error


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the file goes; files for a moment go into a folder `spool` beside it."""
    (tmp_path / "spool").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "spool"))
    return tmp_path / "video"


@pytest.mark.parametrize("piece_bytes", [1, 7, 4096, 10**6])
def test_file_and_fields_arrive_however_they_are_cut(path: Path, piece_bytes: int) -> None:
    content = bytes(range(256)) * 20 + b"\r\n--not the boundary\r\n"
    content_type, body = _encoded(
        files={"file": ("clip.mp4", content)}, data={"labels": "walking|eating", "threshold": "0.5"}
    )

    upload = Upload(path).send(content_type, _pieces(body, piece_bytes), len(body))

    assert upload.form == ("clip.mp4", {"labels": "walking|eating", "threshold": "0.5"})
    assert path.read_bytes() == content


@pytest.mark.parametrize("is_announced", [False, True])
def test_body_over_the_limit_is_413_with_bounded_memory_and_nothing_on_disk(
    path: Path, is_announced: bool
) -> None:
    limit, piece, num_pieces = 30_000_000, bytes(500_000), 200
    head = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.mp4"\r\n\r\n'
    length = len(head) + num_pieces * len(piece)
    upload = Upload(path, ServerLimits(upload_bytes=limit))
    tracemalloc.start()

    upload.send(
        "multipart/form-data; boundary=x",
        chain([head], repeat(piece, num_pieces)),
        length if is_announced else None,
    )

    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    error = _rejected(upload, "upload_too_large", "upload_bytes")
    assert (error.detail.limit, error.detail.allowed) == ("upload_bytes", limit)
    assert (error.detail.found or 0) > limit
    assert peak_bytes < 10_000_000
    assert upload.num_read_at_error == (0 if is_announced else 62)
    # The rest was read and dropped, so that a client that is still sending sees the response.
    assert upload.num_read == 1 + num_pieces
    gc.collect()
    assert list(path.parent.rglob("*")) == [path.parent / "spool"]


def test_client_that_never_stops_sending_gets_its_response(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("msqnet.serving.uploads._DRAIN_SECONDS", 0.2)
    upload = Upload(path, before_piece=lambda: asyncio.sleep(0.001))

    upload.send("text/plain", repeat(bytes(100)))

    _rejected(upload, "unsupported_media_type")


def test_file_over_the_limit_in_a_body_that_is_not_is_rejected(path: Path) -> None:
    content_type, body = _encoded(files={"file": ("clip.mp4", bytes(200_001))})

    _rejected(Upload(path).send(content_type, _pieces(body)), "upload_too_large", "200001 bytes")


def test_size_at_the_limit_is_taken(path: Path) -> None:
    content_type, body = _encoded(files={"file": ("clip.mp4", bytes(200_000))})

    assert Upload(path).send(content_type, _pieces(body), len(body)).status == 202
    assert path.stat().st_size == 200_000


def test_slow_upload_is_rejected(path: Path) -> None:
    content_type, body = _encoded(files={"file": ("clip.mp4", bytes(50_000))})
    limits = ServerLimits(upload_bytes=100_000, upload_seconds=0.2)
    upload = Upload(path, limits, before_piece=lambda: asyncio.sleep(0.02))

    _rejected(upload.send(content_type, _pieces(body)), "upload_too_slow", "upload_seconds")


def test_upload_that_is_broken_off_is_rejected(path: Path) -> None:
    content_type, body = _encoded(files={"file": ("clip.mp4", bytes(5_000))})

    upload = Upload(path, ends=False).send(content_type, _pieces(body[:3_000]), len(body))

    _rejected(upload, "bad_request", "closed during the upload")


def test_form_without_its_end_is_rejected(path: Path) -> None:
    content_type, body = _encoded(files={"file": ("clip.mp4", bytes(5_000))})

    _rejected(Upload(path).send(content_type, _pieces(body[:3_000])), "bad_request", "boundary")


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"files": {"film": ("clip.mp4", b"x")}}, "expected one file"),
        ({"files": [("file", ("a", b"x")), ("file", ("b", b"x"))]}, "expected one file"),
        ({"files": {"f": ("a", b"x")}, "data": {"file": "x"}}, "found text"),
        ({"files": {"file": ("a", b"x")}, "data": {"labels": "x" * 20_000}}, "16384 bytes"),
        ({"files": {"file": ("a", b"x")}, "data": {f"f{n}": "1" for n in range(30)}}, "too many"),
        ({"files": {"file": ("a", b"x")}, "data": {"labels": ["a", "b"]}}, "given twice"),
    ],
)
def test_forms_that_hold_too_much_are_rejected(
    path: Path, parts: dict[str, Any], words: str
) -> None:
    content_type, body = _encoded(**parts)

    _rejected(Upload(path).send(content_type, _pieces(body)), "invalid_request", words)


@pytest.mark.parametrize(
    "data", [{"labels": "x" * 70_000}, {f"f{n}": "1" for n in range(60)}], ids=["long", "many"]
)
def test_fields_are_not_gathered_in_memory(path: Path, data: dict[str, str]) -> None:
    content_type, body = _encoded(files={"file": ("a", b"x")}, data=data)

    _rejected(Upload(path).send(content_type, _pieces(body)), "bad_request", "not a valid form")


@pytest.mark.parametrize(
    "content_type",
    ["", "text/plain", "multipart/form-data", "multipart/mixed; boundary=x", "application/json"],
)
def test_what_is_no_form_is_rejected(path: Path, content_type: str) -> None:
    _rejected(Upload(path).send(content_type, [b"hello"]), "unsupported_media_type")


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("clip.mp4", "clip.mp4"),
        ("../../etc/passwd", "passwd"),
        (r"C:\videos\clip.mp4", "clip.mp4"),
        ("/etc/passwd\x00.mp4", "passwd.mp4"),
        ("..", "video"),
        ("", "video"),
        ("a\r\nSet-Cookie: x.mp4", "aSet-Cookie: x.mp4"),
        ("M\u00e4use \u8001\u9f20.mp4", "M\u00e4use \u8001\u9f20.mp4"),
        ("\u202egpj.exe", "gpj.exe"),
        ("x" * 300 + ".mp4", "x" * 111 + "\u2026" + "xxxx.mp4"),
    ],
)
def test_names_are_cleaned_for_display(name: str, shown: str) -> None:
    assert display_name(name) == shown
