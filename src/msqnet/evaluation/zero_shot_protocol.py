"""Zero-shot protocol: train on the seen labels of a split, then ask for the unseen ones.

Videos with unseen labels never enter training, which `check_no_leakage` holds.
"""

from __future__ import annotations

import csv
import hashlib
import json
import logging
import math
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from msqnet.errors import ConfigError, DatasetError
from msqnet.evaluation.views import score_rows
from msqnet.files import replacing, write_json
from msqnet.inference.torch_backends import TorchBackend
from msqnet.labels import LabelSet, folded
from msqnet.metrics.classification import zero_shot_metrics
from msqnet.model.pretrained import MSQNet
from msqnet.model.vocabulary import text_embeddings
from msqnet.prompts import read_label_table
from msqnet.training.features import FeatureDataset
from msqnet.training.fit import fit, stored_features
from msqnet.training.fitted_parts import joined_logits
from msqnet.training.trainer import part_logits
from msqnet.training.training_run import rows_digest, settings_of, variant

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from msqnet.data.records import ClipTable
    from msqnet.training.training_run import Run

SHUFFLED = "open_full_shuffled"
"""`open_full`, but each label is trained and asked for under the name of another one.

All it lacks is the meaning of the words: the control for zero-shot metrics.
"""

CLOSED_SET_NOTE = (
    "vanilla, text_init and full have one weight vector for each label (equation 7). Those of "
    "unseen labels are never trained: they keep their random start, so chance is what to expect."
)

_logger = logging.getLogger(__name__)
_LIST_SUFFIX = ".list"
_MIN_LABELS = 2
_NUM_NAMED = 5


@dataclass(frozen=True)
class LabelSplit:
    """Which labels a model may be trained on, and which are only asked for afterwards.

    ``origin`` is for instance "random, seed 3", or the file of a published list. A label on both
    sides, or none on one side, is a `ConfigError`.
    """

    seen: tuple[str, ...]
    unseen: tuple[str, ...]
    name: str
    origin: str

    def __post_init__(self) -> None:
        both = sorted(set(self.seen) & set(self.unseen))
        if both:
            raise ConfigError(f"split {self.name}: {', '.join(both)} both seen and unseen")
        if not self.seen or not self.unseen:
            raise ConfigError(
                f"split {self.name}: {len(self.seen)} seen and {len(self.unseen)} unseen labels; "
                "expected at least one of each"
            )

    def trained_on(self, labels: Sequence[str]) -> LabelSplit:
        """The split without the seen labels that training has no row of; they count nowhere."""
        return replace(self, seen=tuple(name for name in self.seen if name in set(labels)))

    def to_dict(self) -> dict[str, Any]:
        """Plain values; `read_splits` reads them back."""
        sides = {"seen": list(self.seen), "unseen": list(self.unseen)}
        return {"name": self.name, "origin": self.origin, **sides}


def random_splits(
    labels: Sequence[str], *, seen_share: float, num_splits: int, seed: int = 0
) -> list[LabelSplit]:
    """Seeded random splits; the n-th does not depend on how many are made.

    ``seen_share`` of the labels is seen, in (0, 1), rounded to whole labels. Too few labels, or
    another share, are a `ConfigError`.
    """
    names = sorted(labels)
    if len(names) < _MIN_LABELS or not 0 < seen_share < 1:
        raise ConfigError(
            f"{len(names)} labels, seen share {seen_share}: expected at least {_MIN_LABELS} labels "
            "and a share in (0, 1)"
        )
    num_seen = min(max(round(seen_share * len(names)), 1), len(names) - 1)
    splits = []
    for number in range(num_splits):
        order = np.random.default_rng([seed, number]).permutation(len(names))
        seen, unseen = (
            tuple(sorted(names[index] for index in part))
            for part in (order[:num_seen], order[num_seen:])
        )
        origin = f"random, seed {seed}, number {number}, {seen_share:g} seen"
        splits.append(LabelSplit(seen, unseen, f"split_{number}", origin))
    return splits


