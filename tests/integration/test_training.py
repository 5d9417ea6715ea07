"""Training from videos to a model that predicts: repeatable, and the same after a kill."""

from __future__ import annotations

import os
import pickle
import shutil
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from msqnet.data.dataset import ClipDataset
from msqnet.inference.predictor import Predictor
from msqnet.model.image_encoders import ClipImageEncoder
from msqnet.model.pretrained import MSQNet
from msqnet.model.video_encoders.timesformer import TimesformerVideoEncoder
from msqnet.training.fit import fit
from tests.fixtures.models import NUM_FRAMES, write_clip_folder, write_timesformer_folder
from tests.fixtures.training_runs import EPOCHS, timesformer_run

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from msqnet.clips import Clip
    from msqnet.training.training_run import Run

# Stands for `kill -9` at a chosen moment: the process dies in the middle of its second epoch.
KILLED_RUN = """
import os, pickle, signal, sys
from pathlib import Path
import torch
from msqnet.data.dataset import ClipDataset
from msqnet.training.fit import fit

torch.set_num_threads(1)
run = pickle.loads(Path(sys.argv[1]).read_bytes())
read = ClipDataset.clip
num_read_in_epoch = 0

def clip(self, index, epoch):
    global num_read_in_epoch
    if self.augmentation is not None and epoch == 1:
        num_read_in_epoch += 1
        if num_read_in_epoch == 4:
            os.kill(os.getpid(), signal.SIGKILL)
    return read(self, index, epoch)

ClipDataset.clip = clip
fit(run, report=lambda line: None)
"""


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Videos and pretrained encoders."""
    folder = tmp_path_factory.mktemp("sources")
    write_timesformer_folder(folder / "timesformer")
    write_clip_folder(folder / "clip")
    return folder


def finish(run: Run, *, resume: bool = False) -> dict[str, dict[str, Tensor]]:
    """Run to the end on one thread; weights of the best and of the last epoch."""
    torch.set_num_threads(1)
    fit(run, report=lambda _line: None, resume=resume)
    names = ("best", "last")
    return {name: MSQNet.from_pretrained(run.folder / name).state_dict() for name in names}


def assert_same_bits(
    found: dict[str, dict[str, Tensor]], expected: dict[str, dict[str, Tensor]]
) -> None:
    for epoch, weights in expected.items():
        assert found[epoch].keys() == weights.keys()
        for name, tensor in weights.items():
            assert torch.equal(found[epoch][name], tensor), f"{epoch}: {name}"


@pytest.fixture(scope="module")
def unbroken(
    sources: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Run, dict[str, dict[str, Tensor]]]:
    run = timesformer_run(sources, tmp_path_factory.mktemp("unbroken"))
    return run, finish(run)


def test_trained_model_predicts_videos(
    sources: Path, unbroken: tuple[Run, dict[str, dict[str, Tensor]]]
) -> None:
    predictor = Predictor.from_pretrained(unbroken[0].folder / "best", device="cpu")
    result = predictor(sources / "videos" / "0.mov")
    assert tuple(result.labels) == ("bright", "dark")
    assert result.duration_seconds == pytest.approx(0.8)
    assert np.isfinite(result.timeline.scores).all()


def test_training_moves_what_is_trained_and_nothing_else(
    sources: Path, unbroken: tuple[Run, dict[str, dict[str, Tensor]]]
) -> None:
    after = unbroken[1]["last"]
    frozen = ClipImageEncoder.from_pretrained(sources / "clip").state_dict()
    for name, tensor in frozen.items():
        assert torch.equal(after[f"image_encoder.{name}"], tensor), name
    before = TimesformerVideoEncoder.from_pretrained(sources / "timesformer", NUM_FRAMES)
    for name, parameter in before.named_parameters():
        assert not torch.equal(after[f"video_encoder.{name}"], parameter), name


def test_same_seed_trains_the_same_weights_to_the_bit(
    sources: Path, tmp_path: Path, unbroken: tuple[Run, dict[str, dict[str, Tensor]]]
) -> None:
    assert_same_bits(finish(timesformer_run(sources, tmp_path)), unbroken[1])


def test_half_written_checkpoint_is_passed_over(
    sources: Path, tmp_path: Path, unbroken: tuple[Run, dict[str, dict[str, Tensor]]]
) -> None:
    run = timesformer_run(sources, tmp_path)
    checkpoints = unbroken[0].folder / "checkpoints"
    steps = [int(path.name.rpartition("-")[2]) for path in checkpoints.glob("checkpoint-*")]
    shutil.copytree(checkpoints, tmp_path / "checkpoints")
    # The last epoch's checkpoint as a kill before its end leaves it.
    (tmp_path / "checkpoints" / f"checkpoint-{max(steps)}" / "trainer_state.json").unlink()
    assert_same_bits(finish(run, resume=True), unbroken[1])


@pytest.mark.slow
def test_killed_run_resumes_to_the_weights_of_an_unbroken_one(
    sources: Path, tmp_path: Path, unbroken: tuple[Run, dict[str, dict[str, Tensor]]]
) -> None:
    run = timesformer_run(sources, tmp_path / "run")
    (tmp_path / "run.pickle").write_bytes(pickle.dumps(run))
    (tmp_path / "killed.py").write_text(KILLED_RUN)
    completed = subprocess.run(
        [sys.executable, "killed.py", "run.pickle"],
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        check=False,
        timeout=240,
    )
    assert completed.returncode == -signal.SIGKILL, completed.stderr.decode()
    names = [path.name for path in (run.folder / "checkpoints").glob("checkpoint-*")]
    assert len(names) == 1
    assert not (run.folder / "best").exists()

    decoded: list[int] = []
    read = ClipDataset.clip

    def watched(self: ClipDataset, index: int, epoch: int) -> Clip:
        if self.augmentation is not None:
            decoded.append(epoch)
        return read(self, index, epoch)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ClipDataset, "clip", watched)
        weights = finish(run, resume=True)
    assert set(decoded) == set(range(1, EPOCHS))
    assert_same_bits(weights, unbroken[1])
