"""Plug-in for BORIS 9 and 10: how far what was coded agrees with the segments of a model.

    msqnet predict videos/ --out results/

Copy this file into the folder of personal plug-ins (BORIS: File, Preferences, Analysis plugins),
choose it in the menu Analysis, Plugins, then the folder of the results. It needs nothing but BORIS.

Seconds are compared, behaviour by behaviour, subjects together. Behaviours without a length and
observations of several media files one behind the other are left out; the latter are counted.
"""

# BORIS reads the annotations of `run` as they are, so they cannot be text.
from pathlib import Path

import pandas as pd

__version__ = "1.0.0"
__version_date__ = "2026-11-27"
__plugin_name__ = "Compare with msqnet"
__author__ = "msqnet contributors"
__description__ = "Seconds that were coded, that a model found, and both, for each behaviour."

COLUMNS = [
    "Observation id",
    "Behavior",
    "Coded (s)",
    "Found (s)",
    "Both (s)",
    "Precision",
    "Recall",
]

Spans = list[tuple[float, float]]


def run(df: pd.DataFrame, project: dict) -> pd.DataFrame | str:
    """Ask for the folder of results and compare; BORIS shows what is returned."""
    from PySide6.QtWidgets import QFileDialog

    folder = QFileDialog.getExistingDirectory(None, "Folder of the results of msqnet predict")
    return compare(df, project, Path(folder)) if folder else "No folder was chosen."


def compare(df: pd.DataFrame, project: dict, folder: Path) -> pd.DataFrame | str:
    """Agreement of the coded states with segments, a row for each observation and behaviour.

    Args:
        df: events as BORIS gives them to plug-ins.
        project: as BORIS gives it to plug-ins.
        folder: what `msqnet predict --out` wrote.

    Returns:
        A table with `COLUMNS`; text where no result fits an observation.
    """
    rows = []
    for name, observation in project["observations"].items():
        files = (observation.get("file") or {}).get("1", [])
        results = sorted(folder.rglob(f"{media_name(files[0])}.csv")) if len(files) == 1 else []
        if not results:
            continue
        segments = pd.read_csv(results[0])
        offset = float(observation.get("time offset") or 0)
        coded = df[df["Observation id"] == name]
        labels = sorted({*coded["Behavior"], *segments["label"]})
        for label in labels:
            of_label = coded[coded["Behavior"] == label]
            ours = union(of_label["Start (s)"] - offset, of_label["Stop (s)"] - offset)
            of_model = segments[segments["label"] == label]
            found = union(of_model["start_seconds"], of_model["end_seconds"])
            both = intersection(ours, found)
            rows.append([name, label, length(ours), length(found), length(both)])
    if not rows:
        return f"No result in {folder} is of the one media file of a chosen observation."
    table = pd.DataFrame(rows, columns=COLUMNS[:5])
    # What was never found has no precision, and what was never coded no recall.
    table["Precision"] = table["Both (s)"] / table["Found (s)"].replace(0, float("nan"))
    table["Recall"] = table["Both (s)"] / table["Coded (s)"].replace(0, float("nan"))
    return table.round(3)


def media_name(path: str) -> str:
    """The name of a file, whichever system the path is of."""
    return path.replace("\\", "/").rpartition("/")[2]


def union(starts: pd.Series, ends: pd.Series) -> Spans:
    """Spans with a length, joined where they touch or overlap, in order."""
    joined: Spans = []
    for start, end in sorted(zip(starts.astype(float), ends.astype(float), strict=True)):
        if start >= end:
            continue
        if joined and start <= joined[-1][1]:
            joined[-1] = joined[-1][0], max(joined[-1][1], end)
        else:
            joined.append((start, end))
    return joined


def intersection(first: Spans, second: Spans) -> Spans:
    """What two unions have in common."""
    pairs = ((max(a, c), min(b, d)) for a, b in first for c, d in second)
    return [(start, end) for start, end in pairs if start < end]


def length(spans: Spans) -> float:
    """Seconds of a union."""
    return sum(end - start for start, end in spans)
