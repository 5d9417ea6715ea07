"""Train on the seen labels of a split, then ask for the unseen ones."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

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
from msqnet.prompts import LabelText
from msqnet.training.features import FeatureDataset
from msqnet.training.fit import fit, stored_features
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
    if result.is_file():
        found: dict[str, float] = json.loads(result.read_text(encoding="utf-8"))["figures"]
        return found
    train = training_part(task.run.table, split, task.test)
    lost = sorted(set(split.seen) - set(train.label_names()))
    if lost:
        report(f"no training row left of {', '.join(lost)}: only in videos with unseen labels")
    split = split.trained_on(train.label_names())
    check_no_leakage(train, task.test, split)
    everything = LabelSet((*split.seen, *split.unseen))
    run = _run_of(task.run, train, split, name, folder)
    model = MSQNet.from_pretrained(fit(run, report=report, resume=folder.exists()))
    if model.config.is_open:
        texts = _other_names(everything) if name == SHUFFLED else None
        names = list(everything)
        model.set_labels(names, text_embeddings(model, everything, texts))
    scores = table_scores(model, run, task.test)
    found = figures(
        scores,
        task.test.targets(everything).astype(np.float64),
        everything,
        split,
        single_label=run.task == "single_label",
    )
    with replacing(result) as part:
        summary = {"variant": name, "split": split.to_dict(), "figures": found}
        part.write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    return found


def _run_of(base: Run, train: ClipTable, split: LabelSplit, name: str, folder: Path) -> Run:
    arch = variant(base.arch, "open_full" if name == SHUFFLED else name)
    if name == SHUFFLED:
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


def _other_names(labels: LabelSet) -> dict[str, LabelText]:
    """Each label described by the name of the one half the list further on."""
    names = sorted(labels)
    half = len(names) // 2
    words = [LabelSet((name,)).prompts[0] for name in names]
    return {
        name: LabelText(name, description=words[(index + half) % len(names)])
        for index, name in enumerate(names)
    }


def _write_other_names(path: Path, labels: LabelSet) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [f'"{item.name}","{item.description}"' for item in _other_names(labels).values()]
    path.write_text("\n".join(["name,description", *lines]) + "\n", encoding="utf-8")


def table_scores(model: MSQNet, run: Run, table: ClipTable) -> NDArray[np.float32]:
    """Scores (V, K) of the rows of a table, through stored features where the run keeps them.

    Args:
        model: a finished model; with ``run.train.cached_views`` its trunk is still the published
            one.
        run: says where features are kept.
        table: the rows; of ``run.feature_table``, if that is given.
    """
    if not run.train.cached_views:
        return score_rows(table, TorchBackend(model)).astype(np.float32)
    store, places = stored_features(model, run, table, augmented=False)
    blank = [torch.zeros(0)] * len(places)
    parts = part_logits(model, FeatureDataset(store, places, blank), run.train.batch_size)
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
