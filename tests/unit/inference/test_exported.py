from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from msqnet.clips import ClipBatch
from msqnet.config import InferenceOptions, ModelOptions
from msqnet.errors import CheckpointError, ConfigError, ShapeError, VocabularyError
from msqnet.inference import exported
from msqnet.inference.backends import clip_scores
from msqnet.inference.exported import ExportedBackend
from msqnet.inference.manifest import file_digest, is_exported, read_manifest
from msqnet.inference.model_facts import known_provenance, provenance_of
from msqnet.inference.predictor import Predictor, load_backend
from tests.fixtures.exports import LABELS, NUM_FRAMES, SIZE_PIXELS, write_brightness_export
from tests.unit.inference.brightness import write_video

if TYPE_CHECKING:
    from pathlib import Path

RUNTIMES = ["onnxruntime", "openvino"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_brightness_export(tmp_path / "exported")
    return tmp_path / "exported"


def grey_clips(*levels: int) -> ClipBatch:
    shape = (NUM_FRAMES, 3, SIZE_PIXELS, SIZE_PIXELS)
    return ClipBatch(torch.stack([torch.full(shape, v, dtype=torch.uint8) for v in levels]), None)


def edit_manifest(folder: Path, **changes: Any) -> None:
    path = folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_scores_are_those_of_the_graphs(folder: Path, runtime: Any) -> None:
    pytest.importorskip(runtime)
    backend = ExportedBackend.from_pretrained(folder, runtime=runtime)
    # More frames than go through the graph at a time.
    scores = clip_scores(backend, grey_clips(0, 51, 255))
    assert scores.dtype == np.float32
    expected = [[0, 1, 0], [0.2, 0.8, 0.1], [1, 0, 0.5]]
    np.testing.assert_allclose(scores, expected, atol=1e-6)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_features_stay_as_they_are_when_more_frames_are_seen(folder: Path, runtime: Any) -> None:
    pytest.importorskip(runtime)
    backend = ExportedBackend.from_pretrained(folder, runtime=runtime)
    first = backend.frame_features(grey_clips(255).pixels[0, :1].numpy())["brightness"]
    backend.frame_features(grey_clips(0).pixels[0, :1].numpy())
    assert first.item() == 1


def test_members_are_those_of_the_manifest(folder: Path) -> None:
    pytest.importorskip("onnxruntime")
    backend = ExportedBackend.from_pretrained(folder)
    assert backend.labels.names == LABELS
    np.testing.assert_array_equal(backend.thresholds, np.float32([0.25, 0.5, 0.75]))
    assert backend.window_seconds == 1
    assert not backend.single_label
    assert backend.clip_config.num_frames == NUM_FRAMES
    assert backend.train_positive_windows == [3, 2, 1]
    assert backend.train_negative_windows is None


def test_video_is_predicted_by_every_runtime_and_results_say_which(
    folder: Path, tmp_path: Path
) -> None:
    video = write_video(tmp_path / "a.mov", [51] * 30)
    for runtime in RUNTIMES:
        pytest.importorskip(runtime)
        result = Predictor.from_pretrained(folder, runtime=runtime)(video)
        np.testing.assert_allclose(result.timeline.scores[0], [0.2, 0.8, 0.1], atol=1e-3)
        assert result.provenance["model"] == {
            "name": "brightness",
            "exported": {
                "format": "onnx",
                "precision": "float32",
                "runtime": runtime,
                "digest": read_manifest(folder).digest,
            },
        }


def test_some_labels_are_answered_in_the_order_asked_for(folder: Path) -> None:
    pytest.importorskip("onnxruntime")
    backend = load_backend(ModelOptions(str(folder), labels=("grey", "bright")))
    np.testing.assert_allclose(clip_scores(backend, grey_clips(255)), [[0.5, 1]], atol=1e-6)
    np.testing.assert_array_equal(backend.thresholds, np.float32([0.75, 0.25]))
    assert backend.train_positive_windows == [1, 3]
    with pytest.raises(VocabularyError, match="green"):
        load_backend(ModelOptions(str(folder), labels=("green",)))


def test_runtime_that_does_not_run_the_model_is_refused(folder: Path) -> None:
    with pytest.raises(ConfigError, match="'torch' does not run models exported as 'onnx'"):
        load_backend(ModelOptions(str(folder), runtime="torch"))
    wrong: Any = "tensorrt"
    with pytest.raises(ConfigError, match="'tensorrt': expected one of auto, torch"):
        load_backend(ModelOptions(str(folder), runtime=wrong))


def test_exported_model_keeps_its_numbers(folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"precision 'bf16': the graphs .* are in float32"):
        load_backend(ModelOptions(str(folder), precision="bf16"))
    with pytest.raises(ConfigError, match=r"precision 'int8'.*msqnet export --int8"):
        load_backend(ModelOptions(str(folder), precision="int8"))


def precision_of(folder: Path, **options: Any) -> str:
    """Of a model that is loaded; what is known beforehand has to be the same."""
    chosen = InferenceOptions(str(folder), **options)
    provenance = load_backend(chosen).provenance
    assert known_provenance(chosen) == provenance_of(load_backend(chosen), chosen, chosen)
    return str(provenance["exported"]["precision"])


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_second_frame_graph_in_int8_is_taken_where_the_cpu_is_fast_at_it(
    folder: Path, runtime: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip(runtime)
    graph, int8 = folder / "frame_graph.onnx", folder / "frame_graph_int8.onnx"
    int8.write_bytes(graph.read_bytes())
    files = {path.name: file_digest(path) for path in folder.glob("*.onnx")}
    edit_manifest(folder, files=read_manifest(folder).files | files)

    monkeypatch.setattr(exported, "multiplies_int8", lambda: True)
    assert precision_of(folder, runtime=runtime) == "int8"
    assert precision_of(folder, runtime=runtime, precision="int8") == "int8"
    assert precision_of(folder, runtime=runtime, precision="fp32") == "float32"
    assert not caplog.text

    monkeypatch.setattr(exported, "multiplies_int8", lambda: False)
    assert precision_of(folder, runtime=runtime) == "float32"
    assert "computing in float32, which is slower than int8: this processor" in caplog.text
    with pytest.raises(ConfigError, match=r"int8: this processor lacks .* --precision fp32"):
        load_backend(ModelOptions(str(folder), precision="int8"))
    edit_manifest(folder, precision="int8")
    with pytest.raises(ConfigError, match="take a model in float32"):
        load_backend(ModelOptions(str(folder)))


def test_accelerator_is_refused(folder: Path) -> None:
    with pytest.raises(ConfigError, match="'cuda': exported models run on the CPU"):
        load_backend(ModelOptions(str(folder), device="cuda"))


def test_frames_and_looks_of_another_form_are_refused(folder: Path) -> None:
    pytest.importorskip("onnxruntime")
    backend = ExportedBackend.from_pretrained(folder)
    with pytest.raises(ShapeError, match=r"expected uint8 \(N, 3, 16, 16\)"):
        backend.frame_features(np.zeros((1, 3, 8, 8), np.uint8))
    clips = grey_clips(1)
    with pytest.raises(ShapeError, match="found motion crops"):
        clip_scores(backend, ClipBatch(clips.pixels, clips.pixels))


def test_other_folders_are_not_taken_for_exported_ones(folder: Path, tmp_path: Path) -> None:
    assert is_exported(folder)
    assert not is_exported(tmp_path)
    assert not is_exported(None)


def test_damaged_manifest_is_named(folder: Path) -> None:
    path = folder / "manifest.json"
    whole = path.read_text()
    path.write_text(whole[:100])
    with pytest.raises(CheckpointError, match=r"manifest.json: no manifest"):
        read_manifest(folder)
    path.write_text("[]")
    with pytest.raises(CheckpointError, match=r"manifest.json: no manifest"):
        read_manifest(folder)
    path.write_text(whole)
    edit_manifest(folder, format_version=99)
    with pytest.raises(CheckpointError, match="found format_version 99, expected 1"):
        read_manifest(folder)


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"thresholds": [0.5]}, "1 thresholds of 3 labels"),
        ({"labels": ["a", "a", "b"]}, "damaged"),
        ({"format": "pickle"}, "format 'pickle'"),
        ({"files": {}}, "files: no frame_graph.onnx"),
        ({"surprise": 1}, "surprise"),
        ({"clip": {"num_frames": 0}}, "num_frames 0"),
    ],
)
def test_manifest_that_contradicts_itself_is_refused(
    folder: Path, changes: dict[str, Any], found: str
) -> None:
    edit_manifest(folder, **changes)
    with pytest.raises(CheckpointError, match=found):
        read_manifest(folder)


