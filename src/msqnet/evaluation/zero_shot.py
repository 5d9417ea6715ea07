"""Zero-shot protocol: which labels are seen, what leaks, the figures. Nothing is trained here.

Videos with unseen labels never enter training. Generalised figures ask for seen and unseen labels
together; H is their harmonic mean (Xian et al. 2017, arXiv:1707.00600).
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from msqnet.errors import ConfigError, DatasetError
from msqnet.metrics.average_precision import average_precision, macro_map
from msqnet.predictions import replacing

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from msqnet.data.records import ClipTable, Record
    from msqnet.labels import LabelSet

_LIST_SUFFIX = ".list"
_MIN_LABELS = 2
_NUM_NAMED = 5


@dataclass(frozen=True)
class LabelSplit:
    """Which labels a model may be trained on.

    Attributes:
        seen: labels of training.
        unseen: labels that are only asked for afterwards.
        name: of the split, for tables.
        origin: where it is from: "random, seed 3", or the file of a published list.

    Raises:
        ConfigError: a label on both sides, or none on one side.
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
        return {
            "name": self.name,
            "origin": self.origin,
            "seen": list(self.seen),
            "unseen": list(self.unseen),
        }


def random_splits(
    labels: Sequence[str], *, seen_share: float, num_splits: int, seed: int = 0
) -> list[LabelSplit]:
    """Seeded random splits; the n-th does not depend on how many are made.

    Args:
        labels: all labels.
        seen_share: of the labels that are seen, in (0, 1); rounded to whole labels.
        num_splits: how many.
        seed: of the draws.

    Raises:
        ConfigError: too few labels, or a share that leaves one side empty.
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
        seen = sorted(names[index] for index in order[:num_seen])
        unseen = sorted(names[index] for index in order[num_seen:])
        origin = f"random, seed {seed}, number {number}, {seen_share:g} seen"
        splits.append(LabelSplit(tuple(seen), tuple(unseen), f"split_{number}", origin))
    return splits


def write_splits(splits: Sequence[LabelSplit], path: Path) -> None:
    """One JSON file with all splits, replaced at once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as part:
        part.write_text(json.dumps([s.to_dict() for s in splits], indent=2) + "\n", "utf-8")


