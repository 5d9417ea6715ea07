"""The ablations as settings: each takes away what its name says and nothing else."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pytest

from msqnet.config import ArchConfig
from msqnet.errors import ConfigError
from msqnet.training.training_run import VARIANTS, variant

FULL = ArchConfig(width=64, decoder_layers=3)


def changes(name: str, arch: ArchConfig = FULL) -> dict[str, Any]:
    before, after = asdict(arch), asdict(variant(arch, name))
    return {key: value for key, value in after.items() if before[key] != value}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("full", {"direct_path": False}),
        ("text_init", {"direct_path": False, "video_query": "none"}),
        ("vanilla", {"direct_path": False, "video_query": "none", "text_encoder": "random"}),
        (
            "open_full",
            {
                "direct_path": False,
                "head": "cosine",
                "learn_label_queries": False,
                "query_attention": False,
            },
        ),
    ],
)
def test_variant_changes_what_its_name_says(name: str, expected: dict[str, Any]) -> None:
    assert changes(name) == expected


def test_text_variants_differ_from_full_ones_in_the_video_query_alone() -> None:
    for text, full in (("text_init", "full"), ("open_text", "open_full")):
        with_video, without = asdict(variant(FULL, full)), asdict(variant(FULL, text))
        assert {key for key in without if with_video[key] != without[key]} == {"video_query"}


def test_variants_of_sound_take_away_sound_or_all_that_is_seen() -> None:
    arch = ArchConfig(audio_encoder="ast:random")
    assert changes("both", arch) == {}
    assert changes("video", arch) == {"audio_encoder": "none"}
    assert changes("audio", arch) == {"video_query": "none", "frame_memory": False}


def test_another_open_head_stays() -> None:
    arch = ArchConfig(head="shared", learn_label_queries=False, query_attention=False)
    assert variant(arch, "open_full").head == "shared"
    assert variant(arch, "full").head == "group_wise"


def test_what_cannot_be_taken_away_is_refused() -> None:
    with pytest.raises(ConfigError, match="known are: vanilla"):
        variant(FULL, "fuller")
    for name in VARIANTS:
        with pytest.raises(ConfigError, match="start from the full model"):
            variant(ArchConfig(text_encoder="random"), name)
