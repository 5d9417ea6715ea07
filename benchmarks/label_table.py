"""Print the figures of an evaluation as Markdown, for a model card.

    msqnet evaluate --data clips.csv --split test --out evaluated/
    python benchmarks/label_table.py evaluated/

Labels in bold are well supported.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from pathlib import Path

from msqnet.cli.main import exit_code_of

HEADLINES = {
    "macro_map": "macro mAP (headline)",
    "well_supported_macro_map": "macro mAP, well-supported labels",
    "within_source_macro_map": "macro mAP within source",
    "within_actor_macro_map": "macro mAP within actor",
    "micro_ap": "micro AP",
    "weighted_map": "weighted mAP",
    "macro_f1": "macro F1 at the stored thresholds",
    "subset_accuracy_known": "subset accuracy over known labels",
}


def cell(value: str) -> str:
    """Two decimals; a dash where a figure is not defined."""
    return f"{float(value):.2f}" if value else "-"


def main() -> None:
    """Read one evaluation's folder and print its tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path, help="what `msqnet evaluate --out` wrote")
    folder: Path = parser.parse_args().folder
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    print(f"{metrics['num_windows']} windows of {metrics['num_clips']} clips\n")
    print("| figure | value | 95 % interval over clips |\n|---|---|---|")
    for name, title in HEADLINES.items():
        if metrics.get(name) is None:
            continue
        low, high = metrics["intervals"].get(name, (None, None))
        interval = "-" if low is None else f"{low:.3f} to {high:.3f}"
        print(f"| {title} | {metrics[name]:.3f} | {interval} |")
    print("\n| label | AP | 95 % | F1 | threshold | test windows / clips | known | train windows |")
    print("|---|---|---|---|---|---|---|---|")
    with (folder / "per_label.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            name = f"**{row['label']}**" if row["well_supported"] == "True" else row["label"]
            interval = f"{cell(row['ap_low'])} to {cell(row['ap_high'])}"
            counts = f"{row['positive_windows']} / {row['positive_clips']}"
            print(
                f"| {name} | {cell(row['ap'])} | {interval} | {cell(row['f1'])} | "
                f"{cell(row['threshold'])} | {counts} | {row['known_windows']} | "
                f"{row['train_positive_windows']} |"
            )


if __name__ == "__main__":
    sys.exit(exit_code_of(main))
