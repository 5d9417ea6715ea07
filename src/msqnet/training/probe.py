"""The start of the path from the video query to the scores: a regularised linear fit.

Linear probing first, then training the rest (Kumar et al. 2022, arXiv:2202.10054). The fit is
convex, so it has one answer, whatever the seed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from msqnet.data.records import UNKNOWN
from msqnet.errors import ConfigError, ShapeError
from msqnet.model.decoder import VideoQueryHead

if TYPE_CHECKING:
    from msqnet.model.pretrained import MSQNet

_MAX_ITERATIONS = 200


def standardisation(queries: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each feature over (N, D'') queries; constant features get 1.

    Returns:
        Two (D'',) float32 tensors.
    """
    mean = queries.double().mean(dim=0)
    deviation = queries.double().std(dim=0, correction=0)
    deviation = torch.where(deviation > 1e-6, deviation, 1.0)
    return mean.float(), deviation.float()


def balanced_weights(targets: Tensor) -> Tensor:
    """Weights under which positives and negatives of a label weigh the same; 0 where unknown.

    Args:
        targets: (N, K) of 1, 0 and -100.

    Returns:
        (N, K) float32 that sums to the number of known rows in each column; 0 in columns that lack
        a positive or a negative.
    """
    positive, negative = targets == 1, targets == 0
    num_positive, num_negative = positive.sum(dim=0), negative.sum(dim=0)
    num_known = num_positive + num_negative
    weights = positive * (num_known / (2 * num_positive.clamp(min=1)))
    weights = weights + negative * (num_known / (2 * num_negative.clamp(min=1)))
    return torch.where((num_positive > 0) & (num_negative > 0), weights, 0.0).float()


def fit_linear(
    queries: Tensor, targets: Tensor, strength: float, num_views: int = 1
) -> tuple[Tensor, Tensor]:
    """One balanced logistic regression per label, over the rows where it is known.

    Minimises |U_k|^2 / 2 + (strength / num_views) * sum of weighted log losses for every label k.
    Labels without a positive or a negative keep U_k = 0 and c_k = 0.

    Args:
        queries: (N, D'') float32, standardised.
        targets: (N, K) of 1, 0 and -100.
        strength: C, the inverse of the regularisation.
        num_views: rows that each stand for the same window.

    Returns:
        U (K, D'') and c (K,), float32.

    Raises:
        ShapeError: numbers of rows differ, or there are none.
    """
    if len(queries) != len(targets) or not len(queries):
        raise ShapeError(f"{len(queries)} queries for {len(targets)} rows of targets")
    weights = balanced_weights(targets) * (strength / num_views)
    wanted = targets.clamp(min=0).float()
    weight = torch.zeros(targets.shape[1], queries.shape[1], requires_grad=True)
    bias = torch.zeros(targets.shape[1], requires_grad=True)
    optimiser = torch.optim.LBFGS(
        [weight, bias],
        max_iter=_MAX_ITERATIONS,
        tolerance_grad=1e-5,
        tolerance_change=1e-9,
        line_search_fn="strong_wolfe",
    )

    def objective() -> Tensor:
        optimiser.zero_grad()
        logits = F.linear(queries, weight, bias)
        terms = F.binary_cross_entropy_with_logits(logits, wanted, weights, reduction="sum")
        value = terms + weight.square().sum() / 2
        value.backward()
        return value

    optimiser.step(objective)
    return weight.detach(), bias.detach()


def standardise_query(model: MSQNet, queries: Tensor) -> None:
    """Set the statistics with which the model standardises its video query.

    Args:
        model: with a video query.
        queries: (N, D'') float32 of the training rows, as `MSQNet.encode` gives them.
    """
    mean, deviation = standardisation(queries)
    model.query_mean.copy_(mean)
    model.query_std.copy_(deviation)


def fit_query_head(
    model: MSQNet, queries: Tensor, targets: Tensor, strength: float, num_views: int
) -> None:
    """Set the model's `query_head` from training rows, and freeze it.

    Args:
        model: with a `VideoQueryHead`, its video query standardised (`standardise_query`).
        queries: (N, D'') float32, as `MSQNet.encode` gives them.
        targets: (N, K) of 1, 0 and -100 (`UNKNOWN`).
        strength: see `fit_linear`.
        num_views: see `fit_linear`.
    """
    if not ((targets == UNKNOWN) | (targets == 0) | (targets == 1)).all():
        raise ShapeError("targets: expected 1, 0 and -100 only")
    if not isinstance(model.query_head, VideoQueryHead):
        raise ConfigError("there is no path from the video query to the scores to fit")
    standardised = (queries - model.query_mean.cpu()) / model.query_std.cpu()
    weight, bias = fit_linear(standardised, targets, strength, num_views)
    with torch.no_grad():
        model.query_head.weight.copy_(weight)
        model.query_head.bias.copy_(bias)
    model.query_head.requires_grad_(False)
