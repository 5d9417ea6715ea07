"""The page: a few files that come with the package, read once."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING

from fastapi import APIRouter, Path, Request, Response

from msqnet.serving.answers import error_responses
from msqnet.serving.refusals import Problem, Refusal

if TYPE_CHECKING:
    from collections.abc import Mapping

_INDEX = "index.html"
_OWN = "msqnet.serving"
_SHARED = "msqnet.report"
_ASSETS = {
    "theme.css": (_SHARED, "assets"),
    "ethogram.css": (_SHARED, "assets"),
    "ethogram.js": (_SHARED, "assets"),
    "page.css": (_OWN, "page"),
    "api.js": (_OWN, "page"),
    "format.js": (_OWN, "page"),
    "heat_map.js": (_OWN, "page"),
    "result.js": (_OWN, "page"),
    "page.js": (_OWN, "page"),
    "icon.svg": (_OWN, "page"),
}
_TYPES = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}


@dataclass(frozen=True)
class Asset:
    """A file of the page.

    Attributes:
        content: its bytes.
        media_type: their type.
        etag: changes with them.
    """

    content: bytes
    media_type: str
    etag: str


def _asset(package: str, folder: str, name: str) -> Asset:
    content = (files(package) / folder / name).read_bytes()
    digest = hashlib.sha256(content).hexdigest()[:16]
    return Asset(content, _TYPES[name.rsplit(".", 1)[-1]], f'"{digest}"')


def load_assets() -> Mapping[str, Asset]:
    """All files of the page by name."""
    found = {name: _asset(*place, name) for name, place in _ASSETS.items()}
    return {**found, _INDEX: _asset(_OWN, "page", _INDEX)}


def pages_router(assets: Mapping[str, Asset]) -> APIRouter:
    """The page and its files; all of them are public, they hold no data."""
    router = APIRouter(include_in_schema=False)

    @router.get("/")
    async def get_page(request: Request) -> Response:
        return _answer(assets[_INDEX], request)

    @router.get("/assets/{name}", responses=error_responses(404))
    async def get_asset(request: Request, name: str = Path(max_length=64)) -> Response:
        if name not in assets:
            raise Refusal(Problem("not_found", "no such file"))
        return _answer(assets[name], request)

    return router


def _answer(asset: Asset, request: Request) -> Response:
    headers = {"ETag": asset.etag, "Cache-Control": "no-cache"}
    if request.headers.get("if-none-match") == asset.etag:
        return Response(status_code=304, headers=headers)
    return Response(asset.content, media_type=asset.media_type, headers=headers)
