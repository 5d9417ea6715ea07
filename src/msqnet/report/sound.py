"""The sound of a source video, carried over into a video that is being written."""

from __future__ import annotations

import logging
from fractions import Fraction
from typing import TYPE_CHECKING, Protocol

import av
from av.filter import Graph

from msqnet.video.decoding import FrameDecoder, open_stream

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from av.audio.frame import AudioFrame
    from av.audio.stream import AudioStream
    from av.container import InputContainer, OutputContainer
    from av.packet import Packet

COPIED_CODECS = frozenset({"aac", "mp3", "ac3", "eac3", "opus", "alac", "flac"})
"""Codecs that mp4 holds and that players know there; all others become AAC."""

_AAC_RATES = frozenset(
    {96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350}
)
_DEFAULT_RATE = 48000
_AAC_FRAME_SAMPLES = 1024
_logger = logging.getLogger(__name__)


class Sound(Protocol):
    """Sound that is handed on as the pictures advance, so that little of it is in memory."""

    def write_until(self, seconds: float) -> None:
        """Hand on what starts before this time of the written video."""

    def close(self, end_seconds: float) -> None:
        """Hand on the rest up to the end of the written video, and close the source."""

    def abandon(self) -> None:
        """Close the source."""


def open_sound(path: Path, output: OutputContainer, start_seconds: float) -> Sound | None:
    """The first sound track of a video, added to ``output`` as a stream.

    Args:
        path: the source; a folder of images has no sound.
        output: where the sound goes; nothing was written to it yet.
        start_seconds: time of the source, counted from its first frame, that becomes 0.

    Returns:
        None if there is no sound, or none that can be decoded; a warning says the latter.

    Raises:
        VideoError: the source is not a video.
    """
    if path.is_dir():
        return None
    container, _ = open_stream(path)
    try:
        if not container.streams.audio:
            container.close()
            return None
        zero = _first_frame_time(path) + Fraction(start_seconds)
        source = _Source(path, container, container.streams.audio[0], zero)
        return _Copied(source, output) if _is_copied(source.stream) else _Encoded(source, output)
    except av.FFmpegError as error:
        container.close()
        _logger.warning("%s: its sound is left out (%s)", path, error.strerror)
        return None
    except BaseException:
        container.close()
        raise


def _is_copied(stream: AudioStream) -> bool:
    return stream.codec_context.codec.canonical_name in COPIED_CODECS


def _first_frame_time(path: Path) -> Fraction:
    """Time of the first picture on the file's own clock, which the sound shares.

    AVI numbers pictures in the order of decoding, which makes the first one look late: it is at 0.
    """
    with FrameDecoder(path) as decoder:
        frame = decoder.next_frame()
        if decoder.stream.container.format.name == "avi":
            return Fraction(0)
        if frame is None or frame.pts is None or decoder.stream.time_base is None:
            return Fraction(0)
        return frame.pts * decoder.stream.time_base


class _Source:
    """Packets of a sound track by their time in the written video.

    Args:
        path: for messages.
        container: closed with this.
        stream: of the container.
        zero: time on the file's clock that becomes 0.
    """

    def __init__(
        self, path: Path, container: InputContainer, stream: AudioStream, zero: Fraction
    ) -> None:
        self.path = path
        self.container = container
        self.stream = stream
        self.time_base = stream.time_base or Fraction(1, stream.rate or _DEFAULT_RATE)
        self.shift = -round(zero / self.time_base)
        self._packets = self._read()
        self._next = next(self._packets, None)

    def before(self, seconds: float) -> Iterator[Packet[AudioStream]]:
        """The packets not yet given that start before this time."""
        limit = seconds / self.time_base
        while self._next is not None and (self._next.pts or 0) + self.shift < limit:
            packet, self._next = self._next, next(self._packets, None)
            yield packet

    def _read(self) -> Iterator[Packet[AudioStream]]:
        try:
            for packet in self.container.demux(self.stream):
                if packet.size > 0 and packet.pts is not None:
                    yield packet
        except av.FFmpegError as error:
            _logger.warning("%s: its sound ends early (%s)", self.path, error.strerror)


