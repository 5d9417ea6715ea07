"""A folder of results as one page."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html import unescape
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from msqnet.report.html import inline_json, write_report
from msqnet.report.results_reader import read_results
from tests.fixtures.result_folders import EVENT, HOSTILE_LABEL, HOSTILE_NAME, write_predictions
from tests.unit.inference.brightness import WHITE

if TYPE_CHECKING:
    from pathlib import Path


class Elements(HTMLParser):
    """Start tags with their attributes, and the text of scripts and styles by identity."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, dict[str, str | None], str]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.cdata_elem:
            self.texts.append((self.cdata_elem, self.tags[-1][1], data))

    def data(self, name: str) -> Any:
        return json.loads(self.text(name))

    def text(self, name: str) -> str:
        return "".join(text for _, attributes, text in self.texts if attributes.get("id") == name)


def report(folder: Path, preview_megabytes: float = 0) -> tuple[str, tuple[str, ...]]:
    path = folder / "report.html"
    notes = write_report(read_results(folder), path, preview_megabytes=preview_megabytes)
    return path.read_text(encoding="utf-8"), notes


def test_data_of_a_video_is_what_was_predicted(predicted: Path) -> None:
    text, _ = report(predicted)
    page = Elements(text)
    video = read_results(predicted).videos[1].predictions
    data = page.data("video-1")
    assert data["labels"] == ["bright", "dark"]
    assert data["edges_seconds"] == video.timeline.edges_seconds.tolist()
    scores = np.frombuffer(base64.b64decode(data["scores"]), dtype="<f4")
    np.testing.assert_array_equal(scores, video.timeline.scores.ravel())
    settings = data["provenance"]["settings"]
    assert settings["segments"]["max_gap_seconds"] == 0
    # Without it the page would place borders elsewhere than the files.
    assert settings["border_reach_seconds"] == video.provenance["settings"]["border_reach_seconds"]
    middles = [thumbnail["seconds"] for thumbnail in data["thumbnails"]]
    assert middles == pytest.approx([1.5, 9])
    for thumbnail in data["thumbnails"]:
        assert base64.b64decode(thumbnail["jpeg"])[:3] == b"\xff\xd8\xff"


def test_failures_are_listed_with_their_cause(predicted: Path) -> None:
    text, _ = report(predicted)
    assert "1 input gave no result" in text
    (failure,) = read_results(predicted).failures
    assert failure.cause in unescape(text)


@pytest.mark.parametrize("kind", ["predicted", "evaluated"])
def test_page_asks_for_nothing_outside_itself(kind: str, request: pytest.FixtureRequest) -> None:
    text, _ = report(request.getfixturevalue(kind), preview_megabytes=1)
    page = Elements(text)
    for _, attributes in page.tags:
        for name in ("src", "href", "action", "poster", "srcset"):
            target = attributes.get(name) or "#"
            assert target.startswith(("#", "data:image/jpeg;base64,"))
    styles = "".join(content for tag, _, content in page.texts if tag == "style")
    assert "url(" not in styles
    assert "@import" not in styles


def test_only_the_scripts_and_styles_of_the_page_may_run(evaluated: Path) -> None:
    text, _ = report(evaluated)
    page = Elements(text)
    (policy,) = (
        attributes["content"]
        for tag, attributes in page.tags
        if attributes.get("http-equiv") == "Content-Security-Policy"
    )
    assert policy is not None
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    allowed = set(re.findall(r"sha256-([^']+)", policy))
    run = [text for tag, attributes, text in page.texts if "type" not in attributes]
    assert len(run) == 4  # one style and three scripts
    assert {
        base64.b64encode(hashlib.sha256(content.encode()).digest()).decode() for content in run
    } == allowed
    assert not [attributes for _, attributes in page.tags if "style" in attributes]
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]


def test_labels_and_names_are_text_and_never_markup(tmp_path: Path, evaluated: Path) -> None:
    folder = write_predictions(tmp_path, {HOSTILE_NAME: EVENT}, labels=(HOSTILE_LABEL, "dark"))
    for path in evaluated.iterdir():
        path.rename(folder / path.name)
    text, _ = report(folder)
    page = Elements(text)
    assert not [attributes for _, attributes in page.tags if "onerror" in attributes]
    assert {tag for tag, _ in page.tags if tag in ("b", "img")} <= {"img"}
    assert page.data("video-0")["labels"] == [HOSTILE_LABEL, "dark"]
    assert page.data("video-0")["name"] == HOSTILE_NAME
    assert HOSTILE_LABEL in unescape(text)


@pytest.mark.parametrize(
    "value", ["</script>", "<!--<script>", "]]>", "\u2028\u2029", "&lt;", "\\u003c", "\ud800"]
)
def test_inline_json_holds_nothing_that_ends_an_element_or_a_line(value: str) -> None:
    text = inline_json({value: [value]})
    assert text.isascii()
    assert not set("<>&\n") & set(text)
    assert json.loads(text) == {value: [value]}


def test_videos_that_are_gone_are_noted_and_the_rest_is_shown(predicted: Path) -> None:
    (predicted.parent / "videos" / "event.mov").unlink()
    text, notes = report(predicted, preview_megabytes=5)
    assert notes == (
        "1 of 2 videos cannot be shown, because the files are gone or cannot be read; what was "
        "predicted of them is here.",
    )
    page = Elements(text)
    assert "no such file" in page.data("video-0")["pictures_note"]
    assert page.data("video-0")["thumbnails"] == []
    assert page.data("video-1")["pictures_note"] == ""
    assert page.text("preview-0") == ""
    assert base64.b64decode(page.text("preview-1"))[4:8] == b"ftyp"


