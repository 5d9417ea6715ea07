"""Give a finished model the head that places borders to the frame, from timed rows.

    python -m benchmarks.joined_clips mixed_actors.csv --split train --films 48 --out films
    python -m benchmarks.fit_frame_head MODEL films/table.csv --out MODEL_WITH_HEAD
    msqnet export --model MODEL_WITH_HEAD

`msqnet train` does so by itself where the training rows are timed to their edges. The shipped
model is trained on clips; films of these, joined, tell when each begins. What is there is told by
the scores of its windows as before: no other weight changes.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

from msqnet.cli.console import progress_bar
from msqnet.cli.main import exit_code_of
from msqnet.config import ArchConfig, AugmentationConfig
from msqnet.data.dataset import ClipDataset
from msqnet.data.table import read_table
from msqnet.errors import ConfigError
from msqnet.model.pretrained import MSQNet, save_in_half
from msqnet.model.registry import encoder_spec
from msqnet.models import changed_model, model_folder
from msqnet.training.features import FeatureStore
from msqnet.training.fitted_parts import partition
from msqnet.training.frame_fit import fit_frames
from msqnet.training.training_run import Run, cut_into_windows


def main() -> None:
    """Fit, judge, write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("model", help="run folder, model folder or name of a shipped model")
    parser.add_argument("data", help="table of rows that are timed to their edges")
    parser.add_argument("--features", type=Path, default=Path("features"), help="folder for them")
    parser.add_argument("--out", type=Path, required=True, help="folder of the changed model")
    options = parser.parse_args()
    source = model_folder(options.model)
    model = MSQNet.from_pretrained(source)
    config, recipe = model.config, encoder_spec("lite").recipe()
    table = cut_into_windows(read_table(options.data), config.window_seconds)
    run = Run(
        table=table,
        labels=config.label_set,
        arch=ArchConfig(),
        clip=config.clip_config,
        augmentation=AugmentationConfig(),
        train=recipe.train,
        task=config.task,
        folder=options.out,
        init_from=str(source),
        provenance={},
        given_window=(config.window_seconds, "that of the model"),
    )
    rows = ClipDataset(table, config.label_set, config.clip_config)
    store = FeatureStore(options.features, model, rows, 0, "after_trunk")
    with progress_bar("windows") as progress:
        store.fill(np.arange(len(table)), augmented=False, progress=progress)
    fit_frames(run, model, store, partition(run), print)
    if not config.frame_head:
        raise ConfigError(f"{options.data}: no head of frames could be fitted, see above")
    config.provenance = {**(config.provenance or {}), "frame_head": Path(options.data).name}
    with changed_model(source, options.out, overwrite=False) as draft:
        save_in_half(model, draft)
    print(f"written: {options.out}")


if __name__ == "__main__":
    sys.exit(exit_code_of(main))
