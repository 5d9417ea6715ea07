"""`msqnet predict --ask` against a server that keeps what it gets."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from msqnet.cli.main import main
from msqnet.demo import demo_clips
from msqnet.inference.endpoint import KEY_VARIABLE, Endpoint
from msqnet.inference.predictor import Predictor
from msqnet.report.html import write_report
from msqnet.report.results_reader import read_results
from tests.fixtures.large_models import Reply, large_model, saw
from tests.unit.inference.brightness import BLACK, WHITE, BrightnessBackend, write_video

if TYPE_CHECKING:
    from msqnet.config import InferenceOptions
    from msqnet.predictions import VideoPredictions
    from tests.fixtures.large_models import LargeModel

UNSURE, LESS_SURE = 153, 133  # scores 0.6, which is the threshold, and 0.52


@pytest.fixture(autouse=True)
def _fake_model(monkeypatch: pytest.MonkeyPatch) -> None:
    def from_pretrained(*, options: InferenceOptions) -> Predictor:
        return Predictor(BrightnessBackend(), options, options)

    monkeypatch.setattr(Predictor, "from_pretrained", from_pretrained)
    monkeypatch.delenv(KEY_VARIABLE, raising=False)


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    levels = [BLACK] * 20 + [LESS_SURE] * 20 + [BLACK] * 20 + [UNSURE] * 20 + [WHITE] * 20
    return write_video(tmp_path / "clip.mov", levels)


def predict(model: LargeModel, *arguments: object) -> int:
    words = ["--ask", model.url, "--ask-model", "big", "--stride_seconds", "1"]
    return main(["predict", *map(str, arguments), *words])


def result(out: Path, name: str = "clip.mov") -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / f"{name}.json").read_text())
    return found


def test_unsure_intervals_are_sent_and_the_answers_stored_and_shown(
    clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(KEY_VARIABLE, "swordfish")
    out = tmp_path / "out"
    with large_model(saw("bright", sentence="It glows.")) as model:
        assert predict(model, clip, "--out", out) == 0
    shown = capsys.readouterr()
    (answer,) = result(out)["answers"]
    # The run at the threshold goes on into a segment that is sure.
    assert (answer["start_seconds"], answer["end_seconds"]) == (2, 4)
    assert answer["reason"] == "bright 0.52, threshold 0.60"
    assert (answer["labels"], answer["sentence"]) == (["bright"], "It glows.")
    (received,) = model.received
    assert received.headers["Authorization"] == "Bearer swordfish"
    assert len(received.pictures) == 8 == len(answer["frames_seconds"])
    assert all(abs(picture.mean() - LESS_SURE) < 3 for picture in received.pictures)
    assert ", ".join(f"{t:.3f} s" for t in answer["frames_seconds"]) in received.text
    assert "frames of 1 of 1 intervals go to" in shown.err
    assert "(on this machine), model big: up to 8 pictures each, at most 20" in shown.err
    assert f"{clip}: 0:02.00 to 0:04.00, asked big: bright; It glows." in shown.out
    written = "".join(p.read_text(errors="ignore") for p in out.iterdir())
    assert "swordfish" not in written + shown.out + shown.err


def test_answers_change_no_score_and_no_segment_and_are_in_the_report(
    clip: Path, tmp_path: Path
) -> None:
    assert (
        main(["predict", str(clip), "--out", str(tmp_path / "plain"), "--stride-seconds", "1"]) == 0
    )
    out = tmp_path / "out"
    with large_model(saw("dark", sentence="</script><b>night</b>")) as model:
        assert predict(model, clip, "--out", out) == 0
    plain, asked = result(tmp_path / "plain"), result(out)
    assert asked.pop("answers")
    assert asked == plain
    read = read_results(out)
    write_report(read, out / "report.html", preview_megabytes=0)
    page = (out / "report.html").read_text()
    assert "asked big: dark; \\u003c/script\\u003e" in page
    predictions: VideoPredictions = read.videos[0].predictions
    assert predictions.answers[0].labels == ("dark",)


def test_the_budget_goes_to_the_most_unsure_of_all_videos(tmp_path: Path) -> None:
    videos = [
        write_video(tmp_path / name, [BLACK] * 10 + [level] * 10 + [BLACK] * 10)
        for name, level in (("a.mov", LESS_SURE), ("b.mov", UNSURE), ("c.mov", LESS_SURE - 10))
    ]
    out = tmp_path / "out"
    with large_model(saw()) as model:
        assert predict(model, *videos, "--out", out, "--max-requests", 2) == 0
        assert len(model.received) == 2
    assert ["answers" in result(out, video.name) for video in videos] == [True, True, False]


def test_a_second_run_asks_only_what_is_open(
    clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, many = tmp_path / "out", ("--ask-about", "bright", "--ask-frames", 1)
    with large_model(saw("bright"), Reply(500)) as model:
        assert predict(model, clip, "--out", out, *many) == 1
        assert len(model.received) == 2
        first = result(out)["answers"]
        assert [bool(item["error"]) for item in first] == [False, True]
        assert "status 500; look at its log" in first[1]["error"]
        assert "no answer about 1 of 2 intervals" in capsys.readouterr().err
        model.replies.append(saw("dark"))
        assert predict(model, clip, "--out", out, *many) == 0
        assert len(model.received) == 3
        second = result(out)["answers"]
        assert second[0] == first[0]
        assert second[1]["labels"] == ["dark"]
        assert predict(model, clip, "--out", out, *many) == 0
        assert len(model.received) == 3
    assert "nothing to ask about; nothing is sent" in capsys.readouterr().err
    assert main(["predict", str(clip), "--out", str(out), "--stride-seconds", "1"]) == 0
    assert result(out)["answers"] == second


def test_an_endpoint_that_is_down_costs_no_prediction(
    clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with large_model(saw()) as model:
        pass
    out = tmp_path / "out"
    assert predict(model, clip, "--out", out, "--ask-about", "bright") == 1
    shown = capsys.readouterr()
    found = result(out)
    assert found["segments"]
    assert [item["error"].partition(" (")[0] for item in found["answers"]] == ["cannot be reached"]
    assert "1 not asked any more: cannot be reached" in shown.err
    assert (out / "time_budget.csv").is_file()


def test_no_request_is_sent_for_a_budget_of_none(
    clip: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with large_model(saw()) as model:
        assert predict(model, clip, "--max-requests", 0, "--ask-about", "bright") == 0
        assert not model.received
    assert "2 intervals to ask about; nothing is sent" in capsys.readouterr().err


def test_answers_are_printed_where_nothing_is_written(
    clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with large_model(saw()) as model:
        assert predict(model, clip) == 0
    assert "asked big: no label" in capsys.readouterr().out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clip.mov"]


def test_what_was_answered_before_an_interruption_is_kept(
    clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    send, sent = Endpoint.answer, list[str]()

    def interrupted(self: Endpoint, text: str, jpegs: Any) -> str:
        if sent:
            raise KeyboardInterrupt
        sent.append(text)
        return send(self, text, jpegs)

    monkeypatch.setattr(Endpoint, "answer", interrupted)
    out = tmp_path / "out"
    with large_model(saw("bright")) as model:
        assert predict(model, clip, "--out", out, "--ask-about", "bright") == 130
    assert [item["labels"] for item in result(out)["answers"]] == [["bright"]]
    assert "interrupted; what was finished is kept" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--ask", "http://127.0.0.1/v1"], "--ask needs --ask-model"),
        (["--ask-about", "bright"], "--ask-about is for --ask"),
        (["--ask", "file:///etc", "--ask-model", "big"], "not an address"),
        (["--ask", "http://h/v1", "--ask-model", "big", "--ask-frames", "0"], "expected 1 to 32"),
        (["--ask", "http://h/v1", "--ask-model", "b", "--max-requests", "-1"], "expected 0 or"),
        (["--ask", "http://h/v1", "--ask-model", "b", "--ask-about", "cat"], "bright, dark"),
    ],
)
def test_options_that_cannot_work_are_refused_before_anything_is_predicted(
    clip: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert main(["predict", str(clip), *arguments]) == 2
    shown = capsys.readouterr()
    assert message in shown.err
    assert "clip.mov (" not in shown.out


def test_without_ask_no_socket_is_opened_and_torch_is_never_needed(tmp_path: Path) -> None:
    program = (
        "import sys\n"
        "def hook(event, args):\n"
        "    if event in ('socket.__new__', 'socket.connect', 'socket.getaddrinfo'):\n"
        "        raise AssertionError(event)\n"
        "sys.addaudithook(hook)\n"
        "from msqnet.cli.main import main\n"
        "code = main(sys.argv[1:])\n"
        "assert 'torch' not in sys.modules\n"
        "assert 'msqnet.inference.endpoint' not in sys.modules\n"
        "sys.exit(code)\n"
    )
    clip = demo_clips()[0].path
    command = [sys.executable, "-c", program, "predict", str(clip), "--out", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / f"{Path(clip).name}.json").is_file()
