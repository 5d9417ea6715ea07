"""Losses over known labels: each one a function and its options, registered by name.

A loss gives terms; `ActionLoss` averages them over what is known in the global batch, so that
neither the batch size, the number of ranks nor the steps of accumulation changes the result. The
terms of a multi-label loss are cells; those of a single-label loss are rows, in which only known
labels compete. A weighted term counts as one, whatever its weight.

Everything is computed in float32. Powers of probabilities are taken as exponentials of their
logarithms, whose gradients stay finite where the probability itself rounds to 0 or 1.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from msqnet.config import LossConfig
from msqnet.errors import ConfigError, ShapeError, check
from msqnet.labels import UNKNOWN

if TYPE_CHECKING:
    import numpy as np

    from msqnet.model.msqnet import MSQNetOutput

# A count of 0 stands for this many rows under a logarithm.
_SMALLEST_COUNT = 0.5
# A power below 1 has an infinite slope at 0.
_SMALLEST_PROBABILITY = 1e-12
# The logit of an unknown label. Infinity would make a row of nothing else NaN.
_LOWEST = torch.finfo(torch.float32).min

LossFunction = Callable[..., Tensor]
"""``loss(logits, targets, counts, **options)`` -> terms.

Args:
    logits: (B, K) float of any precision.
    targets: (B, K) float: 1, 0, or -100 where nothing is known.
    counts: `LabelCounts` of the training rows.
    options: keyword-only parameters with defaults; the function refuses values out of range.

Returns:
    float32, (B, K) for the task "multi_label", (B,) for "single_label". Terms of unknown cells, and
    of rows without a known label, may hold anything finite: they are left out of the mean.
