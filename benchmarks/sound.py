"""Does a model hear? Drawn clips whose actions only sound tells apart: video, audio and both.

The picture of a clip is noise that knows nothing of its labels. Its sound holds one or two of five
actions at random times and with random loudness, on noise. The encoders are small, an AST and the
image encoder of a CLIP on every frame. They start from random weights, and all but the encoder
behind the video query is trained. Results are macro mAP on clips that no model saw,
beside the mean share of positives, which a scorer without knowledge gets.

    python benchmarks/sound.py --out runs/sound
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import numpy as np
import torch
from transformers import ASTConfig, ASTModel, CLIPVisionConfig, CLIPVisionModel

from msqnet.cli.main import exit_code_of
from msqnet.config import ArchConfig, AugmentationConfig, ClipConfig, TrainConfig
from msqnet.data.table import read_table
from msqnet.evaluation.zero_shot_protocol import table_scores
from msqnet.labels import LabelSet
from msqnet.metrics.average_precision import average_precision, macro_map
from msqnet.model.builder import clip_settings
from msqnet.model.pretrained import MSQNet
from msqnet.training.fit import fit
from msqnet.training.training_run import Run, trainable_labels, variant

if TYPE_CHECKING:
    from msqnet.data.records import ClipTable

RATE = 16000
SECONDS = 2.0
FPS = 8
SIDE = 32
LABELS = ("clicks_fast", "clicks_slow", "noise_bursts", "sweep_down", "sweep_up")
NAMES = ("video", "audio", "both")
_NOISE = 0.005


def action_sound(label: str, rng: np.random.Generator) -> np.ndarray:
    """(n,) float64 of a whole clip: one action at a random time, with a random loudness."""
    at = np.arange(round(SECONDS * RATE)) / RATE
    loudness = 10 ** rng.uniform(-0.7, -0.2)
    if label.startswith("sweep"):
        length = rng.uniform(0.5, 0.9)
        start = rng.uniform(0, SECONDS - length)
        low, ratio = rng.uniform(300, 600), rng.uniform(4, 6)
        share = np.clip((at - start) / length, 0, 1)
        rising = share if label == "sweep_up" else 1 - share
        tone = np.sin(2 * np.pi * np.cumsum(low * ratio**rising) / RATE)
        return loudness * tone * (np.sin(np.pi * share) > 0)
    if label == "noise_bursts":
        start = rng.uniform(0, 1.0)
        is_on = (at >= start) & (at < start + 0.9) & (((at - start) % 0.3) < 0.15)
        return loudness * 0.5 * rng.normal(size=len(at)) * is_on
    hertz = 2.0 if label == "clicks_slow" else 6.0
    phase = rng.uniform(0, 1 / hertz)
    since = (at - phase) % (1 / hertz)
    return loudness * np.exp(-since / 0.01) * np.sin(2 * np.pi * 1800 * since)


def write_clip(path: Path, labels: tuple[str, ...], rng: np.random.Generator) -> None:
    """A clip whose picture is noise that does not depend on the labels."""
    sound = _NOISE * rng.normal(size=round(SECONDS * RATE))
    for label in labels:
        sound += action_sound(label, rng)
    samples = (sound.clip(-1, 1) * 32767).astype(np.int16)[None]
    with av.open(str(path), "w") as container:
        video: Any = container.add_stream("mpeg4", rate=FPS)
        video.width = video.height = SIDE
        video.pix_fmt = "yuv420p"
        track = container.add_stream("pcm_s16le", rate=RATE, layout="mono")
        colour = rng.integers(40, 215, 3)
        for number in range(round(SECONDS * FPS)):
            noise = rng.normal(0, 20, (SIDE, SIDE, 3))
            image = (colour + noise).clip(0, 255).astype(np.uint8)
            picture = av.VideoFrame.from_ndarray(image, "rgb24")
            picture.pts, picture.time_base = number, Fraction(1, FPS)
            container.mux(video.encode(picture))
        container.mux(video.encode(None))
        heard = av.AudioFrame.from_ndarray(samples, "s16", "mono")
        heard.sample_rate, heard.time_base, heard.pts = RATE, Fraction(1, RATE), 0
        container.mux(track.encode(heard))
        container.mux(track.encode(None))


def draw_clips(folder: Path, num_train: int, num_test: int, seed: int = 0) -> Path:
    """Draw clips and their table, with the splits train and test."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "clips.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "labels", "split"])
        for number in range(num_train + num_test):
            rng = np.random.default_rng([seed, number])
            chosen = rng.choice(LABELS, int(rng.integers(1, 3)), replace=False)
            name = f"clip-{number:04d}.mkv"
            write_clip(folder / name, tuple(map(str, chosen)), rng)
            writer.writerow([name, "|".join(chosen), "train" if number < num_train else "test"])
    return path


