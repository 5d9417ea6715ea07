"""Inputs and outputs by URL: a local web server, and a file system in memory."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import fsspec
import pytest

from msqnet.batch.locations import Refused, RemoteOutput, as_os_errors, local_path, open_output
from msqnet.batch.one_video import process_video
from msqnet.batch.run import BatchStatus, run_batch
from msqnet.batch.work_list import find_jobs
from msqnet.errors import ConfigError
from msqnet.inference.results import VideoJob
from msqnet.predictions import VideoPredictions
from tests.unit.batch.brightness_batch import job_settings, load, runner
from tests.unit.inference.brightness import BLACK, WHITE, write_video

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from msqnet.inference.results import Outcome

EVENT = [BLACK] * 10 + [WHITE] * 10


class Handler(SimpleHTTPRequestHandler):
    """Serves files; of some names it fails at first, or always."""

    requests: list[str] = []  # noqa: RUF012 - emptied by each test
    num_failures = 0

    def do_GET(self) -> None:
        self.requests.append(self.path)
        if "forbidden" in self.path:
            self.send_error(403)
        elif "flaky" in self.path and Handler.num_failures:
            Handler.num_failures -= 1
            self.send_error(503)
        else:
            super().do_GET()

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address of a web server for a folder."""
    Handler.requests.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def memory() -> Iterator[fsspec.AbstractFileSystem]:
    """An empty file system in memory."""
    system = fsspec.filesystem("memory")
    system.store.clear()
    system.pseudo_dirs[:] = [""]
    yield system
    system.store.clear()


def work(source: str, out: str | Path, **settings: Any) -> Outcome:
    job = VideoJob("clip.mov", source)
    return process_video(job, load(), open_output(str(out)), job_settings(out, **settings))[0]


@pytest.mark.parametrize(
    ("location", "path"),
    [
        ("a/b.mp4", "a/b.mp4"),
        ("/a/b:c.mp4", "/a/b:c.mp4"),
        ("file:///a/b%20c.mp4", "/a/b c.mp4"),
        ("file:/a/b.mp4", "/a/b.mp4"),
        ("file://localhost/a#b.mp4", "/a#b.mp4"),
        ("s3://bucket/a.mp4", None),
        ("simplecache::s3://bucket/a.mp4", None),
    ],
)
def test_local_paths_are_told_from_urls(location: str, path: str | None) -> None:
    assert local_path(location) == path


def test_file_on_another_machine_is_refused() -> None:
    with pytest.raises(ConfigError, match="a file on elsewhere"):
        local_path("file://elsewhere/a.mp4")


def test_missing_package_is_named() -> None:
    with pytest.raises(ConfigError, match="s3fs"):
        open_output("s3://bucket/out")


def test_video_by_http_gives_the_results_of_the_file(tmp_path: Path) -> None:
    path = write_video(tmp_path / "in" / "clip.mov", EVENT)
    with served(path.parent) as address:
        outcome = work(f"{address}/clip.mov", tmp_path / "out")
        again = replace(VideoJob("clip.mov", outcome.source), known=outcome)
        num_requests = len(Handler.requests)
        unchanged, _ = process_video(
            again, load(), open_output(str(tmp_path / "out")), job_settings("out")
        )
        assert unchanged == replace(outcome, existed=True)
        assert len(Handler.requests) == num_requests  # only the head was asked for
    assert (outcome.status, outcome.num_bytes) == ("ok", path.stat().st_size)
    stored = VideoPredictions.from_json((tmp_path / "out" / "clip.mov.json").read_text())
    assert stored == replace(load()(path), path=outcome.source)


def test_server_that_fails_for_a_while_is_asked_again(tmp_path: Path) -> None:
    path = write_video(tmp_path / "in" / "flaky.mov", EVENT)
    with served(path.parent) as address:
        Handler.num_failures = 2
        outcome = work(f"{address}/flaky.mov", tmp_path / "out")
    assert (outcome.status, outcome.num_attempts) == ("ok", 3)


def test_server_that_keeps_failing_is_an_error(tmp_path: Path) -> None:
    path = write_video(tmp_path / "in" / "flaky.mov", EVENT)
    with served(path.parent) as address:
        Handler.num_failures = 99
        outcome = work(f"{address}/flaky.mov", tmp_path / "out", num_retries=2)
    assert (outcome.status, outcome.cause, outcome.num_attempts) == ("error", "reading", 3)
    assert "flaky.mov" in outcome.message


@pytest.mark.parametrize("name", ["gone.mov", "forbidden.mov"])
def test_server_that_says_no_is_asked_once(tmp_path: Path, name: str) -> None:
    write_video(tmp_path / "in" / "forbidden.mov", EVENT)
    with served(tmp_path / "in") as address:
        outcome = work(f"{address}/{name}", tmp_path / "out")
    assert (outcome.status, outcome.cause, outcome.num_attempts) == ("error", "reading", 1)
    assert name in outcome.message


