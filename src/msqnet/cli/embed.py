"""`msqnet embed`: a map of video embeddings before and after the decoder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from msqnet.cli.console import number_table, progress_bar, read_clips, say, say_notes, shown
from msqnet.config import EmbeddingMapConfig, TableOptions

if TYPE_CHECKING:
    from rich.console import Console

    from msqnet.explain.embeddings import EmbeddingPanels


def embed(
    data: list[str],
    out: str,
    model: str | None = None,
    text_model: str | None = None,
    split: str | None = None,
    reading: TableOptions = TableOptions(),  # noqa: B008 - frozen
    map: EmbeddingMapConfig = EmbeddingMapConfig(),  # noqa: B008 - frozen
    num_named: int | None = None,
    format: Literal["png", "pdf", "svg"] = "png",
    batch_size: int = 8,
    device: str = "auto",
) -> int:
    """Map the embeddings of labelled clips before and after the decoder.

    The figure shows t-SNE maps side by side, coloured by label. The metrics measure how well labels
    are separated in the whole embedding, not in the map: whether the nearest clips of other groups
    have the same labels, and the silhouette.

    Args:
        data: Tables of clips, or folders per label; see `msqnet check`.
        out: Folder for the figure, embedding_map.json with the metrics and their definitions, and
            embeddings.parquet with the rows, their places in the maps and their embeddings.
        model: A finished model: a folder, a Hugging Face Hub id, or a name listed by
            `msqnet models`. By default the model that comes with msqnet.
        text_model: A model without a video query, trained with `--arch.video_query none
            --arch.direct_path false`; by default its panel is left out.
        split: Rows to map, for instance `test`; by default all.
        reading: How tables are read.
        map: How maps and metrics are computed.
        num_named: Labels with a colour and a mark of their own, by default as many as colours can
            be told apart; the others share one.
        format: Format of the figure: `png`, `pdf` or `svg`.
        batch_size: Clips embedded at a time.
        device: auto, cpu, cuda, cuda:1, mps, ...
    """
    from rich.console import Console

    from msqnet.explain.embedding_maps import MappedRows
    from msqnet.explain.embeddings import VideoEmbedder, make_panels
    from msqnet.models import provenance_in
    from msqnet.report.figures import embedding_figure, named_labels, save_figure

    table = read_clips(data, reading, split, provenance_in(model))
    # Quick failures come before slow work.
    named_labels(MappedRows.of(table).shown_labels, num_named)
    embedder = VideoEmbedder.from_pretrained(model, device=device)
    text_embedder = (
        None if text_model is None else VideoEmbedder.from_pretrained(text_model, device=device)
    )
    if embedder.decoder_is_unused:
        note = (
            f"the direct path gives all scores of {embedder.name}; its decoder does not take part, "
            "and the map after the decoder says nothing about them"
        )
        say_notes([note])
    with progress_bar("clips") as progress:
        panels = make_panels(
            table, embedder, text_embedder, map, batch_size=batch_size, progress=progress
        )
    folder = Path(out)
    panels.write(folder)
    save_figure(embedding_figure(panels, num_named=num_named), folder / f"embedding_map.{format}")
    _print_metrics(Console(), panels)
    say(Console(), f"written: {folder}")
    return 0


def _print_metrics(console: Console, panels: EmbeddingPanels) -> None:
    numbers = panels.to_dict()
    nearest = f"{panels.config.num_neighbours}-NN accuracy"
    table = number_table(
        f"{numbers['num_rows']} windows of {numbers['num_videos']} videos, "
        f"{numbers['num_groups']} groups",
        "embedding",
        *("silhouette", nearest, "95 %", "chance"),
    )
    names = {panel.name: panel.title.removeprefix("after the decoder, ") for panel in panels.panels}
    for values in numbers["panels"]:
        table.add_row(
            names[values["name"]],
            shown(values["silhouette"]),
            shown(values["neighbour_accuracy"]),
            f"{shown(values['low'])} to {shown(values['high'])}",
            shown(values["chance"]),
        )
    console.print(table)
    for item in numbers["differences"]:
        if item["difference"] is not None:
            say(
                console,
                f"{names[item['panel']]} less {names[item['minus']]}: {nearest} "
                f"{item['difference']:+.3f}, 95 % interval {shown(item['low'])} to "
                f"{shown(item['high'])}",
            )
    definitions = numbers["definitions"]
    say(console, f"{nearest}: {definitions['neighbour_accuracy']}")
    say(console, f"silhouette: {definitions['silhouette']}")
