"""How a map of embeddings is made and measured."""

from __future__ import annotations

from dataclasses import dataclass

from msqnet.errors import check


@dataclass(frozen=True)
class EmbeddingMapConfig:
    """How a map of embeddings is made and measured.

    Attributes:
        perplexity: About how many neighbours t-SNE keeps close to each row; by default 30, or a
            third of the other rows where that is less.
        num_neighbours: Nearest rows of other groups that vote on the labels of a row.
        num_resamples: Resamples of whole groups for the 95 % intervals; 0 for none.
        seed: Of the map and of the resamples; the same seed gives the same map on one machine.
    """

    perplexity: float | None = None
    num_neighbours: int = 5
    num_resamples: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        check(
            self.perplexity is None or self.perplexity > 0,
            f"perplexity {self.perplexity}: expected more than 0",
        )
        check(
            self.num_neighbours >= 1, f"num_neighbours {self.num_neighbours}: expected at least 1"
        )
        check(self.num_resamples >= 0, f"num_resamples {self.num_resamples}: expected 0 for none")
        check(self.seed >= 0, f"seed {self.seed}: expected 0 or more")
