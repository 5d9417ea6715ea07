"""Keep what the commands put out, and compare it after a change that must not change it.

    MSQNET_DATA=data python benchmarks/golden.py make FOLDER     before the change
    MSQNET_DATA=data python benchmarks/golden.py compare FOLDER  after it

Runs every command on real clips and annotation files, and keeps files, tables, HTML text and what
is printed. Durations, dates and folders of this machine are replaced, everything else is compared
as text; arrays are compared by the digest of their bytes. ``compare`` ends with exit code 1 if
anything differs. ``--only REGEX`` runs the cases whose name it matches, ``--slow`` the training,
export and batch cases too.
"""

from __future__ import annotations

import argparse
import contextlib
import difflib
import hashlib
import io
import json
import os
import re
import shutil
import sys
import tempfile
import zipfile
from pathlib import Path

from msqnet.cli.main import exit_code_of
from msqnet.errors import DatasetError

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ["COLUMNS"] = "120"
os.environ.setdefault("MSQNET_DATA", "")

DATA = Path(os.environ["MSQNET_DATA"])
CASES = DATA.parent / "cases"
CLIPS = (
    "gmdcsa24/Subject_2/Fall/12.mp4",
    "surv_fight/fight/fi002.mp4",
    "mouse_bsoid_v2",
    "yolo_behavior_rat",
)
DEPLOYMENT = (
    "deployment=d1",
    "latitude=52.5",
    "longitude=13.4",
    "project=Test",
    "contributor=Ada",
    "sampling_design=opportunistic",
    "capture_method=activityDetection",
    "recorded=2026-01-01T00:00:00+00:00",
)
TEXT = {".json", ".csv", ".tsv", ".xml", ".eaf", ".html", ".boris", ".txt", ".yaml", ".yml", ".md"}
VOLATILE = (
    (re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:?\d\d)?"), "<time>"),
    (re.compile(r"\d+(\.\d+)? s of video in \d+(\.\d+)? s: \d+(\.\d+)? x real time"), "<rate>"),
    (
        re.compile(r'("?\w*(seconds_taken|elapsed|wall_seconds|took)\w*"?\s*[:=]\s*)[\d.]+'),
        r"\1<n>",
    ),
    (re.compile(r'("created"|"last_updated"|DATE)(: ?|=)"[^"]*"'), r"\1\2<time>"),
    (re.compile(r"(\"created\": ?)\d+"), r"\1<time>"),
)


def clips() -> list[Path]:
    """Real clips of people, a mouse and a rat."""
    found = []
    for name in CLIPS:
        path = DATA / name
        found.append(
            path
            if path.is_file()
            else sorted(p for p in path.rglob("*.*") if p.suffix in (".mp4", ".avi"))[0]
        )
    return found


def table(folder: Path, num_rows: int, split: str, step: int) -> Path:
    """A table of every ``step``-th row of a split, its paths absolute."""
    import pandas as pd

    rows = pd.read_csv(DATA / "mixed_actors.csv", dtype=str, keep_default_na=False)
    rows = rows[rows["split"] == split].iloc[::step].head(num_rows).copy()
    rows["path"] = [str(DATA / path) for path in rows["path"]]
    path = folder / f"{split}.csv"
    rows.to_csv(path, index=False)
    return path


