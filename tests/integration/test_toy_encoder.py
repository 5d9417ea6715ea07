"""A video encoder from outside the package, registered by one object, in every command."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest
import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig

from msqnet.cli.main import main
from msqnet.data.table import write_table
from msqnet.errors import ConfigError
from msqnet.model.attention import MultiHeadAttention, through
from msqnet.model.registry import (
    VIDEO_ENCODERS,
    EncoderSpec,
    encoder_spec,
    paper_recipe,
    register_video_encoder,
)
from msqnet.model.video_encoders.encoder import VideoEncoder, frame_spans
from tests.fixtures.tables import write_brightness_table

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from msqnet.model.attention import AttentionRecord
    from msqnet.model.video_encoders.encoder import FrameFeatures, MemorySpans

GRID = 2


class ToyConfig(PreTrainedConfig):
    model_type = "toy_encoder"

    num_frames: int = 4
    image_size: int = 32
    hidden_size: int = 16


class ToyEncoder(VideoEncoder):
    """Four patches a frame, one attention between them, their mean as the frame's feature."""

    config_class = ToyConfig
    display_name = "Toy"
    licence = "Toy weights: public domain"

    def __init__(self, config: ToyConfig):
        half = (0.5, 0.5, 0.5)
        super().__init__(config, width=config.hidden_size, pixel_statistics=(half, half))
        patch = config.image_size // GRID
        self.patches = nn.Conv2d(3, self.width, patch, patch)
        self.attention = MultiHeadAttention(self.width, 2)

    @classmethod
    def default_config(cls, num_frames: int, image_size: int) -> ToyConfig:
        return ToyConfig(num_frames=num_frames, image_size=image_size)

    @classmethod
    def from_pretrained(
        cls, name_or_folder: str | Path, num_frames: int, image_size: int
    ) -> ToyEncoder:
        raise ConfigError(f"{name_or_folder}: there are no weights of the toy encoder")

    def memory_spans(self, num_frames: int) -> MemorySpans:
        return frame_spans(num_frames)

    def frame_features(self, frames: Tensor) -> FrameFeatures:
        pixels = super().frame_features(frames)["pixels"]
        return {"patches": self.patches(pixels).flatten(2).mT}  # (N, P, D')

    def _memory(self, features: FrameFeatures) -> Tensor:
        tokens = features["patches"].flatten(0, 1)  # (B*T, P, D')
        tokens = tokens + self.attention(tokens, tokens, tokens)
        return tokens.mean(dim=1).unflatten(0, features["patches"].shape[:2])  # (B, T, D')

    def rollout(self, attention: AttentionRecord, memory: Tensor) -> Tensor:
        patches = memory[:, :, None].expand(-1, -1, GRID**2) / GRID**2  # (K, T, P)
        return through(patches, attention.mean_of(self.attention)).unflatten(2, (GRID, GRID))[
            :, None
        ]


@pytest.fixture(scope="module", autouse=True)
def _registered() -> Iterator[None]:
    recipe = paper_recipe("toy", "random", num_frames=4, size_pixels=32, width=16)
    recipe = replace(
        recipe,
        arch=replace(
            recipe.arch,
            video_query="none",
            image_encoder="none",
            text_encoder="random",
            decoder_layers=1,
            decoder_heads=2,
            decoder_feedforward=32,
        ),
        train=replace(recipe.train, epochs=2, learning_rate=1e-3, batch_size=2, num_workers=0),
    )
    register_video_encoder(EncoderSpec("toy", ToyEncoder, ("toy_encoder",), lambda: recipe))
    yield
    del VIDEO_ENCODERS["toy"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, _registered: None) -> Path:
    """A run folder, and its videos beside it."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("toy")
    table = write_brightness_table(folder / "videos", 8)
    write_table(table.records, folder / "videos" / "clips.csv")
    command = ["train", "--data", str(folder / "videos" / "clips.csv"), "--out"]
    assert main([*command, str(folder / "run"), "--arch.video_encoder", "toy"]) == 0
    return folder


def run(command: str, trained: Path, out: Path, *options: Any) -> None:
    model = ["--model", str(trained / "run"), "--out", str(out)]
    assert main([command, *map(str, options), *model]) == 0


def test_a_trained_model_predicts(trained: Path, tmp_path: Path) -> None:
    run("predict", trained, tmp_path, trained / "videos" / "0.mov")
    index = pd.read_csv(tmp_path / "index.csv")
    assert index["status"].tolist() == ["ok"]


def test_a_prediction_is_explained_by_rollout(trained: Path, tmp_path: Path) -> None:
    video = trained / "videos" / "0.mov"
    run("explain", trained, tmp_path, video, "--labels", "bright")
    assert any(tmp_path.rglob("*.*"))


@pytest.mark.slow
def test_an_exported_model_predicts(trained: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    video = trained / "videos" / "0.mov"
    run("export", trained, tmp_path / "exported", "--videos", video)
    assert main(["predict", str(video), "--model", str(tmp_path / "exported")]) == 0


def test_a_name_belongs_to_one_encoder() -> None:
    with pytest.raises(ConfigError, match="belongs to 'toy'"):
        register_video_encoder(encoder_spec("toy"))


def test_settings_of_other_encoders_are_refused(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = str(trained / "videos" / "clips.csv")
    command = ["train", "--data", table, "--out", str(tmp_path), "--arch.video_encoder", "toy"]
    assert main([*command, "--arch.closeup", "true"]) != 0
    assert "not for the toy encoder" in capsys.readouterr().err
