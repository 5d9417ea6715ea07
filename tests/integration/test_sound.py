"""Sound from the file to the score: training, stored features, export and results."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from benchmarks.sound import draw_clips, measure, new_run, write_encoders

from msqnet.clips import ClipBatch
from msqnet.config import WindowConfig
from msqnet.data.dataset import iter_clips
from msqnet.data.table import read_table
from msqnet.errors import ConfigError, ShapeError
from msqnet.explain.explainer import Explainer
from msqnet.export.exporter import export_model
from msqnet.inference.backends import clip_scores
from msqnet.inference.exported import ExportedBackend
from msqnet.inference.predictor import Predictor
from msqnet.inference.torch_backends import TorchBackend
from msqnet.model.builder import clip_settings
from msqnet.model.pretrained import MSQNet
from msqnet.training.fit import fit
from msqnet.training.training_run import Run, variant
from tests.fixtures.models import LABELS, sound_changes, tiny_model
from tests.fixtures.sounds import write_video_with_sound

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A short run of a model with sound, on frozen features."""
    folder = tmp_path_factory.mktemp("sound")
    table = read_table(draw_clips(folder / "clips", 12, 0))
    write_encoders(folder)
    base = new_run(table, folder, folder / "run", 1)
    return replace(base, train=replace(base.train, finetune="decoder", cached_views=1))


@pytest.fixture(scope="module")
def model_folder(run: Run) -> Path:
    return fit(run, report=lambda line: None)


def test_stored_features_give_the_scores_of_the_files(run: Run, model_folder: Path) -> None:
    from msqnet.training.fit import stored_features

    model = MSQNet.from_pretrained(model_folder)
    store = stored_features(model, replace(run, features=run.folder / "kept"), run.table,
                            augmented=False)  # fmt: skip
    assert {"audio_tokens", "audio_query", "sound_times"} < set(store.names)
    backend = TorchBackend(model, "cpu")
    batch = ClipBatch.stack(list(iter_clips(run.table.records[:4], run.clip)))
    stored = model(**store.batch(range(4), [0] * 4)).logits
    found = model.scores(stored).detach().numpy()
    np.testing.assert_allclose(found, clip_scores(backend, batch), atol=2e-3)


def test_features_of_a_model_without_sound_are_others(run: Run) -> None:
    from msqnet.model.builder import new_model
    from msqnet.training.features import FrozenPart

    digests, names = set(), set()
    for name in ("video", "audio", "both"):
        arch = variant(run.arch, name)
        frozen = FrozenPart(new_model(arch, run.clip, run.labels), "decoder")
        digests.add(frozen.digest())
        names.add(frozen.names)
    assert len(digests) == len(names) == 3


@pytest.mark.parametrize("kind", ["ast", "clap"])
def test_exported_graphs_hear_and_mask_as_the_model_does(kind: str, tmp_path: Path) -> None:
    model = tiny_model("timesformer", **sound_changes(kind, "timesformer"))
    model.save_pretrained(tmp_path / "model")
    rng = np.random.default_rng(0)
    sounds = [rng.normal(0, 0.2, 32000), None, rng.normal(0, 0.2, 16000)]
    paths = [
        write_video_with_sound(
            tmp_path / f"{number}.mkv",
            None if sound is None else sound.astype(np.float32),
            start_seconds=0.5 * (number == 2),
            seconds=2,
        )
        for number, sound in enumerate(sounds)
    ]
    clips = []
    for path in paths:
        table = tmp_path / f"{path.stem}.csv"
        table.write_text(f"path,labels\n{path.name},{LABELS[0]}\n")
        clips += list(iter_clips(read_table(table).records, model.config.clip_config))
    manifest = export_model(tmp_path / "model", tmp_path / "graphs", clips)
    verified = manifest.verification["onnxruntime"]
    assert verified["max_difference"] < 1e-4
    exported = ExportedBackend.from_pretrained(tmp_path / "graphs")
    scores = clip_scores(exported, ClipBatch.stack(clips))
    assert np.abs(scores[0] - scores[1]).max() > 1e-3  # the same picture, with and without sound
    predictions = [
        Predictor(backend, WindowConfig(window_seconds=1.0))(paths[2])
        for backend in (TorchBackend(MSQNet.from_pretrained(tmp_path / "model"), "cpu"), exported)
    ]
    first, second = (np.stack([window.scores for window in p.windows]) for p in predictions)
    np.testing.assert_allclose(first, second, atol=1e-4)
    with pytest.raises(ShapeError, match="no spectrogram"):
        exported.clip_outputs({"pixels": np.zeros((1, 4, 3, 32, 32), np.float32)}, None)


def test_results_say_where_sound_was_missing(model_folder: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    loud = rng.normal(0, 0.2, 16000).astype(np.float32)
    predictor = Predictor.from_pretrained(model_folder, device="cpu")
    whole = write_video_with_sound(tmp_path / "a.mkv", np.tile(loud, 4), side=32)
    part = write_video_with_sound(tmp_path / "b.mkv", loud, side=32, seconds=8)
    silent = write_video_with_sound(tmp_path / "c.mkv", None, side=32)
    notes = [[note for note in predictor(path).notes if "sound" in note]
             for path in (whole, part, silent)]  # fmt: skip
    assert notes[0] == []
    assert len(notes[1]) == len(notes[2]) == 1
    assert "missing in all windows" in notes[2][0]
    assert "missing in all" not in notes[1][0]


def test_maps_are_of_the_frames_alone_and_none_of_sound_alone(
    model_folder: Path, run: Run, tmp_path: Path
) -> None:
    path = run.table.records[0].path
    maps = Explainer(MSQNet.from_pretrained(model_folder)).explain(path, run.labels.names[:2])
    assert np.isfinite(maps.maps).all()
    arch = variant(run.arch, "audio")
    from msqnet.model.builder import new_model

    alone = new_model(arch, clip_settings(arch, run.clip), run.labels)
    with pytest.raises(ConfigError, match="sound alone"):
        Explainer(alone)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_what_only_sound_tells_is_learnt_from_sound(tmp_path: Path) -> None:
    found: dict[str, Any] = measure(tmp_path, 300, 100, 15, ("video", "both"))
    assert found["both"]["macro_map"] >= 0.9
    assert found["video"]["macro_map"] < found["chance"] + 0.12
