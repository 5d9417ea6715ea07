from __future__ import annotations

import io
import json
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from msqnet.answers import Answer
from msqnet.errors import VocabularyError
from msqnet.inference.asking import (
    Asking,
    Question,
    find_questions,
    frames_of,
    labels_about,
    parse_answer,
)
from msqnet.inference.endpoint import Endpoint, NoAnswer
from msqnet.labels import LabelSet
from msqnet.predictions import Timeline, VideoPredictions, WindowScores
from msqnet.video.reader import open_video
from tests.fixtures.large_models import Reply, completion, large_model, saw
from tests.unit.inference.brightness import BLACK, WHITE, write_video

if TYPE_CHECKING:
    from pathlib import Path

    from tests.fixtures.large_models import LargeModel

LABELS = LabelSet(("walking", "two animals fighting", "ge\u00f6ffnet"))


def predictions_of(
    scores: list[list[float]],
    unknown: list[bool] | None = None,
    thresholds: tuple[float, ...] = (0.5, 0.5, 0.5),
    step_seconds: float = 1.0,
    unproven: dict[str, str] | None = None,
) -> VideoPredictions:
    """Steps of equal length, with a row of scores each."""
    edges = np.arange(len(scores) + 1) * step_seconds
    flags = None if unknown is None else np.array(unknown)
    array = np.array(scores, np.float32)
    end = float(edges[-1])
    return VideoPredictions(
        *("clip.mp4", LABELS, end, 64, 48, 1.0, 1.0),
        windows=(WindowScores(0, end, array[0]),),
        timeline=Timeline(edges, array, flags),
        segments=(),
        thresholds=thresholds,
        unproven=unproven or {},
    )


def intervals(found: list[Question]) -> list[tuple[float, float]]:
    return [(item.start_seconds, item.end_seconds) for item in found]


def test_runs_near_the_threshold_are_unsure_and_the_nearest_comes_first() -> None:
    scores = [[0.1, 0, 0], [0.35, 0, 0], [0.4, 0, 0], [0.1, 0, 0], [0, 0.52, 0], [0, 0, 0.9]]
    found = find_questions(predictions_of(scores))
    assert intervals(found) == [(4, 5), (1, 3)]
    assert [item.reason for item in found] == [
        "two animals fighting 0.52, threshold 0.50",
        "walking 0.40, threshold 0.50",
    ]


def test_a_sure_segment_is_not_asked_about_where_its_score_rises_and_falls() -> None:
    rising = [[0.1, 0, 0], [0.45, 0, 0], [0.9, 0, 0], [0.45, 0, 0], [0.1, 0, 0]]
    assert find_questions(predictions_of(rising)) == []
    found = find_questions(predictions_of(rising), ["walking"])
    assert intervals(found) == [(1, 4)]


def test_nearness_is_that_of_odds_so_that_low_thresholds_work() -> None:
    scores = [[0.05, 0, 0], [0.2, 0, 0], [0.05, 0, 0]]
    found = find_questions(predictions_of(scores, thresholds=(0.14, 0.5, 1.1)))
    assert intervals(found) == [(1, 2)]


def test_unknown_time_goes_first_and_its_scores_say_nothing() -> None:
    scores = [[0.5, 0, 0], [0, 0, 0], [0.5, 0.5, 0]]
    found = find_questions(predictions_of(scores, [False, False, True]))
    assert intervals(found) == [(0, 1), (2, 3)] or intervals(found) == [(2, 3), (0, 1)]
    assert found[0].distance == 0
    by_start = {item.start_seconds: item.reason for item in found}
    assert by_start[2] == "unlike the training videos"


def test_what_is_not_reported_is_asked_about_by_name_only() -> None:
    found = predictions_of([[0.5, 0, 0]], unproven={"walking": "weak"})
    assert find_questions(found) == []
    assert intervals(find_questions(found, ["walking"])) == [(0, 1)]


def test_overlapping_intervals_are_one_question_and_long_ones_are_cut() -> None:
    scores = [[0.4, 0.4 if 2 <= step < 4 else 0, 0] for step in range(25)]
    found = find_questions(predictions_of(scores))
    starts, ends = zip(*sorted(intervals(found)), strict=True)
    assert starts == pytest.approx((0, 25 / 3, 50 / 3))
    assert ends == pytest.approx((25 / 3, 50 / 3, 25))
    reasons = {round(item.start_seconds): item.reason for item in found}
    assert reasons[0].count("threshold") == 2
    assert reasons[8] == "walking 0.40, threshold 0.50"


def test_words_name_labels_in_any_spelling() -> None:
    assert labels_about(LABELS, ["Fight", "GE\u00d6FFNET"]) == LABELS.names[1:]
    with pytest.raises(VocabularyError, match=r"--ask-about bicycle: in no label; known are walk"):
        labels_about(LABELS, ["walking", "bicycle"])


