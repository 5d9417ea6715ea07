"""Settings of a server: its model, its address and access, and its limits."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING

from msqnet.config.inference import ModelOptions
from msqnet.errors import check_numbers

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class ServingLimits:
    """Limits that `msqnet serve` has options for. An error response names the limit exceeded.

    Attributes:
        upload_bytes: Largest video file. The allowed upload time grows with it.
        duration_seconds: Longest video. The allowed numbers of frames and windows grow with it.
        frame_pixels: Largest frame, width times height.
        queue_length: Most uploads that arrive, are checked or wait, together; others are rejected
            and can be sent again later.
        kept_results: Most results that are kept; a new one replaces the oldest.
        kept_seconds: Time for which a finished result and its video are kept.
        job_seconds: Longest time for one prediction, overlay, report, preview or attribution map.
    """

    upload_bytes: int = 200_000_000
    duration_seconds: float = 600.0
    frame_pixels: int = 3840 * 2160
    queue_length: int = 8
    kept_results: int = 32
    kept_seconds: float = 3600.0
    job_seconds: float = 900.0

    def __post_init__(self) -> None:
        check_numbers(self, [item.name for item in fields(self)])


@dataclass(frozen=True)
class ServerLimits(ServingLimits):
    """All limits of a server: longest times, and largest numbers for a video or a request.

    Attributes:
        num_windows: Most windows that a video may be cut into.
        check_seconds: Longest time for checking one upload.
        stop_seconds: Longest time that a stopping server waits for open requests.
    """

    upload_seconds: float = 300.0
    num_frames: int = 40_000
    num_windows: int = 5_000
    num_labels: int = 64
    check_seconds: float = 20.0
    stop_seconds: float = 5.0

    @classmethod
    def from_options(cls, options: ServingLimits) -> ServerLimits:
        """Allow more time for larger files, and more frames and windows for longer videos."""
        size = max(1.0, options.upload_bytes / cls.upload_bytes)
        length = max(1.0, options.duration_seconds / cls.duration_seconds)
        return cls(
            **asdict(options),
            upload_seconds=size * cls.upload_seconds,
            num_frames=round(length * cls.num_frames),
            num_windows=round(length * cls.num_windows),
        )


@dataclass(frozen=True)
class WorkerSettings(ModelOptions):
    """Which model the worker process loads; the labels are used where a request names none.

    Attributes:
        scratch: folder for temporary files; None for the system's.
        open_model: what scores a request with words that the model does not know; None for nothing.
        words_advice: what to do so that something does; empty if something does.
    """

    scratch: Path | None = None
    open_model: str | None = None
    words_advice: str = ""


@dataclass(frozen=True)
class ServerSettings:
    """How a server is set up.

    Attributes:
        worker: which model it holds.
        port: 0 for any free one.
        token: what clients must send; None lets everybody in.
        public_hosts: names under which a reverse proxy offers the server.
        examples: folder of example videos; None for the demo clips of the package.
        work_folder: folder for uploads and results; None for a private folder in the system's
            folder for temporary files.
    """

    worker: WorkerSettings = field(default_factory=WorkerSettings)
    limits: ServerLimits = field(default_factory=ServerLimits)
    host: str = "127.0.0.1"
    port: int = 8000
    token: str | None = field(default=None, repr=False)
    public_hosts: tuple[str, ...] = ()
    examples: Path | None = None
    work_folder: Path | None = None
