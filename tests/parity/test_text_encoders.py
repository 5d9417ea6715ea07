"""SigLIP, BERT and sentence encoders against Hugging Face's modules and sentence-transformers."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import torch
from torch.nn import functional
from transformers import (
    AutoTokenizer,
    BertForPreTraining,
    BertModel,
    MPNetModel,
    PreTrainedTokenizerFast,
    SiglipTextModel,
)

from msqnet.errors import CheckpointError, ConfigError
from msqnet.model.text_encoders import load_text_encoder
from tests.fixtures.text_checkpoints import (
    SIGLIP_NUM_TOKENS,
    siglip_vocabulary,
    write_bert_folder,
    write_mpnet_folder,
    write_sentence_files,
    write_siglip_folder,
)

if TYPE_CHECKING:
    from pathlib import Path

TEXTS = ["sit", "run far", "a b c d e", "jump"]
# The same float32 operations, in batches of another width.
CLOSE = {"atol": 1e-5, "rtol": 0.0}


def spelled(text: str, version: int) -> list[int]:
    """Ids of a text by hand: every word begins with the word start; the end; then padding."""
    ids = siglip_vocabulary(version)
    words = [ids[token] for word in text.split() for token in ("▁", *word)]
    end, pad = (ids["</s>"], ids["</s>"]) if version == 1 else (ids["<eos>"], ids["<pad>"])
    padded = [*words, end] + [pad] * SIGLIP_NUM_TOKENS
    return padded[:SIGLIP_NUM_TOKENS]


@pytest.mark.parametrize("version", [1, 2])
def test_siglip_equals_hugging_face_on_texts_padded_to_the_full_length(
    tmp_path: Path, version: int
) -> None:
    folder = write_siglip_folder(tmp_path, version=version)
    encoder = load_text_encoder(f"siglip:{folder}")
    ids = torch.tensor([spelled(text, version) for text in TEXTS])
    with torch.inference_mode():
        pooled = SiglipTextModel.from_pretrained(folder).eval()(input_ids=ids).pooler_output
    expected = pooled / pooled.norm(dim=-1, keepdim=True)
    torch.testing.assert_close(encoder.embed(TEXTS), expected, **CLOSE)


def test_siglip_padded_to_the_longest_text_would_be_another_embedding(tmp_path: Path) -> None:
    """The trap that the fixed length avoids: no error, another vector."""
    folder = write_siglip_folder(tmp_path)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder, padding_side="right")
    model = SiglipTextModel.from_pretrained(folder).eval()
    with torch.inference_mode():
        short = model(input_ids=tokenizer(["sit"], return_tensors="pt")["input_ids"]).pooler_output
        masked = tokenizer(
            ["sit"],
            padding="max_length",
            max_length=SIGLIP_NUM_TOKENS,
            return_attention_mask=True,
            return_tensors="pt",
        )
        with_mask = model(**masked).pooler_output
    right = load_text_encoder(f"siglip:{folder}").embed(["sit"])
    assert functional.cosine_similarity(short, right) < 0.95
    assert functional.cosine_similarity(with_mask, right) < 0.999


def test_siglip_reads_lower_case_and_the_first_version_no_punctuation(tmp_path: Path) -> None:
    first = load_text_encoder(f"siglip:{write_siglip_folder(tmp_path / 'first')}")
    second = load_text_encoder(f"siglip:{write_siglip_folder(tmp_path / 'second', version=2)}")
    for encoder in (first, second):
        assert torch.equal(encoder.embed(["Run  FAR"]), encoder.embed(["run far"]))
    assert torch.equal(first.embed(["run, far"]), first.embed(["run far"]))
    assert not torch.allclose(second.embed(["run, far"]), second.embed(["run far"]), atol=1e-3)


@pytest.mark.parametrize(
    ("texts", "message"),
    [(["sit", "?!"], "is empty"), (["a b c d e f g h"], "has 17 tokens, .* reads at most 16")],
    ids=["punctuation", "too_long"],
)
def test_text_that_siglip_cannot_read_is_refused(
    tmp_path: Path, texts: list[str], message: str
) -> None:
    encoder = load_text_encoder(f"siglip:{write_siglip_folder(tmp_path)}")
    with pytest.raises(ConfigError, match=message):
        encoder.embed(texts)


def test_siglip_text_encoder_saved_alone_gives_the_same(tmp_path: Path) -> None:
    whole = write_siglip_folder(tmp_path / "whole")
    SiglipTextModel.from_pretrained(whole).save_pretrained(tmp_path / "text")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / "text" / name).write_bytes((whole / name).read_bytes())
    alone = load_text_encoder(str(tmp_path / "text"))
    assert torch.equal(alone.embed(TEXTS), load_text_encoder(str(whole)).embed(TEXTS))


def test_siglip_tokenizer_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    folder = write_siglip_folder(tmp_path)
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    del settings["pad_token"]
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    with pytest.raises(CheckpointError, match="names no padding token"):
        load_text_encoder(f"siglip:{folder}")
    (folder / "tokenizer.json").unlink()
    with pytest.raises(CheckpointError, match=r"tokenizer\.json|cannot be loaded"):
        load_text_encoder(f"siglip:{folder}")


@pytest.mark.parametrize("with_heads", [True, False])
def test_bert_equals_hugging_face_text_by_text(tmp_path: Path, with_heads: bool) -> None:
    folder = write_bert_folder(tmp_path, with_heads=with_heads)
    pooled = load_text_encoder(f"bert:{folder}").embed(TEXTS)
    means = load_text_encoder(f"bert-mean:{folder}").embed(TEXTS)
    model = BertForPreTraining.from_pretrained(folder).bert if with_heads else None
    model = (model or BertModel.from_pretrained(folder)).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    for text, vector, mean in zip(TEXTS, pooled, means, strict=True):
        with torch.inference_mode():
            outputs = model(**tokenizer([text], return_tensors="pt"))
        torch.testing.assert_close(vector, outputs.pooler_output[0], **CLOSE)
        torch.testing.assert_close(mean, outputs.last_hidden_state[0].mean(dim=0), **CLOSE)


def test_bert_without_its_pooler_is_refused(tmp_path: Path) -> None:
    folder = write_bert_folder(tmp_path, with_heads=False)
    BertModel.from_pretrained(folder, add_pooling_layer=False).save_pretrained(folder)
    with pytest.raises(CheckpointError, match="2 tensors are missing: pooler"):
        load_text_encoder(f"bert:{folder}")


@pytest.mark.parametrize("lowercase", [False, True])
@pytest.mark.parametrize("write", [write_bert_folder, write_mpnet_folder], ids=["bert", "mpnet"])
@pytest.mark.parametrize("new_form", [False, True], ids=["flags", "mode"])
def test_sentence_encoder_equals_sentence_transformers(
    tmp_path: Path, write: object, new_form: bool, lowercase: bool
) -> None:
    sentence_transformers = pytest.importorskip("sentence_transformers")
    options = {"with_heads": False} if write is write_bert_folder else {}
    pooling = {"embedding_dimension": 24, "pooling_mode": "mean"} if new_form else None
    folder = write_sentence_files(
        write(tmp_path, **options), pooling=pooling, settings={"do_lower_case": lowercase}
    )
    texts = [*TEXTS, "Sit DOWN"]
    reference = sentence_transformers.SentenceTransformer(str(folder), device="cpu")
    expected = torch.as_tensor(reference.encode(texts))
    encoder = load_text_encoder(f"sentence:{folder}")
    torch.testing.assert_close(encoder.embed(texts), expected, **CLOSE)


def test_sentence_encoder_is_the_mean_over_all_tokens_scaled_to_length_one(tmp_path: Path) -> None:
    folder = write_sentence_files(write_mpnet_folder(tmp_path))
    embeddings = load_text_encoder(str(folder)).embed(TEXTS)
    model = MPNetModel.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    for text, embedding in zip(TEXTS, embeddings, strict=True):
        ids = torch.tensor([tokenizer(text)["input_ids"]])
        with torch.inference_mode():
            mean = model(input_ids=ids).last_hidden_state[0].mean(dim=0)
        torch.testing.assert_close(embedding, mean / mean.norm(), **CLOSE)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pooling": {"pooling_mode_cls_token": True}}, "with pooling pooling_mode_cls_token"),
        ({"pooling": {"pooling_mode": "cls"}}, "with pooling cls, expected a mean"),
        (
            {"pooling": {"pooling_mode_mean_tokens": True, "pooling_mode_max_tokens": True}},
            "pooling_mode_mean_tokens, pooling_mode_max_tokens",
        ),
        ({"modules": ("Transformer", "Pooling", "Dense")}, "Transformer, Pooling, Dense with"),
        ({"modules": ("Transformer",)}, "with pooling unknown"),
    ],
    ids=["cls", "cls_mode", "two", "dense", "none"],
)
def test_sentence_checkpoint_that_asks_for_more_is_refused(
    tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    folder = write_sentence_files(write_bert_folder(tmp_path, with_heads=False), **changes)
    with pytest.raises(CheckpointError, match=message):
        load_text_encoder(f"sentence:{folder}")


def test_plain_bert_is_no_sentence_encoder(tmp_path: Path) -> None:
    folder = write_bert_folder(tmp_path)
    with pytest.raises(CheckpointError, match=r"found no modules.json, .* say bert:ID_OR_"):
        load_text_encoder(f"sentence:{folder}")


def test_sentence_checkpoint_that_prefixes_every_text_is_refused(tmp_path: Path) -> None:
    folder = write_sentence_files(write_bert_folder(tmp_path, with_heads=False))
    settings = {"prompts": {"query": "query: "}, "default_prompt_name": "query"}
    (folder / "config_sentence_transformers.json").write_text(json.dumps(settings))
    with pytest.raises(CheckpointError, match="puts the prompt 'query' before every text"):
        load_text_encoder(f"sentence:{folder}")


@pytest.mark.parametrize(("length", "limit"), [(8, 8), (None, 24), (99, 24)])
def test_sentence_encoder_reads_as_much_as_it_was_set_to(
    tmp_path: Path, length: int | None, limit: int
) -> None:
    folder = write_sentence_files(write_mpnet_folder(tmp_path), settings={"max_seq_length": length})
    encoder = load_text_encoder(f"sentence:{folder}")
    encoder.embed(["a" * (limit - 2)])
    with pytest.raises(ConfigError, match=f"has {limit + 1} tokens, .* reads at most {limit}"):
        encoder.embed(["a" * (limit - 1)])


def test_damaged_settings_are_named(tmp_path: Path) -> None:
    folder = write_sentence_files(write_bert_folder(tmp_path, with_heads=False))
    (folder / "sentence_bert_config.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"sentence_bert_config.json: cannot be read as JSON"):
        load_text_encoder(f"sentence:{folder}")
