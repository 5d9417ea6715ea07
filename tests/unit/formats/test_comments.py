from __future__ import annotations

import pytest

from msqnet.formats.annotations import Event, comment_with_score, split_comment


@pytest.mark.parametrize("score", [None, 0.0, 1.0, 0.87, 1e-7, 0.12345678901234567])
@pytest.mark.parametrize("comment", ["", "wet", "a; b", "score", "two\nlines"])
def test_score_and_comment_come_back(score: float | None, comment: str) -> None:
    event = Event("a", 0.0, 1.0, score=score, comment=comment)
    assert split_comment(comment_with_score(event)) == (score, comment)


@pytest.mark.parametrize("comment", ["score=2", "score=x", "score=-1", "score=", "a score=0.5"])
def test_other_comments_have_no_score(comment: str) -> None:
    assert split_comment(comment) == (None, comment)
