"""New models from encoders at hand, or from the names of their weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from transformers import VideoMAEForVideoClassification, VJEPA2Config, VJEPA2Model

from msqnet.config import ClipConfig
from msqnet.errors import CheckpointError, ConfigError, VocabularyError
from msqnet.labels import LabelSet
from msqnet.model.builder import RANDOM_LABEL_WIDTH
from msqnet.model.image_encoders import ClipImageEncoder, SiglipImageEncoder
from msqnet.model.pretrained import MSQNet
from msqnet.model.text_encoders import load_text_encoder
from msqnet.model.video_encoders.lite import LiteConfig, LiteVideoEncoder
from msqnet.model.video_encoders.timesformer import TimesformerVideoEncoder
from msqnet.model.video_encoders.tubelets import VideoMAEVideoEncoder, VJEPA2VideoEncoder
from msqnet.model.video_encoders.vit import FrameEncoder
from tests.fixtures.models import (
    NUM_FRAMES,
    SIZE_PIXELS,
    tiny_clip_settings,
    tiny_timesformer_config,
    write_clip_folder,
    write_timesformer_folder,
)
from tests.fixtures.text_checkpoints import write_bert_folder, write_siglip_folder
from tests.fixtures.tiny_encoders import flickering_clips, tiny_encoder_config

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn

LABELS = ["sit", "walk_on"]
TINY = {"width": 16, "decoder_layers": 1, "decoder_heads": 2, "decoder_feedforward": 24}
OPEN = {"head": "cosine", "query_attention": False, "learn_label_queries": False}
NO_QUERY = {"video_query": "none", "direct_path": False}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    root = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    videomae = VideoMAEForVideoClassification(tiny_encoder_config("videomae"))
    videomae.save_pretrained(root / "videomae")
    predictor = {"pred_hidden_size": 24, "pred_num_attention_heads": 2, "pred_num_hidden_layers": 1}
    vjepa2 = tiny_encoder_config("vjepa2").to_dict()
    VJEPA2Model(VJEPA2Config(**{**vjepa2, **predictor})).save_pretrained(root / "vjepa2")
    written = {
        "timesformer": write_timesformer_folder(root / "timesformer"),
        "clip": write_clip_folder(root / "clip"),
        "siglip": write_siglip_folder(root / "siglip"),
        "bert": write_bert_folder(root / "bert"),
        "videomae": root / "videomae",
        "vjepa2": root / "vjepa2",
    }
    return {name: str(folder) for name, folder in written.items()}


def random_timesformer(**options: Any) -> TimesformerVideoEncoder:
    torch.manual_seed(1)
    return TimesformerVideoEncoder(tiny_timesformer_config(), **options).eval()


def assert_same_weights(part: nn.Module, expected: nn.Module) -> None:
    weights = expected.state_dict()
    assert part.state_dict().keys() == weights.keys()
    for name, tensor in part.state_dict().items():
        assert torch.equal(tensor, weights[name]), name


def test_names_give_the_weights_of_all_three_encoders(folders: dict[str, str]) -> None:
    model = MSQNet.from_encoders(
        video=folders["timesformer"],
        image=folders["clip"],
        text=folders["clip"],
        labels=LabelSet(tuple(LABELS)),
        clip=tiny_clip_settings(),
        task="single_label",
        **TINY,
    )
    expected = TimesformerVideoEncoder.from_pretrained(folders["timesformer"], NUM_FRAMES)
    assert_same_weights(model.video_encoder, expected)
    assert_same_weights(model.image_encoder, ClipImageEncoder.from_pretrained(folders["clip"]))
    text = load_text_encoder(folders["clip"])
    # Underscores are read as spaces.
    embeddings = text.embed(["sit", "walk on"])
    assert torch.equal(model.query_encoder.label_embeddings, embeddings)
    config = model.config
    assert (config.labels, config.task, config.width) == (LABELS, "single_label", 16)
    assert (config.video_query, config.direct_path) == ("image", False)
    assert config.clip_config == tiny_clip_settings()
    assert config.text_encoder == text.source
    assert config.provenance["pretrained_licences"] == [
        expected.licence,
        ClipImageEncoder.licence,
    ]


def test_given_encoders_are_copied_and_can_still_be_used(folders: dict[str, str]) -> None:
    video = random_timesformer()
    image = SiglipImageEncoder.from_pretrained(folders["siglip"], projected=True)
    text = load_text_encoder(f"bert:{folders['bert']}")
    clips = flickering_clips(video.config, 1)
    with torch.inference_mode():
        before = video(clips), image(clips)
    model = MSQNet.from_encoders(video=video, image=image, text=text, labels=LABELS, **TINY).eval()
    assert_same_weights(model.video_encoder, video)
    assert_same_weights(model.image_encoder, image)
    assert model.config.embedding == "projected"
    assert model.config.label_width == text.width
    with torch.inference_mode():
        assert torch.equal(model.video_encoder(clips), before[0])
        assert torch.equal(model.image_encoder(clips), before[1])
        for parameter in model.parameters():
            parameter.zero_()
        model.set_attn_implementation("eager")
        assert torch.equal(video(clips), before[0])
        assert torch.equal(image(clips), before[1])


@pytest.mark.parametrize(
    ("folder", "kind"),
    [
        ("timesformer", TimesformerVideoEncoder),
        ("clip", FrameEncoder),
        ("siglip", FrameEncoder),
        ("videomae", VideoMAEVideoEncoder),
        ("vjepa2", VJEPA2VideoEncoder),
    ],
)
def test_kind_of_a_video_encoder_is_told_by_its_folder(
    folders: dict[str, str], folder: str, kind: type[nn.Module]
) -> None:
    model = MSQNet.from_encoders(
        video=folders[folder], labels=LABELS, clip=tiny_clip_settings(), **TINY
    )
    assert type(model.video_encoder) is kind
    assert (model.config.video_query, model.query_head) == ("none", None)
    assert model.config.label_width == RANDOM_LABEL_WIDTH
    clips = flickering_clips(model.config.video_encoder, 1)
    assert model.eval()(pixels=clips).logits.shape == (1, 2)


@pytest.mark.parametrize("num_views", [1, 2])
def test_clips_are_those_of_a_given_encoder(num_views: int) -> None:
    config = LiteConfig(image_size=32, num_frames=3, num_views=num_views, grid_size=1)
    model = MSQNet.from_encoders(video=LiteVideoEncoder(config), labels=LABELS)
    # 256 / 224 of the size, as published weights are tested.
    assert model.config.clip_config == ClipConfig(
        num_frames=3,
        size_pixels=32,
        short_side_pixels=36,
        decode_short_side_pixels=36,
        closeup=num_views == 2,
    )
    assert (model.config.video_query, model.config.direct_path) == ("trunk", True)
    assert model.config.video_query_dropout == 0.5


def test_settings_win_over_what_is_usual() -> None:
    config = LiteConfig(image_size=32, num_frames=2, num_views=1, grid_size=1)
    model = MSQNet.from_encoders(
        video=LiteVideoEncoder(config),
        labels=LABELS,
        attn_implementation="eager",
        provenance={"data": "none"},
        **NO_QUERY,
    )
    assert (model.config.video_query, model.query_head) == ("none", None)
    assert model.config.provenance == {"data": "none"}
    assert model.decoder.layers[0].cross_attention.implementation == "eager"


def test_frame_pooling_is_that_of_the_encoder() -> None:
    encoder = random_timesformer(frame_pooling="flat")
    model = MSQNet.from_encoders(video=encoder, labels=LABELS, **TINY)
    assert model.video_encoder.frame_pooling == model.config.frame_pooling == "flat"


def test_open_vocabulary_scores_any_text(folders: dict[str, str], tmp_path: Path) -> None:
    text = load_text_encoder(folders["clip"], embedding="projected")
    MSQNet.from_encoders(
        video=random_timesformer(),
        text=text,
        labels=LABELS,
        prompts="none|a video of {}",
        **OPEN,
        **TINY,
    ).save_pretrained(tmp_path)
    model = MSQNet.from_pretrained(tmp_path)
    read = text.embed(["sit", "a video of sit"]).mean(dim=0)
    expected = torch.nn.functional.normalize(read, dim=0)
    torch.testing.assert_close(model.query_encoder.label_embeddings[0].data, expected)
    clips = flickering_clips(model.config.video_encoder, 1)
    with torch.inference_mode():
        own = model(pixels=clips).logits
        asked = model(pixels=clips, label_embeddings=model.query_encoder.label_embeddings[1:])
    torch.testing.assert_close(asked.logits[:, 0], own[:, 1], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"decoder_depth": 3}, ConfigError, "settings decoder_depth: unknown"),
        ({"label_width": 3, "frame_pooling": "flat"}, ConfigError, "frame_pooling, label_width"),
        ({"id2label": {}}, ConfigError, "settings id2label"),
        ({"clip": tiny_clip_settings(num_frames=2)}, ConfigError, r"\(2, 32, False\).*\(4, 32"),
        ({"clip": tiny_clip_settings(closeup=True)}, ConfigError, r"32, True\).*32, False\)"),
        ({"video_query": "trunk"}, ConfigError, "not for the video encoder"),
        ({**OPEN, "learn_label_queries": True}, ConfigError, "label embeddings stay text"),
        (OPEN, ConfigError, "head 'cosine' .* needs a text encoder"),
        ({"task": "regression"}, ConfigError, "task 'regression'"),
        ({"labels": "sit"}, ConfigError, "expected a list of names"),
        ({"labels": ["sit", "sit"]}, VocabularyError, "listed twice"),
    ],
)
def test_settings_that_do_not_fit_are_refused(
    changes: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        MSQNet.from_encoders(**{"video": random_timesformer(), "labels": LABELS, **TINY, **changes})


@pytest.mark.parametrize(
    ("part", "folder", "message"),
    [
        ("video", "bert", "found a model of type 'bert', expected a video encoder"),
        ("video", "nothing", "nothing"),
        ("image", "timesformer", "found a model of type 'timesformer'"),
        ("text", "timesformer", "found a model of type 'timesformer', expected a text encoder"),
    ],
)
def test_weights_of_another_kind_are_refused(
    folders: dict[str, str], tmp_path: Path, part: str, folder: str, message: str
) -> None:
    given: dict[str, Any] = {"video": random_timesformer()}
    given[part] = folders.get(folder, str(tmp_path / folder))
    with pytest.raises(CheckpointError, match=message):
        MSQNet.from_encoders(**given, labels=LABELS, clip=tiny_clip_settings(), **TINY)


def test_clips_of_named_weights_are_the_papers_by_default(folders: dict[str, str]) -> None:
    model = MSQNet.from_encoders(video=folders["timesformer"], labels=LABELS, **TINY)
    assert model.config.clip_config == ClipConfig()
    assert (ClipConfig().num_frames, ClipConfig().size_pixels) == (16, 224)
    assert model.config.video_encoder.image_size == 224 != SIZE_PIXELS
