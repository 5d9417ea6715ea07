"""How a model is trained: the loss, the optimisation, and random changes to its clips."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from msqnet.errors import check, check_numbers


@dataclass(frozen=True)
class LossConfig:
    """The loss that training minimises; `msqnet.model.losses` has all losses and options.

    Attributes:
        name: `cross_entropy`, as in the paper (binary for multi_label); `focal` counts what is
            scored right already less (Lin et al. 2017); `asymmetric` does so for positives and
            negatives apart (Ridnik et al. 2021); `class_balanced` weighs labels by the effective
            number of their rows (Cui et al. 2019); `equalisation` spares rare labels negatives
            (Tan et al. 2020); `logit_adjustment` takes out how frequent labels are (Menon et al.
            2021). `asymmetric` and `equalisation` are for multi_label.
        options: Options of this loss, for instance `--train.loss.options.gamma 1` of `focal`.
    """

    name: str = "cross_entropy"
    options: dict[str, float | None] = field(default_factory=dict)


@dataclass(frozen=True)
class LoraConfig:
    """Adapters of `finetune` `lora`: low-rank changes of the attention of the video encoder.

    Attributes:
        rank: Rank of the change of each projection of attention (query, key, value, output).
        alpha: The change is scaled by alpha / rank.
    """

    rank: int = 8
    alpha: int = 16

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            check(value >= 1, f"lora.{name} {value}: expected at least 1")


@dataclass(frozen=True)
class TrainConfig:
    """How a model is trained. The defaults are those of `lite`.

    Attributes:
        epochs: Passes over the training rows.
        learning_rate: Learning rate of everything except the video encoder.
        encoder_learning_rate: Learning rate of the video encoder; adapters want about ten times
            that of all its weights.
        layer_decay: Each layer of the video encoder learns at this share of the rate of the next
            one; the last has all of it. In (0, 1].
        weight_decay: Decoupled weight decay of weight matrices.
        batch_size: Clips per device and step.
        accumulation_steps: Steps whose gradients are added before an update.
        warmup_share: Share of the steps in which the learning rate rises.
        finetune: Parts to train: `full` trains the encoders of video and sound too, `lora` small
            adapters in the attention of the former in place of its weights (needs `msqnet[lora]`),
            `after_trunk` all but its convolutional backbone (`lite`), `decoder` only what follows
            the encoders.
        lora: The adapters of `lora`.
        gradient_checkpointing: Trade time for memory in the video encoder.
        precision: `bf16` needs an NVIDIA GPU since Ampere; `auto` uses it there.
        compile: `on` compiles the model (torch.compile), which takes minutes and a C++ compiler
            before the first step; `auto` does so on a GPU for `finetune` `full` and `lora`.
        loss: The loss and its options.
        class_balance: `inverse` weights positives of a label by known negatives / known positives,
            at most 10; with the loss `cross_entropy` only.
        sampling: `rows` shows every row once in an epoch; `class_aware` draws a label, all with the
            same probability, and then one of its rows.
        samples_per_epoch: Rows drawn for each epoch, as in the paper's released code; 0 shows every
            row once.
        restart_epochs: Epochs between two restarts of the learning rate, which falls as a cosine;
            0 for one cosine from full to 0.
        validation_share: Share of the rows kept aside, by whole groups, to choose the best epoch,
            to calibrate and to set thresholds; 0 trains on all rows for all epochs, without
            calibration.
        folds: Cross-validation folds in place of one validation part: one training per fold
            calibrates on all rows, a last one uses everything; 0 for none. Never more than there
            are groups of clips.
        early_stopping_patience: Epochs without a better validation result before training stops;
            0 never stops it. Needs `folds` 0.
        cached_views: Augmented views of each row, beside the unchanged one, whose features are kept
            on disk: of the backbone with `finetune` `after_trunk`, of the whole video encoder with
            `decoder`. 0 decodes and augments anew in every epoch. By default 3, 1 for rows that
            are too few for the decoder, and 0 with `finetune` `full` or `lora`.
        probe_strength: Inverse regularisation of the linear fit that initializes the path from the
            video query to the scores; 0 starts it at zero and trains it with the rest. A run that
            starts from another model fits it from that model's path, if that is better on held-out
            rows; where the decoder is trained, it keeps that path and trains both.
        scene_weight: Weight of what the whole frames show in that fit, that of the motion crop
            being 1: below 1, scenes that belong to the training rows alone count less. In (0, 1];
            by default 1, and 0.5 for rows that are too few for the decoder.
        decoder_rows: Fewest rows with which anything but that fit is trained. With fewer, and in
            folds that show no gain from the rest of the model, the path from the video query alone
            gives the scores. For runs on stored features with `folds`; 0 trains all of the model.
            By default 100, and 300 for a run that starts from another model.
        max_gradient_norm: Longer gradients are scaled down to this norm; 0 leaves them.
        seed: Seed of every random choice; a run on a CPU repeats exactly.
        num_workers: Processes that decode videos.
        report_to: Experiment tracker that gets the settings, the metrics of each epoch and the
            results on held-out rows: `tensorboard`, `wandb`, `mlflow` or `none`; `auto` writes
            files for TensorBoard where that is installed. The direct path is fitted at once and
            has no epochs: runs on few rows report settings and results.
    """

    epochs: int = 8
    learning_rate: float = 3e-4
    encoder_learning_rate: float = 3e-4
    layer_decay: float = 1.0
    weight_decay: float = 0.05
    batch_size: int = 16
    accumulation_steps: int = 1
    warmup_share: float = 0.1
    finetune: Literal["full", "lora", "after_trunk", "decoder"] = "after_trunk"
    lora: LoraConfig = field(default_factory=LoraConfig)
    gradient_checkpointing: bool = False
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    compile: Literal["off", "auto", "on"] = "off"
    loss: LossConfig = field(default_factory=LossConfig)
    class_balance: Literal["none", "inverse"] = "inverse"
    sampling: Literal["rows", "class_aware"] = "rows"
    samples_per_epoch: int = 0
    restart_epochs: int = 0
    validation_share: float = 0.2
    folds: int = 5
    early_stopping_patience: int = 0
    cached_views: int | None = None
    probe_strength: float = 0.01
    scene_weight: float | None = None
    decoder_rows: int | None = None
    max_gradient_norm: float = 1.0
    seed: int = 0
    num_workers: int = 1
    report_to: Literal["auto", "none", "tensorboard", "wandb", "mlflow"] = "auto"

    def __post_init__(self) -> None:
        shares = ["layer_decay", "scene_weight"]
        check_numbers(self, shares, shares, epochs=1, batch_size=1, restart_epochs=0)
        check_numbers(self, decoder_rows=0, cached_views=0)
        check(
            self.samples_per_epoch == 0 or self.sampling == "rows",
            "samples_per_epoch draws rows, all alike: set sampling to rows",
        )
        check(0 <= self.validation_share < 1, f"validation_share {self.validation_share}: [0, 1)")
        check(self.folds == 0 or self.folds >= 2, f"folds {self.folds}: expected 0, 2 or more")
        check(
            self.class_balance == "none" or self.loss.name == "cross_entropy",
            f"class_balance {self.class_balance} weights cross_entropy, not {self.loss.name}: "
            "set class_balance to none",
        )
        check(
            not self.early_stopping_patience or (not self.folds and self.validation_share > 0),
            "early stopping chooses an epoch on one validation part: set folds to 0 and "
            "validation_share above 0 for it",
        )
        check(
            self.finetune == "lora" or self.lora == LoraConfig(),
            f"lora: these are adapters of finetune lora; found {self.finetune}",
        )
        check(
            self.finetune != "decoder" or self.layer_decay == 1,
            "layer_decay is of the video encoder, which finetune decoder does not train: set it "
            "to 1",
        )
        check(
            not (self.cached_views and self.trains_backbone),
            f"cached_views holds features of what is frozen; with finetune {self.finetune} it must "
            "be 0",
        )

    @property
    def trains_backbone(self) -> bool:
        """Whether the first layers of the video encoder change, so that all of it is computed."""
        return self.finetune in ("full", "lora")


@dataclass(frozen=True)
class AugmentationConfig:
    """Random changes to training clips; one draw holds for all frames of a clip.

    Attributes:
        crop_scales: Sides of the random crop, as shares of the frame's (multi-scale crop).
        colour_probability: Share of the clips whose colours and brightness change.
        colour_strength: Factor on the largest changes, which are 40 % of brightness and of
            contrast, 20 % of saturation, and a tenth of the circle of hues.
        grey_probability: Share of the clips that become grey.
        horizontal_flip: Mirror half of the clips, unless a label names a side (left, right).
        closeup_jitter: Largest shift of each edge of the motion crop, as a share of its side.
        random_frames: Take a random frame of each of the T equal segments of time; otherwise the
            centre one, as in prediction.
    """

    crop_scales: tuple[float, ...] = (1.0, 0.875, 0.75, 0.66)
    colour_probability: float = 0.8
    colour_strength: float = 1.0
    grey_probability: float = 0.2
    horizontal_flip: bool = True
    closeup_jitter: float = 0.15
    random_frames: bool = True

    def __post_init__(self) -> None:
        check(
            bool(self.crop_scales) and all(0 < scale <= 1 for scale in self.crop_scales),
            f"crop_scales {self.crop_scales}: expected one or more shares in (0, 1]",
        )
        check_numbers(self, (), ["colour_probability", "grey_probability"], colour_strength=0)
        check(0 <= self.closeup_jitter < 0.5, f"closeup_jitter {self.closeup_jitter}: [0, 0.5)")
