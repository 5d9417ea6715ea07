from __future__ import annotations

import gc
import itertools
import math
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import av
import numpy as np
import pytest

from msqnet.errors import ConfigError, ShapeError
from msqnet.video.decoding import FrameDecoder
from msqnet.video.reader import VIDEO_SUFFIXES, open_video
from tests.fixtures.videos import encode, number_image, read_everything, read_number

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from msqnet.clips import Frames

    WriteVideo = Callable[..., Path]

X264_CLOSED = {"x264-params": "keyint=6:min-keyint=6:bframes=3:scenecut=0:b-adapt=0"}
X264_OPEN = {"x264-params": "keyint=6:min-keyint=6:bframes=3:open-gop=1:scenecut=0:b-adapt=0"}
X264_REFRESH = {"x264-params": "keyint=6:intra-refresh=1:bframes=0"}
X265_OPEN = {"x265-params": "keyint=6:min-keyint=6:bframes=3:open-gop=1:scenecut=0:log-level=none"}
X265_CLOSED = {"x265-params": "keyint=6:min-keyint=6:open-gop=0:scenecut=0:log-level=none"}


def numbers(frames: Frames) -> list[int]:
    return [read_number(pixels) for pixels in frames.pixels]


@pytest.mark.parametrize(
    ("time_seconds", "number"),
    [(-1.0, 0), (0.0, 0), (0.099, 0), (0.1, 1), (0.1 - 1e-7, 1), (0.55, 5), (1.1, 11), (99.0, 11)],
)
def test_frame_at_a_time_is_the_last_one_not_after_it(
    write_video: WriteVideo, time_seconds: float, number: int
) -> None:
    with open_video(write_video(num_frames=12, rate=10)) as video:
        frames = video.frames_at([time_seconds])
    assert numbers(frames) == [number]
    assert frames.pts_seconds.tolist() == pytest.approx([number / 10])


def test_frames_come_in_the_order_asked_for_with_repeats(write_video: WriteVideo) -> None:
    with open_video(write_video(num_frames=12, rate=10)) as video:
        assert numbers(video.frames_at([0.7, 0.1, 0.7, 1.1, 0.0])) == [7, 1, 7, 11, 0]
        assert numbers(video.frames_by_index([7, 1, 7, 11, 0])) == [7, 1, 7, 11, 0]


def test_going_back_after_reading_ahead_gives_the_same_frames(write_video: WriteVideo) -> None:
    with open_video(write_video(num_frames=30, options=X264_CLOSED)) as video:
        late, early, late_again = (video.frames_by_index([n]).pixels for n in (25, 2, 25))
    assert read_number(early[0]) == 2
    assert np.array_equal(late, late_again)


def test_facts_of_a_plain_file(write_video: WriteVideo) -> None:
    with open_video(write_video(num_frames=12, rate=10)) as video:
        assert (video.width, video.height, video.num_frames) == (128, 80, 12)
        assert video.duration_seconds == pytest.approx(1.2)
        assert video.average_fps == 10
        assert video.pts_seconds.dtype == np.float64
        assert video.pts_seconds.tolist() == [n / 10 for n in range(12)]
        assert not video.is_damaged


def test_iterating_gives_all_frames_in_order(write_video: WriteVideo) -> None:
    with open_video(write_video(num_frames=12, rate=10)) as video:
        found = [(time, read_number(pixels)) for time, pixels in video]
    assert found == [(n / 10, n) for n in range(12)]


def test_streaming_reads_times_one_at_a_time(write_video: WriteVideo) -> None:
    asked: list[float] = []

    def times() -> Iterator[float]:
        for time in (0.0, 0.3, 0.3, 0.35, 0.9):
            asked.append(time)
            yield time

    with open_video(write_video(num_frames=12, rate=10)) as video:
        stream = video.stream_at(times())
        first = next(stream)
        assert asked == [0.0]
        rest = list(stream)
    assert [read_number(pixels) for _, pixels in [first, *rest]] == [0, 3, 3, 3, 9]
    assert rest[0][1] is rest[1][1]
    assert rest[1][1] is rest[2][1]
    assert rest[0][1].shape == (3, 80, 128)


