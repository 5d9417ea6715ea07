"""The card of a model folder: from its settings, renewed with them, never over somebody's own."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from msqnet.models import available_models
from msqnet.models.card import change_config, write_card

if TYPE_CHECKING:
    from pathlib import Path

SETTINGS: dict[str, Any] = {
    "labels": ["rearing", "left|right"],
    "task": "multi_label",
    "window_seconds": 0.64,
    "clip": {"num_frames": 16},
    "video_encoder": {"model_type": "msqnet_lite"},
    "thresholds": [0.25, 0.5],
    "evidence": [
        {"status": "reliable", "ap": 0.8, "ap_low": 0.6, "chance": 0.3, "num_groups": 4},
        {"status": "untested", "ap": None, "ap_low": None, "chance": None, "num_groups": 0},
    ],
    "provenance": {
        "data": "rats.csv",
        "num_rows": 40,
        "pretrained_licences": ["EfficientNet-Lite0: Apache-2.0"],
        "init_from": {"model": "first", "pretrained_licences": ["MiniLM: Apache-2.0"]},
    },
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(SETTINGS))
    return folder


def card_of(folder: Path) -> str:
    write_card(folder)
    return (folder / "README.md").read_text(encoding="utf-8")


def test_card_says_what_the_settings_say(folder: Path) -> None:
    card = card_of(folder)
    assert "| rearing | reliable | 0.80 | 0.60 | 0.30 | 4 | 0.25 |" in card
    assert "| left\\|right | untested | - | - | - | 0 | 0.50 |" in card
    assert "16 frames of each window of 0.64 s" in card
    for told in ("rats.csv", "40", "first", "EfficientNet-Lite0: Apache-2.0", "MiniLM: Apache-2.0"):
        assert told in card


def test_head_is_what_the_hub_reads_and_claims_no_licence(folder: Path) -> None:
    head = yaml.safe_load(card_of(folder).split("---")[1])
    assert head["pipeline_tag"] == "video-classification"
    assert "license" not in head


def test_licence_that_its_owner_adds_is_shown_and_stays(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"1")
    mark = next(line for line in card_of(folder).splitlines() if line.startswith("<!--"))
    own = card_of(folder).replace("---\n", "---\nlicense: mit\n", 1).replace(mark, "")
    (folder / "README.md").write_text(own, encoding="utf-8")
    assert card_of(folder) == own
    assert [model.licence for model in available_models(folder.parent)] == ["mit"]


def test_change_of_settings_renews_the_card(folder: Path) -> None:
    assert "| 0.25 |" in card_of(folder)
    change_config(folder, {"thresholds": [0.75, 0.5]})
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert "| 0.75 |" in card
    assert "| 0.25 |" not in card


def test_settings_that_say_little_make_a_card_too(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"labels": ["a"]}')
    assert "| a | not measured | - | - | - | - | 0.50 |" in card_of(tmp_path)
