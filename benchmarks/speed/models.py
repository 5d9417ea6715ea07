"""The paper's model with random weights, and the same weights in Hugging Face's own modules."""

from __future__ import annotations

import copy
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import torch
from transformers import CLIPVisionConfig, CLIPVisionModel, TimesformerConfig, TimesformerModel
from transformers.initialization import no_init_weights

from msqnet.config import ClipConfig
from msqnet.model.configuration import MSQNetConfig
from msqnet.model.pretrained import MSQNet

if TYPE_CHECKING:
    from torch import Tensor

    from benchmarks.speed.settings import Settings, Sizes

_SEED = 0
# Of trained weights attention matters; with transformers' initial 0.02 it would hardly.
_INITIAL_STD = 0.04


def timesformer_config(sizes: Sizes) -> TimesformerConfig:
    """A configuration that nothing has written into."""
    return TimesformerConfig(
        num_frames=sizes.num_frames,
        image_size=sizes.size_pixels,
        patch_size=sizes.patch_pixels,
        hidden_size=sizes.width,
        num_hidden_layers=sizes.layers,
        num_attention_heads=sizes.heads,
        intermediate_size=sizes.intermediate,
        initializer_range=_INITIAL_STD,
    )


def clip_config(sizes: Sizes) -> CLIPVisionConfig:
    """Likewise of CLIP's image encoder."""
    return CLIPVisionConfig(
        image_size=sizes.size_pixels,
        patch_size=sizes.patch_pixels,
        hidden_size=sizes.width,
        num_hidden_layers=sizes.layers,
        num_attention_heads=sizes.heads,
        intermediate_size=sizes.intermediate,
    )


def model_config(sizes: Sizes, num_labels: int, window_seconds: float = 2.0) -> MSQNetConfig:
    """TimeSformer, a CLIP image query, and the paper's decoder."""
    clip = ClipConfig(
        num_frames=sizes.num_frames,
        size_pixels=sizes.size_pixels,
        short_side_pixels=sizes.short_side_pixels,
        decode_short_side_pixels=sizes.short_side_pixels,
    )
    return MSQNetConfig(
        video_encoder=timesformer_config(sizes),
        image_encoder=clip_config(sizes),
        video_query="image",
        direct_path=False,
        labels=[f"label {number}" for number in range(num_labels)],
        label_width=sizes.decoder_width,
        width=sizes.decoder_width,
        decoder_layers=sizes.decoder_layers,
        decoder_feedforward=sizes.decoder_intermediate,
        clip=asdict(clip),
        window_seconds=window_seconds,
    )


def paper_model(settings: Settings) -> MSQNet:
    """With random weights, the same every time, in eval mode."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_SEED)
        config = model_config(settings.sizes, settings.num_labels, settings.window_seconds)
        model = MSQNet(config).eval()
        # transformers starts them at zero, which would hide an error of their order.
        embeddings = model.video_encoder.backbone.embeddings
        torch.nn.init.normal_(embeddings.time_embeddings, std=_INITIAL_STD)
    return model


@dataclass(frozen=True)
class HuggingFaceParts:
    """What a user would assemble from `transformers`, each window on its own.

    Attributes:
        timesformer: as it comes.
        clip: as it comes.
        head: the part of our model behind the encoders, which is the same for both ways.
        sizes: of the model.
    """

    timesformer: TimesformerModel
    clip: CLIPVisionModel
    head: MSQNet
    sizes: Sizes
    video_statistics: tuple[Tensor, Tensor]
    image_statistics: tuple[Tensor, Tensor]

    @classmethod
    def of(cls, model: MSQNet, sizes: Sizes) -> HuggingFaceParts:
        """With the weights of a model, which share its memory."""
        video, image = model.video_encoder, model.image_encoder
        # Every value is replaced; drawing random ones first would take longer than the rest.
        with no_init_weights():
            timesformer = TimesformerModel(timesformer_config(sizes)).eval()
            clip = CLIPVisionModel(clip_config(sizes)).eval()
        timesformer.load_state_dict(video.backbone.state_dict(), strict=True, assign=True)
        clip.load_state_dict(image.backbone.state_dict(), strict=True, assign=True)
        return cls(
            timesformer,
            clip,
            _without_encoders(model),
            sizes,
            (video.pixel_mean, video.pixel_std),
            (image.pixel_mean, image.pixel_std),
        )

    def to(self, device: torch.device) -> HuggingFaceParts:
        """The same on a device."""
        moved = [
            tuple(tensor.to(device) for tensor in pair)
            for pair in (self.video_statistics, self.image_statistics)
        ]
        parts = (self.timesformer.to(device), self.clip.to(device), self.head.to(device))  # type: ignore[arg-type]
        return HuggingFaceParts(*parts, self.sizes, *moved)  # type: ignore[arg-type]

    @property
    def attention(self) -> dict[str, str]:
        """How each part computes attention, as its own configuration says."""
        return {
            "TimesformerModel": str(self.timesformer.config._attn_implementation),
            "CLIPVisionModel": str(self.clip.config._attn_implementation),
        }

    def frame_memory(self, pixels: Tensor) -> Tensor:
        """Clips (B, T, 3, S, S) uint8 -> (B, 1 + T, D'), the global token and each frame's mean."""
        standardised = _standardised(pixels, self.video_statistics)
        tokens = self.timesformer(pixel_values=standardised).last_hidden_state  # (B, 1+P*T, D')
        frames = tokens[:, 1:].unflatten(1, (-1, self.sizes.num_frames)).mean(dim=1)  # (B, T, D')
        return torch.cat([tokens[:, :1], frames], dim=1)

    def video_query(self, pixels: Tensor) -> Tensor:
        """Clips (B, T, 3, S, S) uint8 -> (B, D''), the mean of their frames' embeddings."""
        standardised = _standardised(pixels.flatten(0, 1), self.image_statistics)
        pooled = self.clip(pixel_values=standardised).pooler_output  # (B*T, D'')
        return pooled.unflatten(0, pixels.shape[:2]).mean(dim=1)

    def logits(self, pixels: Tensor) -> Tensor:
        """Clips (B, T, 3, S, S) uint8 -> (B, K)."""
        answer = self.head(
            frame_memory=self.frame_memory(pixels), video_query=self.video_query(pixels)
        )
        logits: Tensor = answer.logits
        return logits

    def scores(self, pixels: Tensor) -> Tensor:
        """Clips (B, T, 3, S, S) uint8 -> (B, K) in [0, 1]."""
        return self.head.scores(self.logits(pixels))


def _without_encoders(model: MSQNet) -> MSQNet:
    """A model that shares all weights with another one but lacks its encoders."""
    head = copy.copy(model)
    head._modules = dict(model._modules)
    head._modules["video_encoder"] = head._modules["image_encoder"] = None
    return head


def _standardised(pixels: Tensor, statistics: tuple[Tensor, Tensor]) -> Tensor:
    mean, std = statistics
    return (pixels.float() / 255 - mean) / std
