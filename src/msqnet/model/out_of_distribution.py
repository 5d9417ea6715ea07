"""How far a clip is from the training set: distances in a model's own embedding space.

A model's folder may hold ``novelty.safetensors``: embeddings of training windows, and how far
training videos are from those of other groups. A video is as unusual as the share of training
videos that are nearer to the rest of the training set than it is. A window is unknown where it is
farther than nearly all training windows are from those of other groups. The nearest training
windows also tell which kind of actor a clip shows, and so which labels can mean it.

Axes: B clips, V training windows, M kept ones, D width of the embedding, A kinds of actors.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file, save

from msqnet.errors import CheckpointError, ShapeError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from torch import Tensor

    from msqnet.labels import LabelSet
    from msqnet.model.msqnet import MSQNetModel, MSQNetOutput

FloatArray = NDArray[np.float32]

REFERENCE_FILE = "novelty.safetensors"
EMBEDDING_DEFINITION = "mean over the items of the frame memory, after W_out"
DISTANCE_DEFINITION = (
    "cosine distance to the nearest kept training window, after the centre was taken off"
)
UNLIKE_SHARE = 0.95
"""From this share of nearer training videos on, a video is said to be unlike them."""

WINDOW_SHARE = 0.95
"""Share of the training windows that are nearer than the distance from which one is unknown."""

_MAX_KEPT = 1024
_NUM_VOTES = 9  # of 1, 5 and 9 the best on training rows of the shipped model, groups left out
_MAX_VOTING_SHARE = 20  # of few windows, only the nearest twentieth, or one
_NO_ACTOR = ("", "none")
_MIN_ACTOR_SHARE = 0.1


def clip_embeddings(model: MSQNetModel, output: MSQNetOutput) -> Tensor:
    """(B, D) float32, by which windows are compared with training windows.

    `EMBEDDING_DEFINITION`, or, where the configuration has ``compares_appearance``, the part of the
    encoder's own video query that tells what was there. That part comes from the frozen backbone:
    on training rows of the shipped model it tells other scenes apart better than the memory, which
    is trained to tell labels apart.

    Raises:
        ShapeError: the output has no memory.
    """
    if model.config.compares_appearance and output.video_query is not None:
        raw = model.raw_video_query(output.video_query)
        return raw[:, model.video_encoder.appearance].float()
    if output.memory is None:
        raise ShapeError("the model gave no frame memory, expected (B, M, D)")
    return output.memory.mean(dim=1).float()  # (B, M, D) -> (B, D)


@dataclass(frozen=True)
class TrainingReference:
    """Training windows in a model's embedding space, and how far they are from each other.

    Attributes:
        centre: (D,) float32, the mean embedding; 0 for embeddings that are not centred.
        kept: (M, D) float32, less the centre, of length 1.
        distances: (n,) float32, rising: of each training video the median distance of its windows
            from the windows of other groups.
        window_limit: distance from which a window is unknown; None in files of earlier versions.
        actors: M kinds of actors, such as mouse, of the kept windows; empty where not known.
        label_actors: the kinds of actors that training rows annotate a label for.
        added: (A, D) float32, as ``kept``: further windows that are known, of unknown actors; they
            are not saved.
    """

    centre: FloatArray
    kept: FloatArray
    distances: FloatArray
    window_limit: float | None = None
    actors: tuple[str, ...] = ()
    label_actors: dict[str, list[str]] = field(default_factory=dict)
    added: FloatArray | None = None

    def __post_init__(self) -> None:
        width = self.centre.shape
        is_right = self.kept.ndim == 2 and self.kept.shape[1:] == width and len(self.kept) > 0
        is_right = is_right and len(self.actors) in (0, len(self.kept))
        if len(width) != 1 or not is_right or self.distances.ndim != 1 or not self.distances.size:
            raise ShapeError(
                f"TrainingReference: found centre {width}, kept {self.kept.shape}, distances "
                f"{self.distances.shape}, {len(self.actors)} actors; expected (D,), (M, D), (n,), "
                "and M or no actors"
            )

    @classmethod
    def fit(
        cls,
        embeddings: FloatArray,
        videos: Sequence[str],
        groups: Sequence[str],
        *,
        is_centred: bool = True,
        actors: Sequence[str] = (),
        label_actors: dict[str, list[str]] | None = None,
        seed: int = 0,
    ) -> TrainingReference | None:
        """Describe a training set by embeddings (V, D) of its windows.

        A window is compared with windows of other groups (scenes, subjects or recordings) only, as
        a new video will be. None where all are of one group: nothing says how far new videos may
        be. Parts that do not fit together, or a value that is not finite, are a `ShapeError`.
        """
        values = np.asarray(embeddings, dtype=np.float32)
        if values.ndim != 2 or not np.isfinite(values).all():
            raise ShapeError(f"embeddings: found {values.shape}, expected (V, D), all finite")
        if not len(values) == len(videos) == len(groups):
            raise ShapeError(
                f"found {len(values)} embeddings, {len(videos)} videos and {len(groups)} groups, "
                "expected one number of all"
            )
        names = np.asarray(groups)
        if len(set(groups)) < 2:
            return None
        chosen = spread_over_groups(groups, _MAX_KEPT, seed)
        centre = values.mean(axis=0) if is_centred else np.zeros_like(values[0])
        # As they will be read again: half precision is enough for cosines.
        kept = _units(values[chosen] - centre).astype(np.float16).astype(np.float32)
        is_own = names[:, None] == names[chosen][None, :]  # (V, M)
        distances = _distances(_units(values - centre), kept, is_own)
        medians = [np.median(distances[np.asarray(videos) == name]) for name in sorted(set(videos))]
        limit = float(np.float32(np.quantile(distances, WINDOW_SHARE)))
        rising = np.sort(np.asarray(medians, dtype=np.float32))
        kinds = tuple(actors[row] for row in chosen.tolist()) if any(actors) else ()
        return cls(centre, kept, rising, limit, kinds, (label_actors or {}) if kinds else {})

    def distance(self, embeddings: FloatArray) -> FloatArray:
        """(B, D) float -> (B,) float32 from 0 to 2: `DISTANCE_DEFINITION`.

        Embeddings of another width are a `ShapeError`.
        """
        added = () if self.added is None else (self.added,)
        return _distances(self._units(embeddings), np.concatenate([self.kept, *added]), None)

    def actor_votes(self, embeddings: FloatArray) -> Counter[str]:
        """Kinds of actors by their number among the nearest training windows of B clips.

        Clips that are unknown, or like none but the added windows, do not count.
        """
        if not self.actors:
            return Counter()
        likeness = self._units(embeddings) @ self.kept.T  # (B, M)
        if self.window_limit is not None:
            likeness = likeness[likeness.max(axis=1) >= 1 - self.window_limit]
        num_votes = min(_NUM_VOTES, max(1, len(self.kept) // _MAX_VOTING_SHARE))
        nearest = np.argsort(-likeness, axis=1)[:, :num_votes]
        votes = Counter(self.actors[place] for place in nearest.ravel().tolist())
        return Counter({name: votes[name] for name in votes if name not in _NO_ACTOR})

    def labels_of_others(self, shares: dict[str, float]) -> dict[str, str]:
        """Labels that training rows annotate for other actors than these, with the reason.

        ``shares`` are of one video, from 0 to 1 each. Where no actor is known, no label is named.
        """
        present = [name for name, share in shares.items() if share >= _MIN_ACTOR_SHARE]
        return {
            label: f"annotated for {' and '.join(kinds)} only, and this video seems to show "
            f"{' and '.join(present)}"
            for label, kinds in self.label_actors.items()
            if present and kinds and all(kinds) and not set(kinds) & set(present)
        }

    def with_windows(self, embeddings: FloatArray) -> TrainingReference:
        """With further windows (N, D), whose actors are not known; all else stays."""
        return replace(self, added=self._units(embeddings))

    def _units(self, embeddings: FloatArray) -> FloatArray:
        values = np.asarray(embeddings, dtype=np.float32)
        if values.ndim != 2 or values.shape[1:] != self.centre.shape:
            raise ShapeError(
                f"embeddings: found {values.shape}, expected (B, {len(self.centre)}); the model "
                "and its novelty.safetensors do not belong together"
            )
        return _units(values - self.centre)

    def share_nearer(self, distance: float) -> float:
        """Share of training videos, from 0 to 1, that are nearer to the others than this."""
        nearer = int(np.searchsorted(self.distances, np.float32(distance), side="left"))
        return nearer / len(self.distances)

    @property
    def digest(self) -> str:
        """First 16 hex digits of a SHA-256 over all values."""
        digest = hashlib.sha256()
        limit = [] if self.window_limit is None else [self.window_limit]
        for values in (self.centre, self.kept, self.distances, limit):
            digest.update(np.ascontiguousarray(values, dtype="<f4").tobytes())
        if self.actors:
            digest.update(json.dumps([self.actors, self.label_actors], sort_keys=True).encode())
        return digest.hexdigest()[:16]

    def save(self, folder: Path) -> None:
        """Write `REFERENCE_FILE` into a model's folder."""
        tensors: dict[str, NDArray[Any]] = {
            "centre": self.centre,
            "kept": self.kept.astype(np.float16),
            "distances": self.distances,
        }
        if self.window_limit is not None:
            tensors["window_limit"] = np.array([self.window_limit], dtype=np.float32)
        about = {"distance": DISTANCE_DEFINITION}
        if self.actors:
            about["actors"] = json.dumps([self.actors, self.label_actors], sort_keys=True)
        written = save(tensors, about)
        # safetensors orders the metadata at random; sorted, equal references give equal files.
        size = int.from_bytes(written[:8], "little")
        header = json.dumps(
            json.loads(written[8 : size + 8]), separators=(",", ":"), sort_keys=True
        )
        # Not by `save_file`, whose files only their owner can read.
        (folder / REFERENCE_FILE).write_bytes(
            written[:8] + header.encode().ljust(size) + written[size + 8 :]
        )

    @classmethod
    def load(cls, folder: Path) -> TrainingReference | None:
        """Read that of a model's folder; None where it has none, a `CheckpointError` if damaged."""
        path = folder / REFERENCE_FILE
        if not path.is_file():
            return None
        try:
            found = load_file(path)
            names = ("centre", "kept", "distances")
            limit = float(found["window_limit"][0]) if "window_limit" in found else None
            arrays = {name: np.asarray(found[name], dtype=np.float32) for name in names}
            with safe_open(path, framework="numpy") as file:
                actors, label_actors = json.loads((file.metadata() or {}).get("actors", "[[], {}]"))
            return cls(
                **arrays, window_limit=limit, actors=tuple(actors), label_actors=label_actors
            )
        except (OSError, KeyError, ValueError, SafetensorError, ShapeError) as error:
            raise CheckpointError(
                f"{path}: damaged ({error}); copy the model again, or make it anew with: msqnet "
                "calibrate --training-data TABLE"
            ) from error


