"""What the server says of itself: models, limits, examples, health, metrics; and signing in."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Path, Request, Response
from starlette.responses import JSONResponse

from msqnet.serving.answers import error_answer, error_responses, file_answer
from msqnet.serving.metrics import CONTENT_TYPE, metrics_text
from msqnet.serving.refusals import Problem, Refusal
from msqnet.serving.schemas import (
    ExampleBody,
    ExamplesBody,
    Health,
    LimitsBody,
    ModelBody,
    ModelsBody,
)
from msqnet.serving.security import COOKIE, bearer_token

if TYPE_CHECKING:
    from msqnet.serving.security import Access
    from msqnet.serving.service import Service

_TEXT = {"content": {"text/plain": {"schema": {"type": "string"}}}}
_JPEG = {"content": {"image/jpeg": {"schema": {"type": "string", "format": "binary"}}}}


def server_router(service: Service, access: Access) -> APIRouter:
    """The routes that need no prediction."""
    router = APIRouter()
    _add_lists(router, service)
    _add_health(router, service)
    _add_session(router, access)
    return router


def _add_lists(router: APIRouter, service: Service) -> None:
    @router.get(
        "/api/v1/models",
        response_model=ModelsBody,
        tags=["server"],
        summary="Models and limits",
        responses=error_responses(503),
    )
    async def get_models() -> ModelsBody:
        """What this server can recognise, and what it accepts."""
        facts = service.model
        model = ModelBody(
            name=facts.name,
            labels=list(facts.labels),
            is_open_vocabulary=facts.is_open,
            has_heat_maps=facts.has_heat_maps,
            window_seconds=facts.window_seconds,
            stride_seconds=facts.stride_seconds,
        )
        return ModelsBody(models=[model], limits=LimitsBody(**asdict(service.limits)))

    @router.get(
        "/api/v1/examples",
        response_model=ExamplesBody,
        tags=["server"],
        summary="Videos to try",
        responses=error_responses(),
    )
    async def get_examples() -> ExamplesBody:
        """Videos that the server has; `POST /api/v1/examples/{name}/predictions` takes one."""
        found = [
            ExampleBody(
                name=item.name,
                title=item.title,
                file_name=item.path.name,
                duration_seconds=item.facts.duration_seconds,
                width=item.facts.width,
                height=item.facts.height,
                credit=item.credit,
                has_picture=item.picture is not None,
            )
            for item in service.examples.all()
        ]
        return ExamplesBody(examples=found)

    @router.get(
        "/api/v1/examples/{name}/picture",
        response_class=Response,
        tags=["server"],
        summary="A small picture of an example",
        responses={200: _JPEG, **error_responses(404, 422)},
    )
    async def get_picture(
        name: Annotated[str, Path(min_length=1, max_length=255)],
    ) -> Response:
        """A frame of it."""
        picture = service.examples.get(name).picture
        if picture is None:
            raise Refusal(Problem("not_found", "there is no picture of this example"))
        return file_answer(picture, "image/jpeg")


def _add_health(router: APIRouter, service: Service) -> None:
    @router.get("/healthz", response_model=Health, tags=["server"], summary="Is it there?")
    async def get_health() -> Health:
        """Answers as soon as the server listens."""
        return Health(status="ok")

    @router.get(
        "/readyz",
        response_model=Health,
        tags=["server"],
        summary="Can it work?",
        responses={503: {"model": Health, "description": "The model is being loaded."}},
    )
    async def get_readiness() -> Response:
        """503 until the model is loaded, and while a lost worker is started again."""
        if service.worker.is_ready:
            return JSONResponse(Health(status="ok").model_dump())
        return JSONResponse(Health(status="loading").model_dump(), 503)

    @router.get(
        "/metrics",
        response_class=Response,
        tags=["server"],
        summary="Counters for Prometheus",
        responses={200: _TEXT, **error_responses()},
    )
    def get_metrics() -> Response:
        """Prometheus' text format."""
        return Response(metrics_text(service), headers={"Content-Type": CONTENT_TYPE})


def _add_session(router: APIRouter, access: Access) -> None:
    @router.post(
        "/api/v1/session",
        status_code=204,
        tags=["server"],
        summary="Sign in a browser",
        responses={204: {"description": "The cookie is set."}, **error_responses()},
    )
    async def sign_in(request: Request) -> Response:
        """Gives a cookie for the token in `Authorization`, so that a player can load the video.

        Where the server needs no token there is nothing to do.
        """
        if access.token is None:
            return Response(status_code=204)
        if not access.is_token(bearer_token(request.headers)):
            return error_answer(Problem("token_needed", "this is not the token"), 401)
        response = Response(status_code=204)
        response.set_cookie(
            COOKIE,
            access.session,
            httponly=True,
            samesite="strict",
            secure=request.url.scheme == "https",
        )
        return response
