"""The ablation of the paper's Table 3, supervised: vanilla, + text init, full; several seeds.

Models are `lite` at small size, trained on the frozen trunk's features. Figures are macro mAP on
the rows of split `test`, over all rows and within source or within actor where the table tells
them apart.

    python benchmarks/ablation.py --data many_actors.csv --out runs/many --frames 8 --size 224
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from msqnet.cli.main import exit_code_of
from msqnet.config import ArchConfig, AugmentationConfig, TrainConfig
from msqnet.data.table import read_table
from msqnet.evaluation.row_metrics import evaluate_rows
from msqnet.evaluation.scored_rows import EvaluationRows
from msqnet.evaluation.zero_shot_protocol import mean_and_deviation, table_scores
from msqnet.labels import LabelSet
from msqnet.model.builder import clip_settings
from msqnet.model.pretrained import MSQNet
from msqnet.model.registry import encoder_spec
from msqnet.training.fit import fit
from msqnet.training.training_run import (
    Run,
    rows_digest,
    settings_of,
    trainable_labels,
    variant,
    without_flip_where_sides_matter,
)

if TYPE_CHECKING:
    from msqnet.data.records import ClipTable

FIGURES = ("macro_map", "well_supported_macro_map", "within_source_macro_map", "micro_ap")
DIRECT = "full + direct path"
NAMES = ("vanilla", "text_init", "full", DIRECT)
RESULT_FILE = "ablation.json"


def small_settings(options: argparse.Namespace) -> tuple[ArchConfig, TrainConfig]:
    """`lite` at small size: a quarter of the width, eight frames."""
    arch = ArchConfig(
        num_frames=options.frames,
        size_pixels=options.size,
        encoder_grid=options.grid,
        encoder_width=options.width,
        width=options.width,
        decoder_heads=4,
        decoder_feedforward=2 * options.width,
        closeup=options.closeup,
        audio_encoder=options.audio_encoder,
    )
    train = TrainConfig(
        epochs=options.epochs,
        learning_rate=options.learning_rate,
        encoder_learning_rate=options.learning_rate,
        batch_size=32,
        folds=0,
        validation_share=0.0,
        cached_views=options.views,
        num_workers=0,
    )
    return arch, train


def new_run(whole: ClipTable, options: argparse.Namespace) -> Run:
    """Settings of all runs, and their training rows."""
    arch, train = small_settings(options)
    rows = whole.select("train")
    labels = LabelSet(trainable_labels(rows))
    return Run(
        table=rows,
        labels=labels,
        arch=arch,
        clip=clip_settings(arch, encoder_spec("lite").recipe().clip),
        augmentation=without_flip_where_sides_matter(AugmentationConfig(), labels),
        train=train,
        task="multi_label",
        folder=options.out,
        init_from=None,
        provenance={"data": whole.path.name},
        features=options.features or options.out / "features",
    )


def figures_of(base: Run, test: ClipTable, name: str, seed: int) -> dict[str, float]:
    """Train one model, unless that was done, and score it."""
    folder = base.folder / name.replace(" ", "_") / f"seed-{seed}"
    result = folder / RESULT_FILE
    arch = replace(base.arch, direct_path=True) if name == DIRECT else variant(base.arch, name)
    run = replace(base, arch=arch, train=replace(base.train, seed=seed), folder=folder)
    belongs_to = [json.loads(json.dumps(settings_of(run))), rows_digest(test)]
    if result.is_file():
        content = json.loads(result.read_text())
        if content["belongs_to"] != belongs_to:
            raise SystemExit(f"{result}: of other settings or rows; take another --out")
        figures: dict[str, float] = content["figures"]
        return figures
    model = MSQNet.from_pretrained(fit(run, report=lambda line: None, resume=folder.exists()))
    scores = table_scores(model, run, test)
    metrics = evaluate_rows(
        EvaluationRows(
            labels=run.labels,
            scores=scores.astype(np.float64),
            targets=test.targets(run.labels).astype(np.float64),
            table=test,
        ),
        thresholds=0.5,
        train_positive_windows=model.config.train_positive_windows,
        train_negative_windows=model.config.train_negative_windows,
        num_bootstrap=0,
    ).metrics
    found = {key: metrics[key] for key in FIGURES if metrics[key] is not None}
    result.write_text(json.dumps({"belongs_to": belongs_to, "figures": found}, indent=2) + "\n")
    return found


def main() -> None:
    """Train every variant with every seed and print the table."""
    options = parse_arguments()
    whole = read_table(options.data)
    base = new_run(whole, options)
    test = whole.select("test")
    rows: dict[str, list[dict[str, Any]]] = {}
    for name in options.variants.split("|"):
        rows[name] = []
        for seed in range(options.seeds):
            rows[name].append(figures_of(base, test, name, seed))
            print(f"{name}, seed {seed}: macro mAP {rows[name][-1]['macro_map']:.3f}", flush=True)
    print(f"\n{options.data.name}: {len(base.table)} train and {len(test)} test windows, ")
    print(f"{len(base.labels)} labels; mean +- sd over {options.seeds} seeds")
    print(f"| variant | {' | '.join(key.replace('_', ' ') for key in FIGURES)} |")
    print(f"|---|{'---|' * len(FIGURES)}")
    for name, found in rows.items():
        cells = []
        for key in FIGURES:
            mean, deviation = mean_and_deviation([one.get(key, np.nan) for one in found])
            cells.append(f"{mean:.3f} +- {deviation:.3f}")
        print(f"| {name} | {' | '.join(cells)} |")


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="table with train and test rows")
    parser.add_argument("--variants", default="|".join(NAMES))
    parser.add_argument("--seeds", type=int, default=3)
    add_settings(parser)
    return parser.parse_args()


def add_settings(parser: argparse.ArgumentParser) -> None:
    """Options that say how small models are trained."""
    parser.add_argument("--out", type=Path, required=True, help="folder for runs and results")
    parser.add_argument("--features", type=Path, help="folder of stored features")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--learning_rate", type=float, default=1e-3)
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--grid", type=int, default=4)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--views", type=int, default=1, help="stored augmented views of a clip")
    parser.add_argument(
        "--audio_encoder", default="none", help="for the variants video, audio and both"
    )
    parser.add_argument("--closeup", action="store_true", help="take a second look at what moves")


if __name__ == "__main__":
    sys.exit(exit_code_of(main))
