"""Words that the shipped model does not know, as commands with and without a terminal."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from msqnet.demo import FOLDER
from msqnet.models.open_models import FETCH_COMMAND, RECOMMENDED
from tests.fixtures.hubs import online_environment, running_hub
from tests.fixtures.models import write_clip_folder
from tests.fixtures.text_checkpoints import write_siglip_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.fixtures.hubs import LocalHub

_WORDS = "dog jumping|walking"
_MOST_SECONDS = 1.0


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[LocalHub]:
    """A Hub that has the recommended model, tiny and random."""
    folder = tmp_path / "hub"
    write_siglip_folder(folder / RECOMMENDED.hub_id, version=2, num_tokens=77)
    with running_hub(folder) as running:
        yield running


@pytest.fixture
def video(tmp_path: Path, write_video: Callable[..., Path]) -> Path:
    (tmp_path / "videos").mkdir()
    return write_video("a.mov").rename(tmp_path / "videos" / "a.mov")


def _run(
    environment: dict[str, str], *arguments: object, program: tuple[str, str] = ("-m", "msqnet")
) -> subprocess.CompletedProcess[str]:
    """Run a command of a script: there is no terminal."""
    return subprocess.run(
        [sys.executable, *program, *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        env=environment,
        timeout=240,
    )


def _run_on_terminal(
    environment: dict[str, str], answer: str, *arguments: object
) -> tuple[int, str]:
    """Run a command on a terminal, and answer what it asks; the exit code and what was shown."""
    terminal, other_side = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "msqnet", *map(str, arguments)],
        stdin=other_side,
        stdout=other_side,
        stderr=other_side,
        env=environment,
    )
    os.close(other_side)
    shown, is_answered = "", False
    with suppress(OSError):  # Linux says so when the other side is closed
        while part := os.read(terminal, 4096):
            shown += part.decode(errors="replace")
            if "[y/N]" in shown and not is_answered:
                is_answered = True
                os.write(terminal, f"{answer}\n".encode())
    os.close(terminal)
    return process.wait(60), shown


def _labels(folder: Path) -> Any:
    return json.loads(next(folder.glob("*.json")).read_text())["labels"]


def test_script_is_told_the_command_and_nothing_is_asked_of_the_hub(
    hub: LocalHub, video: Path, tmp_path: Path
) -> None:
    environment = online_environment(hub.address, tmp_path / "home")
    done = _run(environment, "predict", video, "--labels", "dog jumping|walkings")
    assert done.returncode == 2
    assert (
        "'dog jumping', 'walkings' are no labels of mixed-actors-lite (nearest: wa" in done.stderr
    )
    assert f"fetch 1.5 GB from the Hugging Face Hub; run once: {FETCH_COMMAND}" in done.stderr
    assert hub.requests == []


@pytest.mark.parametrize("options", [("--runtime", "onnxruntime"), ("--precision", "int8")])
def test_options_that_do_not_suit_are_refused_before_anything_is_fetched(
    hub: LocalHub, video: Path, tmp_path: Path, options: tuple[str, str]
) -> None:
    environment = online_environment(hub.address, tmp_path / "home")
    done = _run(environment, "predict", video, "--labels", _WORDS, "--yes", *options)
    assert done.returncode == 2
    assert f"{options[0].removeprefix('--')} '{options[1]}'" in done.stderr
    assert "PyTorch" in done.stderr
    assert hub.requests == []


def test_what_cannot_work_is_refused_before_anything_is_fetched(
    hub: LocalHub, video: Path, tmp_path: Path
) -> None:
    environment = online_environment(hub.address, tmp_path / "home")
    for command, said in (
        (("predict", video, "--model", "siglip2-base"), "say --labels"),
        (("predict", video, "--model", "clip-zero-shot:owner/name"), "say --labels"),
        (("models", "--fetch", "siglip3"), "known are siglip2-base, siglip-base, clip-base"),
        (("models", "--fetch", "mixed-actors-lite"), "known are siglip2-base"),
    ):
        done = _run(environment, *command)
        assert (done.returncode, said in done.stderr) == (2, True), done.stderr
    assert hub.requests == []


def test_terminal_is_asked_and_no_fetches_nothing(
    hub: LocalHub, video: Path, tmp_path: Path
) -> None:
    environment = online_environment(hub.address, tmp_path / "home")
    code, shown = _run_on_terminal(environment, "n", "predict", video, "--labels", _WORDS)
    assert code == 2
    assert "siglip2-base (google/siglip2-base-patch16-224, Apache-2.0) scores all words" in shown
    assert "fetch 1.5 GB from the Hugging Face Hub once? [y/N]" in shown
    assert "nothing was fetched" in shown
    assert hub.requests == []


@pytest.mark.slow
def test_terminal_is_asked_once_and_words_are_scored(
    hub: LocalHub, video: Path, tmp_path: Path
) -> None:
    environment = online_environment(hub.address, tmp_path / "home")
    out = tmp_path / "out"
    command = ("predict", video, "--labels", _WORDS, "--window-seconds", "0.4", "--out", out)
    code, shown = _run_on_terminal(environment, "y", *command)
    assert code == 0, shown
    assert _labels(out) == ["dog jumping", "walking"]

    hub.requests.clear()
    code, shown = _run_on_terminal(environment, "n", *command, "--overwrite")
    assert code == 0, shown
    assert "[y/N]" not in shown
    assert hub.requests == []


@pytest.mark.slow
def test_yes_fetches_without_a_question_and_then_no_network_is_needed(
    hub: LocalHub, closed_port: str, video: Path, tmp_path: Path
) -> None:
    options = ("--labels", "dog jumping", "--window-seconds", "0.4")
    online = online_environment(hub.address, tmp_path / "home")
    done = _run(online, "predict", video, *options, "--out", tmp_path / "a", "--yes")
    assert done.returncode == 0, done.stderr
    assert _labels(tmp_path / "a") == ["dog jumping"]

    offline = online_environment(closed_port, tmp_path / "home")
    batch = ("batch", "run", "--inputs", video.parent, "--processes", "2")
    done = _run(offline, *batch, *options, "--out", tmp_path / "b")
    assert done.returncode == 0, done.stderr
    paths = [tmp_path / name / "a.mov.json" for name in "ab"]
    scores = [np.asarray(json.loads(path.read_text())["timeline"]["scores"]) for path in paths]
    np.testing.assert_allclose(scores[0], scores[1], atol=1e-6)
    done = _run(offline, "report", tmp_path / "a")
    assert done.returncode == 0, done.stderr
    assert "dog jumping" in (tmp_path / "a" / "report.html").read_text()


@pytest.mark.slow
def test_fetch_command_makes_words_work(hub: LocalHub, video: Path, tmp_path: Path) -> None:
    environment = online_environment(hub.address, tmp_path / "home")
    done = _run(environment, *FETCH_COMMAND.split()[1:])
    assert done.returncode == 0, done.stderr
    assert str(tmp_path / "home") in done.stdout
    done = _run(environment, "predict", video, "--labels", "digging", "--window-seconds", "0.4")
    assert done.returncode == 0, done.stderr
    assert "digging" in done.stdout


@pytest.mark.slow
def test_folder_is_taken_without_a_prefix_or_a_network(
    closed_port: str, video: Path, tmp_path: Path
) -> None:
    environment = online_environment(closed_port, tmp_path / "home")
    siglip = write_siglip_folder(tmp_path / "siglip", num_tokens=77)
    clip = write_clip_folder(tmp_path / "clip", max_num_tokens=77)
    for folder, words in ((siglip, "digging"), (clip, "digging|resting")):
        options = ("--model", folder, "--labels", words, "--window-seconds", "0.4")
        done = _run(environment, "predict", video, *options)
        assert done.returncode == 0, done.stderr
        assert ("--contrast default" in done.stdout) == (words == "digging")
    done = _run(environment, "predict", video, "--model", siglip)
    assert (done.returncode, "say --labels" in done.stderr) == (2, True)


def test_closed_model_that_was_chosen_names_words_near_matches_and_the_open_model(
    closed_port: str, video: Path, tmp_path: Path
) -> None:
    environment = online_environment(closed_port, tmp_path / "home")
    options = ("--model", "mixed-actors-lite", "--labels", "dog jumping|walkings")
    done = _run(environment, "predict", video, *options)
    assert done.returncode == 2
    for words in ("dog jumping, walkings;", "nearest are walking", "--model siglip2-base"):
        assert words in done.stderr


def _commands(video: Path, folder: Path) -> list[tuple[object, ...]]:
    id_, open_ = ("--model", "owner/name"), ("--labels", _WORDS, "--yes")
    table = folder / "clips.csv"
    table.write_text(f"path,labels,split\n{video},a,train\n{video},b,test\n")
    train = ("train", "--data", table, "--out", folder / "run", "--train.validation-share", "0")
    kinds = ("timesformer", "videomae", "vit", "vjepa2", "xclip")
    return [
        ("predict", video, *open_),
        ("predict", video, *id_),
        ("predict", video, "--model", "clip-base", "--labels", "a|b"),
        ("predict", video, "--model", "clip-zero-shot:owner/name", "--labels", "a|b"),
        ("predict", video, "--model", "openai/clip-vit-bse-patch16"),
        ("batch", "run", "--inputs", video, "--out", folder / "b", *open_),
        ("batch", "run", "--inputs", video, "--out", folder / "b", *id_),
        ("serve", "--port", "0", "--yes"),
        ("models", "--fetch", "siglip2-base"),
        ("evaluate", "--data", table, *id_),
        ("explain", video, *id_, "--labels", "a", "--out", folder / "e"),
        ("export", "--format", "onnx", "--out", folder / "x", *id_),
        *((*train, "--arch.video-encoder", kind) for kind in kinds),
        (*train, "--arch.text-encoder", "sentence:owner/name", "--train.folds", "0"),
    ]


# The first run imports what the command needs; the second takes what the command itself takes.
_TWICE = """
import sys, time
from msqnet.cli.main import main
for _ in range(2):
    started = time.perf_counter()
    code = main(sys.argv[1:])
