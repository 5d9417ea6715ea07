"""Why a request is refused or a job fails: one shape for the API, the page and the processes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from msqnet.errors import MsqnetError, ServiceError, VideoError

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
    "upload_too_large": 413,
    "range_not_satisfiable": 416,
    "unsupported_media_type": 415,
    "invalid_request": 422,
    "unknown_label": 422,
    "not_a_video": 422,
    "video_too_long": 422,
    "too_many_frames": 422,
    "too_many_windows": 422,
    "frame_too_large": 422,
    "check_failed": 422,
    "queue_full": 429,
    "model_loading": 503,
    "stopping": 503,
}
"""HTTP status of each code of a refused request."""


@dataclass(frozen=True)
class Problem:
    """What went wrong, for people (`message`) and for programs (the rest).

    Attributes:
        code: a key of `STATUS_OF`, or, of a failed job, what happened to it.
        message: what was found, what was expected, what to do next.
        limit: the setting that was exceeded.
        allowed: its value.
        found: what was found instead.
        retry_after_seconds: when it is worth trying again.
    """

    code: str
    message: str
    limit: str | None = None
    allowed: float | None = None
    found: float | None = None
    retry_after_seconds: int | None = None

    def about(self, path: Path, name: str) -> Problem:
        """The same with a file's path, which is the server's own business, replaced by a name."""
        return replace(self, message=self.message.replace(str(path), name))


class Refusal(ServiceError):  # noqa: N818 - says what happened
    """A request that is refused; pickles, so that it can come from another process.

    Attributes:
        problem: why.
    """

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        self.problem = problem

    def __str__(self) -> str:
        return self.problem.message


def over_limit(code: str, what: str, limit: str, allowed: float, found: float) -> Refusal:
    """The refusal of something that exceeds a limit.

    Args:
        code: a key of `STATUS_OF`.
        what: the sentence up to the comma that names what was found.
        limit: name of the setting.
        allowed: its value.
        found: what exceeds it.
    """
    message = f"{what}; this server takes at most {_plain(allowed)} ({limit})"
    return Refusal(Problem(code, message, limit, allowed, found))


def _plain(value: float) -> str:
    return str(int(value)) if value == int(value) else f"{value:g}"


def problem_of(error: MsqnetError | OSError) -> Problem:
    """An error as something that can be sent and shown."""
    if isinstance(error, Refusal):
        return error.problem
    if isinstance(error, OSError):
        return Problem("storage_failed", f"cannot be stored: {error.strerror}")
    code = "not_a_video" if isinstance(error, VideoError) else "invalid_request"
    return Problem(code, str(error))
