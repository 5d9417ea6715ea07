"""The routes of the API: uploads, results, and the state of the server."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import asdict, replace
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from prometheus_client import generate_latest
from pydantic import ValidationError
from starlette.responses import FileResponse, JSONResponse

from msqnet.config import SegmentConfig
from msqnet.errors import VocabularyError
from msqnet.labels import LabelSet, split_labels
from msqnet.serving.jobs import Job, State, Task
from msqnet.serving.request_errors import RequestError, error_responses
from msqnet.serving.schemas import (
    ExamplesBody,
    Health,
    HeatMapBody,
    LimitsBody,
    MakingStatus,
    ModelsBody,
    PredictionOptions,
    PredictionStatus,
)
from msqnet.serving.security import Access, bearer_token
from msqnet.serving.service import Service, ServiceMetrics, result_file
from msqnet.serving.uploads import FILE_FIELD
from msqnet.serving.worker import Kind

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_PLACES = ("body", "query", "path")
# For the OpenAPI document.
_BINARY = {"schema": {"type": "string", "format": "binary"}}
_TEXT = {"schema": {"type": "string"}}
_PARQUET = "application/vnd.apache.parquet"
_FORM: dict[str, Any] = {
    "type": "object",
    "required": [FILE_FIELD],
    "additionalProperties": False,
    "properties": {
        FILE_FIELD: {
            "type": "string",
            "format": "binary",
            "description": "The video; its type is found by decoding it.",
        },
        "labels": {
            "type": "string",
            "description": "Labels to predict, joined by `|`.",
            "example": "rearing|grooming",
        },
        "threshold": {"type": "number", "minimum": 0, "maximum": 1, "example": 0.5},
        "window_seconds": {"type": "number", "exclusiveMinimum": 0, "example": 2.0},
        "stride_seconds": {"type": "number", "exclusiveMinimum": 0, "example": 1.0},
    },
}
_FORM_BODY = {"required": True, "content": {"multipart/form-data": {"schema": _FORM}}}
_LOCATION = {"headers": {"Location": {"description": "Where its state is.", **_TEXT}}}
_MAKING = {
    "model": MakingStatus,
    "description": "It is being made; ask again after `Retry-After` seconds.",
    "headers": {"Retry-After": {"schema": {"type": "integer"}}},
}


def _file(media_type: str, schema: Any, others: Mapping[int | str, Any]) -> dict[str, Any]:
    """Arguments of a route that responds with a file, and its other responses."""
    found = {200: {"content": {media_type: schema}}, **others}
    return {"response_class": Response, "responses": found}


server = APIRouter(tags=["server"])
predictions = APIRouter(prefix="/api/v1", tags=["predictions"])
results = APIRouter(
    prefix="/api/v1/predictions/{prediction_id}",
    tags=["results"],
    responses=error_responses(404, 409, 422, 429, 503),
)


async def get_service(request: Request) -> Service:
    """The service of the application."""
    service: Service = request.app.state.service
    return service


TheService = Annotated[Service, Depends(get_service)]


async def get_job(
    service: TheService,
    prediction_id: Annotated[
        str, Path(description="The id that was given for the video.", min_length=1, max_length=64)
    ],
) -> Job:
    """The job whose id is in the path."""
    return service.jobs.get(prediction_id)


TheJob = Annotated[Job, Depends(get_job)]
ExampleName = Annotated[str, Path(min_length=1, max_length=255)]
Seconds = Annotated[float, Query(ge=0, le=1e6, description="From the first frame.")]


@server.get("/api/v1/models", summary="Models and limits", responses=error_responses(503))
async def get_models(service: TheService) -> ModelsBody:
    """Labels that this server predicts, and its limits."""
    return ModelsBody(models=[service.model], limits=LimitsBody(**asdict(service.limits)))


@server.get("/api/v1/examples", summary="Videos to try", responses=error_responses())
async def get_examples(service: TheService) -> ExamplesBody:
    """Videos of the server; `POST /api/v1/examples/{name}/predictions` predicts one."""
    return ExamplesBody(examples=list(service.examples.values()))


@server.get(
    "/api/v1/examples/{name}/picture",
    summary="A small picture of an example",
    **_file("image/jpeg", _BINARY, error_responses(404, 422)),
)
async def get_picture(service: TheService, name: ExampleName) -> Response:
    """One of its frames."""
    picture = service.example(name).picture
    if picture is None:
        raise RequestError("not_found", "there is no picture of this example")
    return _file_response(picture, "image/jpeg")


@server.get("/healthz", summary="Is it running?")
async def get_health() -> Health:
    """200 as soon as the server listens."""
    return Health(status="ok")


@server.get(
    "/readyz",
    summary="Can it work?",
    responses={503: {"model": Health, "description": "The model is being loaded."}},
)
async def get_readiness(service: TheService, response: Response) -> Health:
    """503 until the model is loaded, and while a lost worker is started again."""
    if service.worker.is_ready:
        return Health(status="ok")
    response.status_code = 503
    return Health(status="loading")


@server.get(
    "/metrics", summary="Metrics for Prometheus", **_file("text/plain", _TEXT, error_responses())
)
def get_metrics(service: TheService) -> Response:
    """Prometheus' text format."""
    headers = {"Content-Type": "text/plain; version=0.0.4; charset=utf-8"}
    return Response(generate_latest(ServiceMetrics(service)), headers=headers)


