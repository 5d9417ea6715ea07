"""Answers: errors in their one shape, files, and how far something is."""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, JSONResponse, Response

from msqnet.serving.job import State, Task
from msqnet.serving.refusals import STATUS_OF, Problem, Refusal
from msqnet.serving.schemas import ErrorBody, ErrorDetail, MakingStatus

if TYPE_CHECKING:
    from pathlib import Path

    from fastapi import FastAPI
    from starlette.requests import Request

    from msqnet.serving.service import Service

_MAKING_RETRY_SECONDS = 1
_PLACES = ("body", "query", "path")
_DESCRIPTIONS = {
    400: "The form cannot be read.",
    401: "The token is missing or wrong.",
    403: "Sent by another site's page, or for a host name that is not this server's.",
    404: "There is no such thing, or not any more.",
    405: "Not a method of this address.",
    408: "The upload took longer than `upload_seconds`.",
    409: "There is no result: not finished yet, failed or cancelled.",
    413: "Larger than `upload_bytes`.",
    415: "Not a form with a file.",
    416: "No such range of bytes.",
    422: "Not a video, over a limit (which is named), or options that cannot be used.",
    429: "The queue is full; `Retry-After` says when to come back.",
    503: "The model is being loaded, or the server stops.",
}


def error_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The errors of a route, for its documentation."""
    return {
        status: {"model": ErrorBody, "description": _DESCRIPTIONS[status]}
        for status in sorted({401, 403, *statuses})
    }


def error_detail(problem: Problem) -> ErrorDetail:
    """A problem as it is sent."""
    return ErrorDetail(
        code=problem.code,
        message=problem.message,
        limit=problem.limit,
        allowed=problem.allowed,
        found=problem.found,
    )


def error_answer(problem: Problem, status: int, headers: dict[str, str] | None = None) -> Response:
    """An error."""
    headers = dict(headers or {})
    if problem.retry_after_seconds is not None:
        headers["Retry-After"] = str(problem.retry_after_seconds)
    if problem.code == "token_needed":
        headers["WWW-Authenticate"] = "Bearer"
    body = ErrorBody(error=error_detail(problem))
    return JSONResponse(body.model_dump(), status, headers)


def refusal_answer(refusal: Refusal) -> Response:
    """The answer to a refused request."""
    problem = refusal.problem
    return error_answer(problem, STATUS_OF.get(problem.code, 422))


def add_error_handlers(app: FastAPI, service: Service) -> None:
    """Give every error the same shape, and count what is refused."""

    async def on_refusal(_request: Request, error: Exception) -> Response:
        if not isinstance(error, Refusal):
            raise error
        service.requests.note_refusal(error.problem.code)
        return refusal_answer(error)

    async def on_invalid(_request: Request, error: Exception) -> Response:
        if not isinstance(error, RequestValidationError):
            raise error
        service.requests.note_refusal("invalid_request")
        return error_answer(Problem("invalid_request", validation_message(error.errors())), 422)

    async def on_http_error(request: Request, error: Exception) -> Response:
        if not isinstance(error, HTTPException):
            raise error
        codes = {404: "not_found", 405: "method_not_allowed", 400: "bad_request"}
        code = codes.get(error.status_code, HTTPStatus(error.status_code).phrase.lower())
        headers = dict(error.headers or {})
        if error.status_code == 405:
            headers["Allow"] = ", ".join(allowed_methods(app.openapi(), request.url.path))
        return error_answer(Problem(code, str(error.detail)), error.status_code, headers)

    app.add_exception_handler(Refusal, on_refusal)
    app.add_exception_handler(RequestValidationError, on_invalid)
    app.add_exception_handler(HTTPException, on_http_error)


def allowed_methods(document: dict[str, Any], path: str) -> list[str]:
    """Methods of an address in the OpenAPI document; the framework names those of one route only.

    Args:
        document: OpenAPI.
        path: of a request; one that is not described takes GET, as the page and its files do.
    """
    for pattern, operations in document["paths"].items():
        if re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", pattern), path):
            return sorted(method.upper() for method in operations)
    return ["GET"]


def validation_message(errors: Any) -> str:
    """The first of pydantic's errors in one line that names the field."""
    first = errors[0]
    parts = [str(part) for part in first["loc"]]
    # Of a request the place comes first: body, query or path.
    place = ".".join(parts[1:] if len(parts) > 1 and parts[0] in _PLACES else parts)
    return f"{place or 'request'}: {first['msg']}"


def file_answer(path: Path, media_type: str, *, save_as: str | None = None) -> Response:
    """A file, in ranges where asked for.

    Args:
        path: one of ours.
        media_type: of its content.
        save_as: name under which a browser stores it; None to show it.
    """
    try:
        # Looked at here, where an answer can still be an error.
        found = path.stat()
    except FileNotFoundError as error:
        raise Refusal(Problem("not_found", "the file was removed")) from error
    headers = {} if save_as is None else {"Content-Disposition": attachment(save_as)}
    return FileResponse(path, media_type=media_type, headers=headers, stat_result=found)


def attachment(name: str) -> str:
    """A ``Content-Disposition`` that stores under a name, of whatever characters it is made."""
    plain = "".join(c if c.isascii() and (c.isalnum() or c in "._- ") else "_" for c in name)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"


def made_answer(
    service: Service, task: Task, media_type: str, *, save_as: str | None = None
) -> Response:
    """What a task makes if it is there, else how far it is.

    Raises:
        Refusal: it cannot be made.
    """
    if task.state is State.DONE:
        return file_answer(task.output, media_type, save_as=save_as)
    if task.state in (State.FAILED, State.CANCELLED):
        reason = task.problem or Problem("not_finished", "it was cancelled")
        raise Refusal(Problem("not_finished", f"it cannot be made: {reason.message}"))
    status = MakingStatus(
        state="running" if task.state is State.RUNNING else "queued",
        position=service.jobs.position(task),
        progress=task.progress,
    )
    headers = {"Retry-After": str(_MAKING_RETRY_SECONDS)}
    return JSONResponse(status.model_dump(), 202, headers)
