from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pytest

from msqnet import Predictor
from msqnet.cli import main as cli
from msqnet.config import InferenceOptions
from msqnet.demo import demo_clips
from msqnet.errors import CheckpointError, ConfigError, VocabularyError
from msqnet.inference import predictor
from msqnet.labels import LabelSet
from msqnet.models import closed_labels, model_folder

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        (("Walking",), ("walking",)),
        (("face washing", "FACE-WASHING", "facewashing"), ("face_washing",)),
        (("Lie", "walking"), ("Lie", "walking")),  # as it stands, though "lie" is there too
    ],
)
def test_spelling_is_forgiven(typed: tuple[str, ...], meant: tuple[str, ...]) -> None:
    own = LabelSet(("face_washing", "walking", "Lie", "lie"))
    assert own.as_spelled(typed) == meant


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("LIE", "LIE; nearest are .*ie; known are face_washing, walking, Lie, lie"),  # which one?
        ("wlking", "wlking; nearest are walking; known are face_washing"),
        ("xyz", "xyz; known are"),
        ("walking, Face washing", "Face washing; labels are joined by '|'; "),
        ("walking,xyz", "walking,xyz; (nearest are .*; )?known are"),
    ],
)
def test_unknown_label_gets_the_nearest_and_the_list(typed: str, words: str) -> None:
    own = LabelSet(("face_washing", "walking", "Lie", "lie"))
    with pytest.raises(VocabularyError, match=words):
        own.as_spelled((typed,))


def test_labels_of_a_model_are_known_without_loading_it(tmp_path: Path) -> None:
    shipped = closed_labels(model_folder())
    assert shipped is not None
    assert "face_washing" in shipped

    for content, expected in (
        ('{"labels": ["a"], "head": "group_wise"}', ("a",)),
        ('{"labels": ["a"], "head": "cosine"}', None),
    ):
        (tmp_path / "config.json").write_text(content)
        found = closed_labels(tmp_path)
        assert (None if found is None else found.names) == expected
    (tmp_path / "config.json").unlink()
    for content, expected in (
        ('{"labels": ["a"], "is_open": false}', ("a",)),
        ('{"labels": ["a"], "is_open": true}', None),
    ):
        (tmp_path / "manifest.json").write_text(content)
        found = closed_labels(tmp_path)
        assert (None if found is None else found.names) == expected
    (tmp_path / "manifest.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"manifest.json: found no list 'labels'"):
        closed_labels(tmp_path)


def test_model_is_asked_for_its_own_spelling() -> None:
    found = Predictor.from_pretrained(labels=("Face washing", "WALKING"))
    assert found.backend.labels.names == ("face_washing", "walking")


def test_unknown_label_stops_before_weights_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(predictor, "_backend_of_graphs", _unexpected)
    with pytest.raises(VocabularyError, match="nearest are walking"):
        Predictor.from_pretrained(labels=("wlking",))


def _unexpected(*_: Any) -> None:
    raise AssertionError("the model was loaded")


@pytest.mark.parametrize("runtime", ["auto", "torch"])
def test_choice_of_no_label_is_an_error(runtime: Any) -> None:
    for labels in ("|", (), []):
        with pytest.raises(ConfigError, match="found no label"):
            Predictor.from_pretrained(options=InferenceOptions(labels=labels, runtime=runtime))


def test_explain_names_unknown_labels_before_it_loads(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "msqnet.explain.explainer", None)
    clip = str(demo_clips()[0].path)

    assert cli.main(["explain", clip, "--out", str(tmp_path), "--labels", "wlking"]) == 2
    assert "nearest are walking" in capsys.readouterr().err
