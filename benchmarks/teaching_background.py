"""Give a model the windows of its training that `msqnet teach` tells new labels from.

    python -m benchmarks.teaching_background mixed_actors.csv --features features.npz --out FOLDER

`msqnet train` does this for new models. The shipped one is older: this wrote its
`background.safetensors`, of 256 `train` rows, as evenly over their groups as can be. `--features`
keeps what is computed of all `train` rows, in float32. The graphs are made afterwards (`msqnet
export`): their manifest names the file.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from benchmarks.teach_labels import NUM_BACKGROUND, table_features
from msqnet.cli.main import exit_code_of
from msqnet.data.table import read_table
from msqnet.errors import check
from msqnet.inference.manifest import has_graphs
from msqnet.model.out_of_distribution import spread_over_groups
from msqnet.models import MANIFEST_FILE
from msqnet.models.taught import Background


def main() -> None:
    """Compute features, choose rows, write the file."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("data", help="table of clips; its `train` rows are used")
    parser.add_argument("--features", type=Path, required=True, help="file to keep features in")
    parser.add_argument("--out", type=Path, required=True, help="model folder, or any other")
    chosen = parser.parse_args()
    check(
        not has_graphs(chosen.out),
        f"{chosen.out}: holds graphs, whose {MANIFEST_FILE} would not fit; write the background "
        "first, and make the graphs then",
    )
    table = read_table(chosen.data).select("train")
    features = table_features(table, chosen.features)
    rows = spread_over_groups(list(table.group_ids()), NUM_BACKGROUND, seed=0)
    Background.fit(features[rows]).save(chosen.out)
    print(f"{len(rows)} windows of {len(table)} rows: {chosen.out}")


if __name__ == "__main__":
    sys.exit(exit_code_of(main))
