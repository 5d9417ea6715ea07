from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import pytest
import torch

from msqnet.clips import Box, Clip
from msqnet.config import ClipConfig
from msqnet.data.dataset import iter_clips
from msqnet.errors import ConfigError, ExportError
from msqnet.export.exporter import spread, verify, windows_for, windows_of_videos
from msqnet.export.graphs import check_exportable, check_quantizable
from msqnet.inference.exported import ExportedBackend
from tests.fixtures.exports import NUM_FRAMES, SIZE_PIXELS, write_brightness_export
from tests.fixtures.models import tiny_clip_settings, tiny_model
from tests.unit.inference.brightness import write_video

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def backend(tmp_path: Path) -> ExportedBackend:
    pytest.importorskip("onnxruntime")
    write_brightness_export(tmp_path / "exported")
    return ExportedBackend.from_pretrained(tmp_path / "exported")


def grey_clip(level: int) -> Clip:
    pixels = torch.full((NUM_FRAMES, 3, SIZE_PIXELS, SIZE_PIXELS), level, dtype=torch.uint8)
    return Clip(pixels, None, Box(0, 0, 1, 1), torch.arange(NUM_FRAMES, dtype=torch.float64))


def test_the_same_scores_pass(backend: ExportedBackend) -> None:
    result = verify(backend, backend, [grey_clip(level) for level in (0, 100, 255)], 0.0)
    assert (result.num_clips, result.max_difference, result.tolerance) == (3, 0.0, 0.0)


def test_graph_of_other_weights_is_refused_or_only_measured(
    backend: ExportedBackend, tmp_path: Path
) -> None:
    other = write_darker_export(tmp_path / "other")
    clips = [grey_clip(255)]
    with pytest.raises(ExportError, match=r"largest difference of scores found 0\.1 .* at most"):
        verify(backend, other, clips, 1e-4)
    result = verify(backend, other, clips, None)
    assert result.max_difference == pytest.approx(0.1, abs=1e-6)
    assert result.mean_difference == pytest.approx((0.1 + 0.1 + 0.05) / 3, abs=1e-6)


def write_darker_export(folder: Path) -> ExportedBackend:
    """The clip graph of brightness, behind a frame graph that sees nine tenths of it."""
    write_brightness_export(folder, white=255 / 0.9)
    return ExportedBackend.from_pretrained(folder)


def test_nothing_to_compare_is_no_agreement(backend: ExportedBackend) -> None:
    with pytest.raises(ExportError, match="no clip to check"):
        verify(backend, backend, [], 1e-4)


def test_windows_are_the_start_the_middle_and_the_end_of_a_video(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mov", [100] * 50)
    records = windows_of_videos([path], 1.0)
    assert [item.start_seconds for item in records] == pytest.approx([0, 2, 4])
    assert [item.end_seconds for item in records] == pytest.approx([1, 3, 5])
    short = windows_of_videos([path], 60.0)
    assert [item.start_seconds for item in short] == [0]
    clips = list(iter_clips(records, tiny_clip_settings()))
    assert [clip.pixels.shape[0] for clip in clips] == [NUM_FRAMES] * 3


def test_calibration_clips_are_rows_of_a_split_or_videos(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mov", [100] * 20)
    table = tmp_path / "clips.csv"
    table.write_text("path,start,end,labels,split\na.mov,0,1,x,train\na.mov,1,2,x,test\n")
    assert [item.start_seconds for item in windows_for(table, "test", 1.0)] == [1]
    assert len(windows_for(table, None, 1.0)) == 2
    assert len(windows_for(tmp_path / "a.mov", None, 1.0)) == 3
    with pytest.raises(ConfigError, match=r"a.mov: split 'test' needs a table"):
        windows_for(tmp_path / "a.mov", "test", 1.0)


def test_rows_are_thinned_evenly(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mov", [100] * 20)
    records = windows_of_videos([path], 0.5)
    assert spread(records, 2) == [records[0], records[-1]]
    assert spread(records, 9) == records


def test_models_that_cannot_be_exported_are_refused() -> None:
    config = ClipConfig.from_dict(asdict(tiny_clip_settings()) | {"closeup": True})
    with pytest.raises(ExportError, match="motion crops and has an image query too"):
        check_exportable(tiny_model("timesformer", clip=asdict(config)))
    with pytest.raises(ExportError, match="int8: the frame graph of TimeSformer"):
        check_quantizable(tiny_model("timesformer"))