print(code, time.perf_counter() - started)
"""


def _run_twice(environment: dict[str, str], *arguments: object) -> tuple[int, float, str]:
    """The exit code of a command, the seconds of its second run, and what it said."""
    done = _run(environment, *arguments, program=("-c", _TWICE))
    assert done.returncode == 0, done.stderr
    code, seconds = done.stdout.splitlines()[-1].split()
    return int(code), float(seconds), done.stderr


@pytest.mark.slow
def test_every_command_gives_up_a_closed_port_at_once(closed_port: str, tmp_path: Path) -> None:
    environment = online_environment(closed_port, tmp_path / "home")
    for command in _commands(FOLDER / "rat_washing.mp4", tmp_path):
        code, seconds, told = _run_twice(environment, *command)
        assert code == 1, (command, told)
        assert "was not reached ([Errno 111] Connection refused)" in told, command
        assert "thrown while requesting" not in told, told  # the Hub's client tries again
        assert seconds < _MOST_SECONDS, (command, seconds)


def test_silent_port_is_given_up_after_a_short_time(silent_port: str, tmp_path: Path) -> None:
    environment = online_environment(silent_port, tmp_path / "home")
    command = ("predict", FOLDER / "rat_washing.mp4", "--labels", _WORDS, "--yes")
    code, seconds, told = _run_twice(environment, *command)
    assert (code, "was not reached" in told) == (1, True)
    assert 2.5 < seconds < 3.5 + _MOST_SECONDS
