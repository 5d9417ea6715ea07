from __future__ import annotations

from typing import TYPE_CHECKING

import av
import numpy as np
import pytest

from msqnet.explain.explainer import AttributionMaps
from msqnet.report.attribution_sheet import (
    MapsOverTime,
    SheetRow,
    contact_sheet,
    lay_over,
    sheet_frames,
    write_attribution_video,
)
from tests.unit.inference.brightness import write_video

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray


def maps(value: float, start: float, num_labels: int = 1) -> AttributionMaps:
    """Maps of one value at ``start``, ``start`` + 1 s."""
    heat = np.full((num_labels, 2, 2, 2), value, np.float32)
    names = tuple(f"label_{number}" for number in range(num_labels))
    times = np.array([start, start + 1.0])
    return AttributionMaps(names, heat, times, np.full(num_labels, 0.5, np.float32))


def windows(*values: float) -> Iterator[tuple[float, float, AttributionMaps]]:
    """Windows of 2 s, one every second."""
    for number, value in enumerate(values):
        yield float(number), number + 2.0, maps(value, number + 0.5, num_labels=2)


def decoded(path: Path) -> list[tuple[float, NDArray[np.uint8]]]:
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    return [(float(frame.time), frame.to_ndarray(format="rgb24")) for frame in frames]


def test_maps_fade_from_the_middle_of_one_window_to_that_of_the_next() -> None:
    heat = MapsOverTime(windows(0.0, 1.0, 0.0))
    found = [float(heat.at(time)[0, 0, 0]) for time in (0, 1, 1.25, 2, 2.5, 3, 9)]
    assert found == pytest.approx([0, 0, 0.25, 1, 0.5, 0, 0])


def test_only_what_is_needed_is_read_of_the_windows() -> None:
    read = []

    def watched() -> Iterator[tuple[float, float, AttributionMaps]]:
        for item in windows(*[0.5] * 9):
            read.append(item[0])
            yield item

    heat = MapsOverTime(watched())
    heat.at(2.5)
    assert read == [0, 1, 2]


def test_one_window_holds_for_the_whole_video() -> None:
    heat = MapsOverTime(windows(0.7))
    assert [float(heat.at(time)[1, 1, 1]) for time in (0, 5)] == pytest.approx([0.7, 0.7])


def test_where_nothing_was_looked_at_the_frame_is_grey_and_where_most_was_it_glows() -> None:
    image = np.full((40, 60, 3), (200, 30, 30), np.uint8)
    heat = np.zeros((4, 6), np.float32)
    heat[1:3, 1:3] = 1
    shown = lay_over(image, heat).astype(int)
    cold, hot = shown[-1, -1], shown[20, 20]
    assert np.ptp(cold) == 0
    assert hot.sum() > cold.sum() + 100
    assert np.ptp(hot) > 50


def test_sheet_has_a_row_for_the_frames_and_one_for_each_map() -> None:
    frames = [np.full((30, 40, 3), level, np.uint8) for level in (0, 80, 160, 240)]
    heat = np.zeros((4, 3, 4), np.float32)
    heat[:, 0, 0] = 1
    rows = [SheetRow("walking", "model a", heat), SheetRow("eating", "", heat)]
    figure = contact_sheet(frames, [0.0, 0.5, 1.0, 1.5], rows, num_columns=3)
    grid = np.array(figure.axes).reshape(3, 3)
    assert [axis.get_title() for axis in grid[0]] == ["0.00 s", "1.00 s", "1.50 s"]  # ends too
    assert [int(axis.images[0].get_array()[0, 0, 0]) for axis in grid[0]] == [0, 160, 240]
    corner, elsewhere = (grid[1, 0].images[0].get_array()[place] for place in ((0, 0), (-1, -1)))
    assert int(corner.sum()) > int(elsewhere.sum()) + 100
    texts = {text.get_text() for text in figure.texts}
    assert {"frames", "walking", "model a", "eating"} <= texts


def test_sheet_takes_the_frames_at_the_times_of_the_maps(tmp_path: Path) -> None:
    video = write_video(tmp_path / "clip.mov", [10, 60, 110, 160, 210], fps=1)
    frames = sheet_frames(video, np.array([1.0, 3.0]))
    assert [int(frame.mean()) for frame in frames] == [60, 160]


def test_video_shows_the_picture_and_each_labels_map_at_the_right_times(tmp_path: Path) -> None:
    video = write_video(tmp_path / "clip.mov", [120] * 40, size=(128, 96))
    path = tmp_path / "heat.mp4"
    shares = []
    write_attribution_video(
        windows(0.0, 0.0, 1.0), ["sit", "a_very_long_name_of_a_label"], video, path,
        progress=shares.append,
    )  # fmt: skip
    frames = decoded(path)
    assert len(frames) == 40
    assert frames[-1][0] == pytest.approx(3.9, abs=0.001)
    assert shares[-1] == 1.0
    assert shares == sorted(shares)
    first, last = frames[0][1], frames[-1][1]
    height, width, _ = first.shape
    assert width == 3 * 128
    picture = first[-90:, :128].astype(int)
    assert abs(picture - 120).max() < 10
    for number in (1, 2):
        tile = slice(128 * number + 10, 128 * (number + 1) - 10)
        assert last[-50, tile].astype(int).sum() > first[-50, tile].astype(int).sum() + 1000
    caption = first[: height - 96]
    assert caption.max() > 150  # there is text


def test_a_stretch_of_a_video_starts_at_0_in_the_file(tmp_path: Path) -> None:
    video = write_video(tmp_path / "clip.mov", list(range(0, 200, 5)), size=(64, 48))
    path = tmp_path / "heat.mp4"
    write_attribution_video(windows(0.5, 0.5, 0.5), ["sit", "walk"], video, path, 1.0, 2.5)
    frames = decoded(path)
    assert len(frames) == 15
    assert frames[0][0] == 0
    assert float(frames[0][1][-20:, 5:60].mean()) == pytest.approx(50, abs=6)  # frame 10
