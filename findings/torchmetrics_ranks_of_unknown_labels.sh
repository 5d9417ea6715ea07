#!/usr/bin/env bash
# Package: torchmetrics 1.9.0, torch 2.13.0. TORCH_INDEX=address takes torch from another index.
# Behaviour: a label whose target is `ignore_index` "does not contribute", says the documentation.
# MultilabelCoverageError counts all labels of a clip with such a label, and MultilabelRankingLoss takes
# it for an absent label with the lowest score. MultilabelRankingAveragePrecision leaves it out, and so
# do average precision, F1 and others.
# Seen: the only label is first of 3, a fourth is unknown: coverage 4, and 1 without the fourth. The
# only label is below the one that is absent, two are unknown: loss 0.33, and 1 without these.
# Hurts: models for partly annotated videos look worse by coverage, and better by ranking loss.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} torch==2.13.0
venv/bin/pip install --quiet --disable-pip-version-check torchmetrics==1.9.0 numpy==2.4.6
venv/bin/python - <<'PYTHON'
import sys

import torch
from torchmetrics.functional import classification

NAMES = "coverage_error", "ranking_loss", "ranking_average_precision"


def values(scores, targets):
    """Each metric with the unknown labels (-1), and without their columns."""
    known = [number for number, target in enumerate(targets) if target >= 0]
    scores, targets = torch.tensor([scores]), torch.tensor([targets])
    found = {}
    for name in NAMES:
        metric = getattr(classification, f"multilabel_{name}")
        with_unknown = metric(scores, targets, scores.shape[1], ignore_index=-1)
        without = metric(scores[:, known], targets[:, known], len(known))
        found[name] = round(float(with_unknown), 2), round(float(without), 2)
    return found


first = values([0.9, 0.2, 0.1, 0.5], [1, 0, 0, -1])
below = values([0.1, 0.9, 0.5, 0.4], [1, 0, -1, -1])
for title, found in (("label is first", first), ("label is below", below)):
    print(title, *(f"{name} {a} ({b} without unknown)" for name, (a, b) in found.items()), sep="; ")
is_as_described = (
    first["coverage_error"] == (4, 1)
    and below["ranking_loss"] == (0.33, 1)
    and all(a == b for a, b in (first[NAMES[2]], below[NAMES[2]]))
)
sys.exit(not is_as_described)
PYTHON
