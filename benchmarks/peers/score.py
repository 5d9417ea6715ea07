"""Score the windows of a clip by a peer, as lightly as its user would write it.

    python -m benchmarks.peers.score X3D-S openvino FOLDER clip.mp4 --out scores

`FOLDER` holds what `benchmarks.peers.prepare` wrote. OMP_NUM_THREADS is kept to, if it is set.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from benchmarks.peers.catalogue import PEERS, RUNTIMES, STRIDE_SECONDS, WINDOW_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

THREADS = int(os.environ.get("OMP_NUM_THREADS", "0"))


def frame_numbers(start: float, num_frames: int, rate: float) -> list[int]:
    """The frames in the middle of equal parts of the window that begins at ``start`` seconds."""
    part = WINDOW_SECONDS / num_frames
    return [int((start + (number + 0.5) * part) * rate) for number in range(num_frames)]


def windows(clip: Path, num_frames: int, size: int) -> Iterator[tuple[float, np.ndarray]]:
    """Start in seconds and pixels of each whole window of a clip with a steady frame rate.

    Each frame is decoded once and, where a window needs it, resized once.

    Yields:
        Pixels: (num_frames, size, size, 3) of uint8.
    """
    reformatter, kept = VideoReformatter(), {}
    with av.open(str(clip)) as container:
        stream = container.streams.video[0]
        stream.thread_type, stream.codec_context.thread_count = "AUTO", THREADS
        rate, start = float(stream.average_rate), 0
        present = frame_numbers(start, num_frames, rate)
        needed = {*present, *frame_numbers(start + STRIDE_SECONDS, num_frames, rate)}
        for number, frame in enumerate(container.decode(stream)):
            if number in needed:
                kept[number] = reformatter.reformat(frame, size, size, "rgb24").to_ndarray()
            if number == present[-1]:
                yield start, np.stack([kept[item] for item in present])
                start += STRIDE_SECONDS
                present = frame_numbers(start, num_frames, rate)
                needed = {*present, *frame_numbers(start + STRIDE_SECONDS, num_frames, rate)}
                kept = {item: pixels for item, pixels in kept.items() if item in needed}


def torch_scorer(path: Path) -> tuple[Callable[[np.ndarray], np.ndarray], str]:
    """How PyTorch scores a window, and its precision."""
    import torch

    network = torch.load(path.with_suffix(".pt"), weights_only=False)

    def score(pixels: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return network(torch.from_numpy(pixels)).numpy()

    return score, "f32"


def openvino_scorer(
    path: Path, is_f32: bool = False
) -> tuple[Callable[[np.ndarray], np.ndarray], str]:
    """How OpenVINO scores a window, and its precision: by itself it takes what is fastest here."""
    import openvino

    settings = {"PERFORMANCE_HINT": "LATENCY", "CACHE_DIR": str(path.with_suffix(".cache"))}
    if is_f32:
        settings["INFERENCE_PRECISION_HINT"] = "f32"
    if THREADS:
        settings["INFERENCE_NUM_THREADS"] = str(THREADS)
    compiled = openvino.Core().compile_model(path.with_suffix(".xml"), "CPU", settings)
    precision = compiled.get_property("INFERENCE_PRECISION_HINT").to_string()
    return lambda pixels: compiled([pixels])[0], str(precision)


def main() -> None:
    """Score every window of the clip and write the scores."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("name", choices=list(PEERS))
    parser.add_argument("runtime", choices=list(RUNTIMES))
    parser.add_argument("folder", type=Path, help="what benchmarks.peers.prepare wrote")
    parser.add_argument("clip", type=Path)
    parser.add_argument("--out", type=Path, required=True, help="folder for scores.json")
    parser.add_argument("--f32", action="store_true", help="OpenVINO, in float32 on any processor")
    chosen = parser.parse_args()
    peer = PEERS[chosen.name]
    path = chosen.folder / chosen.name
    score, precision = (
        torch_scorer(path) if chosen.runtime == "torch" else openvino_scorer(path, chosen.f32)
    )
    rows = [
        {
            "start": start,
            "end": start + WINDOW_SECONDS,
            "scores": [round(float(value), 6) for value in score(pixels)[0]],
        }
        for start, pixels in windows(chosen.clip, peer.num_frames, peer.size)
    ]
    content = {"precision": precision, "windows": rows}
    (chosen.out / "scores.json").write_text(json.dumps(content))


if __name__ == "__main__":
    main()