class _Copied:
    """Sound whose packets are handed on as they are."""

    def __init__(self, source: _Source, output: OutputContainer) -> None:
        self._source = source
        self._output = output
        self._stream = output.add_stream_from_template(source.stream)
        self._last_dts: int | None = None

    def write_until(self, seconds: float) -> None:
        for packet in self._source.before(seconds):
            start = (packet.pts or 0) + self._source.shift
            # One that ends where the pictures start is kept: decoders begin with it, unheard.
            if start + (packet.duration or 0) < 0:
                continue
            if self._last_dts is not None and start <= self._last_dts:
                continue
            packet.pts = packet.dts = self._last_dts = start
            packet.stream = self._stream
            self._output.mux(packet)

    def close(self, end_seconds: float) -> None:
        self.write_until(end_seconds)
        self.abandon()

    def abandon(self) -> None:
        self._source.container.close()


class _Encoded:
    """Sound that is decoded and encoded as AAC; gaps become silence, so that it stays in step."""

    def __init__(self, source: _Source, output: OutputContainer) -> None:
        self._source = source
        self._output = output
        rate = source.stream.rate if source.stream.rate in _AAC_RATES else _DEFAULT_RATE
        layout = "mono" if source.stream.codec_context.channels == 1 else "stereo"
        self._stream = output.add_stream("aac", rate=rate, layout=layout)
        self._graph: Graph | None = None
        self._is_broken = False

    def write_until(self, seconds: float) -> None:
        for packet in self._source.before(seconds):
            for frame in self._decoded(packet):
                if frame.pts is not None:
                    frame.pts += self._source.shift
                self._filter(frame)

    def close(self, end_seconds: float) -> None:
        self.write_until(end_seconds)
        self._filter(None)
        self._output.mux(self._stream.encode(None))
        self.abandon()

    def abandon(self) -> None:
        self._source.container.close()

    def _decoded(self, packet: Packet[AudioStream]) -> list[AudioFrame]:
        try:
            return self._source.stream.decode(packet)
        except av.FFmpegError:
            return []  # passed over, as players do; the filter fills the gap

    def _filter(self, frame: AudioFrame | None) -> None:
        if self._is_broken:
            return
        try:
            ready = list(self._filtered(frame))
        except av.FFmpegError as error:
            self._is_broken = True
            _logger.warning("%s: its sound ends early (%s)", self._source.path, error.strerror)
            return
        for item in ready:
            self._output.mux(self._stream.encode(item))

    def _filtered(self, frame: AudioFrame | None) -> Iterator[AudioFrame]:
        if self._graph is None:
            if frame is None:
                return
            self._graph = self._new_graph(frame)
        self._graph.push(frame)
        while True:
            try:
                ready = self._graph.pull()
            except (av.BlockingIOError, av.EOFError):
                return
            if isinstance(ready, av.AudioFrame):
                yield ready

    def _new_graph(self, first_frame: AudioFrame) -> Graph:
        """From frames as they are decoded, which may differ from what the file announces."""
        rate, layout = self._stream.rate, self._stream.layout.name
        graph = Graph()
        graph.link_nodes(
            graph.add_abuffer(
                sample_rate=first_frame.sample_rate,
                format=first_frame.format.name,
                layout=first_frame.layout.name,
                time_base=self._source.time_base,
            ),
            graph.add("aresample", f"{rate}:async=1:first_pts=0"),
            graph.add("aformat", f"sample_fmts=fltp:sample_rates={rate}:channel_layouts={layout}"),
            graph.add("abuffersink"),
        ).configure()
        graph.set_audio_frame_size(_AAC_FRAME_SAMPLES)
        return graph