def test_two_streams_over_one_video_do_not_disturb_each_other(write_video: WriteVideo) -> None:
    with open_video(write_video(num_frames=12, rate=10)) as video:
        pairs = zip(video.stream_at([0.1, 0.8, 0.9]), video.stream_at([0.0, 0.5, 1.1]), strict=True)
        found = [(read_number(a), read_number(b)) for (_, a), (_, b) in pairs]
    assert found == [(1, 0), (8, 5), (9, 11)]


@pytest.mark.parametrize("times", [[0.5, 0.4], [math.nan], [0.1, math.nan]])
def test_streaming_refuses_times_that_decrease(
    write_video: WriteVideo, times: Sequence[float]
) -> None:
    with open_video(write_video()) as video, pytest.raises(ShapeError, match="never decrease"):
        list(video.stream_at(times))


@pytest.mark.parametrize("index", [-1, 12, 1000])
def test_an_index_that_never_existed_is_refused(write_video: WriteVideo, index: int) -> None:
    with open_video(write_video()) as video, pytest.raises(ShapeError, match="expected 0 to 11"):
        video.frames_by_index([index])


def test_asking_for_nothing_is_refused(write_video: WriteVideo) -> None:
    with open_video(write_video()) as video, pytest.raises(ShapeError, match="no frame requested"):
        video.frames_at([])


def test_ntsc_rate_gives_exact_times(write_video: WriteVideo) -> None:
    rate = Fraction(30000, 1001)
    with open_video(write_video(num_frames=90, rate=rate)) as video:
        assert video.average_fps == rate
        expected = [n * 1001 / 30000 for n in range(90)]
        assert video.pts_seconds.tolist() == pytest.approx(expected, abs=1e-12)
        assert numbers(video.frames_at(expected)) == list(range(90))
        assert video.duration_seconds == pytest.approx(90 * 1001 / 30000)


def test_variable_rate_is_followed(write_video: WriteVideo) -> None:
    pts = [0, 1, 5, 6, 20, 21]
    with open_video(write_video(num_frames=6, rate=10, pts=pts)) as video:
        assert video.pts_seconds.tolist() == [0, 0.1, 0.5, 0.6, 2.0, 2.1]
        assert numbers(video.frames_at([0.45, 0.5, 1.99, 2.0, 3.0])) == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("name", "settings"),
    [("one.mp4", {}), ("one.gif", {"codec": "gif", "pix_fmt": "rgb8"}), ("one.h264", {})],
)
def test_one_frame_is_a_video_with_a_duration(
    write_video: WriteVideo, name: str, settings: dict[str, Any]
) -> None:
    with open_video(write_video(name, num_frames=1, **settings)) as video:
        assert video.num_frames == 1
        assert video.duration_seconds > 0
        assert numbers(video.frames_at([0.0, 5.0])) == [0, 0]


