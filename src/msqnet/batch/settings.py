"""What a batch run does with every video. Plain values only: they are sent to other processes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from msqnet.config import SegmentConfig, WindowConfig
from msqnet.errors import ConfigError

if TYPE_CHECKING:
    from msqnet.inference.predictor import Predictor
    from msqnet.inference.runtimes import RuntimeName
    from msqnet.model.computing import Precision


@dataclass(frozen=True)
class ModelSettings:
    """What predicts; the fields are those of `Predictor.from_pretrained`.

    Attributes:
        num_threads: of one process on a CPU; None leaves the choice to PyTorch.
    """

    model: str | None = None
    labels: tuple[str, ...] | None = None
    label_table: str | None = None
    window: WindowConfig = field(default_factory=WindowConfig)
    segments: SegmentConfig = field(default_factory=SegmentConfig)
    device: str = "auto"
    runtime: RuntimeName = "auto"
    precision: Precision = "fp32"
    num_threads: int | None = None

    def __post_init__(self) -> None:
        if self.num_threads is not None and self.num_threads < 1:
            raise ConfigError(f"threads {self.num_threads}: expected at least 1")

    def load(self) -> Predictor:
        """Load the model, with its threads, in this process.

        Raises:
            CheckpointError: there is no such model, or it is damaged.
            ConfigError: the device, the runtime, the precision or the settings cannot be used.
            MissingExtra: the runtime is not installed.
            VocabularyError: labels that the model cannot score.
        """
        import torch

        from msqnet.inference.predictor import Predictor

        if self.num_threads is not None:
            torch.set_num_threads(self.num_threads)
        return Predictor.from_pretrained(
            self.model,
            labels=self.labels,
            label_table=self.label_table,
            device=self.device,
            window=self.window,
            segments=self.segments,
            runtime=self.runtime,
            precision=self.precision,
        )


@dataclass(frozen=True)
class JobSettings:
    """How one video is worked on.

    Attributes:
        out: folder or URL of the results.
        overwrite: whether results of anything else are replaced.
        num_retries: how often reading or writing that failed is tried again.
        first_wait_seconds: before the first retry; each later wait is twice as long.
        time_limit_seconds: for one video, with its retries.
        max_bytes: a remote file that is larger is refused.
    """

    out: str
    overwrite: bool = False
    num_retries: int = 3
    first_wait_seconds: float = 1.0
    time_limit_seconds: float = 3600.0
    max_bytes: int = 100 * 10**9

    def __post_init__(self) -> None:
        if self.num_retries < 0:
            raise ConfigError(f"retries {self.num_retries}: expected 0 or more")
        for name in ("first_wait_seconds", "time_limit_seconds", "max_bytes"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name} {getattr(self, name)}: expected more than 0")


@dataclass(frozen=True)
class BatchSettings:
    """Everything that a process needs to work on videos."""

    model: ModelSettings
    job: JobSettings
