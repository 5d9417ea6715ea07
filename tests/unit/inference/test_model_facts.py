"""What a model's files tell is what loading it tells, and finished results need no more."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from msqnet.cli import main as cli
from msqnet.config import InferenceOptions
from msqnet.inference.model_facts import known_provenance
from msqnet.inference.predictor import Predictor
from msqnet.model.out_of_distribution import TrainingReference
from msqnet.models.card import change_config
from tests.fixtures.exports import write_brightness_export
from tests.fixtures.models import tiny_model, write_clip_folder
from tests.unit.inference.brightness import BLACK, WHITE, write_video

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

WITHOUT_WEIGHTS = """
import sys
from safetensors import numpy as tensors

def refused(*_):
    raise RuntimeError("weights were read")

sys.modules.update(dict.fromkeys(("torch", "transformers", "onnxruntime", "openvino")))
tensors.load_file = refused
from msqnet.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


def own_model(folder: Path, **changes: Any) -> Path:
    tiny_model("lite", **changes).save_pretrained(folder)
    return folder


def open_model(folder: Path) -> Path:
    """Whose embeddings stand for texts that a CLIP embeds."""
    text = {"kind": "clip", "name": str(write_clip_folder(folder.with_name("text")))}
    changes = {"head": "cosine", "direct_path": False, "thresholds": [0.2, 0.3, 0.9]}
    model = tiny_model("lite", **changes, learn_label_queries=False, query_attention=False)
    model.config.text_encoder = text
    model.save_pretrained(folder)
    return folder


MODELS: dict[str, Callable[[Path], InferenceOptions]] = {
    "of defaults": lambda f: InferenceOptions(model=str(own_model(f / "m"))),
    "calibrated": lambda f: InferenceOptions(
        model=str(own_model(f / "m", thresholds=[0.1, 0.2, 0.35], window_seconds=1.5)),
        stride_seconds=0.5,
        min_duration_seconds=1.0,
    ),
    "some labels": lambda f: InferenceOptions(
        model=str(own_model(f / "m", thresholds=[0.1, 0.2, 0.35])), labels="Sleep|sit"
    ),
    "one threshold": lambda f: InferenceOptions(model=str(own_model(f / "m")), threshold=0.7),
    "open": lambda f: InferenceOptions(model=str(open_model(f / "m"))),
    "exported": lambda f: (
        write_brightness_export(f / "m") and InferenceOptions(model=str(f / "m"), labels="dark")
    ),
    "shipped": lambda _: InferenceOptions(),
    "shipped, some labels": lambda _: InferenceOptions(labels=("grooming", "walking")),
    "shipped, in PyTorch": lambda _: InferenceOptions(runtime="torch"),
    "CLIP": lambda f: InferenceOptions(
        model=f"clip-zero-shot:{write_clip_folder(f / 'clip', max_num_tokens=64)}",
        labels="dig|walk",
    ),
    "CLIP, with settings": lambda f: InferenceOptions(
        model=str(write_clip_folder(f / "clip", max_num_tokens=77)),
        labels="dig",
        prompts="animals|none",
        contrast="default",
    ),
}


@pytest.mark.parametrize("name", MODELS)
def test_files_tell_what_loading_tells(name: str, tmp_path: Path) -> None:
    options = MODELS[name](tmp_path)

    found = known_provenance(options)

    assert found == json.loads(json.dumps(Predictor.from_pretrained(options=options).provenance))


def test_other_labels_of_an_open_model_get_the_median_threshold(tmp_path: Path) -> None:
    options = InferenceOptions(model=str(open_model(tmp_path / "m")), labels="walk|dig")
    found = known_provenance(options)
    assert found is not None
    np.testing.assert_allclose(found["settings"]["thresholds"], [0.3, 0.3])


def test_training_windows_beside_the_weights_count(tmp_path: Path) -> None:
    folder = own_model(tmp_path / "m")
    options = InferenceOptions(model=str(folder))
    rows = np.eye(4, 16, dtype=np.float32)
    TrainingReference(rows.mean(axis=0), rows, np.array([0.1, 0.2], np.float32)).save(folder)

    assert known_provenance(options) == Predictor.from_pretrained(options=options).provenance


def test_what_only_loading_tells_is_left_to_it(tmp_path: Path) -> None:
    for model in (str(tmp_path), "nobody/nothing", "clip-zero-shot:nobody/nothing"):
        assert known_provenance(InferenceOptions(model=model, labels="walk")) is None


@pytest.fixture
def predicted(tmp_path: Path) -> tuple[Path, Path, Path]:
    """A model, two videos, and the results of both."""
    model, videos, out = own_model(tmp_path / "m"), tmp_path / "videos", tmp_path / "out"
    for number in range(2):
        write_video(videos / f"{number}.mov", [BLACK] * 10 + [WHITE] * 10)
    assert cli.main(["predict", str(videos), "--model", str(model), "--out", str(out)]) == 0
    return model, videos, out


def test_results_that_exist_are_said_without_torch_or_weights(
    predicted: tuple[Path, Path, Path],
) -> None:
    model, videos, out = predicted
    arguments = ["predict", str(videos), "--model", str(model), "--out", str(out)]
    command = [sys.executable, "-c", WITHOUT_WEIGHTS, *arguments]
    before = {path: path.read_bytes() for path in out.rglob("*.json")}

    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    assert done.stdout.count("results exist; --overwrite computes them again") == 2
    assert "2 exists" in done.stdout
    assert before == {path: path.read_bytes() for path in out.rglob("*.json")}
    assert [line.split(",")[2] for line in (out / "index.csv").read_text().splitlines()] == [
        *("status", "exists", "exists")
    ]


@pytest.mark.parametrize("change", ["weights", "config", "video", "result", "option", "overwrite"])
def test_anything_else_loads_the_model(
    predicted: tuple[Path, Path, Path],
    change: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    model, videos, out = predicted
    more: list[str] = []
    if change == "weights":
        tiny_model("lite", seed=1).save_pretrained(model)
    elif change == "config":
        change_config(model, {"thresholds": [0.1, 0.2, 0.3]})
    elif change == "video":
        write_video(videos / "1.mov", [WHITE] * 10)
    elif change == "result":
        (out / "1.mov.json").write_text("{")
    else:
        more = ["--threshold", "0.9"] if change == "option" else ["--overwrite"]
    num_loaded = 0
    load = Predictor.from_pretrained

    def counting(**settings: Any) -> Predictor:
        nonlocal num_loaded
        num_loaded += 1
        return load(**settings)

    monkeypatch.setattr(Predictor, "from_pretrained", counting)
    code = cli.main(["predict", str(videos), "--model", str(model), "--out", str(out), *more])

    assert num_loaded == 1
    assert code == (0 if change == "overwrite" else 1)
    said = capsys.readouterr().err
    for name, words in {
        "weights": "(model.weights_digest: '",
        "config": "(settings.thresholds: 3 of 3 values)",
        "video": "(of another video, or the video was changed since)",
        "result": "(it is damaged or not complete)",
        "option": "settings.segments.threshold: None there, 0.9 here)",
    }.items():
        assert (words in said) is (name == change)
