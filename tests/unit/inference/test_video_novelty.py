"""Whether a video is said to be unlike the training videos."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np
import pytest
import torch

from msqnet.batch.runners import ResultsFolder, predict_into
from msqnet.clips import ClipBatch
from msqnet.config import InferenceOptions, WindowConfig
from msqnet.inference.backends import ClipOutputs, clip_scores, features_of_clips
from msqnet.inference.predictor import Predictor
from msqnet.inference.results import VideoJob
from msqnet.inference.torch_backends import TorchBackend
from msqnet.model.out_of_distribution import TrainingReference, clip_embeddings
from msqnet.predictions import UNKNOWN_TEXT, Novelty, VideoPredictions
from tests.fixtures.models import random_inputs, tiny_model
from tests.unit.inference.brightness import BLACK, WHITE, BrightnessBackend, write_video

if TYPE_CHECKING:
    from pathlib import Path

    from msqnet.inference.backends import Arrays


def reference() -> TrainingReference:
    """Training videos at the distances 0.00, 0.01, ... 0.99."""
    distances = np.arange(100, dtype=np.float32) / 100
    window = np.array([[1, 0]], np.float32)
    return TrainingReference(np.zeros(2, np.float32), window, distances)


@dataclass
class BrightIsNewBackend(BrightnessBackend):
    """The brighter a window, the farther it is from the training set."""

    def clip_outputs(self, frames: Arrays, motion_crops: Arrays | None) -> ClipOutputs:
        scores = self.score_frames(frames, motion_crops)
        # At the angle from the one training window that has the brightness as cosine distance.
        cosine = 1 - scores[:, :1]
        return ClipOutputs(scores, np.concatenate([cosine, np.sqrt(1 - cosine**2)], axis=1))


def test_a_video_is_as_new_as_the_median_of_its_windows(tmp_path: Path) -> None:
    # Three windows of one second: black, grey, white.
    video = write_video(tmp_path / "steps.mov", [BLACK] * 10 + [102] * 10 + [WHITE] * 10)

    found = Predictor(
        BrightIsNewBackend(training_reference=reference()), WindowConfig(stride_seconds=1.0)
    )(video).novelty

    assert found is not None
    assert found.distance == pytest.approx(0.4)
    assert found.share == pytest.approx(0.4, abs=0.011)
    assert not found.is_unlike


def test_a_video_beyond_nearly_all_training_videos_is_warned_of_everywhere(tmp_path: Path) -> None:
    video = write_video(tmp_path / "white.mov", [WHITE] * 20)
    results = ResultsFolder(tmp_path / "results")
    predictor = Predictor(BrightIsNewBackend(training_reference=reference()))

    row, predictions = predict_into(results, VideoJob(video.name, str(video)), predictor)

    assert predictions is not None
    assert predictions.novelty == Novelty(1.0, 1.0, is_unlike=True)
    assert predictions.notes == ()
    assert (row.status, row.error, row.note) == ("ok", "", predictions.novelty.warning)


def test_windows_far_from_the_training_windows_are_unknown(tmp_path: Path) -> None:
    video = write_video(tmp_path / "steps.mov", [BLACK] * 20 + [WHITE] * 20)
    known = replace(reference(), window_limit=0.6)
    options = InferenceOptions(stride_seconds=1.0, threshold=0.0)

    def predict(ood: Literal["hide", "report", "ignore"]) -> VideoPredictions:
        backend = BrightIsNewBackend(training_reference=known)
        found = replace(options, ood=ood)
        return Predictor(backend, found, found)(video)

    hidden, reported, ignored = predict("hide"), predict("report"), predict("ignore")

    assert hidden.timeline.unknown_intervals == [(2.0, 4.0)]
    assert {item.end_seconds for item in hidden.segments} == {2.0}
    assert hidden.warnings == (f"50% of it is {UNKNOWN_TEXT}",)
    assert {item.end_seconds for item in reported.segments} == {4.0}
    assert reported.timeline == hidden.timeline
    assert ignored.timeline.is_unknown is None
    assert (ignored.novelty, ignored.warnings) == (None, ())
    assert VideoPredictions.from_json(hidden.to_json()) == hidden


def test_labels_annotated_for_other_actors_make_no_segment(tmp_path: Path) -> None:
    video = write_video(tmp_path / "steps.mov", [BLACK] * 20 + [WHITE] * 20)
    known = replace(
        reference(),
        window_limit=0.6,
        actors=("mouse",),
        label_actors={"bright": ["person"], "dark": ["mouse", "person"]},
    )
    options = InferenceOptions(stride_seconds=1.0, threshold=0.0)
    backend = BrightIsNewBackend(training_reference=known)

    found = Predictor(backend, options, options)(video)
    without = Predictor(backend, options, replace(options, ood="ignore"))(video)

    assert found.actors == {"mouse": 1.0}
    assert list(found.unproven) == ["bright"]
    assert (
        "annotated for person only, and this video seems to show mouse" in found.unproven["bright"]
    )
    assert "bright" not in {item.label for item in found.segments}
    assert "dark" in {item.label for item in found.segments}
    assert (without.actors, without.unproven) == (found.actors, found.unproven)
    assert VideoPredictions.from_json(found.to_json()) == found


def test_limit_of_windows_is_that_of_nearly_all_training_windows(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    embeddings = rng.normal(size=(200, 8)).astype(np.float32)
    groups = [f"scene {row // 10}" for row in range(200)]
    found = TrainingReference.fit(embeddings, groups, groups)
    assert found is not None
    assert found.window_limit is not None
    found.save(tmp_path)
    again = TrainingReference.load(tmp_path)
    assert again is not None
    assert (again.window_limit, again.digest) == (found.window_limit, found.digest)
    assert replace(found, window_limit=None).digest != found.digest


@pytest.mark.parametrize("backend", [BrightnessBackend(), BrightIsNewBackend()])
def test_a_model_that_cannot_say_says_nothing(tmp_path: Path, backend: BrightnessBackend) -> None:
    video = write_video(tmp_path / "white.mov", [WHITE] * 10)

    assert Predictor(backend)(video).novelty is None


@pytest.mark.parametrize("encoder", ["lite", "timesformer"])
def test_torch_measures_the_embedding_that_it_scores_from(encoder: str) -> None:
    model = tiny_model(encoder)
    inputs = random_inputs(encoder, 6)
    with torch.inference_mode():
        embeddings = clip_embeddings(model, model(**inputs)).numpy()
    names = list("abcdef")
    known = TrainingReference.fit(embeddings, names, names)
    assert known is not None
    backend = TorchBackend(model, "cpu", training_reference=known)
    frames, motion_crops = features_of_clips(backend, inputs["pixels"].numpy()), None
    if "motion_crops" in inputs:
        crops = inputs["motion_crops"].numpy()
        motion_crops = features_of_clips(backend, crops, is_motion_crop=True)

    outputs = backend.clip_outputs(frames, motion_crops)

    assert outputs.embeddings == pytest.approx(embeddings, abs=1e-4)
    assert backend.provenance["novelty_digest"] == known.digest


def test_scores_are_the_same_with_and_without_a_reference() -> None:
    model, inputs = tiny_model("lite"), random_inputs("lite", 2)
    batch = ClipBatch(inputs["pixels"], inputs["motion_crops"])
    known = TrainingReference(
        np.zeros(16, np.float32), np.ones((1, 16), np.float32), np.ones(1, np.float32)
    )

    plain = clip_scores(TorchBackend(model, "cpu"), batch)

    assert np.array_equal(
        clip_scores(TorchBackend(model, "cpu", training_reference=known), batch), plain
    )


def test_embeddings_of_all_windows_come_with_the_predictions(tmp_path: Path) -> None:
    video = write_video(tmp_path / "steps.mov", [BLACK] * 10 + [WHITE] * 10)
    predictor = Predictor(BrightIsNewBackend(), WindowConfig(stride_seconds=1.0, batch_size=1))

    embeddings: list[np.ndarray] = []
    predictions = predictor(video, embeddings=embeddings)

    assert predictions == predictor(video)
    assert np.concatenate(embeddings) == pytest.approx(np.array([[1, 0], [0, 1]]))
    nothing: list[np.ndarray] = []
    Predictor(BrightnessBackend())(video, embeddings=nothing)
    assert nothing == []


def test_reference_is_no_part_of_the_weights_and_is_named_by_itself(tmp_path: Path) -> None:
    model = tiny_model("lite")
    model.save_pretrained(tmp_path / "model")
    before = TorchBackend.from_pretrained(tmp_path / "model", "cpu").provenance
    values = np.random.default_rng(0).normal(size=(4, 16)).astype(np.float32)
    known = TrainingReference.fit(values, list("abcd"), list("abcd"))
    assert known is not None
    known.save(tmp_path / "model")

    after = TorchBackend.from_pretrained(tmp_path / "model", "cpu").provenance

    assert after == before | {"novelty_digest": known.digest}