def read_splits(path: Path) -> list[LabelSplit]:
    """Splits from a file of `write_splits`, or published lists.

    Args:
        path: a JSON file, or a folder with ``train/NAME.list`` and ``test/NAME.list``, one label a
            line (as published with STALE, Nag et al. 2022).

    Raises:
        ConfigError: nothing of the kind is there, or a list without its counterpart.
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
    lists = sorted((folder / "train").glob(f"*{_LIST_SUFFIX}"), key=_number_in_name)
    if not lists:
        raise ConfigError(f"{folder}: found no train/*{_LIST_SUFFIX}; expected published lists")
    splits = []
    for path in lists:
        counterpart = folder / "test" / path.name
        if not counterpart.is_file():
            raise ConfigError(f"{path}: found no {counterpart}; expected the unseen labels there")
        seen, unseen = _lines(path), _lines(counterpart)
        splits.append(LabelSplit(seen, unseen, path.stem, f"published list {folder.name}"))
    return splits


def _number_in_name(path: Path) -> tuple[int, str]:
    match = re.search(r"\d+", path.stem)
    return (int(match.group()) if match else -1, path.stem)


def _lines(path: Path) -> tuple[str, ...]:
    lines = path.read_text(encoding="utf-8").splitlines()
    return tuple(dict.fromkeys(line.strip() for line in lines if line.strip()))


def check_labels(split: LabelSplit, table: ClipTable) -> LabelSplit:
    """The split with its labels as the table writes them: case, spaces and underscores may differ.

    Raises:
        DatasetError: labels that the table does not show.
    """
    own = {_plain_name(name): name for name in table.label_names()}
    missing = [name for name in (*split.seen, *split.unseen) if _plain_name(name) not in own]
    if missing:
        raise DatasetError(
            f"{table.path}: shows no {', '.join(missing[:_NUM_NAMED])}, which split {split.name} "
            f"({split.origin}) names; labels of the table: {', '.join(list(own.values())[:30])}"
        )
    seen, unseen = (
        tuple(own[_plain_name(name)] for name in names) for names in (split.seen, split.unseen)
    )
    return replace(split, seen=seen, unseen=unseen)


def _plain_name(name: str) -> str:
    return re.sub(r"[\s_-]+", "", name).lower()


def training_part(table: ClipTable, split: LabelSplit, test: ClipTable) -> ClipTable:
    """Training rows that a split allows, and what they say about its seen labels only.

    Videos with an unseen label are left out, with all their rows, and so are rows whose group
    stands in the test part (films of HMDB51 stand on both sides of its official splits).

    Args:
        table: the rows of the data set's training part.
        split: which labels are seen.
        test: the rows that will be scored.

    Returns:
        The rows. A seen label whose rows all stand in such videos is not in them; see
        `LabelSplit.trained_on`.

    Raises:
        DatasetError: no row shows a seen label.
    """
    unseen = set(split.unseen)
    videos = table.clip_ids()
    tainted = {
        video
        for video, record in zip(videos, table.records, strict=True)
        if unseen & set(record.labels)
    }
    of_test = {record.group for record in test.records if record.group}
    kept = [
        _seen_only(record, split)
        for video, record in zip(videos, table.records, strict=True)
        if video not in tainted and record.group not in of_test
    ]
    part = replace(table, records=tuple(record for record in kept if record.has_known_labels))
    if not part.label_names():
        raise DatasetError(
            f"{table.path}: split {split.name} leaves no training row with a seen label: all of "
            "them stand in videos with an unseen one; use another split"
        )
    return part


def _seen_only(record: Record, split: LabelSplit) -> Record:
    seen = set(split.seen)
    known = seen if record.annotated is None else seen & set(record.annotated)
    labels = tuple(name for name in record.labels if name in seen)
    return replace(record, labels=labels, annotated=frozenset(known) | frozenset(labels))


def check_no_leakage(train: ClipTable, test: ClipTable, split: LabelSplit) -> None:
    """Stop where a model could have learned what it is asked to guess.

    Args:
        train: the rows that the model is trained on.
        test: the rows that it is scored on.
        split: which labels are unseen.

    Raises:
        DatasetError: an unseen label is shown or annotated in training, or a test video or its
            group stands in training.
    """
    unseen = set(split.unseen)
    for record in train.records:
        known = unseen & (set(record.labels) | set(record.annotated or unseen))
        if known:
            raise DatasetError(
                f"leakage in split {split.name}: row {record.row} of the training part "
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


def figures(
    scores: NDArray[np.floating[Any]],
    targets: NDArray[np.floating[Any]],
    labels: LabelSet,
    split: LabelSplit,
    *,
    single_label: bool,
) -> dict[str, float]:
    """Zero-shot and generalised figures of one split.

    Single-label sets: top-1 accuracy; ``unseen`` among the unseen labels over rows that show one,
    ``generalised_*`` among all labels. Multi-label sets: macro mAP over all rows. There the score
    of a label does not depend on the labels asked for beside it, so ``generalised_unseen`` is
    ``unseen``; the harmonic mean with the seen labels is what the generalised setting adds.

    Args:
        scores: (V, K), the test rows.
        targets: (V, K) of 1, 0 and -100.
        labels: the K labels.
        split: seen and unseen ones.
        single_label: whether each row shows one label.

    Returns:
        ``unseen``, ``chance_unseen``, ``generalised_seen``, ``generalised_unseen``, ``harmonic``;
        NaN where a side has nothing to score. Chance is an answer that ignores the video: one of
        the unseen labels at random, or a constant score (its AP is the share of positives).
    """
    seen, unseen = labels.indices(split.seen), labels.indices(split.unseen)
    if single_label:
        found = _top_1_figures(scores, targets, seen, unseen)
    else:
        found = _map_figures(scores, targets, seen, unseen)
    return found | {"harmonic": _harmonic(found["generalised_seen"], found["generalised_unseen"])}


def _top_1_figures(
    scores: NDArray[Any], targets: NDArray[Any], seen: list[int], unseen: list[int]
) -> dict[str, float]:
    def accuracy(shown: list[int], asked: list[int]) -> float:
        rows = (targets[:, shown] == 1).any(axis=1)
        if not rows.any():
            return math.nan
        best = np.asarray(asked)[scores[np.ix_(rows, asked)].argmax(axis=1)]
        return float((targets[rows, best] == 1).mean())

    everything = [*seen, *unseen]
    return {
        "unseen": accuracy(unseen, unseen),
        "chance_unseen": 1 / len(unseen),
        "generalised_seen": accuracy(seen, everything),
        "generalised_unseen": accuracy(unseen, everything),
    }


def _map_figures(
    scores: NDArray[Any], targets: NDArray[Any], seen: list[int], unseen: list[int]
) -> dict[str, float]:
    precision = average_precision(scores, targets)
    constant = average_precision(np.zeros_like(scores), targets)
    of_unseen = macro_map(precision[unseen])
    return {
        "unseen": of_unseen,
        "chance_unseen": macro_map(constant[unseen]),
        "generalised_seen": macro_map(precision[seen]),
        "generalised_unseen": of_unseen,
    }


def _harmonic(first: float, second: float) -> float:
    if math.isnan(first) or math.isnan(second) or first + second == 0:
        return math.nan
    return 2 * first * second / (first + second)


def mean_and_deviation(values: Sequence[float]) -> tuple[float, float]:
    """Mean and standard deviation (of a sample, n - 1) over splits or seeds; NaN left out."""
    known = [value for value in values if not math.isnan(value)]
    if not known:
        return math.nan, math.nan
    deviation = float(np.std(known, ddof=1)) if len(known) > 1 else 0.0
    return float(np.mean(known)), deviation
