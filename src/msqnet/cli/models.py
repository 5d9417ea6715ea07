"""`msqnet models`: the models that can be named without a folder."""

from __future__ import annotations

from pathlib import Path

from msqnet.errors import check


def models(fetch: str | None = None) -> int:
    """List the models that come with msqnet, and those that score any words without training.

    Args:
        fetch: Fetch a model instead, from the Hugging Face Hub into its cache: a name of the second
            list, or an id. After that it works without a network.
    """
    from rich.console import Console
    from rich.table import Table

    from msqnet.cli.console import say
    from msqnet.models import SHIPPED_MODEL, available_models
    from msqnet.models.hub import TOKENIZER_FILES, checkpoint_folder
    from msqnet.models.open_models import OPEN_MODELS, RECOMMENDED, open_model_source

    console = Console()
    if fetch is not None:
        source = open_model_source(fetch)
        names = ", ".join(item.name for item in OPEN_MODELS)
        check(
            source is not None or Path(fetch).is_dir() or "/" in fetch,
            f"{fetch!r} is no model that can be fetched; known are {names}, and ids owner/name of "
            "the Hugging Face Hub",
        )
        folder = checkpoint_folder(source or fetch, TOKENIZER_FILES if source else ())
        say(console, f"{source or fetch}: {folder}")
        return 0
    found = available_models()
    if not found:
        print("This installation holds no model; train one: msqnet train --help")
    table = Table("name", "size", "licence", "labels", title="come with msqnet")
    for model in found:
        name = f"{model.name} (default)" if model.name == SHIPPED_MODEL else model.name
        size = f"{model.size_bytes / 1e6:.1f} MB"
        table.add_row(name, size, model.licence or "not stated", ", ".join(model.labels))
    if found:
        console.print(table)
    for model in found:
        console.print(f"{model.name}: {model.folder}", soft_wrap=True, highlight=False)
    headings = ("name", "download", "licence", "scores", "checked by us")
    table = Table(*headings, title="score any words without training: --labels")
    for item in OPEN_MODELS:
        name = f"{item.name} (recommended)" if item is RECOMMENDED else item.name
        checked = "yes" if item.is_checked else "no"
        table.add_row(name, item.size, item.licence, item.about, checked)
    console.print(table)
    for item in OPEN_MODELS:
        console.print(f"{item.name}: {item.hub_id}", soft_wrap=True, highlight=False)
    return 0
