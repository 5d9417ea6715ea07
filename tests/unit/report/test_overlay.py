"""The annotated video: its layout, its panel, its frames."""

from __future__ import annotations

import itertools
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from msqnet.inference.predictor import Predictor
from msqnet.report.overlay import (
    MIN_PANEL_WIDTH_PIXELS,
    PANEL_COLOUR,
    Panel,
    load_font,
    panel_layout,
    picture_size,
    shortened,
    text_size,
    write_overlay,
)
from msqnet.report.video_writer import resized, square_size
from msqnet.style import LABEL_COLOURS, shown_name
from msqnet.video.reader import open_video
from tests.fixtures.videos import encode, number_image, read_number
from tests.unit.inference.brightness import WHITE, BrightnessBackend, write_truncated_video
from tests.unit.report.beeping import heard, seen, write_beeping_video
from tests.unit.report.made_up import predictions_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from msqnet.predictions import VideoPredictions

    WriteVideo = Callable[..., Path]


@given(
    width=st.integers(MIN_PANEL_WIDTH_PIXELS, 8192),
    height=st.integers(2, 8192),
    num_labels=st.integers(1, 5),
    name_pixels=st.floats(1, 5000),
)
def test_nothing_overlaps_and_nothing_leaves_the_panel(
    width: int, height: int, num_labels: int, name_pixels: float
) -> None:
    layout = panel_layout(width, height, num_labels, name_pixels)
    boxes = [*layout.names, *layout.bars, *layout.numbers, *layout.lanes]
    assert len(boxes) == 4 * num_labels
    for box in (*boxes, layout.axis, layout.clock):
        assert 0 <= box.left < box.right <= layout.width
        assert 0 <= box.top < box.bottom <= layout.height
    for one, other in itertools.combinations([*boxes, layout.axis], 2):
        is_apart_x = one.right <= other.left or other.right <= one.left
        is_apart_y = one.bottom <= other.top or other.bottom <= one.top
        assert is_apart_x or is_apart_y
    assert layout.height % 2 == 0
    assert all(bar.width >= 3 * layout.text_pixels for bar in layout.bars)
    assert layout.band.width >= 8 * layout.text_pixels


@pytest.mark.parametrize(
    ("width", "height", "smallest"),
    [(320, 240, 12), (640, 480, 12), (1280, 720, 20), (3840, 2160, 60), (720, 1280, 20)],
)
def test_type_grows_with_the_picture(width: int, height: int, smallest: int) -> None:
    assert text_size(width, height) == smallest


@pytest.mark.parametrize(
    ("size", "shown"),
    [
        ((1280, 720), (1280, 720)),
        ((320, 240), (320, 240)),
        ((319, 240), (638, 480)),
        ((100, 60), (400, 240)),
        ((100, 800), (100, 800)),
        ((1, 16384), (1, 16384)),
        ((2, 2), (320, 320)),
    ],
)
def test_small_pictures_are_enlarged_in_whole_steps_but_never_to_towers(
    size: tuple[int, int], shown: tuple[int, int]
) -> None:
    assert picture_size(*size) == shown


SCORES = {
    "never": [0.1, 0.1, 0.1, 0.1],
    "early": [0.9, 0.9, 0.2, 0.2],
    "late": [0.0, 0.0, 0.25, 0.75],
    "a": [0.2, 0.2, 0.2, 0.2],
    "b": [0.3, 0.3, 0.3, 0.3],
    "c": [0.4, 0.4, 0.4, 0.4],
}


SIZES = [(320, 240), (1280, 720), (720, 1280), (3840, 2160)]


def rgb(colour: str) -> tuple[int, ...]:
    return tuple(bytes.fromhex(colour.removeprefix("#")))


def drawn(panel: Panel, seconds: float) -> np.ndarray:
    canvas = np.zeros((panel.layout.height, panel.layout.width, 3), np.uint8)
    panel.draw_at(seconds, canvas)
    return canvas


def is_colour(pixels: np.ndarray, colour: tuple[int, ...]) -> np.ndarray:
    return (pixels == np.array(colour, np.uint8)).all(axis=-1)


