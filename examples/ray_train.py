"""Train one model on the machines of a Ray cluster: `msqnet train` in each of its workers.

    python examples/ray_train.py --workers 2 -- --data clips.csv --out /shared/runs/mine

What stands behind ``--`` are options of `msqnet train`. The table, the videos and the output folder
have to be seen by all machines under the same path. Needs `pip install 'ray[train]'`.
"""

from __future__ import annotations

import argparse
import sys

import ray
from ray.train import ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer

from msqnet.cli.main import exit_code_of


def train(settings: dict) -> None:
    """One worker; Ray has told it which one it is, and joined it with the others."""
    from msqnet.cli.main import main

    exit_code = main(["train", *settings["options"]])
    if exit_code:
        raise RuntimeError(
            f"msqnet train ended with exit code {exit_code}; its message stands above"
        )


def parsed() -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--workers", type=int, default=2, help="processes, one a GPU")
    parser.add_argument("--gpu", action="store_true", help="give each of them a GPU")
    parser.add_argument("--cpus", type=int, default=1, help="cores of each of them")
    parser.add_argument("--address", default="local", help="of a cluster, or auto")
    parser.add_argument("options", nargs="+", help="of msqnet train, behind --")
    return parser.parse_args()


def main() -> None:
    """Start the workers and wait for them."""
    arguments = parsed()
    ray.init(address=arguments.address)
    scaling = ScalingConfig(
        num_workers=arguments.workers,
        use_gpu=arguments.gpu,
        resources_per_worker={"CPU": arguments.cpus},
    )
    trainer = TorchTrainer(
        train,
        train_loop_config={"options": arguments.options},
        scaling_config=scaling,
        torch_config=TorchConfig(backend="nccl" if arguments.gpu else "gloo"),
    )
    trainer.fit()


if __name__ == "__main__":
    sys.exit(exit_code_of(main))