"""

LOSSES: dict[tuple[str, str], LossFunction] = {}
"""The losses by task ("multi_label" or "single_label") and name (`LossConfig.name`)."""


def register(name: str, task: str) -> Callable[[LossFunction], LossFunction]:
    """Offer the decorated function as a loss; one name may stand for a loss of each task."""

    def add(function: LossFunction) -> LossFunction:
        check((task, name) not in LOSSES, f"loss {name!r} of {task} is taken; choose another name")
        LOSSES[task, name] = function
        return function

    return add


def loss_options(function: LossFunction) -> dict[str, float | None]:
    """The options of a loss with their defaults."""
    parameters = inspect.signature(function).parameters.values()
    return {item.name: item.default for item in parameters if item.kind is item.KEYWORD_ONLY}


@dataclass(frozen=True)
class LabelCounts:
    """Training rows that are known to show each label, and known not to: (K,) float64 each."""

    positives: Tensor
    negatives: Tensor

    @classmethod
    def of(cls, targets: np.ndarray) -> LabelCounts:
        """Count the rows of each label in targets (V, K) of 1, 0 and -100."""
        rows = torch.from_numpy(targets)
        return cls((rows == 1).sum(dim=0).double(), (rows == 0).sum(dim=0).double())

    @property
    def shares(self) -> Tensor:
        """(K,) float64 known positives / known rows; 0 where nothing is known."""
        return self.positives / (self.positives + self.negatives).clamp(min=1)

    def positive_weight(self, maximum: float) -> Tensor:
        """(K,) float32 known negatives / known positives, between 1 and the maximum."""
        return (self.negatives / self.positives.clamp(min=1)).clamp(1.0, maximum).float()

    @property
    def log_prior(self) -> Tensor:
        """(K,) float32 log of known positives: the log prior but for a constant of all labels."""
        return self.positives.clamp(min=_SMALLEST_COUNT).log().float()

    @property
    def log_prior_odds(self) -> Tensor:
        """(K,) float32 log of known positives / known negatives."""
        negatives = self.negatives.clamp(min=_SMALLEST_COUNT)
        return (self.positives.clamp(min=_SMALLEST_COUNT) / negatives).log().float()

    def effective_number_weight(self, beta: float) -> Tensor:
        """(K,) float32 weight of each label by the effective number of its rows.

        w_k = (1 - beta) / (1 - beta^n_k), scaled to a mean of 1 (Cui et al. 2019, arXiv:1901.05555)

        A beta of 0 weighs all labels alike; towards 1 the weight goes to 1 / n_k. The paper weighs
        rows of one label each. With several labels in a row the weight is that of the label's own
        terms, positive and negative ones (as Huang et al. 2021, arXiv:2109.04712). Labels without a
        positive row have no effective number: they keep a weight of 1.
        """
        check(0 <= beta < 1, f"loss class_balanced: beta {beta}: expected [0, 1)")
        has_rows = self.positives > 0
        weight = (1 - beta) / (1 - beta ** self.positives.clamp(min=1))
        mean = weight[has_rows].mean() if has_rows.any() else torch.ones(())
        return torch.where(has_rows, weight / mean, 1.0).float()


class ActionLoss:
    """The training loss: that of each part of the logits, averaged over the parts.

    The decoder and the path straight from the video query are each trained to answer alone;
    otherwise the linear path, which fits a small training set at once, would leave the decoder
    nothing to learn. Single-label losses take no notice of `TrainConfig.class_balance`. A loss of
    the other task, or an option that it lacks or that is out of range, is a `ConfigError`.
    """

    def __init__(
        self, task: str, config: LossConfig, counts: LabelCounts, class_balance: str = "none"
    ):
        function = _chosen_loss(task, config)
        options = dict(config.options)
        if class_balance == "inverse" and task == "multi_label":
            options.setdefault("max_positive_weight", 10.0)
        self._terms = partial(function, **options)
        self._counts = counts
        self._is_single = task == "single_label"
        # Options out of range are refused now, not after the features have been computed.
        nothing = torch.zeros(1, len(counts.positives))
        self.mean(nothing, nothing)

    def mean(
        self, logits: Tensor, targets: Tensor, num_known: Tensor | int | None = None
    ) -> Tensor:
        """Sum of the known terms / their number in the global batch; () float32, 0 without any.

        Logits and targets are (B, K) float, the latter 1, 0, or -100 where nothing is known; other
        shapes are a `ShapeError`. By default the known terms of these targets divide.
        """
        if logits.shape != targets.shape:
            raise ShapeError(
                f"logits {tuple(logits.shape)} and targets {tuple(targets.shape)} differ"
            )
        terms = self._terms(logits, targets, self._counts)
        is_known = (label_columns(targets) if self._is_single else targets) != UNKNOWN
        count = is_known.sum() if num_known is None else num_known
        total = torch.where(is_known, terms, 0.0).sum()
        return total / (count.clamp(min=1) if isinstance(count, Tensor) else max(count, 1))

    def __call__(
        self, outputs: MSQNetOutput, labels: Tensor, num_items_in_batch: Tensor | int | None = None
    ) -> Tensor:
        """The signature of `Trainer`'s ``compute_loss_func``; see `mean`."""
        parts = [outputs["decoder_logits"]]
        if "query_logits" in outputs:  # a model output holds what is not None
            parts.append(outputs["query_logits"])
        return torch.stack([self.mean(part, labels, num_items_in_batch) for part in parts]).mean()


