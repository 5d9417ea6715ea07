"""The released code's model, rebuilt from its description, against our settings for it.

Differences from the paper: the flat token sequence is pooled to T bins (strips of the image, not
frames) and its class token is one of the tokens; a whole `torch.nn.Transformer` stands in place of
the decoder; positions are added once, to the memory; both encoders see pixels in CLIP's scale.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import pytest
import torch
from torch import Tensor, nn
from transformers import TimesformerModel

from msqnet.config import ArchConfig
from msqnet.labels import LabelSet
from msqnet.model.builder import new_model
from tests.fixtures.models import (
    NUM_FRAMES,
    SIZE_PIXELS,
    tiny_clip_settings,
    write_clip_folder,
    write_timesformer_folder,
)
from tests.fixtures.transformer import copy_transformer

if TYPE_CHECKING:
    from pathlib import Path

    from msqnet.model.pretrained import MSQNet

LABELS = LabelSet(("sit", "walk", "sleep"))
WIDTH, HEADS, LAYERS, HIDDEN = 16, 2, 2, 32
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
# float32 through a dozen layers.
ROUNDING = 1e-5


class Reference(nn.Module):
    """The released code's forward pass, with every part taken from torch and transformers."""

    def __init__(self, model: MSQNet):
        super().__init__()
        config = copy.deepcopy(model.video_encoder.config)
        config._attn_implementation = "eager"  # it has no other
        self.timesformer = TimesformerModel(config)
        self.timesformer.load_state_dict(model.video_encoder.backbone.state_dict())
        self.clip = model.image_encoder.backbone
        self.to_width = model.project_memory
        encoder = model.query_encoder
        self.labels = encoder.label_embeddings
        weight = torch.cat([encoder.project_labels.weight, encoder.project_video.weight], dim=1)
        self.to_queries = nn.Linear(weight.shape[1], WIDTH, bias=False)
        self.to_queries.weight = nn.Parameter(weight)
        self.transformer = nn.Transformer(
            WIDTH, HEADS, LAYERS, LAYERS, HIDDEN, dropout=0.1, batch_first=True
        )
        copy_transformer(model.memory_encoder, model.decoder, self.transformer)
        self.group_weight, self.group_bias = model.head.weight, model.head.bias

    def forward(self, pixels: Tensor) -> Tensor:
        mean, std = (torch.tensor(values).view(3, 1, 1) for values in (CLIP_MEAN, CLIP_STD))
        images = (pixels / 255 - mean) / std  # (B, T, 3, H, W)
        num_clips, num_frames = images.shape[:2]
        tokens = self.to_width(self.timesformer(images).last_hidden_state)  # (B, 1 + P*T, D)
        strips = nn.functional.adaptive_avg_pool1d(tokens.mT, num_frames).mT  # (B, T, D)
        frames = self.clip(images.flatten(0, 1)).pooler_output  # (B*T, D'')
        video = frames.unflatten(0, (num_clips, num_frames)).mean(dim=1)  # (B, D'')
        video = video[:, None].expand(-1, len(self.labels), -1)
        labels = self.labels.expand(num_clips, -1, -1)
        queries = self.to_queries(torch.cat([labels, video], dim=-1))  # (B, K, D)
        positions = torch.zeros(num_frames, WIDTH)
        time = torch.arange(num_frames)[:, None]
        rate = torch.exp(torch.arange(0, WIDTH, 2) * (-torch.log(torch.tensor(10000.0)) / WIDTH))
        positions[:, 0::2], positions[:, 1::2] = (time * rate).sin(), (time * rate).cos()
        decoded = self.transformer(strips + positions, queries)  # (B, K, D)
        return (decoded * self.group_weight).sum(dim=-1) + self.group_bias


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> MSQNet:
    folder: Path = tmp_path_factory.mktemp("weights")
    clip = str(write_clip_folder(folder / "clip"))
    arch = ArchConfig(
        video_encoder="timesformer",
        video_weights=str(write_timesformer_folder(folder / "timesformer")),
        frame_pooling="flat",
        pixel_statistics="clip",
        video_query="image",
        image_encoder=clip,
        text_encoder=clip,
        num_frames=NUM_FRAMES,
        size_pixels=SIZE_PIXELS,
        width=WIDTH,
        memory_encoder_layers=LAYERS,
        memory_positions="input",
        decoder_layers=LAYERS,
        decoder_heads=HEADS,
        decoder_feedforward=HIDDEN,
        dropout=0.1,
        final_norms=True,
        direct_path=False,
        closeup=False,
    )
    torch.manual_seed(0)
    return new_model(arch, tiny_clip_settings(), LABELS).eval()


@pytest.fixture(scope="module")
def pixels() -> Tensor:
    shape = (2, NUM_FRAMES, 3, SIZE_PIXELS, SIZE_PIXELS)
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)


@torch.no_grad()
def test_reference_settings_equal_the_released_codes_model(model: MSQNet, pixels: Tensor) -> None:
    expected = Reference(model).eval()(pixels)
    torch.testing.assert_close(model(pixels=pixels).logits, expected, atol=ROUNDING, rtol=0)
    assert expected.std() > 0.01


@torch.no_grad()
def test_reference_settings_survive_saving(model: MSQNet, pixels: Tensor, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path)
    again = type(model).from_pretrained(tmp_path).eval()
    assert torch.equal(again(pixels=pixels).logits, model(pixels=pixels).logits)


@torch.no_grad()
def test_reference_memory_has_its_positions_before_the_decoder(
    model: MSQNet, pixels: Tensor
) -> None:
    memory, positions, _ = model.positioned(model.video_encoder(pixels), {})
    assert positions is None
    assert memory.shape == (2, NUM_FRAMES, WIDTH)
