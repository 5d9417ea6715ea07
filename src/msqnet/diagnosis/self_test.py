"""A few seconds of real work: a video is drawn, written, read and predicted."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from msqnet.diagnosis.findings import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator

_TOPIC = "self-test"
_SIZE_PIXELS = 64
_NUM_FRAMES = 50
_FPS = 25


def self_test_findings(model: str | None = None, device: str = "auto") -> Iterator[Finding]:
    """Write a video of 2 s, read its frames back, load the model and predict.

    Args:
        model: as of `msqnet predict`.
        device: as of `msqnet predict`.
    """
    start = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="msqnet-") as folder:
        path = Path(folder) / "self-test.mkv"
        try:
            _write(path)
            yield _read_back(path)
            yield _predict(path, model, device)
        except Exception as error:  # whatever it is belongs into the report
            yield Finding(
                _TOPIC,
                "failed",
                f"{type(error).__name__}: {error}",
                "problem",
                "put this whole output into a report of the problem",
            )
    yield Finding(_TOPIC, "took", f"{time.perf_counter() - start:.1f} s")


def _frame(number: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """A bright square that moves to the right over a grey ground."""
    frame = np.full((_SIZE_PIXELS, _SIZE_PIXELS, 3), 60, dtype=np.uint8)
    left = number % (_SIZE_PIXELS - 16)
    frame[24:40, left : left + 16] = 230
    return frame


def _write(path: Path) -> None:
    """Losslessly, so that what is read must be what was drawn."""
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=_FPS)
        stream.width = stream.height = _SIZE_PIXELS
        stream.pix_fmt = "bgr0"
        for number in range(_NUM_FRAMES):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(_frame(number), format="rgb24")))
        container.mux(stream.encode(None))


def _read_back(path: Path) -> Finding:
    from msqnet.video.reader import open_video

    with open_video(path) as video:
        wanted = [0, 17, _NUM_FRAMES - 1]
        pixels = video.frames_by_index(wanted).pixels.permute(0, 2, 3, 1).numpy()
        differing = [
            number
            for number, found in zip(wanted, pixels, strict=True)
            if (found != _frame(number)).any()
        ]
        if video.num_frames != _NUM_FRAMES or differing:
            return Finding(
                _TOPIC,
                "video",
                f"{video.num_frames} of {_NUM_FRAMES} frames read, {differing} differ",
                "problem",
                "reading videos does not work right: pip install --force-reinstall av",
            )
    return Finding(_TOPIC, "video", f"{_NUM_FRAMES} frames written and read back exactly")


def _predict(path: Path, model: str | None, device: str) -> Finding:
    from msqnet.inference.predictor import Predictor

    predictor = Predictor.from_pretrained(model, device=device)
    start = time.perf_counter()
    result = predictor(path)
    seconds = time.perf_counter() - start
    again = predictor(path)
    if result != again:
        return Finding(
            _TOPIC,
            "model",
            "two predictions of the same video differ",
            "problem",
            "the device computes wrongly; try --device cpu",
        )
    rate = result.duration_seconds / seconds
    return Finding(
        _TOPIC,
        "model",
        f"{len(result.labels)} labels, {len(result.windows)} windows scored in {seconds:.2f} s "
        f"({rate:.1f} s of video a second), twice alike",
    )