def write_splits(splits: Sequence[LabelSplit], path: Path) -> None:
    """One JSON file with all splits, replaced at once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, [split.to_dict() for split in splits])


def read_splits(path: Path) -> list[LabelSplit]:
    """Splits from a file of `write_splits`, or published lists.

    These are a folder with ``train/NAME.list`` and ``test/NAME.list``, one label a line (as
    published with STALE, Nag et al. 2022). No splits, or a list without its counterpart, are a
    `ConfigError`.
    """
    if path.is_dir():
        return _published_splits(path)
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
        return [
            LabelSplit(tuple(e["seen"]), tuple(e["unseen"]), str(e["name"]), str(e["origin"]))
            for e in entries
        ]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"{path}: no splits ({error}); expected a JSON list of name, origin, seen, unseen, or "
            "a folder with train/*.list and test/*.list"
        ) from error


def _published_splits(folder: Path) -> list[LabelSplit]:
    def number_in_name(path: Path) -> tuple[int, str]:
        match = re.search(r"\d+", path.stem)
        return (int(match.group()) if match else -1, path.stem)

    lists = sorted((folder / "train").glob(f"*{_LIST_SUFFIX}"), key=number_in_name)
    if not lists:
        raise ConfigError(f"{folder}: found no train/*{_LIST_SUFFIX}; expected published lists")
    splits = []
    for path in lists:
        counterpart = folder / "test" / path.name
        if not counterpart.is_file():
            raise ConfigError(f"{path}: found no {counterpart}; expected the unseen labels there")
        seen, unseen = (
            tuple(dict.fromkeys(line.strip() for line in text.splitlines() if line.strip()))
            for text in (file.read_text(encoding="utf-8") for file in (path, counterpart))
        )
        splits.append(LabelSplit(seen, unseen, path.stem, f"published list {folder.name}"))
    return splits


def check_labels(split: LabelSplit, table: ClipTable) -> LabelSplit:
    """The split with its labels as the table writes them: case, spaces and underscores may differ.

    Labels that the table does not show are a `DatasetError`.
    """
    own = {folded(name): name for name in table.label_names()}
    missing = [name for name in (*split.seen, *split.unseen) if folded(name) not in own]
    if missing:
        raise DatasetError(
            f"{table.path}: shows no {', '.join(missing[:_NUM_NAMED])}, which split {split.name} "
            f"({split.origin}) names; labels of the table: {', '.join(list(own.values())[:30])}"
        )
    seen, unseen = (
        tuple(own[folded(name)] for name in names) for names in (split.seen, split.unseen)
    )
    return replace(split, seen=seen, unseen=unseen)


def training_part(table: ClipTable, split: LabelSplit, test: ClipTable) -> ClipTable:
    """Training rows that a split allows, and what they say about its seen labels only.

    Videos with an unseen label are left out, with all their rows, and so are rows whose group
    stands in the test part (films of HMDB51 stand on both sides of its official splits). A seen
    label whose rows all stand in such videos is lost; see `LabelSplit.trained_on`. Where no row
    shows a seen label, it is a `DatasetError`.
    """
    seen, unseen = set(split.seen), set(split.unseen)
    rows = list(zip(table.clip_ids(), table.records, strict=True))
    tainted = {video for video, record in rows if unseen & set(record.labels)}
    of_test = {record.group for record in test.records if record.group}
    kept = []
    for video, record in rows:
        if video not in tainted and record.group not in of_test:
            labels = tuple(name for name in record.labels if name in seen)
            known = seen if record.annotated is None else seen & record.annotated
            kept.append(replace(record, labels=labels, annotated=frozenset({*known, *labels})))
    part = replace(table, records=tuple(record for record in kept if record.has_known_labels))
    if not part.label_names():
        raise DatasetError(
            f"{table.path}: split {split.name} leaves no training row with a seen label: all of "
            "them stand in videos with an unseen one; use another split"
        )
    return part


def check_no_leakage(train: ClipTable, test: ClipTable, split: LabelSplit) -> None:
    """Stop where a model could have learned what it is asked to guess, with a `DatasetError`.

    So it is where an unseen label is shown or annotated in training, or where a test video or its
    group stands in training.
    """
    unseen = set(split.unseen)
    for record in train.records:
        known = unseen & (set(record.labels) | set(record.annotated or unseen))
        if known:
            raise DatasetError(
                f"leakage in split {split.name}: {record.place} of the training part "
                f"({record.relative_path}) tells of the unseen label {sorted(known)[0]}"
            )
    for what, of_train, of_test in (
        ("video", train.clip_ids(), test.clip_ids()),
        ("group", train.group_ids(), test.group_ids()),
    ):
        shared = sorted(set(of_train) & set(of_test))
        if shared:
            raise DatasetError(
                f"leakage in split {split.name}: {len(shared)} {what}s stand in training and in "
                f"test, for instance {shared[0]}; split them apart in the table first"
            )


def mean_and_deviation(values: Sequence[float]) -> tuple[float, float]:
    """Mean and standard deviation (of a sample, n - 1) over splits or seeds; NaN left out."""
    known = [value for value in values if not math.isnan(value)]
    if not known:
        return math.nan, math.nan
    deviation = float(np.std(known, ddof=1)) if len(known) > 1 else 0.0
    return float(np.mean(known)), deviation


def run_split(base: Run, test: ClipTable, split: LabelSplit, name: str) -> dict[str, float]:
    """Metrics of one variant on one split; a finished one is read, not done again.

    ``base`` holds the settings, and the rows of the data set's training part, with all labels;
    ``test`` the rows to score. The labels of ``split`` are as the table writes them, and ``name``
    is one of `VARIANTS`, or `SHUFFLED`. `ConfigError` if the folder holds results of other
    settings, another split or other rows; `DatasetError` if training would tell of an unseen label.
    """
    folder = base.folder / split.name / name
    result = folder / "zero_shot.json"
    train = training_part(base.table, split, test)
    lost = sorted(set(split.seen) - set(train.label_names()))
    if lost:
        _logger.info("no training row left of %s: only in videos with unseen labels", lost)
    split = split.trained_on(train.label_names())
    check_no_leakage(train, test, split)
    everything = LabelSet((*split.seen, *split.unseen))
    run = _run_of(base, train, split, name, folder)
    settings = json.dumps(settings_of(run), sort_keys=True, default=str)
    belongs_to = {
        "variant": name,
        "split": split.to_dict(),
        "settings_digest": hashlib.sha256(settings.encode()).hexdigest()[:16],
        "test_rows_digest": rows_digest(test),
    }
    if result.is_file():
        content = json.loads(result.read_text(encoding="utf-8"))
        other = [key for key, value in belongs_to.items() if content.get(key) != value]
        if other:
            raise ConfigError(
                f"{result}: found results of another {' and '.join(other)}; repeat the call that "
                "made them, or use another --out"
            )
        finished: dict[str, float] = content["figures"]
        return finished
    # Each run writes its own record; dozens of them on the screen would hide the splits.
    model = MSQNet.from_pretrained(fit(run, report=lambda _line: None, resume=folder.exists()))
    if model.config.is_open:
        texts = None if run.arch.label_table is None else read_label_table(run.arch.label_table)
        model.set_labels(list(everything), text_embeddings(model, everything, texts))
    scores = table_scores(model, run, test)
    found = zero_shot_metrics(
        scores.astype(np.float64),
        test.targets(everything).astype(np.float64),
        everything.indices(split.seen),
        everything.indices(split.unseen),
        single_label=run.task == "single_label",
    )
    write_json(result, {**belongs_to, "figures": found})
    return found


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


def _write_other_names(path: Path, labels: LabelSet) -> None:
    """Give each label the words of another one, drawn once for each set of labels.

    A fixed step through the alphabet would not do: "jumping left" could become "running left".
    """
    names = sorted(labels)
    rng = np.random.default_rng(int(LabelSet(tuple(names)).digest, 16))
    order = rng.permutation(len(names))
    # One cycle through the shuffled list: no label keeps its own name.
    other = {
        names[here]: names[there] for here, there in zip(order, np.roll(order, 1), strict=True)
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as part, part.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["name", "description"])
        writer.writerows([name, LabelSet((other[name],)).prompts[0]] for name in names)


def table_scores(model: MSQNet, run: Run, table: ClipTable) -> NDArray[np.float32]:
    """Scores (V, K) of the rows of a table, through stored features where the run keeps them.

    With ``run.cached_views`` the frozen part of the model must still be as it was.
    """
    if not run.cached_views:
        return score_rows(table, TorchBackend(model)).astype(np.float32)
    store = stored_features(model, run, table, augmented=False)
    data = FeatureDataset(store, np.arange(len(table)), torch.zeros(len(table), 0))
    parts = part_logits(model, data, run.train.batch_size)
    share = model.config.query_share if model.query_head is not None else 0.0
    scores: NDArray[np.float32] = model.scores(
        torch.from_numpy(joined_logits(parts, share))
    ).numpy()
    return scores


def summary_rows(
    results: dict[str, list[dict[str, float]]], names: Sequence[str]
) -> list[dict[str, Any]]:
    """Mean and standard deviation over splits of the metrics by variant, one row a variant."""
    rows = []
    for name in names:
        row: dict[str, Any] = {"variant": name, "num_splits": len(results[name])}
        for key in results[name][0]:
            mean, deviation = mean_and_deviation([one[key] for one in results[name]])
            row[key], row[f"{key}_sd"] = mean, deviation
        rows.append(row)
    return rows
