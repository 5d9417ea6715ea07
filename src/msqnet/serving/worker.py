"""The process that holds the model and makes everything that needs it, one thing at a time."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from msqnet.child_process import Cancelled, answer_requests
from msqnet.config import SegmentConfig, WindowConfig
from msqnet.errors import ConfigError, MsqnetError, VocabularyError
from msqnet.labels import LabelSet
from msqnet.process import keep_freed_memory
from msqnet.serving.refusals import Refusal, problem_of
from msqnet.serving.requests import (
    HeatMapRequest,
    ModelFacts,
    OverlayRequest,
    PictureRequest,
    PredictionRequest,
    PreviewRequest,
    ReportRequest,
    WorkerRequest,
    WorkerSettings,
)

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from msqnet.child_process import Report
    from msqnet.inference.backends import Backend
    from msqnet.serving.heat_maps import HeatMapMaker

# Progress is told, and a withdrawal noticed, after each batch.
_BATCH_SIZE = 2


def run_worker(connection: Connection, settings: WorkerSettings) -> None:
    """The process: loads the model, then answers each `WorkerRequest`."""
    if settings.scratch is not None:
        tempfile.tempdir = str(settings.scratch)

    keep_freed_memory()

    def prepare() -> tuple[ModelFacts, Any]:
        worker = Worker(settings)
        return worker.facts, worker.answer

    answer_requests(connection, prepare)


class Worker:
    """The model, and what is made with it.

    Args:
        settings: which model.

    Attributes:
        facts: what others need to know of the model.

    Raises:
        CheckpointError: there is no such model, or it is damaged.
        ConfigError: the device or the settings cannot be used.
    """

    def __init__(self, settings: WorkerSettings) -> None:
        self._settings = settings
        self._heat_maps: HeatMapMaker | None = None
        self._custom: tuple[tuple[str, ...], Backend] | None = None
        self._default: Backend | None = None
        self.facts = self._load()

    def answer(self, request: WorkerRequest, report: Report) -> None:
        """Make what is asked for; the file named in the request is there afterwards.

        Raises:
            Refusal: it cannot be made; the message speaks of the client's name of the file.
        """
        try:
            self._make(request, report)
        except (Refusal, Cancelled):
            raise
        except MsqnetError as error:
            name = getattr(request, "display_name", "the video")
            raise Refusal(problem_of(error).about(request.video, name)) from error

    def _make(self, request: WorkerRequest, report: Report) -> None:
        from msqnet.serving import extras

        match request:
            case PredictionRequest():
                self._predict(request, report)
            case PictureRequest():
                extras.write_picture(request)
            case PreviewRequest():
                extras.write_preview(request, report)
            case OverlayRequest():
                extras.write_overlay(request, report)
            case ReportRequest():
                extras.write_report(request)
            case HeatMapRequest():
                self._explain(request, report)

    def _explain(self, request: HeatMapRequest, report: Report) -> None:
        from msqnet.serving.heat_maps import HeatMapMaker

        if self._heat_maps is None:
            self._heat_maps = HeatMapMaker(self._settings)
        self._heat_maps.write(request, report)

    def _predict(self, request: PredictionRequest, report: Report) -> None:
        from msqnet.inference.predictor import Predictor

        chosen = request.settings
        predictor = Predictor(
            self._backend(chosen.labels),
            WindowConfig(chosen.window_seconds, chosen.stride_seconds, _BATCH_SIZE),
            SegmentConfig(threshold=chosen.threshold),
        )
        predictions = predictor(request.video, report)
        replace(predictions, path=request.display_name).write(request.stem)

    def _load(self) -> ModelFacts:
        from msqnet.inference.predictor import Predictor

        is_bound = _needs_labels(self._settings.model) and self._settings.labels is None
        # Loaded for some labels, so that what is wrong with the model shows now.
        labels = ("walking", "resting") if is_bound else self._settings.labels
        backend = self._load_backend(labels)
        predictor = Predictor(backend)
        if not is_bound:
            self._default = backend
        return ModelFacts(
            name=str(backend.provenance.get("name", self._settings.model)),
            labels=() if is_bound else tuple(backend.labels),
            is_open=_is_open(self._settings.model),
            has_heat_maps=not _needs_labels(self._settings.model),
            window_seconds=predictor.window_seconds,
            stride_seconds=predictor.stride_seconds,
        )

    def _backend(self, labels: tuple[str, ...] | None) -> Backend:
        """The model asked for these labels; the last choice stays loaded beside the default."""
        if labels is None or (self._default and labels == tuple(self._default.labels)):
            if self._default is None:
                raise VocabularyError("this model was trained on no labels: name some")
            return self._default
        if self._custom is None or self._custom[0] != labels:
            self._custom = None
            self._custom = (labels, self._load_backend(labels))
        return self._custom[1]

    def _load_backend(self, labels: tuple[str, ...] | None) -> Backend:
        from msqnet.inference.loading import load_backend
        from msqnet.prompts import read_label_table

        table = self._settings.label_table
        return load_backend(
            self._settings.model,
            labels=None if labels is None else LabelSet(labels),
            texts=None if table is None else read_label_table(table),
            device=self._settings.device,
        )


def _needs_labels(model: str | None) -> bool:
    from msqnet.inference.clip_zero_shot import PREFIX

    return str(model or "").startswith(PREFIX)


def _is_open(model: str | None) -> bool:
    from msqnet.inference.manifest import is_exported
    from msqnet.model.configuration import MSQNetConfig
    from msqnet.models import model_folder

    if _needs_labels(model):
        return True
    if model is not None and is_exported(model):
        raise ConfigError(
            f"{model}: an exported model; the server draws heat maps and needs the model itself, "
            "give the folder that was exported"
        )
    return bool(MSQNetConfig.from_pretrained(model_folder(model)).is_open)
