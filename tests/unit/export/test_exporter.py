"""Real exports take torch half a minute each, so that these tests are slow ones."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from msqnet.clips import ClipBatch
from msqnet.data.dataset import iter_clips
from msqnet.demo import FOLDER
from msqnet.errors import ConfigError, ExportError
from msqnet.export.exporter import add_graphs, check_graphs, export_model, windows_of_videos
from msqnet.inference.backends import clip_scores
from msqnet.inference.exported import ExportedBackend
from msqnet.inference.manifest import read_manifest
from msqnet.inference.predictor import Predictor
from msqnet.inference.torch_backends import TorchBackend
from msqnet.labels import LabelSet
from msqnet.model.out_of_distribution import TrainingReference
from msqnet.model.pretrained import save_in_half
from tests.fixtures.graphs import operators_as_run
from tests.fixtures.models import (
    tiny_model,
    write_clip_folder,
    write_timesformer_folder,
)
from tests.unit.inference.test_backends import tiny_model as tiny_lite

if TYPE_CHECKING:
    from pathlib import Path

    from msqnet.clips import Clip
    from msqnet.config import ClipConfig
    from msqnet.model.pretrained import MSQNet

RUNTIMES = ["onnxruntime", "openvino"]
REAL_VIDEO = FOLDER / "fall_at_home.mp4"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(
        any(find_spec(name) is None for name in ("onnx", "onnxscript", *RUNTIMES)),
        reason="not installed: pip install 'msqnet[export]'",
    ),
]


def real_clips(model: MSQNet) -> list[Clip]:
    return list(iter_clips(windows_of_videos([REAL_VIDEO], 2.0), model.config.clip_config))


def the_model(name: str) -> MSQNet:
    """Of weights that do not magnify rounding: attention over noise would, in every runtime."""
    return tiny_lite() if name == "lite" else tiny_model(name)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``lite`` and ``timesformer`` models, and what was exported of them."""
    root = tmp_path_factory.mktemp("models")
    for name in ("lite", "timesformer"):
        model = the_model(name)
        model.save_pretrained(root / name)
        if name == "lite":
            a_reference(model.config.width).save(root / name)
        export_model(root / name, root / f"{name}-onnx", real_clips(model))
    return root


def a_reference(width: int) -> TrainingReference:
    """Made-up training windows."""
    values = np.random.default_rng(0).normal(size=(6, width)).astype(np.float32)
    reference = TrainingReference.fit(values, list("abcdef"), list("abcdef"))
    assert reference is not None
    return reference


def random_frames(num_clips: int, config: ClipConfig) -> torch.Tensor:
    generator = torch.Generator().manual_seed(num_clips)
    shape = (num_clips, config.num_frames, 3, config.size_pixels, config.size_pixels)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("name", ["lite", "timesformer"])
def test_real_clip_has_the_scores_of_the_model(folders: Path, name: str, runtime: Any) -> None:
    expected = Predictor.from_pretrained(folders / name, device="cpu")(REAL_VIDEO)
    found = Predictor.from_pretrained(folders / f"{name}-onnx", runtime=runtime)(REAL_VIDEO)
    np.testing.assert_allclose(found.timeline.scores, expected.timeline.scores, atol=1e-4)
    assert expected.timeline.scores.std() > 1e-3
    for key in ("name", "weights_digest"):
        assert found.provenance["model"][key] == expected.provenance["model"][key]


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_exported_model_says_how_unlike_the_training_videos_a_video_is(
    folders: Path, runtime: Any
) -> None:
    expected = Predictor.from_pretrained(folders / "lite", device="cpu")(REAL_VIDEO).novelty
    found = Predictor.from_pretrained(folders / "lite-onnx", runtime=runtime)(REAL_VIDEO)
    assert expected is not None
    assert found.novelty is not None
    assert found.novelty.distance == pytest.approx(expected.distance, abs=1e-4)
    assert found.novelty.share == expected.share
    other = Predictor.from_pretrained(folders / "timesformer-onnx", runtime=runtime)
    assert other(REAL_VIDEO).novelty is None


@pytest.mark.parametrize("name", ["lite", "timesformer"])
def test_any_number_of_clips_goes_through(folders: Path, name: str) -> None:
    reference = TorchBackend.from_pretrained(folders / name, "cpu")
    exported = ExportedBackend.from_pretrained(folders / f"{name}-onnx")
    for num_clips in (1, 2, 5):
        pixels = random_frames(num_clips, reference.clip_config)
        batch = ClipBatch(pixels, pixels.flip(1) if reference.clip_config.closeup else None)
        expected = clip_scores(reference, batch)
        np.testing.assert_allclose(clip_scores(exported, batch), expected, atol=1e-4)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_frames_change_where_they_do_in_the_model(tmp_path: Path, runtime: Any) -> None:
    model = the_model("lite")
    head = model.add_frame_head()
    head.weight.copy_(50 * torch.randn(head.weight.shape, generator=torch.Generator()))
    model.save_pretrained(tmp_path / "model")
    export_model(tmp_path / "model", tmp_path / "graphs", real_clips(model))
    expected = Predictor.from_pretrained(tmp_path / "model", device="cpu")(REAL_VIDEO).timeline
    found = Predictor.from_pretrained(tmp_path / "graphs", runtime=runtime)(REAL_VIDEO).timeline
    assert len(found.changes) > 2
    np.testing.assert_allclose(found.changes, expected.changes, rtol=1e-4)
    # Columns are those of the labels asked for.
    two = ("resting", "walking")
    part = Predictor.from_pretrained(tmp_path / "graphs", runtime=runtime, labels=list(two))
    some = part(REAL_VIDEO).timeline.changes
    for column, own in enumerate((2, 0)):
        np.testing.assert_array_equal(
            some[some[:, 0] == column, 1:], found.changes[found.changes[:, 0] == own, 1:]
        )


