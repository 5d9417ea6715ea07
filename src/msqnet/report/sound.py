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


def open_sound(path: Path, output: OutputContainer, start_seconds: float) -> Sound | None:
    """The first sound track of a video, added to ``output`` as a stream.

    Args:
        path: the source; a folder of images has no sound.
        output: the target; nothing was written to it yet.
        start_seconds: time of the source, counted from its first frame, that becomes 0.

    Returns:
        None if there is no sound, or none that can be decoded; a warning says the latter.
    """
    if path.is_dir():
        return None
    container, _ = open_stream(path)
    try:
        if not container.streams.audio:
            container.close()
            return None
        stream = container.streams.audio[0]
        is_copied = stream.codec_context.codec.canonical_name in COPIED_CODECS
        zero = _first_frame_time(path) + Fraction(start_seconds)
        return (_CopiedSound if is_copied else _EncodedSound)(path, container, output, zero)
    except av.FFmpegError as error:
        container.close()
        _logger.warning("%s: its sound is left out (%s)", path, error.strerror)
        return None
    except BaseException:
        container.close()
        raise


def _first_frame_time(path: Path) -> Fraction:
    """Time of the first picture on the file's own clock, which the sound shares.

    AVI numbers pictures in the order of decoding, which makes the first one look late: it is at 0.
    """
    with FrameDecoder(path) as decoder:
        frame, time_base = decoder.next_frame(), decoder.stream.time_base
        is_avi = decoder.stream.container.format.name == "avi"
    if is_avi or frame is None or frame.pts is None or time_base is None:
        return Fraction(0)
    return frame.pts * time_base


class Sound:
    """The packets of a sound track by their time in the written video.

    `source` is closed with this; its time `zero`, on the file's clock, becomes 0.
    """

    def __init__(
        self, path: Path, source: InputContainer, output: OutputContainer, zero: Fraction
    ) -> None:
        self._path = path
        self._source = source
        self._output = output
        self._track = source.streams.audio[0]
        self._time_base = self._track.time_base or Fraction(1, self._track.rate or _DEFAULT_RATE)
        self._shift = -round(zero / self._time_base)
        self._packets = self._read()
        self._next = next(self._packets, None)

    def _read(self) -> Iterator[Packet[AudioStream]]:
        try:
            for packet in self._source.demux(self._track):
                if packet.size > 0 and packet.pts is not None:
                    yield packet
        except av.FFmpegError as error:
            _logger.warning("%s: its sound ends early (%s)", self._path, error.strerror)

    def write_until(self, seconds: float) -> None:
        """Hand on the packets that start before this time of the written video."""
        limit = seconds / self._time_base
        while self._next is not None and (self._next.pts or 0) + self._shift < limit:
            packet, self._next = self._next, next(self._packets, None)
            self._hand_on(packet)

    def close(self, end_seconds: float) -> None:
        """Hand on the rest up to the end of the written video, and close the source."""
        self.write_until(end_seconds)
        self._finish()
        self.abandon()

    def abandon(self) -> None:
        """Close the source."""
        self._source.close()

    def _hand_on(self, packet: Packet[AudioStream]) -> None:
        raise NotImplementedError

    def _finish(self) -> None:
        """After the last packet."""


class _CopiedSound(Sound):
    """Sound whose packets are handed on as they are."""

    def __init__(
        self, path: Path, source: InputContainer, output: OutputContainer, zero: Fraction
    ) -> None:
        super().__init__(path, source, output, zero)
        self._stream = output.add_stream_from_template(self._track)
        self._last_dts: int | None = None

    def _hand_on(self, packet: Packet[AudioStream]) -> None:
        start = (packet.pts or 0) + self._shift
        # One that ends where the pictures start is kept: decoders begin with it, unheard.
        is_before = start + (packet.duration or 0) < 0
        if is_before or (self._last_dts is not None and start <= self._last_dts):
            return
        packet.pts = packet.dts = self._last_dts = start
        packet.stream = self._stream
        self._output.mux(packet)


class _EncodedSound(Sound):
    """Sound that is decoded and encoded as AAC; gaps become silence, so that it stays in step."""

    def __init__(
        self, path: Path, source: InputContainer, output: OutputContainer, zero: Fraction
    ) -> None:
        super().__init__(path, source, output, zero)
        rate = self._track.rate if self._track.rate in _AAC_RATES else _DEFAULT_RATE
        layout = "mono" if self._track.codec_context.channels == 1 else "stereo"
        self._stream = output.add_stream("aac", rate=rate, layout=layout)
        self._graph: Graph | None = None
        self._is_broken = False

    def _hand_on(self, packet: Packet[AudioStream]) -> None:
        try:
            frames = self._track.decode(packet)
        except av.FFmpegError:
            return  # passed over, as players do; the filter fills the gap
        for frame in frames:
            if frame.pts is not None:
                frame.pts += self._shift
            self._encode(frame)

    def _finish(self) -> None:
        self._encode(None)
        self._output.mux(self._stream.encode(None))

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