CONTAINERS = {
    "h264.mp4": {"options": X264_CLOSED},
    "open_gop.mp4": {"options": X264_OPEN},
    "open_gop.mkv": {"options": X264_OPEN},
    "open_gop.ts": {"options": X264_OPEN},
    "intra_refresh.mp4": {"options": X264_REFRESH},
    "hevc_open_gop.mp4": {"codec": "libx265", "options": X265_OPEN},
    "hevc_open_gop.ts": {"codec": "libx265", "options": X265_OPEN},
    "hevc_10_bit.mkv": {"codec": "libx265", "pix_fmt": "yuv420p10le", "options": X265_CLOSED},
    "mpeg2_b_frames.mp4": {"codec": "mpeg2video", "rate": 25, "gop": 6, "options": {"bf": "2"}},
    "mpeg2_b_frames.ts": {"codec": "mpeg2video", "rate": 25, "gop": 6, "options": {"bf": "2"}},
    "mpeg2_b_frames.mpg": {"codec": "mpeg2video", "rate": 25, "gop": 6, "options": {"bf": "2"}},
    "mpeg4_b_frames.mp4": {"codec": "mpeg4", "gop": 6, "options": {"bf": "2"}},
    "mpeg4_b_frames.avi": {"codec": "mpeg4", "gop": 6, "options": {"bf": "2"}},
    "mpeg4.avi": {"codec": "mpeg4", "gop": 6},
    "b_frames_in_decoding_order.avi": {"options": X264_CLOSED},
    "raw_no_times.h264": {"options": X264_CLOSED},
    "raw_no_times.hevc": {"codec": "libx265", "options": X265_OPEN},
    "raw.m4v": {"codec": "mpeg4", "gop": 6, "options": {"bf": "2"}},
    "mjpeg.avi": {"codec": "mjpeg", "pix_fmt": "yuvj420p"},
    "wmv2.asf": {"codec": "wmv2", "gop": 6},
    "msmpeg4.wmv": {"codec": "msmpeg4v2", "gop": 6},
    "vp9.webm": {"codec": "libvpx-vp9", "gop": 6},
    "vp8_hidden_frames.webm": {"codec": "libvpx", "gop": 6, "options": {"auto-alt-ref": "1"}},
    "av1.mp4": {"codec": "libsvtav1", "gop": 6, "options": {"svtav1-params": "preset=10"}},
    "flv1.flv": {"codec": "flv1", "gop": 6},
    "h263.3gp": {"codec": "h263", "width": 176, "height": 144, "gop": 6},
    "animation.gif": {"codec": "gif", "pix_fmt": "rgb8"},
    "raw.y4m": {"codec": "rawvideo"},
    "grey.mkv": {"codec": "ffv1", "pix_fmt": "gray", "gop": 6},
    "grey_10_bit.mkv": {"codec": "ffv1", "pix_fmt": "gray10le", "gop": 6},
    "grey.mp4": {"pix_fmt": "gray"},
    "alpha.mov": {"codec": "qtrle", "pix_fmt": "argb"},
    "alpha_png.mov": {"codec": "png", "pix_fmt": "rgba"},
    "alpha_10_bit.mov": {
        "codec": "prores_ks",
        "pix_fmt": "yuva444p10le",
        "options": {"profile": "4"},
    },
    "odd.mp4": {"pix_fmt": "yuv444p", "width": 131, "height": 81},
    "odd.mkv": {"codec": "ffv1", "pix_fmt": "yuv420p", "width": 67, "height": 45},
    "odd_palette.gif": {"codec": "gif", "pix_fmt": "rgb8", "width": 67, "height": 45},
}
NUM_FRAMES = 32


@pytest.fixture(params=CONTAINERS)
def any_video(request: pytest.FixtureRequest, write_video: WriteVideo) -> Path:
    settings = {"num_frames": NUM_FRAMES, **CONTAINERS[request.param]}
    return write_video(request.param, **settings)


def test_any_file_gives_its_frames_bit_equal_to_reading_everything(any_video: Path) -> None:
    reference = [frame.transpose(2, 0, 1) for frame in read_everything(any_video)]
    rng = np.random.default_rng(0)
    wanted = [[NUM_FRAMES - 1], [0, NUM_FRAMES - 1], [13, 31, 5], range(NUM_FRAMES)]
    wanted += [rng.integers(0, NUM_FRAMES, 4).tolist() for _ in range(6)]
    assert len(reference) == NUM_FRAMES
    for indices in wanted:
        with open_video(any_video) as video:
            frames = video.frames_by_index(list(indices))
            by_time = video.frames_at(video.pts_seconds[list(indices)].tolist())
            assert video.num_frames == NUM_FRAMES
        assert np.array_equal(frames.pixels, np.stack([reference[n] for n in indices]))
        assert np.array_equal(frames.pixels, by_time.pixels)
        assert numbers(frames) == list(indices)


def test_any_file_has_increasing_times_at_its_rate(any_video: Path) -> None:
    with open_video(any_video) as video:
        steps = np.diff(video.pts_seconds)
    assert video.pts_seconds[0] == 0
    assert np.all(steps > 0)
    assert np.allclose(steps, steps.mean(), atol=0.0011)  # Matroska and FLV round to milliseconds


