"""What `msqnet experiment run NAME --dry_run` shows."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from msqnet.cli.experiment_run import Asked
    from msqnet.data.records import ClipTable
    from msqnet.evaluation.experiment_plan import Cost

_STATES = {
    "folder": "a folder, at hand",
    "file": "a file, at hand",
    "cached": "in the hub's cache, at hand",
    "on the hub": "not at hand; fetched from the hub when the run starts",
    "unnamed": "NOT NAMED; no hub holds official weights, give a file or folder",
    "absent": "NOT AT HAND; no such file or folder, and not in the hub's cache",
}


def show_plan(console: Console, asked: Asked) -> bool:
    """Print what a run would need.

    Args:
        console: to print to.
        asked: the run.

    Returns:
        Whether it could start.

    Raises:
        DatasetError: a table that cannot be read.
        ConfigError: settings that do not fit each other.
    """
    from msqnet.evaluation.experiment_plan import cost_of, empty_model, weights_of
    from msqnet.labels import LabelSet
    from msqnet.model.builder import licences_of

    settings, data_set = asked.settings, asked.experiment.data_set
    arch = settings.trained_arch
    _say_what(console, asked)
    tables, is_ready = _show_data(console, asked)
    if tables and is_ready and asked.experiment.is_zero_shot:
        is_ready = _show_splits(console, asked, tables[0])
    weights = weights_of(arch)
    for item in weights:
        _say(console, f"weights of the {item.part}: {item.name or '-'}: {_STATES[item.state]}")
        is_ready &= item.is_usable
    for line in licences_of(arch):
        _say(console, f"licence: {line}")
    names = tables[0].select("train").label_names() if tables else ()
    labels = LabelSet(names or tuple(f"label {n}" for n in range(data_set.num_labels)))
    cost = cost_of(empty_model(settings, labels, data_set.task), settings)
    unknown = [item for item in weights if item.state not in ("folder", "cached", "file")]
    if unknown:
        _say(console, "sizes of weights that are not at hand: those of the published architecture")
    is_ready &= _show_cost(console, cost, len(labels))
    _say(console, f"settings (digest {settings.digest}):")
    for name, value in settings.trained().items():
        if name != "variant" or value:
            _say(console, f"  {name}: {value}")
    _say(console, "this run could start" if is_ready else "this run could NOT start, see above")
    return is_ready


def _say(console: Console, text: str) -> None:
    console.print(text, highlight=False, markup=False, soft_wrap=True)


def _say_what(console: Console, asked: Asked) -> None:
    from msqnet.evaluation.experiments import measures_of, preset_title

    experiment, preset = asked.experiment, asked.preset
    _say(console, f"{experiment.name}: {experiment.what}")
    _say(
        console,
        f"the paper: {experiment.paper:.2f} ({experiment.paper_metric}: {experiment.means})",
    )
    if experiment.note:
        _say(console, f"note: {experiment.note}")
    _say(console, f"preset {preset}: {preset_title(preset)}")
    for measure in measures_of(experiment):
        is_paper = ", the paper's figure" if measure.of_paper else ""
        _say(console, f"measured by protocol {measure.protocol}: {measure.metric}{is_paper}")
    for change in asked.modified:
        _say(console, f"modified: {change}")


def _show_data(console: Console, asked: Asked) -> tuple[list[ClipTable], bool]:
    """The tables, and whether a run could start with them."""
    from msqnet.data.table import read_table
    from msqnet.evaluation.experiment_plan import check_data, count_videos
    from msqnet.evaluation.experiment_runs import NO_TIMES

    data_set, times = asked.experiment.data_set, asked.times
    is_ready, tables = True, []
    if not asked.data:
        _say(console, f"data: not given, not checked; {data_set.convert}")
    for path in asked.data:
        table, findings = check_data(path, data_set)
        tables.append(table)
        counts = {name: sum(r.split == name for r in table.records) for name in table.split_names()}
        rows = ", ".join(f"{number} {name}" for name, number in counts.items()) or "no split"
        _say(console, f"data {path}: {len(table)} rows ({rows}), {len(table.label_names())} labels")
        for item in findings:
            _say(console, f"  {'ERROR' if item.is_error else 'warning'}: {item.message}")
        _say(console, f"  {count_videos(table).message}")
        is_ready &= not any(item.is_error for item in findings)
    needs_times = [m for m in data_set.measures if m.needs_times]
    if not asked.experiment.is_zero_shot and needs_times:
        for measure in needs_times if times is None else ():
            _say(console, f"not measured: {measure.protocol} {NO_TIMES}")
            _say(console, f"  {data_set.convert_with_times}")
        if times is not None:
            _say(console, f"times {times}: {len(read_table(times).select('test'))} test rows")
    return tables, is_ready


def _show_splits(console: Console, asked: Asked, table: ClipTable) -> bool:
    """The splits of the labels, and whether all of them can be run."""
    from msqnet.cli.experiment_run import label_splits
    from msqnet.evaluation.experiment_plan import check_splits

    names = table.select("train").label_names()
    findings = check_splits(table, label_splits(asked, names))
    for item in findings:
        _say(console, f"  {'ERROR: ' if item.is_error else ''}{item.message}")
    return not any(item.is_error for item in findings)


def _show_cost(console: Console, cost: Cost, num_labels: int) -> bool:
    """What it costs, and whether that can be had."""
    from msqnet.evaluation.experiment_memory import check_memory, device_memory
    from msqnet.evaluation.experiment_plan import MEMORY_FORMULA

    _say(
        console,
        f"parameters: {cost.num_parameters:,}, of which {cost.num_trained:,} are trained "
        f"({num_labels} labels)",
    )
    for part, (number, trained) in cost.parameters.items():
        _say(console, f"  {part}: {number:,}, trained {trained:,}")
    _say(console, f"one clip: {cost.flops / 1e9:,.1f} GFLOPs forward (2 for a multiply-add)")
    _say(
        console,
        f"memory of training: about {cost.memory_bytes / 2**30:.1f} GiB, "
        f"{cost.activation_bytes / 2**20:,.0f} MiB of it for each of {cost.batch_size} clips",
    )
    _say(console, f"  = {MEMORY_FORMULA}")
    finding = check_memory(cost, device_memory())
    _say(console, f"  {'ERROR: ' if finding.is_error else ''}{finding.message}")
    return not finding.is_error
