"""Draws maps of embeddings side by side, with the numbers that belong to them (Figure 4)."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from msqnet.errors import ConfigError, MissingExtra
from msqnet.predictions import replacing
from msqnet.report.palette import INK, LABEL_COLOURS, MUTED_INK, OTHER_COLOUR

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from msqnet.explain.embedding_panels import EmbeddingPanels, Panel

MAX_NAMED_LABELS = len(LABEL_COLOURS)
"""More colours than these are not told apart; further labels are drawn as others."""

_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_OTHER_MARKER, _NO_LABEL_MARKER = "h", "o"
# Inches; panels are square, so that the size of the figure follows from what stands in it.
_PANEL, _GAP, _MARGIN = 2.75, 0.25, 0.08
_HEADING, _LEGEND_ROW, _LEGEND_COLUMN = 0.64, 0.19, 1.55
_DOTS_PER_INCH = 200
_STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.size": 9.0,
    "svg.fonttype": "none",
    "pdf.fonttype": 42,
    "svg.hashsalt": "msqnet",
}


def named_labels(shown_labels: tuple[str, ...], num_named: int | None = None) -> tuple[str, ...]:
    """The labels with a colour of their own: those of most rows, by name where equal.

    Args:
        shown_labels: the label by which each row is drawn; empty for none.
        num_named: how many at most; None for as many as there are colours.

    Raises:
        ConfigError: more than there are colours, or less than one.
    """
    num_named = MAX_NAMED_LABELS if num_named is None else num_named
    if not 1 <= num_named <= MAX_NAMED_LABELS:
        raise ConfigError(
            f"num_named {num_named}: expected 1 to {MAX_NAMED_LABELS}, the number of colours that "
            "can be told apart"
        )
    counts = Counter(name for name in shown_labels if name)
    return tuple(sorted(counts, key=lambda name: (-counts[name], name))[:num_named])


def draw_panels(panels: EmbeddingPanels, *, num_named: int | None = None) -> Figure:
    """All panels in a row, one legend below.

    Args:
        panels: maps and numbers.
        num_named: labels with a colour and a mark of their own, see `named_labels`; all others
            share one.

    Returns:
        A matplotlib figure, on white.

    Raises:
        ConfigError: see `named_labels`.
        MissingExtra: matplotlib is not installed.
    """
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtra("a picture of embeddings", extra="explain") from error
    shown = panels.rows.shown_labels
    layers = _layers(shown, named_labels(shown, num_named))
    num_panels = len(panels.panels)
    width = num_panels * (_PANEL + _GAP) - _GAP + 2 * _MARGIN
    num_columns = max(1, int(width // _LEGEND_COLUMN))
    legend_height = _LEGEND_ROW * (math.ceil(len(layers) / num_columns) + 1.2)
    height = _HEADING + _PANEL + legend_height + _MARGIN
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(width, height), facecolor="white")
        bottom, side = (_MARGIN + legend_height) / height, _PANEL / height
        for place, (letter, panel) in enumerate(zip("abc", panels.panels, strict=False)):
            left = (_MARGIN + place * (_PANEL + _GAP)) / width
            axis = figure.add_axes((left, bottom, _PANEL / width, side))
            _draw_map(axis, panel, layers)
            _write_numbers(axis, panel, letter, panels.config.num_neighbours)
        _write_legend(figure, panels, num_columns)
    return figure


def _write_legend(figure: Figure, panels: EmbeddingPanels, num_columns: int) -> None:
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
        frameon=False,
        fontsize=8,
        title_fontsize=8,
        alignment="left",
        labelcolor=INK,
        markerscale=1.2,
        borderpad=0.2,
        handletextpad=0.1,
        columnspacing=1.0,
        labelspacing=0.35,
    )
    legend.get_title().set_color(MUTED_INK)


@dataclass(frozen=True)
class _Layer:
    """Rows that are drawn alike.

    Attributes:
        name: what the legend says, beside their number.
        members: (V,) bool.
        colour: of the marks.
        fill: of their inside.
        marker: their shape.
        is_background: others and rows without a label, drawn below.
    """

    name: str
    members: NDArray[np.bool_]
    colour: str
    fill: str
    marker: str
    is_background: bool = False


def _layers(shown: tuple[str, ...], named: tuple[str, ...]) -> list[_Layer]:
    """Named labels first, then the others and the rows without a label, where there are any."""
    values = np.asarray(shown)
    others = (values != "") & ~np.isin(values, named)
    num_others = len(set(values[others].tolist()))
    other_name = f"{num_others} other label{'s' if num_others > 1 else ''}"
    layers = [
        _Layer(name.replace("_", " "), values == name, colour, colour, marker)
        for name, colour, marker in zip(named, LABEL_COLOURS, _MARKERS, strict=False)
    ]
    layers += [
        _Layer(other_name, others, OTHER_COLOUR, OTHER_COLOUR, _OTHER_MARKER, is_background=True),
        _Layer("no label", values == "", OTHER_COLOUR, "white", _NO_LABEL_MARKER, True),
    ]
    return [layer for layer in layers if layer.members.any()]


def _draw_map(axis: Axes, panel: Panel, layers: list[_Layer]) -> None:
    places = panel.map.coordinates
    size = float(np.clip(2400 / len(places), 5, 22))
    for layer in layers:
        axis.scatter(
            places[layer.members, 0],
            places[layer.members, 1],
            s=size * (0.8 if layer.is_background else 1.0),
            c=layer.fill,
            marker=layer.marker,
            linewidths=0.3 if layer.fill == layer.colour else 0.8,
            edgecolors="white" if layer.fill == layer.colour else layer.colour,
            alpha=0.9,
            label=f"{layer.name} ({layer.members.sum()})",
            zorder=2 if layer.is_background else 3,
        )
    # Equal scales: t-SNE knows no preferred direction. Positions themselves mean nothing.
    centre, half = (places.max(axis=0) + places.min(axis=0)) / 2, np.ptp(places, axis=0).max() / 2
    axis.set_xlim(centre[0] - 1.06 * half, centre[0] + 1.06 * half)
    axis.set_ylim(centre[1] - 1.06 * half, centre[1] + 1.06 * half)
    axis.set_aspect("equal")
    axis.set_xticks([])
    axis.set_yticks([])
    for spine in axis.spines.values():
        spine.set_color("#d5d9df")
        spine.set_linewidth(0.8)


def _write_numbers(axis: Axes, panel: Panel, letter: str, num_neighbours: int) -> None:
    neighbours = panel.map.neighbours
    low, high = neighbours.interval
    bounds = "" if math.isnan(low) else f" [{low:.2f}, {high:.2f}]"
    lines = (
        f"{num_neighbours}-NN accuracy {_shown(neighbours.accuracy)}{bounds}",
        f"chance {_shown(neighbours.chance)}, silhouette {_shown(panel.map.silhouette)}",
    )
    axis.set_title(f"{letter}  {panel.title}", loc="left", fontsize=9.5, color=INK, pad=29)
    axis.text(
        0,
        1.02,
        "\n".join(lines),
        transform=axis.transAxes,
        fontsize=8,
        color=MUTED_INK,
        va="bottom",
        linespacing=1.35,
    )


def _shown(value: float) -> str:
    return "not defined" if math.isnan(value) else f"{value:.2f}"


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure in the format of its suffix, replacing what is there when it is complete.

    The same figure gives the same bytes: no date is written.

    Args:
        figure: what `draw_panels` drew.
        path: ``.png``, ``.pdf`` or ``.svg``; its folder exists.
    """
    import matplotlib as mpl

    kind = path.suffix.removeprefix(".")
    dates = {"pdf": {"CreationDate": None}, "svg": {"Date": None}}
    with replacing(path) as part, mpl.rc_context(_STYLE):
        figure.savefig(part, format=kind, dpi=_DOTS_PER_INCH, metadata=dates.get(kind))
