"""Errors of requests and jobs: one shape for the API, the page and the child processes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, Field

from msqnet.errors import ServiceError, VideoError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

STATUS_OF: Mapping[str, int] = {
    "bad_request": 400,
    "token_needed": 401,
    "host_not_allowed": 403,
    "cross_origin": 403,
    "not_found": 404,
    "method_not_allowed": 405,
    "upload_too_slow": 408,
    "not_finished": 409,
    "other_window": 409,
    "upload_too_large": 413,
    "unsupported_media_type": 415,
    "range_not_satisfiable": 416,
    "queue_full": 429,
    "model_loading": 503,
    "stopping": 503,
}
"""HTTP status of error codes; that of all others is 422."""

_DESCRIPTIONS = {
    400: "The form cannot be read.",
    401: "The token is missing or wrong.",
    403: "Sent by another site's page, or for a host name that is not this server's.",
    404: "It does not exist or was removed.",
    408: "The upload took longer than `upload_seconds`.",
    409: "No result: the prediction is unfinished, failed or was cancelled.",
    413: "Larger than `upload_bytes`.",
    415: "Not a form with a file.",
    422: "Not a video, over a limit (which is named), or invalid options.",
    429: "The queue is full; `Retry-After` says when to try again.",
    503: "The model is being loaded, or the server is stopping.",
}


class ErrorDetail(BaseModel):
    """What went wrong."""

    code: str = Field(description="What happened, for programs.", examples=["video_too_long"])
    message: str = Field(
        description="What was found, what was expected, what to do next.",
        examples=["a video of at least 612.0 s; this server takes at most 600 (duration_seconds)"],
    )
    limit: str | None = Field(
        default=None, description="The limit that was exceeded.", examples=["duration_seconds"]
    )
    allowed: float | None = Field(default=None, description="Its value.", examples=[600])
    found: float | None = Field(default=None, description="The value found.", examples=[612.0])


class ErrorBody(BaseModel):
    """The body of every error response."""

    error: ErrorDetail


class RequestError(ServiceError):
    """A request that is rejected, or a job that fails, with the ``detail`` that is sent.

    It can be pickled. ``code`` is explained at `STATUS_OF`.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        limit: str | None = None,
        allowed: float | None = None,
        found: float | None = None,
        retry_after_seconds: int | None = None,
    ) -> None:
        super().__init__(code, message)
        self.detail = ErrorDetail(
            code=code, message=message, limit=limit, allowed=allowed, found=found
        )
        self.retry_after_seconds = retry_after_seconds

    def __str__(self) -> str:
        return self.detail.message


def check_limit(code: str, what: str, limit: str, allowed: float, found: float) -> None:
    """Raise `RequestError` for a number above a limit; ``what`` names it, to begin a sentence."""
    if found > allowed:
        plain = str(int(allowed)) if allowed == int(allowed) else f"{allowed:g}"
        message = f"{what}; this server takes at most {plain} ({limit})"
        raise RequestError(code, message, limit=limit, allowed=allowed, found=round(found, 3))


def detail_of(error: Exception, path: Path, name: str) -> ErrorDetail:
    """An error of a child process for a client, with the client's name of the video as the path."""
    if isinstance(error, RequestError):
        detail = error.detail
    elif isinstance(error, OSError):
        message = f"cannot be stored: {error.strerror or error}"
        detail = ErrorDetail(code="storage_failed", message=message)
    else:
        code = "not_a_video" if isinstance(error, VideoError) else "invalid_request"
        detail = ErrorDetail(code=code, message=str(error))
    return detail.model_copy(update={"message": detail.message.replace(str(path), name)})


def error_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The error responses of a route, for its documentation."""
    return {
        status: {"model": ErrorBody, "description": _DESCRIPTIONS[status]}
        for status in sorted({401, 403, *statuses})
    }
