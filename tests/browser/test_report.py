"""The report in a real browser: opened from disk, with no network."""

from __future__ import annotations

import itertools
import time
from typing import TYPE_CHECKING

import pytest

from msqnet.answers import Answer
from msqnet.batch.runners import ResultsFolder
from msqnet.inference.results import VideoJob
from msqnet.report.html import write_report
from msqnet.report.results_reader import read_results
from tests.fixtures.result_folders import EVENT, HOSTILE_LABEL, HOSTILE_NAME, write_predictions
from tests.unit.inference.brightness import BLACK, WHITE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, Locator, Page

    OpenReport = Callable[..., Page]


BRIGHTNESS_OF_PLAYER = """() => {
    const canvas = document.createElement('canvas');
    canvas.width = canvas.height = 4;
    const context = canvas.getContext('2d');
    context.drawImage(document.querySelector('#player video'), 0, 0, 4, 4);
    return context.getImageData(0, 0, 1, 1).data[0];
}"""


@pytest.fixture
def open_report(browser: Browser, tmp_path: Path) -> Iterator[OpenReport]:
    """Write a report of a folder and open it; nothing may be asked for, and nothing complain."""
    complaints: list[str] = []
    context = browser.new_context(offline=True, viewport={"width": 1280, "height": 900})

    def open_folder(folder: Path, *, preview_megabytes: float = 5, width: int = 1280) -> Page:
        path = tmp_path / "page.html"
        write_report(read_results(folder), path, preview_megabytes=preview_megabytes)
        page = context.new_page()
        page.set_viewport_size({"width": width, "height": 900})
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: _only_the_page(request.url, complaints))
        page.goto(path.as_uri())
        return page

    yield open_folder
    context.close()
    assert complaints == []


def _only_the_page(url: str, complaints: list[str]) -> None:
    if not url.startswith(("file:", "data:", "blob:")):
        complaints.append(f"asked for {url}")


def wait_until(page: Page, condition: str) -> None:
    """Wait for a condition in JavaScript; Playwright's own way needs what the page forbids."""
    deadline = time.monotonic() + 20
    while not page.evaluate(condition):
        assert time.monotonic() < deadline, f"not true in 20 s: {condition}"
        page.wait_for_timeout(20)


def names(page: Page) -> list[str]:
    return page.locator("#video-table tbody tr:visible .open-video").all_inner_texts()


def heading(page: Page, name: str) -> Locator:
    return page.locator("#video-table").get_by_role("columnheader", name=name)


@pytest.fixture
def three(tmp_path: Path) -> Path:
    """Results of three videos of 6, 12 and 2 seconds, the last one never bright."""
    long = [WHITE] * 30 + [BLACK] * 30 + [WHITE] * 60
    videos = {"event.mov": EVENT, "long.mov": long, "night.mov": [BLACK] * 20, "broken.mp4": []}
    return write_predictions(tmp_path, videos)


def test_videos_are_sorted_and_filtered(open_report: OpenReport, three: Path) -> None:
    page = open_report(three, preview_megabytes=0)
    assert names(page) == ["event.mov", "long.mov", "night.mov"]
    duration = heading(page, "duration")
    duration.get_by_role("button").click()
    assert names(page) == ["long.mov", "event.mov", "night.mov"]
    assert duration.get_attribute("aria-sort") == "descending"
    duration.get_by_role("button").press("Enter")
    assert names(page) == ["night.mov", "event.mov", "long.mov"]
    page.get_by_label("With label").select_option("bright")
    assert names(page) == ["event.mov", "long.mov"]
    page.get_by_label("Find").fill("LONG mov")
    assert names(page) == ["long.mov"]
    assert page.locator("#filter-count").inner_text() == "1 of 3 shown"
    page.get_by_label("Find").fill("nothing like that")
    assert page.get_by_text("No video matches.").is_visible()
    assert (
        page.get_by_role("region", name="Inputs without a result").get_by_text("broken.mp4").count()
    )


def test_segment_moves_the_video_and_the_play_head_follows(
    open_report: OpenReport, three: Path
) -> None:
    page = open_report(three)
    page.get_by_role("button", name="long.mov").click()
    assert page.locator("#video-name").inner_text() == "long.mov"
    now = "document.querySelector('#player video').currentTime"
    wait_until(page, "document.querySelector('#player video').readyState >= 2")
    assert page.evaluate("document.querySelector('#player video').duration") == pytest.approx(12)
    page.locator(".ethogram-segment").nth(1).click()
    assert page.evaluate(now) == pytest.approx(6)
    wait_until(page, "!document.querySelector('#player video').seeking")
    before = playhead(page)
    page.evaluate("document.querySelector('#player video').play()")
    wait_until(page, f"{now} > 6.4")
    page.evaluate("document.querySelector('#player video').pause()")
    page.wait_for_timeout(100)
    axis = page.get_by_role("slider", name="Time").bounding_box()
    assert axis is not None
    assert playhead(page) > before
    expected = axis["x"] + axis["width"] * float(page.evaluate(now)) / 12
    assert playhead(page) == pytest.approx(expected, abs=2)
    page.get_by_role("slider", name="Time").press("Home")
    assert page.evaluate(now) == 0
    page.locator("#cards button").last.press("Enter")
    assert page.evaluate(now) == pytest.approx(6)


