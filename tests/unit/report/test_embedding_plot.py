"""Maps of embeddings side by side."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from matplotlib.colors import to_hex
from PIL import Image

from msqnet.errors import ConfigError
from msqnet.report.embedding_plot import (
    MAX_NAMED_LABELS,
    draw_panels,
    named_labels,
    save_figure,
)
from msqnet.report.palette import LABEL_COLOURS, OTHER_COLOUR
from tests.unit.explain.test_embedding_panels import clustered_panels

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.figure import Figure

    from msqnet.explain.embedding_panels import EmbeddingPanels

NAMES = ("before", "text_queries", "multi_modal_queries")


@pytest.fixture(scope="module")
def panels() -> EmbeddingPanels:
    return clustered_panels(*NAMES)


def texts(figure: Figure) -> str:
    return "\n".join(
        part
        for axis in figure.axes
        for part in (axis.get_title(loc="left"), *(text.get_text() for text in axis.texts))
    )


def legend(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_labels_of_most_rows_are_named_first() -> None:
    shown = ("walk", "sit", "", "sit", "eat", "walk", "sit", "")

    assert named_labels(shown) == ("sit", "walk", "eat")
    assert named_labels(shown, 2) == ("sit", "walk")
    assert named_labels(("b", "a")) == ("a", "b")


@pytest.mark.parametrize("num_named", [0, MAX_NAMED_LABELS + 1])
def test_more_names_than_colours_are_refused(num_named: int) -> None:
    with pytest.raises(ConfigError, match=f"expected 1 to {MAX_NAMED_LABELS}"):
        named_labels(("sit",), num_named)


def test_every_row_is_drawn_once_a_panel_at_its_place(panels: EmbeddingPanels) -> None:
    figure = draw_panels(panels, num_named=2)

    assert len(figure.axes) == 3
    for axis, panel in zip(figure.axes, panels.panels, strict=True):
        drawn = np.concatenate([marks.get_offsets() for marks in axis.collections])
        expected = panel.map.coordinates
        np.testing.assert_allclose(np.sort(drawn, axis=0), np.sort(expected, axis=0))
        low, high = np.array([axis.get_xlim(), axis.get_ylim()]).T
        assert ((expected >= low) & (expected <= high)).all()


def test_legend_counts_rows_of_named_labels_others_and_none(panels: EmbeddingPanels) -> None:
    assert legend(draw_panels(panels, num_named=2)) == [
        "sleep (12)",
        "walk (12)",
        "2 other labels (11)",
        "no label (1)",
    ]
    assert legend(draw_panels(panels))[-2:] == ["rare (1)", "no label (1)"]


def test_named_labels_differ_in_colour_and_shape(panels: EmbeddingPanels) -> None:
    marks = draw_panels(panels).axes[0].collections
    colours = [to_hex(mark.get_facecolor()[0]) for mark in marks]
    shapes = {tuple(mark.get_paths()[0].vertices.ravel().round(3)) for mark in marks[:4]}

    assert colours[:4] == list(LABEL_COLOURS[:4])
    assert to_hex(marks[4].get_edgecolor()[0]) == OTHER_COLOUR
    assert len(shapes) == 4


def test_numbers_stand_beside_their_panels(panels: EmbeddingPanels) -> None:
    text = texts(draw_panels(panels))
    for panel in panels.panels:
        neighbours = panel.map.neighbours
        low, high = neighbours.interval
        assert f"5-NN accuracy {neighbours.accuracy:.2f} [{low:.2f}, {high:.2f}]" in text
        assert f"chance 0.50, silhouette {panel.map.silhouette:.2f}" in text
        assert panel.title in text


@pytest.mark.parametrize("kind", ["png", "pdf", "svg"])
def test_same_maps_give_the_same_file(panels: EmbeddingPanels, tmp_path: Path, kind: str) -> None:
    paths = [tmp_path / f"{name}.{kind}" for name in ("first", "second")]
    for path in paths:
        save_figure(draw_panels(panels), path)
    content = paths[0].read_bytes()

    assert content == paths[1].read_bytes()
    start = {"png": b"\x89PNG", "pdf": b"%PDF", "svg": b"<?xml"}[kind]
    assert content.startswith(start)
    assert len(list(tmp_path.iterdir())) == 2


def test_nothing_is_drawn_over_the_edge(panels: EmbeddingPanels, tmp_path: Path) -> None:
    for count in (1, 2, 3):
        path = tmp_path / f"{count}.png"
        save_figure(draw_panels(replace(panels, panels=panels.panels[:count])), path)
        pixels = np.asarray(Image.open(path).convert("RGB"))
        border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
        assert (border == 255).all()
        assert (pixels != 255).any()
