"""A label for a finished model from a few examples, in seconds and without PyTorch.

A linear head is fitted to what the model computes anyway, between the examples and windows that the
model was trained on, its background: with one to twenty examples, how windows of other videos vary
tells much of a good direction.

Axes: M windows of the background, P positive and Q negative examples, D features.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from itertools import chain, combinations, product
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from msqnet import __version__
from msqnet.config import InferenceOptions
from msqnet.errors import VocabularyError, check
from msqnet.inference.backends import source_of
from msqnet.inference.manifest import file_digest, has_graphs, read_manifest
from msqnet.inference.model_facts import locate_model
from msqnet.inference.predictor import load_backend
from msqnet.labels import LabelSet, folded, plain_text
from msqnet.metrics.average_precision import average_precision
from msqnet.metrics.calibration import best_thresholds, sigmoid
from msqnet.metrics.evidence import LabelEvidence, label_evidence
from msqnet.models import CONFIG_FILE, changed_model, check_target
from msqnet.models.card import write_card
from msqnet.models.open_models import open_model_source
from msqnet.models.taught import TAUGHT_FILE, Background, TaughtLabels, standardised
from msqnet.style import counted
from msqnet.training.examples import Example, ExampleFeatures, example_features

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from msqnet.inference.model_facts import ModelPlace
    from msqnet.predictions import FloatArray

_NEGATIVE_SHARE = 0.5  # of the weight of all that lacks the label; 0.9 did no better
_MAX_CHANCE = 0.05
_UNLIKE_SHARE = 0.99
_NUM_PARTS = 4


class Head(NamedTuple):
    """A direction in standardised features: on the background, scores have mean 0 and deviation 1.

    Attributes:
        weight: (D,) float32.
        bias: summand.
    """

    weight: FloatArray
    bias: float

    def scores(self, values: FloatArray) -> FloatArray:
        """(N, D) standardised features to (N,) scores."""
        found: FloatArray = values @ self.weight + self.bias
        return found


@dataclass(frozen=True)
class Lesson:
    """What was taught, and what the examples say of it.

    Attributes:
        label: its name.
        evidence: see `LabelEvidence`; from examples that were held out.
        held_out: what was held out at a time, "video" or "example"; empty where nothing could be.
        ap_among_training: average precision of the held-out examples among the negative ones and
            the background; None where nothing was held out.
        threshold_rule: how the threshold was chosen.
        num_positive_windows: of the examples.
        num_negative_windows: of the examples.
        num_background: M.
    """

    label: str
    evidence: LabelEvidence
    held_out: str
    ap_among_training: float | None
    threshold_rule: str
    num_positive_windows: int
    num_negative_windows: int
    num_background: int


def fit_head(background: FloatArray, positives: FloatArray, negatives: FloatArray) -> Head:
    """Ridge regression of 1 on positives and 0 on the rest; (M, D), (P, D), (Q, D) standardised.

    The positives weigh as much as all others together, and so do the negative examples and the
    background among these. The penalty is the mean variance of a feature. Up to its length it is
    regularised linear discriminant analysis, in which the scene that positives and negative
    examples share counts as variance.
    """
    values = np.concatenate([background, negatives, positives]).astype(np.float64)
    share = _NEGATIVE_SHARE if len(negatives) else 0.0
    parts = (1 - share, len(background)), (share, len(negatives)), (1.0, len(positives))
    weights = np.concatenate([np.full(num, part / (2 * max(num, 1))) for part, num in parts])
    wanted = np.repeat([0.0, 1.0], [len(values) - len(positives), len(positives)])
    root = np.sqrt(weights)
    centred = (values - weights @ values) * root[:, None]
    # By the dual: as many equations as rows, not as features.
    products = centred @ centred.T
    penalty = max(float(np.trace(products)) / values.shape[1], 1e-9)
    inner = products + penalty * np.eye(len(values))
    weight = centred.T @ np.linalg.solve(inner, (wanted - weights @ wanted) * root)
    weight = (weight / max(float((background @ weight).std()), 1e-9)).astype(np.float32)
    return Head(weight, -float((background @ weight).mean()))


def teach(
    label: str,
    positives: Sequence[Example],
    negatives: Sequence[Example],
    out: Path,
    *,
    model: str | None = None,
    device: str = "auto",
    replaces: bool = False,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Lesson:
    """Write a copy of a model that knows one more label; its other scores stay as they are.

    Args:
        label: name of the label.
        positives: examples that show it, at least one.
        negatives: examples that lack it.
        out: folder of the new model.
        model: see `ModelOptions`.
        device: see `ModelOptions`.
        replaces: the label may be one that the model has; the taught one takes its place.
        overwrite: ``out`` may be a model, which is replaced.
        progress: called with the number of examples done, and of all.

    Raises:
        ConfigError: no positive example, one that is named twice or as both kinds, a span that is
            not in its video, a model that cannot be taught, or an ``out`` that cannot be written
            to.
        VideoError: a video that cannot be read.
        VocabularyError: the label exists, or is no name.
    """
    (label,) = LabelSet((plain_text(label),)).names
    _check_examples(positives, negatives)
    options = InferenceOptions(model=model, device=device)
    check(
        open_model_source(model) is None,
        f"{model}: scores any text without training and has no folder that could keep a taught "
        "label; teach a model that was trained, such as the one that comes with msqnet",
    )
    place = locate_model(options)
    check_target(place.folder, out, overwrite=overwrite)
    _check_files(place)
    # The background is in float32. A head could tell examples from it by the rounding of int8.
    backend = load_backend(replace(options, precision="fp32"))
    check(
        not backend.single_label,
        f"{place.folder}: its labels exclude each other, so that a new one would change the scores "
        "of all others; train a model with that label: msqnet train",
    )
    if same := [name for name in backend.labels if folded(name) == folded(label)]:
        label = label if label in same else same[0]
        if not replaces:
            raise VocabularyError(
                f"{place.folder} has a label {label!r} already; teach it anew with --replace, or "
                "choose another name"
            )
    found: list[ExampleFeatures] = []
    examples = [*positives, *negatives]
    for item in examples:
        found.append(example_features(item, backend))
        if progress is not None:
            progress(len(found), len(examples))
    background = Background.load(place.folder) or _background_of(found, len(positives))
    taught, lesson = taught_label(label, examples, found, len(positives), background)
    earlier = place.taught
    if earlier is not None:
        taught = earlier.without(label).joined(taught)
    with changed_model(place.folder, out, overwrite=overwrite, keeps_graphs=True) as draft:
        manifest = read_manifest(draft) if has_graphs(draft) else None
        taught.save(draft)
        if manifest is not None:
            files = manifest.files | {TAUGHT_FILE: file_digest(draft / TAUGHT_FILE)}
            source = source_of(draft) | {"name": out.name}
            replace(manifest, files=files, provenance=manifest.provenance | source).write(draft)
        if (draft / CONFIG_FILE).is_file():
            write_card(draft)
    return lesson


def _check_files(place: ModelPlace) -> None:
    """Refuse what would be copied damaged, and graphs that cannot be beside the background."""
    if not has_graphs(place.folder):
        return
    manifest = read_manifest(place.folder)
    check(
        not place.is_graphs_alone or "float32" in manifest.precisions,
        f"{place.folder}: its frame graph is in int8 alone, and labels are taught in float32; "
        "teach the model that it was exported from, and export that again",
    )


def _check_examples(positives: Sequence[Example], negatives: Sequence[Example]) -> None:
    """Refuse what would be held out and learnt from at once, or contradicts itself."""
    check(bool(positives), "no positive example: name at least one video that shows the label")
    for one, other in product(positives, negatives):
        check(
            not one.overlaps(other),
            f"{one} and {other}: named both as showing the label and as lacking it; name spans "
            "that do not overlap",
        )
    for one, other in chain(combinations(positives, 2), combinations(negatives, 2)):
        is_same = one.overlaps(other) and one.span == other.span
        check(not is_same, f"{one}: named twice; name every example once")


def _background_of(found: Sequence[ExampleFeatures], num_positive: int) -> Background:
    """Of the negative examples, for a model that keeps none of its own training."""
    windows = [item.features for item in found[num_positive:]]
    num = sum(map(len, windows))
    check(
        num > 1,
        f"the model keeps no windows of its training, and the negative examples have "
        f"{counted(num, 'window')}; name more of them with --negative, or train the model anew "
        "with this version",
    )
    background = Background.fit(np.concatenate(windows))
    # So few say little of single features.
    usual = np.full_like(background.std, math.sqrt(float((background.std**2).mean())))
    rows = standardised(np.concatenate(windows), background.mean, usual)
    return Background.of(background.mean, usual, rows)


def taught_label(
    label: str,
    examples: Sequence[Example],
    found: Sequence[ExampleFeatures],
    num_positive: int,
    background: Background,
) -> tuple[TaughtLabels, Lesson]:
    """Fit a label to examples, the positive ones first, and hold each out once to measure it."""
    means = [
        standardised(item.features, background.mean, background.std).mean(axis=0) for item in found
    ]
    values, is_positive = np.stack(means), np.arange(len(found)) < num_positive
    rows = background.standardised
    head = fit_head(rows, values[is_positive], values[~is_positive])
    videos = [Path(item.video).resolve().as_posix() for item in examples]
    held_out, scores = _held_out_scores(rows, values, is_positive, videos)
    among = np.zeros(len(rows), np.float32)  # held out as well, in parts
    for part in range(_NUM_PARTS):
        held = np.arange(len(rows)) % _NUM_PARTS == part
        if not held.all():
            without = fit_head(rows[~held], values[is_positive], values[~is_positive])
            among[held] = without.scores(rows[held])
    threshold, rule = _threshold(among, scores, is_positive)
    own = sigmoid((scores - threshold).astype(np.float64)).astype(np.float32)
    evidence = _evidence(own, is_positive, videos, held_out)
    ap = None
    if held_out:
        every = np.concatenate([scores, among])[:, None]
        targets = np.concatenate([is_positive, np.zeros(len(among), bool)])[:, None]
        ap = round(float(average_precision(every, targets.astype(int))[0]), 4)
    num_windows = [len(item.features) for item in found]
    counts = sum(num_windows[:num_positive]), sum(num_windows[num_positive:])
    lesson = Lesson(label, evidence, held_out, ap, rule, *counts, len(rows))
    about = {
        "label": label,
        "evidence": asdict(evidence),
        "held_out": held_out,
        "ap_among_training": ap,
        "positive_windows": counts[0],
        "negative_windows": counts[1] + len(rows),
        "examples": {
            sign: [f"{Path(item.video).name}{item.span}" for item in part]
            for sign, part in (
                ("positive", examples[:num_positive]),
                ("negative", examples[num_positive:]),
            )
        },
        "msqnet": __version__,
    }
    embeddings = np.concatenate([item.embeddings for item in found]).astype(np.float32)
    taught = TaughtLabels(
        weight=head.weight[None],
        bias=np.array([head.bias - threshold], np.float32),
        mean=background.mean[None],
        std=background.std[None],
        embeddings=embeddings,
        owner=np.zeros(len(embeddings), np.int64),
        about=(about,),
    )
    return taught, lesson


def _held_out_scores(
    rows: FloatArray, values: FloatArray, is_positive: np.ndarray, videos: Sequence[str]
) -> tuple[str, FloatArray]:
    """What is held out at a time, and scores of all examples by heads that did not see them.

    All examples of a video are held out together. Where one video shows all positives, each example
    is held out alone; one example alone is scored by its own head.
    """
    positive_videos = {video for video, is_so in zip(videos, is_positive, strict=True) if is_so}
    unit = "video" if len(positive_videos) > 1 else "example"
    if is_positive.sum() == 1:
        unit = ""
    parts = list(videos) if unit == "video" else [str(place) for place in range(len(videos))]
    scores = np.zeros(len(values), np.float32)
    for part in sorted(set(parts)):
        held = np.array([item == part for item in parts])
        seen = ~held if unit or not (held & is_positive).any() else np.ones(len(values), bool)
        head = fit_head(rows, values[seen & is_positive], values[seen & ~is_positive])
        scores[held] = head.scores(values[held])
    return unit, scores


def _threshold(among: FloatArray, scores: FloatArray, is_positive: np.ndarray) -> tuple[float, str]:
    """From which score the label counts as present, and how that was chosen."""
    unlike = float(np.quantile(among, _UNLIKE_SHARE))
    if is_positive.sum() == 1:
        highest = max([unlike, *scores[~is_positive]])
        return highest, "above 99 % of the training windows and above every negative example"
    every = np.concatenate([scores, among])
    targets = np.concatenate([is_positive, np.zeros(len(among), bool)]).astype(int)
    # Not by a sigmoid, whose flat end would move what lies midway towards the negatives.
    low, length = float(every.min()), max(float(np.ptp(every)), 1e-9)
    found = float(best_thresholds(((every - low) / length)[:, None], targets[:, None])[0])
    return (
        low + found * length,
        "highest F1 of held-out examples among negative examples and training windows",
    )


def _evidence(
    scores: FloatArray, is_positive: np.ndarray, videos: Sequence[str], held_out: str
) -> LabelEvidence:
    """What held-out examples show, by the rules of all labels, and some of so few."""
    positive_videos = {video for video, is_so in zip(videos, is_positive, strict=True) if is_so}
    num_videos = len(positive_videos)
    if held_out != "video":
        reason = "one video shows all positive examples, so that nothing says how it does on others"
        return LabelEvidence("untested", num_videos, reason=reason)
    if is_positive.all():
        reason = (
            "without negative examples, nothing says whether it tells the action or the scene; "
            "name some that are alike but lack it"
        )
        return LabelEvidence("weak", num_videos, reason=reason)
    (found,) = label_evidence(scores[:, None], is_positive[:, None].astype(int), videos)
    # Spans of one video are no proofs of their own: of a video with both kinds, all that can be
    # told is which of the two is which.
    negative_videos = {video for video, is_so in zip(videos, is_positive, strict=True) if not is_so}
    num_both = len(positive_videos & negative_videos)
    num_alone = len(positive_videos ^ negative_videos)
    by_chance = 1 / (2**num_both * math.comb(num_alone, num_videos - num_both))
    if found.status == "reliable" and by_chance > _MAX_CHANCE:
        reason = (
            f"positive examples of {counted(num_videos, 'video')} and negative ones of "
            f"{counted(len(negative_videos), 'video')} are told apart by chance in "
            f"{by_chance:.0%} of all cases; name examples of more videos"
        )
        return replace(found, status="weak", reason=reason)
    return found
