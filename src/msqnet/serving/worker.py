"""The process that holds the model and makes every file, one at a time.

The server imports this module too, so torch is imported only inside functions.
"""

from __future__ import annotations

import base64
import json
import tempfile
from dataclasses import dataclass, field, replace
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msqnet.child_process import answer_requests
from msqnet.config import SegmentConfig, WindowConfig
from msqnet.errors import ConfigError, VocabularyError
from msqnet.models.open_models import open_model_source
from msqnet.process import keep_freed_memory
from msqnet.serving.request_errors import RequestError
from msqnet.serving.schemas import ModelBody, PredictionOptions

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from msqnet.child_process import Report
    from msqnet.config import WorkerSettings
    from msqnet.explain.explainer import AttributionMaps, Explainer
    from msqnet.inference.backends import Backend
    from msqnet.labels import LabelSet
    from msqnet.predictions import VideoPredictions

# Progress is sent, and a cancellation noticed, after each batch.
_BATCH_SIZE = 2
_PICTURE_SHORT_SIDE_PIXELS = 180
_PICTURE_SHARES = (0.1, 0.3, 0.5, 0.7, 0.9)
_PREVIEW_SHORT_SIDE_PIXELS = 480
_REPORT_PREVIEW_MEGABYTES = 50.0


class Kind(StrEnum):
    """Kinds of files that the worker makes."""

    PREDICTION = "prediction"
    PICTURE = "picture"
    PREVIEW = "preview"
    OVERLAY = "overlay"
    REPORT = "report"
    HEAT_MAP = "heat_map"


@dataclass(frozen=True)
class WorkerRequest:
    """A file for the worker to make.

    Attributes:
        output: the file to write; a prediction writes its CSV and Parquet files beside it.
        display_name: the client's name of the video, for results and messages.
        result: JSON of the prediction that an overlay or a report shows.
        label: of an attribution map.
        interval_seconds: start and end, exclusive, of an attribution map.
    """

    kind: Kind
    video: Path
    output: Path
    display_name: str = "the video"
    options: PredictionOptions = field(default_factory=PredictionOptions)
    result: Path | None = None
    label: str = ""
    interval_seconds: tuple[float, float] = (0.0, 0.0)


def run_worker(connection: Connection, settings: WorkerSettings) -> None:
    """Main function of the process: load the model, then handle each `WorkerRequest`."""
    if settings.scratch is not None:
        tempfile.tempdir = str(settings.scratch)
    keep_freed_memory()

    def prepare() -> tuple[ModelBody, Any]:
        worker = Worker(settings)
        return worker.facts, worker.make

    answer_requests(connection, prepare)


