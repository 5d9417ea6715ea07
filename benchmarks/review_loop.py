"""The loop of `msqnet review` on real clips: annotate, train, predict, correct, train again.

    python -m benchmarks.review_loop --data many_actors.csv --out runs/loop --pictures docs/pictures

The clips are those of one source of `many_actors.csv`, each with one label. A scripted user, who
knows the table's labels, annotates the clips of two recordings from scratch and trains. The model
predicts those of four others; the user accepts what is right, rejects the rest, adds what is
missing, and trains again. The clips of eight other recordings are held out of both trainings.
Prints seconds, corrections, and average precision on held-out clips before and after. All of it
goes through the server of a review, as from its page. `--pictures` stores the page's table of the
two models (Chromium is needed for that).
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import httpx

from msqnet.cli.main import exit_code_of
from msqnet.data.table import read_table

SOURCE = "deliangWu/Video-Interaction-Recognition-and-Detection-"
FIRST, SECOND = ("seq01", "seq02"), ("seq03", "seq04", "seq13", "seq14")
HELD_OUT = tuple(f"seq{number:02}" for number in range(5, 13))


class ScriptedUser:
    """Somebody who annotates clips through the server, and knows the label and end of each."""

    def __init__(self, address: str, token: str, truth: dict[str, tuple[str, float]]) -> None:
        self.truth, self.labels = truth, sorted({label for label, _ in truth.values()})
        self.client = httpx.Client(base_url=f"{address}api/v1/", timeout=120)
        self.client.post("session", headers={"Authorization": f"Bearer {token}"})
        self.client.headers["X-Msqnet-Window"] = "scripted-user"
        self.enter()
        self.ids = {item["name"]: item["id"] for item in self.get("project")["videos"]}

    def get(self, path: str) -> Any:
        """What the server says."""
        return self.client.get(path).raise_for_status().json()

    def enter(self) -> None:
        """Be the window that may change things."""
        self.client.post("window", params={"force": True}).raise_for_status()

    def annotate(self, recordings: tuple[str, ...]) -> Counter[str]:
        """Settle all proposals of the clips of recordings, add what is missing; counts of each."""
        counts: Counter[str] = Counter()
        for name, number in self.ids.items():
            if name.partition("_")[0] not in recordings:
                continue
            label, end = self.truth[name]
            put: list[dict[str, Any]] = []
            for item in self.get(f"videos/{number}")["items"]:
                is_right = item["label"] == label and not counts[name]
                counts[name] += is_right
                counts["accepted" if is_right else "rejected"] += 1
                put.append({**item, "state": "accepted" if is_right else "rejected"})
            if not counts.pop(name, 0):
                counts["added"] += 1
                put.append({"kind": "segment", "label": label, "start": 0, "end": end})
            put.append({"kind": "mark", "labels": self.labels, "start": 0, "end": None})
            self.client.post(f"videos/{number}/changes", json={"put": put}).raise_for_status()
        return counts

    def run(self, **body: Any) -> None:
        """Train or predict, and wait for the end."""
        began = time.perf_counter()
        self.client.post("task", json=body).raise_for_status()
        while (found := self.get("task"))["task"]["state"] == "running":
            self.enter()
            time.sleep(1)
        task: dict[str, Any] = found["task"]
        print(f"{task['title']}: {task['state']}, {time.perf_counter() - began:.0f} s", flush=True)
        if task["state"] != "done":
            raise SystemExit("\n".join(task["lines"]))

    def train(self) -> None:
        """Train anew on all that is annotated and not held out, and use the model."""
        held_out = [i for name, i in self.ids.items() if name.partition("_")[0] in HELD_OUT]
        self.run(kind="retrain", held_out=held_out, is_anew=True)
        for side, found in self.get("task")["comparison"].items():
            by_label = {row["label"]: row["ap"] for row in found["labels"] if row["ap"]}
            figures = ", ".join(f"{name} {float(ap):.3f}" for name, ap in by_label.items())
            if found["macro_map"] is not None:
                print(f"{side}: macro mAP {found['macro_map']:.3f} ({figures})", flush=True)
        self.client.post("task", json={"kind": "use"}).raise_for_status()


def copy_clips(table: Path, folder: Path) -> dict[str, tuple[str, float]]:
    """Copy the clips, named after their recordings; label and end of each by its new name."""
    truth = {}
    folder.mkdir(parents=True)
    for record in read_table(table).records:
        recording = record.group.rpartition(":")[2]
        if record.source == SOURCE and recording in (*FIRST, *SECOND, *HELD_OUT):
            name = f"{recording}_{record.path.name}"
            shutil.copy(record.path, folder / name)
            truth[name] = record.labels[0], float(record.end_seconds or 0)
    return truth


def take_picture(url: str, path: Path) -> None:
    """The table of the two models, as the page shows it."""
    from playwright.sync_api import sync_playwright

    executable = shutil.which("chromium") or shutil.which("chromium-browser")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        page = browser.new_context(viewport={"width": 1280, "height": 800}).new_page()
        page.goto(url)
        page.wait_for_selector("#take-over, .video[aria-current]")
        if page.locator("#take-over").is_visible():
            page.click("#take-over")
            page.wait_for_selector(".video[aria-current]")
        page.click("#model-open")
        page.wait_for_selector("#m-result:not([hidden])")
        page.locator("#model-dialog").screenshot(path=path / "review_models.png")
        browser.close()


def main() -> None:
    """Run the loop once."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="many_actors.csv")
    parser.add_argument("--out", type=Path, required=True, help="a new folder")
    parser.add_argument("--pictures", type=Path, help="folder for the picture of the docs")
    settings = parser.parse_args()
    truth = copy_clips(settings.data, settings.out / "videos")
    labels = "|".join(sorted({label for label, _ in truth.values()}))
    command = [sys.executable, "-m", "msqnet", "review", str(settings.out / "videos"), "--out"]
    command += [str(settings.out / "labels.csv"), "--labels", labels, "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        lines = iter(process.stdout or ())
        url = next(found[0] for line in lines if (found := re.search(r"http://\S+", line)))
        address, _, token = url.partition("#token=")
        user = ScriptedUser(address, token, truth)
        user.annotate(HELD_OUT)
        print(f"annotated from scratch: {dict(user.annotate(FIRST))}")
        user.train()
        user.run(kind="predict")
        print(f"corrected: {dict(user.annotate(SECOND))}")
        user.train()
        if settings.pictures is not None:
            take_picture(url, settings.pictures)
    finally:
        process.terminate()
        process.wait()


if __name__ == "__main__":
    sys.exit(exit_code_of(main))
