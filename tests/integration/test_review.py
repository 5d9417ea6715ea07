"""`msqnet review` from the outside: who may use it, and what it says when it cannot go on."""

from __future__ import annotations

import shutil
import time
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from msqnet.data.table import read_table
from msqnet.demo import FOLDER
from tests.fixtures.reviews import running_review
from tests.fixtures.videos import write_scene

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SEGMENT = {"kind": "segment", "label": "walk", "start": 0, "end": 1}


def test_other_origins_cannot_write_and_nothing_else_is_read(
    tmp_path: Path, write_video: Callable[..., Path]
) -> None:
    video = write_video("a.mp4")
    (tmp_path / "secret.txt").write_text("secret")
    with running_review(video, tmp_path / "labels.csv", "--labels", "walk") as review:
        change = {"put": [SEGMENT]}
        with httpx.Client(base_url=f"{review.address}api/v1/") as stranger:
            assert stranger.get("project").status_code == 401
            assert stranger.post("videos/1/changes", json=change).status_code == 401
            assert stranger.get("videos/1/file").status_code == 401
        with review.client() as client:
            for headers in (
                {"Origin": "http://evil.example"},
                {"Sec-Fetch-Site": "cross-site", "Origin": review.address.rstrip("/")},
                {"Origin": "http://127.0.0.1:1"},
            ):
                answer = client.post("videos/1/changes", json=change, headers=headers)
                assert (answer.status_code, answer.json()["error"]["code"]) == (403, "cross_origin")
            answer = client.get("project", headers={"Host": "evil.example"})
            assert answer.json()["error"]["code"] == "host_not_allowed"
            # A form of another page can neither send this header nor JSON.
            with httpx.Client(cookies=client.cookies, base_url=client.base_url) as plain:
                assert plain.get("videos/1").status_code == 200
                assert plain.post("videos/1/changes", json=change).status_code == 422
            for path in (
                "../../secret.txt",
                "%2e%2e%2f%2e%2e%2fsecret.txt",
                "videos/..%2Fsecret.txt/file",
            ):
                answer = client.get(path)
                assert answer.status_code in (404, 422)
                assert "secret" not in answer.text.replace("secret.txt", "")
            for path in ("/assets/../app.py", "/assets/%2e%2e/app.py", "/assets//etc/passwd"):
                assert httpx.get(f"{review.address.rstrip('/')}{path}").status_code in (401, 404)
            for name in ("../out.boris", "/tmp/out.boris", "..", "a\\b.csv", "labels.review"):
                answer = client.post(
                    "exports", json={"format": "boris", "name": name, "overwrite": True}
                )
                assert answer.status_code == 422, name
            assert client.post("videos/1/changes", json=change).status_code == 200
            part = client.get("videos/1/file", headers={"Range": "bytes=10-19"})
            assert (part.status_code, len(part.content)) == (206, 10)
            assert part.content == video.read_bytes()[10:20]


@pytest.mark.slow
def test_videos_are_predicted_from_the_page(tmp_path: Path) -> None:
    """The shipped model's segments of a demo clip become proposals of a project without labels."""
    (tmp_path / "videos").mkdir()
    shutil.copy(FOLDER / "fall_at_home.mp4", tmp_path / "videos")
    with (
        running_review(tmp_path / "videos", tmp_path / "labels.csv") as review,
        review.client() as client,
    ):
        assert client.post("task", json={"kind": "predict"}).status_code == 202
        assert client.post("task", json={"kind": "predict"}).status_code == 409
        while (found := client.get("task").json())["task"]["state"] == "running":
            time.sleep(0.2)
        assert found["task"]["state"] == "done", found["task"]["lines"]
        items = client.get("videos/1").json()["items"]
        assert {(item["label"], item["state"]) for item in items} >= {("falling", "proposed")}
        assert client.get("videos/1/scores").status_code == 200
        assert client.get("project").json()["labels"]


@pytest.mark.slow
def test_a_label_is_taught_from_the_page_and_outlives_a_kill(tmp_path: Path) -> None:
    """Two videos that show it, two that lack it, and two in which it is proposed or not."""
    folder, out = tmp_path / "videos", tmp_path / "labels.csv"
    folder.mkdir()
    for number, letter in enumerate("abcdef"):
        write_scene(folder / f"{letter}.mp4", number, flashes=letter in "abe")
    shows = {"kind": "segment", "label": "flash", "start": 0, "end": 2.4}
    lacks = {"kind": "mark", "labels": ["flash"], "start": 0, "end": None}
    teach = {"kind": "teach", "label": "flash"}
    with running_review(folder, out, "--labels", "flash|rest") as review, review.client() as client:
        assert "no accepted segment" in client.post("task", json=teach).json()["error"]["message"]
        for number in (1, 2, 3, 4):
            item = shows if number < 3 else lacks
            client.post(f"videos/{number}/changes", json={"put": [item]}).raise_for_status()
        known = {"kind": "teach", "label": "walking"}
        assert "knows 'walking'" in client.post("task", json=known).json()["error"]["message"]
        labels = client.get("project").json()["labels"]
        odd = client.put("labels", json=[*labels, {"name": "Flash"}])
        assert "differs from 'Flash' in spelling alone" in odd.json()["error"]["message"]
        for name, said in (
            ("x" * 201, f"found 201 character(s) ('{'x' * 40}...'), expected at most 200"),
            ("", "found 0 character(s) (''), expected at least 1"),
        ):
            refused = client.put("labels", json=[*labels, {"name": name}])
            assert refused.status_code == 422
            message = f"{len(labels)}.name: {said}"
            assert refused.json()["error"]["message"] == message
        assert client.post("task", json=teach).status_code == 202
        assert client.post("task", json=teach).status_code == 409
        found = _finished(client)
        lesson = found["lessons"]["flash"]
        assert (lesson["num_positive"], lesson["num_negative"]) == (2, 2)
        assert (lesson["status"], lesson["held_out"]) == ("weak", "video")
        assert lesson["ap"] > 0.5
        states = [
            [(item["label"], item["state"]) for item in client.get(f"videos/{n}").json()["items"]]
            for n in (1, 5, 6)
        ]
        assert states == [[("flash", "accepted")], [("flash", "proposed")], []]
        assert "flash" in client.get("videos/6/scores").json()["labels"]
        body = {"format": "table", "name": "labels.csv"}
        client.post("exports", json=body).raise_for_status()
        review.kill()
    assert [row.labels for row in read_table(out).records] == [("flash",)] * 2 + [()] * 2
    with running_review(folder, out) as review, review.client() as client:
        found = client.get("task").json()
        assert (found["lessons"]["flash"], found["model"]) == (lesson, str(_model(out)))
        assert client.post("task", json=teach).status_code == 202  # anew
        client.delete("task").raise_for_status()
        assert client.post("task", json=teach).status_code == 202
        newest = _finished(client)["model"]
        assert newest != str(_model(out))
        assert [str(left) for left in _model(out).parent.iterdir()] == [newest]


def _finished(client: httpx.Client) -> dict[str, Any]:
    """The state once the running task is done."""
    while (found := client.get("task").json())["task"]["state"] == "running":
        time.sleep(0.2)
    assert found["task"]["state"] == "done", found["task"]["lines"]
    return dict(found)


def _model(table: Path) -> Path:
    return table.with_name("labels.review") / "models" / "001"
