"""`msqnet models`: the models that can be named without a folder."""

from __future__ import annotations


def models() -> int:
    """List the models that come with msqnet, with size, licence and labels."""
    from rich.console import Console
    from rich.table import Table

    from msqnet.models import SHIPPED_MODEL, available_models

    found = available_models()
    if not found:
        print("This installation holds no model; train one: msqnet train --help")
        return 0
    table = Table("name", "size", "licence", "labels")
    for model in found:
        name = f"{model.name} (default)" if model.name == SHIPPED_MODEL else model.name
        size = f"{model.size_bytes / 1e6:.1f} MB"
        table.add_row(name, size, model.licence or "not stated", ", ".join(model.labels))
    console = Console()
    console.print(table)
    for model in found:
        console.print(f"{model.name}: {model.folder}", soft_wrap=True, highlight=False)
    return 0
