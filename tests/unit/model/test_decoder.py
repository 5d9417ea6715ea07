"""The decoder against PyTorch's own layer and against the equations written as loops."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from msqnet.model.attention import MultiHeadAttention
from msqnet.model.decoder import DecoderLayer, QueryDecoder

WIDTH, HEADS, HIDDEN = 16, 4, 24
NUM_CLIPS, NUM_LABELS, NUM_ITEMS = 2, 5, 7
# float32 sums in another order; values are of the size of 1.
ROUNDING = 1e-5


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture
def layer() -> DecoderLayer:
    layer = DecoderLayer(WIDTH, HEADS, HIDDEN, dropout=0.0).eval()
    for parameter in layer.parameters():
        nn.init.normal_(parameter, std=0.4)
    return layer


@pytest.fixture
def queries() -> Tensor:
    return torch.randn(NUM_CLIPS, NUM_LABELS, WIDTH)


@pytest.fixture
def memory() -> Tensor:
    return torch.randn(NUM_CLIPS, NUM_ITEMS, WIDTH)


def copy_attention(source: MultiHeadAttention, target: nn.MultiheadAttention) -> None:
    parts = (source.query, source.key, source.value)
    target.in_proj_weight.copy_(torch.cat([part.weight for part in parts]))
    target.in_proj_bias.copy_(torch.cat([part.bias for part in parts]))
    target.out_proj.load_state_dict(source.output.state_dict())


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
    heard = looped_attention(layer.self_attention, queries, queries, queries)
    expected = layer.self_attention_norm(queries + heard)
    seen = looped_attention(layer.cross_attention, expected, memory + positions, memory)
    expected = layer.cross_attention_norm(expected + seen)
    hidden = layer.expand(expected).clamp(min=0)
    expected = layer.feedforward_norm(expected + layer.contract(hidden))

    decoder = QueryDecoder(1, WIDTH, HEADS, HIDDEN, dropout=0.0).eval()
    decoder.layers[0].load_state_dict(layer.state_dict())
    decoded = decoder(queries, memory, positions)
    torch.testing.assert_close(decoded, expected, atol=ROUNDING, rtol=0)
    # Were positions values too, the difference would be far above rounding.
    assert (layer(queries, memory + positions, memory + positions) - decoded).abs().max() > 0.01


@torch.no_grad()
def test_without_query_positions_permuted_queries_give_permuted_results(
    queries: Tensor, memory: Tensor
) -> None:
    decoder = QueryDecoder(2, WIDTH, HEADS, HIDDEN, dropout=0.0).eval()
    positions = torch.randn(NUM_ITEMS, WIDTH)
    order = torch.randperm(NUM_LABELS)
    straight = decoder(queries, memory, positions)
    permuted = decoder(queries[:, order], memory, positions)
    torch.testing.assert_close(permuted, straight[:, order], atol=ROUNDING, rtol=0)


@torch.no_grad()
def test_learned_query_positions_are_added_to_the_queries(queries: Tensor, memory: Tensor) -> None:
    plain = QueryDecoder(2, WIDTH, HEADS, HIDDEN, dropout=0.0).eval()
    learned = QueryDecoder(2, WIDTH, HEADS, HIDDEN, 0.0, num_query_positions=NUM_LABELS).eval()
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