def test_scaled_frames_are_bit_equal_however_they_are_reached(any_video: Path) -> None:
    reference = read_everything(any_video, short_side_pixels=33)
    with open_video(any_video, short_side_pixels=33) as video:
        late = video.frames_by_index([NUM_FRAMES - 3]).pixels[0]
        streamed = [pixels for _, pixels in video.stream_at(video.pts_seconds)]
    assert np.array_equal(late, streamed[-3])
    assert np.array_equal(late, reference[-3].transpose(2, 0, 1))
    assert min(late.shape[1:]) == 33


def test_files_that_store_decoding_order_are_read_from_the_start(write_video: WriteVideo) -> None:
    path = write_video("b.avi", num_frames=24, options=X264_CLOSED)
    with open_video(path) as video:
        assert numbers(video.frames_by_index([23, 4, 3])) == [23, 4, 3]


def test_raw_stream_without_times_counts_at_its_nominal_rate(write_video: WriteVideo) -> None:
    with open_video(write_video("raw.h264", num_frames=10)) as video:
        rate = video.average_fps
        assert rate is not None
        assert video.pts_seconds.tolist() == pytest.approx([n / rate for n in range(10)])
        assert video.duration_seconds == pytest.approx(float(10 / rate))


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Every packet that any file decodes from now on."""
    packets: list[Any] = []

    class RecordingStream:
        def __init__(self, stream: Any) -> None:
            self._stream = stream

        def __getattr__(self, name: str) -> Any:
            return getattr(self._stream, name)

        def decode(self, packet: Any) -> Any:
            packets.append(packet)
            return self._stream.decode(packet)

    initialise: Any = FrameDecoder.__init__

    def recording(decoder: Any, *arguments: Any) -> None:
        initialise(decoder, *arguments)
        decoder.stream = RecordingStream(decoder.stream)

    monkeypatch.setattr(FrameDecoder, "__init__", recording)
    return packets


def test_groups_without_a_wanted_frame_are_not_decoded(
    write_video: WriteVideo, decoded: list[Any]
) -> None:
    with open_video(write_video(num_frames=120, options=X264_CLOSED)) as video:
        decoded.clear()
        assert numbers(video.frames_by_index([60, 61, 110])) == [60, 61, 110]
    assert 0 < len(decoded) < 30


def test_the_end_is_not_decoded_when_it_is_not_wanted(
    write_video: WriteVideo, decoded: list[Any]
) -> None:
    with open_video(write_video(num_frames=120)) as video:
        assert numbers(video.frames_at([0.0])) == [0]
    assert 0 < len(decoded) < 60


@pytest.mark.parametrize(
    ("size", "short_side_pixels", "expected"),
    [
        ((128, 80), 40, (64, 40)),
        ((80, 128), 40, (40, 64)),
        ((128, 80), 999, (128, 80)),
        ((130, 82), 41, (65, 41)),
        ((128, 80), 1, (2, 1)),
        ((128, 80), None, (128, 80)),
    ],
)
def test_frames_are_scaled_down_to_the_short_side_and_never_up(
    write_video: WriteVideo,
    size: tuple[int, int],
    short_side_pixels: int | None,
    expected: tuple[int, int],
) -> None:
    path = write_video(width=size[0], height=size[1], num_frames=2)
    with open_video(path, short_side_pixels=short_side_pixels) as video:
        assert video.frames_at([0.0]).pixels.shape == (1, 3, expected[1], expected[0])
        assert (video.width, video.height) == size


def test_a_short_side_below_one_is_refused(write_video: WriteVideo) -> None:
    path = write_video(num_frames=1)
    with pytest.raises(ConfigError, match="short_side_pixels 0"):
        open_video(path, short_side_pixels=0)


@pytest.mark.parametrize("rotation", [90, 180, 270, -90])
@pytest.mark.parametrize("short_side_pixels", [None, 40])
def test_rotated_video_comes_upright(
    tmp_path: Path, rotation: int, short_side_pixels: int | None
) -> None:
    upright = [number_image(number) for number in range(6)]
    stored = [np.rot90(image, -rotation // 90).copy() for image in upright]
    path = encode(tmp_path / "rotated.mp4", stored, rotation=rotation, pix_fmt="yuv444p")
    with open_video(path, short_side_pixels=short_side_pixels) as video:
        frames = video.frames_by_index([5, 0, 3])
        assert (video.width, video.height) == (128, 80)
    assert numbers(frames) == [5, 0, 3]
    assert frames.pixels.shape[2:] == ((80, 128) if short_side_pixels is None else (40, 64))
    difference = frames.pixels[1] - expected_pixels(upright[0], frames)
    assert np.abs(difference).mean() < 4  # what H.264 loses; a turned picture is off by over 30


def expected_pixels(image: np.ndarray, frames: Frames) -> np.ndarray:
    step = image.shape[0] // frames.pixels.shape[2]
    return image[::step, ::step].transpose(2, 0, 1).astype(float)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("limited.mp4", {"pix_fmt": "yuv420p"}),
        ("full_range.avi", {"codec": "mjpeg", "pix_fmt": "yuvj420p"}),
        ("ten_bit.mp4", {"pix_fmt": "yuv420p10le"}),
        ("alpha.mov", {"codec": "png", "pix_fmt": "rgba"}),
        ("rgb.mkv", {"codec": "ffv1", "pix_fmt": "bgr0"}),
    ],
)
def test_colours_are_those_that_were_written(
    tmp_path: Path, name: str, settings: dict[str, str]
) -> None:
    colours = [(255, 255, 255), (0, 0, 0), (200, 100, 50), (30, 160, 220)]
    image = np.repeat(np.array(colours, np.uint8)[None], 64, axis=0).repeat(32, axis=1)
    path = encode(tmp_path / name, [image] * 3, **settings)
    with open_video(path) as video:
        pixels = video.frames_at([0.0]).pixels[0]  # (3, 64, 128)
    found = pixels[:, 16:48].reshape(3, 32, 4, 32)[..., 8:24].mean(axis=(1, 3)).T
    assert np.allclose(found, colours, atol=6)  # 8-bit YUV and coding


def test_frames_that_change_size_are_scaled_to_the_first(tmp_path: Path) -> None:
    large = encode(tmp_path / "large.h264", [number_image(n) for n in range(4)])
    small = encode(tmp_path / "small.h264", [number_image(n, 64, 48) for n in range(4, 8)])
    path = tmp_path / "both.h264"
    path.write_bytes(large.read_bytes() + small.read_bytes())
    with open_video(path) as video:
        frames = video.frames_by_index(range(8))
    assert frames.pixels.shape == (8, 3, 80, 128)
    assert numbers(frames) == list(range(8))


def test_names_with_percent_signs_and_colons_are_plain_names(tmp_path: Path) -> None:
    folder = tmp_path / "a:b"
    folder.mkdir()
    path = encode(folder / "50%03d: Türe.mp4", [number_image(n) for n in range(3)])
    with open_video(str(path)) as video:
        assert numbers(video.frames_by_index([2])) == [2]


def test_no_full_frame_waits_for_garbage_collection(write_video: WriteVideo) -> None:
    path = write_video(num_frames=12)
    gc.collect()
    gc.disable()
    try:
        with open_video(path, short_side_pixels=16) as video:
            assert len(list(video)) == 12
        del video
        kept = [obj for obj in gc.get_objects() if type(obj) is av.VideoFrame]
        assert [frame for frame in kept if frame.width > 2] == []
    finally:
        gc.enable()


def test_a_closed_video_opens_again_when_asked(write_video: WriteVideo) -> None:
    video = open_video(write_video())
    video.close()
    assert numbers(video.frames_at([0.3])) == [3]
    video.close()


def test_suffixes_are_lower_case_and_hold_the_usual_containers() -> None:
    assert {".mp4", ".avi", ".mkv", ".mov", ".gif", ".asf", ".webm"} <= VIDEO_SUFFIXES
    assert all(suffix == suffix.lower() and suffix[0] == "." for suffix in VIDEO_SUFFIXES)


def test_streaming_forever_repeats_the_last_frame_and_holds_one_at_a_time(
    write_video: WriteVideo,
) -> None:
    path = write_video(num_frames=60, rate=10)
    with open_video(path) as video:
        times = itertools.count(0.0, 0.1)
        for number, (_, pixels) in zip(range(80), video.stream_at(times), strict=False):
            assert read_number(pixels) == min(number, 59)
            assert (pixels if pixels.base is None else pixels.base).nbytes == 3 * 80 * 128
