"""Pictures of the page of `msqnet review`, with results of the shipped model on the demo clips.

python docs/make_pictures/review.py docs/pictures
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from page import store
from playwright.sync_api import sync_playwright

from msqnet.demo import FOLDER

if TYPE_CHECKING:
    from playwright.sync_api import Browser

_VIEW = {"width": 1280, "height": 720}
_MILLISECONDS = 60_000
_NUM_FRAMES = 8


def make(browser: Browser, address: str, folder: Path) -> None:
    """Two proposals are settled and one is open, light and dark; and that one becomes a label."""
    for scheme, name in (("light", "review.png"), ("dark", "review_dark.png")):
        page = browser.new_context(viewport=_VIEW, color_scheme=scheme).new_page()
        page.set_default_timeout(_MILLISECONDS)
        page.goto(address)
        page.wait_for_selector("#player-note", state="hidden")
        page.wait_for_selector(".segment[aria-selected=true]")
        if scheme == "light":
            page.keyboard.press("y")
            page.keyboard.press("n")
            page.wait_for_selector(".segment.is-rejected")
        page.click(".segment.is-proposed")
        for _ in range(_NUM_FRAMES):
            page.keyboard.press(".")
        page.wait_for_timeout(1000)
        store(page, folder / name)
        if scheme == "light":
            page.keyboard.press("Shift+M")
            page.fill("#t-name", "stumbling")
            page.check("#t-rest")
            page.wait_for_selector("#t-negatives li")
            page.locator("#teach-dialog").screenshot(path=folder / "review_teach.png")
        page.close()


def main() -> None:
    """Make all pictures into the folder that is named."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    executable = shutil.which("chromium") or shutil.which("chromium-browser")
    if executable is None:
        sys.exit("no chromium on PATH (make setup-browser installs it)")
    program = [sys.executable, "-m", "msqnet"]
    with tempfile.TemporaryDirectory() as work:
        results = f"{work}/results"
        subprocess.run([*program, "predict", str(FOLDER), "--out", results], check=True)
        command = [*program, "review", results, "--out", f"{work}/labels.csv", "--port", "0"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            lines = iter(process.stdout or ())
            address = next(found[0] for line in lines if (found := re.search(r"http://\S+", line)))
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(
                    executable_path=executable, args=["--no-sandbox"]
                )
                make(browser, address, folder)
                browser.close()
        finally:
            process.terminate()
            process.communicate()


if __name__ == "__main__":
    main()
