"""From bouts of a minute to bouts of seconds: what is trained on is what is predicted on."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import av
import numpy as np
import pytest

from msqnet.cli.main import main
from msqnet.formats.annotations import AnnotatedVideo, Annotations, Event
from msqnet.formats.boris import FORMAT as BORIS
from msqnet.labels import LabelSet

if TYPE_CHECKING:
    from pathlib import Path

Bouts = list[tuple[str, float, float]]
_RATE = 10
_TURNS_A_SECOND = {"fast": 1.6, "slow": 0.3}


def bouts(lengths: list[float], first: int) -> Bouts:
    """One after another, fast and slow in turn."""
    ends = np.cumsum(lengths).tolist()
    names = list(_TURNS_A_SECOND)
    return [
        (names[(place + first) % 2], end - length, end)
        for place, (length, end) in enumerate(zip(lengths, ends, strict=True))
    ]


def draw(path: Path, film: Bouts, seed: int) -> None:
    """A square that circles, fast or slowly, before a background of its own."""
    rng = np.random.default_rng(seed)
    ground = rng.integers(90, 160, (6, 8, 3)).repeat(20, 0).repeat(20, 1)
    angle, centre = rng.random() * 6, rng.uniform((50, 45), (110, 75))
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=_RATE)
        stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p"
        stream.bit_rate = 800_000
        for number in range(round(film[-1][2] * _RATE)):
            time = number / _RATE
            name = next(name for name, start, end in film if start <= time < end)
            angle += 2 * np.pi * _TURNS_A_SECOND[name] / _RATE
            x, y = (centre + np.array([28 * np.sin(angle), 12 * np.cos(angle)])).astype(int)
            picture = ground.copy()
            picture[y - 12 : y + 12, x - 12 : x + 12] = (200, 40, 40)
            noisy = np.clip(picture + rng.integers(-4, 5, picture.shape), 0, 255)
            frame = av.VideoFrame.from_ndarray(noisy.astype(np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def share_of_time_right(film: Bouts, results: Path) -> float:
    """Share of the film in which the segment with the highest score is the bout."""
    segments = json.loads(results.read_text())["segments"]
    right = []
    for time in np.arange(0.05, film[-1][2], 0.1):
        there = [s for s in segments if s["start_seconds"] <= time < s["end_seconds"]]
        best = max(there, key=lambda segment: segment["score"], default={"label": ""})
        name = next(name for name, start, end in film if start <= time < end)
        right.append(best["label"] == name)
    return float(np.mean(right))


@pytest.mark.slow
@pytest.mark.weights
@pytest.mark.timeout(1200)
def test_bouts_of_a_minute_teach_bouts_of_seconds(tmp_path: Path) -> None:
    videos = []
    for number in range(4):
        path, film = tmp_path / f"video{number}.mp4", bouts([60, 60], number % 2)
        draw(path, film, number)
        events = tuple(Event(*bout) for bout in film)
        videos.append(AnnotatedVideo(path, events, film[-1][2]))
    labels = LabelSet(tuple(_TURNS_A_SECOND))
    BORIS.write(Annotations(tuple(videos), labels), tmp_path / "project.boris", {})
    table = tmp_path / "clips.csv"
    convert = ["convert", "--from", "boris", "--input", str(tmp_path / "project.boris")]
    assert main([*convert, "--out", str(table)]) == 0
    # As tables were before: a minute is squeezed into the frames of one clip.
    squeezed = tmp_path / "squeezed.csv"
    squeezed.write_text(table.read_text().replace(",whole\n", ",somewhere\n"))
    assert squeezed.read_text() != table.read_text()

    film = bouts([4, 5, 4, 6, 5, 4], 0)
    draw(tmp_path / "film.mp4", film, 9)
    found = {}
    for data in (table, squeezed):
        run, out = tmp_path / f"run-{data.stem}", tmp_path / f"results-{data.stem}"
        assert main(["train", "--data", str(data), "--out", str(run)]) == 0
        predict = ["predict", str(tmp_path / "film.mp4"), "--model", str(run), "--out", str(out)]
        assert main([*predict, "--ood", "ignore"]) == 0
        found[data.stem] = share_of_time_right(film, out / "film.mp4.json")
    assert found["clips"] > 0.9
    assert found["squeezed"] < 0.7