class Worker:
    """The model, and the files made with it; ``facts`` is sent to clients.

    No such model, or a damaged one, is a `CheckpointError`; a device or settings that cannot be
    used, a `ConfigError`.
    """

    def __init__(self, settings: WorkerSettings) -> None:
        from msqnet.inference.predictor import Predictor

        self._settings = settings
        # A zero-shot CLIP has no labels and no attribution maps.
        self._is_clip = open_model_source(settings.model) is not None
        self._explainer: tuple[tuple[str, ...] | None, Explainer] | None = None
        self._custom: tuple[tuple[str, ...], Backend] | None = None
        self._default: Backend | None = None
        self._own_labels = self._closed_labels()  # a quick failure for an exported model
        labels = settings.label_names
        needs_labels = self._is_clip and labels is None
        # Loaded for any labels, so that a bad model fails at the start.
        backend = self._load(("walking", "resting") if needs_labels else labels)
        if not needs_labels:
            self._default = backend
        predictor = Predictor(backend)
        self.facts = ModelBody(
            name=str(backend.provenance.get("name", settings.model)),
            labels=() if needs_labels else tuple(backend.labels),
            is_open_vocabulary=self._own_labels is None,
            open_model=settings.open_model if self._own_labels else None,
            words_advice=settings.words_advice if self._own_labels else "",
            has_heat_maps=not self._is_clip and find_spec("torch") is not None,
            window_seconds=predictor.window_seconds,
            stride_seconds=predictor.stride_seconds,
        )

    def make(self, request: WorkerRequest, report: Report) -> None:
        """Write the file of a request; ``report`` gets the share that is done, from 0 to 1."""
        match request.kind:
            case Kind.PREDICTION:
                self._predict(request, report)
            case Kind.PICTURE:
                _write_picture(request)
            case Kind.PREVIEW:
                from msqnet.report.video_writer import write_copy

                write_copy(request.video, request.output, _PREVIEW_SHORT_SIDE_PIXELS, report)
            case Kind.OVERLAY:
                from msqnet.report.overlay import write_overlay

                write_overlay(_result(request), request.video, request.output, progress=report)
            case Kind.REPORT:
                _write_report(request)
            case Kind.HEAT_MAP:
                self._write_heat_map(request, report)

    def _closed_labels(self) -> LabelSet | None:
        """All labels that the model scores; None if it scores any text."""
        from msqnet.inference.manifest import is_exported
        from msqnet.models import closed_labels, model_folder

        model = self._settings.model
        if model is not None and is_exported(model):
            raise ConfigError(
                f"{model}: an exported model, which has no attribution maps; name the folder of "
                "the model that was exported"
            )
        return None if self._is_clip else closed_labels(model_folder(model))

    def _has_other_words(self, labels: tuple[str, ...] | None) -> bool:
        """Whether some labels are words that only the open model beside this one scores."""
        own = self._own_labels
        has_open = self._settings.open_model is not None
        return has_open and own is not None and bool(own.unknown(labels or ()))

    def _predict(self, request: WorkerRequest, report: Report) -> None:
        from msqnet.inference.predictor import Predictor

        options = request.options
        predictor = Predictor(
            self._backend(options.labels),
            WindowConfig(options.window_seconds, options.stride_seconds, _BATCH_SIZE),
            SegmentConfig(threshold=options.threshold),
        )
        predictions = predictor(request.video, report)
        replace(predictions, path=request.display_name).write(request.output.with_suffix(""))

    def _backend(self, labels: tuple[str, ...] | None) -> Backend:
        """The model for these labels; the last custom choice stays loaded beside the default."""
        if labels is None or (self._default and labels == tuple(self._default.labels)):
            if self._default is None:
                raise VocabularyError("this model has no labels of its own: name some")
            return self._default
        if self._custom is None or self._custom[0] != labels:
            self._custom = None  # frees its memory before the next one is loaded
            self._custom = (labels, self._load(labels))
        return self._custom[1]

    def _load(self, labels: tuple[str, ...] | None) -> Backend:
        from msqnet.inference.predictor import load_backend

        settings = replace(self._settings, labels=labels)
        if self._has_other_words(labels):
            precision = settings.precision if settings.precision == "bf16" else "auto"
            model = settings.open_model
            settings = replace(settings, model=model, runtime="auto", precision=precision)
        elif settings.open_model is not None:  # whose settings these are
            settings = replace(settings, prompts=None, contrast=None)
        return load_backend(settings)

    def _write_heat_map(self, request: WorkerRequest, report: Report) -> None:
        """JSON of `HeatMapBody`: the attribution maps of all frames in the interval."""
        import numpy as np

        from msqnet.files import replacing

        is_other = self._has_other_words(request.options.labels)
        if self._is_clip or is_other:
            name = self._settings.open_model if is_other else self._settings.model
            message = f"{name} has no attribution maps; use an msqnet model"
            raise RequestError("not_explained", message)
        explainer = self._explainer_for(request.options.labels or self._settings.label_names)
        start, end = request.interval_seconds
        length = request.options.window_seconds or self.facts.window_seconds
        windows = WindowConfig(length, length)  # without overlap
        found = []
        for item in explainer.explain_windows(request.video, [request.label], windows, start, end):
            found.append(item)
            report(min(1.0, (item[1] - start) / (end - start)))
        if not found:  # shorter than a window
            maps = explainer.explain(request.video, [request.label], start, end)
            found = [(start, end, maps)]
        document = {
            "label": request.label,
            "start_seconds": min(start for start, _, _ in found),
            "end_seconds": max(end for _, end, _ in found),
            "score": float(np.mean([maps.scores[0] for _, _, maps in found])),
            **_joined([maps for _, _, maps in found]),
        }
        with replacing(request.output) as part:
            part.write_text(json.dumps(document, allow_nan=False), encoding="ascii")

    def _explainer_for(self, labels: tuple[str, ...] | None) -> Explainer:
        """The explaining model for these labels; the last one stays loaded."""
        from msqnet.explain.explainer import Explainer
        from msqnet.prompts import read_label_table

        if self._explainer is None or self._explainer[0] != labels:
            self._explainer = None  # frees its memory before the next one is loaded
            model, table = self._settings.model, self._settings.label_table
            texts = None if table is None else read_label_table(table)
            explainer = Explainer.from_pretrained(
                model, self._settings.device, labels=labels, texts=texts
            )
            self._explainer = (labels, explainer)
        return self._explainer[1]


def _joined(parts: list[AttributionMaps]) -> dict[str, Any]:
    """The maps of several windows in time order; a frame of two windows counts once."""
    import numpy as np

    times: list[float] = []
    maps: list[np.ndarray] = []
    for part in parts:
        for time, image in zip(part.pts_seconds.tolist(), part.maps[0], strict=True):
            if not times or time > times[-1]:
                times.append(time)
                maps.append((image * 255).round().astype(np.uint8))  # (h, w)
    height, width = maps[0].shape
    return {
        "num_frames": len(maps),
        "height": height,
        "width": width,
        "pts_seconds": times,
        "maps": base64.b64encode(np.stack(maps).tobytes()).decode("ascii"),
    }


def _write_picture(request: WorkerRequest) -> None:
    """A JPEG of the sharpest of a few frames."""
    import numpy as np
    from PIL import Image

    from msqnet.video.reader import open_video

    with open_video(request.video, short_side_pixels=_PICTURE_SHORT_SIDE_PIXELS) as video:
        times = [share * video.duration_seconds for share in _PICTURE_SHARES]
        frames = video.frames_at(times).pixels.transpose(0, 2, 3, 1)  # -> (T, H, W, 3)
    best = max(frames, key=lambda frame: float(np.abs(np.diff(frame.astype(float), axis=1)).mean()))
    Image.fromarray(best).save(request.output, format="JPEG", quality=85)


def _write_report(request: WorkerRequest) -> None:
    from msqnet.report import html
    from msqnet.report.results_reader import PredictedVideo, Results

    predictions = _result(request)
    status = "partial" if predictions.is_partial else "ok"
    video = PredictedVideo(request.display_name, predictions, status, request.video)
    # The folder only gives the page its title.
    results = Results(Path(request.display_name), (video,), (), None, None)
    html.write_report(results, request.output, preview_megabytes=_REPORT_PREVIEW_MEGABYTES)


def _result(request: WorkerRequest) -> VideoPredictions:
    from msqnet.predictions import VideoPredictions

    if request.result is None:
        raise ValueError(f"a request for a {request.kind} without a result")
    return VideoPredictions.from_json(request.result.read_text(encoding="ascii"))
