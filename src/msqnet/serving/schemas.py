"""What goes over the wire, as JSON: the only place where pydantic is used."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

_PREDICTION_EXAMPLE = {
    "schema_version": 2,
    "path": "mouse.mp4",
    "duration_seconds": 4.0,
    "width": 640,
    "height": 480,
    "window_seconds": 2.0,
    "stride_seconds": 1.0,
    "single_label": False,
    "labels": ["grooming", "rearing"],
    "thresholds": [0.41, 0.38],
    "segments": [
        {"label": "rearing", "start_seconds": 1.0, "end_seconds": 3.0, "score": 0.72},
    ],
    "notes": [],
    "novelty": {"share": 0.62, "distance": 0.31, "is_unlike": False},
    "provenance": {"msqnet_version": "0.1.0", "model": {"name": "mixed-actors-lite"}},
    "timeline": {
        "edges_seconds": [0.0, 1.0, 3.0, 4.0],
        "scores": [[0.02, 0.11], [0.05, 0.72], [0.03, 0.2]],
    },
    "windows": [
        {
            "start_seconds": 0.0,
            "end_seconds": 2.0,
            "motion_box": [0.0, 0.0, 1.0, 1.0],
            "scores": [0.02, 0.4],
        },
    ],
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
    found: float | None = Field(
        default=None, description="What was found instead.", examples=[612.0]
    )


class ErrorBody(BaseModel):
    """The body of every answer that is an error."""

    error: ErrorDetail


class PredictionOptions(BaseModel):
    """What may be chosen for a prediction; what is left out is as the model has it."""

    # As JSON a threshold is a number and nothing that could be taken for one; a form holds text.
    model_config = ConfigDict(extra="forbid", strict=True)

    labels: (
        Annotated[list[Annotated[str, Field(min_length=1, max_length=200)]], Field(min_length=1)]
        | None
    ) = Field(
        default=None,
        description="What to look for: any text for an open-vocabulary model, some of its own "
        "labels for any other.",
        examples=[["rearing", "grooming"]],
    )
    threshold: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="Score from which an action counts as present; by default the model's own "
        "threshold of each label.",
        examples=[0.5],
    )
    window_seconds: float | None = Field(
        default=None, gt=0, le=3600, description="Length of a window.", examples=[2.0]
    )
    stride_seconds: float | None = Field(
        default=None, gt=0, le=3600, description="Time between windows.", examples=[1.0]
    )


class VideoFactsBody(BaseModel):
    """What an upload turned out to be."""

    width: int = Field(description="Pixels, as stored.", examples=[640])
    height: int = Field(examples=[480])
    num_frames: int = Field(description="Frames that the file holds.", examples=[100])
    duration_seconds: float = Field(examples=[4.0])
    codec: str = Field(examples=["h264"])


class PredictionStatus(BaseModel):
    """How far a prediction is, and its result when it is done."""

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
        examples=[_PREDICTION_EXAMPLE],
    )


class MakingStatus(BaseModel):
    """How far something is that is being made; ask again after `Retry-After` seconds."""

    state: Literal["queued", "running"] = Field(examples=["running"])
    position: int | None = Field(default=None, description="Place in the queue while queued.")
    progress: float = Field(ge=0, le=1, examples=[0.4])


class HeatMapBody(BaseModel):
    """Where the model looked for one label, frame by frame."""

    label: str = Field(examples=["rearing"])
    start_seconds: float = Field(examples=[1.0])
    end_seconds: float = Field(examples=[3.0])
    score: float = Field(description="The label's score of the stretch.", examples=[0.72])
    num_frames: int = Field(description="T, maps.", examples=[16])
    height: int = Field(description="h, cells of the upright frame from top to bottom.")
    width: int = Field(description="w, cells from left to right.")
    pts_seconds: list[float] = Field(description="(T,) times of the maps.")
    maps: str = Field(description="Base64 of (T, h, w) bytes; 255 is where it looked most.")


class ModelBody(BaseModel):
    """A model that this server holds."""

    name: str = Field(examples=["mixed-actors-lite"])
    labels: list[str] = Field(
        description="Asked for where a request names no labels; empty where it must name some.",
        examples=[["grooming", "rearing"]],
    )
    is_open_vocabulary: bool = Field(
        description="Whether it scores any text, or its own labels only."
    )
    has_heat_maps: bool = Field(description="Whether it can be asked where it looked.")
    window_seconds: float = Field(examples=[2.0])
    stride_seconds: float = Field(examples=[1.0])


class LimitsBody(BaseModel):
    """What this server accepts and keeps."""

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
    """A video that the server itself has."""

    name: str = Field(examples=["bigbuckbunny"])
    title: str = Field(examples=["Big Buck Bunny"])
    file_name: str = Field(examples=["bigbuckbunny.mp4"])
    duration_seconds: float = Field(examples=[5.28])
    width: int = Field(examples=[1280])
    height: int = Field(examples=[720])
    credit: str = Field(description="Who made it, and its licence; empty where not known.")
    has_picture: bool = Field(description="Whether there is a small picture of it.")


class ExamplesBody(BaseModel):
    """The videos that can be tried without sending one."""

    examples: list[ExampleBody]


class Health(BaseModel):
    """Whether the server is there, and able to work."""

    status: Literal["ok", "loading"] = Field(examples=["ok"])
