"""The page in a real browser, on a real server with the shipped model."""

from __future__ import annotations

import json
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from msqnet.demo import FOLDER
from msqnet.models.open_models import FETCH_COMMAND, RECOMMENDED
from tests.fixtures.hubs import online_environment, running_hub
from tests.fixtures.servers import finished, running_server
from tests.fixtures.text_checkpoints import write_siglip_folder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, Locator, Page

    from tests.fixtures.servers import RunningServer

_WAIT_MILLISECONDS = 60_000
_JOB_MILLISECONDS = 240_000
_CLIP = "fall_at_home.mp4"


@contextmanager
def _opened(browser: Browser, address: str, **settings: Any) -> Iterator[Page]:
    """A page of its own; whatever the browser complains of fails the test."""
    context = browser.new_context(**{"viewport": {"width": 1200, "height": 900}, **settings})
    page = context.new_page()
    page.set_default_timeout(_WAIT_MILLISECONDS)
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda message: _note(message, complaints))
    page.goto(address)
    yield page
    context.close()
    assert complaints == []


def _note(message: Any, complaints: list[str]) -> None:
    # A refused request is told to the console whatever the page makes of it.
    if message.type == "error" and not message.text.startswith("Failed to load resource"):
        complaints.append(message.text)


@pytest.fixture
def page(browser: Browser, server: RunningServer) -> Iterator[Page]:
    with _opened(browser, server.address) as opened:
        opened.wait_for_selector("#view-start:not([hidden])")
        yield opened


@pytest.fixture(scope="module")
def result(server: RunningServer) -> dict[str, Any]:
    """A finished prediction."""
    content = (FOLDER / _CLIP).read_bytes()
    with server.client as client:
        sent = client.post(
            "/api/v1/predictions",
            files={"file": (_CLIP, content)},
            data={"stride_seconds": "2"},
        )
        return dict(finished(client, sent.json()["id"]).json())


@pytest.fixture
def result_page(browser: Browser, server: RunningServer, result: dict[str, Any]) -> Iterator[Page]:
    """The page of the finished prediction, with all labels shown."""
    with _opened(browser, f"{server.address}#id={result['id']}") as opened:
        opened.wait_for_selector("#view-result:not([hidden])")
        opened.uncheck("#only-present")
        yield opened


def _segments(page: Page) -> list[tuple[str, float]]:
    return sorted(
        (item.get_attribute("data-label") or "", float(item.get_attribute("data-start") or "nan"))
        for item in page.locator("#ethogram .ethogram-segment").all()
    )


def _as_shown(segments: list[dict[str, Any]]) -> list[tuple[str, float]]:
    return sorted((item["label"], item["start_seconds"]) for item in segments)


def _has_soon(locator: Locator, text: str) -> None:
    from playwright.sync_api import expect

    expect(locator).to_have_text(re.compile(text), timeout=_JOB_MILLISECONDS)


def _seconds(page: Page) -> float:
    return float(page.eval_on_selector("#video", "video => video.currentTime"))


def _set_seconds(page: Page, seconds: float) -> None:
    """Move the player as its own controls do, and wait until it is there."""
    page.eval_on_selector(
        "#video",
        """(video, seconds) => new Promise((resolve) => {
          video.addEventListener("seeked", resolve, { once: true });
          video.currentTime = seconds;
        })""",
        seconds,
    )


def test_upload_shows_progress_then_the_timeline_of_the_result(page: Page) -> None:
    page.set_input_files("#file", FOLDER / _CLIP)
    page.wait_for_selector("#view-running:not([hidden])")
    assert page.locator("#running-title").text_content() == _CLIP
    page.wait_for_selector("#view-result:not([hidden])", timeout=_JOB_MILLISECONDS)

    assert page.locator("#result-title").text_content() == _CLIP
    with page.expect_download() as download:
        page.click("#download-json")
    assert download.value.suggested_filename == f"{_CLIP}.json"
    stored = json.loads(download.value.path().read_text())
    assert _segments(page) == _as_shown(stored["segments"])
    assert page.locator("#segments tbody tr").count() == len(stored["segments"])

    page.click("#remove")
    page.wait_for_selector("#view-start:not([hidden])")
    assert "id=" not in page.url


def test_words_that_nothing_here_scores_are_refused_with_the_command(page: Page) -> None:
    assert FETCH_COMMAND in (page.locator("#labels-help").text_content() or "")
    page.fill("#labels", "walking, dog jumping")
    page.set_input_files("#file", FOLDER / _CLIP)
    page.wait_for_selector("#view-error:not([hidden])")
    told = page.locator("#error-text").text_content() or ""
    assert "dog jumping" in told
    assert FETCH_COMMAND in told

    page.click("#retry")
    page.fill("#labels", "Wall supported rearing\nfalling")
    page.click(".options summary")
    page.fill("#stride", "2")
    page.set_input_files("#file", FOLDER / _CLIP)
    page.wait_for_selector("#view-result:not([hidden])", timeout=_JOB_MILLISECONDS)
    assert page.locator("#heat-line").is_visible()
    page.uncheck("#only-present")
    assert page.locator("#heat-label option").all_text_contents() == [
        "wall supported rearing",
        "falling",
    ]


