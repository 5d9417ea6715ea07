"""The API without its worker: whatever is accepted stays in the queue."""

from __future__ import annotations

import asyncio
import json
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from msqnet.config import ServerLimits, ServerSettings
from msqnet.serving.app import create_app
from msqnet.serving.checker import Checker
from msqnet.serving.jobs import State
from msqnet.serving.service import Service
from msqnet.serving.worker import Kind
from tests.unit.serving.children import MODEL

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from msqnet.serving.schemas import ModelBody

# One checker for all tests; its limits are the usual ones.
_CHECKER = Checker(ServerLimits())


class Api:
    """A service and a way to ask it."""

    def __init__(self, settings: ServerSettings, model: ModelBody | None) -> None:
        self.service = Service(settings, on_failure=lambda: None)
        self.service.checker = _CHECKER
        self.service.worker.facts = model
        self._app = create_app(settings, self.service)

    def __call__(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Send one request."""
        base = options.pop("base", "http://localhost:8000")

        async def ask() -> httpx.Response:
            transport = httpx.ASGITransport(self._app)
            async with httpx.AsyncClient(transport=transport, base_url=base) as client:
                return await client.request(method, path, **options)

        return asyncio.run(ask())

    def send(self, video: Path, **fields: str) -> httpx.Response:
        """Upload a video."""
        files = {"file": ("clip.mp4", video.read_bytes())}
        return self("POST", "/api/v1/predictions", files=files, data=fields)

    def num_folders(self) -> int:
        """Videos on disk."""
        return len(list(self.service.storage.uploads.iterdir()))


@pytest.fixture(scope="module", autouse=True)
def _checker_ends_with_the_module() -> Iterator[None]:
    yield
    _CHECKER.stop()


@contextmanager
def _api(folder: Path, model: ModelBody | None = MODEL, **settings: Any) -> Iterator[Api]:
    api = Api(ServerSettings(work_folder=folder, **settings), model)
    try:
        yield api
    finally:
        api.service.jobs.close()
        api.service.storage.close()


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    with _api(tmp_path / "work", limits=ServerLimits(queue_length=3)) as made:
        yield made


def _error(answer: httpx.Response) -> dict[str, Any]:
    body = answer.json()
    assert set(body) == {"error"}
    return dict(body["error"])


def test_video_is_accepted_and_found_again(api: Api, write_video: Callable[..., Path]) -> None:
    answer = api.send(write_video(), labels="eating", threshold="0.4", window_seconds="1.5")

    assert answer.status_code == 202
    status = answer.json()
    assert (status["state"], status["position"], status["file_name"]) == ("queued", 1, "clip.mp4")
    assert status["options"] == {
        "labels": ["eating"],
        "threshold": 0.4,
        "window_seconds": 1.5,
        "stride_seconds": None,
    }
    assert answer.headers["location"] == f"/api/v1/predictions/{status['id']}"
    assert api("GET", answer.headers["location"]).json() == status


def test_full_queue_says_when_to_come_back_and_keeps_nothing(
    api: Api, write_video: Callable[..., Path]
) -> None:
    path = write_video()
    answers = [api.send(path) for _ in range(5)]

    assert [answer.status_code for answer in answers] == [202] * 3 + [429] * 2
    assert int(answers[-1].headers["retry-after"]) > 0
    assert _error(answers[-1])["code"] == "queue_full"
    assert api.num_folders() == 3


@pytest.mark.parametrize(
    ("fields", "code", "words"),
    [
        ({"threshold": "2"}, "invalid_request", "threshold"),
        ({"threshold": "high"}, "invalid_request", "threshold"),
        ({"threshold": "nan"}, "invalid_request", "threshold"),
        ({"stride_seconds": "-1"}, "invalid_request", "stride_seconds"),
        ({"stride_seconds": "3"}, "invalid_request", "longer than a window"),
        ({"stride_seconds": "0.0001"}, "too_many_windows", "num_windows"),
        ({"stride_seconds": "1e-308"}, "too_many_windows", "num_windows"),
        ({"labels": "flying"}, "unknown_label", "walking, eating; fetch another model"),
        ({"labels": "walkings"}, "unknown_label", "nearest are walking"),
        ({"labels": "|".join(f"l{n}" for n in range(65))}, "invalid_request", "num_labels"),
        ({"path": "/etc/passwd"}, "invalid_request", "path"),
    ],
)
def test_options_that_cannot_be_used_are_named(
    api: Api, write_video: Callable[..., Path], fields: dict[str, str], code: str, words: str
) -> None:
    answer = api.send(write_video(), **fields)

    assert answer.status_code == 422
    assert _error(answer)["code"] == code
    assert words in _error(answer)["message"]
    assert api.num_folders() == 0


@pytest.mark.parametrize(
    "options", [{"threshold": False}, {"threshold": "0.5"}, {"labels": "eating"}, {"x": 1}, []]
)
def test_options_as_json_have_their_own_types(api: Api, options: object) -> None:
    answer = api("POST", "/api/v1/examples/none/predictions", json=options)

    assert (answer.status_code, _error(answer)["code"]) == (422, "invalid_request")


def test_json_that_is_too_large_is_not_read_to_its_end(api: Api) -> None:
    labels = ["x" * 200] * 1000

    answer = api("POST", "/api/v1/examples/none/predictions", json={"labels": labels})

    assert (answer.status_code, _error(answer)["code"]) == (413, "upload_too_large")


def test_open_model_takes_any_label_and_one_without_labels_needs_some(
    tmp_path: Path, write_video: Callable[..., Path]
) -> None:
    path = write_video()
    with _api(
        tmp_path / "work", MODEL.model_copy(update={"labels": (), "is_open_vocabulary": True})
    ) as api:
        assert api.send(path, labels="two mice fighting").status_code == 202
        assert "labels" in _error(api.send(path))["message"]


def test_until_the_model_is_there_clients_are_told_to_wait(
    tmp_path: Path, write_video: Callable[..., Path]
) -> None:
    with _api(tmp_path / "work", None) as api:
        answers = [api("GET", "/readyz"), api("GET", "/api/v1/models"), api.send(write_video())]

        assert [answer.status_code for answer in answers] == [503] * 3
        assert answers[2].headers["retry-after"]
        assert api("GET", "/healthz").status_code == 200


@pytest.mark.parametrize(
    ("files", "status", "code"),
    [
        ({"file": ("a.mp4", b"")}, 422, "not_a_video"),
        ({"file": ("a.mp4", b"hello " * 100)}, 422, "not_a_video"),
        ({"file": ("a.mp4", bytes(300_000))}, 413, "upload_too_large"),
        ({"other": ("a.mp4", b"x")}, 422, "invalid_request"),
    ],
)
def test_bad_files_are_refused_and_nothing_is_kept(
    tmp_path: Path, files: dict[str, Any], status: int, code: str
) -> None:
    with _api(tmp_path / "work", limits=ServerLimits(upload_bytes=200_000)) as api:
        answer = api("POST", "/api/v1/predictions", files=files)

        assert answer.status_code == status
        assert _error(answer)["code"] == code
        assert api.num_folders() == 0
        assert api.service.jobs.counts()["arriving"] == 0


def test_limit_of_the_upload_is_named_with_what_was_found(tmp_path: Path) -> None:
    with _api(tmp_path / "work", limits=ServerLimits(upload_bytes=200_000)) as api:
        files = {"file": ("a.mp4", bytes(900_000))}
        error = _error(api("POST", "/api/v1/predictions", files=files))

        assert (error["limit"], error["allowed"]) == ("upload_bytes", 200_000)
        assert error["found"] > 200_000


@pytest.mark.parametrize(
    "name",
    [
        "../../etc/passwd",
        "..\\..\\boot.ini",
        "/etc/passwd\x00.mp4",
        "x" * 300,
        "M\u00e4use \U0001f42d.mp4",
        "a\r\nSet-Cookie: b=c",
        'a"; filename="b',
        "%2e%2e%2f",
    ],
)
def test_file_names_are_text_and_nothing_else(
    api: Api, write_video: Callable[..., Path], name: str
) -> None:
    files = {"file": (name, write_video().read_bytes())}
    answer = api("POST", "/api/v1/predictions", files=files)

    assert answer.status_code == 202
    status = answer.json()
    assert len(status["file_name"]) <= 120
    assert not set(status["file_name"]) & set("/\\\r\n\x00")
    (folder,) = api.service.storage.uploads.iterdir()
    assert folder.name == status["id"]
    assert [path.name for path in folder.iterdir()] == ["video"]


def test_waiting_prediction_is_cancelled_then_forgotten(
    api: Api, write_video: Callable[..., Path]
) -> None:
    location = api.send(write_video()).headers["location"]

    cancelled = api("DELETE", location)

    assert (cancelled.status_code, cancelled.json()["state"]) == (202, "cancelled")
    assert api.num_folders() == 0
    assert api("GET", location).json()["state"] == "cancelled"
    assert api("DELETE", location).status_code == 204
    assert api("GET", location).status_code == 404


def test_result_of_an_unfinished_prediction_is_a_conflict(
    api: Api, write_video: Callable[..., Path]
) -> None:
    location = api.send(write_video()).headers["location"]

    for path in ("/result.json", "/segments.csv", "/overlay", "/report"):
        answer = api("GET", location + path)
        assert (answer.status_code, _error(answer)["code"]) == (409, "not_finished")


def test_video_is_played_in_ranges(api: Api, write_video: Callable[..., Path]) -> None:
    path = write_video()
    location = api.send(path).headers["location"]
    content = path.read_bytes()

    whole = api("GET", f"{location}/video")
    part = api("GET", f"{location}/video", headers={"range": "bytes=10-19"})

    assert (whole.content, whole.headers["content-type"]) == (content, "video/mp4")
    assert (part.status_code, part.content) == (206, content[10:20])


def test_labels_are_found_as_people_write_them(api: Api, write_video: Callable[..., Path]) -> None:
    answer = api.send(write_video(), labels="Walking|EATING")
    assert answer.json()["options"]["labels"] == ["walking", "eating"]


def test_other_words_are_taken_where_an_open_model_scores_them(
    api: Api, write_video: Callable[..., Path]
) -> None:
    assert api.service.worker.facts is not None
    open_model = {"open_model": "siglip2-base"}
    api.service.worker.facts = api.service.worker.facts.model_copy(update=open_model)
    answer = api.send(write_video(), labels="walking|dog jumping")
    assert answer.json()["options"]["labels"] == ["walking", "dog jumping"]
    assert api("GET", "/api/v1/models").json()["models"][0]["open_model"] == "siglip2-base"


def test_heat_map_needs_a_label_and_a_stretch_of_the_video(
    api: Api, write_video: Callable[..., Path]
) -> None:
    location = api.send(write_video()).headers["location"]
    job = api.service.jobs.get(location.rsplit("/", 1)[-1])
    job.prediction.state = State.DONE

    def ask(label: str, start: float, end: float) -> httpx.Response:
        stretch = {"label": label, "start_seconds": start, "end_seconds": end}
        return api("GET", f"{location}/heat-map", params=stretch)

    assert _error(ask("flying", 0, 1))["code"] == "unknown_label"
    assert _error(ask("walking", 1, 1))["code"] == "invalid_request"
    assert _error(ask("walking", 50, 60))["code"] == "invalid_request"
    waiting = ask("walking", 0, 1)
    assert (waiting.status_code, waiting.json()["state"]) == (202, "queued")
    assert waiting.headers["retry-after"]
    assert ask("walking", 0, 1).json()["position"] == waiting.json()["position"] == 2


def test_failed_prediction_says_why(api: Api, write_video: Callable[..., Path]) -> None:
    from msqnet.serving.request_errors import ErrorDetail

    location = api.send(write_video()).headers["location"]
    found = api.service.jobs.next_task(0)
    assert found is not None
    api.service.jobs.finish(
        *found, State.FAILED, ErrorDetail(code="worker_died", message="it crashed")
    )

    status = api("GET", location).json()

    assert (status["state"], status["error"]["code"]) == ("failed", "worker_died")
    assert "it crashed" in _error(api("GET", f"{location}/result.json"))["message"]


def test_name_of_a_download_cannot_break_its_header(
    api: Api, write_video: Callable[..., Path]
) -> None:
    files = {"file": ('M\u00e4use";x=.mp4', write_video().read_bytes())}
    location = api("POST", "/api/v1/predictions", files=files).headers["location"]
    job = api.service.jobs.get(location.rsplit("/", 1)[-1])
    job.request.output.write_text("{}")
    job.prediction.state = State.DONE

    disposition = api("GET", f"{location}/result.json").headers["content-disposition"]

    assert re.fullmatch(
        r"attachment; filename=\"[\w. -]+\"; filename\*=UTF-8''[\w.%~-]+", disposition
    )


@pytest.mark.parametrize("path", ["/nothing", "/api/v1/predictions/abc", "/assets/x.js"])
def test_what_is_not_there_has_the_usual_error(api: Api, path: str) -> None:
    answer = api("GET", path)

    assert (answer.status_code, _error(answer)["code"]) == (404, "not_found")


def test_wrong_method_has_the_usual_error(api: Api) -> None:
    answer = api("PUT", "/api/v1/models")

    assert (answer.status_code, _error(answer)["code"]) == (405, "method_not_allowed")
    assert answer.headers["allow"] == "GET"
    assert api("PUT", "/api/v1/predictions/abc").headers["allow"] == "DELETE, GET"


def test_token_guards_everything_but_the_page_and_health(
    tmp_path: Path, write_video: Callable[..., Path]
) -> None:
    with _api(tmp_path / "work", token="swordfish") as api:
        for path in ("/", "/assets/page.js", "/healthz"):
            assert api("GET", path).status_code == 200
        for path in ("/api/v1/models", "/metrics", "/api/v1/openapi.json", "/nothing"):
            answer = api("GET", path)
            assert answer.status_code == 401
            assert answer.headers["www-authenticate"] == "Bearer"
        assert api.send(write_video()).status_code == 401
        assert api.num_folders() == 0
        known = {"authorization": "Bearer swordfish"}
        assert api("GET", "/api/v1/models", headers=known).status_code == 200


def test_browser_signs_in_once_and_then_has_a_cookie(tmp_path: Path) -> None:
    with _api(tmp_path / "work", token="swordfish") as api:
        wrong = api("POST", "/api/v1/session", headers={"authorization": "Bearer tuna"})
        right = api("POST", "/api/v1/session", headers={"authorization": "Bearer swordfish"})

        assert wrong.status_code == 401
        assert "set-cookie" not in wrong.headers
        cookie = right.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "samesite=strict" in cookie.lower()
        assert "swordfish" not in cookie
        cookies = {"cookie": cookie.partition(";")[0]}
        assert api("GET", "/api/v1/models", headers=cookies).status_code == 200


def test_pages_of_other_sites_cannot_send_anything(
    api: Api, write_video: Callable[..., Path]
) -> None:
    files = {"file": ("clip.mp4", write_video().read_bytes())}
    headers = {"origin": "http://evil.example"}

    answer = api("POST", "/api/v1/predictions", files=files, headers=headers)

    assert (answer.status_code, _error(answer)["code"]) == (403, "cross_origin")
    assert api("GET", "/healthz", base="http://evil.example").status_code == 403


@pytest.mark.parametrize("path", ["/", "/assets/page.css", "/api/v1/models", "/nothing"])
def test_every_answer_tells_browsers_to_be_strict(api: Api, path: str) -> None:
    headers = api("GET", path).headers

    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert headers["x-content-type-options"] == "nosniff"


def test_page_holds_no_inline_script_or_style(api: Api) -> None:
    page = api("GET", "/").text

    assert not re.findall(r"<script(?![^>]*\bsrc=)", page)
    assert not re.findall(r"<style|\sstyle=|\son\w+=", page)
    for source in re.findall(r'(?:src|href)="(assets/[^"]+)"', page):
        assert api("GET", f"/{source}").status_code == 200
    assert not re.findall(r'(?:src|href)="(?!assets/|#)', page)


def test_page_files_are_asked_for_again_only_if_changed(api: Api) -> None:
    first = api("GET", "/assets/page.js")
    again = api("GET", "/assets/page.js", headers={"if-none-match": first.headers["etag"]})

    assert (first.status_code, again.status_code, again.content) == (200, 304, b"")


def test_metrics_are_prometheus_text(api: Api, write_video: Callable[..., Path]) -> None:
    api.send(write_video())
    api("GET", "/api/v1/predictions/none")
    api.service.jobs.num_finished[Kind.PREDICTION, State.DONE] += 1

    answer = api("GET", "/metrics")

    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    lines = answer.text.splitlines()
    sample = re.compile(r'msqnet_[a-z_]+(\{([a-z]+="[^"]*",?)+\})? [\d.e+-]+')
    assert all(line.startswith("# ") or sample.fullmatch(line) for line in lines)
    assert "msqnet_tasks_waiting 1.0" in lines
    assert 'msqnet_refusals_total{code="not_found"} 1.0' in lines
    assert 'msqnet_tasks_total{kind="prediction",state="done"} 1.0' in lines
    route = 'route="/api/v1/predictions/{prediction_id}"'
    assert f'msqnet_requests_total{{method="GET",{route},status="404"}} 1.0' in lines
    for family in {line.split("{")[0].split()[0] for line in lines if line[0] != "#"}:
        assert f"# TYPE {family} " in answer.text


def test_document_describes_every_route_with_examples_and_errors(api: Api) -> None:
    document = api("GET", "/api/v1/openapi.json").json()

    assert "/" not in document["paths"]
    post = document["paths"]["/api/v1/predictions"]["post"]
    assert set(post["responses"]) >= {"202", "413", "422", "429", "503"}
    assert "multipart/form-data" in post["requestBody"]["content"]
    schemas = document["components"]["schemas"]
    assert "HTTPValidationError" not in schemas
    assert schemas["PredictionStatus"]["properties"]["result"]["examples"]
    text = json.dumps(document)
    for limit in ("upload_bytes", "queue_full", "duration_seconds"):
        assert limit in text or limit == "queue_full"
    for path, methods in document["paths"].items():
        for operation in methods.values():
            assert operation.get("summary"), path
