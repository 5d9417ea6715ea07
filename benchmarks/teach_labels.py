"""Labels taught from few examples beside a linear probe, on labels that a model was not trained on.

    python -m benchmarks.teach_labels --data many_actors.csv --features features.npz

The labels were chosen beforehand: 20 training windows and more, of several groups, of people and of
animals, in ordinary and in special sources. Each is left out in turn: the background is training
windows that lack it, and 1 to 20 of its training windows, of as many groups as there are, are its
examples, drawn 5 times. `teach` is `msqnet.training.teaching`, the probe a balanced logistic
regression (C 0.01) on the same standardised features of the same rows, the background's among them.
`train` is what `msqnet train` makes of so few rows by default, its direct path, without augmented
views: that regression on features of its own scale, in which whole frames count half.
With negatives, both get as many rows of the label's own sources that lack it.

Two backgrounds: with windows of the label's own sources, as where a model is taught about footage
that it knows, and without, as where the footage is new to it.

With `--fine-tune FOLDER`, the decoder of the shipped model is trained on the same rows beside them
(`msqnet train --init-from mixed-actors-lite --train.decoder-rows 0`, 8 epochs, the last one), with
as many negatives and the label's own sources, for 5 examples and one draw: minutes a label. The
shipped model was trained on four of the five labels, which helps it. FOLDER keeps features.

Figures are average precision on the `test` rows where the label is known, less the share of
positives (chance), as means over labels and draws: on all of these rows, and on those of the
sources that show the label.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from sklearn.linear_model import LogisticRegression

from msqnet.cli.main import exit_code_of
from msqnet.config import ModelOptions
from msqnet.data.dataset import read_window
from msqnet.data.table import read_table
from msqnet.inference.backends import features_of_clips
from msqnet.inference.predictor import load_backend
from msqnet.inference.taught import clip_features
from msqnet.labels import LabelSet
from msqnet.metrics.average_precision import average_precision
from msqnet.model.out_of_distribution import spread_over_groups
from msqnet.models import SHIPPED_MODEL
from msqnet.models.taught import Background, standardised
from msqnet.training.examples import Example, ExampleFeatures
from msqnet.training.teaching import fit_head, taught_label
from msqnet.video.transforms import evaluation_clip

if TYPE_CHECKING:
    from msqnet.data.records import ClipTable

LABELS = ("boxing", "face_washing", "fighting", "rearing", "walking")
NUM_EXAMPLES = (1, 2, 5, 10, 20)
NUM_DRAWS = 5
NUM_BACKGROUND = 256
NUM_TOLD = 5  # examples of each kind for which thresholds and statuses are looked at


def table_features(table: ClipTable, kept: Path) -> np.ndarray:
    """(V, D) float32 features of all rows by the shipped model, computed once and kept."""
    if kept.is_file():
        found: np.ndarray = np.load(kept)["features"]
        return found
    backend = load_backend(ModelOptions(precision="fp32"))  # as `msqnet teach` does
    parts = []
    for record in table.records:
        clip = evaluation_clip(read_window(record, backend.clip_config), backend.clip_config)
        frames, crops = features_of_clips(backend, clip.pixels[None]), None
        if clip.motion_crop is not None:
            crops = features_of_clips(backend, clip.motion_crop[None], is_motion_crop=True)
        outputs = backend.clip_outputs(frames, crops)
        parts.append(clip_features(frames, crops, outputs))
    joined = np.concatenate(parts)
    np.savez(kept, features=joined)
    return joined


class Case:
    """One label that is left out: where its examples come from, and what it is measured on."""

    def __init__(self, table: ClipTable, features: np.ndarray, label: str, *, is_new: bool):
        records, self.table, self.features = table.records, table, features
        targets = table.targets(LabelSet((label,)))[:, 0]
        source = np.array([record.source for record in records])
        is_train = np.array([record.split == "train" for record in records])
        shows = set(source[targets == 1].tolist())
        self.is_own = np.array([name in shows for name in source])
        self.positives = np.flatnonzero(is_train & (targets == 1))
        self.negatives = np.flatnonzero(is_train & (targets == 0) & self.is_own)
        self.test = np.flatnonzero(~is_train & (targets >= 0))
        self.wanted = targets[self.test].astype(int)
        others = np.flatnonzero(is_train & (targets != 1) & ~(self.is_own & is_new))
        self.rows = others[spread_over_groups(self.groups(others), NUM_BACKGROUND, 0)]
        self.background = Background.fit(features[self.rows])
        self.scale = self.background.mean, self.background.std

    def groups(self, rows: np.ndarray) -> list[str]:
        """Groups of some rows."""
        ids = self.table.group_ids()
        return [ids[row] for row in rows.tolist()]

    def drawn(self, rows: np.ndarray, num: int, seed: int) -> np.ndarray:
        """At most so many rows, of as many groups as there are."""
        return rows[spread_over_groups(self.groups(rows), num, seed)]

    def gains(self, scores: np.ndarray) -> tuple[float, float]:
        """AP less chance of scores of the test rows: on all of them, and on own sources."""
        found = []
        for chosen in (np.ones(len(self.test), bool), self.is_own[self.test]):
            wanted = self.wanted[chosen][:, None]
            found.append(average_precision(scores[chosen][:, None], wanted)[0] - wanted.mean())
        return found[0], found[1]

    def compare(self, num: int, seed: int, *, with_negatives: bool) -> dict[str, tuple]:
        """The gains of both methods for one draw of examples."""
        examples = (
            self.drawn(self.positives, num, seed),
            self.drawn(self.negatives, num if with_negatives else 0, seed),
        )
        positives, negatives, test = (
            standardised(self.features[rows], *self.scale) for rows in (*examples, self.test)
        )
        background = self.background.standardised
        head = fit_head(background, positives, negatives)
        rows = np.concatenate([background, negatives, positives])
        wanted = np.arange(len(rows)) >= len(rows) - len(positives)
        probe = LogisticRegression(C=0.01, class_weight="balanced", max_iter=1000)
        probe.fit(rows, wanted)
        return {
            "teach": self.gains(head.scores(test)),
            "probe": self.gains(probe.decision_function(test)),
            "train": self.trained(np.concatenate([self.rows, *examples[::-1]]), wanted),
        }

    def trained(self, rows: np.ndarray, shows: np.ndarray) -> tuple[float, float]:
        """The gains of the direct path that `msqnet train` fits to so few rows, of one view."""
        import torch

        from msqnet.training.fitted_parts import fit_linear

        found = self.features[rows].astype(np.float64)
        mean, deviation = found.mean(axis=0), found.std(axis=0)
        deviation[deviation <= 1e-6] = 1
        deviation[: len(mean) // 2] *= 2  # of whole frames, before those of motion crops
        queries = torch.from_numpy(((found - mean) / deviation).astype(np.float32))
        targets = torch.from_numpy(shows.astype(np.float32))[:, None]
        weight, _ = fit_linear(queries, targets, 0.01)
        return self.gains((self.features[self.test] - mean) / deviation @ weight[0].numpy())

    def fine_tuned(self, num: int, seed: int, folder: Path) -> tuple[float, float]:
        """The gains of the decoder of the shipped model, trained on the rows of one draw."""
        import torch

        from msqnet.config import ArchConfig, AugmentationConfig
        from msqnet.model.pretrained import MSQNet
        from msqnet.model.registry import encoder_spec
        from msqnet.training.features import FeatureDataset
        from msqnet.training.fit import fit, stored_features
        from msqnet.training.table_training import prepare
        from msqnet.training.trainer import part_logits

        positives = self.drawn(self.positives, num, seed)
        rows = np.concatenate([self.rows, self.drawn(self.negatives, num, seed), positives])
        rows = np.array(list(dict.fromkeys(rows.tolist())))
        settings = replace(
            encoder_spec("lite").recipe().train,
            **{"folds": 0, "validation_share": 0.0, "decoder_rows": 0, "cached_views": 1},
            report_to="none",
        )
        with tempfile.TemporaryDirectory() as work:
            run = prepare(
                *(self.relabelled(rows, np.isin(rows, positives)), ArchConfig(), settings),
                AugmentationConfig(),
                **{"split": None, "skip_errors": False, "task": "multi_label"},
                **{"folder": Path(work) / "run", "features": folder, "init_from": SHIPPED_MODEL},
                report=lambda _line: None,
            )
            model = MSQNet.from_pretrained(fit(run, report=lambda _line: None))
        test = self.relabelled(self.test, self.wanted == 1)
        store = stored_features(model, run, test, augmented=False)
        every = np.arange(len(test))
        data = FeatureDataset(store, every, torch.from_numpy(test.targets(run.labels)))
        return self.gains(part_logits(model, data, run.train.batch_size)[0, :, 0])

    def relabelled(self, rows: np.ndarray, shows: np.ndarray) -> ClipTable:
        """Some rows, of which nothing is known but one label."""
        known = {"annotated": frozenset(["x"]), "split": "", "holds_throughout": False}
        pairs = zip(self.table.take(rows).records, shows.tolist(), strict=True)
        records = [replace(row, labels=("x",) if is_so else (), **known) for row, is_so in pairs]
        return replace(self.table, records=tuple(records))

    def told(self, num: int, seed: int) -> tuple[str, float, float, float]:
        """Status of a label of so many positives and negatives; precision, recall, AP gain.

        Of the test rows of its own sources, at its own threshold.
        """
        rows = [self.drawn(part, num, seed) for part in (self.positives, self.negatives)]
        groups = self.groups(np.concatenate(rows))
        none = np.zeros((1, 0), np.float32)
        found = [ExampleFeatures(self.features[row][None], none) for row in np.concatenate(rows)]
        examples = [Example(name) for name in groups]
        taught, lesson = taught_label("x", examples, found, len(rows[0]), self.background)
        own = self.is_own[self.test]
        scores = taught.scores(self.features[self.test[own]])[:, 0]
        hits, wanted = scores >= 0.5, self.wanted[own] == 1
        precision = (hits & wanted).sum() / max(hits.sum(), 1)
        recall = (hits & wanted).sum() / max(wanted.sum(), 1)
        every = taught.scores(self.features[self.test])[:, 0]
        return lesson.evidence.status, float(precision), float(recall), self.gains(every)[1]


def main() -> None:
    """Compare, and print tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", required=True, help="table of clips, with sources")
    parser.add_argument("--features", required=True, help="file that keeps the features (.npz)")
    parser.add_argument("--fine-tune", type=Path, metavar="FOLDER", help="fine-tune alone")
    settings = parser.parse_args()
    table = read_table(settings.data)
    features = table_features(table, Path(settings.features))
    if settings.fine_tune is not None:
        fine_tune({label: Case(table, features, label, is_new=False) for label in LABELS}, settings)
        return
    for is_new in (False, True):
        cases = {label: Case(table, features, label, is_new=is_new) for label in LABELS}
        print(f"background {'without' if is_new else 'with'} the label's own sources")
        for with_negatives in (False, True):
            compare(list(cases.values()), with_negatives=with_negatives)
        for label, case in cases.items():
            report(label, case)


