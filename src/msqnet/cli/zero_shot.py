"""`msqnet zero-shot`: train on some labels of a data set, ask for the others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from msqnet.config import ArchConfig, AugmentationConfig, TrainConfig
from msqnet.errors import ConfigError
from msqnet.labels import split_labels

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from msqnet.evaluation.zero_shot import LabelSplit
    from msqnet.evaluation.zero_shot_runs import ZeroShotTask

_ALL_VARIANTS = "vanilla|text_init|full|open_text|open_full|open_full_shuffled"
_SHOWN = (
    ("unseen", "unseen"),
    ("chance_unseen", "chance"),
    ("generalised_seen", "generalised: seen"),
    ("generalised_unseen", "unseen"),
    ("harmonic", "harmonic"),
)


def zero_shot(
    data: str,
    out: str = "runs/zero-shot",
    seen: float = 0.5,
    splits: int = 10,
    split_lists: str | None = None,
    variants: str = _ALL_VARIANTS,
    arch: ArchConfig = ArchConfig(),  # noqa: B008 - frozen
    train: TrainConfig = TrainConfig(folds=0, validation_share=0),  # noqa: B008 - frozen
    augmentation: AugmentationConfig = AugmentationConfig(),  # noqa: B008 - frozen
    task: Literal["multi_label", "single_label"] = "multi_label",
    seed: int = 0,
    features: str | None = None,
    skip_errors: bool = False,
) -> int:
    """Train on some labels of a data set, and ask for the others.

    For each split of the labels and each variant a model is trained on the rows of split `train`
    that show seen labels only, and scored on those of split `test`. Finished parts are not done
    again: the same call goes on where it stopped.

    Args:
        data: Table with splits `train` and `test`; see `msqnet train`.
        out: Folder for the splits, the runs and the results.
        seen: Share of the labels that is seen.
        splits: Number of random splits.
        split_lists: Published splits instead of random ones: a folder with `train/*.list` and
            `test/*.list`, one label a line, or a `splits.json` of an earlier call.
        variants: What to train, joined by `|`: `vanilla` (random queries, no video query),
            `text_init`, `full` (the paper's three, closed-set heads), `open_text`, `open_full`
            (head and queries are functions of text), `open_full_shuffled` (its control: every label
            under the name of another one).
        arch: The full model's settings; variants take parts of it away.
        train: How each model is trained.
        augmentation: Random changes to training clips.
        task: `multi_label` (macro mAP) or `single_label` (top-1).
        seed: Of the splits.
        features: Folder for the features of frozen encoders; by default in the output folder.
        skip_errors: Leave out rows whose video is missing or unreadable instead of stopping.

    Returns:
        Exit code.
    """
    from rich.console import Console

    from msqnet.cli.train import Request, prepare, readable_rows
    from msqnet.evaluation.zero_shot_runs import ZeroShotTask

    console = Console(stderr=True)
    folder = Path(out)
    names = split_labels(variants)
    _check_variants(names)
    request = Request(
        data=Path(data),
        out=folder,
        arch=arch,
        train=train,
        augmentation=augmentation,
        task=task,
        split="train",
        init_from=None,
        features=Path(features) if features else folder / "features",
        skip_errors=skip_errors,
    )
    run = prepare(console, request)
    test = readable_rows(console, Path(data), "test", skip_errors)
    chosen = _splits(run.table.label_names(), seen, splits, split_lists, seed)
    _run_all(ZeroShotTask(run, test), chosen, names, folder, console)
    return 0


def defaults(argv: Sequence[str]) -> dict[str, Any]:
    """Settings of the recipe, but for all rows: no unseen label may choose an epoch."""
    from msqnet.cli.train import defaults as of_training

    return {**of_training(argv), "train.folds": 0, "train.validation_share": 0.0}


def _check_variants(names: Sequence[str]) -> None:
    known = split_labels(_ALL_VARIANTS)
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        raise ConfigError(f"--variants {'|'.join(unknown)}: expected some of {', '.join(known)}")


def _splits(
    labels: Sequence[str], seen: float, number: int, lists: str | None, seed: int
) -> list[LabelSplit]:
    from msqnet.evaluation.zero_shot import random_splits, read_splits

    if lists is not None:
        return read_splits(Path(lists))
    return random_splits(labels, seen_share=seen, num_splits=number, seed=seed)


def _run_all(
    task: ZeroShotTask,
    splits: Sequence[LabelSplit],
    names: Sequence[str],
    folder: Path,
    console: Console,
) -> None:
    from msqnet.evaluation.zero_shot import check_labels, write_splits
    from msqnet.evaluation.zero_shot_runs import run_split, summary_rows

    written = [check_labels(split, task.run.table) for split in splits]
    write_splits(written, folder / "splits.json")
    results: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    for split in written:
        for name in names:
            console.print(f"{split.name} ({split.origin}): {name}", highlight=False)
            results[name].append(run_split(task, split, name, _quietly))
    rows = summary_rows(results, names)
    metric = "top-1 accuracy" if task.run.task == "single_label" else "macro mAP"
    _write(folder / "results.json", metric, rows, results)
    _show(metric, written, rows, names)


def _quietly(_line: str) -> None:
    """Each run writes its own record; dozens of them on the screen would hide the splits."""


def _write(
    path: Path, metric: str, rows: list[dict[str, Any]], results: dict[str, list[dict[str, float]]]
) -> None:
    from msqnet.evaluation.zero_shot_runs import CLOSED_SET_NOTE
    from msqnet.predictions import replacing

    content = {"metric": metric, "note": CLOSED_SET_NOTE, "variants": rows, "splits": results}
    with replacing(path) as part:
        part.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _show(
    metric: str,
    splits: Sequence[LabelSplit],
    rows: list[dict[str, Any]],
    names: Sequence[str],
) -> None:
    from rich.console import Console
    from rich.table import Table

    from msqnet.evaluation.zero_shot_runs import CLOSED_SET_NOTE
    from msqnet.training.variants import VARIANTS

    console = Console()
    sizes = f"{len(splits[0].seen)} seen, {len(splits[0].unseen)} unseen labels"
    table = Table(title=f"{metric}, {len(splits)} splits ({sizes}), mean and sd")
    table.add_column("variant")
    for _, title in _SHOWN:
        table.add_column(title, justify="right")
    for row in rows:
        cells = [f"{row[figure]:.3f} +- {row[f'{figure}_sd']:.3f}" for figure, _ in _SHOWN]
        table.add_row(row["variant"], *cells)
    console.print(table)
    if any(VARIANTS.get(name, {}).get("head") == "group_wise" for name in names):
        console.print(CLOSED_SET_NOTE, soft_wrap=True)