def test_frames_have_their_own_times_and_a_bounded_size(tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.mov", [BLACK, WHITE] * 5, fps=5, size=(1600, 40))
    with open_video(path) as video:
        found = frames_of(video, Question(0.3, 1.1, "", 0), 4)
        assert list(found) == pytest.approx([0.4, 0.6, 0.8, 1.0])
        one = frames_of(video, Question(0.41, 0.59, "", 0), 8)
    assert list(one) == pytest.approx([0.4])  # one frame is shown all the time
    image = Image.open(io.BytesIO(found[min(found)]))
    assert (image.format, max(image.size)) == ("JPEG", 768)


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ('{"labels": ["walking"], "sentence": "A man."}', (("walking",), (), "A man.")),
        ('Sure!\n```json\n{"labels": [], "sentence": "None."}\n```', ((), (), "None.")),
        (
            '<think>{"labels": ["walking"]}?</think>'
            '{"labels": ["Two_Animals fighting", "jogging"]}',
            (("two animals fighting",), ("jogging",), ""),
        ),
        ('{"labels": "ge\u00f6ffnet", "sentence": 3}', (("ge\u00f6ffnet",), (), "")),
        ('{"labels": "none"}', ((), (), "")),
        ('{"labels": null}', ((), (), "")),
        ('{"answer": {"labels": ["walking"], "sentence": "a\\n\\u001b[2Jb"}}',
         (("walking",), (), "a [2Jb")),
    ],
)  # fmt: skip
def test_answers_are_found_in_what_models_write(
    written: str, expected: tuple[tuple[str, ...], tuple[str, ...], str]
) -> None:
    assert parse_answer(written, LABELS) == expected


@pytest.mark.parametrize(
    "written",
    ["", "I see a man.", '{"labels": [1, 2]}', '{"labels": {"a": 1}}', "{" * 50_000, "[]",
     '{"a":' * 5_000],
)  # fmt: skip
def test_other_text_is_no_answer(written: str) -> None:
    with pytest.raises(NoAnswer, match="not the JSON that was asked for"):
        parse_answer(written, LABELS)


def ask_all(model: LargeModel, path: Path, count: int, budget: int = 9) -> list[Answer | None]:
    asking = Asking(Endpoint(model.url, "big"), 2, budget)
    with open_video(path) as video:
        return [asking.ask(video, Question(n, n + 1, "why", 0), LABELS) for n in range(count)]


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return write_video(tmp_path / "clip.mov", [BLACK] * 60)


def test_answer_holds_what_was_sent_where_and_what_came_back(clip: Path) -> None:
    with large_model(saw("walking", "jogging", sentence="A man walks.")) as model:
        (answer,) = ask_all(model, clip, 1)
    assert answer == Answer(
        *(0, 1, "why", "big", model.url, (0.2, 0.7)),
        *(("walking",), ("jogging",), "A man walks."),
    )
    assert answer.text == (
        "0:00.00 to 0:01.00, asked big: walking; no labels: jogging; A man walks."
    )
    (received,) = model.received
    assert "0.200 s, 0.700 s" in received.text
    assert json.dumps(list(LABELS.prompts), ensure_ascii=False) in received.text
    assert [picture.max() for picture in received.pictures] == [BLACK, BLACK]


def test_budget_counts_requests_that_are_tried_again(clip: Path) -> None:
    wait = Reply(429, headers={"Retry-After": "0"})
    with large_model(wait, saw("walking")) as model:
        answers = ask_all(model, clip, 3, budget=3)
        assert len(model.received) == 3
    assert [answer.labels if answer else None for answer in answers] == [
        ("walking",), ("walking",), None,
    ]  # fmt: skip


def test_nothing_more_is_sent_where_others_would_fail_too(clip: Path) -> None:
    with large_model(Reply(401)) as model:
        answers = ask_all(model, clip, 3)
        assert len(model.received) == 1
    assert answers[0] is not None
    assert answers[0].error.startswith("status 401")
    assert answers[1:] == [None, None]


def test_three_failures_in_a_row_are_enough(clip: Path) -> None:
    with large_model(Reply(500), saw(), Reply(500), completion("no JSON"), Reply(500)) as model:
        answers = ask_all(model, clip, 6)
        assert len(model.received) == 5
    assert [bool(answer and answer.error) for answer in answers] == [
        *(True, False, True, True, True, False),
    ]
    assert answers[-1] is None


def test_answers_go_through_json_and_replace_those_to_the_same_question() -> None:
    found = predictions_of([[0.5, 0, 0]])
    assert "answers" not in json.loads(found.to_json())
    failed = Answer(0, 1, "why", "big", "http://127.0.0.1/v1", (0.5,), error="status 500")
    other = replace(failed, model="other", error="", labels=("walking",), sentence="\ud800")
    found = found.with_answers([other, failed])
    assert VideoPredictions.from_json(found.to_json()) == found
    again = found.with_answers([replace(failed, error="")])
    assert [item.error for item in again.answers] == ["", ""]
    elsewhere = replace(failed, error="", endpoint="http://127.0.0.1:8000/v1")
    assert [item.error for item in found.with_answers([elsewhere]).answers] == ["", ""]
    assert failed.text == "0:00.00 to 0:01.00, asked big: no answer: status 500"
