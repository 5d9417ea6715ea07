"""What the worker makes, asked directly; the model is a tiny one with random weights."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import av
import numpy as np
import pytest
import torch
from PIL import Image

from msqnet.config import ArchConfig, ServerLimits, WorkerSettings
from msqnet.errors import ConfigError, UnreadableVideo, VocabularyError
from msqnet.labels import LabelSet
from msqnet.model.builder import new_model
from msqnet.predictions import VideoPredictions
from msqnet.serving.request_errors import RequestError, detail_of
from msqnet.serving.routes import segments_csv
from msqnet.serving.schemas import PredictionOptions
from msqnet.serving.worker import Kind, Worker, WorkerRequest
from tests.fixtures.models import (
    NUM_FRAMES,
    SIZE_PIXELS,
    fill_with_noise,
    tiny_clip_settings,
    tiny_model,
    write_clip_folder,
    write_timesformer_folder,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

TRAINED = ("sit", "walk", "sleep")
ASKED = ("dig", "cats fight")


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Worker:
    """A worker with an open-vocabulary model."""
    folder = tmp_path_factory.mktemp("open")
    write_clip_folder(folder / "clip")
    write_timesformer_folder(folder / "timesformer")
    arch = ArchConfig(
        video_encoder="timesformer",
        video_weights=str(folder / "timesformer"),
        video_query="image",
        image_encoder=str(folder / "clip"),
        text_encoder=f"clip:{folder / 'clip'}",
        embedding="projected",
        learn_label_queries=False,
        query_attention=False,
        num_frames=NUM_FRAMES,
        size_pixels=SIZE_PIXELS,
        width=16,
        decoder_layers=1,
        decoder_heads=2,
        decoder_feedforward=32,
        head="cosine",
        closeup=False,
    )
    torch.manual_seed(0)
    model = new_model(arch, tiny_clip_settings(), LabelSet(TRAINED))
    for part in (model.decoder, model.head):
        fill_with_noise(part)
    model.save_pretrained(folder / "model")
    return Worker(WorkerSettings(str(folder / "model"), device="cpu"))


@pytest.fixture
def predicted(
    worker: Worker, tmp_path: Path, write_video: Callable[..., Path]
) -> tuple[Path, Path]:
    """A video and its result."""
    video = write_video("clip.mp4", 30)
    options = PredictionOptions(labels=ASKED, window_seconds=1.0, stride_seconds=0.5)
    _predict(worker, video, tmp_path / "result.json", options)
    return video, tmp_path / "result.json"


def _predict(
    worker: Worker, video: Path, output: Path, options: PredictionOptions, report: Any = None
) -> None:
    request = WorkerRequest(Kind.PREDICTION, video, output, "my clip.mp4", options)
    worker.make(request, report or _ignore)


def _ignore(_share: float) -> None:
    """Nobody asks how far it is."""


def _decoded(path: Path) -> tuple[int, int, int]:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return stream.width, stream.height, sum(1 for _ in container.decode(stream))


def test_says_what_its_model_is(worker: Worker) -> None:
    facts = worker.facts

    assert (facts.name, facts.labels, facts.is_open_vocabulary) == ("model", TRAINED, True)
    assert facts.stride_seconds <= facts.window_seconds


def test_open_model_answers_with_the_labels_that_were_asked_for(
    predicted: tuple[Path, Path],
) -> None:
    predictions = VideoPredictions.from_json(predicted[1].read_text())

    assert tuple(predictions.labels) == ASKED
    assert predictions.path == "my clip.mp4"
    assert (predictions.window_seconds, predictions.stride_seconds) == (1.0, 0.5)


def test_own_labels_are_answered_as_before(
    worker: Worker, tmp_path: Path, predicted: tuple[Path, Path]
) -> None:
    for number, labels in enumerate([None, ASKED, TRAINED, None]):
        output = tmp_path / f"again{number}.json"
        _predict(worker, predicted[0], output, PredictionOptions(labels=labels))
    rows = [json.loads((tmp_path / f"again{n}.json").read_text()) for n in (0, 2, 3)]

    assert rows[0]["labels"] == list(TRAINED)
    assert rows[0]["timeline"] == rows[1]["timeline"] == rows[2]["timeline"]


def test_progress_rises_to_the_end(
    worker: Worker, tmp_path: Path, predicted: tuple[Path, Path]
) -> None:
    shares: list[float] = []
    options = PredictionOptions(window_seconds=0.5, stride_seconds=0.25)

    _predict(worker, predicted[0], tmp_path / "b.json", options, shares.append)

    assert len(shares) > 3
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


def test_segments_at_another_threshold_are_those_of_a_prediction_with_it(
    worker: Worker, tmp_path: Path, predicted: tuple[Path, Path]
) -> None:
    video, result = predicted
    scores = VideoPredictions.from_json(result.read_text()).timeline.scores
    threshold = float(np.median(scores))
    options = PredictionOptions(
        labels=ASKED, threshold=threshold, window_seconds=1.0, stride_seconds=0.5
    )
    _predict(worker, video, tmp_path / "other.json", options)

    assert segments_csv(result, threshold) == (tmp_path / "other.csv").read_text()
    assert segments_csv(result, None) == result.with_suffix(".csv").read_text()


def test_heat_map_is_of_the_label_and_the_stretch(
    worker: Worker, tmp_path: Path, predicted: tuple[Path, Path]
) -> None:
    output = tmp_path / "heat.json"
    request = WorkerRequest(
        Kind.HEAT_MAP,
        predicted[0],
        output,
        options=PredictionOptions(labels=ASKED, window_seconds=1.0),
        label=ASKED[1],
        interval_seconds=(0.5, 2.5),
    )

    worker.make(request, _ignore)

    found = json.loads(output.read_text())
    shape = (found["num_frames"], found["height"], found["width"])
    maps = np.frombuffer(base64.b64decode(found["maps"]), np.uint8).reshape(shape)
    assert found["label"] == ASKED[1]
    assert found["pts_seconds"] == sorted(set(found["pts_seconds"]))
    assert len(found["pts_seconds"]) == found["num_frames"]
    assert found["start_seconds"] <= found["pts_seconds"][0]
    assert found["pts_seconds"][-1] < found["end_seconds"]
    assert found["width"] / found["height"] == pytest.approx(128 / 80, rel=0.05)
    assert maps.max() == 255


def test_heat_map_of_less_than_a_window_is_one_window(
    worker: Worker, tmp_path: Path, predicted: tuple[Path, Path]
) -> None:
    output = tmp_path / "heat.json"
    request = WorkerRequest(
        Kind.HEAT_MAP, predicted[0], output, label="sit", interval_seconds=(0.6, 0.9)
    )
    worker.make(request, _ignore)

    found = json.loads(output.read_text())

    assert (found["start_seconds"], found["end_seconds"]) == (0.6, 0.9)


def test_preview_keeps_times_and_is_small(
    worker: Worker, tmp_path: Path, write_video: Callable[..., Path]
) -> None:
    video = write_video("clip.avi", 5, width=960, height=720, codec="mjpeg", pix_fmt="yuvj420p")
    output = tmp_path / "preview.mp4"

    worker.make(WorkerRequest(Kind.PREVIEW, video, output), _ignore)

    assert _decoded(output) == (640, 480, 5)


def test_overlay_report_and_picture_are_written(
    worker: Worker, tmp_path: Path, predicted: tuple[Path, Path]
) -> None:
    video, result = predicted
    overlay, report, picture = (tmp_path / name for name in ("o.mp4", "r.html", "p.jpg"))

    for kind, output in ((Kind.OVERLAY, overlay), (Kind.REPORT, report), (Kind.PICTURE, picture)):
        worker.make(WorkerRequest(kind, video, output, "my clip.mp4", result=result), _ignore)

    assert _decoded(overlay)[2] == 30
    text = report.read_text()
    assert "my clip.mp4" in text
    assert str(tmp_path) not in text
    with Image.open(picture) as image:
        assert (image.format, image.size) == ("JPEG", (128, 80))


def test_client_is_told_of_an_error_under_its_own_name(worker: Worker, tmp_path: Path) -> None:
    video = tmp_path / "video"
    video.write_bytes(b"no video")

    with pytest.raises(UnreadableVideo) as caught:
        _predict(worker, video, tmp_path / "x.json", PredictionOptions())

    detail = detail_of(caught.value, video, "holiday.mp4")
    assert detail.code == "not_a_video"
    assert detail.message.startswith("holiday.mp4: not a video")
    assert str(tmp_path) not in detail.message


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The baseline that asks a CLIP, whose tokenizer here spells every word."""
    folder = write_clip_folder(tmp_path_factory.mktemp("clip"), max_num_tokens=77)
    return f"clip-zero-shot:{folder}"


