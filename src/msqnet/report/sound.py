"""The sound of a source video, carried over into a video that is being written.

PyAV has no call that copies or encodes a track in step with pictures that are encoded at the same
time, so packets are handed on here one by one, and little sound is in memory.
"""

from __future__ import annotations

import logging
from fractions import Fraction
from typing import TYPE_CHECKING

import av
from av.filter import Graph

from msqnet.video.clock import clock_zero
from msqnet.video.decoding import open_stream

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from av.audio.frame import AudioFrame
    from av.audio.stream import AudioStream
    from av.container import InputContainer, OutputContainer
    from av.packet import Packet

# Codecs that mp4 holds and that players know there; all others become AAC.
_COPIED_CODECS = frozenset({"aac", "mp3", "ac3", "eac3", "opus", "alac", "flac"})
_AAC_RATES = frozenset(
    {96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350}
)
_DEFAULT_RATE = 48000
_AAC_FRAME_SAMPLES = 1024
_logger = logging.getLogger(__name__)


def open_sound(path: Path, output: OutputContainer, start_seconds: float) -> Sound | None:
    """The first sound track of a video, added as a stream to an output with no packets yet.

    The time ``start_seconds`` of the source becomes 0. None if there is no sound, or none that can
    be decoded; a warning says the latter.
    """
    if path.is_dir():
        return None
    container, stream = open_stream(path)
    sound = None
    try:
        if container.streams.audio:
            zero = clock_zero(stream) + Fraction(start_seconds)
            sound = Sound(path, container, output, zero)
    except av.FFmpegError as error:
        _logger.warning("%s: its sound is left out (%s)", path, error.strerror)
    finally:
        if sound is None:
            container.close()
    return sound


class Sound:
    """The packets of a sound track by their time in the written video, copied or encoded as AAC.

    The source is closed by the caller; its time ``zero``, on its own clock, becomes 0.
    """

    def __init__(
        self, path: Path, source: InputContainer, output: OutputContainer, zero: Fraction
    ) -> None:
        self.source = source
        self._path, self._output = path, output
        self._track = track = source.streams.audio[0]
        self._time_base = track.time_base or Fraction(1, track.rate or _DEFAULT_RATE)
        self._shift = -round(zero / self._time_base)
        self._is_copied = track.codec_context.codec.canonical_name in _COPIED_CODECS
        if self._is_copied:
            self._stream = output.add_stream_from_template(track)
        else:
            rate = track.rate if track.rate in _AAC_RATES else _DEFAULT_RATE
            layout = "mono" if track.codec_context.channels == 1 else "stereo"
            self._stream = output.add_stream("aac", rate=rate, layout=layout)
        self._last_dts: int | None = None
        self._graph: Graph | None = None
        self._is_broken = False
        self._packets = self._read()
        self._next = next(self._packets, None)

    def _read(self) -> Iterator[Packet[AudioStream]]:
        try:
            for packet in self.source.demux(self._track):
                if packet.size > 0 and packet.pts is not None:
                    yield packet
        except av.FFmpegError as error:
            _logger.warning("%s: its sound ends early (%s)", self._path, error.strerror)

    def write_until(self, seconds: float) -> None:
        """Hand on the packets that start before this time of the written video."""
        limit = seconds / self._time_base
        while self._next is not None and (self._next.pts or 0) + self._shift < limit:
            packet, self._next = self._next, next(self._packets, None)
            (self._copy if self._is_copied else self._convert)(packet)

    def finish(self, end_seconds: float) -> None:
        """Hand on the rest up to the end of the written video."""
        self.write_until(end_seconds)
        if not self._is_copied:
            self._encode(None)
            self._output.mux(self._stream.encode(None))

    def _copy(self, packet: Packet[AudioStream]) -> None:
        start = (packet.pts or 0) + self._shift
        # One that ends where the pictures start is kept: decoders begin with it, unheard.
        is_before = start + (packet.duration or 0) < 0
        if is_before or (self._last_dts is not None and start <= self._last_dts):
            return
        packet.pts = packet.dts = self._last_dts = start
        packet.stream = self._stream
        self._output.mux(packet)

    def _convert(self, packet: Packet[AudioStream]) -> None:
        """Decode and encode a packet; gaps become silence, so that the sound stays in step."""
        try:
            frames = self._track.decode(packet)
        except av.FFmpegError:
            return  # passed over, as players do; the filter fills the gap
        for frame in frames:
            if frame.pts is not None:
                frame.pts += self._shift
            self._encode(frame)

    def _encode(self, frame: AudioFrame | None) -> None:
        if self._is_broken:
            return
        try:
            ready = list(self._filtered(frame))
        except av.FFmpegError as error:
            self._is_broken = True
            _logger.warning("%s: its sound ends early (%s)", self._path, error.strerror)
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
        """From frames as they are decoded, which may differ from the file's header."""
        rate, layout = self._stream.rate, self._stream.layout.name
        graph = Graph()
        graph.link_nodes(
            graph.add_abuffer(
                sample_rate=first_frame.sample_rate,
                format=first_frame.format.name,
                layout=first_frame.layout.name,
                time_base=self._time_base,
            ),
            graph.add("aresample", f"{rate}:async=1:first_pts=0"),
            graph.add("aformat", f"sample_fmts=fltp:sample_rates={rate}:channel_layouts={layout}"),
            graph.add("abuffersink"),
        ).configure()
        graph.set_audio_frame_size(_AAC_FRAME_SAMPLES)
        return graph
