"""Evidence of every frame: when in a window a label begins and ends.

The paper scores clips. Here the path from the backbone's pooled features to the scores, which the
direct path takes over a whole clip, is taken over the surroundings of each frame as well. It is
linear, hence fitted in seconds and without a starting point (`training.frame_fit`). What a window
shows is still told by its clip scores, which know more of it; frames tell where it changes.

Axes: B clips, G views, T frames, E pooled features, K labels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from msqnet.model.computing import Float32Module

# Frames on either side: with 16 frames in 2 s, five frames are five eighths of a second.
_REACH = 2


def around_frames(pooled: Tensor) -> Tensor:
    """What is seen around each frame and how fast it changes: (B, G, T, E) -> (B, T, 2 * G * E).

    Of each view the mean of the frame and two on either side, where there are any, and the mean
    absolute difference of successive ones among them; 0 for a clip of one frame.
    """
    num_frames = pooled.shape[2]
    at = torch.arange(num_frames, device=pooled.device)
    mean = _mean_near(at, at, pooled)
    change = torch.zeros_like(mean)
    if num_frames > 1:
        differences = (pooled[:, :, 1:] - pooled[:, :, :-1]).abs()
        change = _mean_near(at, at[:-1] + 0.5, differences)
    found = torch.stack([mean, change], dim=3)  # (B, G, T, 2, E)
    return found.transpose(1, 2).flatten(2)  # (B, T, G * 2 * E)


def _mean_near(at: Tensor, places: Tensor, values: Tensor) -> Tensor:
    """Mean of (B, G, S, E) values at S places over those near T others: (B, G, T, E)."""
    near = ((at[:, None] - places).abs() <= _REACH).to(values.dtype)  # (T, S)
    return (near / near.sum(dim=1, keepdim=True)) @ values


class FrameHead(Float32Module):
    """Logits of frames: W_k . around_frame(t) + b_k.

    Args:
        num_labels: K.
        num_features: G * E.
    """

    def __init__(self, num_labels: int, num_features: int):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(num_labels, 2 * num_features), requires_grad=False)
        self.bias = nn.Parameter(torch.zeros(num_labels), requires_grad=False)

    def forward(self, pooled: Tensor) -> Tensor:
        """Pooled features (B, G, T, E) -> (B, T, K) float32."""
        if torch.is_autocast_enabled(pooled.device.type):
            with torch.autocast(pooled.device.type, enabled=False):
                return self.forward(pooled)
        return F.linear(around_frames(pooled.float()), self.weight, self.bias)
