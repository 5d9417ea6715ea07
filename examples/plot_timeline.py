"""Draw the scores of one prediction over time.

    msqnet predict clip.mp4 --out results/
    python examples/plot_timeline.py results/clip.mp4.json --out timeline.png

With --table the annotated actions of that video are drawn below the scores.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib as mpl
import numpy as np

from msqnet.data.table import read_table
from msqnet.predictions import VideoPredictions

mpl.use("Agg")
import matplotlib.pyplot as plt

NUM_LABELS = 6


def draw(predictions: VideoPredictions, truths: dict[str, list[tuple[float, float]]]) -> plt.Figure:
    """Scores of the strongest and of the annotated labels, one row a label.

    Args:
        predictions: of one video.
        truths: annotated stretches in seconds by label.
    """
    edges = np.asarray(predictions.timeline.edges_seconds)
    scores = np.asarray(predictions.timeline.scores)  # (N, K)
    names = list(predictions.labels)
    strongest = [names[index] for index in np.argsort(-scores.max(axis=0))]
    shown = list(dict.fromkeys([*truths, *strongest]))[: max(NUM_LABELS, len(truths))]
    figure, rows = plt.subplots(
        len(shown), 1, figsize=(9, 0.75 * len(shown) + 0.9), sharex=True, layout="constrained"
    )
    for axis, label in zip(np.atleast_1d(rows), shown, strict=True):
        column = names.index(label)
        axis.stairs(scores[:, column], edges, fill=True, color="#4477aa", alpha=0.85)
        axis.axhline(predictions.thresholds[column], color="#222222", linewidth=0.8, linestyle=":")
        for start, end in truths.get(label, ()):
            axis.axvspan(start, end, ymax=0.12, color="#cc3311", linewidth=0)
        axis.set_ylim(0, 1)
        axis.set_yticks([0, 1])
        axis.set_ylabel(label.replace("_", " "), rotation=0, ha="right", va="center")
        axis.spines[["top", "right"]].set_visible(False)
    np.atleast_1d(rows)[-1].set_xlabel("time in the video (s)")
    figure.suptitle(
        "score (blue), threshold (dotted)" + (", annotated (red)" if truths else ""), fontsize=10
    )
    return figure


def annotated(table: Path, video: Path, labels: list[str]) -> dict[str, list[tuple[float, float]]]:
    """Stretches of each label in the rows of one video."""
    truths: dict[str, list[tuple[float, float]]] = {}
    for record in read_table(table).records:
        if record.path != video.resolve() or record.end_seconds is None:
            continue
        for label in record.labels:
            if label in labels:
                span = (record.start_seconds or 0.0, record.end_seconds)
                truths.setdefault(label, []).append(span)
    return truths


def main() -> None:
    """Read, draw, write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("result", type=Path, help="a .json file that `msqnet predict` wrote")
    parser.add_argument("--table", type=Path, help="table of clips with the annotated actions")
    parser.add_argument("--out", type=Path, default=Path("timeline.png"), help="picture to write")
    settings = parser.parse_args()
    predictions = VideoPredictions.from_json(settings.result.read_text(encoding="utf-8"))
    truths: dict[str, list[tuple[float, float]]] = {}
    if settings.table is not None:
        truths = annotated(settings.table, Path(predictions.path), list(predictions.labels))
    draw(predictions, truths).savefig(settings.out, dpi=150)


if __name__ == "__main__":
    main()
