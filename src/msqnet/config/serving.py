"""What a server accepts, keeps and waits for."""

from __future__ import annotations

from dataclasses import dataclass, fields

from msqnet.errors import check


@dataclass(frozen=True)
class ServingLimits:
    """What a server accepts, keeps and waits for. What exceeds a limit is refused by its name.

    Attributes:
        upload_bytes: Largest video.
        upload_seconds: Longest time that one upload may take.
        duration_seconds: Longest video.
        frame_pixels: Largest frame, width times height.
        num_frames: Most frames of a video.
        num_labels: Most labels that one request may ask for.
        num_windows: Most windows that a video may be cut into.
        queue_length: Uploads that arrive, are checked or wait, together; more are told to come
            back later.
        kept_results: Results that are kept; a new one replaces the oldest.
        kept_seconds: How long a finished result is kept, with its video.
        check_seconds: Longest time for checking one upload.
        job_seconds: Longest time for one prediction, overlay, report, preview or heat map.
        stop_seconds: How long a stopping server waits for requests that are being answered.
    """

    upload_bytes: int = 200_000_000
    upload_seconds: float = 300.0
    duration_seconds: float = 600.0
    frame_pixels: int = 3840 * 2160
    num_frames: int = 40_000
    num_labels: int = 64
    num_windows: int = 5_000
    queue_length: int = 8
    kept_results: int = 32
    kept_seconds: float = 3600.0
    check_seconds: float = 20.0
    job_seconds: float = 900.0
    stop_seconds: float = 5.0

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            check(value > 0, f"{item.name} {value}: expected more than 0")
