"""Scores of frames: what is seen around each, and that every way of computing them agrees."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from msqnet.model.frame_head import around_frames
from msqnet.model.pretrained import MSQNet
from tests.fixtures.models import random_inputs, tiny_model

if TYPE_CHECKING:
    from pathlib import Path


def test_around_a_frame_are_two_on_either_side() -> None:
    pooled = torch.randn(2, 2, 6, 3, generator=torch.Generator().manual_seed(0))
    found = around_frames(pooled).unflatten(-1, (2, 2, 3))  # views, mean and change, features
    for view in range(2):
        for frame in range(6):
            near = pooled[:, view, max(0, frame - 2) : frame + 3]
            changes = (near[:, 1:] - near[:, :-1]).abs().mean(dim=1)
            torch.testing.assert_close(found[:, frame, view, 0], near.mean(dim=1))
            torch.testing.assert_close(found[:, frame, view, 1], changes)


def test_a_clip_of_one_frame_does_not_change() -> None:
    found = around_frames(torch.ones(1, 1, 1, 3))
    assert found.flatten().tolist() == [1, 1, 1, 0, 0, 0]


def framed_model() -> MSQNet:
    model = tiny_model("lite")
    head = model.add_frame_head()
    generator = torch.Generator().manual_seed(1)
    head.weight.copy_(0.05 * torch.randn(head.weight.shape, generator=generator))
    head.bias.copy_(torch.randn(head.bias.shape, generator=generator))
    return model.eval()


def test_frames_are_scored_beside_the_clip_and_saved_with_it(tmp_path: Path) -> None:
    model = framed_model()
    inputs = random_inputs("lite", 2)
    with torch.inference_mode():
        output = model(**inputs)
        plain = tiny_model("lite")(**inputs)
    assert output.frame_logits.shape == (2, inputs["pixels"].shape[1], 3)
    torch.testing.assert_close(output.logits, plain.logits)
    assert plain.frame_logits is None
    assert output.frame_logits.std(dim=1).min() > 0  # each frame has its own
    model.save_pretrained(tmp_path / "model")
    with torch.inference_mode():
        again = MSQNet.from_pretrained(tmp_path / "model")(**inputs)
    torch.testing.assert_close(again.frame_logits, output.frame_logits)