def cases(work: Path, *, with_slow: bool) -> list[tuple[str, list[str]]]:
    """Name and arguments of each command, in the order in which they build on each other."""
    person, fight, mouse, rat = map(str, clips())
    test, train = str(table(work, 24, "test", 9)), str(table(work, 40, "train", 13))
    annotations, odd = DATA / "annotations", CASES / "formats"
    found: list[tuple[str, list[str]]] = [
        (f"help-{name}", [name, "--help"])
        for name in (
            "predict",
            "batch",
            "train",
            "evaluate",
            "calibrate",
            "report",
            "explain",
            "check",
            "convert",
            "zero-shot",
            "serve",
            "embed",
            "export",
            "models",
            "doctor",
        )
    ]
    found += [
        ("models", ["models"]),
        ("predict", ["predict", person, fight, mouse, rat, "--out", "predict"]),
        ("predict-again", ["predict", person, "--out", "predict"]),
        ("predict-print", ["predict", fight]),
        (
            "predict-options",
            [
                "predict",
                person,
                "--labels",
                "falling|standing",
                "--window_seconds",
                "1",
                "--stride_seconds",
                "0.5",
                "--threshold",
                "0.3",
                "--min_duration_seconds",
                "0.2",
                "--max_gap_seconds",
                "1",
                "--batch_size",
                "2",
                "--out",
                "predict-options",
            ],
        ),
        ("predict-missing", ["predict", "nothing.mp4"]),
        ("predict-bad-label", ["predict", fight, "--labels", "flying"]),
        ("predict-bad-model", ["predict", fight, "--model", "no/such"]),
        ("predict-overlay", ["predict", fight, "--out", "overlay", "--overlay", "--figure"]),
        ("check", ["check", test]),
        ("evaluate", ["evaluate", "--data", test, "--out", "evaluate"]),
        ("calibrate", ["calibrate", "--data", test, "--split", "test", "--out", "calibrated"]),
        ("report", ["report", "predict"]),
        ("report-evaluation", ["report", "evaluate"]),
        ("explain", ["explain", fight, "--labels", "fighting", "--out", "explain"]),
        ("embed", ["embed", "--data", test, "--split", "test", "--out", "embed"]),
        ("convert-list", ["convert", "--from", "list"]),
    ]
    sources = [
        ("charades", ["--root", str(annotations / "charades")]),
        ("hmdb51", ["--root", str(annotations / "hmdb51")]),
        ("ucf101", ["--root", str(annotations / "ucf101")]),
        ("thumos14", ["--root", str(annotations / "thumos14")]),
        ("animal_kingdom", ["--root", str(annotations / "animal_kingdom")]),
        ("mammalnet", ["--root", str(annotations / "animal_clip_lists")]),
        ("volleyball", ["--root", str(annotations / "volleyball")]),
    ]
    found += [
        (f"data-{name}", ["convert", "--from", name, *rest, "--out", f"data-{name}.csv"])
        for name, rest in sources
    ]
    kinds = {
        "boris7_": "boris_events",
        "boris_": "boris",
        "cvat_": "cvat",
        "label_studio_": "label_studio",
        "via_": "via",
        "camtrap_urls": "camtrap_dp",
    }
    for path in sorted(odd.iterdir()):
        kind = next((kind for start, kind in kinds.items() if path.name.startswith(start)), None)
        if kind is None or "config" in path.name:
            continue
        for level in ("pieces", "windows", "events", "videos"):
            found.append(
                (
                    f"odd-{path.name}-{level}",
                    [
                        "convert",
                        "--from",
                        kind,
                        "--input",
                        str(path),
                        "--root",
                        str(odd / "videos"),
                        "--out",
                        f"odd/{path.name}-{level}.csv",
                        "--option",
                        f"level={level}",
                    ],
                )
            )
    suffix = {
        "boris": ".boris",
        "boris_events": ".tsv",
        "label_studio": ".json",
        "via": ".json",
        "feral": ".json",
        "table": ".csv",
    }
    for name in (
        "boris",
        "boris_events",
        "elan",
        "feral",
        "camtrap_dp",
        "label_studio",
        "via",
        "cvat",
        "table",
    ):
        out = f"to-{name}{suffix.get(name, '')}"
        options = {
            "table": ["--option", "level=pieces"],
            "camtrap_dp": ["--option", *DEPLOYMENT],
        }.get(name, [])
        found.append(
            (
                f"write-{name}",
                [
                    "convert",
                    "--from",
                    "predictions",
                    "--input",
                    "predict-options" if name == "camtrap_dp" else "predict",
                    "--to",
                    name,
                    "--out",
                    out,
                    *options,
                ],
            )
        )
        back = f"back-{name}.csv"
        found.append(
            (
                f"read-{name}",
                ["convert", "--from", name, "--input", out, "--root", str(DATA), "--out", back],
            )
        )
        found.append(
            (
                f"rewrite-{name}",
                [
                    "convert",
                    "--from",
                    "table",
                    "--input",
                    train,
                    "--to",
                    name,
                    "--out",
                    f"again-{out}",
                    *options,
                ],
            )
        )
    if with_slow:
        found += [
            (
                "batch",
                [
                    "batch",
                    "run",
                    "--inputs",
                    person,
                    fight,
                    mouse,
                    rat,
                    "--out",
                    "batch",
                    "--processes",
                    "1",
                ],
            ),
            ("batch-status", ["batch", "status", "--out", "batch"]),
            ("train", ["train", "--data", train, "--out", "train", "--train.epochs", "2"]),
            (
                "evaluate-trained",
                ["evaluate", "--model", "train", "--data", test, "--split", "test"],
            ),
            ("export", ["export", "--format", "onnx", "--out", "exported", "--videos", fight]),
            (
                "predict-exported",
                ["predict", fight, "--model", "exported", "--out", "predict-exported"],
            ),
        ]
    return found