def test_missing_and_changed_files_are_named(folder: Path) -> None:
    path = folder / "clip_graph.onnx"
    content = path.read_bytes()
    path.write_bytes(content + b"\0")
    with pytest.raises(CheckpointError, match=r"clip_graph.onnx: found SHA-256"):
        load_backend(ModelOptions(str(folder)))
    path.unlink()
    with pytest.raises(CheckpointError, match=r"'clip_graph.onnx' is missing"):
        load_backend(ModelOptions(str(folder)))


def test_file_outside_of_the_folder_is_refused(folder: Path) -> None:
    files = json.loads((folder / "manifest.json").read_text())["files"]
    edit_manifest(folder, files=files | {"../brightness.onnx": "0"})
    with pytest.raises(CheckpointError, match=r"'../brightness.onnx' is missing"):
        read_manifest(folder)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_graph_that_a_runtime_cannot_read_is_named(
    folder: Path, tmp_path: Path, runtime: Any
) -> None:
    pytest.importorskip(runtime)
    from msqnet.inference.exported import load_graph

    path = tmp_path / "clip_graph.onnx"
    path.write_bytes((folder / "clip_graph.onnx").read_bytes()[:60])
    with pytest.raises(CheckpointError, match=f"clip_graph.onnx: {runtime} cannot read it"):
        load_graph(path, runtime)


_SIGNAL_AFTER_TWO_MODELS = """
import os, signal, sys
from pathlib import Path
from msqnet.inference.exported import load_graph

first, second = (load_graph(Path(path), sys.argv[1]) for path in sys.argv[2:])
del first
del second
seen = []
signal.signal(signal.SIGUSR1, lambda *_: seen.append(1))
os.kill(os.getpid(), signal.SIGUSR1)
assert seen
"""


@pytest.mark.skipif(sys.platform != "linux", reason="signal stacks are set as on Linux")
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_signals_arrive_after_models_are_dropped_in_their_order(folder: Path, runtime: str) -> None:
    graphs = [str(folder / name) for name in ("frame_graph.onnx", "clip_graph.onnx")]
    # faulthandler gives the main thread a signal stack, as pytest does.
    command = [sys.executable, "-X", "faulthandler", "-c", _SIGNAL_AFTER_TWO_MODELS]
    done = subprocess.run([*command, runtime, *graphs], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
