"""Whether what a model asserts can be believed: false alarms, precision, the outside.

    python benchmarks/trust.py --data path/to/shared-clips --out build/trust
    python benchmarks/trust.py --data path/to/shared-clips --out build/trust --before build/earlier

Predicts the `test` clips of `mixed_actors.csv`, and of `wide/wide.csv` those that show no listed
action (background) and those of actors and scenes that the model was not trained on (animals,
people). Results stay in OUT, one folder a source, so that another run only reads them. Intervals
are 95 % bootstrap intervals over clips.

- False segments a minute: segments whose label the clip does not show.
- Precision of asserted seconds: seconds in segments of a label that is annotated there and present,
  over seconds in segments of a label that is annotated there.
- True seconds: annotated seconds of a label that lie in a segment of it. With ``--before``, the
  share of those found in the other folder that are still found.
- AUROC: the video's distance from the training videos, test clips of known kinds against others.
- Risk and coverage: asserted seconds from the highest score down, and how many of them are wrong.
- Labels always on: asserted in more than half of the background and foreign clips.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.metrics import roc_auc_score

from msqnet import Predictor
from msqnet.cli.main import exit_code_of
from msqnet.errors import DatasetError, VideoError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

NUM_RESAMPLES = 2000
COVERAGES = (0.25, 0.5, 0.75, 1.0)


@dataclass
class Clip:
    """A video with its annotated rows (start, end, labels, annotated) and its results."""

    path: str
    kind: str
    rows: list[tuple[float, float, set[str], set[str]]] = field(default_factory=list)
    results: dict[str, Any] = field(default_factory=dict)


def read_clips(table: Path, split: str, kind: str = "") -> list[Clip]:
    """The clips of a split; ``kind`` where the table has no such column.

    Raises:
        DatasetError: another column is missing.
    """
    clips: dict[str, Clip] = {}
    with table.open(newline="", encoding="utf-8") as file:
        rows = csv.DictReader(file)
        if lacking := _COLUMNS - set(rows.fieldnames or ()):
            raise DatasetError(f"{table}: found no column {', '.join(sorted(lacking))}; add it")
        for row in rows:
            if row["split"] != split:
                continue
            clip = clips.setdefault(row["path"], Clip(row["path"], row.get("kind") or kind))
            start, end = (float(row.get(name) or default) for name, default in _BOUNDS)
            labels, known = (set(row[name].split("|")) - {""} for name in ("labels", "annotated"))
            clip.rows.append((start, end, labels, known | labels))
    return list(clips.values())


_COLUMNS = {"path", "split", "labels", "annotated"}
_BOUNDS = (("start", 0.0), ("end", np.inf))


def predict(clips: Sequence[Clip], folder: Path, out: Path, model: str | None) -> None:
    """Predict what is not predicted yet, and read the results."""
    predictor = Predictor.from_pretrained(model)
    for clip in clips:
        path = out / (clip.path + ".json")
        if not path.exists():
            try:
                found = predictor(folder / clip.path)
            except VideoError as error:
                print(f"left out, not predicted: {error}")
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(found.to_json(), encoding="utf-8")
        clip.results = json.loads(path.read_text(encoding="utf-8"))


def interval(clips: Sequence[Any], value: Callable[[Sequence[Any]], float]) -> str:
    """A value over clips, with its interval."""
    if not clips:
        return "-"
    rng = np.random.default_rng(0)
    drawn = [
        value([clips[i] for i in rng.integers(len(clips), size=len(clips))])
        for _ in range(NUM_RESAMPLES)
    ]
    low, high = np.nanquantile(drawn, [0.025, 0.975])
    return f"{value(clips):.3f} ({low:.3f} to {high:.3f})"


def overlap(first: tuple[float, float], second: tuple[float, float]) -> float:
    """Seconds that two intervals share."""
    return max(0.0, min(first[1], second[1]) - max(first[0], second[0]))


def false_segments(clip: Clip) -> int:
    """Segments whose label no row of the clip shows."""
    shown = set[str]().union(*(labels for _, _, labels, _ in clip.rows))
    return sum(item["label"] not in shown for item in clip.results["segments"])


def asserted(clip: Clip) -> list[tuple[float, float, bool]]:
    """(seconds, score, whether right) of asserted time whose label is annotated there."""
    return [
        (seconds, item["score"], item["label"] in labels)
        for start, end, labels, known in clip.rows
        for item in clip.results["segments"]
        if item["label"] in known
        if (seconds := overlap((start, end), (item["start_seconds"], item["end_seconds"]))) > 0
    ]


def found(clip: Clip, results: dict[str, Any]) -> list[tuple[tuple[str, int], float, float]]:
    """Annotated time in a segment of the label: label and row, start, end."""
    return [
        ((item["label"], row), max(start, item["start_seconds"]), min(end, item["end_seconds"]))
        for row, (start, end, labels, _) in enumerate(clip.rows)
        for item in results["segments"]
        if item["label"] in labels
        if overlap((start, end), (item["start_seconds"], item["end_seconds"])) > 0
    ]


def true_seconds(clip: Clip) -> float:
    """Annotated seconds of the labels that the model knows."""
    duration = float(clip.results["duration_seconds"])
    known = set(clip.results["labels"])
    return sum(
        max(0.0, min(end, duration) - start) * len(labels & known)
        for start, end, labels, _ in clip.rows
    )


def _ratio(upper: Sequence[float], lower: Sequence[float]) -> float:
    return sum(upper) / sum(lower) if sum(lower) else float("nan")


def print_alarms(others: Sequence[Clip]) -> None:
    """False segments a minute by kind, and labels that are always on."""
    print("\n| clips | number | minutes | false segments a minute | clips with any |")
    print("|---|---|---|---|---|")
    kinds: dict[str, list[Clip]] = defaultdict(list)
    for clip in others:
        kinds[clip.kind].append(clip)
        kinds["all"].append(clip)
    for kind, clips in sorted(kinds.items()):
        minutes = [clip.results["duration_seconds"] / 60 for clip in clips]
        alarms = [false_segments(clip) for clip in clips]
        pairs = list(zip(alarms, minutes, strict=True))
        rate = interval(pairs, lambda drawn: _ratio(*zip(*drawn, strict=True)))
        share = sum(map(bool, alarms)) / len(clips)
        print(f"| {kind} | {len(clips)} | {sum(minutes):.1f} | {rate} | {share:.0%} |")
    count = Counter(
        label for clip in others for label in {item["label"] for item in clip.results["segments"]}
    )
    always = [f"{name} ({n} of {len(others)})" for name, n in count.items() if n > len(others) / 2]
    print(f"\nlabels always on: {', '.join(always) or 'none'}")


def print_assertions(test: Sequence[Clip], before: Path | None) -> None:
    """Precision, recall and the risk at each coverage, on test clips."""
    pairs = [asserted(clip) for clip in test]

    def precision(drawn: Sequence[list[tuple[float, float, bool]]]) -> float:
        rows = [row for clip in drawn for row in clip]
        return _ratio([row[0] * row[2] for row in rows], [row[0] for row in rows])

    print(f"\nprecision of asserted seconds, test: {interval(pairs, precision)}")
    recall = [
        (sum(end - start for _, start, end in found(clip, clip.results)), true_seconds(clip))
        for clip in test
    ]
    shown = interval(recall, lambda drawn: _ratio(*zip(*drawn, strict=True)))
    print(f"true seconds found, test: {shown}")
    rows = sorted((row for clip in pairs for row in clip), key=lambda row: -row[1])
    seconds, right = np.array([row[0] for row in rows]), np.array([row[2] for row in rows])
    reached = np.cumsum(seconds) / seconds.sum()
    for share in COVERAGES:
        kept = reached <= share + 1e-9
        risk = 1 - (seconds * right)[kept].sum() / max(seconds[kept].sum(), 1e-9)
        print(f"coverage {share:.0%}: risk {risk:.3f}")
    if before is None:
        return
    kept_pairs = []
    for clip in test:
        path = before / (clip.path + ".json")
        earlier = found(clip, json.loads(path.read_text(encoding="utf-8")))
        now = found(clip, clip.results)
        still = sum(
            overlap(one[1:], other[1:]) for one in earlier for other in now if one[0] == other[0]
        )
        kept_pairs.append((still, sum(end - start for _, start, end in earlier)))
    shown = interval(kept_pairs, lambda drawn: _ratio(*zip(*drawn, strict=True)))
    print(f"true seconds found before that are still found, test: {shown}")


def print_outside(test: Sequence[Clip], others: Sequence[Clip]) -> None:
    """AUROC of the out-of-distribution score by kind."""

    def score(clip: Clip) -> float:
        return float((clip.results["novelty"] or {"distance": float("nan")})["distance"])

    for kind in sorted({clip.kind for clip in others}):
        chosen = [(score(clip), True) for clip in others if clip.kind == kind]
        both = [*chosen, *((score(clip), False) for clip in test)]

        def area(drawn: Sequence[tuple[float, bool]]) -> float:
            values, outside = zip(*drawn, strict=True)
            return float(roc_auc_score(outside, values)) if len(set(outside)) == 2 else np.nan

        print(f"AUROC, {kind} ({len(chosen)}) against test ({len(test)}): {interval(both, area)}")


def main() -> None:
    """Predict and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", required=True, type=Path, help="folder of both tables")
    parser.add_argument("--out", required=True, type=Path, help="folder for results")
    parser.add_argument("--model", help="as of msqnet predict")
    parser.add_argument("--before", type=Path, help="OUT of an earlier version, to compare with")
    parser.add_argument("--split", default="test", help="train while you tune")
    settings = parser.parse_args()
    test = read_clips(settings.data / "mixed_actors.csv", settings.split, "known")
    others = read_clips(settings.data / "wide" / "wide.csv", settings.split)
    for clips, folder, name in ((test, "", "mixed"), (others, "wide", "wide")):
        predict(clips, settings.data / folder, settings.out / name, settings.model)
    test, others = ([clip for clip in clips if clip.results] for clips in (test, others))
    print(f"{len(test)} test clips of known kinds, {len(others)} others; split {settings.split}")
    print_alarms(others)
    print_assertions(test, settings.before and settings.before / "mixed")
    print_outside(test, others)


if __name__ == "__main__":
    sys.exit(exit_code_of(main))
