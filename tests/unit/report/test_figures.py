"""Figures on white: timelines, reliability, maps of embeddings."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from matplotlib.colors import to_hex
from PIL import Image

from msqnet.config import CalibrationConfig
from msqnet.errors import ConfigError
from msqnet.evaluation.calibration_results import CalibrationResult, calibrate_rows
from msqnet.evaluation.recalibration import Calibration, CalibrationRows
from msqnet.metrics.calibration import PlattScaling
from msqnet.report.figures import (
    MAX_NAMED_LABELS,
    embedding_figure,
    named_labels,
    reliability_figure,
    save_figure,
    timeline_figure,
)
from msqnet.style import INK, LABEL_COLOURS, OTHER_COLOUR
from tests.unit.explain.test_embeddings import clustered_panels
from tests.unit.report.made_up import predictions_of

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.figure import Figure

    from msqnet.explain.embeddings import EmbeddingPanels

SCORES = {name: [peak / 10, 0.05] for peak, name in enumerate(["f", "e", "d", "c", "b_b", "a"])}


def names_shown(**settings: object) -> list[str]:
    figure = timeline_figure(predictions_of(SCORES), **settings)  # type: ignore[arg-type]
    return [axes.get_ylabel() for axes in figure.axes]


def test_labels_with_the_highest_peaks_are_shown_best_first() -> None:
    assert names_shown() == ["a", "b b", "c", "d", "e"]
    assert names_shown(num_labels=2) == ["a", "b b"]


def test_annotated_labels_come_first_and_are_never_left_out() -> None:
    truths = {"f": [(0.0, 1.0)], "b_b": [(1.0, 2.0)]}
    assert names_shown(truths=truths, num_labels=3) == ["f", "b b", "a"]
    assert names_shown(truths=truths, num_labels=1) == ["f", "b b"]


def test_scores_and_annotations_stand_at_their_times() -> None:
    figure = timeline_figure(predictions_of({"a": [0.2, 0.8]}), {"a": [(0.5, 1.25)]})
    (axes,) = figure.axes
    values, edges, _ = axes.patches[1].get_data()  # type: ignore[attr-defined]
    assert values.tolist() == pytest.approx([0.2, 0.8])
    assert edges.tolist() == [0, 1, 2]
    extents = [path.get_extents().intervalx for path in axes.collections[0].get_paths()]
    assert [tuple(item) for item in extents] == [(0.5, 1.25)]
    assert axes.get_xlim() == (0, 2)


@pytest.mark.parametrize(("suffix", "head"), [(".png", b"\x89PNG"), (".pdf", b"%PDF")])
def test_suffix_chooses_the_format_and_files_are_the_same_every_time(
    tmp_path: Path, suffix: str, head: bytes
) -> None:
    for name in ("a", "b"):
        save_figure(timeline_figure(predictions_of({"a": [0.5]})), tmp_path / f"{name}{suffix}")
    contents = [(tmp_path / f"{name}{suffix}").read_bytes() for name in ("a", "b")]
    assert contents[0].startswith(head)
    assert contents[0] == contents[1]
    assert len(list(tmp_path.iterdir())) == 2


def test_svg_holds_names_as_text(tmp_path: Path) -> None:
    path = tmp_path / "a.svg"
    save_figure(
        timeline_figure(predictions_of({"$x^2$": [0.5], "<b>": [0.4], "步行": [0.1]})), path
    )
    text = path.read_text(encoding="utf-8")
    for name in ("$x^2$", "&lt;b&gt;", "步行"):
        assert f">{name}</text>" in text


def test_picture_shows_the_colours_of_the_labels_on_white(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    save_figure(timeline_figure(predictions_of(SCORES), {"a": [(0.0, 1.0)]}), path)
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB"))
    assert pixels.shape[1] == 1300
    assert pixels[0, 0].tolist() == [255, 255, 255]
    for colour in (INK, *LABEL_COLOURS[:4]):
        assert (pixels == tuple(bytes.fromhex(colour[1:]))).all(axis=2).any()


def test_long_videos_have_minutes_on_their_axis() -> None:
    figure = timeline_figure(predictions_of({"a": [0.5] * 10}, step_seconds=60))
    figure.draw_without_rendering()
    axes = figure.axes[-1]
    texts = [label.get_text() for label in axes.get_xticklabels()]
    assert texts[0] == "0:00"
    assert all(text.endswith((":00", ":30")) for text in texts)
    assert "min" in axes.get_xlabel()


def test_what_cannot_be_drawn_is_refused(tmp_path: Path) -> None:
    predictions = predictions_of(SCORES)
    with pytest.raises(ConfigError, match=r"\['x'\]"):
        timeline_figure(predictions, {"x": [(0, 1)]})
    with pytest.raises(ConfigError, match="num_labels 0"):
        timeline_figure(predictions, num_labels=0)
    with pytest.raises(ConfigError, match=r"\.png, \.svg, \.pdf"):
        save_figure(timeline_figure(predictions), tmp_path / "a.bmp")


def figures_of(names: tuple[str, ...]) -> CalibrationResult:
    generator = np.random.default_rng(0)
    logits = generator.normal(0, 3, (200, len(names)))
    targets = (generator.random(logits.shape) < 0.3).astype(np.float64)
    groups = [str(row // 4) for row in range(200)]
    rows = CalibrationRows(names, logits, targets, groups, np.arange(200) // 4 % 5)
    scaling = PlattScaling(np.ones(len(names)), np.zeros(len(names)))
    now = Calibration(scaling, np.full(len(names), 0.5), "each")
    return calibrate_rows(rows, now, CalibrationConfig(num_bootstrap=10))


def test_every_fitted_label_has_its_line_the_worst_first() -> None:
    figures = figures_of(("walking", "wall_supported_rearing", "costs $5 $"))

    diagram, _, errors = reliability_figure(figures).axes

    shown = [tick.get_text() for tick in errors.get_yticklabels()]
    before = {
        item["label"].replace("_", " "): item["expected_calibration_error_before"]
        for item in figures.per_label
    }
    assert shown == sorted(before, key=lambda name: -before[name])
    legend = [text for text in diagram.get_legend_handles_labels()[1] if "ECE" in text]
    assert legend[0].startswith("before: ECE 0.")


@pytest.mark.parametrize("num_labels", [1, 40])
def test_plot_is_drawn_for_few_and_for_many_labels(tmp_path: Path, num_labels: int) -> None:
    names = tuple(f"a label with a rather long name {index}" for index in range(num_labels))
    path = tmp_path / "plot.png"

    save_figure(reliability_figure(figures_of(names)), path)

    assert path.read_bytes().startswith(b"\x89PNG")


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
    figure = embedding_figure(panels, num_named=2)

    assert len(figure.axes) == 3
    for axis, panel in zip(figure.axes, panels.panels, strict=True):
        drawn = np.concatenate([marks.get_offsets() for marks in axis.collections])
        expected = panel.map.coordinates
        np.testing.assert_allclose(np.sort(drawn, axis=0), np.sort(expected, axis=0))
        low, high = np.array([axis.get_xlim(), axis.get_ylim()]).T
        assert ((expected >= low) & (expected <= high)).all()


def test_legend_counts_rows_of_named_labels_others_and_none(panels: EmbeddingPanels) -> None:
    assert legend(embedding_figure(panels, num_named=2)) == [
        "sleep (12)",
        "walk (12)",
        "2 other labels (11)",
        "no label (1)",
    ]
    assert legend(embedding_figure(panels))[-2:] == ["rare (1)", "no label (1)"]


def test_named_labels_differ_in_colour_and_shape(panels: EmbeddingPanels) -> None:
    marks = embedding_figure(panels).axes[0].collections
    colours = [to_hex(mark.get_facecolor()[0]) for mark in marks]
    shapes = {tuple(mark.get_paths()[0].vertices.ravel().round(3)) for mark in marks[:4]}

    assert colours[:4] == list(LABEL_COLOURS[:4])
    assert to_hex(marks[4].get_edgecolor()[0]) == OTHER_COLOUR
    assert len(shapes) == 4


def test_numbers_stand_beside_their_panels(panels: EmbeddingPanels) -> None:
    text = texts(embedding_figure(panels))
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
        save_figure(embedding_figure(panels), path)
    content = paths[0].read_bytes()

    assert content == paths[1].read_bytes()
    start = {"png": b"\x89PNG", "pdf": b"%PDF", "svg": b"<?xml"}[kind]
    assert content.startswith(start)
    assert len(list(tmp_path.iterdir())) == 2


def test_nothing_is_drawn_over_the_edge(panels: EmbeddingPanels, tmp_path: Path) -> None:
    for count in (1, 2, 3):
        path = tmp_path / f"{count}.png"
        save_figure(embedding_figure(replace(panels, panels=panels.panels[:count])), path)
        pixels = np.asarray(Image.open(path).convert("RGB"))
        border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
        assert (border == 255).all()
        assert (pixels != 255).any()
