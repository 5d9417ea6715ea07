"""The server as a process of its own, with its worker, the shipped model and real clips."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import av
import httpx
import pyarrow.parquet as pq
import pytest

from msqnet.demo import FOLDER, demo_clips
from msqnet.predictions import VideoPredictions
from tests.fixtures.bad_videos import huge_header
from tests.fixtures.servers import finished, running_server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.fixtures.servers import RunningServer


_ROOT = Path(__file__).parents[2]
_CLIP = FOLDER / "fall_at_home.mp4"


@pytest.fixture
def client(server: RunningServer) -> Iterator[httpx.Client]:
    with server.client as made:
        yield made


def _send(client: httpx.Client, path: Path, **fields: str) -> httpx.Response:
    with path.open("rb") as file:
        return client.post("/api/v1/predictions", files={"file": (path.name, file)}, data=fields)


def _num_frames(content: bytes, path: Path) -> tuple[str, int]:
    path.write_bytes(content)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return stream.codec_context.codec.canonical_name, sum(1 for _ in container.decode(stream))


def test_real_clip_from_upload_to_every_download(
    server: RunningServer, client: httpx.Client, tmp_path: Path
) -> None:
    accepted = _send(client, _CLIP, threshold="0.3", stride_seconds="2").json()

    status = finished(client, accepted["id"]).json()

    assert (status["state"], status["progress"], status["error"]) == ("done", 1.0, None)
    predictions = VideoPredictions.from_json(json.dumps(status["result"]))
    assert predictions.path == "fall_at_home.mp4"
    assert predictions.duration_seconds == pytest.approx(12.26, abs=0.1)
    assert predictions.provenance["settings"]["segments"]["threshold"] == 0.3
    base = f"/api/v1/predictions/{accepted['id']}"
    stored = client.get(f"{base}/result.json")
    assert stored.json() == status["result"]
    table = pq.read_table(io.BytesIO(client.get(f"{base}/scores.parquet").content))
    assert table.column_names[2:] == [*predictions.labels, "is_unknown"]
    rows = client.get(f"{base}/segments.csv").text.splitlines()
    assert rows[0] == "path,label,start_seconds,end_seconds,score"
    assert len(rows) == 1 + len(predictions.segments)
    assert len(client.get(f"{base}/segments.csv?threshold=1").text.splitlines()) == 1
    assert client.get(f"{base}/video").content == _CLIP.read_bytes()
    overlay = finished(client, accepted["id"], "/overlay")
    assert overlay.headers["content-type"] == "video/mp4"
    assert "overlay.mp4" in overlay.headers["content-disposition"]
    assert (
        _num_frames(overlay.content, tmp_path / "overlay.mp4")[1] == status["video"]["num_frames"]
    )
    assert client.delete(base).status_code == 204
    assert client.get(base).status_code == 404
    assert accepted["id"] not in [folder.name for folder in server.upload_folders()]


def test_video_that_browsers_do_not_play_is_copied_for_them(
    client: httpx.Client, write_video: Callable[..., Path], tmp_path: Path
) -> None:
    path = write_video("clip.avi", 12, codec="mjpeg", pix_fmt="yuvj420p", rate=10)
    job_id = _send(client, path).json()["id"]

    copy = finished(client, job_id, "/video")

    assert copy.headers["content-type"] == "video/mp4"
    assert _num_frames(copy.content, tmp_path / "copy.mp4") == ("h264", 12)
    assert (
        client.get(f"/api/v1/predictions/{job_id}/video", headers={"range": "bytes=0-9"}).content
        == copy.content[:10]
    )
    client.delete(f"/api/v1/predictions/{job_id}")


def test_example_needs_no_upload(client: httpx.Client) -> None:
    examples = client.get("/api/v1/examples").json()["examples"]
    assert [item["file_name"] for item in examples] == [clip.path.name for clip in demo_clips()]
    picture = client.get("/api/v1/examples/fall_at_home/picture")
    assert picture.content.startswith(b"\xff\xd8")

    answer = client.post(
        "/api/v1/examples/worm/predictions",
        json={"labels": ["sitting", "eating"], "window_seconds": 4, "stride_seconds": 4},
    )
    assert answer.status_code == 202
    status = finished(client, answer.json()["id"]).json()
    assert status["result"]["labels"] == ["sitting", "eating"]
    assert client.delete(f"/api/v1/predictions/{status['id']}").status_code == 204
    assert client.get("/api/v1/examples/fall_at_home/picture").status_code == 200


@pytest.mark.parametrize("name", ["../../../etc/passwd", "%2e%2e%2fpasswd", "none", "/etc/passwd"])
def test_examples_are_found_by_their_listed_names_only(client: httpx.Client, name: str) -> None:
    answer = client.post(f"/api/v1/examples/{name}/predictions", json={})

    assert answer.status_code in (404, 405)
    assert answer.json()["error"]["code"] in ("not_found", "method_not_allowed")


def test_bad_files_are_refused_one_after_the_other_and_leave_nothing(
    server: RunningServer,
    client: httpx.Client,
    write_video: Callable[..., Path],
    tmp_path: Path,
) -> None:
    before = server.upload_folders()
    # Its index is at the end, so that what is left of it when it is cut off cannot be read.
    whole = write_video("whole.mp4").read_bytes()
    files: dict[str, tuple[bytes, int]] = {
        "zero.mp4": (b"", 422),
        "text.mp4": (b"Dear sir or madam,\n" * 100, 422),
        "truncated.mp4": (whole[: len(whole) // 3], 422),
        "giant.y4m": (huge_header(tmp_path / "a", 20_000, 20_000).read_bytes(), 422),
        "large.y4m": (huge_header(tmp_path / "b", 12_000, 12_000).read_bytes(), 422),
        "heavy.mp4": (_CLIP.read_bytes() * 7, 413),
    }
    for name, (content, status) in files.items():
        answer = client.post("/api/v1/predictions", files={"file": (name, content)})
        assert answer.status_code == status, (name, answer.text)
        assert answer.json()["error"]["message"]
    assert client.post("/api/v1/predictions", data={"labels": "x"}).status_code == 415
    assert server.upload_folders() == before


def test_job_goes_on_when_its_client_is_gone(
    server: RunningServer, client: httpx.Client, write_video: Callable[..., Path]
) -> None:
    before = set(server.upload_folders())
    with httpx.Client(base_url=server.address, timeout=60) as other:
        job_id = _send(other, write_video()).json()["id"]

    assert finished(client, job_id).json()["state"] == "done"
    assert len(set(server.upload_folders()) - before) == 1
    client.delete(f"/api/v1/predictions/{job_id}")


def test_upload_that_is_broken_off_leaves_nothing(
    server: RunningServer, client: httpx.Client
) -> None:
    before = server.upload_folders()
    content = _CLIP.read_bytes()

    def half() -> Iterator[bytes]:
        yield b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.mp4"\r\n\r\n'
        yield content[:100_000]
        raise InterruptedError("the client is gone")

    with pytest.raises(InterruptedError):
        client.post(
            "/api/v1/predictions",
            content=half(),
            headers={"content-type": "multipart/form-data; boundary=x"},
        )

    def state() -> tuple[object, float]:
        return server.upload_folders(), server.metric("uploads_arriving")

    deadline = time.monotonic() + 30
    while state() != (before, 0) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert state() == (before, 0)


@pytest.mark.slow
def test_killed_worker_fails_its_job_and_nothing_else(
    server: RunningServer,
    client: httpx.Client,
    write_video: Callable[..., Path],
) -> None:
    first = _send(client, _CLIP).json()["id"]
    while client.get(f"/api/v1/predictions/{first}").json()["state"] == "queued":
        time.sleep(0.05)
    second = _send(client, write_video()).json()["id"]

    os.kill(_worker_pid(server), signal.SIGKILL)

    failed = finished(client, first).json()
    assert failed["state"] == "failed"
    assert failed["error"]["code"] == "worker_died"
    assert finished(client, second).json()["state"] == "done"
    assert client.get("/healthz").status_code == 200
    assert server.metric("worker_restarts_total") >= 1
    for job_id in (first, second):
        client.delete(f"/api/v1/predictions/{job_id}")


def test_running_prediction_is_cancelled_and_the_next_one_works(
    server: RunningServer, client: httpx.Client
) -> None:
    restarts = server.metric("worker_restarts_total")
    job_id = _send(client, _CLIP, stride_seconds="0.1").json()["id"]
    while client.get(f"/api/v1/predictions/{job_id}").json()["state"] == "queued":
        time.sleep(0.05)

    answer = client.delete(f"/api/v1/predictions/{job_id}")

    assert answer.status_code == 202
    assert finished(client, job_id).json()["state"] == "cancelled"
    assert server.metric("worker_restarts_total") == restarts
    assert client.delete(f"/api/v1/predictions/{job_id}").status_code == 204


def _worker_pid(server: RunningServer) -> int:
    """The child of the server that has most memory: it holds the model."""
    children: dict[int, int] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        fields = dict(line.split(":\t", 1) for line in _status(folder) if ":\t" in line)
        if fields.get("PPid") == str(server.process.pid) and "VmRSS" in fields:
            children[int(folder.name)] = int(fields["VmRSS"].split()[0])
    return max(children, key=lambda pid: children[pid])


def _is_alive(pid: int) -> bool:
    return any(line.startswith("VmRSS") for line in _status(Path(f"/proc/{pid}")))


def _status(folder: Path) -> list[str]:
    try:
        return (folder / "status").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stops_cleanly_while_it_works(tmp_path: Path, number: signal.Signals) -> None:
    with running_server(tmp_path / "work") as server, server.client as client:
        worker = _worker_pid(server)
        job_id = _send(client, _CLIP).json()["id"]
        assert client.get(f"/api/v1/predictions/{job_id}").status_code == 200
        started = time.monotonic()

        assert server.stop(number) == 0

        assert time.monotonic() - started < 30
        assert list((tmp_path / "work").iterdir()) == []
        assert not _is_alive(worker)
    assert "Traceback" not in "".join(server.lines)


@pytest.mark.slow
def test_killed_server_takes_its_worker_along_and_the_next_one_cleans_up(tmp_path: Path) -> None:
    with running_server(tmp_path / "work") as server, server.client as client:
        _send(client, _CLIP)
        worker = _worker_pid(server)
        server.stop(signal.SIGKILL)
        assert len(server.upload_folders()) == 1
    deadline = time.monotonic() + 30
    while _is_alive(worker) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not _is_alive(worker)

    with running_server(tmp_path / "work") as server:
        assert server.upload_folders() == []


@pytest.mark.slow
def test_missing_model_ends_the_server_with_a_message(tmp_path: Path) -> None:
    with (
        pytest.raises(AssertionError, match="no folder and no known model"),
        running_server(tmp_path / "work", "--model", str(tmp_path / "none")),
    ):
        pass


@pytest.mark.slow
def test_damaged_model_ends_the_server_with_a_message(tmp_path: Path) -> None:
    from msqnet.models import SHIPPED_MODEL, resolve_model

    source = resolve_model(SHIPPED_MODEL)
    (tmp_path / "model").mkdir()
    for name in ("config.json", "model.safetensors"):
        content = (source / name).read_bytes()  # type: ignore[operator]
        (tmp_path / "model" / name).write_bytes(content[: len(content) // 2])
    with (
        pytest.raises(AssertionError, match="model cannot be loaded"),
        running_server(tmp_path / "work", "--model", str(tmp_path / "model")),
    ):
        pass


@pytest.mark.slow
def test_token_from_a_file_and_a_cookie_for_the_player(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("swordfish-swordfish\n")
    with (
        running_server(tmp_path / "work", "--token_file", str(tmp_path / "token")) as server,
        server.client as client,
    ):
        assert _send(client, _CLIP).status_code == 401
        headers = {"authorization": "Bearer swordfish-swordfish"}
        assert client.post("/api/v1/session", headers=headers).status_code == 204
        job_id = _send(client, _CLIP).json()["id"]
        assert client.get(f"/api/v1/predictions/{job_id}/video").content == _CLIP.read_bytes()


def test_short_load_leaves_nothing_unanswered(server: RunningServer) -> None:
    options = ["--address", server.address, "--clients", "2", "--seconds", "1"]

    done = subprocess.run(
        [sys.executable, str(_ROOT / "benchmarks" / "serve_load.py"), *options],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert "server errors (5xx): 0" in done.stdout
    assert server.upload_folders() == []
