"""Files of features under conditions that say nothing of what is in them."""

from __future__ import annotations

import resource
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from msqnet.errors import ConfigError
from msqnet.training import feature_files
from msqnet.training.feature_files import FeatureFiles
from msqnet.training.features import FrozenPart
from tests.unit.inference.test_backends import tiny_model
from tests.unit.inference.test_shared_frames import transformer_model

if TYPE_CHECKING:
    from collections.abc import Iterator

NUM_FILES = 200


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    files = FeatureFiles(tmp_path)
    for number in range(NUM_FILES):
        files.write({f"key-{number}": {"x": np.full(3, number, np.float16)}})
    return tmp_path


@pytest.fixture
def few_descriptors() -> Iterator[None]:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    num_open = len(list(Path("/proc/self/fd").iterdir()))
    resource.setrlimit(resource.RLIMIT_NOFILE, (num_open + 100, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)


@pytest.mark.usefixtures("few_descriptors")
def test_more_files_than_descriptors_are_read_and_none_is_lost(folder: Path) -> None:
    files = FeatureFiles(folder)
    keys = [f"key-{number}" for number in range(NUM_FILES)]
    files.check(keys)
    assert files.read(keys, "x")[:, 0].tolist() == list(range(NUM_FILES))
    files.write({"one more": {"x": np.zeros(3, np.float16)}})
    assert "one more" in files
    assert len(list(folder.glob("*.safetensors"))) == NUM_FILES + 1


def test_a_file_that_cannot_be_read_is_named_and_kept(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_args: object, **_settings: object) -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(feature_files, "safe_open", refuse)
    with pytest.raises(ConfigError, match=r"cannot be read \(Too many open files\)"):
        FeatureFiles(folder)
    assert len(list(folder.glob("*.safetensors"))) == NUM_FILES


def test_settings_outside_of_the_encoders_make_other_features() -> None:
    frames = transformer_model("timesformer")
    digest = FrozenPart(frames, "decoder").digest()
    assert FrozenPart(frames, "decoder").digest() == digest
    for name, value in (("frame_pooling", "flat"), ("embedding", "projected")):
        before = getattr(frames.config, name)
        setattr(frames.config, name, value)
        assert FrozenPart(frames, "decoder").digest() != digest
        setattr(frames.config, name, before)


def test_a_model_without_a_video_query_takes_features_that_have_one() -> None:
    import torch

    model = tiny_model(video_query="none", direct_path=False).eval()
    pixels = torch.randint(0, 256, (2, 4, 3, 64, 64), dtype=torch.uint8)
    stored = FrozenPart(model, "decoder")(pixels, pixels)
    assert "video_query" in stored
    with torch.no_grad():
        found = model(**{name: values.float() for name, values in stored.items()}).logits
        expected = model(pixels=pixels, motion_crops=pixels).logits
    torch.testing.assert_close(found, expected, atol=0.02, rtol=0)
