"""`msqnet evaluate`: its settings, what it asks a model for, and what it says about protocols."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from msqnet.cli import main as cli
from msqnet.config import ViewChoice
from msqnet.evaluation.protocols import PROTOCOLS
from msqnet.inference.predictor import Predictor
from tests.unit.inference.brightness import TrainedBackend, write_video

if TYPE_CHECKING:
    from pathlib import Path

    from msqnet.config import InferenceOptions


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What the command loads a model with; every model is the brightness backend."""
    calls: list[dict[str, Any]] = []

    def load(*, options: InferenceOptions) -> Predictor:
        calls.append(asdict(options) | {"labels": options.label_names})
        return Predictor(TrainedBackend(), options)

    monkeypatch.setattr(Predictor, "from_pretrained", load)
    return calls


@pytest.fixture
def table(tmp_path: Path) -> Path:
    rows = ["path,start,end,labels,annotated"]
    for name, level, label in (("a", 204, "bright"), ("b", 51, "dark"), ("c", 102, "sit")):
        write_video(tmp_path / f"{name}.mov", [level] * 10)
        rows.append(f"{name}.mov,0,1,{label},bright|dark|sit|wave")
    path = tmp_path / "clips.csv"
    path.write_text("\n".join(rows) + "\n")
    return path


def run(table: Path, *options: str) -> int:
    return cli.main(["evaluate", "--data", str(table), "--num_bootstrap", "0", *options])


def parse(*options: str) -> dict[str, Any]:
    return cli.parse_settings("evaluate", ["--data", "a", *options])[1]


def test_views_left_out_stay_open() -> None:
    assert parse()["views"] == ViewChoice()
    views = parse("--views.num_clips", "10", "--views.crops", "3", "--views.merge", "max")["views"]
    assert views == ViewChoice(10, 3, "max")
    assert parse("--views.merge", "mean")["views"] == ViewChoice(merge="mean")


def test_help_lists_every_protocol(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["evaluate", "--help"])
    text = capsys.readouterr().out
    for name in PROTOCOLS:
        assert name in text


@pytest.mark.parametrize("name", ["standard", "hmdb51", "reference_charades_oracle"])
def test_protocol_is_named_on_screen_and_in_every_file(
    table: Path,
    tmp_path: Path,
    asked: list[dict[str, Any]],
    capsys: pytest.CaptureFixture[str],
    name: str,
) -> None:
    import pyarrow.parquet as pq

    out = tmp_path / "out"
    assert run(table, "--protocol", name, "--out", str(out)) == 0
    printed = capsys.readouterr().out
    assert f"protocol {name}: {PROTOCOLS[name].definition}" in printed  # type: ignore[index]
    is_reference = name.startswith("reference_")
    assert ("by the paper's released code's protocol:" in printed) is is_reference
    document = json.loads((out / "metrics.json").read_text())
    assert document["protocol"]["name"] == name
    assert name in (out / "per_label.csv").read_text()
    scores = pq.read_table(out / "scores.parquet")
    assert json.loads(scores.schema.metadata[b"msqnet"]) == {"protocol": document["protocol"]}
    assert scores.column_names == ["row", "path", "start_seconds", "end_seconds", "bright", "dark"]
    np.testing.assert_allclose(scores["bright"], [0.8, 0.2, 0.4], rtol=1e-6)
    assert len(asked) == 1


def test_headline_of_the_protocol_comes_first(
    table: Path, asked: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(table, "--protocol", "hockey_part", "--views.num_clips", "2") == 0
    lines = capsys.readouterr().out.split("\n")
    (place,) = [i for i, line in enumerate(lines) if line.startswith("protocol hockey_part")]
    assert lines[place + 1] == "views: 2 in time, 1 in space, mean, not the protocol's own"
    assert lines[place + 2].startswith("label accuracy (TP + TN) / (N K) at 0.5: 0.833")
    assert lines[place + 3].startswith("label accuracy of an answer that never names a label: 0.6")
    assert asked[0]["labels"] is None


def test_model_is_asked_for_labels_only_if_told(
    table: Path, asked: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(table) == 0
    assert "not scored: sit" in capsys.readouterr().out
    assert run(table, "--labels", "sit|bright") == 0
    assert run(table, "--labels", "table") == 0
    found = [call["labels"] for call in asked]
    assert found == [None, ("sit", "bright"), ("bright", "dark", "sit", "wave")]


def test_precision_reaches_the_predictor(table: Path, asked: list[dict[str, Any]]) -> None:
    assert run(table) == 0
    assert run(table, "--precision", "bf16") == 0
    assert [call["precision"] for call in asked] == ["auto", "bf16"]


def test_timeline_is_a_protocol_also_under_its_old_name(
    table: Path, tmp_path: Path, asked: list[Any]
) -> None:
    for name, options in (("x", ["--timeline"]), ("y", ["--protocol", "timeline"])):
        assert run(table, *options, "--out", str(tmp_path / name)) == 0
    first, second = ((tmp_path / name / "timeline.json").read_text() for name in ("x", "y"))
    assert first == second
    assert json.loads(first)["protocol"]["name"] == "timeline"
    pictures = list((tmp_path / "x" / "ethograms").iterdir())
    assert len(pictures) == 3
    for picture in pictures:
        assert picture.read_bytes().startswith(b"\x89PNG")
        assert (tmp_path / "x" / "videos" / f"{picture.stem}.json").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--timeline", "--protocol", "hmdb51"], "--timeline is now --protocol=timeline alone"),
        (["--timeline", "false"], "--timeline is now --protocol=timeline alone"),
        (["--protocol", "charades_localisation", "--views.merge", "max"], "leave out the views"),
        (["--views.num_clips", "0"], "num_clips 0"),
        (["--views.crops", "2"], "crops"),
        (["--views.crops", "3"], "sees the whole frame"),
        (["--protocol", "charades"], "charades"),
    ],
)
def test_settings_that_do_not_fit_are_usage_errors(
    table: Path,
    asked: list[Any],
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    message: str,
) -> None:
    assert run(table, *options) == 2
    assert message in capsys.readouterr().err


def test_rows_that_the_model_may_have_seen_are_said(
    table: Path,
    asked: list[Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    warning = "was trained on rows of a table clips.csv, and --split names none"
    assert run(table) == 0
    assert warning not in capsys.readouterr().err
    backend = TrainedBackend(provenance={"name": "bright", "data": "clips.csv"})
    monkeypatch.setattr(
        Predictor, "from_pretrained", lambda *, options: Predictor(backend, options)
    )
    assert run(table) == 0
    assert warning in capsys.readouterr().err
    text = table.read_text().replace("annotated", "annotated,split").replace("wave", "wave,test")
    table.write_text(text)
    assert run(table, "--split", "test") == 0
    assert warning not in capsys.readouterr().err
