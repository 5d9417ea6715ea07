"""The table that the shipped model is trained on: labelled clips, and background without them.

    python benchmarks/shipped_table.py DATA shipped.csv

DATA holds `mixed_actors.csv` and `wide/wide.csv`. The `train` rows of the first are taken as they
are. Of the second, the `train` clips whose licence allows weights to be shipped (`ships`) are cut
into rows of two seconds, with those of their labels that the first table has.
"""

from __future__ import annotations

import argparse
import csv
import sys
from pathlib import Path

from msqnet.cli.main import exit_code_of
from msqnet.video.reader import open_video

ROW_SECONDS = 2


def rows_of(table: Path, split: str = "train") -> list[dict[str, str]]:
    """Rows of a split, with absolute paths."""
    with table.open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == split]
    return [{**row, "path": str((table.parent / row["path"]).resolve())} for row in rows]


def main() -> None:
    """Write the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data", type=Path, help="folder of both tables")
    parser.add_argument("out", type=Path, help="table to write")
    settings = parser.parse_args()
    rows = rows_of(settings.data / "mixed_actors.csv")
    labels = {label for row in rows for label in row["labels"].split("|")}
    for row in rows_of(settings.data / "wide" / "wide.csv"):
        if row["ships"] != "yes":
            continue
        with open_video(row["path"]) as video:
            seconds = float(video.duration_seconds)
        known = {
            name: row[name] if row[name] == "*" else "|".join(set(row[name].split("|")) & labels)
            for name in ("labels", "annotated")
        }
        for number in range(max(1, int(seconds // ROW_SECONDS))):
            start, end = ROW_SECONDS * number, ROW_SECONDS * (number + 1)
            times = {"start": str(start), "end": str(end)} if seconds >= end else {}
            rows.append({**row, "start": "", "end": "", **times, **known})
    columns = ("path", "start", "end", "labels", "annotated", "split", "actor", "group", "source")
    with settings.out.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    print(f"{settings.out}: {len(rows)} rows")


if __name__ == "__main__":
    sys.exit(exit_code_of(main))
