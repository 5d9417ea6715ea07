"""Sound as memory and query: it counts where it is, and where it is missing nothing counts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor

from msqnet.clips import NO_SOUND
from msqnet.config import ArchConfig, ClipConfig
from msqnet.errors import CheckpointError, ConfigError
from msqnet.labels import LabelSet
from msqnet.model.attention import recorded_attention
from msqnet.model.builder import clip_settings, licences_of, new_model
from msqnet.model.decoder import sinusoidal_positions
from msqnet.model.pretrained import MSQNet
from msqnet.training.finetuning import freeze
from msqnet.training.fitted_parts import fit_query_head, normalize_query
from tests.fixtures.models import (
    LABELS,
    WIDTH,
    random_inputs,
    random_sound,
    sound_changes,
    tiny_model,
    write_audio_folder,
)

if TYPE_CHECKING:
    from pathlib import Path

    from msqnet.model.msqnet import MSQNetOutput

_KINDS = pytest.mark.parametrize("kind", ["ast", "clap"])
_VIDEO = pytest.mark.parametrize("video_encoder", ["lite", "timesformer"])
_ALONE: dict[str, Any] = {"video_query": "none", "frame_memory": False, "direct_path": False}


def _model(kind: str, video_encoder: str = "lite", **changes: Any) -> MSQNet:
    return tiny_model(video_encoder, **{**sound_changes(kind, video_encoder), **changes})


@torch.no_grad()
def _outputs(model: MSQNet, video_encoder: str, sound: dict[str, Tensor]) -> MSQNetOutput:
    return model(**random_inputs(video_encoder, 2), **sound)


def _without(sound: dict[str, Tensor]) -> dict[str, Tensor]:
    return {**sound, "sound_times": torch.full_like(sound["sound_times"], NO_SOUND)}


@_KINDS
@_VIDEO
def test_scores_depend_on_sound_through_memory_and_through_query(
    kind: str, video_encoder: str
) -> None:
    model = _model(kind, video_encoder)
    first, second = random_sound(kind, 2), random_sound(kind, 2, seed=1)
    found = _outputs(model, video_encoder, first)
    other = _outputs(model, video_encoder, second)
    assert found.logits is not None
    assert other.logits is not None
    assert (found.logits - other.logits).abs().min() > 1e-4
    assert model.sound_memory is not None
    with torch.no_grad():  # either way alone
        for parameter in model.sound_memory.parameters():
            parameter.zero_()
    by_query = [_outputs(model, video_encoder, item).logits for item in (first, second)]
    assert (by_query[0] - by_query[1]).abs().max() > 1e-4  # type: ignore[operator]
    model = _model(kind, video_encoder)
    with torch.no_grad():
        project = model.query_encoder.project_video
        assert project is not None
        project.weight[:, model.video_query_width :] = 0
    by_memory = [_outputs(model, video_encoder, item).decoder_logits for item in (first, second)]
    assert (by_memory[0] - by_memory[1]).abs().max() > 1e-4  # type: ignore[operator]


@_KINDS
@_VIDEO
def test_without_sound_scores_are_those_of_the_same_model_without_it(
    kind: str, video_encoder: str
) -> None:
    model = _model(kind, video_encoder)
    plain = tiny_model(video_encoder)
    width = model.video_query_width
    wide = {
        "query_mean": (width,),
        "query_std": (width,),
        "query_encoder.project_video.weight": (WIDTH, width),
        "query_head.weight": (len(LABELS), width),
    }
    weights = model.state_dict()
    own = {name: weights[name] for name in plain.state_dict()}
    for name, shape in wide.items():
        if name in own:
            own[name] = own[name][tuple(slice(size) for size in shape)]
    plain.load_state_dict(own)
    sound = _without(random_sound(kind, 2))
    expected = _outputs(plain, video_encoder, {})
    for given in (sound, {}):
        found = _outputs(model, video_encoder, given)
        for name in ("logits", "decoder_logits", "decoded", "memory", "video_query"):
            torch.testing.assert_close(found[name], expected[name], rtol=1e-5, atol=1e-6)


@_KINDS
def test_what_is_missing_has_no_influence(kind: str) -> None:
    model = _model(kind)
    sound = random_sound(kind, 2)
    features = {
        name: values.clone()
        for name, values in model.encode(**random_inputs("lite", 2), **sound).items()
    }
    times = features["sound_times"]
    place = int((times[0] >= 0).nonzero()[0])
    times[0, place] = NO_SOUND
    with torch.no_grad():
        expected = model(**features).logits
        features["audio_tokens"][0, place] += 10
        torch.testing.assert_close(model(**features).logits, expected)
        features["audio_tokens"][1, place] += 10
        assert not torch.allclose(model(**features).logits, expected)
        # Of a clip without any sound, neither memory nor query counts; the other stays as it was.
        times[0] = NO_SOUND
        first = model(**features).logits
        features["audio_query"][0] = 1e4
        torch.testing.assert_close(model(**features).logits, first)


def test_sound_has_positions_on_the_time_scale_of_the_frames() -> None:
    model = _model("ast")
    features = model.encode(**random_inputs("lite", 1), **random_sound("ast", 1))
    num_frames = model.config.num_frames
    times = features["sound_times"] = torch.full_like(features["sound_times"], NO_SOUND)
    times[0, :3] = torch.tensor([0.5, 1.5, 0.25]) / num_frames
    with torch.no_grad():
        frames = model.frame_memory(features)
        _, positions, mask = model.positioned(frames, features)
    assert positions is not None
    assert mask is not None
    indices = model.time_positions
    own = len(indices)
    for step, token in ((0, 0), (1, 1)):
        of_frame = positions[0, :own][indices == step][0]
        torch.testing.assert_close(positions[0, own + token], of_frame)
    before = sinusoidal_positions(torch.tensor([-0.25]), WIDTH)[0]  # before the first middle
    torch.testing.assert_close(positions[0, own + 2], before)
    assert mask[0, : own + 3].all()
    assert not mask[0, own + 3 :].any()


@_KINDS
def test_sound_alone_sees_nothing_of_the_frames(kind: str) -> None:
    model = _model(kind, **_ALONE)
    sound = random_sound(kind, 2)
    with torch.no_grad():
        found = model(**random_inputs("lite", 2), **sound)
        other = model(**random_inputs("lite", 2, seed=5), **sound)
        silent = model(**random_inputs("lite", 2), **_without(sound))
    torch.testing.assert_close(found.logits, other.logits)
    assert found.video_query is None
    assert silent.logits.isfinite().all()
    torch.testing.assert_close(silent.logits[0], silent.logits[1])
    assert (silent.memory == 0).all()
    assert not torch.allclose(found.logits, silent.logits)


@_KINDS
def test_memory_layers_and_open_heads_take_sound(kind: str) -> None:
    changes: dict[str, Any] = {
        "memory_encoder_layers": 1,
        "head": "cosine",
        "query_attention": False,
        "learn_label_queries": False,
    }
    model = _model(kind, **changes)
    sound = random_sound(kind, 2)
    found, silent = (_outputs(model, "lite", item).logits for item in (sound, _without(sound)))
    assert found is not None
    assert silent is not None
    assert silent.isfinite().all()
    assert not torch.allclose(found, silent)


def test_masked_attention_is_the_same_fused_and_recorded() -> None:
    model = _model("ast")
    sound = random_sound("ast", 2)
    sound["sound_times"][1, 3:] = NO_SOUND
    expected = _outputs(model, "lite", sound).logits
    with recorded_attention(model.decoder) as record:
        found = _outputs(model, "lite", sound).logits
    torch.testing.assert_close(found, expected)
    weights = record.of(model.decoder.layers[0].cross_attention)
    own = len(model.time_positions)
    assert (weights[1, :, :, own + 3 :] == 0).all()
    torch.testing.assert_close(weights.sum(dim=-1), torch.ones(weights.shape[:-1]))


@_KINDS
def test_a_saved_model_gives_the_same_scores(kind: str, tmp_path: Path) -> None:
    model = _model(kind)
    model.save_pretrained(tmp_path)
    loaded = MSQNet.from_pretrained(tmp_path).eval()
    assert loaded.config.clip_config == model.config.clip_config
    sound = random_sound(kind, 2)
    expected = _outputs(model, "lite", sound).logits
    torch.testing.assert_close(_outputs(loaded, "lite", sound).logits, expected)


@_KINDS
def test_a_new_model_starts_from_a_folder(kind: str, tmp_path: Path) -> None:
    folder = write_audio_folder(kind, tmp_path / kind)
    arch = ArchConfig(
        video_weights="random", text_encoder="random", audio_encoder=f"{kind}:{folder}"
    )
    clip = clip_settings(arch, ClipConfig())
    model = new_model(arch, clip, LabelSet(("a", "b")))
    assert model.config.clip_config.sound == clip.sound
    assert any(kind.upper() in line for line in licences_of(arch))
    for finetune, is_trained in (("decoder", False), ("after_trunk", False), ("full", True)):
        freeze(model, finetune)
        flags = {parameter.requires_grad for parameter in model.audio_encoder.parameters()}
        assert flags == {is_trained}
    other = "clap" if kind == "ast" else "ast"
    with pytest.raises(CheckpointError, match="expected"):
        clip_settings(ArchConfig(audio_encoder=f"{other}:{folder}"), ClipConfig())


def test_settings_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ConfigError, match="KIND"):
        clip_settings(ArchConfig(audio_encoder="ast"), ClipConfig())
    with pytest.raises(ConfigError, match="frame_memory false"):
        ArchConfig(frame_memory=False)
    with pytest.raises(ConfigError, match="frame_memory false"):
        ArchConfig(frame_memory=False, audio_encoder="ast:random")
    with pytest.raises(ConfigError, match="clip settings with sound"):
        tiny_model("lite", audio_encoder=sound_changes("ast")["audio_encoder"])
    arch = ArchConfig(
        audio_encoder="ast:random", frame_memory=False, video_query="none", direct_path=True
    )
    assert licences_of(arch) == licences_of(ArchConfig())


@_KINDS
def test_the_direct_path_is_fitted_to_sound_and_to_rows_without_it(kind: str) -> None:
    model = _model(kind)
    sound = random_sound(kind, 8)
    sound["sound_times"][5:] = NO_SOUND
    with torch.no_grad():
        features = model.encode(**random_inputs("lite", 8), **sound)
        queries = model.clip_query(features)
    assert queries is not None
    width = model.video_query_width
    assert queries[5:, width:].isnan().all()
    assert queries[:, :width].isfinite().all()
    normalize_query(model, queries)
    heard = queries[:5, width:]
    torch.testing.assert_close(model.query_mean[width:], heard.mean(dim=0))
    expected = heard.std(dim=0, correction=0)
    is_constant = expected < 1e-5
    torch.testing.assert_close(
        model.query_std[width:][~is_constant], expected[~is_constant], rtol=1e-3, atol=1e-5
    )
    normalized = model.normalized(queries)
    assert normalized is not None
    assert (normalized[5:, width:] == 0).all()
    targets = torch.tensor([[1.0, 0, 1], [0, 1, 0]]).repeat(4, 1)
    fit_query_head(model, queries, targets, strength=1.0, num_views=1)
    assert all(parameter.isfinite().all() for parameter in model.query_head.parameters())  # type: ignore[union-attr]
