"""Settings of windows, views and segments."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Literal

from msqnet.errors import check, check_numbers


@dataclass(frozen=True)
class WindowConfig:
    """How a long video is cut into windows.

    Attributes:
        window_seconds: Length of a window; by default the length the model was trained on.
        stride_seconds: Time from the start of one window to the start of the next; by default about
            half a window, such that overlapping windows share frames.
        batch_size: Windows scored at a time.
        fps: Frames a second of folders of images, and of raw streams that state no rate; 25 is
            assumed without it.
    """

    window_seconds: float | None = None
    stride_seconds: float | None = None
    batch_size: int = 8
    fps: float | None = None

    def __post_init__(self) -> None:
        check_numbers(self, ["window_seconds", "stride_seconds", "fps"], batch_size=1)


@dataclass(frozen=True)
class SegmentConfig:
    """How a timeline of scores becomes segments.

    Attributes:
        threshold: Lowest score, 0 to 1, at which an action counts as present; by default the
            model's own threshold of each label.
        min_duration_seconds: Shorter segments are dropped.
        max_gap_seconds: Gaps of one label up to this length are closed.
        include_weak: Make segments of labels too that the model was not shown to recognise, or that
            were annotated for other actors only.
        ood: Time that is unlike the training videos (out of distribution): `hide` makes no segments
            there, `report` makes segments and says where it is, `ignore` does not look for it.
    """

    threshold: float | None = None
    min_duration_seconds: float = 0.0
    max_gap_seconds: float = 0.5
    include_weak: bool = False
    ood: Literal["hide", "report", "ignore"] = "hide"

    def __post_init__(self) -> None:
        choices = ("hide", "report", "ignore")
        check(self.ood in choices, f"ood {self.ood!r}: expected one of {', '.join(choices)}")
        check_numbers(self, (), ["threshold"], min_duration_seconds=0, max_gap_seconds=0)


@dataclass(frozen=True)
class ViewConfig:
    """How many views of a clip are scored, and how their scores are merged.

    Attributes:
        num_clips: Views over time: each has T frames over the row's whole time, between the frames
            of the others.
        crops: Views in space: 1 is the centre, 3 are both ends and the centre of the long side.
        merge: `mean` or `max` of the views' scores, label by label, after sigmoid or softmax.
    """

    num_clips: int = 1
    crops: Literal[1, 3] = 1
    merge: Literal["mean", "max"] = "mean"

    def __post_init__(self) -> None:
        check_numbers(self, num_clips=1)
        check(self.crops in (1, 3), f"crops {self.crops}: expected 1 or 3")
        check(self.merge in ("mean", "max"), f"merge {self.merge!r}: expected mean or max")

    @property
    def num_views(self) -> int:
        """Views of a row in time and space."""
        return self.num_clips * self.crops


@dataclass(frozen=True)
class ViewChoice:
    """Views that replace those of the protocol.

    Attributes:
        num_clips: Views over time, each of T frames over the row's whole time.
        crops: Views in space: 1 is the centre, 3 are both ends and the centre of the long side.
        merge: `mean` or `max` of the views' scores.
    """

    num_clips: int | None = None
    crops: Literal[1, 3] | None = None
    merge: Literal["mean", "max"] | None = None

    def over(self, views: ViewConfig) -> ViewConfig:
        """The given views with these settings in place of theirs; raises `ConfigError`."""
        chosen = {name: value for name, value in asdict(self).items() if value is not None}
        return replace(views, **chosen)