def _units(values: FloatArray) -> FloatArray:
    """Rows of length 1; a row of zeros stays."""
    lengths = np.linalg.norm(values, axis=1, keepdims=True)
    return np.asarray(values / np.where(lengths > 0, lengths, 1.0), dtype=np.float32)


def _distances(units: FloatArray, kept: FloatArray, is_own: NDArray[np.bool_] | None) -> FloatArray:
    """(B,) the smallest cosine distance, that to own windows left out."""
    distance = 1.0 - units @ kept.T  # (B, M)
    if is_own is not None:
        distance = np.where(is_own, np.inf, distance)
    # Rounding may bring a window nearer to itself than 0.
    return np.asarray(np.maximum(distance.min(axis=1), 0.0), dtype=np.float32)


def rows_of_actors(targets: NDArray[Any], groups: Sequence[str]) -> list[int]:
    """Positions of the rows that a model's reference is made of.

    Rows (V, K) known to show nothing, of recordings that never show a label, are background: they
    teach the model what to be silent about, not what it knows.
    """
    shows = {groups[row] for row in np.flatnonzero((targets == 1).any(axis=1)).tolist()}
    is_empty = (targets == 0).all(axis=1)
    return [row for row, name in enumerate(groups) if name in shows or not is_empty[row]]


def actors_of_labels(
    targets: NDArray[Any], actors: Sequence[str], labels: LabelSet
) -> dict[str, list[str]]:
    """The kinds of actors that rows annotate each label for.

    ``targets`` are (V, K), ``actors`` V names: "" where the actor is not stated, "none" where the
    row is known to show none.
    """
    kinds, is_known = np.asarray(actors), np.asarray(targets) >= 0
    return {
        name: sorted(set(kinds[is_known[:, k]].tolist()) - {"none"})
        for k, name in enumerate(labels)
    }


def spread_over_groups(groups: Sequence[str], max_rows: int, seed: int) -> NDArray[np.int64]:
    """Indices, rising, of at most ``max_rows`` rows, as evenly over groups as sizes allow."""
    if len(groups) <= max_rows:
        return np.arange(len(groups))
    order = np.random.default_rng(seed).permutation(len(groups))
    num_of: dict[str, int] = {}
    turn = np.zeros(len(groups), dtype=np.int64)
    for row in order:
        turn[row] = num_of.get(groups[row], 0)
        num_of[groups[row]] = num_of.get(groups[row], 0) + 1
    # One row of every group, then a second one of every group that has two, ...
    ranked = order[np.argsort(turn[order], kind="stable")]
    return np.sort(ranked[:max_rows])
