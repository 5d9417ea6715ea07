from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from msqnet.cli.main import main
from msqnet.model.out_of_distribution import TrainingReference
from tests.fixtures.models import NUM_FRAMES, tiny_model
from tests.unit.inference.brightness import write_video

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a clip of 4 s and two models."""
    folder = tmp_path_factory.mktemp("explain")
    write_video(folder / "clip.mov", [40 + 5 * (frame % 30) for frame in range(40)])
    tiny_model("lite").save_pretrained(folder / "full")
    tiny_model("lite", seed=1).save_pretrained(folder / "text")
    return folder


def test_sheet_video_and_arrays_are_written(
    scene: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["explain", str(scene / "clip.mov"), "--model", str(scene / "full")]
    arguments += ["--labels", "walk|sleep", "--out", str(tmp_path)]
    assert main(arguments) == 0
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"clip.mov.heat.png", "clip.mov.heat.npz", "clip.mov.heat.mp4"}
    with np.load(tmp_path / "clip.mov.heat.npz") as arrays:
        assert arrays["labels"].tolist() == ["walk", "sleep"]
        assert arrays["maps"].shape == (1, 2, NUM_FRAMES, 48, 64)
        scores = arrays["scores"][0].tolist()
    out = capsys.readouterr().out
    assert f"walk {scores[0]:.2f}, sleep {scores[1]:.2f}" in out
    assert main(arguments) == 2
    assert "exists; --overwrite replaces it" in capsys.readouterr().err
    assert main([*arguments, "--overwrite"]) == 0


def test_decoder_that_has_no_part_in_the_scores_explains_none(
    scene: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny_model("lite", query_share=1.0).save_pretrained(tmp_path / "direct")
    arguments = ["explain", str(scene / "clip.mov"), "--model", str(tmp_path / "direct")]
    arguments += ["--labels", "walk", "--heat_video", "false", "--out", str(tmp_path / "maps")]
    assert main([*arguments, "--paths", "decoder"]) == 2
    assert "the direct path gives all scores" in " ".join(capsys.readouterr().err.split())
    assert main(arguments) == 0


def test_several_models_have_a_row_each_and_see_the_same_frames(
    scene: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    models = ["--model", str(scene / "full"), str(scene / "text")]
    arguments = ["explain", str(scene / "clip.mov"), *models, "--out", str(tmp_path)]
    assert main([*arguments, "--labels", "sit", "--heat_video", "false"]) == 0
    assert not (tmp_path / "clip.mov.heat.mp4").exists()
    with np.load(tmp_path / "clip.mov.heat.npz") as arrays:
        assert arrays["maps"].shape[:3] == (2, 1, NUM_FRAMES)
        assert not np.allclose(*arrays["maps"])
    out = capsys.readouterr().out
    assert str(scene / "text") in out.replace("\n", "")


def test_without_labels_the_highest_are_explained_in_their_best_window(
    scene: Path, tmp_path: Path
) -> None:
    arguments = ["explain", str(scene / "clip.mov"), "--model", str(scene / "full")]
    arguments += ["--window_seconds", "1", "--heat_video", "false"]
    assert main([*arguments, "--out", str(tmp_path / "all")]) == 0
    with np.load(tmp_path / "all" / "clip.mov.heat.npz") as arrays:
        labels, best = "|".join(arrays["labels"]), arrays["scores"].mean()
    assert len(labels.split("|")) == 3
    for start in (0.0, 1.0, 2.0):
        stretch = ["--start_seconds", str(start), "--end_seconds", str(start + 1)]
        out = ["--out", str(tmp_path / str(start)), "--labels", labels]
        assert main([*arguments, *stretch, *out]) == 0
        with np.load(tmp_path / str(start) / "clip.mov.heat.npz") as arrays:
            assert arrays["scores"].mean() <= best + 1e-6


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--labels", "swim"], "unknown label"),
        (["--labels", "sit", "--columns", "0"], "columns 0: expected at least 1"),
        (["--labels", "sit", "--start_seconds", "7"], "no window has its middle from 7 to inf s"),
    ],
)
def test_what_cannot_be_done_is_said_and_nothing_is_written(
    scene: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    extra: list[str],
    message: str,
) -> None:
    arguments = ["explain", str(scene / "clip.mov"), "--model", str(scene / "full"), *extra]
    assert main([*arguments, "--out", str(tmp_path)]) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_window_unlike_the_training_windows_is_named(
    scene: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tmp_path / "model"
    tiny = tiny_model("lite")
    tiny.save_pretrained(model)
    width = tiny.config.width
    arguments = ["explain", str(scene / "clip.mov"), "--model", str(model), "--heat_video", "false"]
    for limit, is_named in ((2.1, False), (-0.1, True)):
        TrainingReference(
            np.zeros(width, np.float32), np.eye(1, width, dtype=np.float32), np.ones(1), limit
        ).save(model)
        assert main([*arguments, "--out", str(tmp_path / str(limit))]) == 0
        out = capsys.readouterr().out.replace("\n", " ")
        assert ("unlike the training videos" in out) == is_named
