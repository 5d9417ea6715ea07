"""Choices for whole videos in Label Studio, and predictions that an export only numbers."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, Any

from msqnet.formats.annotations import Annotations, Event
from tests.fixtures.annotation_formats import read_as
from tests.unit.formats.test_label_studio import task

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

read = partial(read_as, "label_studio")


def export(folder: Path, document: Any, config: str) -> Path:
    (folder / "export.xml").write_text(config)
    path = folder / "export.json"
    path.write_text(json.dumps(document))
    return path


CHOICES = """\
<View><Video name="video" value="$clip"/>
<Choices name="action" toName="video" choice="multiple"><Choice value="sitting"/>
<Choice value="Falls down" alias="falling"/><Choice value="walking"/></Choices>
<Choices name="how" toName="video" perRegion="true"><Choice value="fast"/></Choices>
<Text name="text" value="$text"/>
<Choices name="tone" toName="text"><Choice value="angry"/></Choices></View>
"""


def test_choices_hold_for_the_whole_video(tmp_path: Path, write_video: Callable[..., Path]) -> None:
    write_video("clip.mp4", 12, rate=10)
    chosen = {"from_name": "action", "type": "choices", "value": {"choices": ["sitting"]}}

    def answered(*regions: dict[str, Any]) -> Annotations:
        return read(export(tmp_path, [task(*regions)], CHOICES))

    found = answered(chosen)
    assert found.labels.names == ("sitting", "falling", "walking")
    assert found.videos[0].events == (Event("sitting", 0.0, 1.2),)
    assert found.videos[0].checked is None
    # Nobody answered here, and what says more about a region is no label.
    [quiet] = answered(chosen | {"value": {"choices": ["fast"], "start": 0, "end": 1}}).videos
    assert (quiet.events, quiet.checked) == ((), None)
    [other] = answered(chosen, chosen | {"from_name": "tone"}).videos
    assert other.events == (Event("sitting", 0.0, 1.2),)
    [empty] = answered().videos
    assert empty.checked == frozenset()


def test_predictions_that_are_mere_numbers_are_counted(tmp_path: Path) -> None:
    tasks = [task(predictions=[1, 2]), task(annotations=[3])]

    found = read(export(tmp_path, tasks, CHOICES))

    assert len(found.videos) == 1
    assert found.notes[:2] == (
        "annotations that the export only numbers, which are left out (export with them): 1",
        "predictions that the export only numbers, which are left out (export with them): 2",
    )
