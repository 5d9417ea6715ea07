from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from msqnet.errors import ConfigError
from msqnet.report.palette import INK, LABEL_COLOURS
from msqnet.report.plots import save_figure, timeline_figure
from tests.unit.report.made_up import predictions_of

if TYPE_CHECKING:
    from pathlib import Path

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