def playhead(page: Page) -> float:
    """Middle of the play head in the window."""
    box = page.locator(".ethogram-playhead").bounding_box()
    assert box is not None
    return box["x"] + box["width"] / 2


def test_player_shows_the_frame_at_its_time(open_report: OpenReport, three: Path) -> None:
    page = open_report(three)
    wait_until(page, "document.querySelector('#player video').readyState >= 2")
    for seconds, shown in ((2.1, "> 210"), (1.9, "< 40"), (3.9, "> 210"), (4.1, "< 40")):
        page.evaluate(f"document.querySelector('#player video').currentTime = {seconds}")
        # A browser may say `seeked` before the frame can be drawn.
        wait_until(page, f"({BRIGHTNESS_OF_PLAYER})() {shown}")
        now = page.evaluate("document.querySelector('#player video').currentTime")
        assert now == pytest.approx(seconds, abs=1e-3)


def test_pictures_stand_in_where_there_is_no_preview(open_report: OpenReport, three: Path) -> None:
    page = open_report(three, preview_megabytes=0)
    assert page.locator("#player video").count() == 0
    assert page.get_by_text("previews are switched off").count() == 2
    page.get_by_role("button", name="long.mov").click()
    assert page.locator("#player figcaption").inner_text().startswith("Picture at 0:01.50")
    page.locator(".ethogram-segment").nth(1).click()
    assert page.locator("#player figcaption").inner_text().startswith("Picture at 0:09.00")
    assert page.locator("#player img").evaluate("node => node.naturalWidth") == 64


def test_threshold_moves_segments_budget_and_cards_together(
    open_report: OpenReport, three: Path
) -> None:
    page = open_report(three, preview_megabytes=0)
    total = page.locator("#budget tbody tr", has_text="bright").locator("td").first
    assert total.inner_text() == "0:02.00"
    page.get_by_role("slider", name="Threshold").fill("0")
    assert page.locator("#threshold-value").inner_text() == "0.00"
    assert page.locator("#budget tbody tr").count() == 2
    assert total.inner_text() == "0:06.00"
    assert page.locator("#cards li").count() == 2
    page.get_by_label("own thresholds").check()
    assert total.inner_text() == "0:02.00"
    page.get_by_label("Show").select_option("present")
    assert page.locator(".ethogram-row:visible").count() == 2  # the axis and `bright`


def test_neighbours_are_those_of_the_sorted_and_filtered_list(
    open_report: OpenReport, three: Path
) -> None:
    page = open_report(three, preview_megabytes=0)
    heading(page, "duration").get_by_role("button").click()
    name = page.locator("#video-name")
    for expected in ("night.mov", "long.mov", "event.mov"):
        page.get_by_role("button", name="Next").click()
        assert name.inner_text() == expected
    page.get_by_role("button", name="Previous").click()
    assert name.inner_text() == "long.mov"


def test_light_and_dark_follow_the_system_and_the_button(
    open_report: OpenReport, three: Path
) -> None:
    page = open_report(three, preview_megabytes=0)

    def lightness() -> float:
        header = "document.querySelector('.page-header')"
        colour = page.evaluate(f"getComputedStyle({header}).backgroundColor")
        return sum(int(part) for part in colour.strip("rgb()").split(",")) / 3

    assert lightness() > 200
    page.emulate_media(color_scheme="dark")
    assert lightness() < 60
    page.get_by_role("button", name="Switch between light and dark").click()
    assert lightness() > 200
    page.get_by_role("button", name="Switch between light and dark").click()
    assert lightness() < 60
    page.emulate_media(media="print")
    assert lightness() > 200


def test_evaluation_is_sorted_and_fits_narrow_windows(
    open_report: OpenReport, evaluated: Path
) -> None:
    page = open_report(evaluated, width=390)
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    table = page.get_by_role("region", name="Average precision of each label")
    first = table.locator("tbody th").first
    assert first.inner_text() == "walk"
    table.get_by_role("button", name="AP").click()
    assert first.inner_text() == "rest"
    missing = table.locator("tbody th").last
    assert missing.inner_text() == "fly"
    table.get_by_role("button", name="AP").click()
    assert missing.inner_text() == "fly"
    assert page.get_by_role("img", name="Precision against recall of walk: AP 1.000").count() == 1
    broken = "nodes => nodes.filter(node => !node.naturalWidth).length"
    assert page.locator(".cards img").count() == 4
    assert page.eval_on_selector_all(".cards img", broken) == 0


