"""The peers are the published networks, at their published cost, and see the right frames."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from benchmarks.peers import networks, score
from benchmarks.peers import prepare as preparing
from benchmarks.peers.__main__ import Entry, print_tables, warm_up
from benchmarks.peers.catalogue import PEERS, TOLERANCE, Peer
from benchmarks.whole_process import ROOT, Contender

from msqnet.errors import MsqnetError
from tests.unit.inference.brightness import write_video

if TYPE_CHECKING:
    from pathlib import Path

Runs = list[tuple[float, float, float]]

TINY = Peer("MobileNetV3TSM", 4, 32, 2.5, 0.0)
RATE = 10


@pytest.mark.parametrize("name", PEERS)
def test_network_has_the_published_size_and_cost(name: str) -> None:
    peer = PEERS[name]
    cost = preparing.cost_of(peer)
    assert cost["parameters"] == pytest.approx(peer.parameters, rel=TOLERANCE)
    assert cost["gmacs"] == pytest.approx(peer.gmacs, rel=TOLERANCE)


def test_fused_network_gives_the_same_scores() -> None:
    torch.manual_seed(0)
    for network in (networks.X3D(5), networks.MoViNetA0(5), networks.MobileNetV3TSM(5)):
        for module in network.eval().modules():
            if isinstance(module, torch.nn.BatchNorm2d | torch.nn.BatchNorm3d):
                module.running_mean.uniform_(-0.1, 0.1)
                module.running_var.uniform_(0.8, 1.25)
        pixels = torch.randint(0, 256, (4, 96, 96, 3), dtype=torch.uint8)
        with torch.inference_mode():
            before = network(pixels)
            after = networks.fuse(network)(pixels)
        assert not any("norm" in key for key in network.state_dict())
        torch.testing.assert_close(after, before, rtol=1e-4, atol=1e-5)


def test_temporal_shift_takes_an_eighth_of_the_channels_from_each_neighbour() -> None:
    x = torch.arange(3.0)[:, None, None, None].expand(3, 8, 1, 1) + 1
    expected = [[0, 2, 1, 1], [1, 3, 2, 2], [2, 0, 3, 3]]
    assert networks.temporal_shift(x)[:, :4, 0, 0].tolist() == expected


def test_windows_start_every_second_and_hold_the_middle_frames_of_their_parts(
    tmp_path: Path,
) -> None:
    levels = [5 * number for number in range(4 * RATE)]
    clip = write_video(tmp_path / "clip.mov", levels, fps=RATE)
    found = list(score.windows(clip, num_frames=4, size=16))
    assert [start for start, _ in found] == [0, 1, 2]
    for start, pixels in found:
        assert pixels.shape == (4, 16, 16, 3)
        assert pixels.dtype == np.uint8
        expected = [5 * (start * RATE + number) for number in (2, 7, 12, 17)]
        np.testing.assert_allclose(pixels.mean((1, 2, 3)), expected, atol=1)


@pytest.mark.slow
def test_both_runtimes_give_the_scores_of_the_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = ((16, 16, 3, 2, True, False), (72, 16, 5, 1, False, True), (72, 96, 3, 2, False, False))
    monkeypatch.setattr(networks, "_MOBILE_SMALL", few)
    preparing.write(TINY, tmp_path / "tiny")
    pixels = preparing.random_pixels(TINY)
    network = preparing.network_of(TINY)
    with torch.inference_mode():
        expected = network(pixels).numpy()
    for scorer in (score.torch_scorer, score.openvino_scorer):
        score_window, precision = scorer(tmp_path / "tiny")
        tolerance = 1e-4 if precision == "f32" else 1e-2
        np.testing.assert_allclose(score_window(pixels.numpy()), expected, atol=tolerance)
    assert score.openvino_scorer(tmp_path / "tiny", is_f32=True)[1] == "f32"


def entry_of(runs: Runs, short: Runs) -> Entry:
    entry = Entry.of_peer("X3D-S", "openvino")
    entry.whole.runs, entry.short.runs = runs, short
    return entry


def test_tables_show_medians_ratios_and_the_cost_without_start(
    capsys: pytest.CaptureFixture[str],
) -> None:
    base = Entry.of_msqnet()
    base.whole.runs = [(4.0, 3.0, 300.0), (8.0, 6.0, 310.0), (6.0, 5.0, 290.0)]
    base.short.runs = [(2.0, 2.0, 250.0)] * 3
    runs = [(2.0, 1.5, 200.0), (2.0, 2.0, 200.0), (3.0, 2.5, 200.0)]
    peer = entry_of(runs, [(1.0, 1.0, 9.0)] * 3)
    costs = {"msqnet": {"parameters": 9, "gmacs": 4}, "X3D-S": {"parameters": 3.8, "gmacs": 1.96}}
    print_tables([base, peer], costs, seconds=4)
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    assert rows[1] == "| msqnet | 9.00 | 4.00 | 6.00 | 5.00 | 300 | 1.00 |"
    assert rows[2] == "| X3D-S, OpenVINO | 3.80 | 1.96 | 2.00 | 2.00 | 200 | 0.50 |"
    assert rows[4] == "| msqnet | 2.000 | 1.500 | 1.00 |"
    assert rows[5] == "| X3D-S, OpenVINO | 0.500 | 0.500 | 0.25 |"


def writes(content: dict[str, Any]) -> tuple[str, ...]:
    """A command that writes scores whatever the clip is."""
    code = f"import sys; open(sys.argv[-1] + '/scores.json', 'w').write({json.dumps(content)!r})"
    return "-c", code


def test_warm_up_notes_the_precision_and_wants_every_window(tmp_path: Path) -> None:
    entry = entry_of([], [])
    entry.whole = Contender("peer", ROOT, writes({"precision": "bf16", "windows": [0, 0, 0]}))
    warm_up(entry, tmp_path / "clip.mp4", 4, tmp_path)
    assert entry.whole.name == "peer (bf16)"
    assert entry.whole.runs == []
    with pytest.raises(MsqnetError, match=r"peer \(bf16\): 3 windows, not 4"):
        warm_up(entry, tmp_path / "clip.mp4", 5, tmp_path)


def test_warm_up_says_in_how_many_windows_msqnet_has_motion_crops(tmp_path: Path) -> None:
    boxes = [[0.0, 0.0, 1.0, 1.0], [0.1, 0.0, 0.6, 1.0]]
    content = json.dumps({"windows": [{"motion_box": box} for box in boxes]})
    code = f"import sys; open(sys.argv[-1] + '/clip.mp4.json', 'w').write({content!r})"
    entry = Entry.of_msqnet()
    entry.whole = Contender("msqnet", ROOT, ("-c", code))
    warm_up(entry, tmp_path / "clip.mp4", 3, tmp_path)
    assert entry.whole.name == "msqnet (motion crops in 1 of 2 windows)"


def test_memory_of_a_run_is_not_that_of_the_process_which_starts_it(tmp_path: Path) -> None:
    mine = np.ones(64_000_000)  # 512 MB
    contender = Contender("nothing", ROOT, ("-S", "-c", "pass"))
    contender.run(tmp_path / "clip.mp4", tmp_path)
    ((cpu, wall, megabytes),) = contender.runs
    assert mine.all()
    assert 1 < megabytes < 100
    assert 0 < cpu < wall + 1


def test_failed_run_names_contender_and_command(tmp_path: Path) -> None:
    contender = Contender("broken", ROOT, ("-c", "raise SystemExit(3)"))
    with pytest.raises(MsqnetError, match=r"broken: failed with status 3: .*raise SystemExit"):
        contender.run(tmp_path / "clip.mp4", tmp_path)
