"""Compare msqnet's encoders with transformers' own modules, on published weights.

    python examples/check_published_weights.py

Needs a network (about 4 GB of weights, kept by the Hugging Face cache), or folders that hold the
weights. Prints the largest absolute difference of each encoder, and fails above 1e-4; and a table
of the open models, each with what is expected: the same logits as transformers to 1e-3, scale and
bias in the range of their training, and the scores of some words on the demo clips, to be looked
at.
"""

from __future__ import annotations

import argparse
import sys

import torch
from transformers import AutoModel, CLIPVisionModel, TimesformerModel

from msqnet import Predictor
from msqnet.demo import demo_clips
from msqnet.errors import MsqnetError
from msqnet.model import image_encoders
from msqnet.model.checkpoints import load_tokenizer
from msqnet.model.dual_encoders import load_dual_encoder, load_siglip_tokenizer
from msqnet.model.registry import encoder_spec
from msqnet.model.video_encoders import timesformer
from msqnet.model.video_encoders.encoder import CLIP_STATISTICS, HALF_STATISTICS
from msqnet.models.hub import TOKENIZER_FILES, checkpoint_folder
from msqnet.models.open_models import OPEN_MODELS, open_model_source

TOLERANCE = 1e-4
LOGIT_TOLERANCE = 1e-3
# CLIP's scale was kept below 100 in training and ended there (Radford et al. 2021, section 2.5);
# SigLIP started from a scale of 10 and a bias of -10 (Zhai et al. 2023, section 3.2); both grow.
EXPECTED = {"clip": ((90.0, 100.1), (0.0, 0.0)), "siglip": ((10.0, 200.0), (-25.0, -5.0))}
WORDS = ("a person falls", "a rat stands up", "a rat washes its face", "a worm crawls")


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
    theirs = TimesformerModel.from_pretrained(checkpoint_folder(name), dtype=torch.float32).eval()
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
    theirs = CLIPVisionModel.from_pretrained(checkpoint_folder(name), dtype=torch.float32).eval()
    ours = image_encoders.ClipImageEncoder.from_pretrained(name).eval()
    size = theirs.config.image_size
    pixels = torch.randint(0, 256, (1, 2, 3, size, size), dtype=torch.uint8)
    expected = theirs(normalized(pixels[0], *CLIP_STATISTICS)).pooler_output
    return float((ours(pixels)[0] - expected).abs().max())


@torch.inference_mode()
def open_model_lines(name: str) -> tuple[bool, list[str]]:
    """Whether an open model is as expected, and what to print of it."""
    folder = checkpoint_folder(open_model_source(name) or name, TOKENIZER_FILES)
    ours, theirs = load_dual_encoder(folder), AutoModel.from_pretrained(folder).eval()
    size = ours.image_encoder.config.image_size
    pixels = torch.randint(0, 256, (1, 4, 3, size, size), dtype=torch.uint8)
    found = ours.similarity.logits(ours.image_encoder(pixels)[0], ours.text_encoder.embed(WORDS))
    is_clip = ours.kind == "clip"
    tokenizer = load_tokenizer(folder) if is_clip else load_siglip_tokenizer(folder)
    most = theirs.config.text_config.max_position_embeddings
    padding = {"padding": "max_length", "max_length": most, "padding_side": "right"}
    tokens = tokenizer(list(WORDS), **padding, return_tensors="pt")
    given = {"input_ids": tokens["input_ids"]}
    if is_clip:  # SigLIP was trained without a mask
        given["attention_mask"] = tokens["attention_mask"]
    images = normalized(pixels[0], *(CLIP_STATISTICS if is_clip else HALF_STATISTICS))
    expected = theirs(pixel_values=images, **given).logits_per_image
    difference = float((found - expected).abs().max())
    scales, biases = EXPECTED[ours.kind]
    checks = {
        f"logits differ by {difference:.1e} (expected < {LOGIT_TOLERANCE})": (
            difference < LOGIT_TOLERANCE
        ),
        f"scale {ours.similarity.logit_scale:.1f} (expected {scales[0]:g} to {scales[1]:g})": (
            scales[0] <= ours.similarity.logit_scale <= scales[1]
        ),
        f"bias {ours.similarity.logit_bias:.1f} (expected {biases[0]:g} to {biases[1]:g})": (
            biases[0] <= ours.similarity.logit_bias <= biases[1]
        ),
    }
    lines = [
        f"{name}: {text}: {'ok' if is_fine else 'DIFFERENT'}" for text, is_fine in checks.items()
    ]
    predictor = Predictor.from_pretrained(str(folder), labels=WORDS)
    for clip in demo_clips():
        peaks = predictor(clip.path).peaks(len(WORDS))
        lines.append(
            f"  {clip.path.name}: {', '.join(f'{item.label} {item.score:.2f}' for item in peaks)}"
        )
    return all(checks.values()), lines


def main() -> int:
    """Run all comparisons."""
    usual = encoder_spec("timesformer").recipe().arch
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--timesformer", default=usual.video_weights, help="hub id or folder")
    parser.add_argument("--clip", default=usual.image_encoder, help="hub id or folder")
    names = [item.name for item in OPEN_MODELS]
    parser.add_argument("--open-models", nargs="*", default=names, help="names, ids or folders")
    settings = parser.parse_args()
    torch.manual_seed(0)
    try:
        differences = {
            settings.timesformer: timesformer_difference(settings.timesformer),
            settings.clip: clip_difference(settings.clip),
        }
        tables = [open_model_lines(name) for name in settings.open_models]
    except (OSError, MsqnetError) as error:
        print(f"not checked: {error}", file=sys.stderr)
        return 2
    for name, difference in differences.items():
        verdict = "equal" if difference < TOLERANCE else f"DIFFERENT (expected < {TOLERANCE})"
        print(f"{name}: largest absolute difference {difference:.2e}: {verdict}")
    for _, lines in tables:
        print("\n".join(lines))
    is_fine = all(is_as_expected for is_as_expected, _ in tables)
    return int(max(differences.values()) >= TOLERANCE or not is_fine)


if __name__ == "__main__":
    sys.exit(main())