def plain_loss(task: str, outputs: MSQNetOutput, labels: Tensor) -> Tensor:
    """Cross-entropy over what is known, as `ActionLoss` with its defaults; () float32.

    Labels are (B, K) of 1, 0 and -100 for unknown; of single-label models also (B,) integers, the
    column of each clip's label or -100. Others are a `ShapeError`: -1 would pass for "absent".
    """
    logits = outputs["logits"]
    labels, num_labels = labels.to(logits.device), logits.shape[1]
    if labels.ndim == 1 and task == "single_label":
        columns = torch.arange(num_labels, device=logits.device)
        is_known = labels != UNKNOWN
        if not (is_known.logical_not() | ((labels >= 0) & (labels < num_labels))).all():
            raise ShapeError(
                f"labels: found columns {labels.tolist()}, expected 0 to {num_labels - 1}, or "
                f"{UNKNOWN} for unknown"
            )
        matches = (labels[:, None] == columns).float()  # (B,) -> (B, K)
        labels = torch.where(is_known[:, None], matches, float(UNKNOWN))
    if labels.shape != logits.shape:
        raise ShapeError(f"labels: found {tuple(labels.shape)}, expected {tuple(logits.shape)}")
    if not ((labels == 1) | (labels == 0) | (labels == UNKNOWN)).all():
        raise ShapeError(
            f"labels: found {sorted(set(labels.flatten().tolist()))[:5]}, expected 1 for present, "
            f"0 for absent and {UNKNOWN} for unknown"
        )
    nothing = torch.zeros(num_labels, dtype=torch.float64)
    return ActionLoss(task, LossConfig(), LabelCounts(nothing, nothing))(outputs, labels)


def _chosen_loss(task: str, config: LossConfig) -> LossFunction:
    names = [name for known, name in LOSSES if known == task]
    if config.name not in names:
        others = [known for known, name in LOSSES if name == config.name]
        reason = f"is for {others[0]}, not for {task}" if others else "is unknown"
        raise ConfigError(f"loss {config.name} {reason}; use {', '.join(sorted(names))}")
    function = LOSSES[task, config.name]
    known = loss_options(function)
    for option in set(config.options) - set(known):
        owners = {name for (_, name), loss in LOSSES.items() if option in loss_options(loss)}
        owner = f"belongs to {' and '.join(sorted(owners))}" if owners else "belongs to no loss"
        raise ConfigError(
            f"loss option {option} {owner}, not to {config.name} of {task} models, whose options "
            f"are: {', '.join(known) or 'none'}"
        )
    return function


def label_columns(targets: Tensor) -> Tensor:
    """(B,) int64 column of the first 1 in each row of (B, K) targets; -100 without one.

    These are the rows that the losses of a single-label set count.
    """
    is_positive = targets == 1
    return torch.where(is_positive.any(dim=1), is_positive.int().argmax(dim=1), UNKNOWN)


# Equation 8, with the negative term that its text asks for.
@register("cross_entropy", "multi_label")
def binary_cross_entropy(
    logits: Tensor, targets: Tensor, counts: LabelCounts, *, max_positive_weight: float = 1.0
) -> Tensor:
    """Binary cross-entropy whose positives weigh `LabelCounts.positive_weight`."""
    check(max_positive_weight >= 1, f"max_positive_weight {max_positive_weight}: at least 1")
    if max_positive_weight == 1:
        return _binary_terms(logits.float(), targets)
    weight = counts.positive_weight(max_positive_weight).to(logits.device)
    return _binary_terms(logits.float(), targets, pos_weight=weight)


@register("cross_entropy", "single_label")
def cross_entropy(logits: Tensor, targets: Tensor, counts: LabelCounts) -> Tensor:
    """Cross-entropy: a softmax over the known labels of each row."""
    return _softmax_terms(logits.float(), targets)


@register("focal", "multi_label")
def focal_loss(
    logits: Tensor,
    targets: Tensor,
    counts: LabelCounts,
    *,
    gamma: float = 2.0,
    alpha: float | None = 0.25,
) -> Tensor:
    """Focal loss: what is scored right already counts less.

    -alpha_t (1 - p_t)^gamma log p_t   (Lin et al. 2017, arXiv:1708.02002, equation 5)

    The paper divides by the number of matched anchors; here as everywhere by the known terms.
    ``gamma`` says how much less; 0 leaves cross-entropy. ``alpha`` is the weight of positives and
    1 - alpha that of negatives; None weighs neither.
    """
    check(gamma >= 0, f"loss focal: gamma {gamma}: expected 0 or more")
    check(alpha is None or 0 <= alpha <= 1, f"loss focal: alpha {alpha}: expected 0 to 1 or null")
    is_positive = targets == 1
    log_right, log_wrong = _log_probabilities(logits, is_positive)
    terms = -torch.exp(gamma * log_wrong) * log_right
    return terms if alpha is None else terms * torch.where(is_positive, alpha, 1 - alpha)


