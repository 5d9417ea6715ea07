"""`msqnet train`: train a model on a table of labelled clips."""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from msqnet.cli.console import progress_bar, say, shown
from msqnet.config import ArchConfig, AugmentationConfig, TableOptions, TrainConfig
from msqnet.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from msqnet.data.records import ClipTable
    from msqnet.training.table_training import TrainedModel

_RENAMED = {
    r"train\.loss\.(?:focal|asymmetric|class_balanced|equalisation|logit_adjustment)_(\w+)": (
        r"train.loss.options.\1"
    ),
    r"train\.schedule": "train.restart_epochs, where 0 stands for one cosine",
    r"augmentation\.(?:brightness|contrast|saturation|hue)": "augmentation.colour_strength",
}
"""New names of options, by patterns of the old ones."""


def train_command(
    data: list[str],
    out: str,
    arch: ArchConfig = ArchConfig(),  # noqa: B008 - frozen
    train: TrainConfig = TrainConfig(),  # noqa: B008 - frozen
    augmentation: AugmentationConfig = AugmentationConfig(),  # noqa: B008 - frozen
    task: Literal["auto", "multi_label", "single_label"] = "auto",
    reading: TableOptions = TableOptions(),  # noqa: B008 - frozen
    split: str | None = None,
    init_from: str | None = None,
    features: str | None = None,
    resume: bool = False,
    keep: Literal["result", "all"] = "result",
    skip_errors: bool = False,
) -> int:
    """Train a model on a table of labelled clips.

    Settings that you leave out come from the recipe of the video encoder
    (`--arch.video_encoder`). The command prints those that differ, and writes all to `run.yaml` in
    the run folder.

    Args:
        data: Table (.csv, .tsv, .xlsx, .ods, .parquet) with the columns path, labels and, where
            they are known, start, end, annotated, split, group; or a folder per label; or several.
        out: Run folder; the finished model is in its `best/`, and `--model OUT` finds it.
        arch: Architecture of a new model.
        train: How the model is trained.
        task: `multi_label` (several actions at once) or `single_label` (exactly one); `auto` takes
            the one that the rows show, and says so.
        reading: How the table is read.
        augmentation: Random changes to training clips.
        split: Rows to train on; by default those of split `train` where the table has one.
        init_from: Finished model to start from; weights of labels of the same name are kept.
        features: Folder that keeps the features of frozen encoders for other runs on the same
            clips, also simultaneous ones; by default they are removed at the end.
        resume: Continue a run that was stopped or killed; the result is the same.
        keep: What stays in the run folder: the `result`, or `all`, with checkpoints and folds.
        skip_errors: Leave out rows whose video is missing or unreadable instead of stopping.
    """
    from rich.console import Console
    from transformers.utils.logging import disable_progress_bar

    from msqnet.training import table_training

    disable_progress_bar()  # of every file that it writes
    # Of several processes (torchrun, accelerate launch) the first one speaks.
    console = Console(stderr=True, quiet=os.environ.get("RANK", "0") != "0")
    with progress_bar("preparing", console) as show:
        trained = table_training.train(
            data,
            out,
            arch=arch,
            train=train,
            augmentation=augmentation,
            task=task,
            reading=reading,
            split=split,
            init_from=init_from,
            features=features,
            resume=resume,
            keep=keep,
            skip_errors=skip_errors,
            report=partial(say, console),
            progress=lambda what, done, total: show(done, total, what),
        )
    if not console.quiet:
        show_summary(console, trained)
    return 0


def defaults(argv: Sequence[str]) -> dict[str, Any]:
    """Settings of the recipe that the arguments choose, by their dotted option names."""
    import yaml

    from msqnet.model.registry import VIDEO_ENCODERS, recipe_defaults

    for old, new in _RENAMED.items():
        for argument in argv:
            found = re.match(rf"--{old}(?:=|$)", argument)
            if found:
                raise ConfigError(f"{argument.partition('=')[0]} is now --{found.expand(new)}")
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--config", type=Path)
    parser.add_argument("--arch", default="")
    parser.add_argument("--arch.video_encoder", dest="encoder")
    known, _ = parser.parse_known_args(list(argv))
    config = known.config
    written = config.read_text(encoding="utf-8") if config and config.is_file() else ""
    try:
        in_file = _mapping(_mapping(yaml.safe_load(written)).get("arch"))
        in_argument = _mapping(yaml.safe_load(known.arch))
    except yaml.YAMLError as error:
        raise ConfigError(f"--config or --arch is not YAML: {error}") from error
    encoder = known.encoder or {**in_file, **in_argument}.get("video_encoder")
    # A name that no recipe has is left to the parser, whose message lists the choices.
    return recipe_defaults(encoder if encoder in VIDEO_ENCODERS else ArchConfig.video_encoder)


def _mapping(value: Any) -> dict[str, Any]:
    """The value if it is a mapping, else an empty one: the parser says what is wrong with it."""
    return value if isinstance(value, dict) else {}


def show_summary(console: Console, trained: TrainedModel) -> None:
    """Print the table of labels, the window, the size of the folder and the next command."""
    folder, validation = trained.folder, trained.validation
    config = json.loads((trained.model_folder / "config.json").read_text(encoding="utf-8"))
    console.print(_labels(config, validation, trained.table))
    seconds, reason = trained.window
    say(console, f"window: {seconds:g} s, {reason}")
    num_bytes = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    say(
        console,
        f"{folder}: {num_bytes / 1e6:.0f} MB, the model in {trained.model_folder}",
    )
    say(console, f"next: msqnet predict VIDEO --model {shlex.quote(str(folder))} --out results")


def _labels(config: dict[str, Any], validation: dict[str, Any], table: ClipTable) -> Any:
    from rich.table import Table
    from rich.text import Text

    clips: dict[str, set[str]] = {name: set() for name in config["labels"]}
    for record, clip in zip(table.records, table.clip_ids(), strict=True):
        for name in record.labels:
            clips.get(name, set()).add(clip)
    evidence = config.get("evidence")
    rule = "Labels that are not reliable make no segments."
    if not evidence:
        rule = "No row was held out to test the labels: all of them make segments."
    found = Table(
        caption="AP: average precision on held-out rows; low: the low end of its 95 % interval "
        f"over groups; chance: AP of guesses. {rule}"
    )
    found.add_column("label", overflow="fold")
    for heading in ("clips", "AP", "low", "chance", "threshold"):
        found.add_column(heading, justify="right")
    found.add_column("status")
    columns = zip(clips, config["thresholds"], evidence or [{} for _ in clips], strict=True)
    for name, threshold, item in columns:
        ap = item.get("ap", validation.get("label_ap", {}).get(name))
        status = item.get("status", "not tested")
        found.add_row(
            Text(name),
            str(len(clips[name])),
            shown(ap, 2),
            *(shown(item.get(part), 2) for part in ("ap_low", "chance")),
            "-" if config["task"] == "single_label" else shown(threshold, 2),
            Text(status, style="" if status == "reliable" else "yellow"),
        )
    return found
