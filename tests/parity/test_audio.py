"""Spectrograms and audio encoders against `transformers`, with random weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from transformers import (
    ASTFeatureExtractor,
    ASTForAudioClassification,
    ASTModel,
    ClapAudioConfig,
    ClapAudioModel,
    ClapAudioModelWithProjection,
    ClapConfig,
    ClapFeatureExtractor,
    ClapModel,
    ClapTextConfig,
)

from msqnet.model.audio_encoders import (
    AUDIO_ENCODERS,
    ClapAudioEncoder,
    load_audio_encoder,
    sound_settings,
)
from msqnet.video.sound import sound_input
from tests.fixtures.models import (
    fill_with_noise,
    random_sound,
    sound_settings_of,
    tiny_audio_config,
    write_audio_folder,
)

if TYPE_CHECKING:
    from pathlib import Path


def _sound(seconds: float, rate: int) -> np.ndarray:
    at = np.arange(round(seconds * rate)) / rate
    tone = np.sin(2 * np.pi * (300 + 900 * at) * at)
    noise = np.random.default_rng(0).normal(0, 0.05, len(at))
    return (0.3 * tone + noise).astype(np.float32)


# The lowest bins of AST are narrower than those of the Fourier transform, there as here.
@pytest.mark.filterwarnings("ignore:At least one mel filter")
@pytest.mark.parametrize("seconds", [0.7, 2.0, 10.3])
def test_filter_banks_of_ast_are_those_of_its_feature_extractor(seconds: float) -> None:
    encoder = AUDIO_ENCODERS["ast"]
    config = encoder.sound_config(encoder.config_class(), {})
    samples = _sound(seconds, config.rate)
    found = sound_input(samples, 0.0, 0.0, seconds, config).spectrogram
    extractor: Any = ASTFeatureExtractor()
    expected = extractor(samples, sampling_rate=config.rate, return_tensors="np").input_values[0]
    np.testing.assert_allclose(found, expected, atol=2e-4)


@pytest.mark.parametrize("truncation", ["fusion", "rand_trunc"])
@pytest.mark.parametrize("seconds", [0.7, 3.0, 10.0])
def test_decibels_of_clap_are_those_of_its_feature_extractor(
    seconds: float, truncation: str
) -> None:
    settings = {"truncation": truncation, "frequency_min": 50, "frequency_max": 14000}
    config = ClapAudioEncoder.sound_config(ClapAudioConfig(), settings)
    samples = _sound(seconds, config.rate)
    found = sound_input(samples, 0.0, 0.0, seconds, config).spectrogram
    extractor: Any = ClapFeatureExtractor(**settings)
    expected = extractor(samples, sampling_rate=config.rate, return_tensors="np").input_features
    np.testing.assert_allclose(found, np.asarray(expected)[0, 0], atol=2e-3)


@pytest.mark.parametrize("kind", ["ast", "clap"])
def test_tokens_and_embeddings_are_those_of_the_network(kind: str, tmp_path: Path) -> None:
    folder = write_audio_folder(kind, tmp_path / kind)
    encoder = load_audio_encoder(f"{kind}:{folder}").eval()
    assert encoder.sound == sound_settings_of(kind)
    network: Any = {"ast": ASTModel, "clap": ClapAudioModel}[kind].from_pretrained(folder).eval()
    spectrograms = random_sound(kind, 2)["spectrogram"]
    with torch.no_grad():
        tokens, embeddings = encoder(spectrograms)
        given = spectrograms if kind == "ast" else spectrograms[:, None]
        expected = network(given)
    torch.testing.assert_close(embeddings, expected.pooler_output)
    last = expected.last_hidden_state
    if kind == "clap":
        by_time = last.mean(dim=2).mT
    else:  # patches in the order of the network's convolution: bins, then time
        by_time = last[:, 2:].view(2, -1, encoder.sound.num_tokens, encoder.width).mean(dim=1)
    torch.testing.assert_close(tokens, by_time)


@pytest.mark.parametrize("kind", ["ast", "clap", "clap with projection"])
def test_published_forms_of_checkpoints_give_their_audio_encoder(kind: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    name = kind.partition(" ")[0]
    audio: Any = tiny_audio_config(name)
    whole: Any
    if kind == "ast":
        whole = ASTForAudioClassification(audio)
    elif kind == "clap":
        size = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
        text = ClapTextConfig(**size, intermediate_size=16, vocab_size=20)
        whole = ClapModel(ClapConfig(text_config=text.to_dict(), audio_config=audio.to_dict()))
    else:
        whole = ClapAudioModelWithProjection(audio)
    fill_with_noise(whole)
    folder = write_audio_folder(name, tmp_path)  # settings of the spectrogram
    whole.save_pretrained(folder)
    part = whole.audio_spectrogram_transformer if kind == "ast" else whole.audio_model
    found = load_audio_encoder(f"{name}:{folder}").backbone.state_dict()
    assert found.keys() == part.state_dict().keys()
    assert all(torch.equal(found[key], value) for key, value in part.state_dict().items())
    assert sound_settings(f"{name}:{folder}") == sound_settings_of(name)


@pytest.mark.parametrize("kind", ["ast", "clap"])
def test_a_click_changes_most_the_token_of_its_time(kind: str) -> None:
    torch.manual_seed(0)
    sound = sound_settings_of(kind)
    encoder = AUDIO_ENCODERS[kind](tiny_audio_config(kind), sound).eval()  # type: ignore[call-arg]
    fill_with_noise(encoder)
    seconds = sound.max_seconds
    quiet = np.random.default_rng(0).normal(0, 1e-3, round(seconds * sound.rate))
    quiet = quiet.astype(np.float32)
    for share in (0.3, 0.7):
        loud = quiet.copy()
        place = int(share * len(loud))
        loud[place : place + sound.rate // 50] += 0.5
        inputs = [sound_input(item, 0.0, 0.0, seconds, sound) for item in (quiet, loud)]
        with torch.no_grad():
            tokens, _ = encoder(torch.from_numpy(np.stack([item.spectrogram for item in inputs])))
        changed = int((tokens[1] - tokens[0]).norm(dim=-1).argmax())
        assert inputs[1].times[changed] == pytest.approx(share, abs=0.06)


def test_a_fused_clap_hears_short_sound_as_published() -> None:
    torch.manual_seed(0)
    config = tiny_audio_config("clap")
    config.enable_fusion, config.fusion_type = True, "aff_2d"
    network = ClapAudioModel(config).eval()
    fill_with_noise(network)
    encoder = ClapAudioEncoder(config, sound_settings_of("clap")).eval()
    encoder.backbone.load_state_dict(network.state_dict())
    spectrograms = random_sound("clap", 2)["spectrogram"]
    with torch.no_grad():
        _, embeddings = encoder(spectrograms)
        fused = spectrograms[:, None].expand(-1, 4, -1, -1)
        expected = network(fused, is_longer=torch.zeros(2, 1, dtype=torch.bool)).pooler_output
    torch.testing.assert_close(embeddings, expected)
