"""Scores over time as a figure (the paper's Figure 5), with thresholds and annotated stretches."""

from __future__ import annotations

import math
import warnings
from typing import TYPE_CHECKING, Any

from msqnet.errors import ConfigError, MissingExtra
from msqnet.predictions import replacing
from msqnet.report.overlay_layout import clock, tick_times
from msqnet.report.overlay_panel import NUM_SHOWN_LABELS, shown_name
from msqnet.report.palette import INK, LABEL_COLOURS, MUTED_INK

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from msqnet.predictions import VideoPredictions

    Stretches = Mapping[str, Sequence[tuple[float, float]]]

FIGURE_SUFFIXES = (".png", ".svg", ".pdf")

_WIDTH_INCHES = 6.5
_ROW_INCHES = 0.6
_AXIS_INCHES = 0.75
_DOTS_PER_INCH = 200
_MAX_NAME_LETTERS = 28
_ANNOTATED_BOTTOM, _ANNOTATED_TOP = 1.08, 1.24
_MINUTES_FROM_SECONDS = 120
_MAX_TIME_STEPS = 8
_STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.size": 9.0,
    "svg.fonttype": "none",
    "pdf.fonttype": 42,
    "svg.hashsalt": "msqnet",
}


def timeline_figure(
    predictions: VideoPredictions,
    truths: Stretches | None = None,
    *,
    num_labels: int = NUM_SHOWN_LABELS,
) -> Figure:
    """One row for each label: its score over time, its threshold, and where it was annotated.

    Args:
        predictions: of one video.
        truths: annotated stretches in seconds by label; these labels are always shown, first.
        num_labels: how many labels are shown, those with the highest peaks; more if more are
            annotated.

    Returns:
        A matplotlib figure, on white.

    Raises:
        ConfigError: less than one label, or an annotated one that the predictions do not have.
        MissingExtra: matplotlib is not installed.
    """
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtra("a figure", extra="report") from error
    truths = truths or {}
    labels = _shown_labels(predictions, list(truths), num_labels)
    size = (_WIDTH_INCHES, _ROW_INCHES * len(labels) + _AXIS_INCHES)
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=size, layout="constrained", facecolor="white")
        rows: list[Axes] = list(figure.subplots(len(labels), sharex=True, squeeze=False)[:, 0])
        for rank, (axes, label) in enumerate(zip(rows, labels, strict=True)):
            colour = LABEL_COLOURS[rank % len(LABEL_COLOURS)]
            stretches = truths.get(label, ()) if truths else None
            _draw_row(axes, predictions, label, colour, stretches)
        _draw_time_axis(rows[-1], predictions.duration_seconds)
        _draw_legend(figure, rows[0], is_annotated=bool(truths))
    return figure


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure in the format of the suffix; it appears when it is complete.

    Args:
        figure: what to write.
        path: with one of `FIGURE_SUFFIXES`.

    Raises:
        ConfigError: another suffix.
        OSError: the file cannot be written.
    """
    import matplotlib as mpl

    suffix = path.suffix.lower()
    if suffix not in FIGURE_SUFFIXES:
        raise ConfigError(f"{path}: expected one of the suffixes {', '.join(FIGURE_SUFFIXES)}")
    # Files of the same figure are the same, byte for byte.
    stamp: dict[str, Any] = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}.get(suffix, {})
    with mpl.rc_context(_STYLE), warnings.catch_warnings(), replacing(path) as part:
        # Letters that the font lacks are boxes in pictures, and still text in SVG.
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        figure.savefig(part, format=suffix[1:], dpi=_DOTS_PER_INCH, metadata=stamp)


def _shown_labels(
    predictions: VideoPredictions, annotated: Sequence[str], num_labels: int
) -> list[str]:
    if num_labels < 1:
        raise ConfigError(f"num_labels {num_labels}: expected at least 1")
    unknown = sorted(set(annotated) - set(predictions.labels))
    if unknown:
        raise ConfigError(f"annotated label(s) {unknown}: the predictions do not have them")
    strongest = [peak.label for peak in predictions.peaks(len(predictions.labels))]
    return list(dict.fromkeys([*annotated, *strongest]))[: max(num_labels, len(annotated))]


def _draw_row(
    axes: Axes,
    predictions: VideoPredictions,
    label: str,
    colour: str,
    stretches: Sequence[tuple[float, float]] | None,
) -> None:
    column = predictions.labels.names.index(label)
    edges, scores = predictions.timeline.edges_seconds, predictions.timeline.scores[:, column]
    axes.stairs(scores, edges, fill=True, color=colour, alpha=0.3, linewidth=0)
    axes.stairs(scores, edges, baseline=None, color=colour, linewidth=1.2)
    if predictions.thresholds[column] <= 1:
        axes.axhline(predictions.thresholds[column], color=MUTED_INK, linewidth=0.8, linestyle=":")
    axes.set_xlim(0, predictions.duration_seconds)
    axes.set_ylim(0, 1)
    if stretches is not None:
        # Above the scores, where they hide none.
        axes.set_ylim(0, _ANNOTATED_TOP)
        spans = [(start, end - start) for start, end in stretches]
        height = _ANNOTATED_TOP - _ANNOTATED_BOTTOM
        axes.broken_barh(spans, (_ANNOTATED_BOTTOM, height), color=INK, linewidth=0)
    axes.set_yticks([0, 1])
    axes.spines["left"].set_bounds(0, 1)
    axes.tick_params(labelsize=7, colors=MUTED_INK, length=2)
    name = axes.set_ylabel(
        _short(shown_name(label)), rotation=0, ha="right", va="center", color=INK, labelpad=8
    )
    # A name may hold what mathematical type is written with.
    name.set_parse_math(False)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(MUTED_INK)


def _short(name: str) -> str:
    return name if len(name) <= _MAX_NAME_LETTERS else f"{name[: _MAX_NAME_LETTERS - 1].rstrip()}…"


def _draw_time_axis(axes: Axes, duration_seconds: float) -> None:
    axes.tick_params(labelsize=8)
    if duration_seconds < _MINUTES_FROM_SECONDS:
        axes.set_xlabel("time in the video (s)", color=INK)
        return
    times = tick_times(duration_seconds, _MAX_TIME_STEPS)
    axes.set_xticks(times, [clock(time, with_tenths=False) for time in times])
    is_hours = math.floor(duration_seconds) >= 3600
    axes.set_xlabel(f"time in the video ({'h:' if is_hours else ''}min:s)", color=INK)


def _draw_legend(figure: Figure, axes: Axes, *, is_annotated: bool) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list[Any] = [
        Line2D([], [], color=MUTED_INK, linewidth=1.2, label="score"),
        Line2D([], [], color=MUTED_INK, linewidth=0.8, linestyle=":", label="threshold"),
    ]
    if is_annotated:
        handles.append(Patch(color=INK, linewidth=0, label="annotated"))
    figure.legend(
        handles=handles,
        loc="outside upper right",
        ncols=len(handles),
        frameon=False,
        fontsize=8,
        labelcolor=MUTED_INK,
        handlelength=1.6,
        borderaxespad=0.0,
    )
