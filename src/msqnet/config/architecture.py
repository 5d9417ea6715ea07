"""What a new model is made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from msqnet.errors import check


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
        check(is_lite or not self.closeup, "closeup needs the lite video encoder; set it to false")
        check(
            is_lite or self.video_query != "trunk",
            "video_query trunk needs the lite video encoder; use image or none",
        )
        check(
            (self.video_query == "image") == (self.image_encoder != "none"),
            f"video_query {self.video_query} with image_encoder {self.image_encoder}: an image "
            "encoder is needed for video_query image, and only there",
        )
        check(
            self.video_query != "none" or not self.direct_path,
            "direct_path starts at the video query; without one set it to false",
        )
        check(
            self.frame_pooling == "frames" or self.video_encoder == "timesformer",
            "frame_pooling flat needs the timesformer video encoder",
        )
        check(
            self.time_embeddings == "interpolated" or self.video_encoder == "timesformer",
            "time_embeddings zeros needs the timesformer video encoder",
        )
        check(
            not is_open or (not self.query_attention and self.query_positions == "none"),
            f"head {self.head} scores any label, alone or among others: it needs query_attention "
            "false and query_positions none",
        )
        check(
            not is_open or (not self.learn_label_queries and self.text_encoder != "random"),
            f"head {self.head} scores any label by its text: it needs a text_encoder and "
            "learn_label_queries false",
        )
