"""The loss that a run asks for: by name, for its task, with the counts of its training rows.

A new loss is one function in `losses` and one line here.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from msqnet.errors import ConfigError
from msqnet.training.label_counts import (
    LabelCounts,
    effective_number_weight,
    log_prior,
    log_prior_odds,
)
from msqnet.training.losses import (
    asymmetric_loss,
    binary_cross_entropy,
    cross_entropy,
    equalisation_loss,
    focal_loss,
    single_label_focal_loss,
)

if TYPE_CHECKING:
    from msqnet.config import LossConfig
    from msqnet.model.msqnet import MSQNetOutput

Loss = Callable[..., Tensor]
"""A function of logits (B, K), targets (B, K) and the keyword ``num_known``."""

LossBuilder = Callable[["LossConfig", LabelCounts], Loss]

# Logit adjustment (Menon et al. 2021, arXiv:2007.07314, equation 10) adds tau * log prior to the
# logits of a softmax in training only, so that the bare logits answer as if all labels were equally
# frequent. A sigmoid is the softmax of present and absent: its logit gets tau * log prior odds.
_MULTI_LABEL: dict[str, LossBuilder] = {
    "cross_entropy": lambda config, counts: binary_cross_entropy,
    "focal": lambda config, counts: partial(
        focal_loss, gamma=config.focal_gamma, alpha=config.focal_alpha
    ),
    "asymmetric": lambda config, counts: partial(
        asymmetric_loss,
        gamma_negative=config.asymmetric_gamma_negative,
        gamma_positive=config.asymmetric_gamma_positive,
        clip=config.asymmetric_clip,
    ),
    "class_balanced": lambda config, counts: partial(
        binary_cross_entropy,
        label_weight=effective_number_weight(counts, config.class_balanced_beta),
    ),
    "equalisation": lambda config, counts: partial(
        equalisation_loss,
        is_tail=counts.shares < config.equalisation_threshold,
        drop=config.equalisation_drop,
    ),
    "logit_adjustment": lambda config, counts: partial(
        binary_cross_entropy, offset=config.logit_adjustment_tau * log_prior_odds(counts)
    ),
}
_SINGLE_LABEL: dict[str, LossBuilder] = {
    "cross_entropy": lambda config, counts: cross_entropy,
    "focal": lambda config, counts: partial(single_label_focal_loss, gamma=config.focal_gamma),
    "class_balanced": lambda config, counts: partial(
        cross_entropy, label_weight=effective_number_weight(counts, config.class_balanced_beta)
    ),
    "logit_adjustment": lambda config, counts: partial(
        cross_entropy, offset=config.logit_adjustment_tau * log_prior(counts)
    ),
}
LOSSES: dict[str, dict[str, LossBuilder]] = {
    "multi_label": _MULTI_LABEL,
    "single_label": _SINGLE_LABEL,
}


def loss_builder(task: str, name: str) -> LossBuilder:
    """What makes the loss of this name.

    Args:
        task: "multi_label" or "single_label".
        name: as `LossConfig.name`.

    Raises:
        ConfigError: the loss is not for this task.
    """
    builders = LOSSES[task]
    if name not in builders:
        raise ConfigError(
            f"loss {name} is for multi_label tasks: it treats the positives and the negatives of a "
            f"label apart, and a {task} clip has one label only; use {', '.join(sorted(builders))}"
        )
    return builders[name]


class ActionLoss:
    """What the Trainer minimises: the loss of each part of the logits, averaged over the parts.

    The decoder and the path straight from the video query are each trained to answer alone;
    otherwise the linear path, which fits a small training set at once, would leave the decoder
    nothing to learn.

    Args:
        task: "multi_label" or "single_label".
        config: which loss, and its parameters.
        counts: of the training rows.
        positive_weight: (K,) float or None, see `binary_cross_entropy`; for the multi-label
            "cross_entropy" only.

    Raises:
        ConfigError: the loss is not for this task.
    """

    def __init__(
        self,
        task: str,
        config: LossConfig,
        counts: LabelCounts,
        positive_weight: Tensor | None = None,
    ):
        self._loss = loss_builder(task, config.name)(config, counts)
        if positive_weight is not None:
            self._loss = partial(self._loss, positive_weight=positive_weight)

    def __call__(
        self, outputs: MSQNetOutput, labels: Tensor, num_items_in_batch: Tensor | int | None = None
    ) -> Tensor:
        """The signature of `Trainer`'s ``compute_loss_func``.

        Args:
            outputs: of the model.
            labels: (B, K) float: 1, 0, or -100 where nothing is known.
            num_items_in_batch: known cells of the global batch, for single-label tasks its rows
                that have a label; by default those of ``labels``.

        Returns:
            () float32.

        Raises:
            ShapeError: logits and labels of other shapes.
        """
        parts = [outputs["decoder_logits"]]
        if "query_logits" in outputs:  # a model output holds what is not None
            parts.append(outputs["query_logits"])
        losses = [self._loss(part, labels, num_known=num_items_in_batch) for part in parts]
        return torch.stack(losses).mean()