def test_machine_that_does_not_answer_is_a_reading_error(tmp_path: Path) -> None:
    with served(tmp_path) as address:
        pass
    outcome = work(f"{address}/clip.mov", tmp_path / "out", num_retries=1)
    assert (outcome.cause, outcome.num_attempts) == ("reading", 2)


def test_what_is_no_video_is_named_by_its_url(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "text.mp4").write_text("Dear sir or madam")
    with served(tmp_path / "in") as address:
        outcome = work(f"{address}/text.mp4", tmp_path / "out")
        assert (outcome.cause, outcome.num_attempts) == ("bad_file", 1)
        assert outcome.message.startswith(f"{address}/text.mp4: ")


def test_file_that_is_too_large_is_not_fetched(
    tmp_path: Path, memory: fsspec.AbstractFileSystem
) -> None:
    memory.pipe_file("/in/clip.mov", bytes(5000))
    outcome = work("memory://in/clip.mov", tmp_path / "out", max_bytes=4999)
    assert outcome.cause == "bad_file"
    assert "more than 4999 bytes" in outcome.message
    assert "--max-gigabytes" in outcome.message


def test_fetched_files_do_not_stay(tmp_path: Path, memory: fsspec.AbstractFileSystem) -> None:
    path = write_video(tmp_path / "clip.mov", EVENT)
    memory.put_file(str(path), "/in/clip.mov")
    work("memory://in/clip.mov", tmp_path / "out")
    assert not (tmp_path / "out" / ".batch").exists()


def test_whole_run_from_url_to_url_and_again(
    tmp_path: Path, memory: fsspec.AbstractFileSystem
) -> None:
    for name in ("a.mov", "b/c.mov"):
        memory.makedirs("/in/b", exist_ok=True)
        memory.put_file(str(write_video(tmp_path / "clip.mov", EVENT)), f"/in/{name}")
    memory.pipe_file("/in/bad.mp4", b"x")
    out = "memory://out"

    def run() -> list[Outcome]:
        return list(run_batch(find_jobs(["memory://in"]), runner(out, 0), out))

    first, second = run(), run()
    assert [item.status for item in first] == ["ok", "ok", "error"]
    assert [item.existed for item in second] == [True, True, False]
    names = {path.removeprefix("/out/") for path in memory.find("/out")}
    for name in ("a.mov", "b/c.mov"):
        assert {f"{name}.json", f"{name}.csv", f"{name}.scores.parquet"} <= names
    assert {"index.csv", "errors.csv", ".batch/journal.jsonl", ".batch/run.json"} <= names
    assert sum(name.startswith("dataset/") for name in names) == 6
    status = BatchStatus(out)
    assert (status.num_videos, len(status.outcomes), status.is_running) == (3, 3, None)


def test_results_by_file_url_lie_in_the_folder(tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.mov", EVENT)
    out = tmp_path / "a folder"
    assert work(path.as_uri(), out.as_uri()).status == "ok"
    assert (out / "clip.mov.json").is_file()


def test_torn_upload_does_not_count(tmp_path: Path, memory: fsspec.AbstractFileSystem) -> None:
    path = write_video(tmp_path / "clip.mov", EVENT)
    work(str(path), "memory://out")
    content = memory.cat_file("/out/clip.mov.json")
    memory.pipe_file("/out/clip.mov.json", content[:-100])
    outcome = work(str(path), "memory://out")
    assert (outcome.status, outcome.existed) == ("ok", False)
    assert memory.cat_file("/out/clip.mov.json") == content


class Answer(Exception):  # noqa: N818 - stands for what HTTP clients raise
    """An error with a status, which is no OSError."""

    def __init__(self, status: int) -> None:
        super().__init__(f"status {status}")
        self.status = status


@pytest.mark.parametrize(("status", "kind"), [(403, Refused), (429, OSError), (503, OSError)])
def test_errors_of_file_systems_become_os_errors(status: int, kind: type[OSError]) -> None:
    with pytest.raises(OSError, match=rf"s3://b/a: Answer: status {status}") as caught:  # noqa: SIM117
        with as_os_errors("s3://b/a"):
            raise Answer(status)
    assert type(caught.value) is kind


def test_remote_output_knows_which_files_are_there(
    tmp_path: Path, memory: fsspec.AbstractFileSystem
) -> None:
    output = RemoteOutput("memory://out")
    (tmp_path / "a").write_bytes(b"content")
    output.publish("deep/a", tmp_path / "a")
    assert output.read("deep/a") == b"content"
    assert [name for name in ("deep/a", "b") if output.file_state(name)] == ["deep/a"]
    assert output.state(["deep/a"])
    assert output.state(["deep/a", "b"]) == ""
    output.remove("deep/a")
    output.remove("deep/a")
    assert output.read("deep/a") is None
