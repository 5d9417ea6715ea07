"""A CLIP or SigLIP without training: what its scores depend on, with random weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from msqnet.config import InferenceOptions, SegmentConfig
from msqnet.errors import ConfigError
from msqnet.inference.predictor import Predictor, load_backend
from msqnet.prompts import ENSEMBLES, NO_ACTION, contrast_texts
from tests.fixtures.models import write_clip_folder
from tests.fixtures.text_checkpoints import write_siglip_folder
from tests.unit.inference.brightness import BLACK, WHITE, write_video

if TYPE_CHECKING:
    from pathlib import Path

    from msqnet.inference.backends import ClipOutputs

ROUNDING = 1e-5
NUM_FRAMES = 8


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("training-free")
    return {
        "clip": write_clip_folder(folder / "clip", max_num_tokens=77),
        "siglip": write_siglip_folder(folder / "siglip", num_tokens=77),
    }


def _outputs(folder: Path, labels: str, *, order: Any = None, **settings: Any) -> ClipOutputs:
    """What a model says of two clips of noise."""
    backend = load_backend(InferenceOptions(model=str(folder), labels=labels, **settings))
    generator = torch.Generator().manual_seed(0)
    shape = (2 * NUM_FRAMES, 3, 32, 32)
    frames = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator).numpy()
    features = backend.frame_features(frames)["image"].unflatten(0, (2, NUM_FRAMES))
    order = range(NUM_FRAMES) if order is None else order
    return backend.clip_outputs({"image": features[:, list(order)]}, None)


@pytest.mark.parametrize(
    ("kind", "contrast"), [("siglip", None), ("siglip", "default"), ("clip", "default")]
)
def test_score_of_a_label_does_not_depend_on_the_others(
    folders: dict[str, Path], kind: str, contrast: str | None
) -> None:
    alone, among, last = (
        _outputs(folders[kind], labels, contrast=contrast)
        for labels in ("digging", "digging|two cats|resting", "resting|digging")
    )
    for other, column in ((among, 0), (last, 1)):
        np.testing.assert_allclose(other.scores[:, column], alone.scores[:, 0], atol=ROUNDING)
        assert other.frame_logits is not None
        assert alone.frame_logits is not None
        np.testing.assert_allclose(
            other.frame_logits[..., column], alone.frame_logits[..., 0], atol=1e-3
        )
    assert among.scores.std(axis=1).min() > ROUNDING


def test_clip_without_contrast_compares_what_is_asked_for(folders: dict[str, Path]) -> None:
    two, three = (_outputs(folders["clip"], text) for text in ("dig|rest", "dig|rest|walk"))
    np.testing.assert_allclose(two.scores.sum(axis=1), 1, atol=ROUNDING)
    assert (three.scores[:, 0] < two.scores[:, 0]).all()
    with pytest.raises(ConfigError, match=r"two or more.*--contrast default"):
        _outputs(folders["clip"], "dig")


@pytest.mark.parametrize("contrast", [None, "an empty scene|a wall"])
def test_window_is_the_mean_of_its_frames_in_any_order(
    folders: dict[str, Path], contrast: str | None
) -> None:
    found = _outputs(folders["siglip"], "dig|rest", contrast=contrast)
    assert found.frame_logits is not None
    assert found.frame_logits.shape == (2, NUM_FRAMES, 2)
    if contrast is None:
        mean = found.frame_logits.mean(axis=1)
        np.testing.assert_allclose(found.scores, 1 / (1 + np.exp(-mean)), atol=1e-4)
    order = np.random.default_rng(0).permutation(NUM_FRAMES)
    mixed = _outputs(folders["siglip"], "dig|rest", contrast=contrast, order=order)
    np.testing.assert_allclose(mixed.scores, found.scores, atol=ROUNDING)
    np.testing.assert_allclose(mixed.frame_logits, found.frame_logits[:, order], atol=1e-3)


def test_more_contrast_lowers_every_score(folders: dict[str, Path]) -> None:
    few, more = (
        _outputs(folders["siglip"], "dig|rest", contrast=text).scores
        for text in ("an empty scene", "an empty scene|a wall")
    )
    assert (more < few).all()
    assert contrast_texts("default") == NO_ACTION
    assert contrast_texts(None) == ()


def test_prompts_are_those_of_the_kind_of_actor(folders: dict[str, Path]) -> None:
    styles = (None, *ENSEMBLES, "none", "a photo of a dog {}")
    scores = [_outputs(folders["siglip"], "dig", prompts=style).scores for style in styles]
    np.testing.assert_array_equal(scores[0], scores[1])  # the default
    differences = [
        float(np.abs(one - other).max())
        for number, one in enumerate(scores[1:])
        for other in scores[number + 2 :]
    ]
    assert min(differences) > 1e-6
    with pytest.raises(ConfigError, match="found 'horses', expected none, templates, people, an"):
        _outputs(folders["siglip"], "dig", prompts="horses")


@pytest.mark.parametrize("setting", [{"prompts": "people"}, {"contrast": "default"}])
def test_settings_of_open_models_are_refused_by_others(setting: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match=r"only for a CLIP or SigLIP.*--model siglip2-base"):
        load_backend(InferenceOptions(**setting))


def test_words_give_segments_that_end_where_frames_change(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    video = write_video(tmp_path / "a.mov", [BLACK] * 20 + [WHITE] * 20)
    options = InferenceOptions(model=str(folders["siglip"]), labels="dig", window_seconds=0.8)
    predictor = Predictor.from_pretrained(options=options)
    scores = predictor(video).timeline.scores[:, 0]
    first, last = float(scores[0]), float(scores[-1])
    assert abs(first - last) > 1e-3
    between = SegmentConfig(threshold=(first + last) / 2)
    found = Predictor(predictor.backend, options, between)(video)
    (segment,) = found.segments
    border = segment.end_seconds if first > last else segment.start_seconds
    switch = found.duration_seconds / 2
    assert border == pytest.approx(switch, abs=0.8 / NUM_FRAMES + 0.01)
