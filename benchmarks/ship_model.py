"""Copy a trained model, in half precision, to where the package looks for its models.

python benchmarks/ship_model.py runs/mine mixed-actors-lite --data clips.csv --split train

Prints the size of the weights and how far the scores of some rows move by it. Afterwards come the
windows for `msqnet teach` (`benchmarks.teaching_background`), if the model lacks them, and then the
graphs (`msqnet export`), whose manifest names every file.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

import msqnet.models
from msqnet.cli.main import exit_code_of
from msqnet.data.table import read_table
from msqnet.evaluation.views import score_rows
from msqnet.inference.torch_backends import TorchBackend
from msqnet.model.pretrained import MSQNet, save_in_half
from msqnet.models import model_folder

NUM_ROWS = 40


def main() -> None:
    """Convert, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("model", help="run folder or model folder")
    parser.add_argument("name", help="name of the shipped model")
    parser.add_argument("--data", required=True, help="table of clips to measure the drift on")
    parser.add_argument("--split", default="train", help="rows to measure it on")
    settings = parser.parse_args()
    source = model_folder(settings.model)
    target = Path(msqnet.models.__file__).parent / settings.name
    save_in_half(MSQNet.from_pretrained(source), target)
    table = read_table(settings.data).select(settings.split)
    rows = np.linspace(0, len(table) - 1, NUM_ROWS).astype(int)
    before, after = (
        score_rows(table.take(rows), TorchBackend.from_pretrained(folder))
        for folder in (source, target)
    )
    size = (target / "model.safetensors").stat().st_size
    print(f"{target.name}: {size / 1e6:.1f} MB")
    print(
        f"scores of {NUM_ROWS} rows of {settings.split} x {before.shape[1]} labels: largest "
        f"difference {np.abs(before - after).max():.1e}"
    )


if __name__ == "__main__":
    sys.exit(exit_code_of(main))
