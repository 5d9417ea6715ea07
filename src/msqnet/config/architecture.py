"""What a new model is made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from msqnet.errors import check


@dataclass(frozen=True)
class ArchConfig:
    """What a new model is made of. The defaults are those of `lite`.

    Attributes:
        video_encoder: `lite` for machines without a GPU, `timesformer` as in the paper; `videomae`,
            `vit` (an image encoder on every frame), `i3d`, `c3d`, `vjepa2`, `xclip`, `videoprism`.
        video_weights: Weights of the video encoder: hub id or folder; `random` for none.
        frame_pooling: `frames` averages the patches of each frame; `flat` bins the token sequence
            as the paper's released code does (`timesformer` only).
        time_embeddings: Where the weights were trained with another number of frames,
            `interpolated` stretches their time embeddings and `zeros` drops them, as the paper's
            released code does (`timesformer` only).
        pixel_statistics: `own` scales pixels as each encoder was trained; `clip` takes CLIP's for
            all, as the paper's released code does.
        video_query: What queries know of the video: `none` (text only), `image` (frames through
            `image_encoder`, the paper) or `trunk` (`lite`: statistics of its backbone's features).
        image_encoder: Weights behind the video query `image`: hub id or folder of a CLIP model.
        audio_encoder: Sound of the window as memory and query: `ast:ID_OR_FOLDER`,
            `clap:ID_OR_FOLDER`, `ast:random`, `clap:random`, or `none` for no sound.
        frame_memory: Let labels look at the frames; `false` with `video_query` `none` leaves sound
            alone.
        text_encoder: Where label queries start: `minilm`, `clip:ID_OR_FOLDER`, `bert:...`,
            `sentence:...`, `siglip:...`, or `random`.
        embedding: `pooled` takes CLIP's embeddings before its projections (the paper), `projected`
            those of the space that its texts and images share.
        prompts: Text of a label: `none` for its name, `templates` for the mean of several
            sentences (`people`, `animals` of others), `descriptions` from `label_table`, or your
            own with `{}` for the name, several joined by `|`.
        label_table: Table of labels with the columns name, description, synonyms.
        learn_label_queries: Train the label embeddings; else they stay as the text encoder made
            them.
        num_frames: Frames per clip.
        size_pixels: Side of the square frames.
        encoder_width: Width of the tokens after the backbone (`lite` only).
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
        closeup: Look at the motion crop too, the part of the frame that moves (`lite` only).
    """

    video_encoder: str = "lite"
    video_weights: str = "imagenet"
    frame_pooling: Literal["frames", "flat"] = "frames"
    time_embeddings: Literal["interpolated", "zeros"] = "interpolated"
    pixel_statistics: Literal["own", "clip"] = "own"
    video_query: Literal["none", "image", "trunk"] = "trunk"
    image_encoder: str = "none"
    audio_encoder: str = "none"
    frame_memory: bool = True
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
        check(
            (self.video_query == "image") == (self.image_encoder != "none"),
            f"video_query {self.video_query} with image_encoder {self.image_encoder}: an image "
            "encoder is needed for video_query image, and only there",
        )
        check_method(self)
        check(
            self.head == "group_wise" or self.text_encoder != "random",
            f"head {self.head} scores any label by its text: it needs a text_encoder",
        )


def check_method(settings: ArchConfig | Any) -> None:
    """Raise `ConfigError` for settings of the method that do not fit each other.

    They are those of an `ArchConfig`, or of an `MSQNetConfig`, which has the same names.
    """
    has_sound = settings.audio_encoder not in (None, "none")
    check(
        settings.video_query != "none" or has_sound or not settings.direct_path,
        "direct_path starts at the video query; without one set it to false",
    )
    check(
        settings.frame_memory or (has_sound and settings.video_query == "none"),
        "frame_memory false leaves sound alone: it needs an audio_encoder, and video_query none",
    )
    if settings.head != "group_wise":
        check(
            not settings.query_attention and settings.query_positions == "none",
            f"head {settings.head} scores any label, alone or among others: it needs "
            "query_attention false and query_positions none",
        )
        check(
            not settings.learn_label_queries,
            f"head {settings.head} scores any label by its text: it needs learn_label_queries "
            "false, so that label embeddings stay text",
        )
    check(
        settings.width % settings.decoder_heads == 0 and settings.width % 2 == 0,
        f"width {settings.width}: expected an even multiple of decoder_heads",
    )
