"""The shipped graph computes what the backbone of other models with the same weights computes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from msqnet.config import ArchConfig, ClipConfig
from msqnet.labels import LabelSet
from msqnet.model.builder import new_model
from msqnet.model.pretrained import MSQNet
from msqnet.models import model_folder
from msqnet.training.backbone_graph import backbone_graph
from msqnet.training.features import FrozenPart


@pytest.fixture
def shipped() -> MSQNet:
    model = MSQNet.from_pretrained(model_folder())
    model.train(mode=False)
    return model


def test_features_are_those_of_pytorch(shipped: MSQNet) -> None:
    graph = backbone_graph(shipped)
    assert graph is not None
    noise = np.random.default_rng(0).integers(0, 256, (3, 3, 224, 224), dtype=np.uint8)
    frames = torch.from_numpy(noise)
    with torch.inference_mode():
        expected = shipped.frame_features(frames)
    found = graph(frames)
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        torch.testing.assert_close(found[name], values, atol=2e-4, rtol=1e-4)

    clips = frames.repeat(1, 6, 1, 1)[:, : 3 * 6].unflatten(1, (6, 3))[:1].repeat(1, 3, 1, 1, 1)
    clips = clips[:, : shipped.config.clip_config.num_frames]
    frozen = FrozenPart(shipped, "after_trunk")
    crops = (clips, 255 - clips)  # the whole frame, and something else
    without = [frozen(clips, crop) for crop in crops]
    frozen.prepare()
    for expected, crop in zip(without, crops, strict=True):
        with_graph = frozen(clips, crop)
        for name, values in expected.items():
            torch.testing.assert_close(with_graph[name], values, atol=1e-2, rtol=1e-2)


def test_any_other_weight_has_no_graph(shipped: MSQNet) -> None:
    with torch.no_grad():
        next(shipped.video_encoder.trunk.parameters()).add_(1e-3)
    assert backbone_graph(shipped) is None


@pytest.mark.parametrize("grid", [2, 4])
def test_other_sizes_have_no_graph(grid: int) -> None:
    size = 224 if grid == 2 else 128
    arch = ArchConfig(
        video_weights="random", text_encoder="random", encoder_grid=grid, size_pixels=size
    )
    clip = ClipConfig(num_frames=arch.num_frames, size_pixels=size, closeup=arch.closeup)
    model = new_model(arch, clip, LabelSet(("a",)))
    with torch.no_grad():
        shipped = MSQNet.from_pretrained(model_folder()).video_encoder.trunk.state_dict()
        model.video_encoder.trunk.load_state_dict(shipped)
    model.train(mode=False)
    assert backbone_graph(model) is None


@pytest.mark.weights
def test_new_lite_models_have_the_shipped_backbone() -> None:
    arch = ArchConfig(text_encoder="random")
    clip = ClipConfig(num_frames=16, size_pixels=224, closeup=True)
    model = new_model(arch, clip, LabelSet(("a",)))
    model.train(mode=False)
    assert backbone_graph(model) is not None
