"""Heads against their equations, label by label."""

from __future__ import annotations

import pytest
import torch

from msqnet.errors import VocabularyError
from msqnet.model.decoder import GroupWiseLinear, SharedLinear, TextAlignment, VideoQueryHead

NUM_CLIPS, NUM_LABELS, WIDTH, TEXT_WIDTH = 3, 4, 6, 5
TEXT = torch.arange(NUM_LABELS * TEXT_WIDTH, dtype=torch.float32).view(NUM_LABELS, -1).cos()


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@torch.no_grad()
def test_each_label_is_scored_by_its_own_weights() -> None:
    head = GroupWiseLinear(NUM_LABELS, WIDTH)
    torch.nn.init.normal_(head.bias)
    decoded = torch.randn(NUM_CLIPS, NUM_LABELS, WIDTH)
    logits = head(decoded, TEXT)
    assert logits.shape == (NUM_CLIPS, NUM_LABELS)
    for clip in range(NUM_CLIPS):
        for label in range(NUM_LABELS):
            expected = decoded[clip, label] @ head.weight[label] + head.bias[label]
            # Six products of values near 1, added in another order.
            torch.testing.assert_close(logits[clip, label], expected, atol=1e-6, rtol=0)


@torch.no_grad()
def test_label_score_ignores_the_queries_of_other_labels() -> None:
    head = GroupWiseLinear(NUM_LABELS, WIDTH)
    decoded = torch.randn(NUM_CLIPS, NUM_LABELS, WIDTH)
    changed = decoded.clone()
    changed[:, 1:] += 1
    assert torch.equal(head(changed, TEXT)[:, 0], head(decoded, TEXT)[:, 0])


def test_another_number_of_labels_is_refused_with_both_shapes() -> None:
    head = GroupWiseLinear(NUM_LABELS, WIDTH)
    with pytest.raises(VocabularyError, match=r"\(1, 5, 6\).*\(B, 4, 6\)"):
        head(torch.randn(1, NUM_LABELS + 1, WIDTH), TEXT)


def test_new_weights_lie_within_the_bounds_of_a_linear_layer() -> None:
    head = GroupWiseLinear(50, 16)
    assert 0.24 < head.weight.abs().max() <= 16**-0.5
    assert not head.bias.any()


@torch.no_grad()
def test_new_video_query_head_is_silent_and_then_linear() -> None:
    head = VideoQueryHead(NUM_LABELS, WIDTH)
    query = torch.randn(NUM_CLIPS, WIDTH)
    assert torch.equal(head(query, TEXT), torch.zeros(NUM_CLIPS, NUM_LABELS))
    torch.nn.init.normal_(head.weight)
    torch.nn.init.normal_(head.bias)
    torch.testing.assert_close(head(query, TEXT), query @ head.weight.T + head.bias)


@torch.no_grad()
def test_shared_head_scores_every_label_with_the_same_weights() -> None:
    head = SharedLinear(WIDTH)
    decoded = torch.randn(NUM_CLIPS, NUM_LABELS, WIDTH)
    logits = head(decoded, TEXT)
    for clip in range(NUM_CLIPS):
        for label in range(NUM_LABELS):
            expected = decoded[clip, label] @ head.linear.weight[0] + head.linear.bias[0]
            torch.testing.assert_close(logits[clip, label], expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("one_for_all", [False, True])
@torch.no_grad()
def test_text_alignment_is_a_scaled_cosine_with_an_offset(one_for_all: bool) -> None:
    head = TextAlignment(WIDTH, TEXT_WIDTH)
    shape = (NUM_CLIPS, WIDTH) if one_for_all else (NUM_CLIPS, NUM_LABELS, WIDTH)
    x = torch.randn(shape)
    logits = head(x, TEXT)
    assert logits.shape == (NUM_CLIPS, NUM_LABELS)
    for clip in range(NUM_CLIPS):
        for label in range(NUM_LABELS):
            projected = head.project.weight @ (x[clip] if one_for_all else x[clip, label])
            cosine = torch.cosine_similarity(projected, TEXT[label], dim=0)
            # A new head has scale 10 and offset -3.
            torch.testing.assert_close(logits[clip, label], 10 * cosine - 3, atol=1e-5, rtol=0)