@server.post(
    "/api/v1/session",
    status_code=204,
    summary="Sign in a browser",
    responses={204: {"description": "The cookie is set."}, **error_responses()},
)
async def sign_in(request: Request) -> Response:
    """Sets a cookie for the token in `Authorization`, so that a player can load the video.

    Does nothing if the server needs no token.
    """
    access: Access = request.app.state.access
    response = Response(status_code=204)
    if access.token is not None:
        if not access.is_token(bearer_token(request.headers)):
            raise RequestError("token_needed", "this is not the token")
        secure = request.url.scheme == "https"
        response.set_cookie(
            access.cookie, access.session, httponly=True, samesite="strict", secure=secure
        )
    return response


@predictions.post(
    "/predictions",
    status_code=202,
    response_model=PredictionStatus,
    summary="Send a video",
    responses={202: _LOCATION, **error_responses(400, 408, 413, 415, 422, 429, 503)},
    openapi_extra={"requestBody": _FORM_BODY},
)
async def send_video(service: TheService, request: Request) -> Response:
    """Queues the prediction of a video and returns its id at once."""
    return _accepted(service, await service.accept_upload(request, _options_of_form), request)


@predictions.post(
    "/examples/{name}/predictions",
    status_code=202,
    response_model=PredictionStatus,
    summary="Predict an example",
    responses={202: _LOCATION, **error_responses(400, 404, 413, 422, 429, 503)},
)
async def take_example(
    service: TheService, request: Request, name: ExampleName, options: PredictionOptions
) -> Response:
    """Like sending a video, with one that `/api/v1/examples` lists."""
    return _accepted(service, service.accept_example(name, _checked_labels(options)), request)


@predictions.get(
    "/predictions/{prediction_id}",
    response_model=PredictionStatus,
    summary="State and result",
    responses=error_responses(404, 422),
)
async def get_prediction(service: TheService, job: TheJob) -> Response:
    """The state of a prediction, with its result when it is done."""
    status = _status(service, job)
    result = "null"
    if status["state"] == State.DONE:
        try:
            result = await asyncio.to_thread(job.request.output.read_text, "ascii")
        except FileNotFoundError as error:
            raise RequestError("not_found", "the result was removed") from error
    # Inserted as the text that the worker wrote, not parsed and written again.
    del status["result"]
    text = json.dumps(status)[:-1] + f', "result": {result.strip()}}}'
    return Response(text, media_type="application/json")


@predictions.delete(
    "/predictions/{prediction_id}",
    status_code=204,
    summary="Cancel or remove",
    responses={
        202: {"model": PredictionStatus, "description": "It was unfinished and is cancelled."},
        204: {"description": "It was finished and is removed."},
        **error_responses(404, 422),
    },
)
async def delete_prediction(service: TheService, job: TheJob) -> Response:
    """Cancels an unfinished prediction or removes a finished one, with its files.

    A cancelled prediction stays listed until it is deleted again or expires.
    """
    if await asyncio.to_thread(service.jobs.cancel, job):
        return JSONResponse(_status(service, job), 202)
    return Response(status_code=204)