def write_encoders(folder: Path) -> None:
    """Random weights as checkpoint folders: ``ast`` (2 s of sound, 64 bins) and ``clip``."""
    torch.manual_seed(0)
    size = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    sound = ASTConfig(
        **size, intermediate_size=128, hidden_dropout_prob=0.0, max_length=200, num_mel_bins=64
    )
    ASTModel(sound).save_pretrained(folder / "ast")
    image = CLIPVisionConfig(**size, intermediate_size=128, image_size=SIDE, patch_size=16)
    CLIPVisionModel(image).save_pretrained(folder / "clip")


def new_run(table: ClipTable, encoders: Path, folder: Path, epochs: int) -> Run:
    """Settings that all three models share."""
    arch = ArchConfig(
        video_encoder="vit",
        video_weights=str(encoders / "clip"),
        video_query="image",
        image_encoder=str(encoders / "clip"),
        audio_encoder=f"ast:{encoders / 'ast'}",
        text_encoder="random",
        num_frames=4,
        size_pixels=SIDE,
        width=64,
        decoder_heads=4,
        decoder_feedforward=128,
        direct_path=False,
        closeup=False,
    )
    train = TrainConfig(
        finetune="full",
        epochs=epochs,
        learning_rate=1e-3,
        encoder_learning_rate=1e-3,
        batch_size=16,
        warmup_share=0.1,
        cached_views=0,
        probe_strength=0.0,
        folds=0,
        validation_share=0.0,
        num_workers=1,
    )
    clip = ClipConfig(
        size_pixels=SIDE, short_side_pixels=SIDE, decode_short_side_pixels=SIDE, resize="stretch"
    )
    return Run(
        table=table,
        labels=LabelSet(trainable_labels(table)),
        arch=arch,
        clip=clip_settings(arch, clip),
        augmentation=AugmentationConfig(),
        train=train,
        task="multi_label",
        folder=folder,
        init_from=None,
        provenance={"data": table.path.name},
    )


def precision_of(base: Run, test: ClipTable, name: str) -> np.ndarray:
    """Average precision (K,) of one of `NAMES` on the test rows."""
    arch = variant(base.arch, name)
    folder = base.folder / name
    run = replace(base, arch=arch, clip=clip_settings(arch, base.clip), folder=folder)
    model = MSQNet.from_pretrained(fit(run, report=lambda line: None, resume=folder.exists()))
    found: np.ndarray = average_precision(table_scores(model, run, test), test.targets(run.labels))
    return found


def measure(
    out: Path, num_train: int, num_test: int, epochs: int, names: tuple[str, ...] = NAMES
) -> dict[str, Any]:
    """Draw, train and score: macro mAP and AP by label of each of `names`, and chance."""
    path = out / "clips" / "clips.csv"
    if not path.exists():
        draw_clips(path.parent, num_train, num_test)
    table = read_table(path)
    test = table.select("test")
    encoders = out / "encoders"
    if not encoders.exists():
        write_encoders(encoders)
    base = new_run(table.select("train"), encoders, out, epochs)
    results: dict[str, Any] = {"chance": float(test.targets(base.labels).mean())}
    for name in names:
        precision = precision_of(base, test, name)
        by_label = dict(zip(base.labels, precision.round(3).tolist(), strict=True))
        results[name] = {"macro_map": macro_map(precision), "label_ap": by_label}
        print(f"{name}: macro mAP {results[name]['macro_map']:.3f} {by_label}", flush=True)
    print(f"chance: {results['chance']:.3f}; {len(base.table)} train and {len(test)} test clips")
    return results


def main() -> None:
    """Print the results and write them to ``sound.json``."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="folder for clips and runs")
    parser.add_argument("--train", type=int, default=400, help="training clips")
    parser.add_argument("--test", type=int, default=200, help="test clips")
    parser.add_argument("--epochs", type=int, default=20)
    options = parser.parse_args()
    results = measure(options.out, options.train, options.test, options.epochs)
    (options.out / "sound.json").write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    sys.exit(exit_code_of(main))
