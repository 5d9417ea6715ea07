"""Write what the peers' processes read, and count parameters and multiply-adds.

    python -m benchmarks.peers.prepare FOLDER SHORT_CLIP CLIP SECONDS NAME ...

`SECONDS` is how much longer the second clip is. It runs before anything is measured, in a process
of its own: only here are PyTorch and OpenVINO needed together.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

import torch

from benchmarks.peers import networks
from benchmarks.peers.catalogue import PEERS, STRIDE_SECONDS, Peer
from benchmarks.speed.limits import count_flops
from msqnet.cli.main import exit_code_of
from msqnet.export.graphs import quiet
from msqnet.models import SHIPPED_MODEL, model_folder


def network_of(peer: Peer) -> networks.VideoNetwork:
    """The network with random weights, the same ones every time."""
    torch.manual_seed(0)
    network: networks.VideoNetwork = getattr(networks, peer.network)()
    return network.eval()


def random_pixels(peer: Peer) -> torch.Tensor:
    """One window: (frames, size, size, 3) of uint8."""
    shape = (peer.num_frames, peer.size, peer.size, 3)
    return torch.randint(0, 256, shape, dtype=torch.uint8)


@torch.inference_mode()
def cost_of(peer: Peer) -> dict[str, float]:
    """Millions of parameters, and 1e9 multiply-adds of one window, counted without computing."""
    network, pixels = network_of(peer).to("meta"), random_pixels(peer).to("meta")
    parameters = sum(item.numel() for item in network.parameters())
    return {
        "parameters": parameters / 1e6,
        "gmacs": count_flops(lambda: network(pixels)) / 2e9,
    }


def write(peer: Peer, path: Path) -> dict[str, float]:
    """Write a peer's files, named ``path`` with `.pt` and `.xml`; return its cost."""
    import openvino

    network = networks.fuse(network_of(peer))
    torch.save(network, path.with_suffix(".pt"))
    with quiet(), tempfile.TemporaryDirectory() as folder:
        graph = Path(folder, "network.onnx")
        torch.onnx.export(network, (random_pixels(peer),), graph, dynamo=True, verbose=False)
        model = openvino.Core().read_model(graph)
        openvino.save_model(model, path.with_suffix(".xml"), compress_to_fp16=False)
    return cost_of(peer)


def cost_of_msqnet(short_clip: Path, clip: Path, more_seconds: float) -> dict[str, float]:
    """The shipped model's parameters, and what each further second of the clip costs it."""
    from msqnet import MSQNet, Predictor

    folder = model_folder(SHIPPED_MODEL)
    predictor = Predictor.from_pretrained(folder, runtime="torch")
    flops = [count_flops(lambda path=path: predictor(path)) for path in (short_clip, clip)]
    parameters = sum(item.numel() for item in MSQNet.from_pretrained(folder).parameters())
    return {
        "parameters": parameters / 1e6,
        "gmacs": (flops[1] - flops[0]) / more_seconds / 2e9,
    }


def main() -> None:
    """Write what is missing or older than the networks, and `costs.json`, into the folder."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("short_clip", type=Path)
    parser.add_argument("clip", type=Path)
    parser.add_argument(
        "seconds", type=float, help="by which the clip is longer than the short one"
    )
    parser.add_argument("names", nargs="*", choices=list(PEERS))
    chosen = parser.parse_args()
    folder: Path = chosen.folder
    costs = {"msqnet": cost_of_msqnet(chosen.short_clip, chosen.clip, chosen.seconds)}
    changed = Path(networks.__file__).stat().st_mtime
    for name in chosen.names:
        path = folder / name
        cost_path = path.with_suffix(".json")
        if not cost_path.is_file() or cost_path.stat().st_mtime < changed:
            cost_path.write_text(json.dumps(write(PEERS[name], path)))
        costs[name] = json.loads(cost_path.read_text())
        costs[name]["gmacs"] /= STRIDE_SECONDS
    (folder / "costs.json").write_text(json.dumps(costs))


if __name__ == "__main__":
    sys.exit(exit_code_of(main))
