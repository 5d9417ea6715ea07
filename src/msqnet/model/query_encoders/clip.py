"""CLIP as query encoder: the image query of every clip and the text embedding of every label.

Both are CLIP's ``pooler_output``, before its projections, as in the paper and its released code
(for B/16: 768 wide for images, 512 for text). Published CLIP weights are MIT.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPVisionConfig, CLIPVisionModel
from transformers.initialization import no_init_weights

from msqnet.errors import CheckpointError, ConfigError, ShapeError
from msqnet.model.loading import check_loaded, load_backbone, load_tokenizer
from msqnet.model.query_encoders import tokenize_prompts

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

# Of pixels scaled to [0, 1]; what the published CLIP weights were trained with.
PIXEL_MEAN = (0.48145466, 0.4578275, 0.40821073)
PIXEL_STD = (0.26862954, 0.26130258, 0.27577711)
_MAX_PIXEL = 255.0
# In the configurations of OpenAI's checkpoints; the model then takes the highest token as the end.
_UNSET_END_TOKEN = 2


class ClipImageEncoder(nn.Module):
    """Image embeddings of the frames of a clip, by default from a frozen encoder.

    A frozen encoder stays in eval mode whatever `train` is called with.

    Args:
        config: of CLIP's image encoder.
        frozen: whether its parameters are left as they are.

    Attributes:
        config: the backbone's configuration.
        width: D'', the width of an embedding.
        frozen: as above.
        backbone: the `CLIPVisionModel`.
        pixel_mean: (3, 1, 1) float, persistent, so that it is never left on the meta device.
        pixel_std: (3, 1, 1) float, likewise.

    Raises:
        ConfigError: a backbone for frames that are not square RGB.
    """

    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(self, config: CLIPVisionConfig, *, frozen: bool = True):
        super().__init__()
        if not isinstance(config.image_size, int) or config.num_channels != len(PIXEL_MEAN):
            raise ConfigError(
                f"CLIP image_size {config.image_size} with {config.num_channels} channels: "
                "expected one number and 3 channels"
            )
        self.config = config
        self.width: int = config.hidden_size
        self.frozen = frozen
        self.backbone = CLIPVisionModel(config)
        self.backbone.requires_grad_(not frozen)
        self.register_buffer("pixel_mean", torch.tensor(PIXEL_MEAN).view(-1, 1, 1))
        self.register_buffer("pixel_std", torch.tensor(PIXEL_STD).view(-1, 1, 1))

    def train(self, mode: bool = True) -> ClipImageEncoder:
        """Set the mode, except that a frozen encoder stays in eval mode and without gradients."""
        super().train(mode and not self.frozen)
        # transformers makes new, trainable parameters when it loads a model that holds this one;
        # it then calls eval(), which comes by here.
        if self.frozen:
            self.backbone.requires_grad_(False)
        return self

    def forward(self, pixels: Tensor) -> Tensor:
        """Embed every frame on its own.

        Args:
            pixels: (B, T, 3, H, W) uint8 RGB; H and W are ``config.image_size``, T is free.

        Returns:
            (B, T, D'') float.

        Raises:
            ShapeError: another shape or type.
        """
        size = self.config.image_size
        expected = (len(PIXEL_MEAN), size, size)
        if pixels.dtype != torch.uint8 or pixels.ndim != 5 or tuple(pixels.shape[2:]) != expected:
            raise ShapeError(
                f"CLIP pixels: found {pixels.dtype} {tuple(pixels.shape)}, expected torch.uint8 "
                f"(B, T, 3, H, W) = (B, T, 3, {size}, {size}); resize clips to the model's size"
            )
        scaled = pixels.flatten(0, 1).to(torch.float32) / _MAX_PIXEL  # (B*T, 3, H, W)
        standardised = (scaled - self.pixel_mean.float()) / self.pixel_std.float()
        dtype = self.backbone.embeddings.patch_embedding.weight.dtype
        embeddings: Tensor = self.backbone(standardised.to(dtype)).pooler_output  # (B*T, D'')
        return embeddings.reshape(*pixels.shape[:2], self.width)  # (B, T, D'')

    @classmethod
    def from_pretrained(
        cls, name_or_folder: str | Path, *, frozen: bool = True
    ) -> ClipImageEncoder:
        """Start from a CLIP checkpoint, whole or image encoder only.

        Raises:
            CheckpointError: the weights are absent, incomplete, damaged or of another model.
        """
        source = load_backbone(
            CLIPVisionModel,
            name_or_folder,
            model_types={"clip", "clip_vision_model"},
            ignored_prefixes=("text_model.", "text_projection", "visual_projection", "logit_scale"),
        )
        # Every value is replaced below; drawing random ones first takes longer than loading.
        with no_init_weights():
            encoder = cls(source.config, frozen=frozen)
        encoder.backbone.load_state_dict(source.state_dict(), strict=True, assign=True)
        check_loaded(encoder, name_or_folder)
        return encoder.eval()


@torch.inference_mode()
def _pooled_text(model: CLIPTextModel, tokens: dict[str, Tensor]) -> Tensor:
    pooled: Tensor = model(**tokens).pooler_output
    return pooled


def clip_text_embeddings(name_or_folder: str | Path, prompts: Sequence[str]) -> Tensor:
    """Text embeddings of label prompts, as a start for the label queries.

    Args:
        name_or_folder: hub id or folder of a CLIP checkpoint, whole or text encoder only, with
            its tokenizer.
        prompts: K texts.

    Returns:
        (K, D_t) float32 on the CPU: ``pooler_output``, neither projected nor normalised.

    Raises:
        CheckpointError: the weights or the tokenizer are absent, incomplete or damaged.
        ConfigError: no prompt, or one that is empty or too long.
    """
    model = load_backbone(
        CLIPTextModel,
        name_or_folder,
        model_types={"clip", "clip_text_model"},
        ignored_prefixes=("vision_model.", "text_projection", "visual_projection", "logit_scale"),
    )
    tokenizer = load_tokenizer(name_or_folder)
    _check_end_token(tokenizer.eos_token_id, model.config.eos_token_id, name_or_folder)
    batches = tokenize_prompts(tokenizer, prompts, model.config.max_position_embeddings)
    return torch.cat([_pooled_text(model, tokens) for tokens in batches]).clone()


def _check_end_token(
    found: int | None, expected: int | list[int] | None, origin: str | Path
) -> None:
    """The pooled state is that of the end token; without one CLIP takes the first, in silence."""
    if expected not in (found, _UNSET_END_TOKEN):
        raise CheckpointError(
            f"{origin}: the tokenizer ends a text with token {found}, the text encoder expects "
            f"{expected}; take tokenizer and weights from the same checkpoint"
        )
