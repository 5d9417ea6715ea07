"""The server of a review: a page and its API, on this machine only."""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import sqlite3
import time
from collections import Counter
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from fastapi import Depends, FastAPI, Header, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import FileResponse, JSONResponse

from msqnet import __version__
from msqnet.errors import MsqnetError
from msqnet.formats import FORMATS, load_format
from msqnet.labels import plain_text
from msqnet.predictions import VideoPredictions
from msqnet.review.export import Contents, write_format, write_project_table
from msqnet.review.items import ChangeBody  # noqa: TC001 - FastAPI evaluates it
from msqnet.review.media import CopyTask, Media
from msqnet.review.project import Change, Label, Project, Video, with_keys
from msqnet.review.tasks import Task, model_of, predict_task, retrain_task, use_trained
from msqnet.review.teaching import Examples, check_name, check_spelling, lessons, teach_task
from msqnet.serving.app import (
    PageFiles,
    add_error_handlers,
    guarded,
    listen,
    make_server,
    stopped_by_signals,
)
from msqnet.serving.request_errors import RequestError
from msqnet.serving.routes import sign_in
from msqnet.serving.security import LOOPBACK_HOSTS, Access

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from starlette.types import ASGIApp

HOST = "127.0.0.1"
_STOP_SECONDS = 5.0
_WINDOW_SECONDS = 12.0
"""A window that was not heard of for so long is closed."""


