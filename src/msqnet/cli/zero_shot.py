"""`msqnet zero-shot`: train on some labels of a data set, ask for the others."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from msqnet.cli.console import number_table, say
from msqnet.config import TableOptions
from msqnet.errors import ConfigError
from msqnet.labels import split_labels

if TYPE_CHECKING:
    from collections.abc import Sequence

    from msqnet.evaluation.zero_shot_protocol import LabelSplit

_ALL_VARIANTS = "vanilla|text_init|full|open_text|open_full|open_full_shuffled"
_SHOWN = (
    ("unseen", "unseen"),
    ("chance_unseen", "chance"),
    ("generalised_seen", "generalised: seen"),
    ("generalised_unseen", "unseen"),
    ("harmonic", "harmonic"),
)


def zero_shot(
    data: list[str],
    out: str = "runs/zero-shot",
    settings: str | None = None,
    seen: float = 0.5,
    splits: int = 10,
    split_lists: str | None = None,
    variants: str = _ALL_VARIANTS,
    task: Literal["multi_label", "single_label"] | None = None,
    seed: int = 0,
    features: str | None = None,
    reading: TableOptions = TableOptions(),  # noqa: B008 - frozen
    skip_errors: bool = False,
) -> int:
    """Train on some labels of a data set, and ask for the others.

    For each split of the labels and each variant, a model is trained on the rows of split `train`
    that show seen labels only, and scored on those of split `test`. Finished parts are not
    repeated: the same call continues where it stopped.

    Args:
        data: Tables with splits `train` and `test`; see `msqnet train`.
        out: Folder for the splits, the runs and the results.
        settings: YAML file with training settings, under the same keys as `msqnet train --config`
            (`arch`, `train`, `augmentation`): those of the full model, from which variants take
            parts away. By default those of `msqnet train`, without a validation part.
        seen: Share of the labels that is seen.
        splits: Number of random splits.
        split_lists: Published splits instead of random ones: a folder with `train/*.list` and
            `test/*.list`, one label per line, or a `splits.json` of an earlier call.
        variants: Models to train, joined by `|`: `vanilla` (random queries, no video query),
            `text_init`, `full` (the paper's three, closed-set heads), `open_text`, `open_full`
            (head and queries are functions of text), `open_full_shuffled` (its control: every label
            under the name of another one).
        task: `multi_label` (macro mAP) or `single_label` (top-1); by default that of the settings,
            or else `multi_label`.
        seed: Seed of the splits.
        features: Folder for the features of frozen encoders; by default in the output folder.
        reading: How tables are read.
        skip_errors: Leave out rows whose video is missing or unreadable instead of stopping.
    """
    from rich.console import Console

    from msqnet.evaluation.zero_shot_protocol import (
        check_labels,
        random_splits,
        read_splits,
        run_split,
        write_splits,
    )
    from msqnet.training.table_training import prepare, readable_rows

    console = Console(stderr=True)
    folder = Path(out)
    names, known = split_labels(variants), split_labels(_ALL_VARIANTS)
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        raise ConfigError(f"--variants {'|'.join(unknown)}: expected some of {', '.join(known)}")
    chosen = _training_settings(settings, data, out)
    report = partial(say, console)
    run = prepare(
        data,
        *(chosen["arch"], chosen["train"], chosen["augmentation"]),
        reading=reading,
        split="train",
        skip_errors=skip_errors,
        # What rows show of the seen labels says nothing of the unseen ones.
        task=task or ("multi_label" if chosen["task"] == "auto" else chosen["task"]),
        folder=folder,
        features=Path(features) if features else folder / "features",
        report=report,
    )
    test = readable_rows(data, "test", skip_errors, reading, report=report)
    if split_lists is None:
        labels = run.table.label_names()
        named = random_splits(labels, seen_share=seen, num_splits=splits, seed=seed)
    else:
        named = read_splits(Path(split_lists))
    written = [check_labels(split, run.table) for split in named]
    write_splits(written, folder / "splits.json")
    results: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    for split in written:
        for name in names:
            say(console, f"{split.name} ({split.origin}): {name}")
            results[name].append(run_split(run, test, split, name))
    _write_and_show(folder / "results.json", run.task, written, names, results)
    return 0


def _training_settings(path: str | None, data: list[str], out: str) -> dict[str, Any]:
    """Settings of `msqnet train` from a file over those of the recipe.

    Every row is trained on, unless the file says otherwise: no unseen label may choose an epoch. A
    file that is missing, or has keys that the command does not take, is a `ConfigError`.
    """
    from msqnet.cli.main import parse_settings

    argv = ["--train.folds", "0", "--train.validation_share", "0"]
    if path is not None:
        if not Path(path).is_file():
            raise ConfigError(f"--settings {path}: no such file")
        argv += ["--config", path]
    argv += ["--data", *data, "--out", out]
    _, settings = parse_settings("train", argv)
    given = [name for name in ("split", "init_from") if settings[name] is not None]
    given += [f"{name} of its own (give --{name})" for name in settings["reading"].changes]
    if given:
        raise ConfigError(f"--settings {path}: zero-shot has no {' and no '.join(given)}")
    return settings


def _write_and_show(
    path: Path,
    task: str,
    splits: Sequence[LabelSplit],
    names: Sequence[str],
    results: dict[str, list[dict[str, float]]],
) -> None:
    from rich.console import Console

    from msqnet.evaluation.zero_shot_protocol import CLOSED_SET_NOTE, summary_rows
    from msqnet.files import write_json
    from msqnet.training.training_run import VARIANTS

    metric = "top-1 accuracy" if task == "single_label" else "macro mAP"
    rows = summary_rows(results, names)
    content = {"metric": metric, "note": CLOSED_SET_NOTE, "variants": rows, "splits": results}
    write_json(path, content)
    sizes = f"{len(splits[0].seen)} seen, {len(splits[0].unseen)} unseen labels"
    title = f"{metric}, {len(splits)} splits ({sizes}), mean and sd"
    table = number_table(title, "variant", *(heading for _, heading in _SHOWN))
    for row in rows:
        cells = [f"{row[key]:.3f} +- {row[f'{key}_sd']:.3f}" for key, _ in _SHOWN]
        table.add_row(row["variant"], *cells)
    console = Console()
    console.print(table)
    if any(VARIANTS.get(name, {}).get("head") == "group_wise" for name in names):
        say(console, CLOSED_SET_NOTE)
