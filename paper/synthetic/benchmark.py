"""A whole benchmark: videos, tables with splits, and what is known about them."""

from __future__ import annotations

import csv
import itertools
import json
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from typing import TYPE_CHECKING, Any

import av

from msqnet.errors import ConfigError
from msqnet.labels import join_labels
from synthetic import VERSION
from synthetic.actions import ACTIONS
from synthetic.actors import KINDS
from synthetic.clips import DURATION_SECONDS, FRAMES_PER_SECOND, NUM_FRAMES, draw_clip, plan_clip
from synthetic.splits import (
    DEFAULT_HELD_OUT_KIND,
    draw_label_splits,
    hold_out_combinations,
    split_by_combination,
    split_by_kind,
    split_by_label,
    split_plainly,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from synthetic.clips import ClipPlan

MIN_CLIPS = 16
_H264 = ("libx264", {"crf": "18", "preset": "fast"})
_MPEG4 = ("mpeg4", {"qscale": "3"})
_COLUMNS = ("path", "labels", "start", "end", "annotated", "split", "group", "actor", "source")


@dataclass(frozen=True)
class BenchmarkSettings:
    """What to generate.

    Attributes:
        seed: Everything follows from it; clip i is the same whatever the number of clips.
        num_clips: Number of clips.
        size: Width and height of the videos in pixels, even.
        num_workers: Processes that draw; 0 draws in this one.
    """

    seed: int = 0
    num_clips: int = 2400
    size: int = 128
    num_workers: int = 0

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise ConfigError(f"seed {self.seed}: expected 0 or more")
        if self.num_clips < MIN_CLIPS:
            raise ConfigError(f"{self.num_clips} clips: expected at least {MIN_CLIPS}")
        if self.size < 32 or self.size % 2:
            raise ConfigError(f"size {self.size}: expected an even number of pixels, 32 or more")
        if self.num_workers < 0:
            raise ConfigError(f"{self.num_workers} workers: expected 0 or more")


def generate(
    folder: Path,
    settings: BenchmarkSettings,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Write the videos, the tables, ``manifest.json`` and ``README.md``.

    Args:
        folder: made if need be; files of the same names are replaced.
        settings: what to generate.
        progress: called with the number of clips drawn, and of all.

    Returns:
        What the manifest holds.
    """
    plans = [plan_clip(settings.seed, index) for index in range(settings.num_clips)]
    (folder / "clips").mkdir(parents=True, exist_ok=True)
    for number, _ in enumerate(_draw_all(folder, plans, settings), start=1):
        if progress is not None:
            progress(number, len(plans))
    combinations = hold_out_combinations(settings.seed)
    label_splits = draw_label_splits(settings.seed)
    tables = {
        "seen.csv": split_plainly(plans),
        "held_out_actors.csv": split_by_kind(plans, DEFAULT_HELD_OUT_KIND),
        **{f"held_out_actors_{kind}.csv": split_by_kind(plans, kind) for kind in KINDS},
        "held_out_combinations.csv": split_by_combination(plans, combinations),
        **{
            f"unseen_labels_{number}.csv": split_by_label(plans, label_split)
            for number, label_split in enumerate(label_splits)
        },
    }
    for name, splits in tables.items():
        _write_table(folder / name, plans, splits)
    for number, label_split in enumerate(label_splits):
        _write_json(folder / f"unseen_labels_{number}.json", label_split.to_json())
    manifest = _manifest(settings, plans, tables) | {
        "held_out_combinations": [list(pair) for pair in combinations]
    }
    _write_json(folder / "manifest.json", manifest)
    (folder / "README.md").write_text(_readme(manifest), encoding="utf-8")
    return manifest


def clip_path(plan: ClipPlan) -> str:
    """Path of a clip's video relative to the tables."""
    return f"clips/{plan.index:05d}.mp4"


def _draw_all(
    folder: Path, plans: Sequence[ClipPlan], settings: BenchmarkSettings
) -> Iterator[None]:
    paths = [folder / clip_path(plan) for plan in plans]
    sizes = itertools.repeat(settings.size)
    if settings.num_workers == 0:
        yield from map(write_clip, plans, paths, sizes)
        return
    # A fresh interpreter a worker: forking a process that has threads can hang.
    context = get_context("spawn")
    with ProcessPoolExecutor(settings.num_workers, mp_context=context) as pool:
        yield from pool.map(write_clip, plans, paths, sizes, chunksize=8)


def write_clip(plan: ClipPlan, path: Path, size: int) -> None:
    """Draw a clip and write it as MP4, with H.264 where the encoder is there, else with MPEG-4.

    The drawn pixels are repeatable. The file nearly is: x264 does not encode every clip to the same
    bytes in every run.

    Args:
        plan: what to draw.
        path: the file to write; its folder exists.
        size: width and height in pixels, even.
    """
    write_frames(draw_clip(plan, size), path)


def write_frames(frames: NDArray[np.uint8], path: Path) -> None:
    """Write (T, H, W, 3) uint8 RGB frames as MP4 at the clips' frame rate."""
    codec, options = _H264 if _H264[0] in av.codecs_available else _MPEG4
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=FRAMES_PER_SECOND, options=options)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        # The encoder's decisions then do not depend on the machine's number of processors.
        stream.codec_context.thread_count = 1
        for pixels in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())


