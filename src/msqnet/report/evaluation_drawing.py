"""Curves and cells of an evaluation in the units of their pictures, from arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from msqnet.report.evaluation_summary import Cooccurrence, LabelCurve

_NUM_PAIRS = 12
_MIN_PAIR_ROWS = 3
_MAX_MATRIX_LABELS = 40
_PLOT_LEFT, _PLOT_TOP, _PLOT_WIDTH, _PLOT_HEIGHT = 26, 8, 168, 108
_CELL, _MATRIX_LEFT, _MATRIX_TOP = 28, 180, 130


@dataclass(frozen=True)
class CurveDrawing:
    """A precision-recall curve in the units of its picture."""

    label: str
    ap: float
    num_positives: int
    path: str
    chance_y: float
    mark: tuple[float, float] | None
    note: str

    @property
    def text(self) -> str:
        """What the picture shows, in words."""
        return f"Precision against recall of {self.label}: AP {self.ap:.3f}; {self.note}"


@dataclass(frozen=True)
class Cell:
    """One cell of the matrix of labels in the units of its picture."""

    x: int
    y: int
    kind: str
    strength: float
    percent: str
    text: str


@dataclass(frozen=True)
class Pair:
    """How often a label is predicted, and true, where another one is true."""

    given: str
    label: str
    said: float
    true: float
    num_rows: int


@dataclass(frozen=True)
class Matrix:
    """Every pair of labels as cells, none where there are too many, and the largest differences."""

    labels: tuple[str, ...]
    cells: tuple[Cell, ...]
    pairs: tuple[Pair, ...]
    min_rows: int = _MIN_PAIR_ROWS
    cell: int = _CELL
    left: int = _MATRIX_LEFT
    top: int = _MATRIX_TOP

    @property
    def width(self) -> int:
        """Of the picture; slanted names of the last columns reach over the cells."""
        return self.left + self.cell * len(self.labels) + 90

    @property
    def height(self) -> int:
        """Of the picture."""
        return self.top + self.cell * len(self.labels)


def draw_curve(curve: LabelCurve, ap: float) -> CurveDrawing:
    """A curve as steps: of the recall up to each point, the precision there is what AP counts."""

    def x(recall: float) -> float:
        return round(_PLOT_LEFT + _PLOT_WIDTH * recall, 1)

    def y(precision: float) -> float:
        return round(_PLOT_TOP + _PLOT_HEIGHT * (1 - precision), 1)

    path, last = f"M{_PLOT_LEFT} {y(curve.precision[0])}", ""
    for recall, precision in zip(curve.recall.tolist(), curve.precision.tolist(), strict=True):
        step = f"V{y(precision)}H{x(recall)}"
        path, last = (path if step == last else path + step), step
    if curve.at_threshold is None:
        mark, note = None, f"no window reaches the threshold {curve.threshold:.2f}"
    else:
        recall, precision = curve.at_threshold
        mark = (x(recall), y(precision))
        note = f"at {curve.threshold:.2f}: precision {precision:.2f}, recall {recall:.2f}"
    return CurveDrawing(curve.label, ap, curve.num_positives, path, y(curve.chance), mark, note)


def draw_matrix(pairs: Cooccurrence) -> Matrix:
    """Cells of labels by labels, as far as a page can show them, and the largest differences."""
    largest = [
        Pair(
            given=pairs.labels[i],
            label=pairs.labels[j],
            said=float(pairs.said[i, j]),
            true=float(pairs.true[i, j]),
            num_rows=int(pairs.num_rows[i, j]),
        )
        for i, j in pairs.largest_differences(_NUM_PAIRS, _MIN_PAIR_ROWS)
    ]
    num = len(pairs.labels)
    places = [(i, j) for i in range(num) for j in range(num)] if num <= _MAX_MATRIX_LABELS else []
    return Matrix(pairs.labels, tuple(_cell(pairs, i, j) for i, j in places), tuple(largest))


def _cell(pairs: Cooccurrence, i: int, j: int) -> Cell:
    x, y = _MATRIX_LEFT + _CELL * j, _MATRIX_TOP + _CELL * i
    given, label, num_rows = pairs.labels[i], pairs.labels[j], int(pairs.num_rows[i, j])
    if not num_rows:
        return Cell(x, y, "is-empty", 1.0, "", f"{given}: no window where {label} is known")
    said, true = float(pairs.said[i, j]), float(pairs.true[i, j])
    kind = "is-over" if said > true else "is-under"
    return Cell(
        x=x,
        y=y,
        kind=f"{kind} is-own" if i == j else kind,
        strength=round(0.85 * abs(said - true), 3),
        percent=f"{100 * said:.0f}",
        text=f"{given} is true in {num_rows} windows: {label} is predicted in {said:.0%} of them "
        f"and true in {true:.0%}",
    )
