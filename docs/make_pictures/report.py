"""Pictures of the report: `python docs/make_pictures/report.py docs/pictures`.

The report of predictions shows the demo clips. The one of an evaluation
shows the shipped model on the mixed-actor table, and is made where MSQNET_DATA names the folder of
that table; no frame of a clip is in the picture.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from PIL import Image
from playwright.sync_api import Page, sync_playwright

from msqnet.demo import FOLDER

if TYPE_CHECKING:
    from collections.abc import Iterator

WIDTH, NARROW = 1200, 390
MAX_COLOURS = 255


def main() -> int:
    """Make the pictures in the folder that the command line names."""
    out = Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder) / "results"
        run("predict", str(FOLDER), "--out", str(results))
        run("report", str(results))
        take_pictures_of_videos(results / "report.html", out)
        table = Path(os.environ.get("MSQNET_DATA", "")) / "mixed_actors.csv"
        if not table.is_file():
            print("report_evaluation.png is left as it is: MSQNET_DATA has no mixed_actors.csv")
            return 0
        evaluation = Path(folder) / "evaluation"
        run("evaluate", "--data", str(table), "--split", "test", "--out", str(evaluation))
        run("report", str(evaluation))
        take_picture_of_evaluation(evaluation / "report.html", out)
    return 0


def run(*arguments: str) -> None:
    """Run a command of msqnet."""
    subprocess.run([sys.executable, "-m", "msqnet", *arguments], check=True)


def take_pictures_of_videos(report: Path, out: Path) -> None:
    """`report.png`, light, `report_dark.png` and `report_narrow.png`."""
    kinds: tuple[tuple[str, int, Literal["light", "dark"]], ...] = (
        ("report", WIDTH, "light"),
        ("report_dark", WIDTH, "dark"),
        ("report_narrow", NARROW, "light"),
    )
    for name, width, scheme in kinds:
        with opened(report, width, scheme) as page:
            page.locator("#shown-labels").select_option("present")
            page.wait_for_timeout(500)
            page.get_by_role("slider", name="Time").focus()
            for _ in range(45):
                page.keyboard.press("ArrowRight")
            page.evaluate("document.activeElement.blur()")
            page.wait_for_timeout(800)
            shoot(page, out / f"{name}.png", "#video-panel")


def take_picture_of_evaluation(report: Path, out: Path) -> None:
    """`report_evaluation.png`: from the top to the end of the curves, above any frame of a clip."""
    with opened(report, WIDTH, "light") as page:
        shoot(page, out / "report_evaluation.png", ".panel:has(.curves)")


@contextlib.contextmanager
def opened(report: Path, width: int, scheme: Literal["light", "dark"]) -> Iterator[Page]:
    """The report in a browser, without a network."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium") or shutil.which("chromium-browser"),
            args=["--no-sandbox", "--disable-gpu"],
        )
        page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
        page.context.set_offline(True)
        page.goto(report.resolve().as_uri())
        yield page
        browser.close()


def shoot(page: Page, path: Path, last: str) -> None:
    """The page from its top to the end of an element, in few colours, which makes it small."""
    page.evaluate("scrollTo({top: 0, behavior: 'instant'})")
    box = page.locator(last).bounding_box()
    if box is None:
        raise SystemExit(f"{path.name}: the page has no {last}")
    height = box["y"] + box["height"] + 16
    page.screenshot(path=path, full_page=True)
    with Image.open(path) as picture:
        picture.load()
    cut = picture.convert("RGB").crop((0, 0, picture.width, min(round(height), picture.height)))
    cut.quantize(MAX_COLOURS, method=Image.Quantize.MEDIANCUT).save(path, optimize=True)
    print(f"{path} ({path.stat().st_size / 1000:.0f} kB)")


if __name__ == "__main__":
    raise SystemExit(main())