def test_model_without_labels_says_so_and_needs_some(
    clip: str, tmp_path: Path, write_video: Callable[..., Path]
) -> None:
    worker = Worker(WorkerSettings(clip, device="cpu"))
    video = write_video()

    def ask(options: PredictionOptions) -> Any:
        _predict(worker, video, tmp_path / "r.json", options)
        return json.loads((tmp_path / "r.json").read_text())

    assert (worker.facts.labels, worker.facts.is_open_vocabulary) == ((), True)
    assert ask(PredictionOptions(labels=("a cat", "dig")))["labels"] == ["a cat", "dig"]
    with pytest.raises(VocabularyError, match="name some"):
        ask(PredictionOptions())
    request = WorkerRequest(
        Kind.HEAT_MAP, video, tmp_path / "h", label="a", interval_seconds=(0, 1)
    )
    with pytest.raises(RequestError, match="no attribution maps"):
        worker.make(request, _ignore)


def test_words_that_a_closed_model_lacks_are_scored_by_the_open_one(
    clip: str, tmp_path: Path, write_video: Callable[..., Path]
) -> None:
    tiny_model("timesformer").save_pretrained(tmp_path / "closed")
    model = str(tmp_path / "closed")
    worker = Worker(WorkerSettings(model, device="cpu", open_model=clip))
    video = write_video()

    def ask(*labels: str) -> VideoPredictions:
        _predict(worker, video, tmp_path / "r.json", PredictionOptions(labels=labels))
        return VideoPredictions.from_json((tmp_path / "r.json").read_text())

    assert (worker.facts.is_open_vocabulary, worker.facts.open_model) == (False, clip)
    for labels, name in ((("sit", "walk"), "closed"), (("sit", "dig"), clip)):
        found = ask(*labels)
        assert (tuple(found.labels), found.provenance["model"]["name"]) == (labels, name)
    request = WorkerRequest(
        Kind.HEAT_MAP,
        video,
        tmp_path / "h",
        options=PredictionOptions(labels=("sit", "dig")),
        label="sit",
        interval_seconds=(0, 1),
    )
    with pytest.raises(RequestError, match="no attribution maps"):
        worker.make(request, _ignore)

    alone = Worker(WorkerSettings(model, device="cpu", words_advice="fetch one"))
    assert (alone.facts.open_model, alone.facts.words_advice) == (None, "fetch one")
    with pytest.raises(VocabularyError, match="unknown label"):
        _predict(alone, video, tmp_path / "r.json", PredictionOptions(labels=("dig",)))


def test_device_that_is_not_there_is_refused_at_the_start(clip: str) -> None:
    with pytest.raises(ConfigError, match="nothing"):
        Worker(WorkerSettings(clip, device="nothing"))


def test_limits_that_cannot_be_are_refused() -> None:
    with pytest.raises(ConfigError, match="queue_length 0"):
        ServerLimits(queue_length=0)