@register("focal", "single_label")
def single_label_focal_loss(
    logits: Tensor, targets: Tensor, counts: LabelCounts, *, gamma: float = 2.0
) -> Tensor:
    """Focal loss over a softmax, -(1 - p_y)^gamma log p_y, without positives for alpha to weigh."""
    check(gamma >= 0, f"loss focal: gamma {gamma}: expected 0 or more")
    logits = _among_known(logits.float(), targets)
    column = label_columns(targets).clamp(min=0)[:, None]  # (B,) -> (B, 1)
    everything = logits.logsumexp(dim=1)
    # The logarithm of 1 - p_y from the other labels: the difference would round to 0.
    others = logits.scatter(1, column, _LOWEST).logsumexp(dim=1)
    log_right = logits.gather(1, column)[:, 0] - everything
    return -torch.exp(gamma * (others - everything)) * log_right


@register("asymmetric", "multi_label")
def asymmetric_loss(
    logits: Tensor,
    targets: Tensor,
    counts: LabelCounts,
    *,
    gamma_negative: float = 4.0,
    gamma_positive: float = 1.0,
    clip: float = 0.05,
) -> Tensor:
    """Asymmetric loss: positives and negatives are focused apart, easy negatives dropped.

    Positives: -(1 - p)^gamma_positive log p; negatives: -q^gamma_negative log(1 - q) with
    q = max(p - clip, 0)   (Ridnik et al. 2021, arXiv:2009.14119, section 2)

    Negatives scored below the probability ``clip`` do not count.
    """
    for name, gamma in (("gamma_negative", gamma_negative), ("gamma_positive", gamma_positive)):
        check(gamma >= 0, f"loss asymmetric: {name} {gamma}: expected 0 or more")
    check(0 <= clip < 1, f"loss asymmetric: clip {clip}: expected [0, 1)")
    logits = logits.float()
    log_present, log_absent = F.logsigmoid(logits), F.logsigmoid(-logits)
    positive = -torch.exp(gamma_positive * log_absent) * log_present
    # log(1 - q) = log(min(1 - p + clip, 1)), also exact for a clip of 0.
    log_margin = torch.full((), clip, device=logits.device).log()
    log_clipped = torch.logaddexp(log_absent, log_margin).clamp(max=0)
    clipped = (log_present.exp() - clip).clamp(min=_SMALLEST_PROBABILITY)
    negative = -clipped.pow(gamma_negative) * log_clipped
    return torch.where(targets == 1, positive, negative)


@register("class_balanced", "multi_label")
def class_balanced_loss(
    logits: Tensor, targets: Tensor, counts: LabelCounts, *, beta: float = 0.9999
) -> Tensor:
    """Binary cross-entropy whose labels weigh `LabelCounts.effective_number_weight`."""
    weight = counts.effective_number_weight(beta).to(logits.device)
    return _binary_terms(logits.float(), targets, weight=weight)


@register("class_balanced", "single_label")
def single_label_class_balanced_loss(
    logits: Tensor, targets: Tensor, counts: LabelCounts, *, beta: float = 0.9999
) -> Tensor:
    """Cross-entropy whose rows weigh `LabelCounts.effective_number_weight` of their label."""
    weight = counts.effective_number_weight(beta).to(logits.device)
    return _softmax_terms(logits.float(), targets, weight)


