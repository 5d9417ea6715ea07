"""Parts of a model that are fitted to rows without gradient descent.

Before training: the statistics of the video query, and a regularised linear fit of the path from it
to the scores. Linear probing first, then training the rest (Kumar et al. 2022, arXiv:2202.10054);
the fit is convex, so it has one answer, whatever the seed. After training: calibration and
thresholds on held-out rows, and the reference of the out-of-distribution score.
"""

from __future__ import annotations

import json
import logging
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from msqnet.data.splits import grouped_folds, grouped_validation_split
from msqnet.errors import ConfigError, DatasetError, ShapeError
from msqnet.files import write_json
from msqnet.labels import UNKNOWN
from msqnet.metrics.average_precision import average_precision, macro_map
from msqnet.metrics.calibration import PlattScaling, best_thresholds, fit_platt
from msqnet.metrics.evidence import MIN_PRECISION, label_evidence
from msqnet.model.decoder import VideoQueryHead
from msqnet.model.out_of_distribution import (
    TrainingReference,
    actors_of_labels,
    clip_embeddings,
    rows_of_actors,
    spread_over_groups,
)
from msqnet.models.taught import Background
from msqnet.training.trainer import batch_outputs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from msqnet.model.configuration import MSQNetConfig
    from msqnet.model.pretrained import MSQNet
    from msqnet.training.training_run import Run

_logger = logging.getLogger(__name__)
NOT_SCORABLE = (
    "each label is in one group only, or in every row that is known: add recordings, named in "
    "'group', and rows that lack the label"
)
"""Why held-out rows give no average precision of any label, and what helps."""

# Cosine distance of the embeddings of one window, up to rounding; other recordings are above 0.1.
_SAME_WINDOW = 1e-3
_QUERY_SHARES = (0.0, 0.25, 0.5, 0.75, 0.9, 1.0)

Part = tuple[np.ndarray, np.ndarray]
"""Rows to train on, and rows held out."""
# Where nothing is stored each row is decoded once more: enough for the quantiles, soon done.
_MAX_ROWS = 2000
# On training rows of the many-actor benchmark, 256 windows taught labels as well as all.
_MAX_BACKGROUND = 256


def balanced_weights(targets: Tensor) -> Tensor:
    """Weights under which positives and negatives of a label weigh the same; 0 where unknown.

    (N, K) float32 that sums to the number of known rows in each column; 0 in columns that lack a
    positive or a negative.
    """
    positive, negative = targets == 1, targets == 0
    num_positive, num_negative = positive.sum(dim=0), negative.sum(dim=0)
    num_known = num_positive + num_negative
    weights = positive * (num_known / (2 * num_positive.clamp(min=1)))
    weights = weights + negative * (num_known / (2 * num_negative.clamp(min=1)))
    return torch.where((num_positive > 0) & (num_negative > 0), weights, 0.0).float()