def test_hostile_names_and_labels_are_shown_as_they_are(
    open_report: OpenReport, tmp_path: Path
) -> None:
    folder = write_predictions(tmp_path, {HOSTILE_NAME: EVENT}, labels=(HOSTILE_LABEL, "dark"))
    page = open_report(folder)
    page.on("dialog", lambda dialog: pytest.fail(dialog.message))
    assert page.locator("#video-name").inner_text() == HOSTILE_NAME
    page.get_by_label("With label").select_option(HOSTILE_LABEL)
    assert names(page) == [HOSTILE_NAME]
    segment = page.locator(".ethogram-segment")
    assert segment.get_attribute("data-label") == HOSTILE_LABEL
    segment.click()
    assert page.locator("#cards strong").text_content() == HOSTILE_LABEL


def test_answers_of_a_large_model_are_named_as_such(
    open_report: OpenReport, tmp_path: Path
) -> None:
    folder = write_predictions(tmp_path, {"a.mov": EVENT, "b.mov": EVENT})
    job = VideoJob("a.mov", str(tmp_path / "videos" / "a.mov"))
    answer = Answer(
        *(1, 2, "why", "big", "http://127.0.0.1/v1", (1.5,)),
        *((HOSTILE_LABEL,), (), "<b>It glows.</b>"),
    )
    ResultsFolder(folder).add_answers(job, [answer])
    page = open_report(folder)
    answers = page.locator("#video-answers")
    assert "change no score" in answers.locator("summary").inner_text()
    answers.locator("summary").click()
    (text,) = answers.locator("li").all_inner_texts()
    assert text.startswith("0:01.00 to 0:02.00, asked big: </script><img")
    assert text.endswith("<b>It glows.</b>")
    page.get_by_role("button", name="b.mov").click()
    assert not answers.is_visible()


ACCESSIBLE_NAMES = """() => {
    const named = node => node.getAttribute('aria-label') || node.getAttribute('aria-labelledby')
        || node.labels?.length || node.textContent.trim() || node.title;
    const wanted = 'button, a[href], input, select, [tabindex="0"], [role="img"], video';
    return Array.from(document.querySelectorAll(wanted))
        .filter(node => !named(node)).map(node => node.outerHTML);
}"""

CONTRAST = """() => {
    const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
    const parse = colour => {
        canvas.clearRect(0, 0, 1, 1);
        canvas.fillStyle = colour;
        canvas.fillRect(0, 0, 1, 1);
        const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
        return [r, g, b, a / 255];
    };
    const luminance = ([r, g, b]) => [r, g, b]
        .map(value => value / 255)
        .map(value => value <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4)
        .reduce((sum, value, i) => sum + value * [0.2126, 0.7152, 0.0722][i], 0);
    const background = node => {
        for (; node; node = node.parentElement) {
            const found = parse(getComputedStyle(node).backgroundColor);
            if (found[3] === 1) return found;
        }
        return [255, 255, 255];
    };
    const texts = document.createTreeWalker(document.querySelector('body'), NodeFilter.SHOW_TEXT);
    const low = new Set();
    for (let text = texts.nextNode(); text; text = texts.nextNode()) {
        const node = text.parentElement;
        const isText = text.data.trim() && node.checkVisibility() && !node.closest('svg');
        if (!isText || node.closest('script, :disabled')) continue;
        const [a, b] = [parse(getComputedStyle(node).color), background(node)].map(luminance);
        const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
        if (ratio < 4.5) low.add(`${ratio.toFixed(2)}: ${text.data.trim().slice(0, 40)}`);
    }
    return Array.from(low);
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_controls_have_names_and_texts_have_contrast(
    open_report: OpenReport, three: Path, evaluated: Path, scheme: str
) -> None:
    for path in evaluated.iterdir():
        path.rename(three / path.name)
    page = open_report(three)
    page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    assert page.evaluate(ACCESSIBLE_NAMES) == []
    assert page.evaluate(CONTRAST) == []
    levels = page.eval_on_selector_all(
        "h1, h2, h3, h4", "nodes => nodes.map(node => Number(node.tagName[1]))"
    )
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))


def test_everything_can_be_reached_by_keyboard(open_report: OpenReport, three: Path) -> None:
    page = open_report(three, preview_megabytes=0)
    reached: set[str] = set()
    focused = "document.activeElement.id || document.activeElement.className"
    for _ in range(60):
        page.keyboard.press("Tab")
        reached.add(page.evaluate(focused))
    wanted = {"theme", "filter-text", "filter-label", "link open-video", "video-next", "threshold"}
    assert wanted | {"ethogram-axis", "ethogram-segment", "zoom-in", "card"} <= reached