@results.get(
    "/video",
    response_class=Response,
    summary="The video, for a player",
    responses={
        200: {"content": {"video/mp4": _BINARY, "video/webm": _BINARY}},
        202: _MAKING,
        206: {"description": "A range of it.", "content": {"video/mp4": _BINARY}},
    },
)
async def get_video(
    service: TheService,
    job: TheJob,
    transcode: Annotated[
        bool, Query(description="An H.264 copy even if browsers play the file itself.")
    ] = False,
) -> Response:
    """The uploaded file, or an H.264 copy if browsers cannot play it. Supports ranges."""
    if job.facts.media_type is not None and not transcode:
        return _file_response(job.request.video, job.facts.media_type)
    return _made_response(service, service.extra(job, Kind.PREVIEW), "video/mp4")


@results.get(
    "/result.json",
    summary="The result as a file",
    **_file("application/json", {"schema": {"type": "object"}}, {}),
)
async def get_result(job: TheJob) -> Response:
    """The JSON that `msqnet predict` writes."""
    name = f"{job.request.display_name}.json"
    return _file_response(result_file(job), "application/json", save_as=name)


@results.get("/scores.parquet", summary="Every label over time", **_file(_PARQUET, _BINARY, {}))
async def get_scores(job: TheJob) -> Response:
    """The Parquet file that `msqnet predict` writes."""
    file = result_file(job).with_suffix(".scores.parquet")
    return _file_response(file, _PARQUET, save_as=f"{job.request.display_name}.scores.parquet")


@results.get("/segments.csv", summary="The segments as a table", **_file("text/csv", _TEXT, {}))
async def get_segments(
    job: TheJob,
    threshold: Annotated[
        float | None, Query(ge=0, le=1, description="Another threshold than the prediction had.")
    ] = None,
) -> Response:
    """Columns path, label, start_seconds, end_seconds, score."""
    text = await asyncio.to_thread(segments_csv, result_file(job), threshold)
    headers = {"Content-Disposition": _attachment(f"{job.request.display_name}.csv")}
    return Response(text, media_type="text/csv", headers=headers)


@results.get(
    "/overlay",
    summary="The video with scores drawn into it",
    **_file("video/mp4", _BINARY, {202: _MAKING}),
)
async def get_overlay(service: TheService, job: TheJob) -> Response:
    """Made on the first request."""
    task, name = service.extra(job, Kind.OVERLAY), f"{job.request.display_name}.overlay.mp4"
    return _made_response(service, task, "video/mp4", save_as=name)


@results.get(
    "/report",
    summary="A self-contained page about the video",
    **_file("text/html", _TEXT, {202: _MAKING}),
)
async def get_report(service: TheService, job: TheJob) -> Response:
    """One HTML file that opens from disk. Made on the first request."""
    task, name = service.extra(job, Kind.REPORT), f"{job.request.display_name}.html"
    return _made_response(service, task, "text/html", save_as=name)


@results.get(
    "/heat-map",
    response_model=HeatMapBody,
    summary="Attribution map of a label",
    responses={202: _MAKING},
)
async def get_heat_map(
    service: TheService,
    job: TheJob,
    label: Annotated[str, Query(min_length=1, max_length=200)],
    start_seconds: Seconds,
    end_seconds: Seconds,
) -> Response:
    """One map for each frame of the interval that the model sees. Made on the first request."""
    task = service.heat_map(job, label, start_seconds, end_seconds)
    return _made_response(service, task, "application/json")


def segments_csv(result: FilePath, threshold: float | None) -> str:
    """The table of segments of a result in JSON; a threshold computes them anew for all labels."""
    import numpy as np

    from msqnet.inference.merge import segments_from_timeline
    from msqnet.predictions import VideoPredictions

    try:
        predictions = VideoPredictions.from_json(result.read_text(encoding="ascii"))
    except FileNotFoundError as error:
        raise RequestError("not_found", "the result was removed") from error
    if threshold is not None:
        settings = predictions.provenance["settings"]
        segments = segments_from_timeline(
            predictions.timeline,
            predictions.labels,
            np.asarray(predictions.thresholds, dtype=np.float32),
            SegmentConfig(**{**settings["segments"], "threshold": threshold}),
            reach_seconds=settings.get("border_reach_seconds", 0.0),
            single_label=predictions.single_label,
            unproven=predictions.unproven,
        )
        predictions = replace(predictions, segments=tuple(segments))
    return predictions.segments_csv()


