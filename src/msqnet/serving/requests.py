"""What the worker process is asked to do. Plain values: they are sent from process to process."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class WorkerSettings:
    """Which model the worker holds.

    Attributes:
        model: as for `msqnet.inference.predictor.Predictor.from_pretrained`.
        labels: what is asked for where a request names no labels; None for all of the model's.
        label_table: CSV with descriptions and synonyms of labels.
        device: `auto`, `cpu`, `cuda`, ...
        scratch: where files lie that are not needed for long; None for the system's folder.
    """

    model: str | None = None
    labels: tuple[str, ...] | None = None
    label_table: str | None = None
    device: str = "auto"
    scratch: Path | None = None


@dataclass(frozen=True)
class ModelFacts:
    """What the worker says of its model.

    Attributes:
        name: as results name it.
        labels: what it answers where a request names no labels; empty where it must.
        is_open: whether it scores any text, or its own labels only.
        has_heat_maps: whether it can be asked where it looked.
        window_seconds: length of a window where a request names none.
        stride_seconds: time between windows where a request names none.
    """

    name: str
    labels: tuple[str, ...]
    is_open: bool
    has_heat_maps: bool
    window_seconds: float
    stride_seconds: float


@dataclass(frozen=True)
class PredictionSettings:
    """What a client may choose for a prediction; None leaves it to the model.

    Attributes:
        labels: what to look for.
        threshold: score from which an action counts as present.
        window_seconds: length of a window.
        stride_seconds: time from one window's start to the next one's.
    """

    labels: tuple[str, ...] | None = None
    threshold: float | None = None
    window_seconds: float | None = None
    stride_seconds: float | None = None


@dataclass(frozen=True)
class PredictionRequest:
    """Predict a video and write its results.

    Attributes:
        video: the file.
        display_name: what results call it.
        stem: results are written as `VideoPredictions.write` does.
        settings: what the client chose.
    """

    video: Path
    display_name: str
    stem: Path
    settings: PredictionSettings


@dataclass(frozen=True)
class PictureRequest:
    """A small JPEG of a frame."""

    video: Path
    output: Path


@dataclass(frozen=True)
class PreviewRequest:
    """An H.264 copy for browsers that cannot play the file itself."""

    video: Path
    output: Path


@dataclass(frozen=True)
class OverlayRequest:
    """The video with its scores drawn into it.

    Attributes:
        result: the JSON of its `VideoPredictions`.
    """

    video: Path
    result: Path
    output: Path


@dataclass(frozen=True)
class ReportRequest:
    """One self-contained HTML file about the video.

    Attributes:
        result: the JSON of its `VideoPredictions`.
        display_name: what the report calls the video.
    """

    video: Path
    result: Path
    output: Path
    display_name: str


@dataclass(frozen=True)
class HeatMapRequest:
    """Where the model looked for one label.

    Attributes:
        labels: what the prediction asked for; None for all of the model's.
        label: one of these.
        start_seconds: start of the stretch.
        end_seconds: its end, exclusive.
        window_seconds: how long the windows were that the prediction is made of.
    """

    video: Path
    output: Path
    labels: tuple[str, ...] | None
    label: str
    start_seconds: float
    end_seconds: float
    window_seconds: float


WorkerRequest = (
    PredictionRequest
    | PictureRequest
    | PreviewRequest
    | OverlayRequest
    | ReportRequest
    | HeatMapRequest
)
