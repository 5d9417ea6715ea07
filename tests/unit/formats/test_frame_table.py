from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from msqnet.errors import DatasetError
from tests.fixtures.annotation_formats import read_as

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from msqnet.formats.annotations import Annotations

DEEPETHOGRAM = ",background,groom,walk", [
    (0, 1, 0, 0), (1, 0, 1, 0), (2, 0, 1, 1), (3, 0, 1, 1), (4, 1, 0, 0), (5, 1, 0, 0),
]  # fmt: skip
SIMBA = ",Nose_x,Nose_y,Nose_p,Low_prob_detections_0.1,Movement,Probability_bite,bite,chase", [
    (n, 3, 0, 1, 0, n / 7, 0.1, int(n in (1, 2, 3)), 0) for n in range(6)
]  # fmt: skip
JAABA = "Fly Number, Frame Number, Scores,Postprocessed Prediction", [
    (fly, n, 0.25, 1 if (fly, n) in ((1, 2), (1, 3), (2, 3), (2, 4)) else -1)
    for fly in (1, 2) for n in range(1, 7)
]  # fmt: skip
SOLOMON = "Time,Place,Behaviour", [
    (0.0, "", ""), (0.1, "left", "walk"), (0.2, "left", "walk"), (0.3, "right", "rest"),
    (0.4, "right", ""), (0.5, "right", "rest"),
]  # fmt: skip


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., Annotations]:
    def read(
        name: str, table: tuple[str, Iterable[tuple[object, ...]]], format_name: str, **options: str
    ) -> Annotations:
        lines = [table[0], *(",".join(map(str, row)) for row in table[1])]
        (tmp_path / name).write_text("\n".join(lines) + "\n")
        return read_as(format_name, tmp_path / name, **options)

    return read


def spans(found: Annotations) -> list[tuple[object, ...]]:
    [video] = found.videos
    return [
        (event.label, round(event.start_seconds, 6), round(event.end_seconds or 0, 6))
        for event in video.events
    ]


@pytest.mark.parametrize(
    ("format_name", "name", "table", "labels", "expected"),
    [
        ("deepethogram", "clip_labels.csv", DEEPETHOGRAM, "groom walk",
         [("groom", 0.1, 0.6), ("walk", 0.2, 0.6)]),
        ("frame_table", "clip.csv", DEEPETHOGRAM, "background groom walk",
         [("background", 0.0, 0.1), ("groom", 0.1, 0.6), ("walk", 0.2, 0.6),
          ("background", 0.6, 0.8)]),
        ("simba", "clip.csv", SIMBA, "bite chase", [("bite", 0.1, 0.6)]),
        ("frame_table", "clip.csv", (SIMBA[0].replace("bite,", "bite_prediction,"), SIMBA[1]),
         "bite chase", [("bite", 0.1, 0.6)]),
        ("jaaba", "scores_Chase.csv", JAABA, "Chase", [("Chase", 0.1, 0.5), ("Chase", 0.2, 0.6)]),
    ],
)  # fmt: skip
def test_rows_are_the_frames_of_the_video(
    read: Callable[..., Annotations],
    write_video: Callable[..., Path],
    format_name: str,
    name: str,
    table: tuple[str, list[tuple[object, ...]]],
    labels: str,
    expected: list[tuple[object, ...]],
) -> None:
    write_video("clip.mkv", 6, pts=[0, 1, 2, 5, 6, 7])

    found = read(name, table, format_name, video="clip.mkv")

    assert spans(found) == expected
    assert found.labels.names == tuple(labels.split())
    # Rows cover the whole video, and 0 says that somebody looked.
    assert (found.videos[0].checked, found.videos[0].observed) == (None, None)


def test_the_subject_of_a_frame_is_kept(
    read: Callable[..., Annotations], write_video: Callable[..., Path]
) -> None:
    write_video("clip.mkv", 6)

    found = read("scores_Chase.csv", JAABA, "jaaba", video="clip.mkv")

    assert [event.subject for event in found.videos[0].events] == ["1", "2"]


def test_names_in_cells_are_labels_and_empty_cells_unknown(
    read: Callable[..., Annotations], write_video: Callable[..., Path]
) -> None:
    write_video("clip.mp4")

    found = read("clip.csv", SOLOMON, "solomon")

    assert spans(found) == [
        ("left", 0.1, 0.3), ("walk", 0.1, 0.3), ("rest", 0.3, 0.4), ("right", 0.3, 0.6),
        ("rest", 0.5, 0.6),
    ]  # fmt: skip
    [video] = found.videos
    # Nobody coded the first row, nor the behaviour in the fifth.
    assert video.observed == (pytest.approx((0.1, 0.6)),)
    assert video.checked == {"left", "right"}