def run_case(arguments: list[str]) -> str:
    """Exit code and printed text of one command."""
    from msqnet.cli.main import main

    stdout, stderr = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(stderr):
        try:
            code: object = main(arguments)
        except SystemExit as error:
            code = error.code
        except Exception as error:
            code = f"{type(error).__name__}: {error}"
    return f"exit {code}\n--- stdout\n{stdout.getvalue()}\n--- stderr\n{stderr.getvalue()}\n"


def content(path: Path) -> str:
    """A file as text, or the digest of what it holds."""
    if path.suffix == ".parquet":
        import pandas as pd

        frame = pd.read_parquet(path)
        body = (
            frame.to_csv(index=False)
            if len(frame) < 5000
            else hashlib.sha256(frame.to_csv(index=False).encode()).hexdigest()
        )
        return f"{dict(frame.dtypes.astype(str))}\n{body}"
    if path.suffix in TEXT:
        text = path.read_text(errors="backslashreplace")
        if path.suffix == ".html":
            text = re.sub(
                r"data:[\w/+.;-]+,[A-Za-z0-9+/=%]+",
                lambda m: "data:" + hashlib.sha256(m[0].encode()).hexdigest()[:12],
                text,
            )
        return text
    if path.suffix == ".zip" or path.suffix == ".npz":
        with zipfile.ZipFile(path) as archive:
            return "\n".join(
                f"{n} {hashlib.sha256(archive.read(n)).hexdigest()}"
                for n in sorted(archive.namelist())
            )
    if path.suffix in (".mp4", ".gif", ".png", ".jpg", ".onnx", ".svg"):
        return "(picture, video or graph: looked at, not compared)"
    return hashlib.sha256(path.read_bytes()).hexdigest()


def normalize(text: str, work: Path) -> str:
    """Text without folders of this machine, dates and durations."""
    for folder, name in (
        (work, "<work>"),
        (DATA, "<data>"),
        (CASES, "<cases>"),
        (Path.home(), "<home>"),
    ):
        text = text.replace(str(folder), name)
    text = text.replace(str(work.name), "<workname>")
    for pattern, replacement in VOLATILE:
        text = pattern.sub(replacement, text)
    return text


def run_all(target: Path, only: str, *, with_slow: bool) -> None:
    """Run the cases in an empty folder and keep what came of them below ``target``."""
    work = Path(tempfile.mkdtemp(prefix="golden-"))
    os.chdir(work)
    target.mkdir(parents=True, exist_ok=True)
    known: dict[Path, float] = {}
    for name, arguments in cases(work, with_slow=with_slow):
        if not re.search(only, name):
            continue
        text = run_case(arguments)
        (target / f"{name}.printed").write_text(normalize(text, work))
        for path in sorted(p for p in work.rglob("*") if p.is_file() and "/." not in str(p)):
            changed = path.stat().st_mtime_ns
            if known.get(path) != changed:
                known[path] = changed
                kept = target / "files" / path.relative_to(work)
                kept.parent.mkdir(parents=True, exist_ok=True)
                (kept.parent / (kept.name + ".golden")).write_text(normalize(content(path), work))
        print(name, json.dumps(text.partition("\n")[0]), file=sys.stderr)
    os.chdir("/")
    shutil.rmtree(work)


def compare(kept: Path, now: Path, only: str) -> int:
    """Print what differs between two folders of `run_all`; returns how many files do."""
    names = {
        p.relative_to(folder) for folder in (kept, now) for p in folder.rglob("*") if p.is_file()
    }
    num_different = 0
    for name in sorted(names):
        old, new = (
            (folder / name).read_text().splitlines() if (folder / name).exists() else None
            for folder in (kept, now)
        )
        if old == new or (only and new is None):
            continue
        num_different += 1
        print(f"== {name}: {'gone' if new is None else 'new' if old is None else 'differs'}")
        if old is not None and new is not None:
            for line in list(difflib.unified_diff(old, new, "kept", "now", lineterm="", n=0))[:40]:
                print("   ", line[:300])
    print(f"{len(names)} outputs, {num_different} differ")
    return num_different


def main() -> int:
    """Make or compare."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("task", choices=("make", "compare"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", default="")
    parser.add_argument("--slow", action="store_true")
    arguments = parser.parse_args()
    folder = arguments.folder.resolve()
    if arguments.task == "make":
        run_all(folder, arguments.only, with_slow=arguments.slow)
        return 0
    if not folder.is_dir():
        raise DatasetError(
            f"{folder}: no such folder; give one that 'make' wrote before the change"
        )
    now = Path(tempfile.mkdtemp(prefix="golden-now-"))
    run_all(now, arguments.only, with_slow=arguments.slow)
    return 1 if compare(folder, now, arguments.only) else 0


if __name__ == "__main__":
    sys.exit(exit_code_of(main))
