"""Facts about the project's videos, and copies of those that browsers cannot play.

Files are decoded in processes of their own: a damaged one that makes FFmpeg hang or crash ends such
a process, and its video is the only one that cannot be shown.
"""

from __future__ import annotations

import asyncio
import hashlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from msqnet.child_process import Cancelled, ChildDied, ChildProcess, ChildTimedOut, answer_requests
from msqnet.errors import MsqnetError, VideoError

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from pathlib import Path

    from msqnet.child_process import Report

COPY_SHORT_SIDE_PIXELS = 720
_START_SECONDS = 180.0
_READ_SECONDS = 900.0
_COPY_SECONDS = 24 * 3600.0


@dataclass(frozen=True)
class VideoFacts:
    """What the page must know of a video.

    Attributes:
        frame_starts: float64 little-endian bytes: when each frame begins, on the file's clock.
        end_seconds: end of the last frame; ``duration_seconds`` is that of the file.
        media_type: of a file that browsers play; None for others.
        state: text that changes when the file does.
    """

    frame_starts: bytes
    end_seconds: float
    duration_seconds: float
    width: int
    height: int
    media_type: str | None
    notes: tuple[str, ...]
    state: str


@dataclass
class CopyTask:
    """A copy that is being made: the share that is done, and why it failed."""

    share: float = 0.0
    error: str = ""
    is_done: bool = False


@dataclass
class _Reader:
    """A process that answers one request at a time, started when it is needed."""

    name: str
    child: ChildProcess = field(init=False)
    threads: ThreadPoolExecutor = field(init=False)

    def __post_init__(self) -> None:
        self.child = ChildProcess(self.name, run_reader, None, _START_SECONDS)
        self.threads = ThreadPoolExecutor(max_workers=1, thread_name_prefix=self.name)

    def ask(self, request: tuple[Path, Path | None], seconds: float, on_progress: Any) -> Any:
        try:
            if not self.child.is_running:
                self.child.start()
            return self.child.ask(request, seconds, on_progress)
        except (ChildDied, ChildTimedOut) as error:
            raise VideoError(f"{request[0]}: reading it failed: {error}") from error

    def stop(self) -> None:
        self.child.kill()
        self.threads.shutdown(cancel_futures=True)


class Media:
    """Reads videos for a project, and keeps copies in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._facts, self._copies = _Reader("video reader"), _Reader("video copier")
        self._known: dict[Path, VideoFacts] = {}
        self._tasks: dict[Path, CopyTask] = {}

    def stop(self) -> None:
        """End the processes."""
        self._facts.stop()
        self._copies.stop()

    async def facts(self, path: Path) -> VideoFacts:
        """Facts of a video, read anew if its file was changed; `VideoError` if it is none."""
        known = self._known.get(path)
        state = await asyncio.to_thread(_state, path)
        if known is not None and known.state == state:
            return known
        loop, ask = asyncio.get_running_loop(), self._facts.ask
        found: VideoFacts = await loop.run_in_executor(
            self._facts.threads, ask, (path, None), _READ_SECONDS, None
        )
        self._known[path] = found
        return found

    def copy(self, path: Path, facts: VideoFacts) -> Path | CopyTask:
        """The copy of a video that browsers play, or how far it is; the first call begins it.

        A copy is kept until its video is changed.
        """
        digest = hashlib.sha256(f"{path}\n{facts.state}".encode(errors="surrogateescape"))
        copy = self._folder / f"{digest.hexdigest()[:32]}.mp4"
        if copy.is_file():
            return copy
        if copy not in self._tasks:
            task = self._tasks[copy] = CopyTask()
            self._copies.threads.submit(self._make, path, copy, task)
        return self._tasks[copy]

    def _make(self, path: Path, copy: Path, task: CopyTask) -> None:
        def report(share: float) -> None:
            task.share = share

        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with suppress(Cancelled):
                self._copies.ask((path, copy), _COPY_SECONDS, report)
        except (MsqnetError, OSError) as error:
            task.error = str(error)
        task.is_done = True


def _state(path: Path) -> str:
    from msqnet.video.frame_sources import content_state

    try:
        return content_state(path)
    except OSError as error:
        raise VideoError(f"{path}: it cannot be read ({error.strerror or error})") from error


def run_reader(connection: Connection, _argument: None) -> None:
    """Main function of the process: facts of a video, or a copy where one is named."""

    def answer(request: tuple[Path, Path | None], report: Report) -> VideoFacts | None:
        path, copy = request
        if copy is None:
            return read_facts(path)
        from msqnet.report.video_writer import write_copy

        write_copy(path, copy, COPY_SHORT_SIDE_PIXELS, report)
        return None

    answer_requests(connection, lambda: (None, answer))


def read_facts(path: Path) -> VideoFacts:
    """Open a video and read its frame times; `VideoError` if it is none."""
    from msqnet.serving.inspection import playable_type
    from msqnet.video.decoding import open_stream
    from msqnet.video.reader import open_video

    state = _state(path)
    with open_video(path) as video:
        media_type = None
        if not path.is_dir():
            container, stream = open_stream(path)
            with container:
                media_type = playable_type(container, stream)
        return VideoFacts(
            video.pts_seconds.astype("<f8").tobytes(),
            float(video.end_seconds),
            float(video.duration_seconds),
            video.width,
            video.height,
            media_type,
            tuple(video.notes),
            state,
        )