def compare(cases: list[Case], *, with_negatives: bool) -> None:
    """One line for each method: mean gains by number of examples."""
    found = defaultdict(list)
    for case in cases:
        for num in NUM_EXAMPLES:
            for seed in range(NUM_DRAWS):
                for name, gains in case.compare(num, seed, with_negatives=with_negatives).items():
                    found[name, num].append(gains)
    kind = "as many negatives" if with_negatives else "no negatives"
    for name in ("teach", "probe", "train"):
        cells = []
        for num in NUM_EXAMPLES:
            every, own = np.mean(found[name, num], axis=0)
            cells.append(f"{every:.3f} / {own:.3f}")
        print(f"  {name}, {kind}: {' | '.join(cells)}", flush=True)
    better = [
        np.mean([a[1] > b[1] for a, b in zip(found["teach", n], found["probe", n], strict=True)])
        for n in NUM_EXAMPLES
    ]
    shares = " | ".join(f"{share:.0%}" for share in better)
    print(f"  own sources, draws in which teach is above the probe: {shares}", flush=True)


def fine_tune(cases: dict[str, Case], settings: argparse.Namespace) -> None:
    """Gains of fine-tuning beside both other methods, for one draw of each label."""
    found = []
    for label, case in cases.items():
        gains = case.compare(NUM_TOLD, 0, with_negatives=True)
        gains["fine-tuning"] = case.fine_tuned(NUM_TOLD, 0, settings.fine_tune)
        found.append(list(gains.values()))
        shown = (f"{name} {every:.3f} / {own:.3f}" for name, (every, own) in gains.items())
        print(f"{label}, {NUM_TOLD} of each: {', '.join(shown)}", flush=True)
    print(np.round(np.mean(found, axis=0), 3).tolist())


def report(label: str, case: Case) -> None:
    """Statuses, precision, recall and gain of one label."""
    found = [case.told(NUM_TOLD, seed) for seed in range(NUM_DRAWS)]
    statuses = ", ".join(f"{num} {name}" for name, num in Counter(f[0] for f in found).items())
    precision, recall, gain = np.mean([item[1:] for item in found], axis=0)
    print(
        f"  {label}, {NUM_TOLD} of each: {statuses}; own sources: precision {precision:.2f}, "
        f"recall {recall:.2f}, AP less chance {gain:.3f}",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(exit_code_of(main))
