"""What can be had of one prediction besides its state: the video, files, heat maps."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Query, Response

from msqnet.serving.answers import attachment, error_responses, file_answer, made_answer
from msqnet.serving.routes_predictions import JobId
from msqnet.serving.schemas import HeatMapBody, MakingStatus
from msqnet.serving.segments import segments_csv
from msqnet.serving.service import result_file

if TYPE_CHECKING:
    from msqnet.serving.service import Service

_PARQUET = "application/vnd.apache.parquet"
_BINARY = {"schema": {"type": "string", "format": "binary"}}
_MAKING = {
    "model": MakingStatus,
    "description": "It is being made; ask again after `Retry-After` seconds.",
    "headers": {"Retry-After": {"schema": {"type": "integer"}}},
}
_ERRORS = error_responses(404, 409, 422, 429, 503)
_Seconds = Annotated[float, Query(ge=0, le=1e6, description="From the first frame.")]


def extras_router(service: Service) -> APIRouter:
    """The routes below one prediction."""
    router = APIRouter(prefix="/api/v1/predictions/{prediction_id}", tags=["results"])
    _add_video(router, service)
    _add_result_files(router, service)
    _add_made_files(router, service)
    _add_heat_map(router, service)
    return router


def _add_video(router: APIRouter, service: Service) -> None:
    @router.get(
        "/video",
        response_class=Response,
        summary="The video, for a player",
        responses={
            200: {"content": {"video/mp4": _BINARY, "video/webm": _BINARY}},
            202: _MAKING,
            206: {"description": "A range of it.", "content": {"video/mp4": _BINARY}},
            **_ERRORS,
        },
    )
    async def get_video(
        prediction_id: JobId,
        transcode: Annotated[
            bool, Query(description="An H.264 copy even where browsers play the file itself.")
        ] = False,
    ) -> Response:
        """As it was sent, or, where browsers do not play that, an H.264 copy. Takes ranges."""
        job = service.jobs.get(prediction_id)
        if job.facts.media_type is not None and not transcode:
            return file_answer(job.video, job.facts.media_type)
        return made_answer(service, service.preview(job), "video/mp4")


def _add_result_files(router: APIRouter, service: Service) -> None:
    @router.get(
        "/result.json",
        response_class=Response,
        summary="The result as a file",
        responses={
            200: {"content": {"application/json": {"schema": {"type": "object"}}}},
            **_ERRORS,
        },
    )
    async def get_result(prediction_id: JobId) -> Response:
        """The JSON that `msqnet predict` writes."""
        job = service.jobs.get(prediction_id)
        name = f"{job.display_name}.json"
        return file_answer(result_file(job), "application/json", save_as=name)

    @router.get(
        "/scores.parquet",
        response_class=Response,
        summary="Every label over time",
        responses={200: {"content": {_PARQUET: _BINARY}}, **_ERRORS},
    )
    async def get_scores(prediction_id: JobId) -> Response:
        """The Parquet file that `msqnet predict` writes."""
        job = service.jobs.get(prediction_id)
        path = result_file(job).with_suffix(".scores.parquet")
        return file_answer(path, _PARQUET, save_as=f"{job.display_name}.scores.parquet")

    @router.get(
        "/segments.csv",
        response_class=Response,
        summary="The segments as a table",
        responses={200: {"content": {"text/csv": {"schema": {"type": "string"}}}}, **_ERRORS},
    )
    async def get_segments(
        prediction_id: JobId,
        threshold: Annotated[
            float | None,
            Query(ge=0, le=1, description="Another threshold than the prediction had."),
        ] = None,
    ) -> Response:
        """Columns path, label, start_seconds, end_seconds, score."""
        job = service.jobs.get(prediction_id)
        text = await asyncio.to_thread(segments_csv, result_file(job), threshold)
        headers = {"Content-Disposition": attachment(f"{job.display_name}.csv")}
        return Response(text, media_type="text/csv", headers=headers)


def _add_made_files(router: APIRouter, service: Service) -> None:
    @router.get(
        "/overlay",
        response_class=Response,
        summary="The video with scores drawn into it",
        responses={200: {"content": {"video/mp4": _BINARY}}, 202: _MAKING, **_ERRORS},
    )
    async def get_overlay(prediction_id: JobId) -> Response:
        """Made when it is first asked for."""
        job = service.jobs.get(prediction_id)
        name = f"{job.display_name}.overlay.mp4"
        return made_answer(service, service.overlay(job), "video/mp4", save_as=name)

    @router.get(
        "/report",
        response_class=Response,
        summary="A self-contained page about the video",
        responses={
            200: {"content": {"text/html": {"schema": {"type": "string"}}}},
            202: _MAKING,
            **_ERRORS,
        },
    )
    async def get_report(prediction_id: JobId) -> Response:
        """One HTML file that opens from disk. Made when it is first asked for."""
        job = service.jobs.get(prediction_id)
        name = f"{job.display_name}.html"
        return made_answer(service, service.report(job), "text/html", save_as=name)


def _add_heat_map(router: APIRouter, service: Service) -> None:
    responses: dict[int | str, dict[str, Any]] = {202: _MAKING, **_ERRORS}

    @router.get(
        "/heat-map",
        response_model=HeatMapBody,
        summary="Where the model looked for a label",
        responses=responses,
    )
    async def get_heat_map(
        prediction_id: JobId,
        label: Annotated[str, Query(min_length=1, max_length=200)],
        start_seconds: _Seconds,
        end_seconds: _Seconds,
    ) -> Response:
        """One map for each frame that the model sees of the stretch. Made when first asked for."""
        job = service.jobs.get(prediction_id)
        task = service.heat_map(job, label, start_seconds, end_seconds)
        return made_answer(service, task, "application/json")
