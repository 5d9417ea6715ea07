"""Train on the seen labels of a split, then ask for the unseen ones."""

from __future__ import annotations

import csv
import hashlib
import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from msqnet.errors import ConfigError
from msqnet.evaluation.evaluate import score_rows
from msqnet.evaluation.zero_shot import (
    check_no_leakage,
    figures,
    mean_and_deviation,
    training_part,
)
from msqnet.inference.backends import TorchBackend
from msqnet.labels import LabelSet
from msqnet.model.msqnet import MSQNet
from msqnet.model.vocabulary import text_embeddings
from msqnet.predictions import replacing
from msqnet.prompts import read_label_table
from msqnet.training.features import FeatureDataset
from msqnet.training.fit import fit, stored_features
from msqnet.training.run import rows_digest, settings_of
from msqnet.training.trainer import part_logits
from msqnet.training.variants import variant

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from msqnet.data.records import ClipTable
    from msqnet.evaluation.zero_shot import LabelSplit
    from msqnet.training.run import Run

SHUFFLED = "open_full_shuffled"
"""`open_full`, but each label is trained and asked for under the name of another one.

All it lacks is what the words mean: the control for zero-shot figures.
"""

CLOSED_SET_NOTE = (
    "vanilla, text_init and full have one weight vector for each label (equation 7). Those of "
    "unseen labels are never trained: they keep their random start, so chance is what to expect."
)

_RESULT_FILE = "zero_shot.json"


@dataclass(frozen=True)
class ZeroShotTask:
    """What is the same for all splits and variants.

    Attributes:
        run: settings, and the rows of the data set's training part, with all labels.
        test: the rows to score.
    """

    run: Run
    test: ClipTable


def run_split(
    task: ZeroShotTask, split: LabelSplit, name: str, report: Callable[[str], None]
) -> dict[str, float]:
    """Figures of one variant on one split; a finished one is read, not done again.

    Args:
        task: data and settings.
        split: seen and unseen labels, as the table writes them.
        name: of `VARIANTS`, or `SHUFFLED`.
        report: called with lines for the user.

    Raises:
        DatasetError: training would tell of an unseen label.
    """
    folder = task.run.folder / split.name / name
    result = folder / _RESULT_FILE
    train = training_part(task.run.table, split, task.test)
    lost = sorted(set(split.seen) - set(train.label_names()))
    if lost:
        report(f"no training row left of {', '.join(lost)}: only in videos with unseen labels")
    split = split.trained_on(train.label_names())
    check_no_leakage(train, task.test, split)
    everything = LabelSet((*split.seen, *split.unseen))
    run = _run_of(task.run, train, split, name, folder)
    belongs_to = {
        "variant": name,
        "split": split.to_dict(),
        "settings_digest": _digest(settings_of(run)),
        "test_rows_digest": rows_digest(task.test),
    }
    if result.is_file():
        return _finished(result, belongs_to)
    model = MSQNet.from_pretrained(fit(run, report=report, resume=folder.exists()))
    if model.config.is_open:
        texts = None if run.arch.label_table is None else read_label_table(run.arch.label_table)
        model.set_labels(list(everything), text_embeddings(model, everything, texts))
    scores = table_scores(model, run, task.test)
    found = figures(
        scores,
        task.test.targets(everything).astype(np.float64),
        everything,
        split,
        single_label=run.task == "single_label",
    )
    with replacing(result) as part:
        summary = {**belongs_to, "figures": found}
        part.write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    return found


def _digest(values: dict[str, Any]) -> str:
    text = json.dumps(values, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _finished(path: Path, belongs_to: dict[str, Any]) -> dict[str, float]:
    """Figures of an earlier call, if it was about the same.

    Raises:
        ConfigError: they belong to other settings, another split or other rows.
    """
    content = json.loads(path.read_text(encoding="utf-8"))
    other = [key for key, value in belongs_to.items() if content.get(key) != value]
    if other:
        raise ConfigError(
            f"{path}: found figures of another {' and '.join(other)}; repeat the call that made "
            "them, or use another --out"
        )
    figures_found: dict[str, float] = content["figures"]
    return figures_found


def _run_of(base: Run, train: ClipTable, split: LabelSplit, name: str, folder: Path) -> Run:
    arch = variant(base.arch, "open_full" if name == SHUFFLED else name)
    if name == SHUFFLED:
        if base.arch.prompts != "none":
            raise ConfigError(
                f"{SHUFFLED} swaps bare names; with prompts {base.arch.prompts} it would compare "
                "two kinds of text: set --arch.prompts none, or leave this variant out"
            )
        table = folder.with_name(f"{folder.name}.labels.csv")
        _write_other_names(table, LabelSet((*split.seen, *split.unseen)))
        arch = replace(arch, prompts="descriptions", label_table=str(table))
    is_closed = arch.head == "group_wise"
    labels = LabelSet((*split.seen, *split.unseen) if is_closed else split.seen)
    return replace(
        base,
        table=train,
        labels=labels,
        arch=arch,
        folder=folder,
        provenance={**base.provenance, "zero_shot": split.to_dict()},
    )


def _other_names(labels: LabelSet) -> dict[str, str]:
    """The words of another label for each one, drawn once for each set of labels.

    A fixed step through the alphabet would not do: "jumping left" could become "running left".
    """
    names = sorted(labels)
    rng = np.random.default_rng(int(LabelSet(tuple(names)).digest, 16))
    order = rng.permutation(len(names))
    # One cycle through the shuffled list: no label keeps its own name.
    other = {
        names[here]: names[there] for here, there in zip(order, np.roll(order, 1), strict=True)
    }
    return {name: LabelSet((other[name],)).prompts[0] for name in names}


def _write_other_names(path: Path, labels: LabelSet) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as part, part.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["name", "description"])
        writer.writerows(_other_names(labels).items())


def table_scores(model: MSQNet, run: Run, table: ClipTable) -> NDArray[np.float32]:
    """Scores (V, K) of the rows of a table, through stored features where the run keeps them.

    Args:
        model: a finished model; with ``run.train.cached_views`` its frozen part is still as it was.
        run: says where features are kept.
        table: the rows.
    """
    if not run.train.cached_views:
        return score_rows(table, TorchBackend(model)).astype(np.float32)
    store = stored_features(model, run, table, augmented=False)
    blank = [torch.zeros(0)] * len(table)
    data = FeatureDataset(store, np.arange(len(table)), blank)
    parts = part_logits(model, data, run.train.batch_size)
    share = model.config.query_share if model.query_head is not None else 0.0
    logits = torch.from_numpy((1 - share) * parts[0] + share * parts[1])
    scores: NDArray[np.float32] = model.scores(logits).numpy()
    return scores


def summary_rows(
    results: dict[str, list[dict[str, float]]], names: Sequence[str]
) -> list[dict[str, Any]]:
    """Mean and standard deviation over splits, one row a variant.

    Args:
        results: figures of each split, by variant.
        names: variants in the order of the table.
    """
    rows = []
    for name in names:
        row: dict[str, Any] = {"variant": name, "num_splits": len(results[name])}
        for figure in results[name][0]:
            mean, deviation = mean_and_deviation([one[figure] for one in results[name]])
            row[figure], row[f"{figure}_sd"] = mean, deviation
        rows.append(row)
    return rows
