"""The JSON of requests and responses, as pydantic models."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from msqnet.serving.request_errors import ErrorDetail

_EXAMPLE = json.loads((files("msqnet.serving") / "prediction_example.json").read_text("utf-8"))


class PredictionOptions(BaseModel):
    """The options of a prediction; those left out are the model's own."""

    # In JSON a threshold is a number, and no text or boolean stands for it; a form holds text.
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    labels: Annotated[
        tuple[Annotated[str, Field(min_length=1, max_length=200)], ...] | None,
        Field(min_length=1, strict=False),
    ] = Field(
        default=None,
        description="Labels to predict: any text for an open-vocabulary model, some of its own "
        "labels for any other.",
        examples=[["rearing", "grooming"]],
    )
    threshold: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="Lowest score at which an action counts as present; by default the model's "
        "own threshold of each label.",
        examples=[0.5],
    )
    window_seconds: float | None = Field(
        default=None, gt=0, le=3600, description="Length of a window.", examples=[2.0]
    )
    stride_seconds: float | None = Field(
        default=None, gt=0, le=3600, description="Time between windows.", examples=[1.0]
    )


class VideoFactsBody(BaseModel):
    """Facts about a video that the checker found."""

    width: int = Field(description="Pixels, as stored.", examples=[640])
    height: int = Field(examples=[480])
    num_frames: int = Field(description="Frames that the file holds.", examples=[100])
    duration_seconds: float = Field(examples=[4.0])
    codec: str = Field(examples=["h264"])
    # Type under which browsers play the file; None if they cannot. Not sent.
    media_type: str | None = Field(exclude=True)


class PredictionStatus(BaseModel):
    """The state of a prediction, with its result when it is done."""

    id: str = Field(
        description="Unguessable; whoever knows it may see the video and its results.",
        examples=["kZ8mQ0w3JpE6c1hX5tRyVbNa"],
    )
    state: Literal["queued", "running", "done", "failed", "cancelled"] = Field(examples=["done"])
    position: int | None = Field(
        default=None, description="Place in the queue while queued; 1 is the next one."
    )
    progress: float = Field(ge=0, le=1, description="Share that is done.", examples=[1.0])
    file_name: str = Field(
        description="The client's name of the file, cleaned.", examples=["mouse.mp4"]
    )
    video: VideoFactsBody
    options: PredictionOptions
    expires_in_seconds: float | None = Field(
        default=None, description="When the result is removed; null until there is one."
    )
    error: ErrorDetail | None = Field(default=None, description="Why it failed.")
    result: dict[str, Any] | None = Field(
        default=None,
        description="What `msqnet predict` writes as JSON, when the state is `done`.",
        examples=[_EXAMPLE],
    )


class MakingStatus(BaseModel):
    """The state of a file that is being made; ask again after `Retry-After` seconds."""

    state: Literal["queued", "running"] = Field(examples=["running"])
    position: int | None = Field(default=None, description="Place in the queue while queued.")
    progress: float = Field(ge=0, le=1, examples=[0.4])


class HeatMapBody(BaseModel):
    """The attribution map of one label, frame by frame."""

    label: str = Field(examples=["rearing"])
    start_seconds: float = Field(examples=[1.0])
    end_seconds: float = Field(examples=[3.0])
    score: float = Field(description="The label's score of the interval.", examples=[0.72])
    num_frames: int = Field(description="T, maps.", examples=[16])
    height: int = Field(description="h, cells of the upright frame from top to bottom.")
    width: int = Field(description="w, cells from left to right.")
    pts_seconds: list[float] = Field(description="(T,) times of the maps.")
    maps: str = Field(description="Base64 of (T, h, w) bytes; 255 is the highest attribution.")


class ModelBody(BaseModel):
    """The model of this server."""

    name: str = Field(examples=["mixed-actors-lite"])
    labels: tuple[str, ...] = Field(
        description="Used where a request names no labels; empty where it must name some.",
        examples=[["grooming", "rearing"]],
    )
    is_open_vocabulary: bool = Field(
        description="Whether it scores any text, or its own labels only."
    )
    open_model: str | None = Field(
        default=None,
        description="Model beside it that scores all labels of a request with other words.",
        examples=["siglip2-base"],
    )
    words_advice: str = Field(
        default="", description="What to do on the server so that other words are scored."
    )
    has_heat_maps: bool = Field(description="Whether it has attribution maps.")
    window_seconds: float = Field(examples=[2.0])
    stride_seconds: float = Field(examples=[1.0])


class LimitsBody(BaseModel):
    """Limits of this server."""

    upload_bytes: int = Field(examples=[200_000_000])
    upload_seconds: float = Field(examples=[300])
    duration_seconds: float = Field(examples=[600])
    frame_pixels: int = Field(examples=[8_294_400])
    num_frames: int = Field(examples=[40_000])
    num_labels: int = Field(examples=[64])
    num_windows: int = Field(examples=[5_000])
    queue_length: int = Field(examples=[8])
    kept_results: int = Field(examples=[32])
    kept_seconds: float = Field(examples=[3600])
    job_seconds: float = Field(examples=[900])


class ModelsBody(BaseModel):
    """The models and the limits of this server."""

    models: list[ModelBody]
    limits: LimitsBody


class ExampleBody(BaseModel):
    """An example video of the server."""

    name: str = Field(examples=["fall_at_home"])
    title: str = Field(examples=["Fall at home"])
    file_name: str = Field(examples=["fall_at_home.mp4"])
    duration_seconds: float = Field(examples=[12.26])
    width: int = Field(examples=[640])
    height: int = Field(examples=[480])
    credit: str = Field(description="Author and licence; empty where not known.")
    has_picture: bool = Field(description="Whether there is a small picture of it.")
    # Not sent: the file, what the checker found, and a small JPEG, if there is one.
    path: Path = Field(exclude=True)
    facts: VideoFactsBody = Field(exclude=True)
    picture: Path | None = Field(exclude=True)


class ExamplesBody(BaseModel):
    """The videos that can be tried without an upload."""

    examples: list[ExampleBody]


class Health(BaseModel):
    """Whether the server runs, and whether it can work."""

    status: Literal["ok", "loading"] = Field(examples=["ok"])