@pytest.mark.slow
def test_words_are_scored_by_an_open_model_that_was_fetched(
    browser: Browser, tmp_path: Path
) -> None:
    write_siglip_folder(tmp_path / "hub" / RECOMMENDED.hub_id, version=2, num_tokens=77)
    with running_hub(tmp_path / "hub") as hub:
        environment = online_environment(hub.address, tmp_path / "home")
        environment["HF_HUB_OFFLINE"] = "0"
        with (
            running_server(tmp_path / "work", "--yes", environment=environment) as server,
            _opened(browser, server.address) as page,
        ):
            page.wait_for_selector("#view-start:not([hidden])")
            assert "siglip2-base scores all" in (page.locator("#labels-help").text_content() or "")
            page.fill("#labels", "dog jumping")
            page.click(".options summary")
            page.fill("#stride", "2")
            page.set_input_files("#file", FOLDER / _CLIP)
            page.wait_for_selector("#view-result:not([hidden])", timeout=_JOB_MILLISECONDS)
            page.uncheck("#only-present")
            assert not page.locator("#heat-line").is_visible()
            assert page.locator("#heat-label option").all_text_contents() == ["dog jumping"]
            facts = page.locator("#result-facts").text_content() or ""
            assert f"scored by {RECOMMENDED.hub_id}" in facts


def test_threshold_redraws_at_once_and_is_in_the_address(
    result_page: Page, result: dict[str, Any]
) -> None:
    own = _as_shown(result["result"]["segments"])
    assert _segments(result_page) == own

    result_page.locator("#threshold").fill("0.05")
    low = _segments(result_page)
    result_page.locator("#threshold").fill("1")

    assert len(low) > 0
    assert _segments(result_page) == []
    assert result_page.locator("#segments-empty").is_visible()
    assert "threshold=1.00" in result_page.url
    assert "threshold=1" in (result_page.locator("#download-csv").get_attribute("href") or "")
    result_page.check("#own-thresholds")
    assert _segments(result_page) == own
    assert "threshold" not in result_page.url


def test_segment_leads_the_player_to_its_start(result_page: Page) -> None:
    result_page.locator("#threshold").fill("0.05")
    _set_seconds(result_page, 3.5)
    segment = result_page.locator('#ethogram .ethogram-segment[data-start="0"]').first

    segment.click(position={"x": 4, "y": 6})

    assert _seconds(result_page) == pytest.approx(0.0, abs=0.01)
    _set_seconds(result_page, 2.0)
    row = result_page.locator("#segments tbody tr").last
    row.locator("button").click()
    start = float(row.evaluate("row => row.segment.start_seconds"))
    assert _seconds(result_page) == pytest.approx(start, abs=0.01)


def test_play_head_follows_the_player(result_page: Page) -> None:
    duration = float(result_page.eval_on_selector("#video", "video => video.duration"))
    _set_seconds(result_page, duration / 2)

    left = result_page.eval_on_selector(".ethogram-playhead", "head => head.style.left")

    assert float(left.removesuffix("%")) == pytest.approx(50, abs=2)


def test_keyboard_reaches_segments_and_moves_along_them(result_page: Page) -> None:
    result_page.locator("#threshold").fill("0.05")
    _set_seconds(result_page, 3.5)
    first = result_page.locator("#ethogram .ethogram-segment").first
    first.focus()

    result_page.keyboard.press("Enter")

    start = float(first.get_attribute("data-start") or "nan")
    assert _seconds(result_page) == pytest.approx(start, abs=0.01)
    result_page.focus("#ethogram .ethogram-axis")
    result_page.keyboard.press("End")
    assert _seconds(result_page) > 3.5


def test_filter_shows_the_actions_that_it_names(result_page: Page) -> None:
    result_page.fill("#filter", "sit")

    rows = result_page.locator("#ethogram .ethogram-row:not(.is-axis):visible .ethogram-label")
    assert rows.all_text_contents() == ["sitting"]
    result_page.fill("#filter", "no such action")
    assert result_page.locator("#ethogram-note").is_visible()


def test_heat_map_lies_over_the_picture(result_page: Page) -> None:
    result_page.select_option("#heat-label", "sitting")
    result_page.click("#heat-button")
    _has_soon(result_page.locator("#heat-note"), "play the video to see it")

    painted = result_page.eval_on_selector(
        "#heat",
        """(canvas) => {
          const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
          return data.filter((value, place) => place % 4 === 3 && value > 0).length;
        }""",
    )
    assert painted > 0
    canvas = result_page.locator("#heat").bounding_box()
    video = result_page.locator("#video").bounding_box()
    assert canvas is not None
    assert video is not None
    # The clip's pixels are not square; what counts is the picture as the player shows it.
    aspect = result_page.eval_on_selector("#video", "v => v.videoWidth / v.videoHeight")
    assert canvas["width"] / canvas["height"] == pytest.approx(aspect, rel=0.01)
    assert video["x"] <= canvas["x"] + 1
    assert canvas["x"] + canvas["width"] <= video["x"] + video["width"] + 1
    result_page.click("#heat-button")
    assert result_page.locator("#heat").is_hidden()


