"""Embeddings of table rows before and after the decoder."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from msqnet.data.dataset import ClipDataset
from msqnet.explain.embeddings import VideoEmbedder, embed_rows
from msqnet.labels import LabelSet
from tests.fixtures.models import LABELS, WIDTH, tiny_model
from tests.fixtures.tables import write_brightness_table

if TYPE_CHECKING:
    from pathlib import Path

    from msqnet.data.records import ClipTable
    from msqnet.model.pretrained import MSQNet

NUM_ROWS = 5


@pytest.fixture
def table(tmp_path: Path) -> ClipTable:
    return write_brightness_table(tmp_path, NUM_ROWS)


def text_only_model() -> MSQNet:
    return tiny_model("lite", seed=1, video_query="none", direct_path=False)


def test_embeddings_are_what_the_models_output_holds(table: ClipTable) -> None:
    model = tiny_model("lite")
    (found,) = embed_rows(table, [VideoEmbedder(model, "cpu")], batch_size=2)
    dataset = ClipDataset(table, LabelSet(tuple(LABELS)), model.config.clip_config)

    assert found.before.shape == (NUM_ROWS, WIDTH)
    assert found.before.dtype == np.float32
    for row in range(NUM_ROWS):
        clip = dataset.clip(row, 0)
        assert clip.closeup is not None
        with torch.inference_mode():
            output = model(pixels=clip.pixels[None], closeups=clip.closeup[None])
        # Batches of another size add up in another order: float32 rounding.
        np.testing.assert_allclose(
            found.before[row], output.memory[0].mean(dim=0).numpy(), atol=1e-5
        )
        np.testing.assert_allclose(
            found.after[row], output.decoded[0].mean(dim=0).numpy(), atol=1e-5
        )


def test_two_models_give_what_each_gives_alone(table: ClipTable) -> None:
    embedders = [VideoEmbedder(tiny_model("lite"), "cpu"), VideoEmbedder(text_only_model(), "cpu")]
    together = embed_rows(table, embedders, batch_size=3)

    assert [embedder.has_video_query for embedder in embedders] == [True, False]
    for embedder, found in zip(embedders, together, strict=True):
        (alone,) = embed_rows(table, [embedder], batch_size=3)
        np.testing.assert_array_equal(found.before, alone.before)
        np.testing.assert_array_equal(found.after, alone.after)
    assert not np.allclose(together[0].after, together[1].after)


def test_models_that_take_other_clips_are_given_theirs(table: ClipTable) -> None:
    others = tiny_model("timesformer")
    embedders = [VideoEmbedder(tiny_model("lite"), "cpu"), VideoEmbedder(others, "cpu")]
    calls: list[tuple[int, int]] = []
    found = embed_rows(
        table, embedders, batch_size=3, progress=lambda done, total: calls.append((done, total))
    )

    (alone,) = embed_rows(table, [embedders[1]], batch_size=3)
    np.testing.assert_array_equal(found[1].after, alone.after)
    assert calls == [(3, 10), (5, 10), (8, 10), (10, 10)]


def test_models_that_take_the_same_clips_share_them(
    table: ClipTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    import msqnet.explain.embeddings as module

    num_read = []
    read = module.read_window

    def counted(*args: object) -> object:
        num_read.append(1)
        return read(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "read_window", counted)
    embedders = [VideoEmbedder(tiny_model("lite"), "cpu"), VideoEmbedder(text_only_model(), "cpu")]
    embed_rows(table, embedders, batch_size=2)

    assert len(num_read) == NUM_ROWS


def test_model_folder_is_named_as_in_other_results(tmp_path: Path) -> None:
    from msqnet.inference.backends import TorchBackend

    folder = tmp_path / "tiny"
    tiny_model("lite").save_pretrained(folder)
    embedder = VideoEmbedder.from_pretrained(folder, device="cpu")

    assert embedder.name == "tiny"
    assert embedder.provenance == TorchBackend.from_pretrained(folder, "cpu").provenance
    assert len(embedder.provenance["weights_digest"]) == 16