def fit_linear(
    queries: Tensor,
    targets: Tensor,
    strength: float,
    num_views: int = 1,
    *,
    one_label: bool = False,
    start: tuple[Tensor, Tensor] | None = None,
) -> tuple[Tensor, Tensor]:
    """One balanced logistic regression per label, over the rows where it is known.

    Minimises |U_k - start_k|^2 / 2 + (strength / num_views) * sum of weighted log losses for every
    label k. Labels without a positive or a negative keep ``start``. With ``one_label``, which every
    row then has, it is one softmax regression, in which the rows of each label weigh the same
    together.

    Args:
        queries: (N, D'') float32, normalized; other numbers of rows than of ``targets``, or none,
            are a `ShapeError`.
        targets: (N, K) of 1, 0 and -100.
        strength: C, the inverse of the regularisation.
        num_views: rows that each stand for the same window.
        start: U (K, D'') and c (K,) that the rows have to argue against; zeros by default.

    Returns:
        U (K, D'') and c (K,), float32.
    """
    if len(queries) != len(targets) or not len(queries):
        raise ShapeError(f"{len(queries)} queries for {len(targets)} rows of targets")
    wanted = targets.clamp(min=0).float()
    if one_label:
        num_rows = wanted.sum(dim=0)
        balance = len(wanted) / ((num_rows > 0).sum() * num_rows.clamp(min=1))  # (K,)
        weights = (wanted @ balance) * (strength / num_views)  # (N,)
    else:
        weights = balanced_weights(targets) * (strength / num_views)
    known = 0.0 if start is None else F.linear(queries, *start)  # the rest of the logits is fitted
    basis = None
    if len(queries) < queries.shape[1]:
        # The best weights are sums of rows: their coordinates are fewer, and all that is searched.
        with _one_thread():
            basis, factor = torch.linalg.qr(queries.T)  # (D'', N) orthonormal, (N, N)
        queries = factor.T.contiguous()
    weight = torch.zeros(targets.shape[1], queries.shape[1], requires_grad=True)
    bias = torch.zeros(targets.shape[1], requires_grad=True)
    optimiser = torch.optim.LBFGS(
        [weight, bias],
        max_iter=200,
        tolerance_grad=1e-5,
        tolerance_change=1e-9,
        line_search_fn="strong_wolfe",
    )

    def objective() -> Tensor:
        optimiser.zero_grad()
        logits = F.linear(queries, weight, bias) + known
        if one_label:
            terms = (F.cross_entropy(logits, wanted, reduction="none") * weights).sum()
        else:
            terms = F.binary_cross_entropy_with_logits(logits, wanted, weights, reduction="sum")
        value = terms + weight.square().sum() / 2
        value.backward()
        return value

    with _one_thread():
        optimiser.step(objective)
    fitted = weight.detach() if basis is None else weight.detach() @ basis.T
    if start is None:
        return fitted, bias.detach()
    return start[0] + fitted, start[1] + bias.detach()


