"""One video to work on, and what became of it: plain values, sent between processes."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from msqnet.errors import DatasetError

Status = Literal["ok", "partial", "error", "timeout"]
Cause = Literal[
    "", "bad_file", "reading", "writing", "other_results", "time_limit", "process_died", "damaged"
]


@dataclass(frozen=True)
class Outcome:
    """What became of one video.

    Attributes:
        name: of its results below the results folder.
        source: the video as it was given: a path or a URL.
        status: ``ok``; ``partial`` (only a part of the video could be decoded); ``error``;
            ``timeout``.
        cause: why not ``ok``: ``damaged`` (where ``partial``), ``bad_file`` (no video, or none that
            decodes), ``reading`` or ``writing`` (of files, after all retries), ``other_results``
            (of another video, model or settings are there), ``time_limit``, ``process_died``.
        message: in words.
        seconds: that it took, retries included.
        num_attempts: how often it was tried.
        digest: SHA-256 of the content; empty where it could not be read.
        num_bytes: of the content; of a folder of frame images 0.
        duration_seconds: of the video, as far as it decodes.
        source_state: tells whether the source was changed since; empty where that is unknown.
        output_state: tells whether the result files were changed since; empty where there are none.
        provenance_digest: identifies the model and the settings.
        existed: whether the results were there, from this video, model and settings.
    """

    name: str
    source: str
    status: Status
    cause: Cause = ""
    message: str = ""
    seconds: float = 0.0
    num_attempts: int = 1
    digest: str = ""
    num_bytes: int = 0
    duration_seconds: float = 0.0
    source_state: str = ""
    output_state: str = ""
    provenance_digest: str = ""
    existed: bool = False

    @property
    def is_answered(self) -> bool:
        """Whether there are results, if only of a part."""
        return self.status in ("ok", "partial")

    def to_dict(self) -> dict[str, Any]:
        """JSON values by field."""
        return asdict(self)

    @classmethod
    def from_dict(cls, document: Any) -> Outcome:
        """Rebuild from `to_dict`; fields of a newer msqnet are left out.

        Raises:
            DatasetError: not such a document.
        """
        names = {item.name for item in fields(cls)}
        try:
            return cls(**{name: value for name, value in document.items() if name in names})
        except (AttributeError, TypeError) as error:
            raise DatasetError(f"not a line of a journal: {error}") from error


@dataclass(frozen=True)
class Job:
    """One video to work on.

    Attributes:
        name: of its results below the results folder, with ``/`` and the extension of the input.
        source: local path or URL.
        known: what an earlier run found, if any did.
    """

    name: str
    source: str
    known: Outcome | None = None