class LabelBody(BaseModel):
    """A label of the project."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(min_length=1, max_length=200)
    key: str = Field(default="", max_length=1)
    is_point: bool = False


class ExportBody(BaseModel):
    """A format, and the name of what is written beside the table."""

    model_config = ConfigDict(extra="forbid")

    format: str
    name: str = Field(min_length=1, max_length=150, pattern=r"^[^/\\:\x00-\x1f]+$")
    overwrite: bool = False
    options: dict[str, str] = Field(default={}, max_length=50)


class TaskBody(BaseModel):
    """What to do with a model; ids of videos to hold out of training, and whether it is anew.

    The label is the one to teach.
    """

    model_config = ConfigDict(extra="forbid")

    kind: Literal["predict", "retrain", "use", "teach"]
    label: str = Field(default="", max_length=200)
    held_out: list[int] = Field(default=[], max_length=100_000)
    is_anew: bool = False


class Review:
    """A project that is being reviewed, and the table that it is written to."""

    def __init__(self, project: Project, table: Path, notes: tuple[str, ...]) -> None:
        self.project, self.table, self.notes = project, table, notes
        self.media = Media(project.folder / "copies")
        self._window, self._heard_at = "", 0.0
        self._writing = asyncio.Lock()
        self.task: Task | None = None
        self._running: asyncio.Task[None] | None = None

    def enter(self, window: str, *, is_forced: bool) -> None:
        """Let a window of the page change the project; `RequestError` if another one does."""
        is_heard = time.monotonic() - self._heard_at < _WINDOW_SECONDS
        if self._window not in ("", window) and is_heard and not is_forced:
            raise RequestError("other_window", "this project is open in another window")
        self._window, self._heard_at = window, time.monotonic()

    def leave(self, window: str) -> None:
        """Note that a window is closed."""
        if window == self._window:
            self._window = ""

    def check_window(self, window: str) -> None:
        """Raise `RequestError` for a window that may not change the project."""
        if window != self._window:
            raise RequestError(
                "other_window", "this project was opened in another window; nothing was stored"
            )
        self._heard_at = time.monotonic()

    def video(self, number: int) -> Video:
        """The video of an id; `RequestError` if there is none."""
        try:
            return self.project.video(number)
        except KeyError:
            raise RequestError("not_found", f"there is no video {number}") from None

    async def write_table(self) -> int:
        """Write the table as the project is now; returns its number of rows."""
        async with self._writing:
            contents = Contents.of(self.project)
            num_rows = await asyncio.to_thread(write_project_table, contents, self.table)
            self.project.set_fact("table_state", table_state(self.table))
            return num_rows

    async def write(self, body: ExportBody) -> list[str]:
        """Write the project in a format, into the folder of the table."""
        path = self.table.parent / body.name
        if body.name.strip(". ") != body.name.strip() or path.name != body.name:
            raise RequestError("invalid_request", f"{body.name!r} is not the name of a file")
        if body.format == "table" and path == self.table and not body.options:
            num_rows = await self.write_table()
            text = f"{path}: {num_rows} rows" if num_rows else "nothing is annotated yet"
            return [text]
        if path == self.project.folder:
            raise RequestError("invalid_request", f"{body.name} is the folder of the project")
        contents = Contents.of(self.project)
        async with self._writing:
            write = partial(write_format, contents, body.format, path, body.options)
            return list(await asyncio.to_thread(write, overwrite=body.overwrite))

    async def start(self, body: TaskBody) -> None:
        """Predict, train or teach; `RequestError` while one runs, `ConfigError` for nothing."""
        if self.task is not None and self.task.state == "running":
            raise RequestError("not_finished", f"{self.task.title} is not finished yet")
        if body.kind == "use":
            use_trained(self.project)
            return
        if body.kind == "predict":
            task = predict_task(self.project)
        elif body.kind == "teach":
            task = teach_task(self.project, plain_text(body.label))
        else:
            task = retrain_task(self.project, self.table, body.held_out, is_anew=body.is_anew)
            await self.write_table()
        self.task = task
        self._running = asyncio.create_task(task.run())

    async def stop(self) -> None:
        """End what runs, and the processes that read videos."""
        if self.task is not None and self._running is not None:
            self.task.cancel()
            await self._running
        await asyncio.to_thread(self.media.stop)

    def task_as_json(self) -> dict[str, Any]:
        """The model that is used, what it can be used for, and the task that runs or ran last."""
        videos = self.project.videos()
        task = self.task
        return {
            "model": model_of(self.project),
            "trained": self.project.fact("trained_model"),
            "lessons": lessons(self.project),
            "comparison": json.loads(self.project.fact("comparison") or "{}"),
            "num_untouched": sum(video.state == "untouched" for video in videos),
            "videos": [
                {"id": video.id, "name": video.name, "split": video.fields.get("split", "")}
                for video in videos
                if video.num_edits or video.is_done or video.fields.get("split")
            ],
            "task": task
            and {
                "title": task.title,
                "state": task.state,
                "lines": list(task.lines),
                "result": task.result,
            },
        }

    def as_json(self) -> dict[str, Any]:
        """What the page shows before a video is chosen."""
        return {
            "version": __version__,
            "table": self.table.name,
            "folder": str(self.table.parent),
            "notes": self.notes,
            "labels": [vars(label) for label in self.project.labels()],
            "videos": [self.summary(video) for video in self.project.videos()],
            "formats": [
                {
                    "name": found.name,
                    "title": found.title,
                    "suffix": found.suffix,
                    "options": dict(found.options),
                }
                for found in map(load_format, FORMATS)
                if found.write is not None
            ],
        }

    def summary(self, video: Video) -> dict[str, Any]:
        """A line of the list of videos."""
        return {
            "id": video.id,
            "name": video.name,
            "state": video.state,
            "duration": video.duration_seconds,
            "num_open": self.project.num_open(video.id),
        }


def table_state(table: Path) -> str:
    """Text that changes when a file does; empty where there is none."""
    try:
        status = table.stat()
    except OSError:
        return ""
    return f"{status.st_size} {status.st_mtime_ns}"


def serve_review(
    project: Project,
    table: Path,
    notes: tuple[str, ...],
    port: int,
    announce: Callable[[str], None],
) -> None:
    """Run the server until SIGINT or SIGTERM.

    ``announce`` gets the address, which lets one browser in. `ConfigError` if the port is taken.
    """
    with contextlib.closing(listen(HOST, port, "--port")) as listener:
        port = listener.getsockname()[1]
        token = project.fact("token") or secrets.token_urlsafe(24)
        access = Access(token, frozenset(LOOPBACK_HOSTS), token[::-1], f"msqnet_review_{port}")
        review = Review(project, table, notes)
        server = make_server(create_app(review, access), _STOP_SECONDS)
        with stopped_by_signals(server):
            announce(f"http://{HOST}:{port}/#token={token}")
            server.run(sockets=[listener])


def create_app(review: Review, access: Access) -> ASGIApp:
    """The application around an open project."""

    @contextlib.asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        yield
        await review.stop()

    app = FastAPI(
        title="msqnet review", lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None
    )
    errors: Counter[tuple[str, ...]] = Counter()
    add_error_handlers(app, errors)
    app.state.access = access

    async def on_error(_request: Request, error: Exception) -> Response:
        is_known = isinstance(error, MsqnetError)
        message = str(error) if is_known else f"it cannot be stored: {error}"
        code = "invalid_request" if is_known else "storage_failed"
        return JSONResponse({"error": {"code": code, "message": message}}, 422)

    for kind in (MsqnetError, OSError, sqlite3.Error):
        app.add_exception_handler(kind, on_error)

    page = PageFiles(
        packages=[
            ("msqnet.review", "page"),
            ("msqnet.serving", "page"),
            ("msqnet.report", "assets"),
        ]
    )
    app.mount("/assets", page)

    @app.get("/")
    async def get_page(request: Request) -> Response:
        return await page.get_response("review.html", request.scope)

    app.post("/api/v1/session", status_code=204)(sign_in)
    _add_reading_routes(app, review)
    _add_media_routes(app, review)
    _add_window_route(app, review)
    _add_changing_routes(app, review)
    _add_project_routes(app, review)
    _add_task_routes(app, review)
    return guarded(app, access, errors, Counter())


def _add_reading_routes(app: FastAPI, review: Review) -> None:
    @app.get("/api/v1/project")
    async def get_project() -> Response:
        return JSONResponse(review.as_json())

    @app.get("/api/v1/videos/{number}")
    async def get_video(number: int) -> Response:
        video = review.video(number)
        num_undo, num_redo = review.project.counts(number)
        items = [item.model_dump(mode="json") for item in review.project.items(number)]
        known = {"items": items, "num_undo": num_undo, "num_redo": num_redo}
        return JSONResponse({**review.summary(video), **known, "has_scores": bool(video.result)})


def _add_media_routes(app: FastAPI, review: Review) -> None:
    @app.get("/api/v1/videos/{number}/facts")
    async def get_facts(number: int) -> Response:
        facts = await review.media.facts(review.video(number).path)
        review.project.set_duration(number, facts.duration_seconds)
        return JSONResponse(
            {
                "duration": facts.duration_seconds,
                "end": facts.end_seconds,
                "width": facts.width,
                "height": facts.height,
                "notes": facts.notes,
                "is_playable": facts.media_type is not None,
            }
        )

    @app.get("/api/v1/videos/{number}/frames")
    async def get_frames(number: int) -> Response:
        facts = await review.media.facts(review.video(number).path)
        return Response(facts.frame_starts, media_type="application/octet-stream")

    @app.get("/api/v1/videos/{number}/file")
    async def get_file(number: int, copy: Annotated[bool, Query()] = False) -> Response:
        path = review.video(number).path
        facts = await review.media.facts(path)
        if facts.media_type is not None and not copy:
            return FileResponse(path, media_type=facts.media_type)
        found = review.media.copy(path, facts)
        if not isinstance(found, CopyTask):
            return FileResponse(found, media_type="video/mp4")
        if found.error:
            raise RequestError("not_finished", f"it cannot be made playable: {found.error}")
        return JSONResponse({"share": found.share}, 202)

    @app.get("/api/v1/videos/{number}/scores")
    async def get_scores(number: int) -> Response:
        return JSONResponse(await asyncio.to_thread(_scores, Path(review.video(number).result)))


def _scores(result: Path) -> dict[str, Any]:
    """Scores of a result by label over its steps; `RequestError` if it cannot be read."""
    try:
        found = VideoPredictions.from_json(result.read_text("ascii"))
    except (OSError, MsqnetError, ValueError) as error:
        raise RequestError("not_found", f"there are no scores: {error}") from error
    return {
        "labels": list(found.labels),
        "edges": found.timeline.edges_seconds.round(4).tolist(),
        "scores": found.timeline.scores.T.astype(float).round(3).tolist(),
    }


def _add_window_route(app: FastAPI, review: Review) -> None:
    @app.post("/api/v1/window", status_code=204)
    async def enter(
        x_msqnet_window: Annotated[str, Header(min_length=8, max_length=64)],
        force: Annotated[bool, Query()] = False,
        leave: Annotated[bool, Query()] = False,
    ) -> Response:
        if leave:
            review.leave(x_msqnet_window)
        else:
            review.enter(x_msqnet_window, is_forced=force)
        return Response(status_code=204)


def _own_window(review: Review) -> list[Any]:
    """What routes that change something depend on."""

    async def own_window(x_msqnet_window: Annotated[str, Header(max_length=64)]) -> None:
        """A header that pages of other sites cannot send, and one window at a time."""
        review.check_window(x_msqnet_window)

    return [Depends(own_window)]


def _add_project_routes(app: FastAPI, review: Review) -> None:
    checked = _own_window(review)

    @app.put("/api/v1/labels", dependencies=checked)
    async def put_labels(body: list[LabelBody]) -> Response:
        labels = [Label(item.name, item.key, item.is_point) for item in body]
        known = {label.name for label in review.project.labels()}
        new = [plain_text(label.name) for label in labels if plain_text(label.name) not in known]
        for name in new:
            check_spelling(name, known, "this project")
        review.project.set_labels(with_keys(labels) if new else labels)
        return JSONResponse([vars(label) for label in review.project.labels()])

    @app.post("/api/v1/exports", dependencies=checked)
    async def export(body: ExportBody) -> Response:
        return JSONResponse({"lines": await review.write(body)})


def _add_task_routes(app: FastAPI, review: Review) -> None:
    checked = _own_window(review)

    @app.post("/api/v1/videos/{number}/examples")
    async def find_examples(number: int, label: str, body: ChangeBody) -> Response:
        """What a label is learned from once a video is changed, and why it cannot be."""
        review.video(number)
        name, problem = plain_text(label), ""
        try:
            check_name(review.project, name)
        except MsqnetError as error:
            problem = str(error)
        shows, lacks = Examples.of(review.project, name, number, body.put)
        spans = {
            "positives": [span.as_json() for span in shows],
            "negatives": [span.as_json() for span in lacks],
        }
        return JSONResponse({**spans, "problem": problem})

    @app.get("/api/v1/task")
    async def get_task() -> Response:
        return JSONResponse(review.task_as_json())

    @app.post("/api/v1/task", status_code=202, dependencies=checked)
    async def start(body: TaskBody) -> Response:
        await review.start(body)
        return JSONResponse(review.task_as_json(), 202)

    @app.delete("/api/v1/task", status_code=204, dependencies=checked)
    async def cancel() -> Response:
        if review.task is not None:
            review.task.cancel()
        return Response(status_code=204)


def _add_changing_routes(app: FastAPI, review: Review) -> None:
    checked = _own_window(review)

    def changed(number: int, change: Change) -> Response:
        return JSONResponse(
            {
                **vars(change),
                "put": [item.model_dump(mode="json") for item in change.put],
                "video": review.summary(review.video(number)),
            }
        )

    @app.post("/api/v1/videos/{number}/changes", dependencies=checked)
    async def change(number: int, body: ChangeBody) -> Response:
        review.video(number)
        return changed(number, review.project.change(number, body.put, body.remove))

    @app.post("/api/v1/videos/{number}/undo", dependencies=checked)
    async def undo(number: int) -> Response:
        review.video(number)
        return changed(number, review.project.undo(number))

    @app.post("/api/v1/videos/{number}/redo", dependencies=checked)
    async def redo(number: int) -> Response:
        review.video(number)
        return changed(number, review.project.redo(number))

    @app.post("/api/v1/videos/{number}/done", dependencies=checked)
    async def set_done(number: int, is_done: Annotated[bool, Query()]) -> Response:
        review.video(number)
        review.project.set_done(number, is_done)
        return JSONResponse(review.summary(review.video(number)))
