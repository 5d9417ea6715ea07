"""Labels that were taught to a finished model: a linear head in a file of its own.

The file lies beside the model's weights and graphs, which stay as they are to the bit. Each label
is one weight vector over the features of a clip (`msqnet.inference.taught`), by which PyTorch and
the exported graphs compute the same scores.

A folder may also hold a background: features of windows that its model was trained on, against
which labels are taught.

Axes: B clips, L taught labels, D features, M windows of the background, N windows of examples, E of
the model's embedding.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from msqnet.errors import CheckpointError, ShapeError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    FloatArray = NDArray[np.float32]

TAUGHT_FILE = "taught.safetensors"
BACKGROUND_FILE = "background.safetensors"
TAUGHT_THRESHOLD = 0.5
"""Of every taught label: its head is scaled so that this is where it counts as present."""

# In standard deviations; what is farther off tells no more, and one feature must not decide alone.
_FARTHEST = 4.0
_CODES = 127 / _FARTHEST  # of eight bits, which are enough


@dataclass(frozen=True)
class Background:
    """Windows of the training set, against which a label is taught.

    Attributes:
        mean: (D,) float32 of their features.
        std: (D,) float32, above 0.
        rows: (M, D) int8, their standardised features in steps of a 32nd.
    """

    mean: FloatArray
    std: FloatArray
    rows: NDArray[np.int8]

    @classmethod
    def fit(cls, features: FloatArray) -> Background:
        """The background of (M, D) features."""
        std = features.std(axis=0, dtype=np.float64)
        mean = features.mean(axis=0, dtype=np.float64).astype(np.float32)
        std = np.where(std > 1e-6, std, 1.0).astype(np.float32)
        return cls.of(mean, std, standardised(features, mean, std))

    @classmethod
    def of(cls, mean: FloatArray, std: FloatArray, values: FloatArray) -> Background:
        """The background of (M, D) standardised features."""
        return cls(mean, std, np.rint(values * _CODES).astype(np.int8))

    @property
    def standardised(self) -> FloatArray:
        """(M, D) float32."""
        return self.rows.astype(np.float32) / np.float32(_CODES)

    def save(self, folder: Path) -> None:
        """Write `BACKGROUND_FILE` into a model's folder."""
        _write(folder / BACKGROUND_FILE, asdict(self), {})

    @classmethod
    def load(cls, folder: Path) -> Background | None:
        """Read that of a model's folder; None where it has none, a `CheckpointError` if damaged."""
        path = folder / BACKGROUND_FILE
        found = _read(path)
        try:
            return None if found is None else cls(**found[0])
        except TypeError as error:
            raise _damaged(path, error) from error


def standardised(features: FloatArray, mean: FloatArray, std: FloatArray) -> FloatArray:
    """Features less their mean in standard deviations, at most 4 of them."""
    return np.asarray(np.clip((features - mean) / std, -_FARTHEST, _FARTHEST), dtype=np.float32)