@contextmanager
def _one_thread() -> Iterator[None]:
    """Thousands of products of small matrices: threads would wait for each other most of the time.

    Where another program wants the cores too, two threads took up to a hundred times as long.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def normalize_query(model: MSQNet, queries: Tensor, scene_weight: float = 1.0) -> None:
    """Set the statistics with which the model normalizes its video query.

    ``queries`` are (N, D'') float32 of the training rows, as `MSQNet.clip_query` gives them.
    Constant features are divided by 1. Those of the encoder's ``scene`` get the deviation
    ``scene_weight``.
    A `VideoQueryHead` that was fitted before stays the same function of the query.
    """
    known = queries.double()
    if model.audio_encoder is not None:  # rows without sound, NaN, do not count
        mean = known.nanmean(dim=0).nan_to_num(0.0)
        known = torch.where(known.isnan(), mean, known)
        share = (~queries.isnan()).double().mean(dim=0).clamp(min=1 / len(queries))
        deviation = known.std(dim=0, correction=0) / share.sqrt()
    else:
        mean, deviation = known.mean(dim=0), known.std(dim=0, correction=0)
    deviation = torch.where(deviation > 1e-6, deviation, 1.0)
    if model.video_encoder.scene is not None:
        deviation[model.video_encoder.scene] /= scene_weight
    head = model.query_head
    if isinstance(head, VideoQueryHead):
        shift = (mean.to(model.query_mean) - model.query_mean) / model.query_std
        with torch.no_grad():
            head.bias.add_(head.weight @ shift)
            head.weight.mul_(deviation.to(model.query_std) / model.query_std)
    model.query_mean.copy_(mean)
    model.query_std.copy_(deviation)


def fit_query_head(
    model: MSQNet,
    queries: Tensor,
    targets: Tensor,
    strength: float,
    num_views: int,
    *,
    apart: bool = False,
) -> None:
    """Fit the model's `query_head` to training rows, from what it is, and freeze it.

    In a new model it is zero; in one that starts from another, labels of the same name keep what
    that one knows, as far as the rows do not speak against it. With ``apart``, a new one is the
    mean of a fit to whole frames and one to motion crops, where the encoder sees both. The
    statistics of the video query must be set (`normalize_query`). Other arguments are those of
    `fit_linear`, but the queries are as `MSQNet.clip_query` gives them. Targets other than 1, 0 and
    -100 are a `ShapeError`, a model without a `VideoQueryHead` a `ConfigError`.
    """
    if not ((targets == UNKNOWN) | (targets == 0) | (targets == 1)).all():
        raise ShapeError("targets: expected 1, 0 and -100 only")
    if not isinstance(model.query_head, VideoQueryHead):
        raise ConfigError("there is no path from the video query to the scores to fit")
    normalized: Any = model.normalized(queries.to(model.query_mean))
    one_label = model.config.task == "single_label"
    head = model.query_head
    start = head.weight.detach().cpu(), head.bias.detach().cpu()
    queries = normalized.cpu()
    views = [torch.ones(queries.shape[1])]
    scene = model.video_encoder.scene
    if apart and scene is not None and not head.weight.any():
        # Fitted together, whole frames are hardly asked where motion crops tell the rows apart, and
        # it is they that carry over to other kinds of actors.
        whole_frames = torch.zeros_like(views[0])
        whole_frames[scene] = 1.0
        views = [whole_frames, 1.0 - whole_frames]
    fits = [
        fit_linear(queries * view, targets, strength, num_views, one_label=one_label, start=start)
        for view in views
    ]
    with torch.no_grad():
        head.weight.copy_(torch.stack([weight for weight, _ in fits]).mean(dim=0))
        head.bias.copy_(torch.stack([bias for _, bias in fits]).mean(dim=0))
    model.query_head.requires_grad_(False)


def partition(run: Run) -> list[Part]:
    """The folds, or the one validation part; rows of a group stay together."""
    if not run.train.folds:
        if not run.train.validation_share:
            return [(np.arange(len(run.table)), np.zeros(0, np.int64))]
        share, seed = run.train.validation_share, run.train.seed
        return [grouped_validation_split(run.table, run.labels, share=share, seed=seed)]
    num_groups = len(set(run.table.group_ids()))
    if num_groups < 2:
        raise DatasetError(
            f"{run.table.path}: all {len(run.table)} row(s) are of one group, so that none can be "
            "held out from it; name recordings, subjects or scenes in the column 'group', or train "
            "without a test of the scores: --train.folds 0 --train.validation-share 0"
        )
    num_folds = max(2, min(run.train.folds, num_groups))
    if num_folds < run.train.folds:
        _logger.warning(
            "%d groups of clips: %d folds, not %d", num_groups, num_folds, run.train.folds
        )
    fold_of = grouped_folds(run.table, run.labels, num_folds=num_folds, seed=run.train.seed)
    return [
        (np.flatnonzero(fold_of != fold), np.flatnonzero(fold_of == fold))
        for fold in range(num_folds)
    ]


@dataclass(frozen=True)
class HeldOut:
    """Logits of rows by models that were not trained on them.

    Attributes:
        rows: (V,) positions in the table.
        parts: (2, V, K) logits, see `part_logits`.
        targets: (V, K) of 1, 0 and -100, see `scorable_targets`.
        direct_alone: whether the path from the video query is all that is trained.
        keeps_start: whether that path starts from what another model knows, where there is one.
    """

    rows: np.ndarray
    parts: np.ndarray
    targets: np.ndarray
    direct_alone: bool = False
    keeps_start: bool = True

    @property
    def is_scorable(self) -> bool:
        """Whether there is a label with rows that show it and rows that lack it."""
        return bool(((self.targets == 1).any(axis=0) & (self.targets == 0).any(axis=0)).any())

    def macro_map(self, share: float) -> float:
        """With this share of the direct path, 0 where it is not defined."""
        found = macro_map(average_precision(joined_logits(self.parts, share), self.targets))
        return float(np.nan_to_num(found))


def gain_over_direct(held_out: HeldOut, alone: HeldOut) -> float:
    """What the decoder adds to the macro mAP of the direct path alone, at its best share."""
    return max(map(held_out.macro_map, _QUERY_SHARES)) - alone.macro_map(1.0)


def scorable_targets(run: Run, train_rows: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Targets of held-out rows; unknown where the model that scored them never saw the label.

    A label that lives in one group has no positive left to train on while that group is held out.
    Its logits there say nothing of the finished model, which did see it.
    """
    targets: np.ndarray = run.targets[rows].copy()
    never_seen = ~(run.targets[train_rows] == 1).any(axis=0)
    targets[:, never_seen] = UNKNOWN
    return targets