def test_check_stands_in_the_manifest(folders: Path) -> None:
    checks = read_manifest(folders / "lite-onnx").verification
    assert list(checks) == RUNTIMES
    for check in checks.values():
        assert check["num_clips"] == 3
        assert 0 <= check["max_difference"] <= check["tolerance"] == 1e-4


def test_weights_changed_after_the_export_are_noticed(folders: Path) -> None:
    changed = the_model("lite")
    clips = real_clips(changed)
    with torch.no_grad():
        changed.head.bias.add_(0.1)
    with pytest.raises(ExportError, match="largest difference of scores"):
        check_graphs(TorchBackend(changed, "cpu"), folders / "lite-onnx", clips, 1e-4)


def test_refused_export_leaves_nothing_behind(folders: Path, tmp_path: Path) -> None:
    clips = real_clips(tiny_model("timesformer"))
    with pytest.raises(ExportError, match="largest difference of scores"):
        # No difference at all is more than rounding allows for.
        export_model(folders / "timesformer", tmp_path / "out", clips, tolerance=0.0)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ConfigError, match="exists; remove it"):
        export_model(folders / "timesformer", tmp_path, clips)


def test_openvino_files_have_the_scores_of_the_model(folders: Path, tmp_path: Path) -> None:
    clips = real_clips(tiny_model("timesformer"))
    manifest = export_model(
        folders / "timesformer", tmp_path / "out", clips, export_format="openvino"
    )
    assert sorted(manifest.files) == [
        "clip_graph.bin",
        "clip_graph.xml",
        "frame_graph.bin",
        "frame_graph.xml",
    ]


def test_int8_lies_close_to_the_model_and_says_what_it_is(folders: Path, tmp_path: Path) -> None:
    clips = real_clips(the_model("lite"))
    manifest = export_model(folders / "lite", tmp_path / "out", clips, calibration=clips)
    assert manifest.precision == "int8"
    assert manifest.verification["onnxruntime"]["tolerance"] is None
    assert 0 < manifest.verification["onnxruntime"]["max_difference"] < 0.5
    size = (tmp_path / "out" / "frame_graph.onnx").stat().st_size
    assert size < 0.5 * (folders / "lite-onnx" / "frame_graph.onnx").stat().st_size


def test_open_vocabulary_answers_any_labels(tmp_path: Path) -> None:
    from tests.unit.model.test_open_vocabulary import open_model

    write_clip_folder(tmp_path / "clip")
    write_timesformer_folder(tmp_path / "timesformer")
    open_model(tmp_path).save_pretrained(tmp_path / "model")
    reference = TorchBackend.from_pretrained(tmp_path / "model", "cpu")
    clips = real_clips(reference._model)
    export_model(tmp_path / "model", tmp_path / "out", clips)
    batch = ClipBatch.stack(clips)
    for names in (("dig", "walk", "cats fight", "sit"), ("sleep",)):
        asked = LabelSet(names)
        expected = TorchBackend.from_pretrained(tmp_path / "model", "cpu", asked)
        found = ExportedBackend.from_pretrained(tmp_path / "out", labels=asked)
        np.testing.assert_allclose(
            clip_scores(found, batch), clip_scores(expected, batch), atol=1e-4
        )
        np.testing.assert_array_equal(found.thresholds, expected.thresholds)


def test_graphs_beside_a_model_share_its_weights(folders: Path, tmp_path: Path) -> None:
    folder = tmp_path / "lite"
    model = the_model("lite")
    save_in_half(model, folder)
    weights = (folder / "model.safetensors").stat().st_size
    manifest = add_graphs(folder, real_clips(model))
    assert set(manifest.files) >= {"model.safetensors", "config.json", "frame_graph.onnx"}
    assert {item["tolerance"] for item in manifest.verification.values()} == {1e-4}
    graphs = sum(path.stat().st_size for path in folder.glob("*.onnx"))
    assert graphs < 0.5 * weights
    # A ReLU6 that is a step of its own costs a third of the time.
    assert "Clip" not in operators_as_run(folder / "frame_graph.onnx", tmp_path)
    assert isinstance(Predictor.from_pretrained(folder).backend, ExportedBackend)
