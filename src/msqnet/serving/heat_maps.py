"""Where the model looked in a stretch of a video, as the page draws it over the player."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import numpy as np

from msqnet.config import WindowConfig
from msqnet.explain.explainer import Explainer
from msqnet.inference.clip_zero_shot import PREFIX
from msqnet.model.msqnet import MSQNet
from msqnet.model.vocabulary import ask_for
from msqnet.models import model_folder
from msqnet.predictions import replacing
from msqnet.prompts import read_label_table
from msqnet.serving.refusals import Problem, Refusal

if TYPE_CHECKING:
    from collections.abc import Iterable

    from msqnet.child_process import Report
    from msqnet.explain.heat_maps import HeatMaps
    from msqnet.serving.requests import HeatMapRequest, WorkerSettings


class HeatMapMaker:
    """Loads the explaining model when it is first asked, and keeps the last one.

    Args:
        settings: which model.
    """

    def __init__(self, settings: WorkerSettings) -> None:
        self._settings = settings
        self._loaded: tuple[tuple[str, ...] | None, Explainer] | None = None

    def write(self, request: HeatMapRequest, report: Report) -> None:
        """JSON: times, size in cells, and the maps of all frames as base64 of bytes.

        Raises:
            Refusal: the model has no attention that could be shown.
            MsqnetError: the video or the stretch cannot be read.
        """
        explainer = self._explainer(request.labels)
        windows = _windows(explainer, request, report)
        document = {
            "label": request.label,
            "start_seconds": min(start for start, _, _ in windows),
            "end_seconds": max(end for _, end, _ in windows),
            "score": float(np.mean([maps.scores[0] for _, _, maps in windows])),
            **_joined(maps for _, _, maps in windows),
        }
        with replacing(request.output) as part:
            part.write_text(json.dumps(document, allow_nan=False), encoding="ascii")

    def _explainer(self, labels: tuple[str, ...] | None) -> Explainer:
        name = self._settings.model
        if str(name or "").startswith(PREFIX):
            raise Refusal(Problem("not_explained", f"{name} has no heat maps; use an msqnet model"))
        labels = labels or self._settings.labels
        model_labels = None if self._loaded is None else self._loaded[0]
        if self._loaded is None or model_labels != labels:
            self._loaded = None
            self._loaded = (labels, self._load(labels))
        return self._loaded[1]

    def _load(self, labels: tuple[str, ...] | None) -> Explainer:
        model = MSQNet.from_pretrained(model_folder(self._settings.model))
        if labels is not None and model.config.is_open:
            table = self._settings.label_table
            ask_for(model, labels, None if table is None else read_label_table(table))
        return Explainer(model, self._settings.device)


def _windows(
    explainer: Explainer, request: HeatMapRequest, report: Report
) -> list[tuple[float, float, HeatMaps]]:
    """Windows side by side over the stretch; a stretch that is shorter than one is one."""
    start, end = request.start_seconds, request.end_seconds
    window = WindowConfig(request.window_seconds, request.window_seconds)
    found = []
    for item in explainer.explain_windows(request.video, [request.label], window, start, end):
        found.append(item)
        report(min(1.0, (item[1] - start) / (end - start)))
    if found:
        return found
    return [(start, end, explainer.explain(request.video, [request.label], start, end))]


def _joined(parts: Iterable[HeatMaps]) -> dict[str, Any]:
    """The maps of several windows one after the other; times that two of them saw count once."""
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
