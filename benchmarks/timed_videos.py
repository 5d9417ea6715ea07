"""Videos with annotated bouts as a table of pieces, to evaluate a model over time.

    python benchmarks/timed_videos.py DATA timed.csv
    msqnet evaluate --data timed.csv --split test --protocol timeline --out runs/timed

DATA holds `wide/timed.csv`: one row a bout, and for each video one row `ANNOTATED_SPAN`, in which
labels of `annotated` without a bout are absent. Pieces lie between the borders of bouts.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections import defaultdict
from itertools import pairwise
from pathlib import Path

from msqnet.cli.main import exit_code_of

SPAN = "ANNOTATED_SPAN"
COLUMNS = ("path", "start", "end", "labels", "annotated", "extent", "split", "actor", "group")


def main() -> None:
    """Write the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("data", type=Path, help="folder of `wide/timed.csv`")
    parser.add_argument("out", type=Path, help="table to write")
    settings = parser.parse_args()
    source = settings.data / "wide" / "timed.csv"
    bouts = defaultdict(list)
    with source.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            bouts[row["path"]].append(row)
    with settings.out.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, extrasaction="ignore")
        writer.writeheader()
        for path, rows in bouts.items():
            [span] = (row for row in rows if row["labels"] == SPAN)
            first, last = float(span["start"]), float(span["end"])
            times = {float(row[name]) for row in rows for name in ("start", "end")}
            for start, end in pairwise(sorted(t for t in times if first <= t <= last)):
                here = [
                    row["labels"]
                    for row in rows
                    if row is not span and float(row["start"]) <= start < float(row["end"])
                ]
                known = span["annotated"].split("|")
                known += () if known == ["*"] else sorted(set(here) - set(known))
                piece = {"start": start, "end": end, "labels": "|".join(sorted(set(here)))}
                piece |= {"path": str((source.parent / path).resolve()), "extent": "whole"}
                writer.writerow({**span, **piece, "annotated": "|".join(known)})


if __name__ == "__main__":
    sys.exit(exit_code_of(main))
