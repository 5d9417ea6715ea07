"""Losses over known labels: pure functions of logits and targets.

Loss = sum over known terms / number of known terms in the global batch, so that neither the batch
size, the number of ranks nor the steps of accumulation changes it. Unknown targets hold -100, the
value that `transformers.Trainer` leaves out when it counts the items of a batch. A weighted term
counts as one, whatever it weighs. The terms of single-label losses are rows, in which only known
labels compete (`label_columns`).

Everything is computed in float32. Powers of probabilities are taken as exponentials of their
logarithms, whose gradients stay finite where the probability itself rounds to 0 or 1.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from msqnet.errors import ShapeError

UNKNOWN = -100
# A power below 1 has an infinite slope at 0.
_SMALLEST_PROBABILITY = 1e-12
# The logit of what cannot be. Infinity would make a row of nothing else NaN.
_LOWEST = torch.finfo(torch.float32).min


def label_columns(targets: Tensor) -> Tensor:
    """The label of each row of a single-label set: the rows that its losses count.

    Args:
        targets: (B, K) float: 1, 0, or -100 where nothing is known.

    Returns:
        (B,) int64 column of the first 1 in each row; -100 without one.
    """
    is_positive = targets == 1
    return torch.where(is_positive.any(dim=1), is_positive.int().argmax(dim=1), UNKNOWN)


def binary_cross_entropy(
    logits: Tensor,
    targets: Tensor,
    *,
    num_known: Tensor | int | None = None,
    positive_weight: Tensor | None = None,
    label_weight: Tensor | None = None,
    offset: Tensor | None = None,
) -> Tensor:
    """Masked binary cross-entropy: equation 8 with the negative term that its text asks for.

    Args:
        logits: (B, K) float.
        targets: (B, K) float: 1, 0, or -100 where nothing is known.
        num_known: what to divide by; by default the known targets of this batch.
        positive_weight: (K,) float, weight of the positive terms.
        label_weight: (K,) float, weight of all terms of a label.
        offset: (K,) float, added to the logits (logit adjustment, Menon et al. 2021).

    Returns:
        () float32; 0 where nothing is known.

    Raises:
        ShapeError: shapes differ.
    """
    _check_same_shape(logits, targets)
    terms = F.binary_cross_entropy_with_logits(
        _shifted(logits, offset),
        targets.float().clamp(min=0),
        weight=_beside(logits, label_weight),
        pos_weight=_beside(logits, positive_weight),
        reduction="none",
    )
    return _mean_over_known(terms, targets, num_known)


def cross_entropy(
    logits: Tensor,
    targets: Tensor,
    *,
    num_known: Tensor | int | None = None,
    label_weight: Tensor | None = None,
    offset: Tensor | None = None,
) -> Tensor:
    """Masked cross-entropy of single-label models: a softmax over the known labels of each row.

    Args:
        logits: (B, K) float.
        targets: (B, K) float: 1 for the row's label, 0, or -100 where nothing is known.
        num_known: what to divide by; by default the rows of this batch that have a label.
        label_weight: (K,) float, weight of the rows of a label.
        offset: (K,) float, added to the logits (logit adjustment, Menon et al. 2021, equation 10).

    Returns:
        () float32; 0 where no row has a label.

    Raises:
        ShapeError: shapes differ.
    """
    _check_same_shape(logits, targets)
    columns = label_columns(targets)
    terms = F.cross_entropy(
        _among_known(_shifted(logits, offset), targets),
        columns,
        weight=_beside(logits, label_weight),
        ignore_index=UNKNOWN,
        reduction="none",
    )
    return _mean_over_known(terms, columns, num_known)


def focal_loss(
    logits: Tensor,
    targets: Tensor,
    *,
    gamma: float,
    alpha: float | None = None,
    num_known: Tensor | int | None = None,
) -> Tensor:
    """Focal loss: what is scored right already counts less.

    -alpha_t (1 - p_t)^gamma log p_t   (Lin et al. 2017, arXiv:1708.02002, equation 5)

    The paper divides by the number of matched anchors; here as everywhere by the known terms.

    Args:
        logits: (B, K) float.
        targets: (B, K) float: 1, 0, or -100 where nothing is known.
        gamma: how much less; 0 leaves cross-entropy.
        alpha: weight of positives, 1 - alpha that of negatives; None weighs neither.
        num_known: what to divide by; by default the known targets of this batch.

    Returns:
        () float32; 0 where nothing is known.

    Raises:
        ShapeError: shapes differ.
    """
    _check_same_shape(logits, targets)
    is_positive = targets == 1
    log_right, log_wrong = _log_probabilities(logits, is_positive)
    terms = -torch.exp(gamma * log_wrong) * log_right
    if alpha is not None:
        terms = terms * torch.where(is_positive, alpha, 1 - alpha)
    return _mean_over_known(terms, targets, num_known)


def single_label_focal_loss(
    logits: Tensor, targets: Tensor, *, gamma: float, num_known: Tensor | int | None = None
) -> Tensor:
    """Focal loss over a softmax; it has no alpha, as it has no positives and negatives to weigh.

    -(1 - p_y)^gamma log p_y

    Args:
        logits: (B, K) float.
        targets: (B, K) float: 1 for the row's label, 0, or -100 where nothing is known.
        gamma: as in `focal_loss`.
        num_known: what to divide by; by default the rows of this batch that have a label.

    Returns:
        () float32; 0 where no row has a label.

    Raises:
        ShapeError: shapes differ.
    """
    _check_same_shape(logits, targets)
    logits = _among_known(logits.float(), targets)
    columns = label_columns(targets)
    column = columns.clamp(min=0)[:, None]  # (B,) -> (B, 1)
    everything = logits.logsumexp(dim=1)
    # The logarithm of 1 - p_y from the other labels: the difference would round to 0.
    others = logits.scatter(1, column, _LOWEST).logsumexp(dim=1)
    log_right = logits.gather(1, column)[:, 0] - everything
    terms = -torch.exp(gamma * (others - everything)) * log_right
    return _mean_over_known(terms, columns, num_known)


def asymmetric_loss(
    logits: Tensor,
    targets: Tensor,
    *,
    gamma_negative: float,
    gamma_positive: float,
    clip: float,
    num_known: Tensor | int | None = None,
) -> Tensor:
    """Asymmetric loss: positives and negatives are focused apart, easy negatives dropped.

    Positives: -(1 - p)^gamma_positive log p; negatives: -q^gamma_negative log(1 - q) with
    q = max(p - clip, 0)   (Ridnik et al. 2021, arXiv:2009.14119, section 2)

    Args:
        logits: (B, K) float.
        targets: (B, K) float: 1, 0, or -100 where nothing is known.
        gamma_negative: focus on negatives that are scored wrong.
        gamma_positive: focus on positives that are scored wrong.
        clip: the probability margin; negatives scored below it are done with.
        num_known: what to divide by; by default the known targets of this batch.

    Returns:
        () float32; 0 where nothing is known.

    Raises:
        ShapeError: shapes differ.
    """
    _check_same_shape(logits, targets)
    logits = logits.float()
    log_present, log_absent = F.logsigmoid(logits), F.logsigmoid(-logits)
    positive = -torch.exp(gamma_positive * log_absent) * log_present
    # log(1 - q) = log(min(1 - p + clip, 1)), also exact for a clip of 0.
    log_margin = torch.full((), clip, device=logits.device).log()
    log_clipped = torch.logaddexp(log_absent, log_margin).clamp(max=0)
    clipped = (log_present.exp() - clip).clamp(min=_SMALLEST_PROBABILITY)
    negative = -clipped.pow(gamma_negative) * log_clipped
    return _mean_over_known(torch.where(targets == 1, positive, negative), targets, num_known)


def equalisation_loss(
    logits: Tensor,
    targets: Tensor,
    *,
    is_tail: Tensor,
    drop: float,
    num_known: Tensor | int | None = None,
) -> Tensor:
    """Equalisation loss: rare labels are spared the negatives from clips of other labels.

    Binary cross-entropy whose terms weigh 1 - drop * E(r) T(f_j) (1 - y_j)   (Tan et al. 2020,
    arXiv:2003.05176, section 3). T(f_j) is 1 for rare labels. Two deviations:

    - E(r) is 1 for foreground proposals. A clip has none: it counts as foreground where a label is
      known to be present, and clips without one keep their full negatives.
    - The paper's sigmoid form has no ``drop`` (that is, 1) and lives on background proposals. Where
      every clip shows something there would be no negative left, and rare labels would drift
      towards always present. Its softmax form drops negatives at random with a probability below 1;
      ``drop`` is that probability, taken as the expected weight. Nothing is drawn, so resuming and
      the number of ranks change nothing.

    Args:
        logits: (B, K) float.
        targets: (B, K) float: 1, 0, or -100 where nothing is known.
        is_tail: (K,) bool, the rare labels.
        drop: share of their negatives that does not count; 0 leaves binary cross-entropy.
        num_known: what to divide by; by default the known targets of this batch.

    Returns:
        () float32; 0 where nothing is known.

    Raises:
        ShapeError: shapes differ.
    """
    _check_same_shape(logits, targets)
    is_positive = targets == 1
    is_foreground = is_positive.any(dim=1, keepdim=True)  # (B, K) -> (B, 1)
    is_spared = is_foreground & is_tail.to(logits.device) & ~is_positive
    log_right, _ = _log_probabilities(logits, is_positive)
    terms = -torch.where(is_spared, 1 - drop, 1.0) * log_right
    return _mean_over_known(terms, targets, num_known)


def _log_probabilities(logits: Tensor, is_positive: Tensor) -> tuple[Tensor, Tensor]:
    """Logarithms of the probabilities given to the right answer and to the wrong one, (B, K)."""
    signed = torch.where(is_positive, logits.float(), -logits.float())
    return F.logsigmoid(signed), F.logsigmoid(-signed)


def _among_known(logits: Tensor, targets: Tensor) -> Tensor:
    """Logits (B, K) float32 under which unknown labels have a probability of exactly 0."""
    return logits.masked_fill(targets == UNKNOWN, _LOWEST)


def _mean_over_known(terms: Tensor, targets: Tensor, num_known: Tensor | int | None) -> Tensor:
    is_known = targets != UNKNOWN
    total = torch.where(is_known, terms, 0.0).sum()
    return total / _at_least_one(is_known.sum() if num_known is None else num_known)


def _at_least_one(count: Tensor | int) -> Tensor | int:
    return count.clamp(min=1) if isinstance(count, Tensor) else max(count, 1)


def _shifted(logits: Tensor, offset: Tensor | None) -> Tensor:
    logits = logits.float()
    return logits if offset is None else logits + offset.to(logits.device)


def _beside(logits: Tensor, weight: Tensor | None) -> Tensor | None:
    return None if weight is None else weight.to(logits.device)


def _check_same_shape(logits: Tensor, targets: Tensor) -> None:
    if logits.shape != targets.shape:
        raise ShapeError(f"logits {tuple(logits.shape)} and targets {tuple(targets.shape)} differ")