def test_labels_with_the_highest_peaks_are_shown_in_one_order() -> None:
    assert Panel(predictions_of(SCORES), 640, 480).labels == ("early", "late", "c", "b", "a")


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_bars_are_as_long_as_the_scores_now(width: int, height: int) -> None:
    panel = Panel(predictions_of(SCORES), width, height)
    background = drawn(panel, 0.0)
    for seconds, early, late in ((0.5, 0.9, 0.0), (2.5, 0.2, 0.25), (3.99, 0.2, 0.75)):
        canvas = drawn(panel, seconds)
        for box, score in zip(panel.layout.bars, (early, late), strict=False):
            middle = canvas[(box.top + box.bottom) // 2, box.left : box.right]
            track = background[panel.layout.bars[4].top, panel.layout.bars[4].right - 1]
            # The mark of the threshold, and no more, may lie on the empty part.
            num_filled = int((~is_colour(middle, tuple(track))).sum())
            assert num_filled / box.width == pytest.approx(score, abs=0.03)


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_band_is_coloured_where_the_label_is_present(width: int, height: int) -> None:
    panel = Panel(predictions_of(SCORES), width, height)
    canvas = drawn(panel, 0.0)
    for rank, (start, end) in enumerate([(0, 2), (3, 4)]):
        lane = panel.layout.lanes[rank]
        row = canvas[(lane.top + lane.bottom) // 2, lane.left : lane.right]
        places = np.flatnonzero(is_colour(row, rgb(LABEL_COLOURS[rank])))
        line = panel.layout.line_pixels
        assert places[0] == pytest.approx(start / 4 * lane.width, abs=1 + line)
        assert places[-1] == pytest.approx(end / 4 * lane.width - 1, abs=1)
        assert (np.diff(places) == 1).all()


def test_bar_is_bright_while_the_label_is_present() -> None:
    panel = Panel(predictions_of(SCORES), 640, 480)
    box = panel.layout.bars[0]
    for seconds, is_present in ((1.99, True), (2.0, False)):
        pixel = drawn(panel, seconds)[(box.top + box.bottom) // 2, box.left]
        assert bool(is_colour(pixel, rgb(LABEL_COLOURS[0]))) == is_present


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_unknown_time_is_hatched_and_has_no_bars(width: int, height: int) -> None:
    known = predictions_of(SCORES)
    timeline = replace(known.timeline, is_unknown=np.array([False, False, True, False]))
    found = replace(known, timeline=timeline)
    before, panel = Panel(known, width, height), Panel(found, width, height)
    bar, lane = panel.layout.bars[0], panel.layout.lanes[0]
    for seconds, is_unknown in ((1.5, False), (2.5, True), (3.5, False)):
        boxes = [drawn(item, seconds)[bar.top : bar.bottom, bar.left] for item in (before, panel)]
        assert np.array_equal(*boxes) != is_unknown
    bands = [drawn(item, 0.0)[lane.top : lane.bottom, lane.left :] for item in (before, panel)]
    changed = np.flatnonzero((bands[0] != bands[1]).any(axis=(0, 2))) / lane.width
    assert changed.min() == pytest.approx(0.5, abs=0.02)
    assert changed.max() == pytest.approx(0.75, abs=0.04)  # no half strokes


def test_play_head_moves_from_the_start_of_the_band_to_its_end() -> None:
    panel = Panel(predictions_of(SCORES), 640, 480)
    band = panel.layout.band
    places = []
    for seconds in (0.0, 1.0, 2.0, 3.0, 4.0):
        row = drawn(panel, seconds)[band.top - 1]
        places.append(int(np.flatnonzero(is_colour(row, (255, 255, 255)))[0]))
    assert places[0] == band.left
    assert places[-1] == band.right - panel.layout.line_pixels
    steps = [after - before for before, after in pairwise(places)]
    assert steps == pytest.approx([band.width / 4] * 4, abs=2)


def test_what_is_drawn_depends_on_the_moment_alone() -> None:
    panel = Panel(predictions_of(SCORES), 640, 480)
    forwards = [drawn(panel, seconds) for seconds in (0.0, 1.3, 2.7, 3.9)]
    backwards = [drawn(panel, seconds) for seconds in (3.9, 2.7, 1.3, 0.0)][::-1]
    assert all(np.array_equal(one, other) for one, other in zip(forwards, backwards, strict=True))
    assert not np.array_equal(forwards[0], forwards[1])


@pytest.mark.parametrize(
    "label",
    ["two animals " * 40, "步行", "مشى", "\ud800", "line\nbreak", "$x^2$", "🐁", "_"],
)
@pytest.mark.parametrize(("width", "height"), [(320, 240), (1280, 720)])
def test_any_name_keeps_to_its_place(label: str, width: int, height: int) -> None:
    panel = Panel(predictions_of({label: [0.9, 0.1], "plain": [0.2, 0.2]}), width, height)
    canvas = drawn(panel, 0.0)
    name, bar = panel.layout.names[0], panel.layout.bars[0]
    gap = canvas[name.top : name.bottom, name.right + 1 : bar.left]
    assert is_colour(gap, PANEL_COLOUR).all()
    assert is_colour(canvas[0], PANEL_COLOUR).all()


def test_long_names_end_in_an_ellipsis_and_short_ones_stay() -> None:
    font = load_font(12)
    text = "two animals fighting over a piece of food"
    short = shortened(text, font, 100)
    assert short.endswith("…")
    assert text.startswith(short[:-1])
    assert font.getlength(short) <= 100
    assert shortened("walking", font, 100) == "walking"
    assert shortened(text, font, 0) == "…"


def test_names_are_shown_as_people_read_them() -> None:
    assert shown_name("wall_supported_rearing") == "wall supported rearing"
    assert shown_name("two\n animals") == "two animals"
    assert shown_name("\ud800") == "\\ud800"


def _luminance(colour: tuple[int, ...]) -> float:
    shares = np.array(colour) / 255
    linear = np.where(shares <= 0.04045, shares / 12.92, ((shares + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def test_bars_stand_out_from_the_panel() -> None:
    ground = _luminance(PANEL_COLOUR)
    for colour in LABEL_COLOURS[:5]:
        # What WCAG 2 asks of graphics.
        assert (_luminance(rgb(colour)) + 0.05) / (ground + 0.05) >= 3


def predictions_for(video: Path) -> VideoPredictions:
    with open_video(video) as source:
        return predictions_of(
            {"walking": [0.9, 0.2], "resting": [0.1, 0.7]},
            step_seconds=source.duration_seconds / 2,
        )


def written(video: Path) -> Path:
    path = video.with_name("out.mp4")
    write_overlay(predictions_for(video), video, path)
    return path


def test_the_white_part_is_seen_and_heard_when_it_was(tmp_path: Path) -> None:
    source = write_beeping_video(tmp_path / "in.mp4", video_start=Fraction(1, 2))
    predictions = Predictor(BrightnessBackend())(source)
    path = tmp_path / "out.mp4"
    write_overlay(predictions, source, path)
    assert seen(path) == pytest.approx((2.5, 3.5), abs=1e-5)
    assert heard(path) == pytest.approx((2.5, 3.5), abs=1e-3)
    with open_video(path) as video:
        assert video.duration_seconds == pytest.approx(4.5, abs=0.03)


@pytest.mark.parametrize(
    ("settings", "picture_size"),
    [
        ({"width": 320, "height": 240}, (320, 240)),
        ({"width": 640, "height": 360, "rate": Fraction(30000, 1001)}, (640, 360)),
        ({"width": 360, "height": 640}, (360, 640)),
        ({"width": 128, "height": 80}, (384, 240)),
        ({"width": 321, "height": 241, "codec": "png", "pix_fmt": "rgb24"}, (321, 241)),
        ({"width": 640, "height": 360, "pts": [0, 1, 2, 9, 10, 31]}, (640, 360)),
    ],
    ids=["320x240", "29.97 fps", "portrait", "small", "odd", "variable rate"],
)
def test_every_frame_keeps_its_picture_and_its_time(
    write_video: WriteVideo, settings: dict[str, Any], picture_size: tuple[int, int]
) -> None:
    source = write_video("in.mov", num_frames=6, **settings)
    width, height = picture_size
    with open_video(source) as video, open_video(written(source)) as overlay:
        assert overlay.width == width + width % 2
        assert overlay.height > height
        assert overlay.pts_seconds == pytest.approx(video.pts_seconds, abs=1e-5)
        assert overlay.duration_seconds == pytest.approx(video.duration_seconds, abs=1e-5)
        pictures = [pixels[:, :height, :width] for _, pixels in overlay]
    assert [read_number(picture) for picture in pictures] == list(range(6))


def test_a_second_of_4k_keeps_its_size_and_its_speed(tmp_path: Path) -> None:
    images = [number_image(number, 3840, 2160) for number in range(2)]
    options = {"preset": "ultrafast"}
    source = encode(tmp_path / "in.mp4", images, rate=2, options=options)
    with open_video(written(source)) as overlay:
        assert overlay.width == 3840
        assert overlay.pts_seconds == pytest.approx([0, 0.5], abs=1e-5)
        assert overlay.duration_seconds == pytest.approx(1, abs=1e-5)
        pictures = [pixels[:, :2160] for _, pixels in overlay]
    assert [read_number(picture) for picture in pictures] == [0, 1]


@pytest.mark.parametrize("rotation", [90, 180, 270])
def test_a_rotated_clip_is_upright(tmp_path: Path, rotation: int) -> None:
    image = np.zeros((320, 480, 3), np.uint8)
    image[:60, :60] = 255
    source = encode(tmp_path / "in.mp4", [image] * 3, rotation=rotation)
    with open_video(source) as video, open_video(written(source)) as overlay:
        (_, upright), *_ = video
        (_, shown), *_ = overlay
    _, height, width = upright.shape
    assert (width, height) == ((480, 320) if rotation == 180 else (320, 480))
    assert shown.shape[2] == width
    difference = shown[:, :height].astype(float) - upright
    assert np.abs(difference).mean() < 2


@pytest.mark.parametrize(
    ("aspect", "rotation", "size"),
    [
        (Fraction(2), 0, (800, 300)),
        (Fraction(1, 2), 0, (400, 600)),
        (Fraction(2), 90, (300, 800)),
        (Fraction(64, 45), 0, (569, 300)),
        (Fraction(1), 0, (400, 300)),
    ],
)
def test_pixels_that_are_not_square_are_stretched(
    tmp_path: Path, aspect: Fraction, rotation: int, size: tuple[int, int]
) -> None:
    source = tmp_path / "in.mp4"
    with av.open(str(source), "w") as container:
        stream: Any = container.add_stream("libx264", rate=5)
        stream.width, stream.height, stream.pix_fmt = 400, 300, "yuv420p"
        stream.codec_context.sample_aspect_ratio = aspect
        if rotation:
            stream.set_display_rotation(rotation)
        for _ in range(3):
            image = np.full((300, 400, 3), 255, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, "rgb24")))
        container.mux(stream.encode(None))
    with open_video(source) as video:
        assert square_size(video) == size
        (_, picture), *_ = resized(video, *size)
    assert picture.shape == (size[1], size[0], 3)
    with open_video(written(source)) as overlay:
        assert overlay.width == max(size[0] + size[0] % 2, 320)


def test_a_narrow_picture_stands_in_the_middle(tmp_path: Path) -> None:
    image = np.full((900, 100, 3), 255, np.uint8)
    source = encode(tmp_path / "in.mp4", [image] * 3)
    with open_video(written(source)) as overlay:
        (_, pixels), *_ = overlay
    row = pixels[:, 450].mean(axis=0)  # (W,)
    assert row.shape == (320,)
    assert np.flatnonzero(row > 128).tolist() == list(range(110, 210))


def test_of_a_damaged_file_it_is_what_decodes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = write_truncated_video(tmp_path / "cut.mov", [WHITE] * 40)
    predictions = Predictor(BrightnessBackend())(source)
    path = tmp_path / "out.mp4"
    write_overlay(predictions, source, path)
    with open_video(source) as video, open_video(path) as overlay:
        assert 0 < overlay.num_frames < 40
        list(video)
        assert overlay.num_frames == video.num_frames
        assert overlay.duration_seconds == pytest.approx(predictions.duration_seconds, abs=1e-5)
    assert caplog.records


def test_a_folder_of_images_is_a_video_without_sound(tmp_path: Path) -> None:
    from PIL import Image

    folder = tmp_path / "frames"
    folder.mkdir()
    for number in range(5):
        Image.fromarray(number_image(number, 320, 240)).save(folder / f"{number}.png")
    with open_video(written(folder)) as overlay:
        assert [read_number(pixels[:, :240]) for _, pixels in overlay] == list(range(5))


def test_progress_rises_to_the_end(write_video: WriteVideo) -> None:
    source = write_video(num_frames=6)
    shares: list[float] = []
    write_overlay(predictions_for(source), source, source.with_name("out.mp4"), shares.append)
    assert shares == sorted(shares)
    assert 0 <= shares[0] < shares[-2] < 1
    assert shares[-1] == 1.0


def test_a_real_clip_keeps_its_times_and_its_length(real_data: Path, tmp_path: Path) -> None:
    source = real_data / "yolo_behavior_rat" / "face_washing" / "11232.mp4"
    path = tmp_path / "out.mp4"
    write_overlay(predictions_for(source), source, path)
    with open_video(source) as video, open_video(path) as overlay:
        assert overlay.pts_seconds == pytest.approx(video.pts_seconds, abs=1e-5)
        assert overlay.duration_seconds == pytest.approx(video.duration_seconds, abs=1e-5)
