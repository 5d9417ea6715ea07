"""Settings as frozen dataclasses: declared once, with units, defaults, checks; no imports.

The attribute docstrings become the help of the command line.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal

from msqnet.errors import ConfigError


def _check(condition: bool, message: str) -> None:
    if not condition:
        raise ConfigError(message)


@dataclass(frozen=True)
class MotionBoxConfig:
    """How the square around what moves is found.

    Attributes:
        energy_share: Share of the difference energy that the square keeps along x and along y.
        margin: The square's side as a multiple of the tight one.
        min_side_share: Smallest side, as a share of the frame's short side.
        noise_levels: Grey levels (of 255) below which a frame difference counts as noise.
        min_moving_share: Below this share of moving pixels nothing moves.
        max_moving_share: Above this share everything moves (camera motion, cut).
    """

    energy_share: float = 0.9
    margin: float = 1.4
    min_side_share: float = 0.3
    noise_levels: float = 12.0
    min_moving_share: float = 0.0002
    max_moving_share: float = 0.6

    def __post_init__(self) -> None:
        _check(0 < self.energy_share <= 1, f"energy_share {self.energy_share}: expected (0, 1]")
        _check(self.margin >= 1, f"margin {self.margin}: expected at least 1")
        _check(
            0 < self.min_side_share <= 1, f"min_side_share {self.min_side_share}: expected (0, 1]"
        )


@dataclass(frozen=True)
class ClipConfig:
    """How the frames of a window become a model input. Stored in every checkpoint.

    Attributes:
        num_frames: Frames per clip, T.
        size_pixels: Side of the square that the encoders see.
        resize: `crop` scales the short side to `short_side_pixels` and cuts the centre (the paper);
            `stretch` scales the whole frame to the square, so that nothing is cut off.
        short_side_pixels: Short side before the centre crop.
        decode_short_side_pixels: Frames are scaled down to this short side while decoding.
        closeup: Whether the model takes a second look at what moves.
        motion: How the place of the second look is found.
    """

    num_frames: int = 16
    size_pixels: int = 224
    resize: Literal["crop", "stretch"] = "crop"
    short_side_pixels: int = 256
    decode_short_side_pixels: int = 256
    closeup: bool = False
    motion: MotionBoxConfig = field(default_factory=MotionBoxConfig)

    def __post_init__(self) -> None:
        _check(self.num_frames >= 1, f"num_frames {self.num_frames}: expected at least 1")
        _check(self.size_pixels >= 16, f"size_pixels {self.size_pixels}: expected at least 16")
        _check(
            self.short_side_pixels >= self.size_pixels,
            f"short_side_pixels {self.short_side_pixels} is less than size_pixels "
            f"{self.size_pixels}: the centre crop would not fit",
        )
        _check(
            self.decode_short_side_pixels >= self.size_pixels,
            f"decode_short_side_pixels {self.decode_short_side_pixels} is less than size_pixels "
            f"{self.size_pixels}",
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values for a JSON file; `from_dict` reads them back."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ClipConfig:
        """Rebuild from `to_dict`.

        Raises:
            ConfigError: an unknown field, or a value out of range.
        """
        values = dict(values)
        known = {item.name for item in fields(cls)}
        unknown = sorted(set(values) - known)
        _check(not unknown, f"unknown clip settings {unknown}; known are {sorted(known)}")
        motion = values.pop("motion", None)
        return cls(**values, motion=MotionBoxConfig(**motion) if motion else MotionBoxConfig())


@dataclass(frozen=True)
class AugmentationConfig:
    """Random changes to training clips; one draw holds for all frames of a clip.

    Attributes:
        crop_scales: Each side of the random crop is one of these shares (multi-scale crop).
        colour_probability: How often brightness, contrast, saturation and hue change.
        brightness: Largest relative change of brightness.
        contrast: Largest relative change of contrast.
        saturation: Largest relative change of saturation.
        hue: Largest turn of the hue, as a share of the full circle.
        grey_probability: How often the clip becomes grey.
        horizontal_flip: Mirror half of the clips; never done where a label speaks of left or right.
        closeup_jitter: Largest move of each edge of the close-up, as a share of its side.
        random_frames: Take a random frame of each of the T equal segments of time; else the centre
            one, as when predicting.
    """

    crop_scales: tuple[float, ...] = (1.0, 0.875, 0.75, 0.66)
    colour_probability: float = 0.8
    brightness: float = 0.4
    contrast: float = 0.4
    saturation: float = 0.2
    hue: float = 0.1
    grey_probability: float = 0.2
    horizontal_flip: bool = True
    closeup_jitter: float = 0.15
    random_frames: bool = True

    def __post_init__(self) -> None:
        _check(
            bool(self.crop_scales) and all(0 < scale <= 1 for scale in self.crop_scales),
            f"crop_scales {self.crop_scales}: expected one or more shares in (0, 1]",
        )
        for name in ("colour_probability", "grey_probability"):
            value = getattr(self, name)
            _check(0 <= value <= 1, f"{name} {value}: expected 0 to 1")
        _check(0 <= self.closeup_jitter < 0.5, f"closeup_jitter {self.closeup_jitter}: [0, 0.5)")


@dataclass(frozen=True)
class WindowConfig:
    """How a long video is cut into windows.

    Attributes:
        window_seconds: Length of a window; by default the length the model was trained on.
        stride_seconds: Time from one window's start to the next one's; by default half a window,
            rounded so that overlapping windows share frames.
        batch_size: Windows scored at a time.
    """

    window_seconds: float | None = None
    stride_seconds: float | None = None
    batch_size: int = 8

    def __post_init__(self) -> None:
        for name in ("window_seconds", "stride_seconds"):
            value = getattr(self, name)
            _check(value is None or value > 0, f"{name} {value}: expected more than 0")
        _check(self.batch_size >= 1, f"batch_size {self.batch_size}: expected at least 1")


@dataclass(frozen=True)
class SegmentConfig:
    """How a timeline of scores becomes segments.

    Attributes:
        threshold: Score from which an action counts as present; by default the model's own
            threshold of each label.
        min_duration_seconds: Shorter segments are dropped.
        max_gap_seconds: Gaps of one label up to this length are closed.
    """

    threshold: float | None = None
    min_duration_seconds: float = 0.0
    max_gap_seconds: float = 0.5

    def __post_init__(self) -> None:
        _check(
            self.threshold is None or 0 <= self.threshold <= 1,
            f"threshold {self.threshold}: expected 0 to 1",
        )
        _check(
            self.min_duration_seconds >= 0, f"min_duration_seconds {self.min_duration_seconds} < 0"
        )
        _check(self.max_gap_seconds >= 0, f"max_gap_seconds {self.max_gap_seconds} < 0")


@dataclass(frozen=True)
class ArchConfig:
    """What a new model is made of. The defaults are those of `lite`.

    Attributes:
        video_encoder: `lite` for machines without a GPU, `timesformer` as in the paper; `videomae`,
            `vit` (an image encoder on every frame), `i3d`, `c3d`, `vjepa2`, `xclip`.
        video_weights: Weights of the video encoder: hub id or folder; `random` for none.
        frame_pooling: `frames` averages the patches of each frame; `flat` bins the token sequence
            as the paper's released code does (`timesformer` only).
        time_embeddings: Where the weights were trained with another number of frames,
            `interpolated` stretches their time embeddings and `zeros` drops them, as the paper's
            released code does (`timesformer` only).
        pixel_statistics: `own` scales pixels as each encoder was trained; `clip` takes CLIP's for
            all, as the paper's released code does.
        video_query: What queries know of the video: `none` (text only), `image` (frames through
            `image_encoder`, the paper) or `trunk` (`lite`: statistics of its own features).
        image_encoder: Weights behind the video query `image`: hub id or folder of a CLIP model.
        text_encoder: Where label queries start: `minilm`, `clip:ID_OR_FOLDER`, `bert:...`,
            `sentence:...`, `siglip:...`, or `random`.
        embedding: `pooled` takes CLIP's embeddings before its projections (the paper), `projected`
            those of the space that its texts and images share.
        prompts: Text of a label: `none` for its name, `templates` for the mean of several
            sentences, `descriptions` from `label_table`, or your own with `{}` for the name,
            several joined by `|`.
        label_table: Table of labels with the columns name, description, synonyms.
        learn_label_queries: Train the label embeddings; else they stay as the text encoder made
            them.
        num_frames: Frames per clip.
        size_pixels: Side of the square frames.
        encoder_width: Width of the tokens after the trunk (`lite` only).
        encoder_grid: Tokens along each side of a frame (`lite` only).
        width: Width of queries and memory.
        memory_encoder_layers: Self-attention layers over the memory before the decoder.
        memory_positions: `keys` adds time positions to the keys of every attention to the memory;
            `input` adds them to the memory once, with dropout.
        decoder_layers: Layers of the decoder.
        decoder_heads: Attention heads of the decoder.
        decoder_feedforward: Hidden width of its feed-forward parts.
        dropout: Dropout of the decoder.
        query_positions: `learned` adds positions to the label queries (equations 4 and 5).
        query_attention: Let label queries attend to each other. Open vocabularies need `false`, so
            that no score depends on the other labels asked for.
        final_norms: A last layer norm after the stacks, as `torch.nn.Transformer` has.
        head: `group_wise` has one weight vector for each trained label (equation 7); `shared` one
            for all and `cosine` the likeness of query and text: both score any label.
        direct_path: A linear path from the video query to the scores beside the decoder.
        closeup: Take a second look at what moves (`lite` only).
    """

    video_encoder: Literal[
        "lite", "timesformer", "videomae", "vit", "i3d", "c3d", "vjepa2", "xclip"
    ] = "lite"
    video_weights: str = "imagenet"
    frame_pooling: Literal["frames", "flat"] = "frames"
    time_embeddings: Literal["interpolated", "zeros"] = "interpolated"
    pixel_statistics: Literal["own", "clip"] = "own"
    video_query: Literal["none", "image", "trunk"] = "trunk"
    image_encoder: str = "none"
    text_encoder: str = "minilm"
    embedding: Literal["pooled", "projected"] = "pooled"
    prompts: str = "none"
    label_table: str | None = None
    learn_label_queries: bool = True
    num_frames: int = 16
    size_pixels: int = 224
    encoder_width: int = 256
    encoder_grid: int = 4
    width: int = 256
    memory_encoder_layers: int = 0
    memory_positions: Literal["keys", "input"] = "keys"
    decoder_layers: int = 2
    decoder_heads: int = 8
    decoder_feedforward: int = 1024
    dropout: float = 0.2
    query_positions: Literal["none", "learned"] = "none"
    query_attention: bool = True
    final_norms: bool = False
    head: Literal["group_wise", "shared", "cosine"] = "group_wise"
    direct_path: bool = True
    closeup: bool = True

    def __post_init__(self) -> None:
        is_lite = self.video_encoder == "lite"
        is_open = self.head != "group_wise"
        _check(is_lite or not self.closeup, "closeup needs the lite video encoder; set it to false")
        _check(
            is_lite or self.video_query != "trunk",
            "video_query trunk needs the lite video encoder; use image or none",
        )
        _check(
            (self.video_query == "image") == (self.image_encoder != "none"),
            f"video_query {self.video_query} with image_encoder {self.image_encoder}: an image "
            "encoder is needed for video_query image, and only there",
        )
        _check(
            self.video_query != "none" or not self.direct_path,
            "direct_path starts at the video query; without one set it to false",
        )
        _check(
            self.frame_pooling == "frames" or self.video_encoder == "timesformer",
            "frame_pooling flat needs the timesformer video encoder",
        )
        _check(
            self.time_embeddings == "interpolated" or self.video_encoder == "timesformer",
            "time_embeddings zeros needs the timesformer video encoder",
        )
        _check(
            not is_open or (not self.query_attention and self.query_positions == "none"),
            f"head {self.head} scores any label, alone or among others: it needs query_attention "
            "false and query_positions none",
        )
        _check(
            not is_open or (not self.learn_label_queries and self.text_encoder != "random"),
            f"head {self.head} scores any label by its text: it needs a text_encoder and "
            "learn_label_queries false",
        )


@dataclass(frozen=True)
class LossConfig:
    """What training minimises. A setting that starts with another loss's name is not used.

    Attributes:
        name: `cross_entropy`, as in the paper (binary for multi_label); `focal` counts what is
            scored right already less (Lin et al. 2017); `asymmetric` does so for positives and
            negatives apart (Ridnik et al. 2021); `class_balanced` weighs labels by the effective
            number of their rows (Cui et al. 2019); `equalisation` spares rare labels negatives
            (Tan et al. 2020); `logit_adjustment` takes out how frequent labels are (Menon et al.
            2021). `asymmetric` and `equalisation` are for multi_label.
        focal_gamma: How much less what is scored right counts.
        focal_alpha: Weight of positives, 1 - alpha that of negatives; `null` weighs neither. For
            multi_label.
        asymmetric_gamma_negative: As `focal_gamma`, for negatives.
        asymmetric_gamma_positive: As `focal_gamma`, for positives.
        asymmetric_clip: Negatives scored below this probability do not count.
        class_balanced_beta: 0 weighs all labels alike, towards 1 by the inverse of their rows.
        equalisation_threshold: Labels in a smaller share of the rows are rare.
        equalisation_drop: Share of a rare label's negatives that does not count, in rows that show
            another label.
        logit_adjustment_tau: How much of the frequency is taken out; 1 for all of it.
    """

    name: Literal[
        "cross_entropy", "focal", "asymmetric", "class_balanced", "equalisation", "logit_adjustment"
    ] = "cross_entropy"
    focal_gamma: float = 2.0
    focal_alpha: float | None = 0.25
    asymmetric_gamma_negative: float = 4.0
    asymmetric_gamma_positive: float = 1.0
    asymmetric_clip: float = 0.05
    class_balanced_beta: float = 0.9999
    equalisation_threshold: float = 1.76e-3
    equalisation_drop: float = 0.95
    logit_adjustment_tau: float = 1.0

    def __post_init__(self) -> None:
        for name in (
            "focal_gamma",
            "asymmetric_gamma_negative",
            "asymmetric_gamma_positive",
            "logit_adjustment_tau",
        ):
            value = getattr(self, name)
            _check(value >= 0, f"{name} {value}: expected 0 or more")
        alpha = self.focal_alpha
        _check(alpha is None or 0 <= alpha <= 1, f"focal_alpha {alpha}: expected 0 to 1 or null")
        for name in ("asymmetric_clip", "class_balanced_beta"):
            value = getattr(self, name)
            _check(0 <= value < 1, f"{name} {value}: expected [0, 1)")
        for name in ("equalisation_threshold", "equalisation_drop"):
            value = getattr(self, name)
            _check(0 <= value <= 1, f"{name} {value}: expected 0 to 1")


@dataclass(frozen=True)
class TrainConfig:
    """How a model is trained. The defaults are those of `lite`.

    Attributes:
        epochs: Passes over the training rows.
        learning_rate: Of everything but the video encoder.
        encoder_learning_rate: Of the video encoder.
        weight_decay: Decoupled, on weight matrices.
        batch_size: Clips per device and step.
        accumulation_steps: Steps whose gradients are added before an update.
        warmup_share: Share of the steps in which the rate rises.
        finetune: What is trained: `full` the whole video encoder too, `after_trunk` all but the
            convolutional trunk (`lite`), `decoder` only what follows the video encoder.
        gradient_checkpointing: Trade time for memory in the video encoder.
        precision: `bf16` where the device has it; `auto` uses it on a GPU that does.
        loss: What is minimised.
        class_balance: `inverse` weights positives of a label by known negatives / known positives,
            at most 10; with the loss `cross_entropy` only.
        sampling: `rows` shows every row once in an epoch; `class_aware` draws a label, all alike,
            and then one of its rows.
        samples_per_epoch: Rows drawn for each epoch, as the paper's released code does; 0 shows
            every row once.
        schedule: Of the learning rate: one cosine from full to 0, or `cosine_with_restarts`.
        restart_epochs: Epochs between two restarts.
        validation_share: Share of the rows kept aside, by whole groups, to choose the best epoch,
            to calibrate and to set thresholds; 0 trains on all rows for all epochs, without
            calibration.
        folds: Instead of one validation part, train once per fold to calibrate on all rows, then
            once more on everything; 0 for none. Never more than there are groups of clips.
        early_stopping_patience: Epochs without a better validation figure before the end; 0 never.
            Needs `folds` 0.
        cached_views: Augmented views of each row whose frozen trunk features are kept on disk
            (`lite`); 0 decodes and augments anew in every epoch.
        probe_strength: Inverse regularisation of the linear fit with which the path from the video
            query to the scores starts; 0 starts it at zero and trains it with the rest. A run
            that starts from another model goes on from that model's path instead.
        max_gradient_norm: Longer gradients are scaled down to this; 0 leaves them.
        seed: Of everything random; a run on CPU repeats exactly.
        num_workers: Processes that decode.
    """

    epochs: int = 8
    learning_rate: float = 3e-4
    encoder_learning_rate: float = 3e-4
    weight_decay: float = 0.05
    batch_size: int = 16
    accumulation_steps: int = 1
    warmup_share: float = 0.1
    finetune: Literal["full", "after_trunk", "decoder"] = "after_trunk"
    gradient_checkpointing: bool = False
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    loss: LossConfig = field(default_factory=LossConfig)
    class_balance: Literal["none", "inverse"] = "inverse"
    sampling: Literal["rows", "class_aware"] = "rows"
    samples_per_epoch: int = 0
    schedule: Literal["cosine", "cosine_with_restarts"] = "cosine"
    restart_epochs: int = 10
    validation_share: float = 0.2
    folds: int = 5
    early_stopping_patience: int = 0
    cached_views: int = 3
    probe_strength: float = 0.01
    max_gradient_norm: float = 1.0
    seed: int = 0
    num_workers: int = 1

    def __post_init__(self) -> None:
        _check(self.epochs >= 1, f"epochs {self.epochs}: expected at least 1")
        _check(self.batch_size >= 1, f"batch_size {self.batch_size}: expected at least 1")
        _check(self.restart_epochs >= 1, f"restart_epochs {self.restart_epochs}: at least 1")
        _check(
            self.samples_per_epoch == 0 or self.sampling == "rows",
            "samples_per_epoch draws rows, all alike: set sampling to rows",
        )
        _check(0 <= self.validation_share < 1, f"validation_share {self.validation_share}: [0, 1)")
        _check(self.folds == 0 or self.folds >= 2, f"folds {self.folds}: expected 0, 2 or more")
        _check(self.cached_views >= 0, f"cached_views {self.cached_views}: expected 0 or more")
        _check(
            self.class_balance == "none" or self.loss.name == "cross_entropy",
            f"class_balance {self.class_balance} weights cross_entropy, not {self.loss.name}: "
            "set class_balance to none",
        )
        _check(
            not self.early_stopping_patience or (not self.folds and self.validation_share > 0),
            "early stopping chooses an epoch on one validation part: set folds to 0 and "
            "validation_share above 0 for it",
        )
        _check(
            not (self.cached_views and self.finetune == "full"),
            "cached_views holds features of a frozen trunk; with finetune full it must be 0",
        )


@dataclass(frozen=True)
class ViewConfig:
    """How often a clip is looked at, and how the scores of these views become one.

    Attributes:
        num_clips: Views over time: each has T frames over the row's whole time, between the frames
            of the others.
        crops: Views in space: 1 is the centre, 3 are both ends and the centre of the long side.
        merge: `mean` or `max` of the views' scores, label by label, after sigmoid or softmax.
    """

    num_clips: int = 1
    crops: Literal[1, 3] = 1
    merge: Literal["mean", "max"] = "mean"

    def __post_init__(self) -> None:
        _check(self.num_clips >= 1, f"num_clips {self.num_clips}: expected at least 1")
        _check(self.crops in (1, 3), f"crops {self.crops}: expected 1 or 3")
        _check(self.merge in ("mean", "max"), f"merge {self.merge!r}: expected mean or max")

    @property
    def num_views(self) -> int:
        """Views of a row in time and space."""
        return self.num_clips * self.crops


@dataclass(frozen=True)
class ViewChoice:
    """Views that are asked for; what is left out is as the protocol has it.

    Attributes:
        num_clips: Views over time, each of T frames over the row's whole time.
        crops: Views in space: 1 is the centre, 3 are both ends and the centre of the long side.
        merge: `mean` or `max` of the views' scores.
    """

    num_clips: int | None = None
    crops: Literal[1, 3] | None = None
    merge: Literal["mean", "max"] | None = None

    def over(self, views: ViewConfig) -> ViewConfig:
        """These views where they were asked for, else the given ones.

        Raises:
            ConfigError: a number that is not allowed.
        """
        asked = {name: value for name, value in asdict(self).items() if value is not None}
        return replace(views, **asked)
