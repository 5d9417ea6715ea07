"""Films of joined clips, whose borders between actions are known exactly.

    python -m benchmarks.joined_clips mixed_actors.csv --split test --out films
    msqnet evaluate --data films/table.csv --protocol timeline --out runs/joined

Each film is made from one source: bouts of the labels of a row, several clips long, one after the
other, never two with the same labels. All frames are read at 25 frames a second and written with
one size, so that a border lies on a frame.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections import defaultdict
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import av
import numpy as np
from PIL import Image

from msqnet.cli.main import exit_code_of
from msqnet.data.table import read_table, write_table
from msqnet.video.reader import open_video

if TYPE_CHECKING:
    from collections.abc import Iterator

    from msqnet.data.records import Record

_FRAMES_A_SECOND = 25
_SHORT_SIDE_PIXELS = 240


@dataclass
class Film:
    """Clips one after the other; ``rows`` are the bouts as rows of a table."""

    path: Path
    clips: list[Record]
    rows: list[Record] = field(default_factory=list)

    def write(self) -> None:
        """Write the video and note where its bouts begin and end."""
        with av.open(str(self.path), "w") as container:
            stream = container.add_stream("libx264", rate=_FRAMES_A_SECOND, options={"crf": "18"})
            num_frames = 0
            for _, bout in groupby(self.clips, key=lambda clip: clip.labels):
                records, first = list(bout), num_frames
                for frame in (frame for record in records for frame in _frames(record)):
                    if not num_frames:
                        stream.height, stream.width = (side // 2 * 2 for side in frame.shape[:2])
                        stream.pix_fmt = "yuv420p"
                    image = Image.fromarray(frame).resize((stream.width, stream.height))
                    picture = av.VideoFrame.from_ndarray(np.asarray(image), "rgb24")
                    picture.pts, picture.time_base = num_frames, Fraction(1, _FRAMES_A_SECOND)
                    container.mux(stream.encode(picture))
                    num_frames += 1
                self.rows.append(
                    replace(
                        records[0],
                        path=self.path,
                        relative_path=self.path.name,
                        start_seconds=first / _FRAMES_A_SECOND,
                        end_seconds=num_frames / _FRAMES_A_SECOND,
                        group=self.path.stem,
                        holds_throughout=True,
                    )
                )
            container.mux(stream.encode(None))


def _frames(record: Record) -> Iterator[np.ndarray]:
    """Frames of a row, (H, W, 3) uint8, 25 a second."""
    with open_video(record.path, short_side_pixels=_SHORT_SIDE_PIXELS) as video:
        start = record.start_seconds or 0.0
        end = min(record.end_seconds or video.end_seconds, video.end_seconds)
        times = start + (np.arange(int((end - start) * _FRAMES_A_SECOND)) + 0.5) / _FRAMES_A_SECOND
        for _, pixels in video.stream_at(times.tolist()):
            yield pixels.transpose(1, 2, 0)


def draw_films(
    records: list[Record], folder: Path, num_films: int, bout_seconds: tuple[float, float]
) -> list[Film]:
    """Films of five to eight bouts each, the sources in turn; a film shows no clip twice."""
    by_source: dict[str, dict[frozenset[str], list[Record]]] = defaultdict(
        lambda: defaultdict(list)
    )
    for record in records:
        by_source[record.source][frozenset(record.labels)].append(record)
    sources = [name for name, bouts in by_source.items() if len(bouts) > 1]
    films = []
    for number in range(num_films):
        chance = random.Random(number)
        source = sources[number % len(sources)]
        left = {
            labels: chance.sample(clips, len(clips)) for labels, clips in by_source[source].items()
        }
        clips: list[Record] = []
        last: frozenset[str] | None = None
        for _ in range(chance.randint(5, 8)):
            choices = sorted(
                (labels for labels in left if left[labels] and labels != last), key=sorted
            )
            if not choices:
                break
            last = chance.choice(choices)
            wanted, seconds = chance.uniform(*bout_seconds), 0.0
            while left[last] and seconds < wanted:
                clip = left[last].pop()
                clips.append(clip)
                seconds += (clip.end_seconds or 2.0) - (clip.start_seconds or 0.0)
        films.append(Film(folder / f"film_{number:02d}.mp4", clips))
    return films


def main() -> None:
    """Write the films and their table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("table", type=Path)
    parser.add_argument("--split", default="test")
    parser.add_argument("--films", type=int, default=24)
    parser.add_argument("--bout-seconds", type=float, nargs=2, default=(2.0, 6.0))
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    records = [
        record for record in read_table(options.table).records if record.split == options.split
    ]
    films = draw_films(records, options.out, options.films, tuple(options.bout_seconds))
    for film in films:
        film.write()
    write_table([row for film in films for row in film.rows], options.out / "table.csv")
    print(f"{len(films)} films, {sum(len(film.rows) for film in films)} bouts: {options.out}")


if __name__ == "__main__":
    sys.exit(exit_code_of(main))
