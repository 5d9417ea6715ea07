"""Processes that behave in one particular way, to be started by tests."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

from msqnet.errors import ConfigError, UnreadableVideo
from msqnet.serving.child_process import answer_requests

if TYPE_CHECKING:
    from multiprocessing.connection import Connection


def run_child(connection: Connection, greeting: str) -> None:
    """Answers requests named after what happens."""

    def prepare() -> tuple[str, Any]:
        if greeting == "refuse":
            raise ConfigError("no such device")
        return f"{greeting} from {os.getpid()}", _answer

    answer_requests(connection, prepare)


def _answer(request: str, report: Any) -> str:
    match request:
        case "die":
            os._exit(7)
        case "hang":
            time.sleep(600)
        case "refuse":
            raise UnreadableVideo("clip.mp4: 0 decodable frames")
        case "fill the disk":
            raise OSError(28, "No space left on device")
        case "count":
            for number in range(100):
                report(number / 100)
                time.sleep(0.05)
    return f"did {request}"
