"""Pictures of the page of `msqnet serve`, from a server with the shipped model.

python docs/make_pictures/page.py docs/pictures
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from msqnet.demo import demo_clips

if TYPE_CHECKING:
    from collections.abc import Iterator

_START_SECONDS = 300
_JOB_MILLISECONDS = 300_000
_VIEW = {"width": 1120, "height": 720}
_MAX_BYTES = 280_000
_NUM_PAGE_COLOURS, _NUM_FILM_COLOURS = 96, 160
_SHOWN_SECONDS = 8.2
_EXAMPLE = ".example[data-name=fall_at_home]"


@contextmanager
def running_server() -> Iterator[str]:
    """A server whose model and examples are loaded."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "msqnet", "serve", "--port", "0"]
        command += ["--work_folder", f"{folder}/work"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            found = re.search(r"http://\S+", process.stdout.readline() if process.stdout else "")
            if found is None:
                raise RuntimeError("the server did not start")
            deadline = time.monotonic() + _START_SECONDS
            while len(httpx.get(f"{found[0]}api/v1/examples").json()["examples"]) < len(
                demo_clips()
            ):
                if time.monotonic() > deadline:
                    raise RuntimeError(f"the server is not ready after {_START_SECONDS} s")
                time.sleep(0.5)
            yield found[0]
        finally:
            process.terminate()
            process.communicate()


def open_page(browser: Browser, address: str, scheme: str = "light") -> Page:
    """The start page with its pictures."""
    context = browser.new_context(viewport=_VIEW, color_scheme=scheme)
    page = context.new_page()
    page.set_default_timeout(_JOB_MILLISECONDS)
    page.goto(address)
    page.wait_for_selector(_EXAMPLE)
    page.wait_for_load_state("networkidle")
    return page


def store(page: Page, path: Path) -> None:
    """A picture of the whole page; one that is too large for the docs gets 256 colours."""
    page.mouse.move(0, 0)
    page.screenshot(path=path, full_page=True)
    with Image.open(path) as stored:
        image = stored.convert("RGB")
    image.save(path, optimize=True)
    player = page.locator("#player").bounding_box()
    if path.stat().st_size > _MAX_BYTES and player is not None:
        left, top = round(player["x"]), round(player["y"])
        box = (left, top, left + round(player["width"]), top + round(player["height"]))
        with_few_colours(image, box).save(path, optimize=True)
    print(f"{path}: {path.stat().st_size / 1000:.0f} kB")


def with_few_colours(image: Image.Image, film_box: tuple[int, int, int, int]) -> Image.Image:
    """The page in its own most frequent colours, and the film in it dithered from the others."""
    film = image.crop(film_box)
    around = image.copy()
    around.paste((255, 255, 255), film_box)
    counts = around.getcolors(image.width * image.height) or []
    frequent = sorted(counts, reverse=True)[:_NUM_PAGE_COLOURS]
    colours = [level for _, colour in frequent for level in colour]  # type: ignore[union-attr]
    film_palette = film.quantize(_NUM_FILM_COLOURS).getpalette() or []
    palette = Image.new("P", (1, 1))
    palette.putpalette(colours + film_palette[: 3 * _NUM_FILM_COLOURS])
    few = image.quantize(palette=palette, dither=Image.Dither.NONE)
    few.paste(film.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG), film_box)
    return few


def make(browser: Browser, address: str, folder: Path) -> None:
    """Start, running, result, error."""
    page = open_page(browser, address)
    store(page, folder / "page-start.png")
    page.click(_EXAMPLE)
    page.wait_for_selector('#running-share:has-text("%")')
    store(page, folder / "page-running.png")
    page.wait_for_selector("#view-result:not([hidden])")
    page.eval_on_selector("#video", "(video, time) => { video.currentTime = time }", _SHOWN_SECONDS)
    page.select_option("#heat-label", "falling")
    page.click("#heat-button")
    page.wait_for_selector('#heat-note:has-text("play the video to see it")')
    page.wait_for_timeout(1000)
    store(page, folder / "page-result.png")
    page.click("#again")
    page.set_input_files(
        "#file", {"name": "notes.mp4", "mimeType": "video/mp4", "buffer": b"Dear sir,\n" * 50}
    )
    page.wait_for_selector("#view-error:not([hidden])")
    store(page, folder / "page-error.png")


def main() -> None:
    """Make all pictures into the folder that is named."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    executable = shutil.which("chromium") or shutil.which("chromium-browser")
    if executable is None:
        sys.exit("no chromium on PATH (make setup-browser installs it)")
    with running_server() as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        make(browser, address, folder)
        browser.close()


if __name__ == "__main__":
    main()
