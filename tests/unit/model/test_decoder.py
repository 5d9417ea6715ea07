"""Decoder, heads and positions against PyTorch's own layers and the equations as loops."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from msqnet.errors import VocabularyError
from msqnet.model.attention import MultiHeadAttention
from msqnet.model.configuration import MSQNetConfig
from msqnet.model.decoder import (
    DecoderLayer,
    GroupWiseLinear,
    MemoryEncoder,
    QueryDecoder,
    SharedLinear,
    TextAlignment,
    VideoQueryHead,
    sinusoidal_positions,
)
from tests.fixtures.transformer import copy_attention, copy_transformer

WIDTH, HEADS, HIDDEN = 16, 4, 24
NUM_CLIPS, NUM_LABELS, NUM_ITEMS = 2, 5, 7
NUM_SCORED, NUM_COLUMNS, HEAD_WIDTH, TEXT_WIDTH = 3, 4, 6, 5
TEXT = torch.arange(NUM_COLUMNS * TEXT_WIDTH, dtype=torch.float32).view(NUM_COLUMNS, -1).cos()
# float32 sums in another order; values are of the size of 1.
ROUNDING = 1e-5


def sizes(num_layers: int, **settings: Any) -> MSQNetConfig:
    """Both stacks with that many layers."""
    return MSQNetConfig(
        labels=[f"label {index}" for index in range(NUM_LABELS)],
        width=WIDTH,
        memory_encoder_layers=num_layers,
        decoder_layers=num_layers,
        decoder_heads=HEADS,
        decoder_feedforward=HIDDEN,
        dropout=0.0,
        **settings,
    )


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture
def layer() -> DecoderLayer:
    layer = DecoderLayer(sizes(1)).eval()
    for parameter in layer.parameters():
        nn.init.normal_(parameter, std=0.4)
    return layer


@pytest.fixture
def queries() -> Tensor:
    return torch.randn(NUM_CLIPS, NUM_LABELS, WIDTH)


@pytest.fixture
def memory() -> Tensor:
    return torch.randn(NUM_CLIPS, NUM_ITEMS, WIDTH)


def looped_attention(
    attention: MultiHeadAttention, queries: Tensor, keys: Tensor, values: Tensor
) -> Tensor:
    """softmax(q k / sqrt(D / A)) v, one clip, head and query at a time."""
    q, k, v = attention.query(queries), attention.key(keys), attention.value(values)
    head_width = WIDTH // HEADS
    mixed = torch.zeros_like(q)
    for clip in range(len(q)):
        for head in range(HEADS):
            part = slice(head * head_width, (head + 1) * head_width)
            for index in range(q.shape[1]):
                products = [
                    float(q[clip, index, part] @ k[clip, item, part]) / math.sqrt(head_width)
                    for item in range(k.shape[1])
                ]
                weights = torch.tensor(products).softmax(dim=0)
                for item, weight in enumerate(weights):
                    mixed[clip, index, part] += weight * v[clip, item, part]
    return attention.output(mixed)


@torch.no_grad()
def test_layer_without_positions_equals_pytorch_decoder_layer(
    layer: DecoderLayer, queries: Tensor, memory: Tensor
) -> None:
    theirs = nn.TransformerDecoderLayer(
        WIDTH, HEADS, HIDDEN, dropout=0.0, activation="relu", batch_first=True, norm_first=False
    ).eval()
    copy_attention(layer.self_attention, theirs.self_attn)
    copy_attention(layer.cross_attention, theirs.multihead_attn)
    for ours, name in (
        (layer.expand, "linear1"),
        (layer.contract, "linear2"),
        (layer.self_attention_norm, "norm1"),
        (layer.cross_attention_norm, "norm2"),
        (layer.feedforward_norm, "norm3"),
    ):
        getattr(theirs, name).load_state_dict(ours.state_dict())
    expected = theirs(queries, memory)
    torch.testing.assert_close(layer(queries, memory, memory), expected, atol=ROUNDING, rtol=0)


@torch.no_grad()
def test_positions_go_to_keys_and_never_to_values(
    layer: DecoderLayer, queries: Tensor, memory: Tensor
) -> None:
    positions = torch.randn(NUM_ITEMS, WIDTH)
    attn_output = looped_attention(layer.self_attention, queries, queries, queries)
    expected = layer.self_attention_norm(queries + attn_output)
    seen = looped_attention(layer.cross_attention, expected, memory + positions, memory)
    expected = layer.cross_attention_norm(expected + seen)
    hidden = layer.expand(expected).clamp(min=0)
    expected = layer.feedforward_norm(expected + layer.contract(hidden))

    decoder = QueryDecoder(sizes(1)).eval()
    decoder.layers[0].load_state_dict(layer.state_dict())
    decoded = decoder(queries, memory, positions)
    torch.testing.assert_close(decoded, expected, atol=ROUNDING, rtol=0)
    # Were positions values too, the difference would be far above rounding.
    assert (layer(queries, memory + positions, memory + positions) - decoded).abs().max() > 0.01


@torch.no_grad()
def test_without_query_positions_permuted_queries_give_permuted_results(
    queries: Tensor, memory: Tensor
) -> None:
    decoder = QueryDecoder(sizes(2)).eval()
    positions = torch.randn(NUM_ITEMS, WIDTH)
    order = torch.randperm(NUM_LABELS)
    straight = decoder(queries, memory, positions)
    permuted = decoder(queries[:, order], memory, positions)
    torch.testing.assert_close(permuted, straight[:, order], atol=ROUNDING, rtol=0)


@torch.no_grad()
def test_learned_query_positions_are_added_to_the_queries(queries: Tensor, memory: Tensor) -> None:
    plain = QueryDecoder(sizes(2)).eval()
    learned = QueryDecoder(sizes(2, query_positions="learned")).eval()
    learned.layers.load_state_dict(plain.layers.state_dict())
    positions = torch.randn(NUM_ITEMS, WIDTH)
    expected = plain(queries + learned.query_positions.weight, memory, positions)
    assert torch.equal(learned(queries, memory, positions), expected)


@torch.no_grad()
def test_attention_drops_weights_in_training_only(queries: Tensor) -> None:
    attention = MultiHeadAttention(WIDTH, HEADS, dropout=0.5)
    assert not torch.equal(
        attention(queries, queries, queries), attention(queries, queries, queries)
    )
    attention.eval()
    assert torch.equal(attention(queries, queries, queries), attention(queries, queries, queries))


@torch.no_grad()
def test_both_stacks_equal_a_whole_torch_transformer(queries: Tensor, memory: Tensor) -> None:
    theirs = nn.Transformer(WIDTH, HEADS, 2, 3, HIDDEN, dropout=0.0, batch_first=True).eval()
    encoder = MemoryEncoder(sizes(2, final_norms=True)).eval()
    decoder = QueryDecoder(sizes(3, final_norms=True)).eval()
    copy_transformer(encoder, decoder, theirs)
    expected = theirs(memory, queries)
    torch.testing.assert_close(
        decoder(queries, encoder(memory, None), None), expected, atol=ROUNDING, rtol=0
    )


@torch.no_grad()
def test_positions_of_the_memory_encoder_go_to_keys_and_never_to_values(memory: Tensor) -> None:
    encoder = MemoryEncoder(sizes(1)).eval()
    layer = encoder.layers[0]
    positions = torch.randn(NUM_ITEMS, WIDTH)
    keys = memory + positions
    attn_output = looped_attention(layer.attention, keys, keys, memory)
    expected = layer.attention_norm(memory + attn_output)
    hidden = layer.expand(expected).clamp(min=0)
    expected = layer.feedforward_norm(expected + layer.contract(hidden))
    torch.testing.assert_close(encoder(memory, positions), expected, atol=ROUNDING, rtol=0)


@torch.no_grad()
def test_without_query_attention_a_query_answers_as_if_alone(
    queries: Tensor, memory: Tensor
) -> None:
    decoder = QueryDecoder(sizes(2, query_attention=False)).eval()
    together = decoder(queries, memory, None)
    for label in range(NUM_LABELS):
        alone = decoder(queries[:, label : label + 1], memory, None)
        torch.testing.assert_close(alone[:, 0], together[:, label], atol=ROUNDING, rtol=0)
    attn_output = QueryDecoder(sizes(2)).eval()
    assert (
        (attn_output(queries[:, :1], memory, None) - attn_output(queries, memory, None)[:, :1])
        .abs()
        .max()
    )


@torch.no_grad()
def test_each_label_is_scored_by_its_own_weights() -> None:
    head = GroupWiseLinear(NUM_COLUMNS, HEAD_WIDTH)
    torch.nn.init.normal_(head.bias)
    decoded = torch.randn(NUM_SCORED, NUM_COLUMNS, HEAD_WIDTH)
    logits = head(decoded, TEXT)
    assert logits.shape == (NUM_SCORED, NUM_COLUMNS)
    for clip in range(NUM_SCORED):
        for label in range(NUM_COLUMNS):
            expected = decoded[clip, label] @ head.weight[label] + head.bias[label]
            # Six products of values near 1, added in another order.
            torch.testing.assert_close(logits[clip, label], expected, atol=1e-6, rtol=0)


@torch.no_grad()
def test_label_score_ignores_the_queries_of_other_labels() -> None:
    head = GroupWiseLinear(NUM_COLUMNS, HEAD_WIDTH)
    decoded = torch.randn(NUM_SCORED, NUM_COLUMNS, HEAD_WIDTH)
    changed = decoded.clone()
    changed[:, 1:] += 1
    assert torch.equal(head(changed, TEXT)[:, 0], head(decoded, TEXT)[:, 0])


def test_another_number_of_labels_is_refused_with_both_shapes() -> None:
    head = GroupWiseLinear(NUM_COLUMNS, HEAD_WIDTH)
    with pytest.raises(VocabularyError, match=r"\(1, 5, 6\).*\(B, 4, 6\)"):
        head(torch.randn(1, NUM_COLUMNS + 1, HEAD_WIDTH), TEXT)


def test_new_weights_lie_within_the_bounds_of_a_linear_layer() -> None:
    head = GroupWiseLinear(50, 16)
    assert 0.24 < head.weight.abs().max() <= 16**-0.5
    assert not head.bias.any()


@torch.no_grad()
def test_new_video_query_head_is_silent_and_then_linear() -> None:
    head = VideoQueryHead(NUM_COLUMNS, HEAD_WIDTH)
    query = torch.randn(NUM_SCORED, HEAD_WIDTH)
    assert torch.equal(head(query, TEXT), torch.zeros(NUM_SCORED, NUM_COLUMNS))
    torch.nn.init.normal_(head.weight)
    torch.nn.init.normal_(head.bias)
    torch.testing.assert_close(head(query, TEXT), query @ head.weight.T + head.bias)


@torch.no_grad()
def test_shared_head_scores_every_label_with_the_same_weights() -> None:
    head = SharedLinear(HEAD_WIDTH)
    decoded = torch.randn(NUM_SCORED, NUM_COLUMNS, HEAD_WIDTH)
    logits = head(decoded, TEXT)
    for clip in range(NUM_SCORED):
        for label in range(NUM_COLUMNS):
            expected = decoded[clip, label] @ head.linear.weight[0] + head.linear.bias[0]
            torch.testing.assert_close(logits[clip, label], expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("one_for_all", [False, True])
@torch.no_grad()
def test_text_alignment_is_a_scaled_cosine_with_an_offset(one_for_all: bool) -> None:
    head = TextAlignment(HEAD_WIDTH, TEXT_WIDTH)
    shape = (NUM_SCORED, HEAD_WIDTH) if one_for_all else (NUM_SCORED, NUM_COLUMNS, HEAD_WIDTH)
    x = torch.randn(shape)
    logits = head(x, TEXT)
    assert logits.shape == (NUM_SCORED, NUM_COLUMNS)
    for clip in range(NUM_SCORED):
        for label in range(NUM_COLUMNS):
            projected = head.project.weight @ (x[clip] if one_for_all else x[clip, label])
            cosine = torch.cosine_similarity(projected, TEXT[label], dim=0)
            # A new head has scale 10 and offset -3.
            torch.testing.assert_close(logits[clip, label], 10 * cosine - 3, atol=1e-5, rtol=0)


def test_positions_follow_the_published_formula() -> None:
    width, indices = 8, [0, 1, 5, 15]
    table = sinusoidal_positions(torch.tensor(indices), width)
    assert table.shape == (4, 8)
    assert table.dtype == torch.float32
    for row, position in enumerate(indices):
        for pair in range(width // 2):
            angle = position / 10000 ** (2 * pair / width)
            # float32 rounding of angles up to 15.
            assert abs(table[row, 2 * pair].item() - math.sin(angle)) < 1e-5
            assert abs(table[row, 2 * pair + 1].item() - math.cos(angle)) < 1e-5


def test_global_token_has_no_position_and_frame_zero_has_one() -> None:
    table = sinusoidal_positions(torch.tensor([-1, 0]), 6)
    assert torch.equal(table[0], torch.zeros(6))
    assert torch.equal(table[1], torch.tensor([0.0, 1.0] * 3))


def test_both_views_at_one_time_share_a_position() -> None:
    table = sinusoidal_positions(torch.tensor([-1, 0, 1, 0, 1]), 6)
    assert torch.equal(table[1:3], table[3:5])
