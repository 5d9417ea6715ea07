"""Draw the scores of one prediction over time.

    msqnet predict clip.mp4 --out results/
    python examples/plot_timeline.py results/clip.mp4.json --out timeline.png

With --table the annotated actions of that video are drawn below the scores. The suffix of --out
chooses the format: .png, .svg or .pdf.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from msqnet.cli.main import exit_code_of
from msqnet.data.table import read_table
from msqnet.predictions import VideoPredictions
from msqnet.report.figures import save_figure, timeline_figure


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
    save_figure(timeline_figure(predictions, truths), settings.out)


if __name__ == "__main__":
    sys.exit(exit_code_of(main))