@register("equalisation", "multi_label")
def equalisation_loss(
    logits: Tensor,
    targets: Tensor,
    counts: LabelCounts,
    *,
    threshold: float = 1.76e-3,
    drop: float = 0.95,
) -> Tensor:
    """Equalisation loss: rare labels are spared the negatives from clips of other labels.

    Binary cross-entropy whose terms weigh 1 - drop * E(r) T(f_j) (1 - y_j)   (Tan et al. 2020,
    arXiv:2003.05176, section 3). T(f_j) is 1 for rare labels: those in a smaller share of the rows
    than ``threshold``. Two deviations:

    - E(r) is 1 for foreground proposals. A clip has none: it counts as foreground where a label is
      known to be present, and clips without one keep their full negatives.
    - The paper's sigmoid form has no ``drop`` (that is, 1) and lives on background proposals. Where
      every clip shows something there would be no negative left, and rare labels would drift
      towards always present. Its softmax form drops negatives at random with a probability below 1;
      ``drop`` is that probability, taken as the expected weight. Nothing is drawn, so resuming and
      the number of ranks change nothing. A ``drop`` of 0 leaves binary cross-entropy.
    """
    for name, value in (("threshold", threshold), ("drop", drop)):
        check(0 <= value <= 1, f"loss equalisation: {name} {value}: expected 0 to 1")
    is_tail = counts.shares < threshold
    is_positive = targets == 1
    is_foreground = is_positive.any(dim=1, keepdim=True)  # (B, K) -> (B, 1)
    is_spared = is_foreground & is_tail.to(logits.device) & ~is_positive
    log_right, _ = _log_probabilities(logits, is_positive)
    return -torch.where(is_spared, 1 - drop, 1.0) * log_right


# Logit adjustment adds tau * log prior to the logits of a softmax in training only, so that the
# bare logits answer as if all labels were equally frequent (Menon et al. 2021, arXiv:2007.07314,
# equation 10). A sigmoid is the softmax of present and absent: its logit gets tau * log prior odds.
@register("logit_adjustment", "multi_label")
def adjusted_loss(
    logits: Tensor, targets: Tensor, counts: LabelCounts, *, tau: float = 1.0
) -> Tensor:
    """Binary cross-entropy of logits + ``tau`` * log prior odds; ``tau`` 1 is the whole prior."""
    check(tau >= 0, f"loss logit_adjustment: tau {tau}: expected 0 or more")
    offset = tau * counts.log_prior_odds
    return _binary_terms(logits.float() + offset.to(logits.device), targets)


@register("logit_adjustment", "single_label")
def single_label_adjusted_loss(
    logits: Tensor, targets: Tensor, counts: LabelCounts, *, tau: float = 1.0
) -> Tensor:
    """Cross-entropy of logits + ``tau`` * log prior."""
    check(tau >= 0, f"loss logit_adjustment: tau {tau}: expected 0 or more")
    offset = tau * counts.log_prior
    return _softmax_terms(logits.float() + offset.to(logits.device), targets)


def _binary_terms(
    logits: Tensor,
    targets: Tensor,
    weight: Tensor | None = None,
    pos_weight: Tensor | None = None,
) -> Tensor:
    wanted = targets.float().clamp(min=0)
    return F.binary_cross_entropy_with_logits(
        logits, wanted, weight, pos_weight=pos_weight, reduction="none"
    )


def _softmax_terms(logits: Tensor, targets: Tensor, weight: Tensor | None = None) -> Tensor:
    known, columns = _among_known(logits, targets), label_columns(targets)
    return F.cross_entropy(known, columns, weight, ignore_index=UNKNOWN, reduction="none")


def _log_probabilities(logits: Tensor, is_positive: Tensor) -> tuple[Tensor, Tensor]:
    """Logarithms of the probabilities given to the right answer and to the wrong one, (B, K)."""
    signed = torch.where(is_positive, logits.float(), -logits.float())
    return F.logsigmoid(signed), F.logsigmoid(-signed)


def _among_known(logits: Tensor, targets: Tensor) -> Tensor:
    """Logits (B, K) float32 under which unknown labels have a probability of exactly 0."""
    return logits.masked_fill(targets == UNKNOWN, _LOWEST)
