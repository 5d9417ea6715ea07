"""Zero-shot tables: the synthetic benchmark's unseen labels, or those of real clips.

    python benchmarks/zero_shot_tables.py --synthetic synthetic/ --out runs/unseen --epochs 6
    python benchmarks/zero_shot_tables.py --data many_actors.csv --out runs/many-unseen \
        --leave_out deliangWu/Video-Interaction-Recognition-and-Detection- \
        --closeup --views 2 --epochs 6

Macro mAP over unseen labels, beside chance (a constant score), a closed-set head, and the same
open-vocabulary model trained and asked with every label under another one's name.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ablation import add_settings, new_run

from msqnet.cli.main import exit_code_of
from msqnet.data.table import read_table
from msqnet.evaluation.zero_shot_protocol import (
    CLOSED_SET_NOTE,
    SHUFFLED,
    LabelSplit,
    random_splits,
    run_split,
    summary_rows,
)

if TYPE_CHECKING:
    from msqnet.data.records import ClipTable
    from msqnet.training.training_run import Run

    Task = tuple[Run, ClipTable, LabelSplit]

NAMES = ("full", "open_text", "open_full", SHUFFLED)
FIGURES = ("unseen", "chance_unseen", "generalised_seen", "harmonic")


def synthetic_tasks(options: argparse.Namespace) -> list[Task]:
    """One table and split for each `unseen_labels_*.csv`."""
    tasks = []
    for path in sorted(options.synthetic.glob("unseen_labels_*.csv")):
        whole = read_table(path)
        content = json.loads(path.with_suffix(".json").read_text())
        split = LabelSplit(
            tuple(content["seen"]), tuple(content["unseen"]), path.stem, "of the benchmark"
        )
        run = new_run(whole, options)
        tasks.append((run, whole.select("test"), split))
    return tasks


def real_tasks(options: argparse.Namespace) -> list[Task]:
    """Random splits of the labels, and one that leaves out a whole source."""
    whole = read_table(options.data)
    run = new_run(whole, options)
    test = whole.select("test")
    names = [name for name in run.labels if name in test.label_names()]
    splits = random_splits(names, seen_share=options.seen, num_splits=options.splits)
    tasks = [(run, test, split) for split in splits]
    if options.leave_out:
        tasks.insert(0, _without_source(run, test, names, options.leave_out))
    return tasks


def _without_source(run: Run, test: ClipTable, names: list[str], source: str) -> Task:
    """Train without a source, ask for its labels on its test rows."""
    sources = sorted({record.source for record in test.records})
    if source not in sources:
        raise SystemExit(f"--leave_out {source}: sources of the test rows are {', '.join(sources)}")
    rows = tuple(record for record in test.records if record.source == source)
    test = replace(test, records=rows)
    unseen = test.label_names()
    seen = tuple(name for name in names if name not in unseen)
    kept = tuple(record for record in run.table.records if record.source != source)
    run = replace(run, table=replace(run.table, records=kept))
    name = f"without_{source.replace('/', '_')}"
    split = LabelSplit(seen, unseen, name, f"all labels of {source} unseen")
    return run, test, split


def main() -> None:
    """Train every variant on every split and print the table."""
    options = parse_arguments()
    tasks = synthetic_tasks(options) if options.synthetic else real_tasks(options)
    names = options.variants.split("|")
    groups: dict[str, list[Task]] = {}
    for run, test, split in tasks:
        title = split.name if split.name.startswith("without_") else "label splits"
        groups.setdefault(title, []).append((run, test, split))
    for title, members in groups.items():
        results = {name: [] for name in names}
        for run, test, split in members:
            for name in names:
                found = run_split(run, test, split, name)
                results[name].append(found)
                print(f"{split.name} {name}: unseen {found['unseen']:.3f}", flush=True)
        print(f"\n{title}: macro mAP, mean +- sd over {len(members)}")
        print(f"| variant | {' | '.join(FIGURES)} | times chance |")
        print(f"|---|{'---|' * (len(FIGURES) + 1)}")
        for row in summary_rows(results, names):
            cells = [f"{row[key]:.3f} +- {row[key + '_sd']:.3f}" for key in FIGURES]
            ratio = row["unseen"] / row["chance_unseen"]
            print(f"| {row['variant']} | {' | '.join(cells)} | {ratio:.2f} |")
        print()
    print(CLOSED_SET_NOTE)


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--synthetic", type=Path, help="folder that paper/synthesize.py made")
    where.add_argument("--data", type=Path, help="table with train and test rows")
    parser.add_argument("--leave_out", help="a source whose labels are all unseen")
    parser.add_argument("--splits", type=int, default=5, help="random splits of the labels")
    parser.add_argument("--seen", type=float, default=0.75, help="share of seen labels")
    parser.add_argument("--variants", default="|".join(NAMES))
    add_settings(parser)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(exit_code_of(main))