@pytest.mark.parametrize("unknown", ["-1", "", "NaN"])
def test_unknown_is_not_absent(
    read: Callable[..., Annotations], write_video: Callable[..., Path], unknown: str
) -> None:
    write_video("clip.mp4", 6)
    last = (-1, unknown), (unknown, unknown)
    rows = [(n, *((1, unknown) if n == 3 else last[n - 4] if n > 3 else (0, 1))) for n in range(6)]

    found = read("clip.csv", (",groom,walk", rows), "frame_table")

    [video] = found.videos
    assert video.observed == (pytest.approx((0.0, 0.4)),)
    assert video.checked == {"groom"}
    everything = read("clip.csv", (",groom,walk", rows), "frame_table", unlisted="absent")
    assert (everything.videos[0].checked, everything.videos[0].observed) == (None, None)


@pytest.mark.parametrize("table", [DEEPETHOGRAM, ("n,groom,score", [(9, 1, 0.5), (10, 1, 0.7)])])
def test_another_number_of_rows_than_of_frames_is_refused(
    read: Callable[..., Annotations],
    write_video: Callable[..., Path],
    table: tuple[str, list[tuple[object, ...]]],
) -> None:
    write_video("clip.mp4", 7)

    with pytest.raises(DatasetError, match=rf"found {len(table[1])} rows, but clip.mp4 has 7 fra"):
        read("clip.csv", table, "frame_table")

    assert read("clip.csv", table, "frame_table", fps="10").videos[0].duration_seconds == 0.7


@pytest.mark.parametrize(
    ("columns", "first"), [("", 0.0), (",counted_from:1", 0.1), (",counted_from:0", 0.2)]
)
def test_frames_are_counted_from_where_the_table_begins(
    read: Callable[..., Annotations], write_video: Callable[..., Path], columns: str, first: float
) -> None:
    write_video("clip.mp4")
    begin = 2 if columns else 1
    table = "Frame,groom,sniff", [(begin + n, 1, 0) for n in range(3)]
    options = {"columns": f"label:groom|sniff,time:Frame{columns}"} if columns else {}

    found = read("clip.csv", table, "frame_table", **options)

    assert spans(found) == [("groom", first, round(first + 0.3, 6))]


@pytest.mark.parametrize(
    ("table", "options", "words"),
    [
        (("a,b", [(0.5, "x")]), {}, "found no column of labels"),
        (("time,a", [(0, 1), (0, 1)]), {}, "found 0 after 0, expected times that rise"),
        (("time,a", [(0, 1), (90, 1)]), {}, r"a row at 90 s, but clip.mp4 has 1.2 s"),
        (("frame,a", [(0, 1), (12, 1)]), {}, "found frame 13, expected 0 to 12"),
        (("a,s", [(0, 0.5)]), {"columns": "label:a|s"}, "s: found 0.5, expected 0, 1 or the name"),
    ],
)
def test_tables_that_do_not_fit_are_refused(
    read: Callable[..., Annotations],
    write_video: Callable[..., Path],
    table: tuple[str, list[tuple[object, ...]]],
    options: dict[str, str],
    words: str,
) -> None:
    write_video("clip.mp4")

    with pytest.raises(DatasetError, match=words):
        read("clip.csv", table, "frame_table", **options)


def test_a_missing_video_needs_the_rate_of_the_rows(read: Callable[..., Annotations]) -> None:
    with pytest.raises(DatasetError, match=r"gone.mp4 has no frames"):
        read("t.csv", DEEPETHOGRAM, "frame_table", video="gone.mp4")
    assert spans(read("t.csv", DEEPETHOGRAM, "deepethogram", video="gone.mp4", fps="2")) == [
        ("groom", 0.5, 2.0),
        ("walk", 1.0, 2.0),
    ]


def test_a_spreadsheet_is_read_like_text(
    read: Callable[..., Annotations], write_video: Callable[..., Path], tmp_path: Path
) -> None:
    openpyxl = pytest.importorskip("openpyxl")
    pytest.importorskip("python_calamine", reason="needs the extra 'formats'")
    write_video("clip.mp4", 6)
    book = openpyxl.Workbook()
    for row in (("Frame", "groom"), *((n, int(n > 3)) for n in range(1, 7))):
        book.active.append(row)
    book.save(tmp_path / "clip.xlsx")

    found = read_as("frame_table", tmp_path / "clip.xlsx")

    assert spans(found) == [("groom", 0.3, 0.6)]
