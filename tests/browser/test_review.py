"""The page of a review in a real browser, on a server of its own."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from msqnet.data.table import read_table
from msqnet.formats import Reading, load_format
from tests.fixtures.browser import chromium_path
from tests.fixtures.result_folders import EVENT, write_predictions
from tests.fixtures.reviews import items, opened, running_review, soon, spans
from tests.fixtures.videos import NUM_BARS, encode, number_image

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import Browser, Page


_TIMES = [0, 1, 2, 5, 6, 10, 11, 12, 20, 21, 22, 23, 30, 31, 40]
"""When frames begin, in tenths of a second: at a rate that varies."""


def clips(folder: Path, *names: str, times: list[int] | None = None) -> Path:
    """A folder of videos of 10 frames a second, six seconds each, or with frames at some times."""
    folder.mkdir()
    for name in names:
        images = [number_image(n) for n in range(len(times) if times else 60)]
        encode(folder / name, images, pts=times, rate=10)
    return folder


def seconds(page: Page) -> float:
    minutes, rest = page.inner_text("#clock").split(":")
    return 60 * float(minutes) + float(rest)


def place_of(page: Page, label: str, time: float) -> tuple[float, float]:
    """Where a time of a label is on the screen."""
    canvas = page.locator("#canvas")
    box = canvas.bounding_box()
    names = page.locator(".name-row").all_inner_texts()
    row = next(n for n, text in enumerate(names) if label in text)
    assert box is not None
    first, scale = (float(canvas.get_attribute(f"data-{n}") or "nan") for n in ("first", "scale"))
    return box["x"] + (time - first) * scale, box["y"] + 22 + row * 24 + 12


def drag(page: Page, start: tuple[float, float], end: tuple[float, float]) -> None:
    page.mouse.move(*start)
    page.mouse.down()
    page.mouse.move((start[0] + end[0]) / 2, end[1], steps=3)
    page.mouse.move(*end, steps=3)
    page.mouse.up()


def test_annotating_by_keyboard_survives_a_kill(browser: Browser, tmp_path: Path) -> None:
    """States, points and several labels at once; undo; and all of it after a kill."""
    videos, out = clips(tmp_path / "videos", "a.mp4", "b.mp4"), tmp_path / "labels.csv"
    with running_review(videos, out, "--labels", "walk|rest") as review:
        with opened(browser, review) as page:
            page.keyboard.press("w")
            page.keyboard.press("ArrowRight")
            page.keyboard.press("r")
            page.keyboard.press("ArrowRight")
            page.keyboard.press("w")
            soon(
                page,
                lambda: spans(review),
                [("walk", 0, 2, "accepted"), ("rest", 1, None, "accepted")],
            )
            page.keyboard.press(".")
            page.keyboard.press(".")
            page.keyboard.press("r")
            both = [("walk", 0, 2, "accepted"), ("rest", 1, 2.2, "accepted")]
            soon(page, lambda: spans(review), both)
            page.keyboard.press("Delete")
            soon(page, lambda: spans(review), both[:1])
            page.keyboard.press("Control+z")
            soon(page, lambda: spans(review), both)
            page.keyboard.press("Control+Shift+Z")
            soon(page, lambda: spans(review), both[:1])
            page.keyboard.press("Control+z")
            soon(page, lambda: spans(review), both)
            page.click("#look-all")
            soon(page, lambda: len(items(review)), 3)
            page.keyboard.press("Shift+D")
            page.wait_for_selector(".sign.is-done")
        before = items(review)
        review.kill()
    with running_review(videos, out) as review:
        assert items(review) == before
        with opened(browser, review) as page:
            assert page.locator(".sign.is-done").count() == 1
            page.click(".video >> nth=0")
            page.wait_for_selector(".segment >> nth=1")
            for _ in range(2):
                page.keyboard.press("Control+z")
            soon(
                page,
                lambda: spans(review),
                [("walk", 0, 2, "accepted"), ("rest", 1, None, "accepted")],
            )
            page.keyboard.press("Control+y")
            soon(page, lambda: spans(review), both)
        printed = review.stop()
    assert "written" in printed
    rows = read_table(out).records
    assert [(row.labels, row.start_seconds) for row in rows] == [
        (("walk",), 0.0),
        (("rest", "walk"), 1.0),
        (("rest",), 2.0),
    ]


def shown_number(page: Page) -> int:
    """The number of the frame in the player, where a busy browser may still show an earlier one."""
    return int(
        page.evaluate(
            """async (bars) => {
              const video = document.querySelector("#video");
              if (video.seeking) await new Promise((done) => { video.onseeked = done; });
              const canvas = document.createElement("canvas");
              [canvas.width, canvas.height] = [video.videoWidth, video.videoHeight];
              const context = canvas.getContext("2d");
              context.drawImage(video, 0, 0);
              let number = 0;
              for (let bar = 0; bar < bars; bar++) {
                const left = Math.floor(((bar + 0.5) * canvas.width) / bars);
                const [level] = context.getImageData(left, canvas.height / 4, 1, 1).data;
                number = 2 * number + (level > 128);
              }
              return number;
            }""",
            NUM_BARS,
        )
    )


def test_next_video_follows_the_order_of_the_list(browser: Browser, tmp_path: Path) -> None:
    names = [f"{letter}.mp4" for letter in "abcdef"]
    videos = clips(tmp_path / "videos", *names)
    with (
        running_review(videos, tmp_path / "labels.csv", "--labels", "walk") as review,
        opened(browser, review) as page,
    ):

        def shown() -> list[str]:
            return page.locator("#videos .name").all_inner_texts()

        current = page.locator(".video[aria-current] .name")
        assert shown() == names
        page.select_option("#video-order", "mixed")
        mixed = shown()
        assert sorted(mixed) == names != mixed
        place = mixed.index(current.inner_text())
        page.keyboard.press("Shift+N" if place < 5 else "Shift+P")
        soon(page, current.inner_text, mixed[place + 1 if place < 5 else place - 1])
        page.select_option("#video-order", "name")
        soon(page, shown, names)


@pytest.mark.parametrize("name", ["a.mp4", "a.mov"], ids=["played as it is", "copied"])
def test_single_frames_are_exact_at_a_rate_that_varies(
    browser: Browser, tmp_path: Path, name: str
) -> None:
    """The frame of every step, and its time; also of a file that no browser plays."""
    folder = tmp_path / "videos"
    folder.mkdir()
    images = [number_image(n) for n in range(len(_TIMES))]
    settings: dict[str, Any] = {} if name == "a.mp4" else {"codec": "png", "pix_fmt": "rgb24"}
    path = encode(folder / name, images, pts=_TIMES, **settings)
    with (
        running_review(path, tmp_path / "labels.csv", "--labels", "walk") as review,
        opened(browser, review) as page,
    ):
        for number, time in enumerate(_TIMES):
            assert seconds(page) == pytest.approx(time / 10, abs=2e-3)
            soon(page, lambda: shown_number(page), number)
            page.keyboard.press(".")
        for number in reversed(range(len(_TIMES) - 1)):
            page.keyboard.press(",")
            if number % 4 == 0:
                soon(page, lambda: shown_number(page), number)
    assert (tmp_path / "labels.review" / "copies").is_dir() == (name != "a.mp4")


def test_proposals_are_accepted_rejected_and_edited(browser: Browser, tmp_path: Path) -> None:
    results = write_predictions(tmp_path, {"event.mov": EVENT * 3})
    out = tmp_path / "labels.csv"
    with (
        running_review(results, out, "--labels", "jump") as review,
        opened(browser, review) as page,
    ):
        proposed = spans(review)
        assert [(label, state) for label, _, _, state in proposed] == [("bright", "proposed")] * 3
        page.wait_for_selector(".segment[aria-selected=true]")
        page.keyboard.press("y")
        page.keyboard.press("n")
        soon(
            page,
            lambda: [state for *_, state in spans(review)],
            ["accepted", "rejected", "proposed"],
        )
        # The third is selected now: its start is dragged, which accepts it.
        start, end = proposed[2][1:3]
        drag(page, place_of(page, "bright", start), place_of(page, "bright", start + 0.55))
        soon(page, lambda: spans(review)[2][3], "accepted")
        edited = items(review)[2]
        assert start < edited["start"] < start + 0.7
        assert edited["start"] == pytest.approx(round(edited["start"], 1), abs=1e-6)
        assert edited["end"] == end
        assert edited["proposal"]["start"] == pytest.approx(start, abs=1e-3)
        # Dragging over an empty row makes a segment; relabelling it takes three keys.
        page.check("#all-labels")
        drag(page, place_of(page, "dark", 0.5), place_of(page, "dark", 1.5))
        soon(page, lambda: len(spans(review)), 4)
        page.keyboard.press("Shift+R")
        page.keyboard.press("j")
        soon(page, lambda: sorted(span[0] for span in spans(review)), ["bright"] * 3 + ["jump"])
        page.select_option("#filter-state", "disagreements")
        assert page.locator(".segment").count() == 3
        page.click("#export-open")
        page.select_option("#e-format", "boris")
        page.click("#export-form button[type=submit]")
        page.wait_for_selector("#e-lines li")
        review.stop()
    project = tmp_path / "labels_boris.boris"
    read = load_format("boris").read
    assert read is not None
    [video] = read(project, Reading(tmp_path / "videos")).videos
    assert [event.label for event in video.events] == ["jump", "bright", "bright"]
    document = json.loads(project.read_text())
    [observation] = document["observations"].values()
    assert len(observation["events"]) == 6
    rows = read_table(out).records
    rejected = proposed[1][1] + 0.5
    [row] = [row for row in rows if row.interval[0] <= rejected < row.interval[1]]
    assert row.labels == ()
    assert row.annotated == {"bright"}


def test_all_selected_segments_are_settled_as_one_step(browser: Browser, tmp_path: Path) -> None:
    results = write_predictions(tmp_path, {"event.mov": EVENT * 4})
    with (
        running_review(results, tmp_path / "labels.csv") as review,
        opened(browser, review) as page,
    ):

        def states() -> list[str]:
            return [state for *_, state in spans(review)]

        page.wait_for_selector(".segment[aria-selected=true]")
        page.keyboard.press("Shift+ArrowDown")
        page.wait_for_selector(".segment[aria-selected=true] >> nth=1")
        for key, state in (("n", "rejected"), ("y", "accepted")):
            page.keyboard.press(key)
            soon(page, states, [state] * 2 + ["proposed"] * 2)
            # The third is next; one step takes back both.
            third = page.locator(".segment >> nth=2")
            soon(page, lambda: third.get_attribute("aria-selected"), "true")  # noqa: B023
            assert page.locator(".segment[aria-selected=true]").count() == 1
            page.keyboard.press("Control+z")
            soon(page, states, ["proposed"] * 4)
            page.keyboard.press("ArrowUp")
            page.keyboard.press("ArrowUp")
            page.keyboard.press("Shift+ArrowDown")
            page.wait_for_selector(".segment[aria-selected=true] >> nth=1")
        # Delete rejects the primary one alone.
        page.keyboard.press("Delete")
        soon(page, states, ["proposed", "rejected", "proposed", "proposed"])


def test_keys_and_points_of_labels_are_changed_in_the_page(
    browser: Browser, tmp_path: Path
) -> None:
    videos = clips(tmp_path / "videos", "a.mp4")
    with running_review(videos, tmp_path / "labels.csv") as review, opened(browser, review) as page:
        page.click("#label-open")
        page.fill("#l-name", "hop")
        page.fill("#l-key", "x")
        page.check("#l-point")
        page.click("#label-form button[type=submit]")
        page.wait_for_selector(".chip:text-is('x')")
        page.keyboard.press("ArrowRight")
        page.keyboard.press("x")
        soon(page, lambda: spans(review), [("hop", 1, 1, "accepted")])
        page.click(".chip:text-is('x')")
        page.fill("#l-key", "y")
        page.click("#label-form button[type=submit]")
        assert page.locator("#label-dialog[open]").count() == 1
        page.fill("#l-key", "h")
        page.click("#label-form button[type=submit]")
        page.wait_for_selector(".chip:text-is('h')")
        page.fill("#d-comment", "sure")
        page.keyboard.press("Enter")
        soon(page, lambda: items(review)[0]["comment"], "sure")


def test_second_window_is_refused_until_it_takes_over(browser: Browser, tmp_path: Path) -> None:
    videos = clips(tmp_path / "videos", "a.mp4")
    with (
        running_review(videos, tmp_path / "labels.csv", "--labels", "walk") as review,
        opened(browser, review) as page,
    ):
        other = browser.new_context().new_page()
        other.goto(review.url)
        other.wait_for_selector("#take-over")
        assert "another window" in other.inner_text("#closed")
        other.click("#take-over")
        other.wait_for_selector(".video[aria-current]")
        page.keyboard.press("w")
        page.wait_for_selector("#take-over")
        assert spans(review) == []
        other.keyboard.press("w")
        other.wait_for_selector(".segment")
        other.close()
        # The first one goes on by itself, with what was done meanwhile.
        page.wait_for_selector(".segment")
        page.wait_for_selector("#closed", state="hidden")
        page.keyboard.press("ArrowRight")
        page.keyboard.press("w")
        soon(page, lambda: spans(review), [("walk", 0, 1, "accepted")])


def results_of(folder: Path, length: float, labels: list[str], segments: list[Any]) -> Path:
    """Results of a video `event.mov`, with segments (label, start, end) and made-up scores."""
    results = write_predictions(folder, {"event.mov": EVENT})
    path = results / "event.mov.json"
    document = json.loads(path.read_text())
    steps = np.arange(length + 1)
    document |= {
        "labels": labels,
        "thresholds": [0.5] * len(labels),
        "duration_seconds": length,
        "shown": [[0.0, length]],
        "windows": [],
        "unproven": {},
        "timeline": {
            "edges_seconds": steps.tolist(),
            "scores": (
                0.5 + 0.5 * np.sin(steps[:-1, None] / (5 + np.arange(len(labels))))
            ).tolist(),
            "is_unknown": None,
        },
        "segments": [
            {"label": label, "start_seconds": start, "end_seconds": end, "score": 0.7}
            for label, start, end in segments
        ],
    }
    path.write_text(json.dumps(document))
    return results


def test_six_wrong_of_twenty_bouts_in_five_minutes_take_32_keys(
    browser: Browser, tmp_path: Path
) -> None:
    """Two false alarms, two wrong labels and two ends that are 2 s late, by a scripted user."""
    proposed = [("walk" if n % 2 else "rest", 5.0 + 14 * n, 11.0 + 14 * n) for n in range(20)]
    results = results_of(tmp_path, 300.0, ["walk", "rest"], proposed)
    images = [number_image(n % 256, 64, 40) for n in range(1500)]
    encode(tmp_path / "videos" / "event.mov", images, rate=5)
    wrong = {3: "alarm", 12: "alarm", 6: "label", 15: "label", 8: "end", 17: "end"}
    keys = {
        "alarm": ["n"],
        "label": ["Shift+R", "", "ArrowDown"],
        "end": ["]", "ArrowLeft", "ArrowLeft", "}", "ArrowDown"],
    }
    pressed = 0
    out = tmp_path / "labels.csv"
    with running_review(results, out) as review, opened(browser, review) as page:
        page.wait_for_selector(".segment[aria-selected=true]")
        for n, (label, start, _) in enumerate(proposed):
            page.wait_for_function(
                f"() => document.querySelector('#d-start').value === '{start:g}'"
            )
            other = "r" if label == "walk" else "w"
            for key in keys[wrong[n]] if n in wrong else ["y"]:
                page.keyboard.press(key or other)
                pressed += 1
        soon(page, lambda: page.inner_text("#accept-count"), "0 of 0 open")
        found = [span for span in spans(review) if span[3] == "accepted"]
        review.stop()
    expected = [
        ({"walk": "rest", "rest": "walk"}[label] if wrong.get(n) == "label" else label, start, end)
        for n, (label, start, end) in enumerate(proposed)
        if wrong.get(n) != "alarm"
    ]
    expected = [
        (label, start, end - 2 if wrong.get(round((start - 5) / 14)) == "end" else end)
        for label, start, end in expected
    ]
    assert [span[:3] for span in found] == expected
    print(f"{pressed} keys")
    assert pressed == 32


def test_hour_with_2000_segments_scrolls_smoothly(browser: Browser, tmp_path: Path) -> None:
    """An hour that is not there; 60 frames a second on an idle machine, fewer on a busy one."""
    starts = np.linspace(0, 3590, 2000).tolist()
    labels = [f"label {n}" for n in range(12)]
    segments = [(labels[n % 12], start, start + 6) for n, start in enumerate(starts)]
    results = results_of(tmp_path, 3600.0, labels, segments)
    (tmp_path / "videos" / "event.mov").unlink()
    with running_review(results, tmp_path / "labels.csv") as review:
        context = browser.new_context(viewport={"width": 1280, "height": 720})
        page = context.new_page()
        page.goto(review.url)
        page.wait_for_selector(".segment")
        page.wait_for_timeout(1500)
        for _ in range(9):
            page.keyboard.press("=")
        rate = page.evaluate(
            """() => new Promise((done) => {
              const scroll = document.querySelector("#scroll");
              const began = performance.now();
              let count = 0;
              const move = () => {
                scroll.scrollLeft += 25;
                count++;
                const passed = performance.now() - began;
                if (passed < 3000) requestAnimationFrame(move);
                else done((1000 * count) / passed);
              };
              requestAnimationFrame(move);
            })"""
        )
        print(f"{rate:.0f} frames a second with 2,000 segments")
        context.close()
    assert rate > 20


def test_page_is_usable_with_a_screen_reader_and_fits(browser: Browser, tmp_path: Path) -> None:
    """Everything that is operated has a name, and nothing lies outside of 1280 x 720."""
    videos = clips(tmp_path / "videos", "a.mp4")
    with (
        running_review(videos, tmp_path / "labels.csv", "--labels", "walk|rest") as review,
        opened(browser, review, color_scheme="dark") as page,
    ):
        unnamed = page.evaluate(
            """() => [...document.querySelectorAll("button, input, select, canvas, [role=listbox]")]
              .filter((node) => node.checkVisibility())
              .filter((node) => !(node.textContent.trim() || node.getAttribute("aria-label")
                || node.getAttribute("aria-labelledby") || node.labels?.length))
              .map((node) => node.outerHTML)"""
        )
        assert unnamed == []
        sizes = page.evaluate(
            "() => [document.documentElement.scrollWidth, document.documentElement.scrollHeight]"
        )
        assert sizes == [1280, 720]
        assert re.search(r"\d", page.inner_text("#clock"))
    assert chromium_path()
