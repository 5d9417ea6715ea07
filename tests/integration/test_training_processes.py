"""One model trained by two processes: as by one, and what happens when one of them is killed."""

from __future__ import annotations

import json
import os
import pickle
import re
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
import torch

from msqnet.model.pretrained import MSQNet
from msqnet.training.fit import fit
from tests.fixtures.models import write_clip_folder, write_timesformer_folder
from tests.fixtures.training_runs import EPOCHS, timesformer_run

if TYPE_CHECKING:
    from pathlib import Path

    from msqnet.training.training_run import Run

# 9 rows to train on and 3 to validate: neither is a whole number of batches for two processes.
NUM_VIDEOS = 12
GLOBAL_BATCH = 4

PROGRAM = """
import os, pickle, sys
from pathlib import Path
import torch
from msqnet.data.dataset import ClipDataset
from msqnet.training.fit import fit

torch.set_num_threads(1)
run = pickle.loads(Path(sys.argv[1]).read_bytes())
read = ClipDataset.clip

def clip(self, index, epoch):
    if self.augmentation is not None and epoch == 1 and os.environ["RANK"] == sys.argv[2]:
        os.kill(os.getpid(), 9)
    return read(self, index, epoch)

ClipDataset.clip = clip
fit(run, report=print, resume=True)
"""


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Videos and pretrained encoders."""
    folder = tmp_path_factory.mktemp("sources")
    write_timesformer_folder(folder / "timesformer")
    write_clip_folder(folder / "clip")
    return folder


def short_run(sources: Path, folder: Path, batch_size: int, **train: Any) -> Run:
    return timesformer_run(
        sources,
        folder,
        NUM_VIDEOS,
        dropout=0.0,
        batch_size=batch_size,
        gradient_checkpointing=False,
        **train,
    )


@pytest.fixture(scope="module")
def by_one(sources: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run of one process that sees whole batches."""
    run = short_run(sources, tmp_path_factory.mktemp("one"), GLOBAL_BATCH)
    torch.set_num_threads(1)
    fit(run, report=lambda _line: None)
    return run


def start_two(run: Run, folder: Path, killed_rank: int = -1) -> subprocess.CompletedProcess[str]:
    (folder / "run.pickle").write_bytes(pickle.dumps(run))
    (folder / "program.py").write_text(PROGRAM)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    return subprocess.run(
        [*command, "program.py", "run.pickle", str(killed_rank)],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )


def log_of(run: Run) -> dict[str, list[float]]:
    """What the Trainer logged at the end of each epoch."""
    folders = (run.folder / "checkpoints").glob("checkpoint-*")
    last = max(folders, key=lambda path: int(path.name.rpartition("-")[2]))
    history = json.loads((last / "trainer_state.json").read_text())["log_history"]
    return {
        name: [entry[name] for entry in history if name in entry]
        for name in ("loss", "grad_norm", "eval_loss", "eval_macro_map")
    }


def assert_same_training(found: Run, expected: Run) -> None:
    log, expected_log = log_of(found), log_of(expected)
    for name, values in expected_log.items():
        assert len(values) == EPOCHS
        if name == "eval_loss":
            continue  # the mean over batches, which are cut in another way
        assert log[name] == pytest.approx(values, abs=1e-5), name
    weights = MSQNet.from_pretrained(found.folder / "last").state_dict()
    for name, tensor in MSQNet.from_pretrained(expected.folder / "last").state_dict().items():
        # A bias of keys changes no attention: its gradient is rounding alone, which Adam scales up.
        if not name.endswith("key.bias"):
            assert torch.allclose(weights[name], tensor, atol=1e-4), name
    figures, expected_figures = (
        json.loads((run.folder / "validation.json").read_text()) for run in (found, expected)
    )
    assert figures["num_rows"] == expected_figures["num_rows"] == 3
    assert figures["label_ap"] == expected_figures["label_ap"]


def test_two_processes_train_as_one_and_the_first_alone_writes_and_talks(
    sources: Path, tmp_path: Path, by_one: Run
) -> None:
    run = short_run(sources, tmp_path / "run", GLOBAL_BATCH // 2)
    done = start_two(run, tmp_path)
    assert done.returncode == 0, done.stderr
    assert len(re.findall("9 rows to train on, 3 to validate", done.stdout)) == 1
    assert_same_training(run, by_one)


@pytest.mark.slow
def test_two_processes_train_the_adapters_of_one(sources: Path, tmp_path: Path) -> None:
    torch.set_num_threads(1)
    lora: dict[str, Any] = {"finetune": "lora", "layer_decay": 0.5}
    alone = short_run(sources, tmp_path / "alone", GLOBAL_BATCH, **lora)
    fit(alone, report=lambda _line: None)
    run = short_run(sources, tmp_path / "run", GLOBAL_BATCH // 2, **lora)
    completed = start_two(run, tmp_path)
    assert completed.returncode == 0, completed.stderr
    assert_same_training(run, alone)


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_killed_process_ends_the_run_which_then_resumes_to_the_same_result(
    sources: Path, tmp_path: Path, by_one: Run, rank: int
) -> None:
    run = short_run(sources, tmp_path / "run", GLOBAL_BATCH // 2)
    killed = start_two(run, tmp_path, rank)
    assert killed.returncode != 0
    assert f"exitcode  : {-signal.SIGKILL}" in killed.stderr
    assert not (run.folder / "best").exists()
    resumed = start_two(run, tmp_path)
    assert resumed.returncode == 0, resumed.stderr
    assert_same_training(run, by_one)
