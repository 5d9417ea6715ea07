"""Parameters and peak memory of scoring one clip, for each video encoder, with random weights.

python benchmarks/encoder_memory.py lite
python benchmarks/encoder_memory.py timesformer

Prints millions of parameters and the process's peak resident memory on the CPU.
"""

from __future__ import annotations

import argparse
import resource
import sys

import torch
from transformers import CLIPVisionConfig, TimesformerConfig

from msqnet.cli.main import exit_code_of
from msqnet.model.configuration import MSQNetConfig
from msqnet.model.pretrained import MSQNet
from msqnet.model.registry import VIDEO_ENCODERS, encoder_spec
from msqnet.model.video_encoders.lite import LiteConfig

NUM_LABELS = 18


def configuration(encoder: str) -> MSQNetConfig:
    """The recipe's sizes."""
    arch = encoder_spec(encoder).recipe().arch
    is_lite = encoder == "lite"
    vision = CLIPVisionConfig(
        hidden_size=768,
        intermediate_size=3072,
        num_hidden_layers=12,
        num_attention_heads=12,
        patch_size=16,
    )
    return MSQNetConfig(
        video_encoder=LiteConfig() if is_lite else TimesformerConfig(num_frames=arch.num_frames),
        image_encoder=None if is_lite else vision,
        video_query="trunk" if is_lite else "image",
        direct_path=is_lite,
        labels=[f"label {number}" for number in range(NUM_LABELS)],
        label_width=384 if is_lite else 512,
        width=arch.width,
        decoder_layers=arch.decoder_layers,
        decoder_feedforward=arch.decoder_feedforward,
        clip={"num_frames": arch.num_frames, "closeup": is_lite},
    )


def main() -> None:
    """Score one clip and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("encoder", choices=sorted(VIDEO_ENCODERS))
    encoder = parser.parse_args().encoder
    model = MSQNet(configuration(encoder)).eval()
    pixels = torch.randint(0, 256, (1, 16, 3, 224, 224), dtype=torch.uint8)
    with torch.inference_mode():
        model(pixels, pixels if encoder == "lite" else None)
    millions = sum(parameter.numel() for parameter in model.parameters()) / 1e6
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"{encoder}: {millions:.1f} M parameters, peak {peak:.1f} GB")


if __name__ == "__main__":
    sys.exit(exit_code_of(main))
