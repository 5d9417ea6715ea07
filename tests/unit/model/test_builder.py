"""New models: where their weights come from, and what is kept when labels change."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from transformers import TimesformerModel

from msqnet.config import ArchConfig
from msqnet.errors import CheckpointError, ConfigError
from msqnet.labels import LabelSet
from msqnet.model.builder import new_model, transfer
from msqnet.model.dual_encoders import ClipTextEncoder
from msqnet.model.image_encoders import ClipImageEncoder
from msqnet.model.video_encoders.lite import pretrained_state_dict
from tests.fixtures.models import (
    NUM_FRAMES,
    tiny_clip_settings,
    tiny_model,
    write_clip_folder,
    write_timesformer_folder,
)

if TYPE_CHECKING:
    from pathlib import Path

LABELS = LabelSet(("sit", "walk_on"))
# The smallest size whose 4 x 4 map has the cells that `lite` makes tokens of.
LITE_SIZE = {"size_pixels": 128, "short_side_pixels": 128, "decode_short_side_pixels": 128}


def arch(video_encoder: str, **changes: Any) -> ArchConfig:
    is_lite = video_encoder == "lite"
    has_image = changes.get("image_encoder", "none") != "none"
    settings: dict[str, Any] = {
        "video_encoder": video_encoder,
        "video_weights": "random",
        "video_query": "trunk" if is_lite else "image" if has_image else "none",
        "direct_path": is_lite,
        "text_encoder": "random",
        "num_frames": NUM_FRAMES,
        "size_pixels": 128 if is_lite else 32,
        "width": 16,
        "decoder_layers": 1,
        "decoder_heads": 2,
        "decoder_feedforward": 32,
        "closeup": False,
    }
    return ArchConfig(**{**settings, **changes})


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("weights")
    return {
        "video_weights": str(write_timesformer_folder(folder / "timesformer")),
        "image_encoder": str(write_clip_folder(folder / "clip")),
        "text_encoder": str(folder / "clip"),
    }


def test_timesformer_model_holds_the_weights_of_all_three_encoders(
    folders: dict[str, str],
) -> None:
    model = new_model(arch("timesformer", **folders), tiny_clip_settings(), LABELS)
    video = TimesformerModel.from_pretrained(folders["video_weights"]).state_dict()
    for name, tensor in model.video_encoder.backbone.state_dict().items():
        assert torch.equal(tensor, video[name]), name
    image = ClipImageEncoder.from_pretrained(folders["image_encoder"]).state_dict()
    for name, tensor in model.image_encoder.state_dict().items():
        assert torch.equal(tensor, image[name]), name
    # Prompts, not names: underscores are read as spaces.
    text = ClipTextEncoder.from_pretrained(str(folders["text_encoder"]), "pooled").embed(
        ["sit", "walk on"]
    )
    assert torch.equal(model.query_encoder.label_embeddings, text)
    assert model.config.video_query == "image"
    assert model.query_head is None


def test_image_encoder_none_gives_queries_of_text_only(folders: dict[str, str]) -> None:
    settings = arch("timesformer", **{**folders, "image_encoder": "none"})
    model = new_model(settings, tiny_clip_settings(), LABELS)
    assert model.config.video_query == "none"
    assert model.query_encoder.project_video is None
    pixels = torch.zeros(1, NUM_FRAMES, 3, 32, 32, dtype=torch.uint8)
    outputs = model.eval()(pixels=pixels)
    assert outputs.video_query is None
    assert outputs.logits.shape == (1, 2)


@pytest.mark.parametrize("closeup", [False, True])
def test_lite_model_takes_its_sizes_from_the_clip_settings(closeup: bool) -> None:
    clip = tiny_clip_settings(closeup=closeup, **LITE_SIZE)
    settings = arch("lite", closeup=closeup)
    model = new_model(settings, tiny_clip_settings(), LABELS, task="single_label")
    video = model.config.video_encoder
    assert (video.image_size, video.num_frames, video.num_views) == (128, NUM_FRAMES, 1 + closeup)
    assert model.config.clip_config == clip
    assert model.config.task == "single_label"
    assert tuple(model.config.label_set) == tuple(LABELS)
    assert not model.query_head.weight.any()


def test_frames_of_the_architecture_win_over_those_of_the_clip_settings() -> None:
    clip = tiny_clip_settings(num_frames=2, **LITE_SIZE)
    model = new_model(arch("lite"), clip, LABELS)
    assert model.config.clip_config.num_frames == NUM_FRAMES


@pytest.mark.weights
def test_lite_model_starts_from_imagenet_weights() -> None:
    clip = tiny_clip_settings(**LITE_SIZE)
    model = new_model(arch("lite", video_weights="imagenet"), clip, LABELS)
    weight = pretrained_state_dict()["_blocks.7._depthwise_conv.weight"]
    found = model.video_encoder.trunk.network.blocks[7].depthwise.conv.weight
    assert torch.equal(found, weight.half().float())


@pytest.mark.parametrize(
    ("video_encoder", "changes", "message"),
    [
        (
            "timesformer",
            {"closeup": True},
            "closeup True: .* for lite",
        ),
        (
            "timesformer",
            {"video_query": "trunk"},
            "video_query trunk: not for",
        ),
        ("timesformer", {"direct_path": True}, "direct_path starts at the video query"),
        ("lite", {"image_encoder": "some/clip"}, "needed for video_query image, and only there"),
        ("lite", {"frame_pooling": "flat"}, "it is for timesformer"),
        ("lite", {"pixel_statistics": "clip"}, "set it to own"),
        ("lite", {"head": "cosine"}, "query_attention false"),
        ("lite", {"head": "shared", "query_attention": False}, "needs learn_label_queries"),
        ("i3d", {"video_weights": ""}, "give a checkpoint file"),
    ],
)
def test_parts_that_do_not_fit_are_refused(
    video_encoder: str, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        new_model(arch(video_encoder, **changes), tiny_clip_settings(), LABELS)


def test_absent_weights_are_refused(tmp_path: Path) -> None:
    settings = arch("timesformer", video_weights=str(tmp_path / "nothing"))
    with pytest.raises(CheckpointError, match="nothing"):
        new_model(settings, tiny_clip_settings(), LABELS)


def test_transfer_keeps_everything_but_the_rows_of_new_labels() -> None:
    source = tiny_model("lite", labels=["sit", "walk", "sleep"], query_positions="learned")
    target = tiny_model("lite", labels=["eat", "sleep", "sit"], query_positions="learned", seed=1)
    before = {name: tensor.clone() for name, tensor in target.state_dict().items()}
    kept, new = transfer(source, target)
    assert (kept, new) == (["sleep", "sit"], ["eat"])
    bound = {
        "query_encoder.label_embeddings",
        "decoder.query_positions.weight",
        "head.weight",
        "head.bias",
        "query_head.weight",
        "query_head.bias",
    }
    weights = source.state_dict()
    for name, tensor in target.state_dict().items():
        if name in bound:
            assert torch.equal(tensor[0], before[name][0]), name
            assert torch.equal(tensor[1], weights[name][2]), name
            assert torch.equal(tensor[2], weights[name][0]), name
        else:
            assert torch.equal(tensor, weights[name]), name


def test_transfer_between_models_of_the_same_size_without_common_labels() -> None:
    source = tiny_model("timesformer", labels=["sit"])
    target = tiny_model("timesformer", labels=["eat"], seed=1)
    head = target.head.weight.clone()
    assert transfer(source, target) == ([], ["eat"])
    assert torch.equal(target.head.weight, head)
    assert torch.equal(target.project_memory.weight, source.project_memory.weight)


def test_transfer_from_other_sizes_names_both_shapes() -> None:
    source = tiny_model("timesformer", decoder_feedforward=64)
    with pytest.raises(ConfigError, match=r"\(64, 16\).*\(32, 16\)"):
        transfer(source, tiny_model("timesformer"))


def test_transfer_from_another_kind_of_model_is_refused() -> None:
    with pytest.raises(ConfigError, match="the model to start from"):
        transfer(tiny_model("timesformer"), tiny_model("lite"))
