"""The frames that a browser shows of files whose pictures begin late, and those that are read."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import pytest

from msqnet.video.reader import open_video
from tests.fixtures.videos import NUM_BARS, encode_late, read_number

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import Browser

PLAY = """async ([content, type, times, bars]) => {
    const bytes = Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0));
    const video = document.createElement('video');
    video.muted = true;
    const loaded = new Promise((resolve, reject) => {
        video.onloadeddata = resolve;
        video.onerror = () => reject(video.error.message);
    });
    video.src = URL.createObjectURL(new Blob([bytes], { type }));
    document.body.append(video);
    await loaded;
    const canvas = document.createElement('canvas');
    [canvas.width, canvas.height] = [video.videoWidth, video.videoHeight];
    const context = canvas.getContext('2d', { willReadFrequently: true });
    const numbers = [];
    for (const time of times) {
        const shown = new Promise((resolve) => { video.onseeked = resolve; });
        video.currentTime = time;
        await shown;
        await new Promise((resolve) => setTimeout(resolve, 50));
        context.drawImage(video, 0, 0);
        let number = 0;
        for (let bar = 0; bar < bars; bar++) {
            const left = Math.floor(((bar + 0.5) * canvas.width) / bars);
            const level = context.getImageData(left, canvas.height / 4, 1, 1).data[0];
            number = 2 * number + (level > 128 ? 1 : 0);
        }
        numbers.push(number);
    }
    return [video.duration, numbers];
}"""


@pytest.mark.parametrize("with_sound", [True, False], ids=["with sound", "without"])
@pytest.mark.parametrize(
    ("name", "media_type", "settings"),
    [
        ("late.mp4", "video/mp4", {}),
        ("late.mov", "video/mp4", {}),
        ("late.mkv", "video/x-matroska", {}),
        ("late.webm", "video/webm", {"codec": "libvpx-vp9", "sound": "libopus"}),
    ],
)
def test_browser_shows_the_frames_that_are_read(
    browser: Browser,
    tmp_path: Path,
    name: str,
    media_type: str,
    settings: dict[str, Any],
    with_sound: bool,
) -> None:
    settings = settings if with_sound else settings | {"sound": None}
    path = encode_late(tmp_path / name, 20, late=12, options={"g": "5"}, **settings)
    # Not at the bounds of frames, which players round differently.
    times = [1.35, 1.75, 2.15, 2.55, 3.05]
    with open_video(path) as video:
        read = [read_number(pixels) for pixels in video.frames_at(times).pixels]
        duration = video.duration_seconds
    assert read == [1, 5, 9, 13, 18]

    content = base64.b64encode(path.read_bytes()).decode("ascii")
    page = browser.new_page()
    played_seconds, shown = page.evaluate(PLAY, [content, media_type, times, NUM_BARS])

    assert shown == read
    if with_sound:
        assert played_seconds == pytest.approx(duration, abs=0.05)