@pytest.mark.slow
@pytest.mark.parametrize(("name", "suffix"), [("overlay", ".overlay.mp4"), ("report", ".html")])
def test_files_that_take_time_are_made_and_stored(
    result_page: Page, name: str, suffix: str
) -> None:
    with result_page.expect_download(timeout=_JOB_MILLISECONDS) as download:
        result_page.click(f"#download-{name}")

    assert download.value.suggested_filename == f"{_CLIP}{suffix}"
    assert download.value.path().stat().st_size > 10_000


def test_reload_finds_the_result_and_its_threshold_again(
    result_page: Page, result: dict[str, Any]
) -> None:
    result_page.locator("#threshold").fill("0.2")

    result_page.reload()

    result_page.wait_for_selector("#view-result:not([hidden])")
    assert result["id"] in result_page.url
    assert result_page.locator("#threshold-value").text_content() == "0.20"


def test_example_is_taken_and_cancelled(page: Page, server: RunningServer) -> None:
    page.click(".example[data-name=fall_at_home]")
    page.wait_for_selector("#view-running:not([hidden])")
    _has_soon(page.locator("#running-title"), r"fall_at_home\.mp4")
    _has_soon(page.locator("#running-state"), "Waiting|Predicting")

    page.click("#cancel")

    page.wait_for_selector("#view-start:not([hidden])")
    assert "id=" not in page.url
    assert server.process.poll() is None


def test_text_named_mp4_is_explained_and_another_try_is_offered(page: Page) -> None:
    page.set_input_files(
        "#file", {"name": "notes.mp4", "mimeType": "video/mp4", "buffer": b"Dear sir,\n" * 50}
    )

    page.wait_for_selector("#view-error:not([hidden])")

    assert page.locator("#error-title").text_content() == "This file is not a video"
    assert "notes.mp4" in (page.locator("#error-text").text_content() or "")
    page.click("#retry")
    page.wait_for_selector("#view-start:not([hidden])")


def test_file_over_the_limit_is_not_even_sent(page: Page) -> None:
    page.set_input_files(
        "#file", {"name": "long.mp4", "mimeType": "video/mp4", "buffer": bytes(3_100_000)}
    )

    assert "at most 3.0 MB" in (page.locator("#start-error").text_content() or "")


def test_prediction_that_is_gone_is_explained(browser: Browser, server: RunningServer) -> None:
    with _opened(browser, f"{server.address}#id=gone") as page:
        page.wait_for_selector("#view-error:not([hidden])")

        assert "no longer available" in (page.locator("#error-title").text_content() or "")


def test_labels_and_names_are_text_and_never_markup(
    browser: Browser, server: RunningServer
) -> None:
    name = "<img src=x onerror=alert(1)>.mp4"
    content = (FOLDER / _CLIP).read_bytes()
    with server.client as client:
        sent = client.post("/api/v1/predictions", files={"file": (name, content)}).json()
        with _opened(browser, f"{server.address}#id={sent['id']}") as page:
            _has_soon(page.locator("#running-title"), re.escape(name))
            assert page.locator("main img[src=x]").count() == 0
        client.delete(f"/api/v1/predictions/{sent['id']}")


def test_nothing_sticks_out_on_a_narrow_screen(
    browser: Browser, server: RunningServer, result: dict[str, Any]
) -> None:
    settings = {"viewport": {"width": 390, "height": 800}, "color_scheme": "dark"}
    for place in ("", f"#id={result['id']}"):
        with _opened(browser, server.address + place, **settings) as page:
            page.wait_for_selector("#view-result:not([hidden]), .example")
            assert page.evaluate("document.documentElement.scrollWidth") <= 390


@pytest.mark.slow
def test_page_asks_for_the_token_and_then_plays_the_video(browser: Browser, tmp_path: Path) -> None:
    environment = {"MSQNET_SERVE_TOKEN": "swordfish-swordfish"}
    # Playwright's own event loop runs in this thread; the server is a process of its own.
    with (
        running_server(tmp_path / "work", environment=environment) as server,
        _opened(browser, server.address) as page,
    ):
        page.fill("#token", "tuna")
        page.click("#token-form button")
        page.wait_for_selector("#token-error:not([hidden])")
        page.fill("#token", "swordfish-swordfish")
        page.click("#token-form button")
        page.wait_for_selector("#view-start:not([hidden])")
        page.set_input_files("#file", FOLDER / _CLIP)
        page.wait_for_selector("#view-result:not([hidden])", timeout=_JOB_MILLISECONDS)
        _set_seconds(page, 1.0)
        assert _seconds(page) == pytest.approx(1.0, abs=0.1)
