"""Draws whether scores mean what they say, before and after a calibration."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from msqnet.errors import MissingExtra
from msqnet.report.overlay_panel import shown_name
from msqnet.report.palette import INK, LABEL_COLOURS, MUTED_INK, OTHER_COLOUR

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from msqnet.evaluation.calibration_figures import CalibrationFigures
    from msqnet.metrics.reliability import ReliabilityBins

_WIDTH_INCHES = 6.5
_PANEL_INCHES = 3.1
_ROW_INCHES = 0.185
_FEW_LABELS = 14
_MAX_NAME_LETTERS = 26
_SIDES: dict[str, dict[str, Any]] = {
    "before": {"color": LABEL_COLOURS[1], "marker": "o", "fill": False},
    "after": {"color": LABEL_COLOURS[0], "marker": "s", "fill": True},
}
_STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.size": 8.5,
    "svg.fonttype": "none",
    "pdf.fonttype": 42,
    "svg.hashsalt": "msqnet",
}


def reliability_figure(figures: CalibrationFigures) -> Figure:
    """Shares of positives by score, how many scores there are, and the error of each label.

    Args:
        figures: of a calibration.

    Returns:
        A matplotlib figure, on white; `msqnet.report.plots.save_figure` writes it.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtra("a reliability plot", extra="report") from error
    errors = _label_errors(figures)
    height = _PANEL_INCHES + 0.75 + max(0, len(errors) - _FEW_LABELS) * _ROW_INCHES
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(_WIDTH_INCHES, height), layout="constrained", facecolor="white")
        grid = figure.add_gridspec(2, 2, width_ratios=(1.15, 1), height_ratios=(3.2, 1))
        diagram = figure.add_subplot(grid[0, 0])
        counts = figure.add_subplot(grid[1, 0], sharex=diagram)
        _draw_diagram(diagram, figures)
        _draw_counts(counts, figures)
        _draw_errors(figure.add_subplot(grid[:, 1]), errors)
        handles, names = diagram.get_legend_handles_labels()
        figure.legend(
            handles,
            names,
            loc="outside upper left",
            ncols=3,
            frameon=False,
            fontsize=8,
            labelcolor=INK,
            borderaxespad=0.2,
        )
    return figure


def _label_errors(figures: CalibrationFigures) -> list[tuple[str, float, float]]:
    """Name, error before and after of each fitted label; the largest error before comes first."""
    found = [
        (
            item["label"],
            item["expected_calibration_error_before"],
            item["expected_calibration_error_after"],
        )
        for item in figures.per_label
        if item["is_fitted"]
    ]
    return sorted(found, key=lambda item: -item[1])


def _draw_diagram(axes: Axes, figures: CalibrationFigures) -> None:
    axes.plot([0, 1], [0, 1], color=MUTED_INK, linewidth=0.8, linestyle=":", label="ideal")
    overall = figures.summary["overall"]["expected_calibration_error"]
    for offset, (side, bins) in zip(
        (-0.006, 0.006), (("before", figures.before), ("after", figures.after)), strict=True
    ):
        words = "after, held out" if side == "after" else side
        _draw_side(axes, side, bins, offset, f"{words}: ECE {overall[side]:.3f}")
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(-0.02, 1.02)
    axes.set_ylabel("share of positives", color=INK)
    axes.tick_params(labelbottom=False)
    _quiet(axes)


def _draw_side(axes: Axes, side: str, bins: ReliabilityBins, offset: float, name: str) -> None:
    style = _SIDES[side]
    some = bins.count > 0
    place, share = bins.mean_score[some] + offset, bins.positive_share[some]
    spread = np.maximum([share - bins.low[some], bins.high[some] - share], 0)
    axes.errorbar(
        place,
        share,
        spread,
        color=style["color"],
        marker=style["marker"],
        markersize=4.5,
        markerfacecolor=style["color"] if style["fill"] else "white",
        linewidth=1.1,
        elinewidth=0.8,
        label=name,
    )


def _draw_counts(axes: Axes, figures: CalibrationFigures) -> None:
    for side, bins in (("before", figures.before), ("after", figures.after)):
        style = _SIDES[side]
        axes.stairs(
            bins.count,
            bins.edges,
            color=style["color"],
            linewidth=1.1,
            fill=bool(style["fill"]),
            alpha=0.35 if style["fill"] else 1.0,
        )
    axes.set_yscale("symlog", linthresh=1)
    top = max(float(figures.before.count.max()), float(figures.after.count.max()))
    axes.set_ylim(0, top * 2)
    axes.set_xlabel("score", color=INK)
    axes.set_ylabel("cells", color=INK)
    _quiet(axes)


def _draw_errors(axes: Axes, errors: list[tuple[str, float, float]]) -> None:
    places = np.arange(len(errors))[::-1]
    for place, (_, before, after) in zip(places, errors, strict=True):
        axes.plot([before, after], [place, place], color=OTHER_COLOUR, linewidth=1.4, zorder=1)
    for column, side in ((1, "before"), (2, "after")):
        style = _SIDES[side]
        axes.scatter(
            [item[column] for item in errors],
            places,
            s=22,
            marker=str(style["marker"]),
            edgecolors=style["color"],
            facecolors=style["color"] if style["fill"] else "white",
            linewidths=1.1,
            zorder=2,
        )
    names = axes.set_yticks(places, [_short(name) for name, _, _ in errors])
    for tick in names:
        tick.label1.set_parse_math(False)
    axes.set_ylim(-0.7, len(errors) - 0.3)
    axes.set_xlim(left=0)
    axes.set_xlabel("calibration error (ECE) of the label", color=INK)
    _quiet(axes)
    axes.tick_params(axis="y", length=0, colors=INK)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x", color=OTHER_COLOUR, linewidth=0.4, alpha=0.6)


def _short(name: str) -> str:
    shown = shown_name(name)
    if len(shown) <= _MAX_NAME_LETTERS:
        return shown
    return f"{shown[: _MAX_NAME_LETTERS - 1].rstrip()}…"


def _quiet(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(MUTED_INK)
    axes.tick_params(colors=MUTED_INK, labelsize=7.5, length=2.5)
