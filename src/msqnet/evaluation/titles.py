"""How figures of `metrics.json` are called where people read them, in the order of reading."""

from __future__ import annotations

FIGURE_TITLES: dict[str, str] = {
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
"""Of every evaluation."""

PROTOCOL_TITLES: dict[str, str] = {
    "hit_at_1": "hit@1, rows of one or several labels",
    "label_accuracy": "label accuracy (TP + TN) / (N K) at 0.5",
    "all_negative_label_accuracy": "label accuracy of an answer that never names a label",
    "charades_classify_map": "mAP as Charades_v1_classify.m computes it",
    "charades_localize_map": "mAP as Charades_v1_localize.m computes it",
}
"""Of figures that a protocol adds, or puts first."""


def shown_figures(protocol: dict[str, object], beside: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Keys of the figures to show: those that the protocol counts, then those of every evaluation.

    Args:
        protocol: what `metrics.json` says about it.
        beside: keys of figures that are read with its headline.
    """
    named = (str(protocol["headline"]), *beside)
    return (*named, *(name for name in FIGURE_TITLES if name not in named))
