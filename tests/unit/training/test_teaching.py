"""Labels taught from a few examples, on drawn features and drawn videos with known answers."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest

from msqnet.cli.main import main
from msqnet.config import InferenceOptions
from msqnet.demo import FOLDER
from msqnet.errors import CheckpointError, ConfigError, VocabularyError
from msqnet.inference.manifest import read_manifest
from msqnet.inference.model_facts import known_provenance
from msqnet.inference.predictor import Predictor
from msqnet.metrics.average_precision import average_precision
from msqnet.models import closed_labels
from msqnet.models.taught import TAUGHT_FILE, Background, TaughtLabels
from msqnet.training.examples import Example, ExampleFeatures, window_starts
from msqnet.training.teaching import fit_head, taught_label, teach
from tests.fixtures.models import LABELS, tiny_model
from tests.fixtures.videos import write_scene

if TYPE_CHECKING:
    from pathlib import Path

LIGHT = """
import sys

lacking = ("torch", "transformers", "accelerate", "kornia", "scipy", "pandas", "pyarrow")
sys.modules.update(dict.fromkeys(lacking))
from msqnet.cli.main import main
sys.exit(main(sys.argv[1:]))
"""

WIDTH = 8
NAMES = [f"{number}.mp4" for number in range(12)]


def drawn_features(num: int, shift: float, seed: int) -> np.ndarray:
    """Noise, of which the first feature is moved."""
    values = np.random.default_rng(seed).normal(size=(num, WIDTH)).astype(np.float32)
    values[:, 0] += shift
    return values


def lesson_of(num_positive: int, num_negative: int, videos: list[str], shift: float = 8.0):
    background = Background.fit(drawn_features(100, 0, 0))
    values = [*drawn_features(num_positive, shift, 1), *drawn_features(num_negative, 0, 2)]
    found = [ExampleFeatures(row[None], np.zeros((1, 3), np.float32)) for row in values]
    examples = [Example(name) for name in videos]
    return taught_label("up", examples, found, num_positive, background)


def test_examples_are_videos_or_spans_of_them(tmp_path: Path) -> None:
    assert Example.parse("a.mp4@3-5.5") == Example("a.mp4", 3, 5.5)
    assert Example.parse("a.mp4@1:02-1:04") == Example("a.mp4", 62, 64)
    assert Example.parse("a.mp4") == Example("a.mp4")
    odd = tmp_path / "b@1-2"
    odd.touch()
    assert Example.parse(str(odd)) == Example(str(odd))
    for text in ("a.mp4@5-3", "a.mp4@3", "a.mp4@x-y", "a.mp4@1.2.3-4"):
        with pytest.raises(ConfigError, match=r"such as a\.mp4@3-5\.5"):
            Example.parse(text)


def test_examples_overlap_that_show_the_same_moment() -> None:
    whole, part = Example("a.mp4"), Example("./a.mp4", 3, 5)
    assert whole.overlaps(part)
    assert part.overlaps(whole)
    assert not part.overlaps(Example("a.mp4", 5, 6))
    assert not part.overlaps(Example("b.mp4", 3, 5))


def test_windows_cover_a_span_and_stay_in_the_video() -> None:
    assert window_starts((3, 5), (0, 10), 2) == [3]
    assert window_starts((0, 1), (0, 10), 2) == [0]
    assert window_starts((4, 5), (0, 10), 2) == [3.5]
    assert window_starts((9.5, 10), (0, 10), 2) == [8]
    assert window_starts((0, 1), (0, 1), 2) == [0]
    assert window_starts((0, 4), (0, 10), 2) == [0, 1, 2]
    many = window_starts((0, 60), (0, 60), 2)
    assert len(many) == 8
    assert many[-1] == 58


def test_the_head_finds_the_feature_that_differs() -> None:
    background = drawn_features(100, 0, 0)
    head = fit_head(background, drawn_features(3, 8, 1), background[:0])
    assert np.argmax(np.abs(head.weight)) == 0
    scores = head.scores(background)
    assert scores.mean() == pytest.approx(0, abs=1e-4)
    assert scores.std() == pytest.approx(1, abs=1e-4)


def test_a_scene_that_negative_examples_share_does_not_count() -> None:
    background = drawn_features(100, 0, 0)
    positives, negatives = drawn_features(5, 4, 1), drawn_features(5, 0, 2)
    positives[:, 1] += 8  # the scene
    negatives[:, 1] += 8
    in_scene = np.concatenate([drawn_features(50, 4, 3), drawn_features(50, 0, 4)])
    in_scene[:, 1] += 8
    shows = (np.arange(100) < 50).astype(int)[:, None]
    alone, against = (
        average_precision(fit_head(background, positives, part).scores(in_scene)[:, None], shows)[0]
        for part in (negatives[:0], negatives)
    )
    assert against > 0.9
    assert against >= alone


def test_the_status_follows_what_examples_can_show() -> None:
    _, one = lesson_of(1, 0, NAMES[:1])
    assert (one.evidence.status, one.held_out, one.ap_among_training) == ("untested", "", None)
    _, same = lesson_of(3, 3, ["a.mp4"] * 3 + NAMES[:3])
    assert (same.evidence.status, same.held_out) == ("untested", "example")
    _, alone = lesson_of(5, 0, NAMES[:5])
    assert alone.evidence.status == "weak"
    assert "without negative examples" in alone.evidence.reason
    _, few = lesson_of(2, 2, NAMES[:4])
    assert few.evidence.status == "weak"
    assert "chance" in few.evidence.reason
    taught, whole = lesson_of(5, 5, NAMES[:10])
    assert whole.evidence.status == "reliable"
    assert whole.evidence.ap == 1
    new = taught.scores(np.concatenate([drawn_features(9, 8, 7), drawn_features(9, 0, 8)]))[:, 0]
    assert (new[:9] >= 0.5).all()
    assert (new[9:] < 0.5).all()


def test_spans_of_one_video_are_one_proof() -> None:
    """Ten examples of two videos, and of ten that show the label and lack it in turn."""
    _, two = lesson_of(5, 5, ["a.mp4"] * 4 + ["b.mp4"] + ["c.mp4"] * 4 + ["d.mp4"])
    assert (two.evidence.status, two.held_out) == ("weak", "video")
    assert "of 2 videos and negative ones of 2 videos" in two.evidence.reason
    assert "17%" in two.evidence.reason
    _, four = lesson_of(4, 4, NAMES[:4] * 2)
    assert "6%" in four.evidence.reason
    _, five = lesson_of(5, 5, NAMES[:5] * 2)
    assert five.evidence.status == "reliable"


def test_a_label_that_cannot_be_told_is_not_reliable() -> None:
    _, lesson = lesson_of(5, 5, NAMES[:10], shift=0.0)
    assert lesson.evidence.status == "weak"


def test_taught_labels_are_kept_joined_and_left_out(tmp_path: Path) -> None:
    first, _ = lesson_of(2, 2, NAMES[:4])
    joined = first.joined(
        TaughtLabels(**{**vars(first), "about": ({**first.about[0], "label": "b"},)})
    )
    joined.save(tmp_path)
    again = TaughtLabels.load(tmp_path)
    assert again is not None
    assert again.names == ("up", "b")
    assert again.about == joined.about
    values = drawn_features(5, 0, 3)
    np.testing.assert_array_equal(again.scores(values)[:, 0], first.scores(values)[:, 0])
    rest = again.without("up")
    assert rest.names == ("b",)
    assert (rest.owner == 0).all()
    np.testing.assert_array_equal(rest.weight, first.weight)
    (tmp_path / TAUGHT_FILE).write_bytes(b"nonsense")
    with pytest.raises(CheckpointError, match="damaged"):
        TaughtLabels.load(tmp_path)


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> dict[bool, list[str]]:
    folder = tmp_path_factory.mktemp("videos")
    return {
        flashes: [
            str(write_scene(folder / f"{flashes}{seed}.mp4", seed, flashes=flashes))
            for seed in range(4)
        ]
        for flashes in (True, False)
    }


@pytest.fixture(scope="module")
def model(videos: dict[bool, list[str]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped model, taught to see flashes by the program, without PyTorch."""
    out = tmp_path_factory.mktemp("models") / "taught"
    words = ["teach", "--label", "flashing", "--out", str(out)]
    words += ["--positive", *videos[True][:3], "--negative", *videos[False][:3]]
    done = subprocess.run([sys.executable, "-c", LIGHT, *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "flashing: 3 positive examples (6 windows), 3 negative ones (6 windows)" in done.stdout
    assert "each video held out once" in done.stdout
    assert "status: " in done.stdout
    return out


def test_a_taught_model_tells_other_videos(videos: dict[bool, list[str]], model: Path) -> None:
    predictor = Predictor.from_pretrained(model)
    assert predictor.backend.labels.names[-1] == "flashing"
    flash, still = (predictor(videos[kind][3]).windows[0].scores[-1] for kind in (True, False))
    assert flash > 0.5 > still


def test_predict_says_where_all_that_is_asked_for_is_not_reported(
    videos: dict[bool, list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "one"
    teach("flashing", [Example(videos[True][0])], [], out)
    video = videos[True][0]
    assert main(["predict", video, "--model", str(out), "--labels", "flashing"]) == 0
    shown = capsys.readouterr().out
    assert "not reported without --include-weak: flashing" in shown
    assert "no other label reaches its threshold\n" in shown


def test_exported_models_are_taught_in_place(
    videos: dict[bool, list[str]], model: Path, tmp_path: Path
) -> None:
    """Folders without settings of a model; their graphs alone tell what is computed."""
    folder = tmp_path / "exported"
    shutil.copytree(model, folder, ignore=shutil.ignore_patterns("config.json"))
    manifest = json.loads((folder / "manifest.json").read_text())
    del manifest["files"]["config.json"]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    teach("still", [Example(videos[False][0])], [], folder, model=str(folder), overwrite=True)
    labels = closed_labels(folder)
    assert labels is not None
    assert labels.names[-2:] == ("flashing", "still")


def test_files_that_do_not_belong_together_are_refused(
    videos: dict[bool, list[str]], model: Path, tmp_path: Path
) -> None:
    """Another background than the manifest names; a frame graph in int8 beside one in float32."""
    example = [Example(videos[False][0])]
    stale = tmp_path / "stale"
    shutil.copytree(model, stale)
    background = Background.load(stale)
    assert background is not None
    Background(background.mean + 1, background.std, background.rows).save(stale)
    with pytest.raises(CheckpointError, match=r"background\.safetensors: found SHA-256"):
        teach("still", example, [], tmp_path / "no", model=str(stale))
    integers = tmp_path / "int8"
    shutil.copytree(model, integers, ignore=shutil.ignore_patterns("config.json", "*int8*"))
    manifest = json.loads((integers / "manifest.json").read_text())
    manifest["precision"] = "int8"
    for name in ("config.json", "frame_graph_int8.onnx"):
        del manifest["files"][name]
    (integers / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ConfigError, match="in int8 alone"):
        teach("still", example, [], tmp_path / "no", model=str(integers))


def test_other_scores_stay_the_same_to_the_bit(videos: dict[bool, list[str]], model: Path) -> None:
    before, after = (Predictor.from_pretrained(name)(videos[True][3]) for name in (None, model))
    for one, other in zip(before.windows, after.windows, strict=True):
        np.testing.assert_array_equal(one.scores, other.scores[:-1])


def test_both_runtimes_give_a_taught_label_the_same_scores(model: Path) -> None:
    graphs, pytorch = (
        Predictor.from_pretrained(model, runtime=name, precision="fp32")(FOLDER / "rat_washing.mp4")
        for name in ("onnxruntime", "torch")
    )
    for one, other in zip(graphs.windows, pytorch.windows, strict=True):
        np.testing.assert_allclose(one.scores, other.scores, atol=1e-4)


def test_what_is_known_before_loading_is_what_is_loaded(model: Path) -> None:
    labels = closed_labels(model)
    assert labels is not None
    assert labels.names[-1] == "flashing"
    for names in (None, ("flashing",), ("walking", "flashing"), ("walking",)):
        options = InferenceOptions(model=str(model), labels=names)
        predictor = Predictor.from_pretrained(options=options)
        assert known_provenance(options) == predictor.provenance
        assert names is None or predictor.backend.labels.names == names


def test_card_and_manifest_name_what_was_taught(model: Path) -> None:
    assert TAUGHT_FILE in read_manifest(model).files
    assert "| flashing |" in (model / "README.md").read_text()
    (about,) = TaughtLabels.load(model).about  # type: ignore[union-attr]
    assert about["examples"]["positive"] == ["True0.mp4", "True1.mp4", "True2.mp4"]
    damaged = model.with_name("damaged")
    shutil.copytree(model, damaged)
    with (damaged / TAUGHT_FILE).open("ab") as file:
        file.write(b"more")
    with pytest.raises(CheckpointError):
        Predictor.from_pretrained(damaged, runtime="onnxruntime")


def test_a_taught_model_can_be_taught_again(
    videos: dict[bool, list[str]], model: Path, tmp_path: Path
) -> None:
    flash, still = (Example(videos[kind][0]) for kind in (True, False))
    with pytest.raises(VocabularyError, match="--replace"):
        teach("flashing", [flash], [still], tmp_path / "no", model=str(model))
    teach("quiet", [still], [flash], tmp_path / "two", model=str(model))
    two = tmp_path / "two"
    teach("flashing", [flash], [], two, model=str(two), replaces=True, overwrite=True)
    teach("walking", [flash], [still], two, model=str(two), replaces=True, overwrite=True)
    predictor = Predictor.from_pretrained(two)
    assert predictor.backend.labels.names[-3:] == ("quiet", "flashing", "walking")
    assert len(predictor.backend.labels) == 20
    assert predictor(videos[True][3]).windows[0].scores.shape == (20,)
    assert set(predictor.backend.unproven) >= {"quiet", "flashing", "walking"}


def test_errors_say_what_to_do(
    videos: dict[bool, list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clip, text = videos[True][0], tmp_path / "text.mp4"
    text.write_text("no video")
    words = ["teach", "--label", "up", "--out", str(tmp_path / "out"), "--positive"]
    for more, code, said in (
        ([f"{clip}@9-11"], 2, "the span is not in the video"),
        ([clip, "--negative", clip], 2, "both as showing the label"),
        ([f"{clip}@0-1", "--negative", clip], 2, "spans that do not overlap"),
        ([clip, clip], 2, "named twice"),
        ([clip, "--negative", videos[False][0], videos[False][0]], 2, "named twice"),
        ([str(text)], 1, "text.mp4"),
        ([str(tmp_path / "none.mp4")], 1, "none.mp4"),
        ([clip, "--model", "clip-zero-shot:x"], 2, "teach a model that was trained"),
    ):
        assert main([*words, *more]) == code, more
        assert said in capsys.readouterr().err
    for name in ("walking", "Walking"):
        assert main([*words[:2], name, *words[3:], clip]) == 2
        assert "has a label 'walking' already; teach it anew with --replace" in " ".join(
            capsys.readouterr().err.split()
        )
    assert not (tmp_path / "out").exists()


def test_models_of_other_kinds(videos: dict[bool, list[str]], tmp_path: Path) -> None:
    """An encoder without pooled frames, no background, an open vocabulary; labels that exclude."""
    flash, still = ([Example(name) for name in videos[kind][:2]] for kind in (True, False))
    for name, settings in {
        "plain": {},
        "open": {"head": "shared", "learn_label_queries": False, "query_attention": False},
    }.items():
        folder, out = tmp_path / name, tmp_path / f"{name}-taught"
        tiny_model("timesformer", **settings).save_pretrained(folder)
        with pytest.raises(ConfigError, match="name more of them with --negative"):
            teach("flashing", flash, [], out, model=str(folder))
        teach("flashing", flash, still, out, model=str(folder))
        predictor = Predictor.from_pretrained(out)
        assert predictor.backend.labels.names == (*LABELS, "flashing")
        assert predictor(videos[True][3]).windows[0].scores.shape == (len(LABELS) + 1,)
        assert json.loads((out / "config.json").read_text())["labels"] == LABELS
    tiny_model("timesformer", task="single_label").save_pretrained(tmp_path / "one")
    with pytest.raises(ConfigError, match="exclude each other"):
        teach("flashing", flash, still, tmp_path / "no", model=str(tmp_path / "one"))
