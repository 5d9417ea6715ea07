"""Processes that behave in one particular way, and facts of a model and a video, for tests."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

from msqnet.child_process import answer_requests
from msqnet.errors import CheckpointError, ConfigError, UnreadableVideo
from msqnet.serving.schemas import ModelBody, VideoFactsBody

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from msqnet.config import WorkerSettings
    from msqnet.serving.worker import WorkerRequest

MODEL = ModelBody(
    name="tiny",
    labels=("walking", "eating"),
    is_open_vocabulary=False,
    words_advice="fetch another model",
    has_heat_maps=True,
    window_seconds=2.0,
    stride_seconds=1.0,
)
FACTS = VideoFactsBody(
    width=64,
    height=48,
    num_frames=10,
    duration_seconds=1.0,
    codec="h264",
    media_type="video/mp4",
)


def run_child(connection: Connection, greeting: str) -> None:
    """Answers requests named after what happens."""

    def prepare() -> tuple[str, Any]:
        if greeting == "refuse":
            raise ConfigError("no such device")
        return f"{greeting} from {os.getpid()}", _answer

    answer_requests(connection, prepare)


def run_worker_like(connection: Connection, settings: WorkerSettings) -> None:
    """A worker without a model: the name of the video says what becomes of its prediction."""

    def prepare() -> tuple[ModelBody, Any]:
        if settings.model == "none":
            raise CheckpointError("no such model")
        return MODEL, _make

    answer_requests(connection, prepare)


def _make(request: WorkerRequest, report: Any) -> str:
    if request.display_name == "refuse":
        raise UnreadableVideo(f"{request.video}: 0 decodable frames")
    answer = _answer(request.display_name, report)
    request.output.write_text("{}")
    return answer


def _answer(request: str, report: Any) -> str:
    match request:
        case "die":
            os._exit(7)
        case "hang":
            time.sleep(600)
        case "crash":
            raise RuntimeError("out of memory")
        case "refuse":
            raise UnreadableVideo("clip.mp4: 0 decodable frames")
        case "fill the disk":
            raise OSError(28, "No space left on device")
        case "count":
            for number in range(100):
                report(number / 100)
                time.sleep(0.01)
    return f"did {request}"