def _write_table(path: Path, plans: Sequence[ClipPlan], splits: Sequence[str]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(_COLUMNS)
        for plan, split in zip(plans, splits, strict=True):
            if split:
                writer.writerow(_row(plan, split))


def _row(plan: ClipPlan, split: str) -> tuple[str, ...]:
    return (
        clip_path(plan),
        join_labels(plan.labels),
        "0",
        f"{DURATION_SECONDS:g}",
        "*",
        split,
        f"clip-{plan.index:05d}",
        plan.kind,
        f"msqnet-synthetic-{VERSION}",
    )


def _manifest(
    settings: BenchmarkSettings, plans: Sequence[ClipPlan], tables: dict[str, list[str]]
) -> dict[str, Any]:
    num_of = Counter(name for plan in plans for name in plan.labels)
    return {
        "generator": "paper/synthesize.py",
        "version": VERSION,
        "seed": settings.seed,
        "num_clips": settings.num_clips,
        "size_pixels": settings.size,
        "num_frames": NUM_FRAMES,
        "frames_per_second": FRAMES_PER_SECOND,
        "actions": [
            {
                "name": action.name,
                "group": action.group,
                "definition": action.definition,
                "num_clips": num_of[action.name],
            }
            for action in ACTIONS
        ],
        "num_clips_of_actor": dict(Counter(plan.kind for plan in plans)),
        "num_clips_with_labels": {
            str(count): number
            for count, number in sorted(Counter(len(plan.labels) for plan in plans).items())
        },
        "tables": {
            name: dict(sorted(Counter(split for split in splits if split).items()))
            for name, splits in tables.items()
        },
    }


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _readme(manifest: dict[str, Any]) -> str:
    actions = "\n".join(
        f"| {item['name']} | {item['group']} | {item['definition']} | {item['num_clips']} |"
        for item in manifest["actions"]
    )
    tables = "\n".join(
        f"| `{name}` | {sizes.get('train', 0)} | {sizes.get('test', 0)} |"
        for name, sizes in manifest["tables"].items()
    )
    return _README.format(**(manifest | {"actions": actions, "tables": tables}))


_README = """# Synthetic actions, version {version}, seed {seed}

{num_clips} clips of {size_pixels} x {size_pixels} pixels, {num_frames} frames at
{frames_per_second} frames a second, drawn by `paper/synthesize.py`. Each shows one actor with a
body of its own that does one action or several at once; of each group it does one at most. Labels
are exact, and independent of the actor, the background, the colours and the camera.

| action | group | what every kind of actor does | clips |
|---|---|---|---|
{actions}

Left and right are those of the picture, and relative to the background: do not mirror these clips.
One in eight actors that go somewhere faces backwards; some that stand are moved past the background
without a gait, which is no action.

| table | train | test |
|---|---|---|
{tables}

- `seen.csv`: actors, labels and combinations are those of training; only the clips are others.
- `held_out_actors*.csv`: test has the kind of actor that training lacks ({held_out_kind} where the
  name says nothing).
- `held_out_combinations.csv`: every clip in test shows a pair of actions that no clip in train
  shows; the pairs are in `manifest.json`.
- `unseen_labels_*.csv`: no clip in train shows an unseen label; test has all clips that do, and
  others that do not. `unseen_labels_*.json` lists seen and unseen labels.

The same version, seed and size give the same pixels, up to the last digit of the machine's
floating-point functions; clip number i does not depend on how many there are. What the encoder
makes of them depends on its version, and for some clips varies a little between runs.
""".replace("{held_out_kind}", DEFAULT_HELD_OUT_KIND)