def test_previews_beyond_their_budget_are_left_out_and_said(predicted: Path) -> None:
    text, _ = report(predicted, preview_megabytes=5)
    sizes = [len(base64.b64decode(Elements(text).text(f"preview-{n}"))) for n in (0, 1)]
    assert 0 < sizes[0] < sizes[1]
    # A preview that is encoded again may have another size by some bytes.
    text, notes = report(predicted, preview_megabytes=(sizes[0] + 0.9 * sizes[1]) / 1e6)
    page = Elements(text)
    assert page.text("preview-0")
    assert not page.text("preview-1")
    assert "does not fit" in page.data("video-1")["preview_note"]
    assert notes[0].startswith("1 of 2 videos cannot be played here")
    assert notes[0] in unescape(text)


def test_no_previews_are_made_if_none_are_wanted(predicted: Path) -> None:
    text, notes = report(predicted)
    assert 'id="preview-' not in text
    assert notes == ("Videos cannot be played here: previews are switched off.",)


def test_many_segments_of_one_video_share_its_pictures(tmp_path: Path) -> None:
    folder = write_predictions(tmp_path, {"blink.mov": ([WHITE] * 10 + [0] * 10) * 40})
    text, _ = report(folder)
    thumbnails = Elements(text).data("video-0")["thumbnails"]
    assert len(thumbnails) == 24
    assert [item["seconds"] for item in thumbnails] == sorted(
        item["seconds"] for item in thumbnails
    )


def test_evaluation_names_its_figures_with_their_definitions(evaluated: Path) -> None:
    text, _ = report(evaluated)
    shown = re.sub(r"\s+", " ", re.sub("<[^>]*>", " ", unescape(text)))
    metrics = read_results(evaluated).evaluation.metrics  # type: ignore[union-attr]
    start = shown.index("macro mAP macro_map")
    assert start < shown.index("reference micro-AP (mean over batches)")
    low, high = metrics["intervals"]["macro_map"]
    assert f"{metrics['macro_map']:.3f} 95 % interval {low:.3f} to {high:.3f}" in shown
    for name in ("macro_map", "reference_micro_ap", "micro_f1"):
        assert metrics["definitions"][name] in shown
    assert "tiny on clips.csv, split test" in shown
    assert re.search("swim +the model does not have this label", shown)
    assert re.search("fly +no known positive in the evaluated rows", shown)


def test_figures_of_the_released_code_are_marked(evaluated: Path) -> None:
    from msqnet.evaluation.protocols import PROTOCOLS

    path = evaluated / "metrics.json"
    metrics = json.loads(path.read_text())
    assert "not comparable</span>" not in report(evaluated)[0]
    metrics["protocol"] = PROTOCOLS["reference_micro_ap"].describe(None)
    path.write_text(json.dumps(metrics))
    text, _ = report(evaluated)
    assert text.count("not comparable</span>") == 3
    assert "not comparable with macro mAP or with a result" in text


def test_evaluation_without_targets_says_what_is_missing(evaluated: Path) -> None:
    (evaluated / "targets.parquet").unlink()
    text, _ = report(evaluated)
    assert "written without targets.parquet" in text
    assert "Precision and recall" not in text
    assert "Average precision of each label" in text


def test_timeline_evaluation_is_shown(tmp_path: Path) -> None:
    figures = {
        "protocol": {"definition": "Whole videos."},
        "num_videos": 2,
        "not_scored": {"swim": "not there"},
        "window_seconds": 2.0,
        "stride_seconds": 1.0,
        "per_second": {
            "macro_map": 0.5125,
            "macro_f1": None,
            "num_known_seconds": 40,
            "num_labels_scored": 1,
            "label_ap": {"walk": 0.5125, "fly": None},
        },
        "segments": {
            "map_at": {"0.1": 0.25, "0.5": None},
            "f1_at": {"10": 0.75},
            "num_truths": 3,
            "num_predictions": 4,
            "num_masked": 5,
        },
    }
    (tmp_path / "timeline.json").write_text(json.dumps(figures))
    (tmp_path / "ethograms").mkdir()
    (tmp_path / "ethograms" / "0000-a.mp4.png").write_bytes(b"a picture")
    text, _ = report(tmp_path)
    assert f"data:image/png;base64,{base64.b64encode(b'a picture').decode()}" in text
    assert "a.mp4: segments as annotated" in text
    shown = re.sub(r"\s+", " ", re.sub("<[^>]*>", " ", text))
    assert "3 true segments, 4 predicted, 5 left out" in shown
    assert re.search(r"mAP at tIoU *0\.250 *\u2013", shown)
    assert "swim (not there)" in shown
    assert 'id="videos"' not in text


def test_interruption_leaves_no_part_and_what_was_there(
    predicted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = predicted / "report.html"
    path.write_text("earlier")
    before = sorted(item.name for item in predicted.iterdir())

    def stop(name: str, done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_report(read_results(predicted), path, preview_megabytes=1, progress=stop)
    assert path.read_text() == "earlier"
    assert sorted(item.name for item in predicted.iterdir()) == before
