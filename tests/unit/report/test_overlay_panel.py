from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from msqnet.report.overlay_panel import (
    PANEL_COLOUR,
    Panel,
    load_font,
    shortened,
    shown_name,
)
from msqnet.report.palette import LABEL_COLOURS
from tests.unit.report.made_up import predictions_of

SCORES = {
    "never": [0.1, 0.1, 0.1, 0.1],
    "early": [0.9, 0.9, 0.2, 0.2],
    "late": [0.0, 0.0, 0.25, 0.75],
    "a": [0.2, 0.2, 0.2, 0.2],
    "b": [0.3, 0.3, 0.3, 0.3],
    "c": [0.4, 0.4, 0.4, 0.4],
}
SIZES = [(320, 240), (1280, 720), (720, 1280), (3840, 2160)]


def rgb(colour: str) -> tuple[int, ...]:
    return tuple(bytes.fromhex(colour.removeprefix("#")))


def drawn(panel: Panel, seconds: float) -> np.ndarray:
    canvas = np.zeros((panel.layout.height, panel.layout.width, 3), np.uint8)
    panel.draw_at(seconds, canvas)
    return canvas


def is_colour(pixels: np.ndarray, colour: tuple[int, ...]) -> np.ndarray:
    return (pixels == np.array(colour, np.uint8)).all(axis=-1)


def test_labels_with_the_highest_peaks_are_shown_in_one_order() -> None:
    assert Panel(predictions_of(SCORES), 640, 480).labels == ("early", "late", "c", "b", "a")


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_bars_are_as_long_as_the_scores_now(width: int, height: int) -> None:
    panel = Panel(predictions_of(SCORES), width, height)
    background = drawn(panel, 0.0)
    for seconds, early, late in ((0.5, 0.9, 0.0), (2.5, 0.2, 0.25), (3.99, 0.2, 0.75)):
        canvas = drawn(panel, seconds)
        for box, score in zip(panel.layout.bars, (early, late), strict=False):
            middle = canvas[(box.top + box.bottom) // 2, box.left : box.right]
            track = background[panel.layout.bars[4].top, panel.layout.bars[4].right - 1]
            # The mark of the threshold, and no more, may lie on the empty part.
            num_filled = int((~is_colour(middle, tuple(track))).sum())
            assert num_filled / box.width == pytest.approx(score, abs=0.03)


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_band_is_coloured_where_the_label_is_present(width: int, height: int) -> None:
    panel = Panel(predictions_of(SCORES), width, height)
    canvas = drawn(panel, 0.0)
    for rank, (start, end) in enumerate([(0, 2), (3, 4)]):
        lane = panel.layout.lanes[rank]
        row = canvas[(lane.top + lane.bottom) // 2, lane.left : lane.right]
        places = np.flatnonzero(is_colour(row, rgb(LABEL_COLOURS[rank])))
        line = panel.layout.line_pixels
        assert places[0] == pytest.approx(start / 4 * lane.width, abs=1 + line)
        assert places[-1] == pytest.approx(end / 4 * lane.width - 1, abs=1)
        assert (np.diff(places) == 1).all()


def test_bar_is_bright_while_the_label_is_present() -> None:
    panel = Panel(predictions_of(SCORES), 640, 480)
    box = panel.layout.bars[0]
    for seconds, is_present in ((1.99, True), (2.0, False)):
        pixel = drawn(panel, seconds)[(box.top + box.bottom) // 2, box.left]
        assert bool(is_colour(pixel, rgb(LABEL_COLOURS[0]))) == is_present


def test_play_head_moves_from_the_start_of_the_band_to_its_end() -> None:
    panel = Panel(predictions_of(SCORES), 640, 480)
    band = panel.layout.band
    places = []
    for seconds in (0.0, 1.0, 2.0, 3.0, 4.0):
        row = drawn(panel, seconds)[band.top - 1]
        places.append(int(np.flatnonzero(is_colour(row, (255, 255, 255)))[0]))
    assert places[0] == band.left
    assert places[-1] == band.right - panel.layout.line_pixels
    steps = [after - before for before, after in pairwise(places)]
    assert steps == pytest.approx([band.width / 4] * 4, abs=2)


def test_what_is_drawn_depends_on_the_moment_alone() -> None:
    panel = Panel(predictions_of(SCORES), 640, 480)
    forwards = [drawn(panel, seconds) for seconds in (0.0, 1.3, 2.7, 3.9)]
    backwards = [drawn(panel, seconds) for seconds in (3.9, 2.7, 1.3, 0.0)][::-1]
    assert all(np.array_equal(one, other) for one, other in zip(forwards, backwards, strict=True))
    assert not np.array_equal(forwards[0], forwards[1])


@pytest.mark.parametrize(
    "label",
    ["two animals " * 40, "步行", "مشى", "\ud800", "line\nbreak", "$x^2$", "🐁", "_"],
)
@pytest.mark.parametrize(("width", "height"), [(320, 240), (1280, 720)])
def test_any_name_keeps_to_its_place(label: str, width: int, height: int) -> None:
    panel = Panel(predictions_of({label: [0.9, 0.1], "plain": [0.2, 0.2]}), width, height)
    canvas = drawn(panel, 0.0)
    name, bar = panel.layout.names[0], panel.layout.bars[0]
    gap = canvas[name.top : name.bottom, name.right + 1 : bar.left]
    assert is_colour(gap, PANEL_COLOUR).all()
    assert is_colour(canvas[0], PANEL_COLOUR).all()


def test_long_names_end_in_an_ellipsis_and_short_ones_stay() -> None:
    font = load_font(12)
    text = "two animals fighting over a piece of food"
    short = shortened(text, font, 100)
    assert short.endswith("…")
    assert text.startswith(short[:-1])
    assert font.getlength(short) <= 100
    assert shortened("walking", font, 100) == "walking"
    assert shortened(text, font, 0) == "…"


def test_names_are_shown_as_people_read_them() -> None:
    assert shown_name("wall_supported_rearing") == "wall supported rearing"
    assert shown_name("two\n animals") == "two animals"
    assert shown_name("\ud800") == "\\ud800"


def _luminance(colour: tuple[int, ...]) -> float:
    shares = np.array(colour) / 255
    linear = np.where(shares <= 0.04045, shares / 12.92, ((shares + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def test_bars_stand_out_from_the_panel() -> None:
    ground = _luminance(PANEL_COLOUR)
    for colour in LABEL_COLOURS[:5]:
        # What WCAG 2 asks of graphics.
        assert (_luminance(rgb(colour)) + 0.05) / (ground + 0.05) >= 3
