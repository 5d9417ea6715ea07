"""The configuration: what it refuses, what it fills in, and its way through a JSON file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from transformers import CLIPVisionConfig, TimesformerConfig

from msqnet.errors import ConfigError
from msqnet.model.configuration import MSQNetConfig
from msqnet.model.video_encoders.lite import LiteConfig
from tests.fixtures.models import LABELS, tiny_clip_settings, tiny_config

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("video_encoder", "video_kind", "image_kind"),
    [("lite", LiteConfig, type(None)), ("timesformer", TimesformerConfig, CLIPVisionConfig)],
)
def test_saved_configuration_loads_with_its_encoders(
    tmp_path: Path, video_encoder: str, video_kind: type, image_kind: type
) -> None:
    config = tiny_config(video_encoder, thresholds=[0.1, 0.2, 0.3], query_share=0.25)
    config.save_pretrained(tmp_path)
    loaded = MSQNetConfig.from_pretrained(tmp_path)
    assert type(loaded.video_encoder) is video_kind
    assert type(loaded.image_encoder) is image_kind
    assert loaded.video_encoder.hidden_size == config.video_encoder.hidden_size
    assert loaded.thresholds == [0.1, 0.2, 0.3]
    assert loaded.query_share == 0.25
    assert loaded.clip_config == tiny_clip_settings(closeup=video_encoder == "lite")
    assert tuple(loaded.label_set) == tuple(LABELS)


def test_calibration_left_out_changes_nothing() -> None:
    config = tiny_config("lite")
    assert config.thresholds == [0.5] * 3
    assert config.calibration_scale == [1.0] * 3
    assert config.calibration_bias == [0.0] * 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"task": "regression"}, "task 'regression'"),
        ({"query_positions": "sine"}, "query_positions 'sine'"),
        ({"video_query": "sound"}, "video_query 'sound'"),
        ({"video_query": "image"}, "image encoder is needed"),
        ({"video_query": "none"}, "starts at the video query"),
        ({"query_share": 1.5}, "query_share 1.5"),
        ({"width": 15}, "width 15"),
        ({"width": 18, "decoder_heads": 4}, "width 18"),
        ({"thresholds": [0.5, 0.5]}, "thresholds has 2 values, expected 3"),
        ({"calibration_bias": [0.0]}, "calibration_bias has 1 values, expected 3"),
    ],
)
def test_settings_that_cannot_work_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        tiny_config("lite", **changes)


def test_encoder_of_an_unknown_kind_is_refused() -> None:
    with pytest.raises(ConfigError, match="unknown model_type 'c3d'"):
        MSQNetConfig(video_encoder={"model_type": "c3d"})


def test_trunk_query_needs_a_trunk() -> None:
    with pytest.raises(ConfigError, match="not for the video encoder"):
        tiny_config("timesformer", video_query="trunk", image_encoder=None)
