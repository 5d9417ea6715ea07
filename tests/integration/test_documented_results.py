"""`docs/reference/result-files.md` names every column and field of files as they are written."""

from __future__ import annotations

import csv
import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from msqnet.cli import main as cli
from msqnet.config import InferenceOptions
from msqnet.evaluation.by_protocol import PROTOCOL_METRICS
from msqnet.evaluation.row_metrics import DEFINITIONS
from msqnet.inference.backends import ClipOutputs
from msqnet.inference.predictor import Predictor
from msqnet.model.out_of_distribution import TrainingReference
from tests.fixtures.documents import ROOT
from tests.fixtures.large_models import large_model, saw
from tests.unit.inference.brightness import BrightnessBackend, write_video

if TYPE_CHECKING:
    from pathlib import Path

    from msqnet.inference.backends import Arrays

REFERENCE = ROOT / "docs" / "reference" / "result-files.md"
ROW = re.compile(r"^\| `(?P<name>[^`]+)` \| (?P<type>[^|]+?) \|", re.MULTILINE)
PER_LABEL = "*one for each label*"
TYPES: dict[str, Any] = {
    "text": str,
    "whole number": int,
    "number": (int, float),
    "true or false": bool,
    "object": dict,
}
LABELS = ["bright", "dark"]


def a_reference() -> TrainingReference:
    scores = np.array([[1, 0], [0, 1]], np.float32)
    return TrainingReference(scores.mean(axis=0), scores, np.array([0.1, 0.2], np.float32))


@dataclass
class TrainedBackend(BrightnessBackend):
    """The brightness backend with the counts of a trained model and what it was trained on."""

    train_positive_windows: list[int] = field(default_factory=lambda: [20, 20])
    train_negative_windows: list[int] = field(default_factory=lambda: [20, 20])
    training_reference: TrainingReference = field(default_factory=a_reference)

    def clip_outputs(self, frames: Arrays, motion_crops: Arrays | None) -> ClipOutputs:
        scores = self.score_frames(frames, motion_crops)
        return ClipOutputs(scores, scores)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `results`, `rows` and `videos`, as the commands write them."""

    def load(*arguments: Any, **settings: Any) -> Predictor:
        found = [*arguments, settings.get("options")]
        options = next((item for item in found if isinstance(item, InferenceOptions)), None)
        return Predictor(TrainedBackend(), options if options else settings["window"])

    folder = tmp_path_factory.mktemp("written")
    rows = ["path,start,end,labels,annotated,source"]
    for name, level, label in (("a", 204, "bright"), ("b", 51, "dark"), ("c", 180, "sit")):
        write_video(folder / f"{name}.mov", [level] * 25)
        rows.append(f"{name}.mov,0,1,{label},bright|dark|sit,{name}")
    table = folder / "clips.csv"
    table.write_text("\n".join(rows) + "\n", encoding="utf-8")
    out = str(folder / "results")
    options = ["evaluate", "--data", str(table), "--num_bootstrap", "10", "--out"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Predictor, "from_pretrained", load)
        with large_model(saw("bright", "walking")) as model:
            asked = ["--ask", model.url, "--ask-model", "big", "--ask-about", "bright"]
            assert cli.main(["predict", str(folder / "a.mov"), "--out", out, *asked]) == 0
        assert cli.main([*options, str(folder / "rows")]) == 0
        assert cli.main([*options, str(folder / "videos"), "--protocol", "timeline"]) == 0
    return folder


def documented(section: str) -> dict[str, str]:
    """Type by name in the first table of a section; what has no fixed name is left out."""
    text = REFERENCE.read_text(encoding="utf-8")
    part = re.split(r"^#+ ", text.partition(f"### {section}\n")[2], flags=re.MULTILINE)[0]
    found = {match["name"]: match["type"] for match in ROW.finditer(part)}
    assert found, f"no table under {section}"
    return found


def fields_of(document: dict[str, Any], names: dict[str, str], prefix: str = "") -> dict[str, Any]:
    """Values by dotted name, as deep as the documentation names them."""
    values: dict[str, Any] = {}
    for key, value in document.items():
        name = f"{prefix}{key}"
        values[name] = value
        if isinstance(value, dict) and any(other.startswith(f"{name}.") for other in names):
            values |= fields_of(value, names, f"{name}.")
        if any(other.startswith(f"{name}[].") for other in names):
            values |= fields_of(value[0], names, f"{name}[].")
    return values


def is_of(value: Any, kind: str) -> bool:
    if kind.endswith(" or null"):
        return value is None or is_of(value, kind.removesuffix(" or null"))
    if kind.startswith("list of "):
        inner = kind.removeprefix("list of ")
        return isinstance(value, list) and all(is_of(item, inner) for item in value)
    is_bool = isinstance(value, bool)
    return isinstance(value, TYPES[kind]) and is_bool is (kind == "true or false")


def assert_documented(document: dict[str, Any], section: str) -> None:
    names = documented(section)
    values = fields_of(document, names)
    assert sorted(values) == sorted(names)
    wrong = {name: values[name] for name, kind in names.items() if not is_of(values[name], kind)}
    assert not wrong


def columns_of(path: Path) -> list[str]:
    with path.open(encoding="utf-8", newline="") as file:
        return next(csv.reader(file))


def test_csv_files_have_the_documented_columns(written: Path) -> None:
    for path, section in (
        ("results/a.mov.csv", "Segments"),
        ("results/index.csv", "Index"),
        ("results/time_budget.csv", "Time budget"),
        ("rows/per_label.csv", "Labels"),
    ):
        assert columns_of(written / path) == list(documented(section)), path


@pytest.mark.parametrize(
    ("path", "section"),
    [
        ("results/a.mov.scores.parquet", "Scores over time"),
        ("rows/scores.parquet", "Scores of rows"),
        ("rows/targets.parquet", "Targets of rows"),
    ],
)
def test_parquet_files_have_the_documented_columns_and_types(
    written: Path, path: str, section: str
) -> None:
    schema = pq.read_schema(written / path)
    text = REFERENCE.read_text(encoding="utf-8").partition(f"### {section}\n")[2]
    label_type = text.partition(f"| {PER_LABEL} | ")[2].partition(" |")[0]

    expected = documented(section) | dict.fromkeys(LABELS, label_type)

    found = {name: str(schema.field(name).type) for name in schema.names}
    # Which of its two types of text Arrow takes depends on the version of pandas.
    texts = {"string": "text", "large_string": "text"}
    assert {name: texts.get(kind, kind) for name, kind in found.items()} == expected


def test_result_has_the_documented_fields(written: Path) -> None:
    document = json.loads((written / "results/a.mov.json").read_text(encoding="utf-8"))

    assert_documented(document, "Everything")


def test_metrics_have_the_documented_fields(written: Path) -> None:
    document = json.loads((written / "rows/metrics.json").read_text(encoding="utf-8"))
    figures = {
        name: document.pop(name)
        for name in (*DEFINITIONS, *PROTOCOL_METRICS)
        if name in document and name != "intervals"
    }

    assert_documented(document, "Metrics")
    assert all(is_of(value, "number or null") for value in figures.values())


def test_timelines_have_the_documented_fields(written: Path) -> None:
    document = json.loads((written / "videos/timeline.json").read_text(encoding="utf-8"))

    assert_documented(document, "Timelines")
