"""Embeddings of rows, their panels and files."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from msqnet.clips import ClipBatch
from msqnet.config import EmbeddingMapConfig
from msqnet.data.dataset import ClipDataset
from msqnet.errors import ConfigError, DatasetError
from msqnet.explain.embedding_maps import MappedRows, map_embeddings
from msqnet.explain.embeddings import EmbeddingPanels, Panel, VideoEmbedder, embed_rows, make_panels
from msqnet.labels import LabelSet
from tests.fixtures.models import LABELS, WIDTH, tiny_model
from tests.fixtures.tables import write_brightness_table
from tests.unit.explain.test_embedding_maps import NAMES, clusters, table_of

if TYPE_CHECKING:
    from pathlib import Path

    from msqnet.data.records import ClipTable
    from msqnet.model.pretrained import MSQNet


NUM_ROWS = 5
NUM_PANEL_ROWS = 12


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
        clip = ClipBatch.stack([dataset.clip(row, 0)])
        with torch.inference_mode():
            output = model(pixels=clip.pixels, motion_crops=clip.motion_crops)
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
    import msqnet.data.dataset as module

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
    from msqnet.inference.torch_backends import TorchBackend

    folder = tmp_path / "tiny"
    tiny_model("lite").save_pretrained(folder)
    embedder = VideoEmbedder.from_pretrained(folder, device="cpu")

    assert embedder.name == "tiny"
    assert embedder.provenance == TorchBackend.from_pretrained(folder, "cpu").provenance
    assert len(embedder.provenance["weights_digest"]) == 16


@pytest.fixture
def panel_table(tmp_path: Path) -> ClipTable:
    return write_brightness_table(tmp_path, NUM_PANEL_ROWS)


CONFIG = EmbeddingMapConfig(num_resamples=50)


def with_video_query(task: str = "multi_label") -> VideoEmbedder:
    return VideoEmbedder(tiny_model("lite", task=task), "cpu", {"name": "full"})


def text_only(task: str = "multi_label") -> VideoEmbedder:
    model = tiny_model("lite", video_query="none", direct_path=False, task=task)
    return VideoEmbedder(model, "cpu", {"name": "text"})


def clustered_panels(*names: str, spreads: tuple[float, ...] = (6.0, 6.0, 0.1)) -> EmbeddingPanels:
    """Panels of 36 rows around three centres; a row without a label and one with two come first."""
    labels = [(NAMES[label],) for label in clusters(0.1)[1]]
    labels[:2] = [(), ("sit", "rare")]
    table = table_of(*labels)
    rows = MappedRows.of(table)
    panels = []
    for name, spread in zip(names, spreads, strict=False):
        embeddings = clusters(spread, seed=5)[0].astype(np.float32)
        mapped = map_embeddings(embeddings, rows, CONFIG, single_label=False)
        panels.append(Panel(name, "made up", {"name": "none"}, embeddings, mapped))
    return EmbeddingPanels(table, rows, tuple(panels), CONFIG, single_label=False)


def test_both_models_give_three_panels_in_the_order_of_the_paper(panel_table: ClipTable) -> None:
    found = make_panels(panel_table, with_video_query(), text_only(), CONFIG, batch_size=4)

    assert [panel.name for panel in found.panels] == [
        "before",
        "text_queries",
        "multi_modal_queries",
    ]
    assert [panel.model["name"] for panel in found.panels] == ["full", "text", "full"]
    assert {panel.embeddings.shape for panel in found.panels} == {(NUM_PANEL_ROWS, WIDTH)}


@pytest.mark.parametrize(
    ("embedder", "name"),
    [(with_video_query, "multi_modal_queries"), (text_only, "text_queries")],
)
def test_one_model_gives_two_panels_named_by_its_queries(
    panel_table: ClipTable, embedder: type[VideoEmbedder], name: str
) -> None:
    found = make_panels(panel_table, embedder(), None, CONFIG, batch_size=4)  # type: ignore[call-arg]

    assert [panel.name for panel in found.panels] == ["before", name]


def test_text_model_whose_queries_know_the_video_is_refused(panel_table: ClipTable) -> None:
    with pytest.raises(ConfigError, match=r"text_model full: its queries know of the video"):
        make_panels(panel_table, with_video_query(), with_video_query(), CONFIG, batch_size=4)


def test_model_beside_a_text_model_needs_a_video_query(panel_table: ClipTable) -> None:
    with pytest.raises(ConfigError, match=r"model text: its queries know nothing of the video"):
        make_panels(panel_table, text_only(), text_only(), CONFIG, batch_size=4)


def test_models_of_two_tasks_are_refused(panel_table: ClipTable) -> None:
    with pytest.raises(ConfigError, match="with the same --task"):
        make_panels(
            panel_table, with_video_query("single_label"), text_only(), CONFIG, batch_size=4
        )


def test_too_few_rows_are_refused_before_anything_is_decoded(panel_table: ClipTable) -> None:
    calls: list[int] = []
    with pytest.raises(DatasetError, match="expected at least"):
        make_panels(
            panel_table.take(range(3)),
            with_video_query(),
            None,
            CONFIG,
            batch_size=4,
            progress=lambda done, total: calls.append(done),
        )
    assert not calls


def test_one_label_a_row_is_measured_as_such(panel_table: ClipTable) -> None:
    found = make_panels(panel_table, with_video_query("single_label"), None, CONFIG, batch_size=4)
    definition = found.to_dict()["definitions"]["neighbour_accuracy"]

    assert found.single_label
    assert "most votes" in definition
    assert found.panels[0].map.neighbours.chance == 1 / 2


def test_differences_are_between_every_panel_and_those_before_it() -> None:
    found = clustered_panels("before", "text_queries", "multi_modal_queries")
    pairs = [(item["panel"], item["minus"]) for item in found.differences]
    accuracy = {panel.name: panel.map.neighbours.accuracy for panel in found.panels}

    assert pairs == [
        ("text_queries", "before"),
        ("multi_modal_queries", "before"),
        ("multi_modal_queries", "text_queries"),
    ]
    assert found.differences[0]["difference"] == 0
    assert found.differences[1]["difference"] == pytest.approx(
        accuracy["multi_modal_queries"] - accuracy["before"]
    )
    assert found.differences[1]["low"] > 0


def test_numbers_are_strict_json_with_their_definitions(tmp_path: Path) -> None:
    found = clustered_panels("before", "text_queries")
    _, path = found.write(tmp_path / "new")
    document = json.loads(path.read_text(), parse_constant=pytest.fail)

    assert document == found.to_dict()
    assert document["num_rows"] == 36
    assert document["settings"] == {
        "perplexity": None,
        "num_neighbours": 5,
        "num_resamples": 50,
        "seed": 0,
    }
    panel = document["panels"][0]
    assert panel["model"] == {"name": "none"}
    assert panel["label_accuracy"]["rare"] is None  # one row: no vote could tell it
    assert panel["num_labels"] == 3
    assert set(document["definitions"]) >= {"silhouette", "neighbour_accuracy", "shown_label"}


def test_rows_file_holds_labels_places_and_embeddings(tmp_path: Path) -> None:
    found = clustered_panels("before", "text_queries")
    path, _ = found.write(tmp_path)
    rows = pq.read_table(path)

    assert rows["row"].to_pylist() == list(range(2, 38))
    assert rows["labels"].to_pylist()[:3] == ["", "sit|rare", "sit"]
    assert rows["shown_label"].to_pylist()[:3] == ["", "rare", "sit"]
    assert rows["group"].to_pylist()[0] == "group 0"
    assert rows["start_seconds"].to_pylist()[0] is None
    for panel in found.panels:
        np.testing.assert_array_equal(np.stack(rows[panel.name].to_numpy()), panel.embeddings)
        np.testing.assert_array_equal(rows[f"{panel.name}_x"], panel.map.coordinates[:, 0])
        np.testing.assert_array_equal(rows[f"{panel.name}_y"], panel.map.coordinates[:, 1])
    about = json.loads(rows.schema.metadata[b"msqnet"])
    assert about["settings"]["seed"] == 0
