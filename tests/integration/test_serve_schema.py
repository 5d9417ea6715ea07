"""The OpenAPI document against a running server: schemathesis is answered as it promises.

Requests are drawn from a fixed seed, valid and invalid ones. No answer may be a server error, and
every answer must be one that the document describes, in status, headers and body.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest

from msqnet.config import ServerLimits, ServerSettings
from tests.fixtures.servers import running_server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_SEED = 20
# A form that is valid may still hold no video, and is then refused.
_NOT_PROMISED = "positive_data_acceptance"


# A list and a text look alike in a form.
_CONFIG = """
[[operations]]
include-name = "POST /api/v1/predictions"

[operations.checks]
negative_data_rejection.enabled = false
"""


def _check_document(folder: Path, address: str, num_examples: int, *more: str) -> None:
    config = folder / "schemathesis.toml"
    config.write_text(_CONFIG)
    code = "from schemathesis.cli import schemathesis; schemathesis()"
    program = [sys.executable, "-c", code, "--config-file", str(config)]
    options = [
        *("--max-examples", str(num_examples), "--seed", str(_SEED), "--no-shrink"),
        *("--exclude-checks", _NOT_PROMISED, "--suppress-health-check", "all"),
        *("--phases", "examples,coverage,fuzzing", "--request-timeout", "60", "--warnings", "off"),
        *more,
    ]
    done = subprocess.run(
        [*program, "run", f"{address}api/v1/openapi.json", *options],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]


@pytest.fixture
def address_without_worker(tmp_path: Path) -> Iterator[str]:
    """A server in a thread, which says that its model is loaded and never works off its queue."""
    import uvicorn

    from msqnet.serving.app import create_app
    from msqnet.serving.schemas import ModelBody
    from msqnet.serving.service import Service

    settings = ServerSettings(
        work_folder=tmp_path / "work", limits=ServerLimits(upload_seconds=20, queue_length=3)
    )
    service = Service(settings, on_failure=lambda: None)
    service.worker.facts = ModelBody(
        name="tiny",
        labels=("walking", "eating"),
        is_open_vocabulary=False,
        has_heat_maps=True,
        window_seconds=2.0,
        stride_seconds=1.0,
    )
    config = uvicorn.Config(
        create_app(settings, service), port=0, lifespan="off", log_config=None, access_log=False
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.05)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield f"http://127.0.0.1:{port}/"
    server.should_exit = True
    thread.join()
    service.jobs.close()
    service.checker.stop()
    service.storage.close()


def test_document_holds_for_a_few_requests_of_each_kind(
    address_without_worker: str, tmp_path: Path
) -> None:
    # Whose worker is not there, is not ready and says so with a status of its own.
    _check_document(tmp_path, address_without_worker, 5, "--exclude-path", "/readyz")


@pytest.mark.slow
def test_document_holds_for_many_requests_of_a_working_server(tmp_path: Path) -> None:
    with running_server(tmp_path / "work", "--limits.queue_length", "3") as server:
        _check_document(tmp_path, server.address, 60)

        assert server.process.poll() is None
        assert "Traceback" not in "".join(server.lines)
