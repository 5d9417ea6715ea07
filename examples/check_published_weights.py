"""Compare msqnet's encoders with transformers' own modules, on published weights.

    python examples/check_published_weights.py

Needs a network (about 1 GB of weights, kept by the Hugging Face cache), or folders that hold the
weights. Prints the largest absolute difference of each encoder and fails above 1e-4.
"""

from __future__ import annotations

import argparse
import sys

import torch
from transformers import CLIPVisionModel, TimesformerModel

from msqnet.errors import MsqnetError
from msqnet.model import image_encoders
from msqnet.model.registry import encoder_spec
from msqnet.model.video_encoders import timesformer
from msqnet.model.video_encoders.encoder import CLIP_STATISTICS

TOLERANCE = 1e-4


def normalized(
    pixels: torch.Tensor, mean: tuple[float, ...], std: tuple[float, ...]
) -> torch.Tensor:
    """uint8 (..., 3, H, W) as the published models expect it."""
    statistics = (torch.tensor(values).view(-1, 1, 1) for values in (mean, std))
    offset, scale = statistics
    return (pixels.float() / 255 - offset) / scale


@torch.inference_mode()
def timesformer_difference(name: str) -> float:
    """Largest difference of frame memory to means over transformers' tokens."""
    theirs = TimesformerModel.from_pretrained(name, dtype=torch.float32).eval()
    config = theirs.config
    ours = timesformer.TimesformerVideoEncoder.from_pretrained(name, config.num_frames).eval()
    shape = (1, config.num_frames, 3, config.image_size, config.image_size)
    pixels = torch.randint(0, 256, shape, dtype=torch.uint8)
    tokens = theirs(normalized(pixels, (0.45,) * 3, (0.225,) * 3))[0]
    patches = tokens[:, 1:].unflatten(1, (-1, config.num_frames))  # patch-major: (B, P, T, D')
    expected = torch.cat([tokens[:, :1], patches.mean(dim=1)], dim=1)
    return float((ours(pixels) - expected).abs().max())


@torch.inference_mode()
def clip_difference(name: str) -> float:
    """Largest difference of image embeddings to transformers' pooler output."""
    theirs = CLIPVisionModel.from_pretrained(name, dtype=torch.float32).eval()
    ours = image_encoders.ClipImageEncoder.from_pretrained(name).eval()
    size = theirs.config.image_size
    pixels = torch.randint(0, 256, (1, 2, 3, size, size), dtype=torch.uint8)
    expected = theirs(normalized(pixels[0], *CLIP_STATISTICS)).pooler_output
    return float((ours(pixels)[0] - expected).abs().max())


def main() -> int:
    """Run both comparisons."""
    usual = encoder_spec("timesformer").recipe().arch
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--timesformer", default=usual.video_weights, help="hub id or folder")
    parser.add_argument("--clip", default=usual.image_encoder, help="hub id or folder")
    settings = parser.parse_args()
    torch.manual_seed(0)
    try:
        differences = {
            settings.timesformer: timesformer_difference(settings.timesformer),
            settings.clip: clip_difference(settings.clip),
        }
    except (OSError, MsqnetError) as error:
        print(f"not checked: {error}", file=sys.stderr)
        return 2
    for name, difference in differences.items():
        verdict = "equal" if difference < TOLERANCE else f"DIFFERENT (expected < {TOLERANCE})"
        print(f"{name}: largest absolute difference {difference:.2e}: {verdict}")
    return int(max(differences.values()) >= TOLERANCE)


if __name__ == "__main__":
    sys.exit(main())
