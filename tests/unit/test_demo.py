"""The clips of the package: all there, small, readable, and named with their licences."""

from __future__ import annotations

import pytest

from msqnet.demo import FOLDER, DemoClip, demo_clips
from msqnet.inference.results import find_videos
from msqnet.video.reader import open_video

NOTICE = (FOLDER / "NOTICE.md").read_text(encoding="utf-8")


def test_folder_holds_the_clips_and_no_other_video() -> None:
    found = [clip.path for clip in demo_clips()]
    assert sorted(FOLDER.glob("*.mp4")) == found
    assert [item.source for item in find_videos([FOLDER])] == [str(path) for path in found]
    assert sum(path.stat().st_size for path in found) < 1_500_000


@pytest.mark.parametrize("clip", demo_clips(), ids=lambda clip: clip.title)
def test_clip_can_be_read_to_its_end_and_is_in_the_notice(clip: DemoClip) -> None:
    with open_video(clip.path) as video:
        assert 0.6 < video.duration_seconds < 13
        assert video.frames_at([video.duration_seconds - 0.1]).pixels.shape[:2] == (1, 3)
    (row,) = [line for line in NOTICE.splitlines() if line.startswith(f"| `{clip.path.name}`")]
    licence = clip.credit.rpartition(", ")[2]
    assert row.endswith(f"| {licence} |")
    assert licence in ("MIT", "Apache-2.0")
