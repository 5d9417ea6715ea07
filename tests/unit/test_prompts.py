"""Texts of labels: styles, synonyms, and tables of descriptions."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from msqnet.errors import ConfigError, DatasetError
from msqnet.labels import LabelSet
from msqnet.prompts import TEMPLATES, LabelText, prompts_of, read_label_table

if TYPE_CHECKING:
    from pathlib import Path

LABELS = LabelSet(("Sleeping", "keeping_still"))
TEXTS = {
    "keeping_still": LabelText("keeping_still", "it does not move", ("motion_less", "at rest")),
    "Sleeping": LabelText("Sleeping", "its eyes are closed"),
    "flying": LabelText("flying"),
}


def write(folder: Path, text: str, *, encoding: str = "utf-8") -> Path:
    path = folder / "labels.csv"
    path.write_bytes(text.encode(encoding))
    return path


def test_paper_style_is_the_name_with_spaces_and_nothing_else() -> None:
    assert prompts_of(LABELS, "none", TEXTS) == (("Sleeping",), ("keeping still",))
    assert tuple(texts[0] for texts in prompts_of(LABELS, "none")) == LABELS.prompts


def test_every_template_holds_the_name_once_and_no_actor_is_left_out() -> None:
    sleeping, keeping_still = prompts_of(LABELS, "templates")
    assert len(sleeping) == len(set(sleeping)) == len(TEMPLATES) == 10
    assert all(text.count("keeping still") == 1 for text in keeping_still)
    for actor in ("animal", "person", "someone"):
        assert any(actor in text for text in sleeping)


def test_synonyms_join_the_ensemble_of_their_label_only() -> None:
    sleeping, keeping_still = prompts_of(LABELS, "templates", TEXTS)
    assert len(sleeping) == 10
    assert len(keeping_still) == 30
    assert "a video of motion less" in keeping_still
    assert "an animal at rest" in keeping_still


def test_own_sentences_are_joined_by_a_bar() -> None:
    prompts = prompts_of(LABELS, "a clip of {} | {}, seen from above", TEXTS)
    assert prompts[0] == ("a clip of Sleeping", "Sleeping, seen from above")
    assert prompts[1] == (
        "a clip of keeping still",
        "a clip of motion less",
        "a clip of at rest",
        "keeping still, seen from above",
        "motion less, seen from above",
        "at rest, seen from above",
    )


def test_descriptions_stand_alone_or_beside_the_name() -> None:
    alone = prompts_of(LABELS, "descriptions", TEXTS)
    assert alone == (("its eyes are closed",), ("it does not move",))
    both = prompts_of(LABELS, "none|descriptions", TEXTS)
    assert both[1] == ("keeping still", "it does not move")


def test_text_that_two_parts_give_is_there_once() -> None:
    assert prompts_of(LABELS, "none|{}")[0] == ("Sleeping",)


def test_labels_without_description_are_named_rather_than_filled_in() -> None:
    labels = LabelSet(("Sleeping", "flying", "swimming"))
    with pytest.raises(ConfigError, match="2 of 3 labels have no description: flying, swimming;"):
        prompts_of(labels, "none|descriptions", TEXTS)


def test_many_labels_without_description_are_counted() -> None:
    labels = LabelSet(tuple(f"label{number}" for number in range(11)))
    with pytest.raises(ConfigError, match=r"11 of 11 .* label7 and 3 more;"):
        prompts_of(labels, "descriptions")


@pytest.mark.parametrize("style", ["", "template", "a clip of {name}", "none|", "templates|a dog"])
def test_unknown_style_is_refused(style: str) -> None:
    with pytest.raises(
        ConfigError, match="expected none, templates, people, animals, descriptions, or a sentence"
    ):
        prompts_of(LABELS, style)


def test_table_is_read_by_column_names(tmp_path: Path) -> None:
    table = write(
        tmp_path,
        "id,Synonyms,name,description\n"
        '7,at rest|  motionless |,keeping_still,"it stands, or lies,\nand does not move"\n'
        "\n"
        "8,,Sleeping\n",
    )
    assert read_label_table(table) == {
        "keeping_still": LabelText(
            "keeping_still", "it stands, or lies, and does not move", ("at rest", "motionless")
        ),
        "Sleeping": LabelText("Sleeping"),
    }


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_table_as_spreadsheets_write_it(tmp_path: Path, encoding: str, delimiter: str) -> None:
    text = "name,description\r\nfüttern,gibt Würmer\r\n".replace(",", delimiter)
    table = read_label_table(write(tmp_path, text, encoding=encoding))
    assert table == {"füttern": LabelText("füttern", "gibt Würmer")}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name\nsit\nwalk\nsit\n", "row 4: label 'sit' is in row 2 too"),
        ("name,description\nsit,it sits, and rests\n", "row 2: has 3 cells, the header 2: quote"),
        ("name,description\nsit,\n,it rests\n", "row 3: name '' is empty"),
        ("name\nsit|rest\n", r"row 2: name 'sit\|rest' is empty or holds '\|'"),
        ("label,description\nsit,\n", "no column 'name'; found label, description"),
        ("name,name\nsit,sit\n", "column 'name' is there twice"),
        ("", "no column 'name'; found nothing"),
        ("name\n\n", "no label in it"),
        ('name\n"sit\n', "not a well-formed CSV table"),
    ],
    ids=["twice", "comma", "no_name", "bar", "column", "columns", "empty", "no_row", "quote"],
)
def test_malformed_table_is_refused_by_file_and_row(
    tmp_path: Path, text: str, message: str
) -> None:
    path = write(tmp_path, text)
    with pytest.raises(DatasetError, match=message) as caught:
        read_label_table(path)
    assert str(caught.value).startswith(f"{path}: ")


def test_table_in_another_encoding_is_read_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write(tmp_path, "name\nfüttern\n", encoding="latin-1")
    assert list(read_label_table(path)) == ["füttern"]
    assert "read as Windows-1252; line 2 reads 'füttern'" in caplog.text


def test_absent_table_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"labels.csv: cannot be read: No such file"):
        read_label_table(tmp_path / "labels.csv")


def test_needs_the_standard_library_only() -> None:
    code = "import msqnet.prompts, sys; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
