"""Parameters, memory and time of each video encoder, with random weights, on the CPU.

python benchmarks/encoder_memory.py lite
python benchmarks/encoder_memory.py videomae --train
python benchmarks/encoder_memory.py videomae --train --layers 2

Prints millions of parameters and the process's peak resident memory while it scores one clip. With
``--train``, a table of what a training step on one clip takes, for each way to train the encoder,
with and without gradient checkpointing. Each row is a process of its own; time is that of its
processor on one thread, which other programs hardly change. ``--layers`` makes the encoder smaller
than the published one.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from dataclasses import asdict
from typing import Any

import torch
from transformers import CLIPVisionConfig

from msqnet.cli.main import exit_code_of
from msqnet.config import TrainConfig
from msqnet.errors import ConfigError
from msqnet.model.builder import clip_settings
from msqnet.model.configuration import MSQNetConfig
from msqnet.model.pretrained import MSQNet
from msqnet.model.registry import VIDEO_ENCODERS, encoder_spec
from msqnet.model.video_encoders.lite import LiteConfig
from msqnet.training.finetuning import (
    add_adapters,
    freeze,
    parameter_groups,
    turn_on_checkpointing,
)

NUM_LABELS = 18
NUM_STEPS = 2
_CLIP_B16 = {"patch_size": 16, "hidden_size": 768, "intermediate_size": 3072}
# glibc otherwise keeps what was freed: up to 1.4 GB more, which says nothing of what is needed.
_RETURNS_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(2**20)}
_LAYERS = ("num_hidden_layers", "num_spatial_layers", "num_temporal_layers")


def configuration(encoder: str, *, layers: int = 0, has_image_query: bool = True) -> MSQNetConfig:
    """The recipe's sizes."""
    spec = encoder_spec(encoder)
    arch = spec.recipe().arch
    is_lite = encoder == "lite"
    kind: Any = spec.load()
    video = LiteConfig() if is_lite else kind.default_config(arch.num_frames, arch.size_pixels)
    for name in _LAYERS:
        if layers and hasattr(video, name):
            setattr(video, name, min(layers, getattr(video, name)))
    has_query = has_image_query and not is_lite
    return MSQNetConfig(
        video_encoder=video,
        image_encoder=CLIPVisionConfig(**_CLIP_B16) if has_query else None,
        video_query="trunk" if is_lite else "image" if has_query else "none",
        direct_path=is_lite,
        labels=[f"label {number}" for number in range(NUM_LABELS)],
        label_width=384 if is_lite else 512,
        width=arch.width,
        decoder_layers=arch.decoder_layers,
        decoder_feedforward=arch.decoder_feedforward,
        clip=asdict(clip_settings(arch, spec.recipe().clip)),
    )


def inputs_of(model: MSQNet) -> dict[str, torch.Tensor]:
    """One clip."""
    clip = model.config.clip_config
    form = (1, clip.num_frames, 3, clip.size_pixels, clip.size_pixels)
    names = ("pixels", "motion_crops") if clip.closeup else ("pixels",)
    return {name: torch.randint(0, 256, form, dtype=torch.uint8) for name in names}


def peak_gigabytes() -> float:
    """Of this process, resident."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def measure(encoder: str, finetune: str, *, checkpoints: bool, layers: int) -> None:
    """Train for some steps and print, as JSON, what they took."""
    torch.set_num_threads(1)
    model = MSQNet(configuration(encoder, layers=layers, has_image_query=False))
    freeze(model, finetune)
    if checkpoints:
        turn_on_checkpointing(model)
    train = TrainConfig(finetune="full")
    if finetune == "lora":
        add_adapters(model, train.lora)
    optimizer = torch.optim.AdamW(parameter_groups(model, train))
    model.train()
    inputs = inputs_of(model)
    labels = torch.randint(0, 2, (1, NUM_LABELS)).float()
    seconds = []
    for _ in range(NUM_STEPS):
        began = time.process_time()
        optimizer.zero_grad()
        model(**inputs, labels=labels).loss.backward()
        optimizer.step()
        seconds.append(time.process_time() - began)
    encoder_parameters = list(model.video_encoder.parameters())
    trained = sum(p.numel() for p in encoder_parameters if p.requires_grad)
    # The first step also makes room for what all of them need.
    print(json.dumps([trained, peak_gigabytes(), seconds[-1]]))


def train_table(encoder: str, layers: int) -> None:
    """Print a row for each way to train that the encoder has."""
    print(
        "| encoder | `finetune` | checkpointing | trained of it, M | peak, GB | step | relative |"
    )
    print("|---|---|---|---:|---:|---:|---:|")
    first = 0.0
    for finetune in ("full", "lora", "after_trunk", "decoder"):
        for checkpoints in (False, True):
            if checkpoints and finetune == "decoder":
                continue
            command = [sys.executable, __file__, encoder, "--one", finetune]
            command += ["--layers", str(layers), *(["--checkpoints"] if checkpoints else [])]
            environment = {**os.environ, **_RETURNS_MEMORY}
            done = subprocess.run(
                command, capture_output=True, text=True, check=False, env=environment
            )
            if done.returncode:
                print(done.stderr.strip().splitlines()[-1], file=sys.stderr)
                break
            trained, gigabytes, seconds = json.loads(done.stdout.splitlines()[-1])
            first = first or seconds
            told = f"| `{encoder}` | `{finetune}` | {'on' if checkpoints else 'off'} "
            told += f"| {trained / 1e6:.2f} | {gigabytes:.1f} | {seconds:.1f} s "
            print(f"{told}| {seconds / first:.2f} |", flush=True)


def main() -> None:
    """Score one clip, or train on it, and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("encoder", choices=sorted(VIDEO_ENCODERS))
    parser.add_argument("--train", action="store_true", help="what a training step takes")
    parser.add_argument("--layers", type=int, default=0, help="of the encoder; 0: as published")
    parser.add_argument("--one", metavar="FINETUNE", help="one row of --train, as JSON")
    parser.add_argument("--checkpoints", action="store_true", help="of --one: save activations")
    options = parser.parse_args()
    encoder = options.encoder
    if options.one:
        try:
            measure(encoder, options.one, checkpoints=options.checkpoints, layers=options.layers)
        except ConfigError as error:
            sys.exit(str(error))
        return
    if options.train:
        train_table(encoder, options.layers)
        return
    model = MSQNet(configuration(encoder, layers=options.layers)).eval()
    with torch.inference_mode():
        model(**inputs_of(model))
    millions = sum(parameter.numel() for parameter in model.parameters()) / 1e6
    print(f"{encoder}: {millions:.1f} M parameters, peak {peak_gigabytes():.1f} GB")


if __name__ == "__main__":
    sys.exit(exit_code_of(main))
