"""`msqnet experiment`: the rows of the paper's tables, by name."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from msqnet.config import ArchConfig, AugmentationConfig, TrainConfig
from msqnet.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

_REQUESTS = "'list', 'run NAME' or 'table NUMBER'"


def experiment(
    request: list[str],
    data: list[str] | None = None,
    out: str | None = None,
    times: str | None = None,
    preset: Literal["default", "reference"] = "default",
    arch: ArchConfig = ArchConfig(),  # noqa: B008 - frozen
    train: TrainConfig = TrainConfig(),  # noqa: B008 - frozen
    augmentation: AugmentationConfig = AugmentationConfig(),  # noqa: B008 - frozen
    num_splits: int = 10,
    split_lists: str | None = None,
    table: int | None = None,
    runs: str = "runs",
    format: Literal["text", "markdown", "csv"] = "text",
    num_bootstrap: int = 1000,
    device: str = "auto",
    resume: bool = False,
    dry_run: bool = False,
    skip_errors: bool = False,
) -> int:
    """Reproduce rows of the paper's tables, and show them beside the paper's figures.

    `list` names all rows. `run NAME` trains on split `train` of the tables given by `--data` and
    measures on split `test`, in the paper's own metric and in sound ones; its settings are those
    of the row, and whatever is changed is written into the result. `table NUMBER` shows a table of
    the paper with what was run.

    Args:
        request: What to do.
        data: Tables of clips as `msqnet convert` makes them, with splits train and test; several
            where a figure is the mean of several official splits.
        out: Run folder of `run`; by default named after the row, in the folder of `--runs`.
        times: Table of the test videos whose rows have times, for protocols that need them.
        preset: `default` is the paper, and what is correct where it is silent; `reference` is its
            released code.
        arch: What the model is made of; the row's by default.
        train: How it is trained; the row's by default.
        augmentation: Random changes to training clips; the row's by default.
        num_splits: Zero-shot rows: random splits of the labels.
        split_lists: Zero-shot rows: published splits instead; see `msqnet zero-shot`.
        table: Rows of this table only, for `list`.
        runs: Folder in which `table` looks for finished runs, and `run` writes without `--out`.
        format: Of `table`.
        num_bootstrap: Resamples for the 95 % intervals in each metrics.json; 0 for none.
        device: Where finished models are scored: auto, cpu, cuda, ...
        resume: Go on with a run that was stopped or killed.
        dry_run: Only say what `run` would need: data, weights, memory, FLOPs, licences, settings.
        skip_errors: Leave out rows whose video is missing or unreadable instead of stopping.

    Returns:
        Exit code; of a dry run 2 where the run could not start.
    """
    match request:
        case ["list"]:
            return _list(table)
        case ["table", number]:
            return _show_table(_table_number(number), Path(runs), format)
        case ["run", name]:
            from msqnet.cli.experiment_run import Asked, run_experiment
            from msqnet.evaluation.experiments import ExperimentSettings, find_experiment, resolve
            from msqnet.evaluation.zero_shot import read_splits

            chosen = find_experiment(name)
            as_named = resolve(chosen, preset)
            asked = Asked(
                experiment=chosen,
                preset=preset,
                settings=ExperimentSettings(arch, train, augmentation, as_named.variant),
                as_named=as_named,
                data=tuple(Path(path) for path in data or ()),
                times=None if times is None else Path(times),
                out=_default_folder(runs, name, preset) if out is None else Path(out),
                num_splits=num_splits,
                split_lists=() if split_lists is None else tuple(read_splits(Path(split_lists))),
                num_bootstrap=num_bootstrap,
                device=device,
                resume=resume,
                skip_errors=skip_errors,
            )
            return run_experiment(asked, dry_run=dry_run)
    raise ConfigError(f"experiment {' '.join(request)}: expected {_REQUESTS}")


def defaults(argv: Sequence[str]) -> dict[str, Any]:
    """Settings of the experiment that the arguments name, by their dotted option names."""
    import yaml

    from msqnet.evaluation.experiments import Preset, experiments, resolve

    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--config", type=Path)
    parser.add_argument("--preset")
    known, _ = parser.parse_known_args(list(argv))
    is_file = known.config is not None and known.config.is_file()
    written = known.config.read_text(encoding="utf-8") if is_file else ""
    try:
        in_file: Any = yaml.safe_load(written)
    except yaml.YAMLError as error:
        raise ConfigError(f"--config {known.config} is not YAML: {error}") from error
    in_file = in_file if isinstance(in_file, dict) else {}
    words = [*argv, *map(str, in_file.get("request") or ())]
    named = next((experiments()[word] for word in words if word in experiments()), None)
    preset: Any = known.preset or in_file.get("preset") or "default"
    # What no preset is called, the parser refuses and says which there are.
    if named is None or named.reported or preset not in get_args(Preset):
        return {}
    return resolve(named, preset).dotted()


def _default_folder(runs: str, name: str, preset: str) -> Path:
    """Where a row is run: both presets of it have room."""
    return Path(runs) / (name if preset == "default" else f"{name}-{preset}")


def _table_number(text: str) -> int:
    from msqnet.evaluation.experiments import table_title

    number = int(text) if text.isdecimal() else 0
    if not number:
        raise ConfigError(f"experiment table {text}: expected a number, such as 1")
    table_title(number)  # refuses what the paper does not have
    return number


def _list(number: int | None) -> int:
    from msqnet.evaluation.experiments import TABLES, experiments, table_title

    for shown in TABLES if number is None else (number,):
        print(f"Table {shown}: {table_title(shown)}")
        rows = [
            (
                item.name,
                item.data_set.title,
                f"{item.paper:.2f} {item.paper_metric}",
                f"{item.what}; as {item.same_as}" if item.same_as else item.what,
            )
            for item in experiments().values()
            if item.table == shown
        ]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for row in rows:
            cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
            print("  ".join(["", *cells]).rstrip())
    return 0


def _show_table(number: int, runs: Path, style: Literal["text", "markdown", "csv"]) -> int:
    from msqnet.evaluation.experiment_results import find_results, format_table, table_lines
    from msqnet.evaluation.experiments import table_title

    lines = table_lines(number, find_results(runs) if runs.is_dir() else ())
    if style == "text":
        print(f"Table {number}: {table_title(number)}")
    print(format_table(lines, style), end="")
    return 0