_SHOWN_CHARACTERS = 40


def validation_message(errors: Sequence[Any]) -> str:
    """The first of pydantic's errors in one line that names the field."""
    first = errors[0]
    parts = [str(part) for part in first["loc"]]
    # Of a request the place comes first: body, query or path.
    field = ".".join(parts[1:] if len(parts) > 1 and parts[0] in _PLACES else parts)
    message = first["msg"]
    if first["type"] in ("string_too_long", "string_too_short"):
        text = first["input"]
        shown = text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}..."
        bounds = first["ctx"]
        limit = bounds.get("max_length", bounds.get("min_length"))
        side = "most" if "max_length" in bounds else "least"
        message = f"found {len(text)} character(s) ({shown!r}), expected at {side} {limit}"
    return f"{field or 'request'}: {message}"


def _options_of_form(fields: dict[str, str]) -> PredictionOptions:
    """The options in a form; empty fields count as left out."""
    given: dict[str, Any] = {name: text.strip() for name, text in fields.items() if text.strip()}
    if "labels" in given:
        given["labels"] = split_labels(given["labels"])
    try:
        options = PredictionOptions.model_validate(given, strict=False)
    except ValidationError as error:
        message = validation_message(error.errors())
        raise RequestError("invalid_request", message) from error
    return _checked_labels(options)


def _checked_labels(options: PredictionOptions) -> PredictionOptions:
    labels = None if options.labels is None else tuple(name.strip() for name in options.labels)
    try:
        LabelSet(labels or ())
    except VocabularyError as error:
        raise RequestError("invalid_request", f"labels: {error}") from error
    return options.model_copy(update={"labels": labels})


def _accepted(service: Service, job: Job, request: Request) -> Response:
    headers = {"Location": f"{request.scope.get('root_path', '')}/api/v1/predictions/{job.id}"}
    return JSONResponse(_status(service, job), 202, headers)


def _status(service: Service, job: Job) -> dict[str, Any]:
    """The state of a prediction as JSON, without its result."""
    expires = None
    if job.finished_at is not None:
        left = service.limits.kept_seconds - (time.monotonic() - job.finished_at)
        expires = round(max(0.0, left), 1)
    status = PredictionStatus(
        id=job.id,
        state=job.prediction.state.value,
        position=service.jobs.position(job.prediction),
        progress=job.prediction.progress,
        file_name=job.request.display_name,
        video=job.facts,
        options=job.request.options,
        expires_in_seconds=expires,
        error=job.prediction.error,
    )
    return status.model_dump(mode="json")


def _file_response(path: FilePath, media_type: str, *, save_as: str | None = None) -> Response:
    """A file, in ranges if requested; ``save_as`` makes a browser store it under that name."""
    try:
        found = path.stat()  # while an error response is still possible
    except FileNotFoundError as error:
        raise RequestError("not_found", "the file was removed") from error
    headers = {} if save_as is None else {"Content-Disposition": _attachment(save_as)}
    return FileResponse(path, media_type=media_type, headers=headers, stat_result=found)


def _attachment(name: str) -> str:
    """A ``Content-Disposition`` that stores under a name of any characters."""
    plain = "".join(c if c.isascii() and (c.isalnum() or c in "._- ") else "_" for c in name)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"


def _made_response(
    service: Service, task: Task, media_type: str, *, save_as: str | None = None
) -> Response:
    """The file that a task makes if it is done, else the state of the task."""
    if task.state is State.DONE:
        return _file_response(task.request.output, media_type, save_as=save_as)
    if task.state in (State.FAILED, State.CANCELLED):
        reason = task.error.message if task.error else "it was cancelled"
        raise RequestError("not_finished", f"it cannot be made: {reason}")
    status = MakingStatus(
        state="running" if task.state is State.RUNNING else "queued",
        position=service.jobs.position(task),
        progress=task.progress,
    )
    return JSONResponse(status.model_dump(), 202, {"Retry-After": "1"})
