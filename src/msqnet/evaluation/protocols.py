"""Named evaluation protocols: unit that is scored, views of each, metric that counts.

Nothing but settings is imported here, so that the command line can list them at once.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from msqnet.config import ViewChoice, ViewConfig
from msqnet.errors import ConfigError

ProtocolName = Literal[
    "standard",
    "timeline",
    "charades_video",
    "charades_localisation",
    "hmdb51",
    "hockey_part",
    "thumos14_trimmed",
    "thumos14_untrimmed",
    "reference_micro_ap",
    "reference_charades_oracle",
]

Unit = Literal["rows", "videos", "windows", "points", "oracle", "timeline"]

_REFERENCE_NOTE = (
    "This is the paper's released code's protocol, not comparable with macro mAP or with a result "
    "of any other protocol."
)


@dataclass(frozen=True)
class Protocol:
    """How a model is evaluated.

    Attributes:
        what: Description in one sentence.
        headline: Key in `metrics.json` of the metric that counts.
        beside: Keys of metrics that should be read with it.
        unit: Unit that is scored: `rows` of any kind; `videos`, rows without times; `windows` over
            whole videos, merged; `points` in time; `oracle`, annotated intervals of videos alone;
            `timeline`, seconds and segments of whole videos.
        views: Views of each row; None where scores are over time.
        has_top_k: Whether rows count as having one label each, so that top-1 and top-5 are given;
            None takes it from the model.
        is_reference: Whether this reproduces the paper's released code instead of being sound.
    """

    name: ProtocolName
    what: str
    headline: str
    beside: tuple[str, ...] = ()
    unit: Unit = "rows"
    views: ViewConfig | None = field(default_factory=ViewConfig)
    has_top_k: bool | None = None
    is_reference: bool = False

    @property
    def definition(self) -> str:
        """What it is, and for one of the released code that it is."""
        return f"{self.what} {_REFERENCE_NOTE}" if self.is_reference else self.what

    def views_with(self, choice: ViewChoice | None) -> ViewConfig | None:
        """The protocol's views, or what was asked for instead; None where there are none.

        Views that have no meaning under this protocol are a `ConfigError`.
        """
        choice = choice or ViewChoice()
        if self.views is not None and self.unit in ("rows", "videos"):
            return choice.over(self.views)
        is_asked = choice.num_clips is not None or choice.crops is not None
        if is_asked or (choice.merge is not None and self.unit != "windows"):
            raise ConfigError(f"protocol {self.name}: {_NO_VIEWS[self.unit]}")
        return None if self.views is None else choice.over(self.views)

    def describe(self, views: ViewConfig | None) -> dict[str, Any]:
        """JSON values that every output gives about the protocol and the views in use."""
        return {
            "name": self.name,
            "definition": self.definition,
            "is_reference": self.is_reference,
            "headline": self.headline,
            "views": None if views is None else asdict(views),
            "views_changed": views != self.views,
        }


_NO_VIEWS: dict[Unit, str] = {
    "windows": "it scores windows over whole videos, so only views.merge has a meaning; leave out "
    "views.num_clips and views.crops",
    "points": "it reads scores off the timeline at given times; leave out the views",
    "oracle": "it looks once at the centres, as the released code does; leave out the views",
    "timeline": "it scores seconds and segments of the timeline; leave out the views",
}

PROTOCOLS: dict[ProtocolName, Protocol] = {
    "standard": Protocol(
        "standard",
        "Every row is looked at as a whole, T frames from T equal segments; the headline is macro "
        "mAP over the labels that have a positive, once over all rows.",
        "macro_map",
    ),
    "timeline": Protocol(
        "timeline",
        "Whole videos are predicted window by window and compared with rows that have start and "
        "end: per-second macro AP and F1, segment mAP at tIoU 0.1 to 0.7, segmental F1; time that "
        "no row covers does not count.",
        "per_second.macro_map",
        unit="timeline",
        views=None,
    ),
    "charades_video": Protocol(
        "charades_video",
        "Every video is one row with all its actions, looked at in several clips (10, merged by "
        "their maximum, unless views say otherwise); the headline is macro mAP over the classes, "
        "with videos without an action as negatives like any other; charades_classify_map is what "
        "Charades_v1_classify.m computes and published results give.",
        "macro_map",
        ("charades_classify_map", "weighted_map"),
        unit="videos",
        views=ViewConfig(num_clips=10, merge="max"),
    ),
    "charades_localisation": Protocol(
        "charades_localisation",
        "Per-frame mAP at 25 points of every video, at 0, 1/25, ... 24/25 of its annotated length "
        "as in Charades_v1_localize.m: an action holds at a point from its start to its end, both "
        "included, and a point's scores are those of the timeline; charades_localize_map is what "
        "that script computes.",
        "macro_map",
        ("charades_localize_map", "weighted_map"),
        unit="points",
        views=None,
    ),
    "hmdb51": Protocol(
        "hmdb51",
        "Top-1 accuracy on the test rows of one official split; the result to report is the mean "
        "over the three splits.",
        "top_1_accuracy",
        ("top_5_accuracy", "macro_map"),
        has_top_k=True,
    ),
    "hockey_part": Protocol(
        "hockey_part",
        "Label accuracy (TP + TN) / (N K) at a threshold of 0.5 on the held-out part; an answer "
        "that never names a label gets all_negative_label_accuracy, so F1, subset accuracy and mAP "
        "stand beside it.",
        "label_accuracy",
        ("all_negative_label_accuracy", "macro_f1", "micro_f1", "subset_accuracy", "macro_map"),
    ),
    "thumos14_trimmed": Protocol(
        "thumos14_trimmed",
        "Top-1 accuracy on trimmed instances, each a row with start, end and one label.",
        "top_1_accuracy",
        ("top_5_accuracy", "macro_map"),
        has_top_k=True,
    ),
    "thumos14_untrimmed": Protocol(
        "thumos14_untrimmed",
        "Whole untrimmed videos with all their labels; a video's score is that of its windows, "
        "merged by their mean unless views say otherwise; the headline is macro mAP, beside top-1 "
        "over videos of one label and hit@1 over all.",
        "macro_map",
        ("top_1_accuracy", "hit_at_1"),
        unit="windows",
        has_top_k=True,
    ),
    "reference_micro_ap": Protocol(
        "reference_micro_ap",
        "Micro average precision of every batch of 8 rows in the order of the table, averaged over "
        "batches weighted by size, one view a row.",
        "reference_micro_ap",
        ("macro_map",),
        is_reference=True,
    ),
    "reference_charades_oracle": Protocol(
        "reference_charades_oracle",
        "ORACLE: the ground truth chooses what is seen: frames come from annotated actions only, "
        "T centres of what remains of each test video, and the targets are the labels of exactly "
        "those frames; videos without an action are left out.",
        "reference_micro_ap",
        ("macro_map",),
        unit="oracle",
        is_reference=True,
    ),
}
"""Every protocol by its name."""

METRIC_TITLES: dict[str, str] = {
    "macro_map": "macro mAP",
    "well_supported_macro_map": "macro mAP, well-supported labels",
    "within_source_macro_map": "macro mAP within source",
    "within_actor_macro_map": "macro mAP within actor",
    "micro_ap": "micro AP",
    "weighted_map": "weighted mAP",
    "reference_micro_ap": "reference micro-AP (mean over batches)",
    "macro_f1": "macro F1 at the stored thresholds",
    "micro_f1": "micro F1 at the stored thresholds",
    "subset_accuracy": "subset accuracy, rows with all labels known",
    "top_1_accuracy": "top-1 accuracy",
    "top_5_accuracy": "top-5 accuracy",
}
"""Titles of metrics of every evaluation, in the order of reading."""

PROTOCOL_TITLES: dict[str, str] = {
    "hit_at_1": "hit@1, rows of one or several labels",
    "label_accuracy": "label accuracy (TP + TN) / (N K) at 0.5",
    "all_negative_label_accuracy": "label accuracy of an answer that never names a label",
    "charades_classify_map": "mAP as Charades_v1_classify.m computes it",
    "charades_localize_map": "mAP as Charades_v1_localize.m computes it",
}
"""Titles of metrics that a protocol adds, or puts first."""


def shown_metrics(protocol: dict[str, object], beside: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Keys of the metrics to show: those that the protocol counts, then those of every evaluation.

    ``protocol`` is its entry in `metrics.json`.
    """
    named = (str(protocol["headline"]), *beside)
    return (*named, *(name for name in METRIC_TITLES if name not in named))
