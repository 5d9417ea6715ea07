from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from starlette.requests import Request

from msqnet.config import ServingLimits
from msqnet.serving.refusals import Refusal
from msqnet.serving.uploads import Form, display_name, receive_form

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_LIMITS = ServingLimits(upload_bytes=100_000, upload_seconds=30)


def _encoded(**parts: Any) -> tuple[str, bytes]:
    """Content type and body of a form, as a client makes them."""
    request = httpx.Request("POST", "http://x/", **parts)
    return request.headers["content-type"], request.read()


def _receive(
    path: Path,
    content_type: str,
    body: bytes,
    *,
    limits: ServingLimits = _LIMITS,
    piece_bytes: int = 1000,
    announce: bool = True,
    before_piece: Callable[[int], Any] | None = None,
    ends: bool = True,
) -> tuple[Form, int]:
    """Send a body in pieces; gives the form and how many pieces were read."""
    pieces = [body[start : start + piece_bytes] for start in range(0, len(body), piece_bytes)]
    num_read = 0

    async def receive() -> dict[str, Any]:
        nonlocal num_read
        if before_piece:
            await before_piece(num_read)
        if num_read >= len(pieces):
            return {"type": "http.disconnect"}
        num_read += 1
        is_last = num_read == len(pieces) and ends
        return {"type": "http.request", "body": pieces[num_read - 1], "more_body": not is_last}

    headers = [(b"content-type", content_type.encode())]
    if announce:
        headers.append((b"content-length", str(len(body)).encode()))
    request = Request({"type": "http", "method": "POST", "headers": headers}, receive)
    try:
        return asyncio.run(receive_form(request, path, limits)), num_read
    except Refusal as refusal:
        refusal.num_read = num_read  # type: ignore[attr-defined]
        raise


@pytest.mark.parametrize("piece_bytes", [1, 7, 4096, 10**6])
def test_file_and_fields_arrive_however_they_are_cut(tmp_path: Path, piece_bytes: int) -> None:
    content = bytes(range(256)) * 20 + b"\r\n--not the boundary\r\n"
    content_type, body = _encoded(
        files={"file": ("clip.mp4", content)}, data={"labels": "walking|eating", "threshold": "0.5"}
    )

    form, _ = _receive(tmp_path / "video", content_type, body, piece_bytes=piece_bytes)

    assert (tmp_path / "video").read_bytes() == content
    assert form == Form("clip.mp4", len(content), {"labels": "walking|eating", "threshold": "0.5"})


def test_too_large_is_refused_while_it_arrives(tmp_path: Path) -> None:
    content_type, body = _encoded(files={"file": ("clip.mp4", bytes(1_000_000))})

    with pytest.raises(Refusal, match="upload_bytes") as caught:
        _receive(tmp_path / "video", content_type, body, announce=False)

    assert caught.value.problem.code == "upload_too_large"
    assert caught.value.num_read < 110  # type: ignore[attr-defined]
    assert (tmp_path / "video").stat().st_size <= 100_000


def test_announced_size_is_refused_before_a_byte_is_read(tmp_path: Path) -> None:
    content_type, body = _encoded(files={"file": ("clip.mp4", bytes(1_000_000))})

    with pytest.raises(Refusal, match="upload_bytes") as caught:
        _receive(tmp_path / "video", content_type, body)

    assert caught.value.num_read == 0  # type: ignore[attr-defined]


def test_size_at_the_limit_is_taken(tmp_path: Path) -> None:
    content_type, body = _encoded(files={"file": ("clip.mp4", bytes(100_000))})

    form, _ = _receive(tmp_path / "video", content_type, body)

    assert form.num_bytes == 100_000


def test_slow_upload_is_refused(tmp_path: Path) -> None:
    content_type, body = _encoded(files={"file": ("clip.mp4", bytes(50_000))})

    with pytest.raises(Refusal, match="upload_seconds"):
        _receive(
            tmp_path / "video",
            content_type,
            body,
            limits=ServingLimits(upload_bytes=100_000, upload_seconds=0.2),
            before_piece=lambda _: asyncio.sleep(0.02),
        )


def test_broken_off_upload_is_refused(tmp_path: Path) -> None:
    content_type, body = _encoded(files={"file": ("clip.mp4", bytes(5_000))})

    with pytest.raises(Refusal, match="broken off"):
        _receive(tmp_path / "video", content_type, body[:3_000], ends=False)


def test_form_without_its_end_is_refused(tmp_path: Path) -> None:
    content_type, body = _encoded(files={"file": ("clip.mp4", bytes(5_000))})

    with pytest.raises(Refusal, match="last boundary"):
        _receive(tmp_path / "video", content_type, body[:3_000], announce=False)


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"files": {"film": ("clip.mp4", b"x")}}, "expected one file"),
        ({"files": [("file", ("a", b"x")), ("file", ("b", b"x"))]}, "expected one file"),
        ({"files": {"file": ("a", b"x")}, "data": {"labels": "x" * 20_000}}, "16384 bytes"),
        ({"files": {"file": ("a", b"x")}, "data": {f"f{n}": "1" for n in range(30)}}, "too many"),
        ({"files": {"file": ("a", b"x")}, "data": {"labels": ["a", "b"]}}, "given twice"),
    ],
)
def test_forms_that_hold_too_much_are_refused(
    tmp_path: Path, parts: dict[str, Any], words: str
) -> None:
    content_type, body = _encoded(**parts)

    with pytest.raises(Refusal, match=words):
        _receive(tmp_path / "video", content_type, body)


@pytest.mark.parametrize(
    "content_type",
    ["", "text/plain", "multipart/form-data", "multipart/mixed; boundary=x", "application/json"],
)
def test_what_is_no_form_is_refused(tmp_path: Path, content_type: str) -> None:
    with pytest.raises(Refusal) as caught:
        _receive(tmp_path / "video", content_type, b"hello")

    assert caught.value.problem.code == "unsupported_media_type"


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
