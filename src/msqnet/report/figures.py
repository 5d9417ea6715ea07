"""Figures on white: scores over time, reliability of scores, and maps of embeddings."""

from __future__ import annotations

import contextlib
import math
import warnings
from collections import Counter
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import numpy as np

from msqnet.errors import ConfigError, needs_extra
from msqnet.files import replacing
from msqnet.intervals import subtract
from msqnet.style import (
    INK,
    LABEL_COLOURS,
    MUTED_INK,
    OTHER_COLOUR,
    format_time,
    printable,
    shown_name,
    tick_times,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from msqnet.evaluation.agreement import Annotation
    from msqnet.evaluation.calibration_results import CalibrationResult
    from msqnet.explain.embeddings import EmbeddingPanels, Panel
    from msqnet.metrics.calibration import ReliabilityBins
    from msqnet.predictions import VideoPredictions

    Intervals = Mapping[str, Sequence[tuple[float, float]]]

FIGURE_SUFFIXES = (".png", ".svg", ".pdf")
# As in the paper's Figure 5: the labels with the highest peaks.
NUM_SHOWN_LABELS = 5
# More colours than these cannot be told apart; a map draws further labels as others.
MAX_NAMED_LABELS = len(LABEL_COLOURS)
_WIDTH_INCHES = 6.5
_DOTS_PER_INCH = 200
_STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    "svg.fonttype": "none",
    "pdf.fonttype": 42,
    "svg.hashsalt": "msqnet",
}
# Of the timeline.
_ROW_INCHES, _PAIR_INCHES, _AXIS_INCHES = 0.6, 0.42, 0.75
_MAX_TIMELINE_LETTERS = 28
_ANNOTATED_BOTTOM, _ANNOTATED_TOP = 1.08, 1.24
_UNKNOWN: dict[str, Any] = {
    "facecolor": "none",
    "edgecolor": MUTED_INK,
    "hatch": "////",
    "linewidth": 0,
}
_MINUTES_FROM_SECONDS = 120
_MAX_TIME_STEPS = 8
# Of the reliability plot.
_DIAGRAM_INCHES, _ERROR_ROW_INCHES = 3.1, 0.185
_FEW_LABELS = 14
_MAX_ERROR_LETTERS = 26
_SIDES: dict[str, dict[str, str]] = {
    "before": {"color": LABEL_COLOURS[1], "marker": "o", "face": "white"},
    "after": {"color": LABEL_COLOURS[0], "marker": "s", "face": LABEL_COLOURS[0]},
}
_LEGEND: dict[str, Any] = {"frameon": False, "fontsize": 8}
# Of maps, in inches: they are square, so the size of the figure follows from its contents.
_MAP, _GAP, _MARGIN = 2.75, 0.25, 0.08
_HEADING, _LEGEND_ROW, _LEGEND_COLUMN = 0.64, 0.19, 1.55
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_OTHER_MARKER = "h"


@contextlib.contextmanager
def _styled(purpose: str, extra: str = "figures", font_size: float = 9.0) -> Iterator[type[Figure]]:
    """The class of figures, and matplotlib's settings in our style."""
    with needs_extra(purpose, extra=extra):
        import matplotlib as mpl
        from matplotlib.figure import Figure
    with mpl.rc_context(_STYLE | {"font.size": font_size}):
        yield Figure


