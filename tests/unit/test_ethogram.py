"""The picture that notebooks show of predictions: bars at their times, names, notes; safe text."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

from msqnet.ethogram import ethogram_html

SVG = "{http://www.w3.org/2000/svg}"
LABELS = ("dig", "rear_up", "sit")


def drawn(
    segments: list[tuple[str, float, float, float]],
    unknown: list[tuple[float, float]] | None = None,
    labels: tuple[str, ...] = LABELS,
    title: str = "a.mp4",
    notes: tuple[str, ...] = (),
    withheld: tuple[str, ...] = (),
) -> ElementTree.Element:
    return ElementTree.fromstring(
        ethogram_html(title, 10.0, labels, segments, unknown or [], notes, withheld)
    )


def bars(picture: ElementTree.Element) -> list[tuple[float, float, str]]:
    """Left edge, width and tooltip of all bars."""
    found = []
    for rect in picture.iter(f"{SVG}rect"):
        told = rect.find(f"{SVG}title")
        if told is not None:
            found.append((float(rect.attrib["x"]), float(rect.attrib["width"]), str(told.text)))
    return found


def words(picture: ElementTree.Element) -> str:
    return " ".join(text.strip() for text in picture.itertext())


def test_bars_lie_where_the_axis_says() -> None:
    picture = drawn([("dig", 0.0, 4.0, 0.9), ("sit", 4.0, 10.0, 0.625)])
    places = {
        str(text.text): float(text.attrib["x"])
        for text in picture.iter(f"{SVG}text")
        if re.fullmatch(r"0:\d\d", str(text.text))
    }
    (first, first_width, dig), (second, second_width, sit) = bars(picture)
    assert first == pytest.approx(places["0:00"], abs=0.11)
    assert first + first_width == pytest.approx(places["0:04"], abs=0.11)
    assert second == pytest.approx(places["0:04"], abs=0.11)
    assert second + second_width == pytest.approx(places["0:10"], abs=0.11)
    assert dig == "dig: 0:00.00 to 0:04.00, score 0.90"
    assert sit == "sit: 0:04.00 to 0:10.00, score 0.62"


def test_labels_without_a_segment_are_named_below() -> None:
    assert "no segment: rear up, sit" in words(drawn([("dig", 1.0, 2.0, 0.5)]))


def test_labels_that_nothing_is_said_about_are_not_said_to_be_absent() -> None:
    told = words(drawn([("dig", 1.0, 2.0, 0.5)], withheld=("sit",)))
    assert "no segment: rear up" in told
    assert "no segment: rear up, sit" not in told
    assert "not reported: sit" in told
    assert "no segment" not in words(drawn([], [(0.0, 4.0), (4.0, 10.0)]))


def test_nothing_found_is_said() -> None:
    assert "no label reaches its threshold" in words(drawn([]))


def test_what_is_unlike_the_training_videos_is_hatched_and_said() -> None:
    picture = drawn([], [(2.0, 5.0)], notes=("30% of it is unlike",))
    assert [told for *_, told in bars(picture)] == [
        "0:02.00 to 0:05.00: unlike the training videos"
    ]
    assert "30% of it is unlike" in words(picture)
    assert "reaches its threshold" not in words(picture)


def test_text_of_users_is_text() -> None:
    odd = '<b>&"x'
    text = ethogram_html(odd, 1.0, [odd], [(odd, 0.0, 1.0, 1.0)], [], [odd])
    assert '<b>&"' not in text.replace("<b>&lt;b&gt;", "")
    assert words(ElementTree.fromstring(text)).count(odd) >= 4
    assert "\\udcff" in ethogram_html("\udcff.mp4", 1.0, [], [], [], [])  # a name that is not UTF-8