def seen_before(
    run: Run, model: MSQNet, rows_as_data: Callable[[np.ndarray], Any]
) -> tuple[np.ndarray, list[int]]:
    """What the model that a run starts from has seen: rows (V,) bool, and its labels' columns.

    Rows are told by their embeddings, which the model at its start shares with that one; arguments
    are those of `training_reference`. Without a reference there, none counts as seen.
    """
    seen, columns = np.zeros(len(run.table), bool), list[int]()
    reference = None if run.init_from is None else TrainingReference.load(Path(run.init_from))
    if run.init_from is None or reference is None:
        return seen, columns
    known = json.loads((Path(run.init_from) / "config.json").read_bytes())["labels"]
    columns = [column for column, name in enumerate(run.labels) if name in known]
    if columns:
        model.config.compares_appearance = _compares_appearance(model)
        embeddings = _embeddings(run, model, rows_as_data(np.arange(len(run.table))))
        seen = reference.distance(embeddings) < _SAME_WINDOW
    return seen, columns


def joined_logits(parts: np.ndarray, share: float) -> np.ndarray:
    """(2, V, K) logits of the parts to (V, K), with the share of the direct path."""
    joined: np.ndarray = (1 - share) * parts[0] + share * parts[1]
    return joined


def describe_training(run: Run, model: MSQNet) -> None:
    """Write into the configuration what the model was trained on."""
    config = model.config
    known = run.targets
    config.train_positive_windows = (known == 1).sum(axis=0).tolist()
    config.train_negative_windows = (known == 0).sum(axis=0).tolist()
    config.window_seconds, _ = run.window
    config.provenance = run.provenance
    config.compares_appearance = _compares_appearance(model)


def _compares_appearance(model: MSQNet) -> bool:
    return model.video_encoder.appearance is not None and model.config.video_query == "trunk"


