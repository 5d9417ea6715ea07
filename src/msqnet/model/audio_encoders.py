"""Audio encoders: the sound of a window as tokens of its memory, and as part of its query.

- AST (Gong et al. 2021): patches of 16 frames by 16 mel bins; tokens are the means over the bins.
  The embedding is the mean of its two class tokens. Published weights are BSD-3-Clause.
- CLAP (Wu et al. 2023): a Swin transformer; of 10 s there are 32 tokens. The embedding is the one
  before its projection. Published weights are Apache-2.0.

Sound that is shorter than an encoder takes becomes what its published feature extractor makes of
it: AST pads the spectrogram, CLAP repeats the sound. Tokens of what was added are masked later.

Axes: B clips, F frames of a spectrogram, N mel bins, A tokens, D_a width.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, Self, cast

from torch import Tensor, nn
from transformers import (
    ASTConfig,
    ASTModel,
    ClapAudioConfig,
    ClapAudioModel,
    ClapAudioModelWithProjection,
    ClapModel,
)

from msqnet.config import SoundConfig
from msqnet.errors import CheckpointError, ConfigError, ShapeError, check
from msqnet.model.checkpoints import config_of, filled, load_backbone, read_json_file
from msqnet.model.video_encoders.encoder import RANDOM
from msqnet.models.hub import checkpoint_file

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

NO_ENCODER = "none"
_SETTINGS_FILE = "preprocessor_config.json"


class AudioEncoder(nn.Module, ABC):
    """Base of audio encoders. ``config`` is that of the backbone, ``sound`` what it was trained on.

    Attributes:
        config_class: of the backbone.
        width: D_a.
        display_name: for messages.
        licence: of the published weights; printed where they are chosen.
    """

    config_class: ClassVar[Any]
    display_name: ClassVar[str]
    licence: ClassVar[str]
    backbone: Any

    def __init__(self, config: PreTrainedConfig, sound: SoundConfig, width: int):
        super().__init__()
        self.config: Any = config
        self.sound = sound
        self.width = width

    @classmethod
    @abstractmethod
    def sound_config(cls, config: Any, extractor: dict[str, Any]) -> SoundConfig:
        """What spectrograms a backbone takes; ``extractor`` are settings of its published one."""

    @classmethod
    @abstractmethod
    def load_weights(cls, name_or_folder: str) -> nn.Module:
        """The backbone of a checkpoint, or a `CheckpointError`."""

    @classmethod
    def from_pretrained(cls, name_or_folder: str) -> Self:
        """Start from a hub id or folder, whole or encoder only; else a `CheckpointError`."""
        build: Any = cls
        backbone: Any = cls.load_weights(name_or_folder)
        sound = cls.sound_config(backbone.config, _extractor_settings(name_or_folder))
        parts = {"backbone": backbone.state_dict()}
        encoder: Self = filled(lambda: build(backbone.config, sound), parts, name_or_folder)
        return encoder

    @abstractmethod
    def _encode(self, spectrograms: Tensor) -> tuple[Tensor, Tensor]:
        """As `forward`, of the right shape."""

    def forward(self, spectrograms: Tensor) -> tuple[Tensor, Tensor]:
        """(B, F, N) float -> tokens (B, A, D_a) and embeddings (B, D_a); else a `ShapeError`."""
        expected = (self.sound.num_frames, self.sound.num_mel_bins)
        if tuple(spectrograms.shape[1:]) != expected:
            raise ShapeError(
                f"{self.display_name} spectrograms: found {tuple(spectrograms.shape)}, expected "
                f"(B, {expected[0]}, {expected[1]}); make them with the model's own clip settings"
            )
        return self._encode(spectrograms.to(next(self.parameters()).dtype))

    def train(self, mode: bool = True) -> Self:
        """Set the mode; batch norm always uses stored statistics."""
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        return self


class ASTEncoder(AudioEncoder):
    """The Audio Spectrogram Transformer."""

    config_class = ASTConfig
    display_name = "AST"
    licence = "AST weights: BSD-3-Clause (MIT's; see the card of others)"

    def __init__(self, config: ASTConfig, sound: SoundConfig):
        super().__init__(config, sound, config.hidden_size)
        self.backbone = ASTModel(config)

    @classmethod
    def sound_config(cls, config: Any, extractor: dict[str, Any]) -> SoundConfig:
        """Filter banks of Kaldi, 25 ms every 10 ms."""
        rate = extractor.get("sampling_rate", 16000)
        for name, own in (("max_length", config.max_length), ("num_mel_bins", config.num_mel_bins)):
            found = extractor.get(name, own)
            check(found == own, f"AST {_SETTINGS_FILE}: {name} {found}, expected the model's {own}")
        is_normalized = extractor.get("do_normalize", True)
        return SoundConfig(
            mels="kaldi",
            rate=rate,
            num_frames=config.max_length,
            num_mel_bins=config.num_mel_bins,
            window_samples=400,
            fft_samples=512,
            hop_samples=160,
            low_hertz=20.0,
            high_hertz=float(rate // 2),
            mean=extractor.get("mean", -4.2677393) if is_normalized else 0.0,
            scale=2 * extractor.get("std", 4.5689974) if is_normalized else 1.0,
            num_tokens=(config.max_length - config.patch_size) // config.time_stride + 1,
            token_frames=float(config.patch_size),
            token_step=float(config.time_stride),
        )

    @classmethod
    def load_weights(cls, name_or_folder: str) -> nn.Module:
        """The backbone, without a classifier."""
        kind = ASTConfig.model_type
        return load_backbone(
            ASTModel, name_or_folder, model_types={kind}, ignored_prefixes=("classifier.",)
        )

    def _encode(self, spectrograms: Tensor) -> tuple[Tensor, Tensor]:
        outputs = self.backbone(spectrograms)
        patches = outputs.last_hidden_state[:, 2:]  # (B, bins * A, D_a), after the class tokens
        tokens = patches.unflatten(1, (-1, self.sound.num_tokens)).mean(dim=1)
        return tokens, cast("Tensor", outputs.pooler_output)


class ClapAudioEncoder(AudioEncoder):
    """The audio encoder of a CLAP."""

    config_class = ClapAudioConfig
    display_name = "CLAP"
    licence = "CLAP weights: Apache-2.0 (LAION's; see the card of others)"

    def __init__(self, config: ClapAudioConfig, sound: SoundConfig):
        width = int(config.patch_embeds_hidden_size * 2 ** (len(config.depths) - 1))
        super().__init__(config, sound, width)
        self.backbone = ClapAudioModel(config)
        # Fusion adds crops of sound that is longer than the encoder takes, which ours never is.
        network = self.backbone.audio_encoder
        network.enable_fusion = network.patch_embed.enable_fusion = False

    @classmethod
    def sound_config(cls, config: Any, extractor: dict[str, Any]) -> SoundConfig:
        """Decibels of 64 mel bins, 480 samples apart at 48 kHz; 10 s are a full spectrogram."""
        padding = extractor.get("padding", "repeatpad")
        check(padding == "repeatpad", f"CLAP padding {padding!r}: expected 'repeatpad'")
        found = extractor.get("feature_size", config.num_mel_bins)
        check(
            found == config.num_mel_bins,
            f"CLAP {_SETTINGS_FILE}: feature_size {found}, expected {config.num_mel_bins}",
        )
        rate, hop = extractor.get("sampling_rate", 48000), extractor.get("hop_length", 480)
        num_frames = int(extractor.get("max_length_s", 10) * rate) // hop + 1
        stride = config.patch_stride
        stride = stride if isinstance(stride, int) else stride[0]
        side = config.spec_size // stride // 2 ** (len(config.depths) - 1)
        num_tokens = config.spec_size // config.num_mel_bins * side
        fft = extractor.get("fft_window_size", 1024)
        is_fused = extractor.get("truncation", "fusion") == "fusion"
        return SoundConfig(
            mels="htk" if is_fused else "slaney",
            rate=rate,
            num_frames=num_frames,
            num_mel_bins=config.num_mel_bins,
            window_samples=fft,
            fft_samples=fft,
            hop_samples=hop,
            low_hertz=float(extractor.get("frequency_min", 0)),
            high_hertz=float(extractor.get("frequency_max", 14000)),
            mean=0.0,
            scale=1.0,
            num_tokens=num_tokens,
            token_frames=num_frames / num_tokens,
            token_step=num_frames / num_tokens,
        )

    @classmethod
    def load_weights(cls, name_or_folder: str) -> nn.Module:
        """The audio encoder, before its projection."""
        config = config_of(name_or_folder)
        kind, own = config.model_type, ClapAudioConfig.model_type
        if kind == own and ClapAudioModel.__name__ in (config.architectures or ()):
            return load_backbone(ClapAudioModel, name_or_folder, model_types={own})
        # Their tensors have other names than those of the audio encoder alone.
        found: Any = ClapAudioModelWithProjection if kind == own else ClapModel
        whole: Any = load_backbone(
            found, name_or_folder, model_types={"clap", own}, ignored_prefixes=("text_model.",)
        )
        audio: nn.Module = whole.audio_model
        return audio

    def _encode(self, spectrograms: Tensor) -> tuple[Tensor, Tensor]:
        outputs = self.backbone(spectrograms[:, None])
        tokens = outputs.last_hidden_state.mean(dim=2)  # (B, D_a, bins, A) -> (B, D_a, A)
        return tokens.transpose(1, 2), cast("Tensor", outputs.pooler_output)


AUDIO_ENCODERS: dict[str, type[AudioEncoder]] = {"ast": ASTEncoder, "clap": ClapAudioEncoder}
"""By the kind in the settings."""
_BY_MODEL_TYPE = {encoder.config_class.model_type: encoder for encoder in AUDIO_ENCODERS.values()}


def audio_encoder_class(name: str) -> tuple[type[AudioEncoder], str]:
    """The class and the weights of ``KIND:ID_OR_FOLDER`` or ``KIND:random``, or a `ConfigError`."""
    kind, _, weights = name.partition(":")
    if kind not in AUDIO_ENCODERS or not weights:
        raise ConfigError(
            f"audio_encoder {name!r}: expected {NO_ENCODER}, or KIND:ID, KIND:FOLDER or "
            f"KIND:{RANDOM} with KIND one of {', '.join(AUDIO_ENCODERS)}"
        )
    return AUDIO_ENCODERS[kind], weights


def load_audio_encoder(name: str) -> AudioEncoder:
    """The encoder of a name in the settings; `CheckpointError` for weights that cannot be loaded.

    ``random`` is the published architecture without its weights.
    """
    encoder_class, weights = audio_encoder_class(name)
    if weights != RANDOM:
        return encoder_class.from_pretrained(weights)
    build: Any = encoder_class
    config = encoder_class.config_class()
    encoder: AudioEncoder = build(config, encoder_class.sound_config(config, {}))
    return encoder


def sound_settings(name: str) -> SoundConfig | None:
    """How sound becomes an input of a named encoder, without its weights; None for ``none``."""
    if name == NO_ENCODER:
        return None
    encoder_class, weights = audio_encoder_class(name)
    if weights == RANDOM:
        return encoder_class.sound_config(encoder_class.config_class(), {})
    config = config_of(weights)
    config = getattr(config, "audio_config", config)
    expected = encoder_class.config_class.model_type
    if config.model_type != expected:
        raise CheckpointError(
            f"{weights}: found a model of type {config.model_type!r}, expected {expected!r} of "
            f"{encoder_class.display_name}; name a checkpoint of that kind"
        )
    return encoder_class.sound_config(config, _extractor_settings(weights))


def build_audio_encoder(config: Any, sound: SoundConfig) -> AudioEncoder:
    """The encoder of a configuration, with random weights; a `ConfigError` for one of none."""
    build: Any = _BY_MODEL_TYPE.get(config.model_type)
    check(
        build is not None,
        f"no audio encoder for a configuration of type {config.model_type!r}; known are: "
        f"{', '.join(_BY_MODEL_TYPE)}",
    )
    encoder: AudioEncoder = build(config, sound)
    return encoder


def audio_encoder_licence(name: str) -> str:
    """Licence of published weights."""
    return audio_encoder_class(name)[0].licence


def _extractor_settings(name_or_folder: str) -> dict[str, Any]:
    path = checkpoint_file(name_or_folder, _SETTINGS_FILE)
    settings: dict[str, Any] = {} if path is None else read_json_file(path)
    return settings
