"""The class token of CLIP's image encoder, without what it does not need.

The result is that of `transformers.CLIPVisionModel` (`tests/parity`), whose modules and parameters
are used. Two things are computed otherwise:

- Of the last layer only the class token is used, so only its query and its feed-forward part are
  computed: about a twelfth of a network of 12 layers less.
- CLIP's activation x * sigmoid(1.702 x) is silu(1.702 x) / 1.702, one pass instead of three; the
  two factors go into the matrix products around it.

Axes: N images, M tokens of an image, D width, A heads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.activations import QuickGELUActivation

from msqnet.model.attention import EAGER, attention_weights

if TYPE_CHECKING:
    from transformers import CLIPVisionModel

_QUICK_GELU_FACTOR = 1.702


def pooled_class_token(model: CLIPVisionModel, pixels: Tensor) -> Tensor:
    """The ``pooler_output`` of images.

    Args:
        model: CLIP's image encoder.
        pixels: (N, 3, H, W) float, standardised.

    Returns:
        (N, D) float.
    """
    parts: Any = model
    hidden = parts.pre_layrnorm(parts.embeddings(pixels))  # (N, M, D)
    *layers, last = parts.encoder.layers
    for layer in layers:
        attended, _ = layer.self_attn(layer.layer_norm1(hidden), attention_mask=None)
        hidden = hidden + attended
        hidden = hidden + _feedforward(layer.mlp, layer.layer_norm2(hidden))
    token = hidden[:, :1] + _class_attention(last.self_attn, last.layer_norm1(hidden))
    token = token + _feedforward(last.mlp, last.layer_norm2(token))
    pooled: Tensor = parts.post_layernorm(token[:, 0])
    return pooled


def _class_attention(attention: Any, tokens: Tensor) -> Tensor:
    """What the first of the tokens (N, M, D) sees in all of them, (N, 1, D)."""
    heads = (attention.num_heads, -1)
    query = attention.q_proj(tokens[:, :1]).unflatten(2, heads).transpose(1, 2)  # (N, A, 1, D/A)
    keys = attention.k_proj(tokens).unflatten(2, heads).transpose(1, 2)  # (N, A, M, D/A)
    values = attention.v_proj(tokens).unflatten(2, heads).transpose(1, 2)
    if attention.config._attn_implementation == EAGER:
        seen = attention_weights(query, keys, attention.scale) @ values
    else:
        seen = F.scaled_dot_product_attention(query, keys, values)
    projected: Tensor = attention.out_proj(seen.transpose(1, 2).flatten(2))
    return projected


def _feedforward(network: Any, tokens: Tensor) -> Tensor:
    """(N, M, D) -> (N, M, D)."""
    expand, contract = network.fc1, network.fc2
    # A layer that was wrapped, for instance by an adapter, computes more than its weight says.
    is_plain = type(expand) is nn.Linear and type(contract) is nn.Linear
    if not is_plain or not isinstance(network.activation_fn, QuickGELUActivation):
        result: Tensor = network(tokens)
        return result
    factor = _QUICK_GELU_FACTOR
    flat = tokens.flatten(0, 1)
    hidden = torch.addmm(expand.bias, flat, expand.weight.t(), beta=factor, alpha=factor)
    hidden = F.silu(hidden, inplace=not torch.is_grad_enabled())
    flat = torch.addmm(contract.bias, hidden, contract.weight.t(), alpha=1 / factor)
    contracted: Tensor = flat.unflatten(0, tokens.shape[:2])
    return contracted