def check_can_draw_figures() -> None:
    """Raise `MissingExtra` where matplotlib is not installed."""
    with _styled("a figure"):
        pass


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure in the format of the suffix; it appears when it is complete.

    The same figure gives the same bytes: no date is written. `ConfigError` for a suffix that is
    none of `FIGURE_SUFFIXES`.
    """
    suffix = path.suffix.lower()
    if suffix not in FIGURE_SUFFIXES:
        raise ConfigError(f"{path}: expected one of the suffixes {', '.join(FIGURE_SUFFIXES)}")
    stamp: dict[str, Any] = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}.get(suffix, {})
    with _styled("a figure"), warnings.catch_warnings(), replacing(path) as part:
        # Letters that the font lacks are boxes in pictures, and still text in SVG.
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        figure.savefig(part, format=suffix[1:], dpi=_DOTS_PER_INCH, metadata=stamp)


def timeline_figure(
    predictions: VideoPredictions,
    truths: Intervals | None = None,
    *,
    num_labels: int = NUM_SHOWN_LABELS,
) -> Figure:
    """Scores over time (the paper's Figure 5): one row a label, with threshold and annotations.

    Args:
        truths: annotated intervals in seconds by label; these labels are always shown, first.
        num_labels: how many labels are shown at least, those with the highest peaks.

    Raises:
        ConfigError: less than one label, or an annotated one that the predictions do not have.
    """
    truths = truths or {}
    if num_labels < 1:
        raise ConfigError(f"num_labels {num_labels}: expected at least 1")
    unknown = sorted(set(truths) - set(predictions.labels))
    if unknown:
        raise ConfigError(f"annotated label(s) {unknown}: the predictions do not have them")
    strongest = [peak.label for peak in predictions.peaks(len(predictions.labels))]
    labels = list(dict.fromkeys([*truths, *strongest]))[: max(num_labels, len(truths))]
    size = (_WIDTH_INCHES, _ROW_INCHES * len(labels) + _AXIS_INCHES)
    with _styled("a figure") as figure_class:
        figure = figure_class(figsize=size, layout="constrained", facecolor="white")
        rows: list[Axes] = list(figure.subplots(len(labels), sharex=True, squeeze=False)[:, 0])
        for rank, (axes, label) in enumerate(zip(rows, labels, strict=True)):
            colour = LABEL_COLOURS[rank % len(LABEL_COLOURS)]
            intervals = truths.get(label, ()) if truths else None
            _draw_scores(axes, predictions, label, colour, intervals)
        _draw_time_axis(rows[-1], predictions.duration_seconds)
        is_anywhere_unknown = bool(predictions.timeline.unknown_intervals)
        _draw_timeline_legend(
            figure, is_annotated=bool(truths), is_anywhere_unknown=is_anywhere_unknown
        )
    return figure


def _draw_scores(
    axes: Axes,
    predictions: VideoPredictions,
    label: str,
    colour: str,
    intervals: Sequence[tuple[float, float]] | None,
) -> None:
    column = predictions.labels.names.index(label)
    edges, scores = predictions.timeline.edges_seconds, predictions.timeline.scores[:, column]
    is_proven = label not in predictions.withheld
    axes.stairs(scores, edges, fill=is_proven, color=colour, alpha=0.3, linewidth=0)
    alpha = 1.0 if is_proven else 0.4
    axes.stairs(scores, edges, baseline=None, color=colour, linewidth=1.2, alpha=alpha)
    for start, end in predictions.timeline.unknown_intervals:
        axes.axvspan(start, end, **_UNKNOWN)
    if predictions.thresholds[column] <= 1:
        axes.axhline(predictions.thresholds[column], color=MUTED_INK, linewidth=0.8, linestyle=":")
    axes.set_xlim(0, predictions.duration_seconds)
    axes.set_ylim(0, 1)
    if intervals is not None:
        # Above the scores, where they hide none.
        axes.set_ylim(0, _ANNOTATED_TOP)
        spans = [(start, end - start) for start, end in intervals]
        height = _ANNOTATED_TOP - _ANNOTATED_BOTTOM
        axes.broken_barh(spans, (_ANNOTATED_BOTTOM, height), color=INK, linewidth=0)
    axes.set_yticks([0, 1])
    axes.spines["left"].set_bounds(0, 1)
    shown = shown_name(label, _MAX_TIMELINE_LETTERS)
    name = axes.set_ylabel(shown, rotation=0, ha="right", va="center", color=INK, labelpad=8)
    # A name may hold the characters of mathematical type.
    name.set_parse_math(False)
    _quiet(axes, label_size=7, tick_length=2)


def _draw_time_axis(axes: Axes, duration_seconds: float) -> None:
    axes.tick_params(labelsize=8)
    if duration_seconds < _MINUTES_FROM_SECONDS:
        axes.set_xlabel("time in the video (s)", color=INK)
        return
    times = tick_times(duration_seconds, _MAX_TIME_STEPS)
    axes.set_xticks(times, [format_time(time, 0, cut=True) for time in times])
    is_hours = math.floor(duration_seconds) >= 3600
    axes.set_xlabel(f"time in the video ({'h:' if is_hours else ''}min:s)", color=INK)


def _draw_timeline_legend(figure: Figure, *, is_annotated: bool, is_anywhere_unknown: bool) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list[Any] = [
        Line2D([], [], color=MUTED_INK, linewidth=1.2, label="score"),
        Line2D([], [], color=MUTED_INK, linewidth=0.8, linestyle=":", label="threshold"),
    ]
    if is_annotated:
        handles.append(Patch(color=INK, linewidth=0, label="annotated"))
    if is_anywhere_unknown:
        handles.append(Patch(**_UNKNOWN, label="unknown"))
    style = _LEGEND | {"labelcolor": MUTED_INK, "handlelength": 1.6, "borderaxespad": 0.0}
    figure.legend(handles=handles, loc="outside upper right", ncols=len(handles), **style)


def agreement_figure(
    first: Annotation,
    second: Annotation,
    labels: Sequence[str],
    names: tuple[str, str] = ("first", "second"),
) -> Figure:
    """Two annotations of a video: for each label that one of them has, the first above the second.

    Time that one does not know is hatched in its row.
    """
    sides = (first, second)
    rows = [name for name in labels if any(side.present.get(name) for side in sides)]
    end = max((b for side in sides for name in labels for _, b in side.knows(name)), default=1.0)
    size = (_WIDTH_INCHES, _PAIR_INCHES * max(len(rows), 1) + _AXIS_INCHES)
    with _styled("a figure") as figure_class:
        figure = figure_class(figsize=size, layout="constrained", facecolor="white")
        axes = figure.subplots()
        for row, name in enumerate(rows):
            for place, side in enumerate(sides):
                at = (row + 0.08 + 0.42 * place, 0.38)
                bars = [(start, stop - start) for start, stop in side.present[name]]
                colour = LABEL_COLOURS[place]
                axes.broken_barh(bars, at, color=colour, linewidth=0)
                gaps = subtract([(0.0, end)], side.knows(name))
                axes.broken_barh([(start, stop - start) for start, stop in gaps], at, **_UNKNOWN)
        axes.set_xlim(0, end)
        axes.set_ylim(max(len(rows), 1), 0)
        axes.set_yticks(
            [row + 0.5 for row in range(len(rows))],
            [shown_name(name, _MAX_TIMELINE_LETTERS) for name in rows],
        )
        _quiet(axes)
        axes.tick_params(axis="y", length=0, colors=INK, labelsize=8)
        _draw_time_axis(axes, end)
        _draw_agreement_legend(figure, first.path, names)
    return figure


def _draw_agreement_legend(figure: Figure, path: str, names: tuple[str, str]) -> None:
    from matplotlib.patches import Patch

    handles = [
        Patch(color=LABEL_COLOURS[0], linewidth=0, label=names[0]),
        Patch(color=LABEL_COLOURS[1], linewidth=0, label=names[1]),
        Patch(**_UNKNOWN, label="not known"),
    ]
    style = _LEGEND | {"labelcolor": MUTED_INK, "handlelength": 1.6, "borderaxespad": 0.0}
    title = figure.suptitle(printable(PurePath(path).name), x=0.02, ha="left", fontsize=9)
    title.set_parse_math(False)
    figure.legend(handles=handles, loc="outside upper right", ncols=len(handles), **style)


def reliability_figure(figures: CalibrationResult) -> Figure:
    """Shares of positives by score, how many scores there are, and the error of each label."""
    key = "expected_calibration_error"
    fitted = [item for item in figures.per_label if item["is_fitted"]]
    errors = [(item["label"], item[f"{key}_before"], item[f"{key}_after"]) for item in fitted]
    errors.sort(key=lambda item: -item[1])
    height = _DIAGRAM_INCHES + 0.75 + max(0, len(errors) - _FEW_LABELS) * _ERROR_ROW_INCHES
    with _styled("a reliability plot", font_size=8.5) as figure_class:
        size = (_WIDTH_INCHES, height)
        figure = figure_class(figsize=size, layout="constrained", facecolor="white")
        grid = figure.add_gridspec(2, 2, width_ratios=(1.15, 1), height_ratios=(3.2, 1))
        diagram = figure.add_subplot(grid[0, 0])
        counts = figure.add_subplot(grid[1, 0], sharex=diagram)
        _draw_diagram(diagram, figures)
        _draw_counts(counts, figures)
        _draw_errors(figure.add_subplot(grid[:, 1]), errors)
        handles, names = diagram.get_legend_handles_labels()
        where: dict[str, Any] = {"loc": "outside upper left", "ncols": 3, "borderaxespad": 0.2}
        figure.legend(handles, names, labelcolor=INK, **where, **_LEGEND)
    return figure


def _draw_diagram(axes: Axes, figures: CalibrationResult) -> None:
    axes.plot([0, 1], [0, 1], color=MUTED_INK, linewidth=0.8, linestyle=":", label="ideal")
    overall = figures.summary["overall"]["expected_calibration_error"]
    sides: tuple[tuple[float, str, str, ReliabilityBins], ...] = (
        (-0.006, "before", "before", figures.before),
        (0.006, "after", "after, held out", figures.after),
    )
    for offset, side, words, bins in sides:
        style, some = _SIDES[side], bins.count > 0
        share = bins.positive_share[some]
        axes.errorbar(
            bins.mean_score[some] + offset,
            share,
            np.maximum([share - bins.low[some], bins.high[some] - share], 0),
            color=style["color"],
            marker=style["marker"],
            markersize=4.5,
            markerfacecolor=style["face"],
            linewidth=1.1,
            elinewidth=0.8,
            label=f"{words}: ECE {overall[side]:.3f}",
        )
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(-0.02, 1.02)
    axes.set_ylabel("share of positives", color=INK)
    axes.tick_params(labelbottom=False)
    _quiet(axes)


def _draw_counts(axes: Axes, figures: CalibrationResult) -> None:
    for side, bins in (("before", figures.before), ("after", figures.after)):
        is_filled = side == "after"
        alpha = 0.35 if is_filled else 1.0
        edges, colour = bins.edges, _SIDES[side]["color"]
        axes.stairs(bins.count, edges, color=colour, linewidth=1.1, fill=is_filled, alpha=alpha)
    axes.set_yscale("symlog", linthresh=1)
    top = max(float(figures.before.count.max()), float(figures.after.count.max()))
    axes.set_ylim(0, top * 2)
    axes.set_xlabel("score", color=INK)
    axes.set_ylabel("cells", color=INK)
    _quiet(axes)


def _draw_errors(axes: Axes, errors: list[tuple[str, float, float]]) -> None:
    """One row a label, with its error before and after; the largest error before on top."""
    places = np.arange(len(errors))[::-1]
    for place, (_, before, after) in zip(places, errors, strict=True):
        axes.plot([before, after], [place, place], color=OTHER_COLOUR, linewidth=1.4, zorder=1)
    for column, side in ((1, "before"), (2, "after")):
        style = _SIDES[side]
        axes.scatter(
            [item[column] for item in errors],
            places,
            s=22,
            marker=style["marker"],
            edgecolors=style["color"],
            facecolors=style["face"],
            linewidths=1.1,
            zorder=2,
        )
    names = [shown_name(name, _MAX_ERROR_LETTERS) for name, _, _ in errors]
    for tick in axes.set_yticks(places, names):
        tick.label1.set_parse_math(False)
    axes.set_ylim(-0.7, len(errors) - 0.3)
    axes.set_xlim(left=0)
    axes.set_xlabel("calibration error (ECE) of the label", color=INK)
    _quiet(axes)
    axes.tick_params(axis="y", length=0, colors=INK)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x", color=OTHER_COLOUR, linewidth=0.4, alpha=0.6)


def _quiet(axes: Axes, label_size: float = 7.5, tick_length: float = 2.5) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(MUTED_INK)
    axes.tick_params(colors=MUTED_INK, labelsize=label_size, length=tick_length)


def named_labels(shown_labels: tuple[str, ...], num_named: int | None = None) -> tuple[str, ...]:
    """At most `num_named` labels with a colour of their own: those of most rows, then by name.

    `shown_labels` holds the label by which each row is drawn; empty for none. `ConfigError` for
    more than there are colours, or less than one.
    """
    num_named = MAX_NAMED_LABELS if num_named is None else num_named
    if not 1 <= num_named <= MAX_NAMED_LABELS:
        raise ConfigError(
            f"num_named {num_named}: expected 1 to {MAX_NAMED_LABELS}, the number of colours that "
            "can be told apart"
        )
    counts = Counter(name for name in shown_labels if name)
    return tuple(sorted(counts, key=lambda name: (-counts[name], name))[:num_named])


def embedding_figure(panels: EmbeddingPanels, *, num_named: int | None = None) -> Figure:
    """Maps of embeddings in a row with their numbers (Figure 4), one legend below.

    `num_named` labels have a colour and a mark of their own, see `named_labels` (also for errors);
    others share one.
    """
    shown = panels.rows.shown_labels
    layers = _layers(shown, named_labels(shown, num_named))
    num_panels = len(panels.panels)
    width = num_panels * (_MAP + _GAP) - _GAP + 2 * _MARGIN
    num_columns = max(1, int(width // _LEGEND_COLUMN))
    legend_height = _LEGEND_ROW * (math.ceil(len(layers) / num_columns) + 1.2)
    height = _HEADING + _MAP + legend_height + _MARGIN
    with _styled("a picture of embeddings", extra="explain") as figure_class:
        figure = figure_class(figsize=(width, height), facecolor="white")
        bottom, side = (_MARGIN + legend_height) / height, _MAP / height
        for place, (letter, panel) in enumerate(zip("abc", panels.panels, strict=False)):
            left = (_MARGIN + place * (_MAP + _GAP)) / width
            axis = figure.add_axes((left, bottom, _MAP / width, side))
            _draw_map(axis, panel, layers)
            _write_numbers(axis, panel, letter, panels.config.num_neighbours)
        _write_map_legend(figure, panels, num_columns)
    return figure


def _layers(
    shown: tuple[str, ...], named: tuple[str, ...]
) -> list[tuple[str, NDArray[np.bool_], dict[str, Any]]]:
    """Names, members (V,) and style of rows that are drawn alike.

    Named labels come first, then the others and the rows without a label, where there are any.
    """
    values = np.asarray(shown)
    others = (values != "") & ~np.isin(values, named)
    num_others = len(set(values[others].tolist()))
    filled = {"linewidths": 0.3, "edgecolors": "white"}
    outlined = {"linewidths": 0.8, "edgecolors": OTHER_COLOUR}
    layers: list[tuple[str, NDArray[np.bool_], dict[str, Any]]] = [
        (name.replace("_", " "), values == name, {"c": colour, "marker": marker, **filled})
        for name, colour, marker in zip(named, LABEL_COLOURS, _MARKERS, strict=False)
    ]
    other_name = f"{num_others} other label{'s' if num_others > 1 else ''}"
    layers += [
        (other_name, others, {"c": OTHER_COLOUR, "marker": _OTHER_MARKER, "zorder": 2, **filled}),
        ("no label", values == "", {"c": "white", "marker": "o", "zorder": 2, **outlined}),
    ]
    return [layer for layer in layers if layer[1].any()]


def _draw_map(
    axis: Axes, panel: Panel, layers: list[tuple[str, NDArray[np.bool_], dict[str, Any]]]
) -> None:
    places = panel.map.coordinates
    size = float(np.clip(2400 / len(places), 5, 22))
    for name, members, style in layers:
        axis.scatter(
            places[members, 0],
            places[members, 1],
            s=size * (0.8 if "zorder" in style else 1.0),  # smaller in the background
            alpha=0.9,
            label=f"{name} ({members.sum()})",
            **{"zorder": 3, **style},
        )
    # Equal scales: t-SNE knows no preferred direction. Positions themselves mean nothing.
    centre, half = (places.max(axis=0) + places.min(axis=0)) / 2, np.ptp(places, axis=0).max() / 2
    axis.set_xlim(centre[0] - 1.06 * half, centre[0] + 1.06 * half)
    axis.set_ylim(centre[1] - 1.06 * half, centre[1] + 1.06 * half)
    axis.set_aspect("equal")
    axis.set_xticks([])
    axis.set_yticks([])
    axis.spines[:].set(color="#d5d9df", linewidth=0.8)


def _write_numbers(axis: Axes, panel: Panel, letter: str, num_neighbours: int) -> None:
    def shown(value: float) -> str:
        return "not defined" if math.isnan(value) else f"{value:.2f}"

    neighbours = panel.map.neighbours
    low, high = neighbours.interval
    bounds = "" if math.isnan(low) else f" [{low:.2f}, {high:.2f}]"
    text = (
        f"{num_neighbours}-NN accuracy {shown(neighbours.accuracy)}{bounds}\n"
        f"chance {shown(neighbours.chance)}, silhouette {shown(panel.map.silhouette)}"
    )
    axis.set_title(f"{letter}  {panel.title}", loc="left", fontsize=9.5, color=INK, pad=29)
    style: dict[str, Any] = {"fontsize": 8, "color": MUTED_INK, "va": "bottom", "linespacing": 1.35}
    axis.text(0, 1.02, text, transform=axis.transAxes, **style)


def _write_map_legend(figure: Figure, panels: EmbeddingPanels, num_columns: int) -> None:
    handles, names = figure.axes[0].get_legend_handles_labels()
    num_videos = len(set(panels.table.clip_ids()))
    windows = f"{len(panels.table)} windows of {num_videos} videos"
    title = f"{windows}; t-SNE, numbers of the whole embeddings"
    legend = figure.legend(
        handles,
        names,
        title=title if len(panels.panels) > 1 else None,
        loc="lower left",
        bbox_to_anchor=(0, 0),
        ncols=num_columns,
        title_fontsize=8,
        alignment="left",
        labelcolor=INK,
        markerscale=1.2,
        borderpad=0.2,
        handletextpad=0.1,
        columnspacing=1.0,
        labelspacing=0.35,
        **_LEGEND,
    )
    legend.get_title().set_color(MUTED_INK)
