"""Labels made of what is selected in the page of a review, in a real browser."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msqnet.data.table import read_table
from tests.fixtures.reviews import opened, running_review, soon, spans
from tests.fixtures.videos import write_scene

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import Browser


def test_selected_segments_become_a_label_that_the_model_is_taught(
    browser: Browser, tmp_path: Path
) -> None:
    """By keyboard: two videos that show it, the rest of both lacks it; proposed in the third."""
    videos, out = tmp_path / "videos", tmp_path / "labels.csv"
    videos.mkdir()
    for number, letter in enumerate("abc"):
        write_scene(videos / f"{letter}.mp4", number, flashes=True)
    with running_review(videos, out, "--labels", "walk|rest") as review:
        with opened(browser, review) as page:
            for number in (1, 2):
                for _ in range(2):
                    page.keyboard.press("w")
                    page.keyboard.press(".")
                    page.keyboard.press(".")
                    page.keyboard.press("w")
                    page.keyboard.press(".")
                soon(page, lambda n=number: [s[2] for s in spans(review, n)], [0.2, 0.5])
                page.wait_for_function("() => document.querySelector('#d-end').value === '0.5'")
                page.keyboard.press("Shift+ArrowUp")
                page.wait_for_selector(".segment[aria-selected=true] >> nth=1")
                page.keyboard.press("Shift+M")
                assert page.is_disabled("#t-teach")
                page.keyboard.type("Walking" if number == 1 else "flash")
                if number == 1:
                    page.wait_for_selector("#t-error:has-text('in spelling alone')")
                    assert page.is_disabled("#t-add")
                    page.fill("#t-name", "flash")
                page.wait_for_selector("#t-teach:enabled")
                assert page.inner_text("#t-positives-title") == f"Shows it: {2 * number}"
                page.check("#t-rest")
                page.wait_for_selector("#t-negatives li")
                said = "One video shows it" in page.inner_text("#t-notes")
                assert said == (number == 1)
                if number == 1:
                    page.click("#t-add")
                    page.wait_for_selector("#teach-dialog", state="hidden")
                    page.reload()
                    page.wait_for_selector(".video[aria-current]")
                    page.keyboard.press("Shift+N")
                    page.wait_for_selector(".video[aria-current] >> text=b.mp4")
                    page.wait_for_selector("#player-note", state="hidden")
            page.press("#t-name", "Enter")
            page.wait_for_selector("#m-lessons th:text-is('flash')", timeout=120_000)
            page.wait_for_selector("#m-state:has-text('done')", timeout=120_000)
            assert "weak" in page.inner_text("#m-lessons")
            page.reload()
            page.wait_for_selector(".video[aria-current]")
            page.click("#model-open")
            page.wait_for_selector("#m-lessons th:text-is('flash')")
        assert {span[0] for span in spans(review, 3)} == {"flash"}
        assert [span[0] for span in spans(review, 1)].count("flash") == 2
        review.stop()
    shown = [row for row in read_table(out).records if "flash" in row.labels]
    assert len({row.path for row in shown}) == 2
