"""`/api/v1/predictions`: videos in, results out."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Path, Request, Response
from pydantic import ValidationError
from starlette.responses import JSONResponse

from msqnet.errors import VocabularyError
from msqnet.labels import LabelSet, split_labels
from msqnet.serving.answers import error_detail, error_responses, validation_message
from msqnet.serving.job import Job
from msqnet.serving.refusals import Problem, Refusal
from msqnet.serving.requests import PredictionSettings
from msqnet.serving.schemas import PredictionOptions, PredictionStatus, VideoFactsBody
from msqnet.serving.uploads import FILE_FIELD, linger

if TYPE_CHECKING:
    from msqnet.serving.service import Service

JobId = Annotated[
    str, Path(description="The id that was given for the video.", min_length=1, max_length=64)
]
_NUMBER = {"type": "number"}
_FORM: dict[str, Any] = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": [FILE_FIELD],
                "additionalProperties": False,
                "properties": {
                    FILE_FIELD: {
                        "type": "string",
                        "format": "binary",
                        "description": "The video; what it is, is decided by decoding it.",
                    },
                    "labels": {
                        "type": "string",
                        "description": "What to look for, joined by `|`.",
                        "example": "rearing|grooming",
                    },
                    "threshold": {**_NUMBER, "minimum": 0, "maximum": 1, "example": 0.5},
                    "window_seconds": {**_NUMBER, "exclusiveMinimum": 0, "example": 2.0},
                    "stride_seconds": {**_NUMBER, "exclusiveMinimum": 0, "example": 1.0},
                },
            }
        }
    },
}
_LOCATION = {
    "headers": {"Location": {"description": "Where its state is.", "schema": {"type": "string"}}}
}


def predictions_router(service: Service) -> APIRouter:
    """The routes that start, show and remove predictions."""
    router = APIRouter(prefix="/api/v1", tags=["predictions"])

    @router.post(
        "/predictions",
        status_code=202,
        response_model=PredictionStatus,
        summary="Send a video",
        responses={
            202: _LOCATION,
            **error_responses(400, 408, 413, 415, 422, 429, 503),
        },
        openapi_extra={"requestBody": _FORM},
    )
    async def send_video(request: Request) -> Response:
        """Queues the prediction of a video and gives its id, at once. It goes on if you leave."""
        try:
            job = await service.accept_upload(request, _settings_of_form)
        except Refusal:
            await linger(request)
            raise
        return _accepted(service, job, request)

    @router.post(
        "/examples/{name}/predictions",
        status_code=202,
        response_model=PredictionStatus,
        summary="Take an example",
        responses={202: _LOCATION, **error_responses(400, 404, 422, 429, 503)},
    )
    async def take_example(
        request: Request,
        name: Annotated[str, Path(min_length=1, max_length=255)],
        options: PredictionOptions,
    ) -> Response:
        """As for a video that is sent, with one that `/api/v1/examples` lists."""
        job = service.accept_example(name, _settings(options))
        return _accepted(service, job, request)

    @router.get(
        "/predictions/{prediction_id}",
        response_model=PredictionStatus,
        summary="State and result",
        responses=error_responses(404, 422),
    )
    async def get_prediction(prediction_id: JobId) -> Response:
        """How far a prediction is; with its result when it is done."""
        job = service.jobs.get(prediction_id)
        return await _status_answer(service, job)

    @router.delete(
        "/predictions/{prediction_id}",
        status_code=204,
        summary="Cancel or remove",
        responses={
            202: {"model": PredictionStatus, "description": "It was unfinished; now cancelled."},
            204: {"description": "It was finished; now removed."},
            **error_responses(404, 422),
        },
    )
    async def delete_prediction(prediction_id: JobId) -> Response:
        """Cancels a prediction that is not finished, and removes one that is. Files go either way.

        One that was cancelled stays known as such until it is deleted again or its time is over.
        """
        job = service.jobs.get(prediction_id)
        if await asyncio.to_thread(service.jobs.cancel, job):
            return JSONResponse(_status(service, job).model_dump(mode="json"), 202)
        return Response(status_code=204)

    return router


def _settings_of_form(fields: dict[str, str]) -> PredictionSettings:
    """What the form's other fields ask for; empty ones count as left out."""
    given: dict[str, Any] = {name: text.strip() for name, text in fields.items() if text.strip()}
    if "labels" in given:
        given["labels"] = list(split_labels(given["labels"]))
    try:
        return _settings(PredictionOptions.model_validate(given, strict=False))
    except ValidationError as error:
        message = validation_message(error.errors(include_url=False, include_input=False))
        raise Refusal(Problem("invalid_request", message)) from error


def _settings(options: PredictionOptions) -> PredictionSettings:
    labels = None if options.labels is None else tuple(name.strip() for name in options.labels)
    try:
        LabelSet(labels or ())
    except VocabularyError as error:
        raise Refusal(Problem("invalid_request", f"labels: {error}")) from error
    return PredictionSettings(
        labels, options.threshold, options.window_seconds, options.stride_seconds
    )


def _accepted(service: Service, job: Job, request: Request) -> Response:
    root = request.scope.get("root_path", "")
    headers = {"Location": f"{root}/api/v1/predictions/{job.id}"}
    return JSONResponse(_status(service, job).model_dump(mode="json"), 202, headers)


def _status(service: Service, job: Job) -> PredictionStatus:
    task = job.prediction
    chosen, facts = job.settings, job.facts
    expires = None
    if job.finished_at is not None:
        left = service.limits.kept_seconds - (time.monotonic() - job.finished_at)
        expires = round(max(0.0, left), 1)
    return PredictionStatus(
        id=job.id,
        state=task.state.value,
        position=service.jobs.position(task),
        progress=task.progress,
        file_name=job.display_name,
        video=VideoFactsBody(
            width=facts.width,
            height=facts.height,
            num_frames=facts.num_frames,
            duration_seconds=facts.duration_seconds,
            codec=facts.codec,
        ),
        options=PredictionOptions(
            labels=None if chosen.labels is None else list(chosen.labels),
            threshold=chosen.threshold,
            window_seconds=chosen.window_seconds,
            stride_seconds=chosen.stride_seconds,
        ),
        expires_in_seconds=expires,
        error=None if task.problem is None else error_detail(task.problem),
    )


async def _status_answer(service: Service, job: Job) -> Response:
    """The state; the result is put in as the text that the worker wrote, not parsed again."""
    status = _status(service, job)
    document = status.model_dump(mode="json", exclude={"result"})
    result = "null"
    if status.state == "done":
        try:
            result = await asyncio.to_thread(job.prediction.output.read_text, "ascii")
        except FileNotFoundError as error:
            raise Refusal(Problem("not_found", "the result was removed")) from error
    text = json.dumps(document)[:-1] + f', "result": {result.strip()}}}'
    return Response(text, media_type="application/json")
