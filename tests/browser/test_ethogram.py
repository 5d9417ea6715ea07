"""The ethogram component in a real browser, alone on a page."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import msqnet.report
from msqnet.config import SegmentConfig
from msqnet.inference.merge import segments_from_timeline
from msqnet.labels import LabelSet
from msqnet.predictions import Timeline, VideoPredictions, WindowScores

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from playwright.sync_api import Browser, Page

ASSETS = Path(msqnet.report.__file__).parent / "assets"


def predictions(
    timeline: Timeline,
    labels: LabelSet,
    thresholds: np.ndarray,
    config: SegmentConfig,
    *,
    single_label: bool = False,
    unproven: Sequence[str] = (),
    reach_seconds: float = 0.0,
) -> VideoPredictions:
    """A result as `msqnet predict` makes it of a timeline; without reach, as earlier versions."""
    start, end = timeline.edges_seconds[[0, -1]].tolist()
    segments = segments_from_timeline(
        *(timeline, labels, thresholds, config),
        reach_seconds=reach_seconds,
        single_label=single_label,
        unproven=unproven,
    )
    settings: dict[str, Any] = {"segments": asdict(config)}
    if reach_seconds:
        settings["border_reach_seconds"] = reach_seconds
    return VideoPredictions(
        path="clip.mp4",
        labels=labels,
        duration_seconds=end,
        width=320,
        height=240,
        window_seconds=2.0,
        stride_seconds=1.0,
        windows=(WindowScores(start, end, timeline.scores[0]),),
        timeline=timeline,
        segments=tuple(segments),
        thresholds=tuple(thresholds.tolist()),
        single_label=single_label,
        provenance={"settings": settings},
        unproven=dict.fromkeys(unproven, "a reason"),
    )


def random_case(random: np.random.Generator) -> VideoPredictions:
    """Scores of few levels, which meet thresholds exactly, and gaps of the allowed length."""
    num_steps = int(random.choice([1, 2, 5, 7, 9, 30, 130, 300, 700]))
    num_labels = int(random.integers(1, 5))
    lengths = random.choice([0.1, 0.25, 0.5, 1.0, random.random() + 0.01], num_steps)
    levels = np.append(random.random(4), [0.0, 0.1, 0.3, 0.7, 1.0]).astype(np.float32)
    stays = random.random((num_steps, 1)) < random.random()
    scores = random.choice(levels, (num_steps, num_labels))
    for step in range(1, num_steps):
        if stays[step]:
            scores[step] = scores[step - 1]
    config = SegmentConfig(
        threshold=float(random.choice(levels)) if random.random() < 0.3 else None,
        min_duration_seconds=float(random.choice([0.0, 0.5, 1.0, 2.5])),
        max_gap_seconds=float(random.choice([0.0, 0.1, 0.5, 1.0])),
        include_weak=bool(random.random() < 0.3),
        ood=str(random.choice(["hide", "report"])),  # type: ignore[arg-type]
    )
    is_unknown = random.random(num_steps) < random.random() if random.random() < 0.5 else None
    num_changes = int(random.choice([0, num_steps]))
    changes = np.stack(
        [
            random.integers(0, num_labels, num_changes),
            random.random(num_changes) * (lengths.sum() + 1),
            random.choice([-2.0, -1.0, 1.0, 2.0, 3.0], num_changes),
        ],
        axis=1,
    )
    thresholds = random.choice(levels, num_labels)
    if config.threshold is not None:
        thresholds = np.full(num_labels, config.threshold, dtype=np.float32)
    return predictions(
        Timeline(np.cumsum(np.append(random.random(), lengths)), scores, is_unknown, changes),
        LabelSet(tuple(f"label {k}" for k in range(num_labels))),
        thresholds,
        config,
        single_label=bool(random.random() < 0.4),
        unproven=[f"label {k}" for k in range(num_labels) if random.random() < 0.2],
        reach_seconds=float(random.choice([0.0, 0.5, 1.5, 4.0])),
    )


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(offline=True, viewport={"width": 900, "height": 500})
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.set_content('<!doctype html><html lang="en"><title>t</title><div id="here"></div></html>')
    for name in ("theme.css", "ethogram.css"):
        page.add_style_tag(content=(ASSETS / name).read_text())
    for name in ("elements.js", "ethogram.js"):
        page.add_script_tag(content=(ASSETS / name).read_text())
    yield page
    context.close()
    assert errors == []


def test_segments_equal_those_of_python(page: Page) -> None:
    random = np.random.default_rng(0)
    cases, expected = [], []
    for _ in range(250):
        case = random_case(random)
        thresholds = [None, *random.choice([0.0, 0.1, 0.3, 0.7, random.random()], 2).tolist()]
        config = SegmentConfig(**case.provenance["settings"]["segments"])
        cases.append({"json": case.to_json(), "thresholds": thresholds})
        expected.append(
            [
                [
                    asdict(segment)
                    for segment in segments_from_timeline(
                        case.timeline,
                        case.labels,
                        np.asarray(case.thresholds, dtype=np.float32),
                        config if threshold is None else replace(config, threshold=threshold),
                        reach_seconds=case.provenance["settings"].get("border_reach_seconds", 0.0),
                        single_label=case.single_label,
                        unproven=case.unproven,
                    )
                ]
                for threshold in thresholds
            ]
        )
    found = page.evaluate(
        """cases => JSON.stringify(cases.map(({json, thresholds}) => {
            const predictions = JSON.parse(json);
            return thresholds.map(value => msqnet.segmentsFromTimeline(predictions, value));
        }))""",
        cases,
    )
    assert sum(len(segments) for case in expected for segments in case) > 2000
    assert json.loads(found) == expected


LABELS = LabelSet(("walk", "</script><b>x", "rest"))


def example() -> VideoPredictions:
    """Ten steps of one second: `walk` from 2 to 5 s, the odd one from 4 to 8 s, `rest` never."""
    scores = np.full((10, 3), 0.1, dtype=np.float32)
    scores[2:5, 0] = 0.9
    scores[4:8, 1] = 0.6
    scores[9, 2] = 0.4
    timeline = Timeline(np.arange(11.0), scores)
    return predictions(timeline, LABELS, np.full(3, 0.5, np.float32), SegmentConfig())


@pytest.fixture
def shown(page: Page) -> Page:
    """The page with an ethogram of `example`, and what it reports."""
    page.evaluate(
        """text => {
            window.selected = [];
            window.ethogram = new msqnet.Ethogram(
                document.getElementById("here"), JSON.parse(text),
                {onSelect: segment => window.selected.push(segment)});
        }""",
        example().to_json(),
    )
    return page


def segments(page: Page) -> list[tuple[str, float, float]]:
    nodes: list[dict[str, Any]] = page.eval_on_selector_all(
        ".ethogram-segment", "nodes => nodes.map(node => ({...node.dataset}))"
    )
    return sorted((node["label"], float(node["start"]), float(node["end"])) for node in nodes)


def test_every_segment_is_a_button_that_seeks(shown: Page) -> None:
    assert segments(shown) == [("</script><b>x", 4, 8), ("walk", 2, 5)]
    shown.get_by_role("button", name="walk, 0:02.00 to 0:05.00, mean score 0.90").click()
    assert shown.evaluate("ethogram.seconds") == 2
    assert shown.evaluate("selected") == [
        {"label": "walk", "start_seconds": 2, "end_seconds": 5, "score": pytest.approx(0.9)}
    ]


def test_threshold_moves_segments_and_its_line(shown: Page) -> None:
    shown.evaluate("ethogram.setThreshold(0.3)")
    assert ("rest", 9, 10) in segments(shown)
    line = shown.locator(".ethogram-row:not(.is-axis) line").first
    assert float(line.get_attribute("y1") or "nan") == pytest.approx(0.7, abs=1e-6)
    shown.evaluate("ethogram.setThreshold(null)")
    assert len(segments(shown)) == 2


def test_labels_can_be_left_out(shown: Page) -> None:
    shown.evaluate("ethogram.showLabels(['walk', 'rest'])")
    assert segments(shown) == [("walk", 2, 5)]
    assert shown.locator(".ethogram-row:visible").count() == 3
    shown.evaluate("ethogram.showLabels(null)")
    assert len(shown.evaluate("ethogram.segments")) == 2


def test_keys_move_along_time_and_between_segments(shown: Page) -> None:
    axis = shown.get_by_role("slider", name="Time")
    axis.press("End")
    assert shown.evaluate("ethogram.seconds") == 10
    axis.press("ArrowLeft")
    assert axis.get_attribute("aria-valuetext") == "0:09.90"
    axis.press("Home")
    axis.press("Tab")
    focused = "document.activeElement.dataset.label"
    assert shown.evaluate(focused) == "walk"
    shown.keyboard.press("ArrowDown")
    assert shown.evaluate(focused) == "</script><b>x"
    shown.keyboard.press("Enter")
    assert shown.evaluate("ethogram.seconds") == 4
    shown.keyboard.press("Home")
    assert shown.evaluate(focused) == "walk"


def test_click_on_a_lane_seeks_and_the_score_there_is_shown(shown: Page) -> None:
    lane = shown.locator(".ethogram-lane").nth(2)
    box = lane.bounding_box()
    assert box is not None
    lane.click(position={"x": box["width"] * 0.95, "y": 5})
    assert shown.evaluate("ethogram.seconds") == pytest.approx(9.5, abs=0.05)
    assert shown.locator(".ethogram-value").nth(3).text_content() == "0.40"
    playhead = shown.locator(".ethogram-playhead").bounding_box()
    assert playhead is not None
    assert playhead["x"] == pytest.approx(box["x"] + box["width"] * 0.95, abs=3)


def test_zoom_keeps_the_play_head_in_sight(shown: Page) -> None:
    shown.evaluate("ethogram.seek(8)")
    shown.evaluate("ethogram.setZoom(8)")
    scroll = shown.locator(".ethogram-scroll").bounding_box()
    playhead = shown.locator(".ethogram-playhead").bounding_box()
    assert scroll is not None
    assert playhead is not None
    assert scroll["x"] < playhead["x"] < scroll["x"] + scroll["width"]
    assert shown.evaluate("document.documentElement.scrollWidth") <= 900
