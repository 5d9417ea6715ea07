"""Does the sound of real clips tell a label? A linear probe on log-mel statistics, without a model.

Rows of a table whose sound is audible, with the label known: the mean, deviation and change over
time of 128 mel bins; a logistic regression whose strength is chosen by five groups of the training
rows. Beside it the shipped model, which sees the pictures alone, and the sum of both in logits, on
the same test rows.

    python benchmarks/sound_probe.py --data mixed_actors.csv --label fighting
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from msqnet.cli.main import exit_code_of
from msqnet.config import ModelOptions
from msqnet.data.table import read_table
from msqnet.evaluation.views import score_rows
from msqnet.inference.predictor import load_backend
from msqnet.metrics.average_precision import average_precision
from msqnet.model.audio_encoders import ASTEncoder
from msqnet.training.fitted_parts import fit_linear
from msqnet.video.reader import open_video
from msqnet.video.sound import window_sound

if TYPE_CHECKING:
    from msqnet.data.records import Record

_AUDIBLE = 1e-4  # root mean square; a quantum of 16 bits is 3e-5
_STRENGTHS = (1e-3, 1e-2, 1e-1, 1.0)
_NUM_FOLDS = 5


def statistics_of(record: Record) -> np.ndarray | None:
    """(3 N,) of the sound of a row; None where there is none, or none that can be heard."""
    config = ASTEncoder.sound_config(ASTEncoder.config_class(), {})
    with open_video(record.path, fps=record.fps) as video:
        start = record.start_seconds or 0.0
        end = video.end_seconds if record.end_seconds is None else record.end_seconds
        sound = window_sound(video, start, end, config)
        samples = video.sound_track(config.rate).between(start, end).samples
    if sound is None or sound.is_missing or np.sqrt((samples**2).mean()) < _AUDIBLE:
        return None
    num_frames = int((sound.times >= 0).sum() * config.token_step + config.token_frames)
    mels = sound.spectrogram[:num_frames]
    change = np.abs(np.diff(mels, axis=0)).mean(axis=0)
    found: np.ndarray = np.concatenate([mels.mean(axis=0), mels.std(axis=0), change])
    return found


def probe(
    known: np.ndarray, targets: np.ndarray, others: np.ndarray, strength: float
) -> np.ndarray:
    """Logits of other rows by a fit to known ones."""
    mean, deviation = known.mean(axis=0), known.std(axis=0) + 1e-6
    first, second = (torch.from_numpy((x - mean) / deviation).float() for x in (known, others))
    weight, bias = fit_linear(first, torch.from_numpy(targets[:, None]).float(), strength, 1)
    logits: np.ndarray = (second @ weight.float().T + bias.float())[:, 0].numpy()
    return logits


def precision(scores: np.ndarray, targets: np.ndarray) -> float:
    """Average precision of one label."""
    return float(average_precision(scores[:, None].astype(np.float64), targets[:, None])[0])


def held_out_logits(x: np.ndarray, y: np.ndarray, groups: list[str], strength: float) -> np.ndarray:
    """Logits of every row by a fit without its group."""
    names = np.unique(groups)
    order = np.random.default_rng(0).permutation(len(names)) % _NUM_FOLDS
    fold = np.array([dict(zip(names, order, strict=True))[group] for group in groups])
    found = np.zeros(len(y))
    for number in range(_NUM_FOLDS):
        held_out = fold == number
        found[held_out] = probe(x[~held_out], y[~held_out], x[held_out], strength)
    return found


def interval(scores: np.ndarray, targets: np.ndarray) -> str:
    """The bootstrap interval of 95 % over rows."""
    rng = np.random.default_rng(0)
    draws = (rng.integers(0, len(targets), len(targets)) for _ in range(1000))
    found = [precision(scores[rows], targets[rows]) for rows in draws]
    low, high = np.nanpercentile(found, [2.5, 97.5])
    return f"{precision(scores, targets):.2f} ({low:.2f} to {high:.2f})"


def main() -> None:
    """Print average precisions beside the share of positives, which is chance."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="table with train and test rows")
    parser.add_argument("--label", required=True)
    options = parser.parse_args()
    table = read_table(options.data)
    data = {}
    for split in ("train", "test"):
        rows = table.select(split)
        known = [
            place
            for place, record in enumerate(rows.records)
            if record.state(options.label) in (0.0, 1.0)
        ]
        found = [(place, statistics_of(rows.records[place])) for place in known]
        heard = [(place, values) for place, values in found if values is not None]
        part = rows.take([place for place, _ in heard])
        y = np.array([record.state(options.label) for record in part.records])
        data[split] = (part, np.stack([values for _, values in heard]), y)
        print(f"{split}: {len(known)} rows with a known label, {len(heard)} of them audible")
    part, x, y = data["train"]
    by_strength = {
        strength: precision(held_out_logits(x, y, part.group_ids(), strength), y)
        for strength in _STRENGTHS
    }
    strength = max(by_strength, key=lambda value: by_strength[value])
    print(f"train, sound, groups held out: {by_strength[strength]:.2f}; chance {y.mean():.2f}")
    part, others, truth = data["test"]
    sound = probe(x, y, others, strength)
    backend = load_backend(ModelOptions())
    column = backend.labels.indices([options.label])[0]
    scores = score_rows(part, backend)[:, column].clip(1e-6, 1 - 1e-6)
    pictures = np.log(scores / (1 - scores))
    print(f"test, sound: {interval(sound, truth)}; chance {truth.mean():.2f}")
    print(f"test, pictures (the shipped model): {interval(pictures, truth)}")
    print(f"test, sum of both in logits: {interval(pictures + sound, truth)}")


if __name__ == "__main__":
    sys.exit(exit_code_of(main))
