"""Views of rows whose scores are an exact function of time and place in the video."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import av
import numpy as np
import pytest
import torch

from msqnet.clips import ClipBatch
from msqnet.config import ClipConfig, ViewConfig
from msqnet.data import dataset
from msqnet.data.dataset import read_window
from msqnet.data.records import ClipTable, Record
from msqnet.errors import ConfigError, ShapeError
from msqnet.evaluation.views import check_views, merge_views, read_views, score_rows, view_clips
from msqnet.inference.backends import clip_scores
from msqnet.video.transforms import evaluation_clip
from tests.unit.inference.brightness import BrightnessBackend

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from msqnet.clips import Clip
    from msqnet.inference.backends import Arrays
    from msqnet.predictions import FloatArray

CROP = ClipConfig(
    num_frames=4,
    size_pixels=16,
    resize="crop",
    short_side_pixels=20,
    decode_short_side_pixels=20,
)
NUM_FRAMES, FPS = 36, 10
PLACES = ("left", "centre", "right")


def level(frame: int, place: int) -> int:
    """Grey level of one third of one frame; no two are alike in a video."""
    return 10 + 2 * frame + 80 * place


@dataclass
class ProjectionBackend(BrightnessBackend):
    """Scores by float32 sums over all pixels, whose last bits depend on every one of them."""

    def score_frames(self, frames: Arrays, motion_crops: Arrays | None) -> FloatArray:
        pixels = torch.from_numpy(frames["pixels"]).float().flatten(1) / 255
        weights = torch.randn(pixels.shape[1], 2, generator=torch.Generator().manual_seed(0))
        return np.asarray((pixels @ weights / 50).sigmoid().numpy())


def write(path: Path, *, portrait: bool = False) -> Path:
    """64 x 20 pixels, each third of a frame of its own level; upright if asked for."""
    columns = np.repeat(np.arange(3), (20, 24, 20))
    with av.open(str(path), "w", format="mov") as container:
        stream = container.add_stream("png", rate=FPS)
        stream.width, stream.height = (20, 64) if portrait else (64, 20)
        stream.pix_fmt = "rgb24"
        for frame in range(NUM_FRAMES):
            row = np.array([level(frame, place) for place in range(3)], np.uint8)[columns]
            image = np.broadcast_to(row[None, :, None], (20, 64, 3))
            image = image.transpose(1, 0, 2) if portrait else image
            frame_of = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
            container.mux(stream.encode(frame_of))
        container.mux(stream.encode())
    return path


def row_of(path: Path, **times: float) -> Record:
    return Record(row=2, path=path, relative_path=path.name, labels=("bright",), **times)


def table_of(*records: Record) -> ClipTable:
    return ClipTable(records[0].path.parent / "clips.csv", records)


def row_clips(record: Record, views: ViewConfig) -> list[Clip]:
    return [
        clip
        for frames in read_views(record, CROP, views.num_clips)
        for clip in view_clips(frames, CROP, views.crops)
    ]


def brightness(frames: Sequence[int], place: int) -> float:
    return float(np.mean([level(frame, place) for frame in frames]) / 255)


# T = 4 segments of 0.9 s: their centres lie in frames 4, 13, 22, 31. Three views take the centres
# of thirds of a segment, 0.15, 0.45 and 0.75 s from its start.
CENTRES = [4, 13, 22, 31]
THIRDS = [[1, 10, 19, 28], CENTRES, [7, 16, 25, 34]]


@pytest.mark.parametrize("portrait", [False, True])
def test_views_show_their_own_times_and_places(tmp_path: Path, portrait: bool) -> None:
    record = row_of(write(tmp_path / "a.mov", portrait=portrait))
    clips = row_clips(record, ViewConfig(num_clips=3, crops=3))
    found = clip_scores(BrightnessBackend(), ClipBatch.stack(clips))[:, 0]
    expected = [brightness(frames, place) for frames in THIRDS for place in range(3)]
    np.testing.assert_allclose(found, expected, rtol=1e-6)  # the backend's float32


@pytest.mark.parametrize("merge", ["mean", "max"])
def test_rows_get_the_merged_scores_of_their_views(tmp_path: Path, merge: str) -> None:
    path = write(tmp_path / "a.mov")
    backend = BrightnessBackend(clip_config=CROP)
    views = ViewConfig(num_clips=3, crops=3, merge=merge)  # type: ignore[arg-type]
    # The second row is the video's first 1.8 s: half as long, so that its frames are others.
    table = table_of(row_of(path), row_of(path, end_seconds=1.8))
    scores = score_rows(table, backend, batch_size=4, views=views)
    all_views = [brightness(frames, place) for frames in THIRDS for place in range(3)]
    expected = max(all_views) if merge == "max" else np.mean(all_views)
    darkest = 1 - min(all_views) if merge == "max" else 1 - expected
    np.testing.assert_allclose(scores[0], [expected, darkest], rtol=1e-6)
    assert scores[1, 0] < scores[0, 0]
    assert backend.batch_sizes == [4, 4, 4, 4, 2]


def test_one_view_is_what_training_and_prediction_see_to_the_bit(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mov")
    records = [row_of(path), row_of(path, start_seconds=0.7), row_of(path, end_seconds=2.31)]
    backend = ProjectionBackend(clip_config=CROP)
    clips = [evaluation_clip(read_window(record, CROP), CROP) for record in records]
    expected = clip_scores(backend, ClipBatch.stack(clips))
    for views in (None, ViewConfig(), ViewConfig(merge="max")):
        assert np.array_equal(score_rows(table_of(*records), backend, views=views), expected)
    assert len(np.unique(expected)) == expected.size


def test_the_middle_one_of_three_crops_is_the_centre_crop(tmp_path: Path) -> None:
    record = row_of(write(tmp_path / "a.mov"))
    crops = row_clips(record, ViewConfig(crops=3))
    (centre,) = row_clips(record, ViewConfig())
    assert np.array_equal(crops[1].pixels, centre.pixels)


def test_several_views_hold_the_frames_of_one_that_is_as_dense(tmp_path: Path) -> None:
    record = row_of(write(tmp_path / "a.mov"), start_seconds=0.2, end_seconds=3.0)
    dense = read_window(record, replace(CROP, num_frames=20))
    views = read_views(record, CROP, 5)
    assert [len(view) for view in views] == [4] * 5
    times = np.stack([view.pts_seconds for view in views], axis=1).ravel()
    assert np.array_equal(times, dense.pts_seconds)


def test_a_video_is_opened_once_for_all_its_views(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = table_of(row_of(write(tmp_path / "a.mov")))
    opened = []
    real = dataset.open_video
    monkeypatch.setattr(
        dataset, "open_video", lambda path, **given: (opened.append(path), real(path, **given))[1]
    )
    done: list[tuple[int, int]] = []
    views = ViewConfig(num_clips=10, crops=3)
    score_rows(
        table,
        BrightnessBackend(clip_config=CROP),
        views=views,
        progress=lambda *counts: done.append(counts),
    )
    assert len(opened) == 1
    assert done == [(0, 1), (0, 1), (0, 1), (1, 1)]


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (replace(CROP, resize="stretch"), "sees the whole frame"),
        (replace(CROP, closeup=True), "close-up"),
    ],
)
def test_three_crops_of_a_model_that_sees_everything_are_refused(
    tmp_path: Path, config: ClipConfig, reason: str
) -> None:
    check_views(ViewConfig(num_clips=10), config)
    backend = BrightnessBackend(clip_config=config)
    table = table_of(row_of(tmp_path / "missing.mov"))
    with pytest.raises(ConfigError, match=reason):
        score_rows(table, backend, views=ViewConfig(crops=3))


def test_scores_that_are_no_whole_number_of_views_are_refused() -> None:
    with pytest.raises(ShapeError, match="5 scores are not 3 for each row"):
        merge_views(np.zeros((5, 2), np.float32), ViewConfig(num_clips=3))


@pytest.mark.parametrize("settings", [{"num_clips": 0}, {"crops": 2}, {"merge": "median"}])
def test_views_that_do_not_exist_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=next(iter(settings))):
        ViewConfig(**settings)  # type: ignore[arg-type]