def _calibrated(config: MSQNetConfig, logits: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """(V, K) scores; Platt scaling and thresholds go into the configuration.

    There is one scaling for all labels of an open vocabulary: a label that is asked for later has
    no held-out rows, so it must do with what holds for all.
    """
    if config.is_open:
        shared = fit_platt(logits.reshape(-1, 1), targets.reshape(-1, 1))
        scale, bias = (np.full(logits.shape[1], part[0]) for part in (shared.scale, shared.bias))
    else:
        each = fit_platt(logits, targets)
        scale, bias = each.scale, each.bias
    scores: np.ndarray = PlattScaling(scale, bias).apply(logits)
    config.calibration_scale, config.calibration_bias = scale.tolist(), bias.tolist()
    # Without a bound, the best F1 of a label that cannot be told is reached by flagging everything.
    found = best_thresholds(scores, targets, min_precision=MIN_PRECISION)
    config.thresholds = np.nan_to_num(found, nan=0.5).tolist()
    return scores


def calibrate_and_describe(
    run: Run, model: MSQNet, held_out: HeldOut, report: Callable[[str], None]
) -> dict[str, Any]:
    """Weigh the parts, calibrate, set thresholds on held-out rows, and write the results.

    Returns what can be reported of them: metrics by name, None where they are not defined.
    """
    parts, targets = held_out.parts, held_out.targets
    config = model.config
    describe_training(run, model)
    if held_out.direct_alone:
        config.query_share = 1.0
    elif model.query_head is not None:  # the share that ranks held-out rows best
        values = {share: held_out.macro_map(share) for share in _QUERY_SHARES}
        config.query_share = max(values, key=lambda share: values[share])
        shown = ", ".join(f"{share:g}: {value:.3f}" for share, value in values.items())
        report(f"macro mAP by share of the direct path: {shown}")
    logits = joined_logits(parts, config.query_share)
    is_calibrated = run.task == "multi_label" or config.is_open
    if is_calibrated:
        scores = _calibrated(config, logits, targets)
    else:
        scores = torch.from_numpy(logits).softmax(dim=1).numpy()
    groups = run.table.group_ids()
    evidence = label_evidence(scores, targets, [groups[row] for row in held_out.rows])
    config.evidence = [asdict(item) for item in evidence]
    for name, item in zip(run.labels, evidence, strict=True):
        if item.status != "reliable":
            report(f"{name}: {item.status}, in no segment by default: {item.reason}")
    precision = average_precision(logits, targets)
    not_calibrated = [
        name
        for name, column in zip(run.labels, targets.T, strict=True)
        if not (column == 1).any() or not (column == 0).any()
    ]
    summary: dict[str, Any] = {
        "what": "cross-validation by groups inside the training rows"
        if run.train.folds
        else "validation part of the training rows, kept apart by groups; chose the epoch",
        "num_rows": len(held_out.rows),
        "query_share": config.query_share,
        "macro_map": _or_none(macro_map(precision)),
        "label_ap": {
            name: _or_none(value) for name, value in zip(run.labels, precision, strict=True)
        },
        "not_calibrated": not_calibrated,
    }
    np.savez(run.folder / "validation.npz", rows=held_out.rows, parts=parts, targets=targets)
    write_json(run.folder / "validation.json", summary)
    of_rows = f"on {len(held_out.rows)} rows ({summary['what']})"
    if summary["macro_map"] is None:
        report(f"macro mAP: none {of_rows}; {NOT_SCORABLE}")
    else:
        report(f"macro mAP {summary['macro_map']} {of_rows}")
    if not_calibrated and is_calibrated:
        names = ", ".join(not_calibrated)
        report(f"not calibrated, threshold 0.5 (held-out rows do not tell): {names}")
    by_label = {f"ap/{name}": value for name, value in summary["label_ap"].items()}
    return {
        **{name: summary[name] for name in ("macro_map", "query_share", "num_rows")},
        **by_label,
    }


def _or_none(value: float) -> float | None:
    return None if np.isnan(value) else round(float(value), 4)


def training_reference(
    run: Run, model: MSQNet, rows_as_data: Callable[[np.ndarray], Any]
) -> TrainingReference | None:
    """Reference of the out-of-distribution score: embeddings of the training rows.

    Very many rows are thinned out evenly over their groups. ``rows_as_data`` gives a data set of
    unchanged clips, or their stored features, of some rows. None where all rows are of one group.
    """
    groups, videos = run.table.group_ids(), run.table.clip_ids()
    actors = [record.actor for record in run.table.records]
    own = rows_of_actors(run.targets, groups)
    if len({groups[row] for row in own}) < 2:
        return None
    chosen = spread_over_groups([groups[row] for row in own], _MAX_ROWS, run.train.seed)
    rows = np.asarray(own)[chosen]
    return TrainingReference.fit(
        _embeddings(run, model, rows_as_data(rows)),
        [videos[row] for row in rows],
        [groups[row] for row in rows],
        is_centred=not model.config.compares_appearance,
        actors=[actors[row] for row in rows],
        label_actors=actors_of_labels(run.targets[own], [actors[row] for row in own], run.labels),
    )


def teaching_background(
    run: Run, model: MSQNet, rows_as_data: Callable[[np.ndarray], Any]
) -> Background | None:
    """Features of training rows, against which `msqnet teach` tells further labels.

    Arguments are those of `training_reference`, and the rows some of its rows, as evenly over their
    groups as can be. None where the features cannot be had of the model's outputs.
    """
    groups = run.table.group_ids()
    own = rows_of_actors(run.targets, groups)
    if not own or (model.video_encoder.pooled_width and model.config.video_query != "trunk"):
        return None
    chosen = spread_over_groups([groups[row] for row in own], _MAX_BACKGROUND, run.train.seed)
    data = rows_as_data(np.asarray(own)[chosen])
    outputs = batch_outputs(model, data, run.train.batch_size, num_workers=run.train.num_workers)
    parts = []
    for item in outputs:
        if model.video_encoder.pooled_width:
            found = model.raw_video_query(item.video_query)
        else:
            found = F.normalize(clip_embeddings(model, item), dim=-1)
        parts.append(found.float().cpu().numpy())
    return Background.fit(np.concatenate(parts))


def _embeddings(run: Run, model: MSQNet, data: Any) -> np.ndarray:
    outputs = batch_outputs(model, data, run.train.batch_size, num_workers=run.train.num_workers)
    found = [clip_embeddings(model, item).cpu().numpy() for item in outputs]
    joined: np.ndarray = np.concatenate(found)
    return joined