@dataclass(frozen=True)
class TaughtLabels:
    """The labels that a model was taught.

    Attributes:
        weight: (L, D) float32, over the standardised features.
        bias: (L,) float32.
        mean: (L, D) float32, by which each label standardises them.
        std: (L, D) float32.
        embeddings: (N, E) float32 of the examples' windows, which are no longer unknown to the
            model.
        owner: (N,) int64, which label the windows are examples of.
        about: of each label its ``label``, its ``evidence`` as in `MSQNetConfig`, what was
            ``held_out`` and the ``ap_among_training`` (see `Lesson`), the numbers of
            ``positive_windows`` and ``negative_windows``, and its ``examples``; plain values.
    """

    weight: FloatArray
    bias: FloatArray
    mean: FloatArray
    std: FloatArray
    embeddings: FloatArray
    owner: NDArray[np.int64]
    about: tuple[dict[str, Any], ...]

    def __post_init__(self) -> None:
        shape = (len(self.about), *self.weight.shape[1:])
        heads = {self.weight.shape, self.mean.shape, self.std.shape}
        is_right = heads == {shape} and len(shape) == 2 and self.bias.shape == shape[:1]
        if not is_right or self.embeddings.ndim != 2 or len(self.owner) != len(self.embeddings):
            raise ShapeError(
                f"TaughtLabels: found weight {self.weight.shape}, mean {self.mean.shape}, std "
                f"{self.std.shape}, bias {self.bias.shape}, embeddings {self.embeddings.shape}, "
                f"owner {self.owner.shape}, {len(self.about)} labels; expected (L, D) of three, "
                "(L,), (N, E), (N,) and L"
            )

    @property
    def names(self) -> tuple[str, ...]:
        """In the order of their columns."""
        return tuple(item["label"] for item in self.about)

    def scores(self, features: FloatArray) -> FloatArray:
        """(B, D) float32 features to (B, L) float32 scores in [0, 1].

        Features of another width are a `ShapeError`.
        """
        if features.shape[1:] != self.weight.shape[1:]:
            raise ShapeError(
                f"features: found {features.shape}, expected (B, {self.weight.shape[1]}); the "
                f"model and its {TAUGHT_FILE} do not belong together"
            )
        # Not by a product of matrices, in which rounding depends on the others of a batch.
        values = standardised(features[:, None], self.mean, self.std)  # (B, L, D)
        logits = (values * self.weight).sum(axis=2, dtype=np.float64) + self.bias
        return np.asarray(1 / (1 + np.exp(-np.clip(logits, -80, 80))), dtype=np.float32)

    def without(self, name: str) -> TaughtLabels:
        """All but one label."""
        kept = np.array([item != name for item in self.names], dtype=bool)
        of_kept = kept[self.owner]
        place = np.cumsum(kept) - 1
        return replace(
            self,
            **{name: getattr(self, name)[kept] for name in _HEADS},
            embeddings=self.embeddings[of_kept],
            owner=place[self.owner[of_kept]],
            about=tuple(item for item in self.about if item["label"] != name),
        )

    def joined(self, other: TaughtLabels) -> TaughtLabels:
        """These labels, then those of another head over the same features."""
        arrays = {
            name: np.concatenate([getattr(self, name), getattr(other, name)])
            for name in (*_HEADS, "embeddings")
        }
        owner = np.concatenate([self.owner, other.owner + len(self.about)])
        return TaughtLabels(**arrays, owner=owner, about=(*self.about, *other.about))

    def save(self, folder: Path) -> None:
        """Write `TAUGHT_FILE` into a model's folder."""
        arrays = {name: getattr(self, name) for name in (*_HEADS, "embeddings", "owner")}
        _write(folder / TAUGHT_FILE, arrays, {"about": json.dumps(self.about)})

    @classmethod
    def load(cls, folder: Path) -> TaughtLabels | None:
        """Read those of a folder; None where it has none, a `CheckpointError` if damaged."""
        path = folder / TAUGHT_FILE
        found = _read(path)
        if found is None:
            return None
        arrays, told = found
        try:
            return cls(**arrays, about=tuple(json.loads(told["about"])))
        except (KeyError, TypeError, ValueError) as error:
            raise _damaged(path, error) from error


def taught_names(folder: Path) -> tuple[str, ...]:
    """The labels that the model of a folder was taught."""
    found = TaughtLabels.load(folder)
    return () if found is None else found.names


_HEADS = ("weight", "bias", "mean", "std")


def _write(path: Path, arrays: dict[str, Any], told: dict[str, str]) -> None:
    # Not by `save_file`, whose files only their owner can read.
    path.write_bytes(
        save({name: np.ascontiguousarray(item) for name, item in arrays.items()}, told)
    )


def _read(path: Path) -> tuple[dict[str, Any], dict[str, str]] | None:
    """Arrays and texts of a file; None where there is none, a `CheckpointError` if damaged."""
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="numpy") as file:
            return {
                name: file.get_tensor(name) for name in list(file.keys())
            }, file.metadata() or {}
    except (OSError, SafetensorError) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> CheckpointError:
    return CheckpointError(f"{path}: damaged ({error}); copy the model again")
