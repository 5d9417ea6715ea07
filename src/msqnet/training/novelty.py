"""What the training set looks like to the finished model, so that it can tell what is unlike it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.utils.data import DataLoader

from msqnet.model.out_of_distribution import NoveltyReference, clip_embeddings, spread_over_groups
from msqnet.training.features import collate

if TYPE_CHECKING:
    from collections.abc import Callable

    from msqnet.model.pretrained import MSQNet
    from msqnet.training.run import Run

# Where nothing is stored each row is decoded once more: enough for the quantiles, soon done.
_MAX_ROWS = 2000


def training_novelty(
    run: Run, model: MSQNet, rows_as_data: Callable[[np.ndarray], Any]
) -> NoveltyReference | None:
    """Describe the training rows, spread over their groups where there are very many.

    Args:
        run: gives the rows.
        model: the finished one.
        rows_as_data: a data set of unchanged clips, or their stored features, of some rows.

    Returns:
        None where all rows are of one group.
    """
    groups, videos = run.table.group_ids(), run.table.clip_ids()
    if len(set(groups)) < 2:
        return None
    rows = spread_over_groups(groups, _MAX_ROWS, run.train.seed)
    embeddings = []
    model.train(mode=False)
    loader = DataLoader(
        rows_as_data(rows),
        batch_size=run.train.batch_size,
        num_workers=run.train.num_workers,
        collate_fn=collate,
    )
    for batch in loader:
        inputs = {name: value.to(model.device) for name, value in batch.items()}
        with torch.inference_mode():
            embeddings.append(clip_embeddings(model(**inputs)))
    return NoveltyReference.fit(
        np.concatenate(embeddings), [videos[row] for row in rows], [groups[row] for row in rows]
    )
