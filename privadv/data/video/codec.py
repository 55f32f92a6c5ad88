"""What a camera's codec leaves of a clip: encoded and decoded again in memory, frame for frame."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction

import av
import av.error
import numpy as np
from av.video.codeccontext import VideoCodecContext
from av.video.reformatter import VideoReformatter

from privadv.data.video.files import SCALER, X264
from privadv.errors import PrivadvError

FPS = 25
"""Frames a second that a coded clip is taken to have: rate control and bit rates go by it."""
ENCODERS = {"h264": "libx264", "mjpeg": "mjpeg"}
QUALITIES = {"h264": range(1, 52), "mjpeg": range(2, 32)}
# Full range: in the limited one the scaler darkens greys by up to two levels before any codec is at work.
PIXELS = "yuvj420p"


@dataclass(frozen=True)
class Codec:
    """``h264`` at a constant rate factor of 1 to 51, or ``mjpeg`` at a quantiser scale of 2 to 31; 4:2:0, higher is coarser."""

    name: str
    quality: int

    @classmethod
    def parse(cls, text: str) -> Codec:
        """Of ``h264:23`` or ``mjpeg:5``.

        Raises:
            PrivadvError: there is no such codec, or it has no such quality.
        """
        name, _, quality = text.partition(":")
        if name not in QUALITIES or not (quality.isdecimal() and int(quality) in QUALITIES[name]):
            known = " or ".join(f"{one}:{each[0]} to {one}:{each[-1]}" for one, each in QUALITIES.items())
            raise PrivadvError(f"'{text}' is no codec with a quality: write {known}")
        return cls(name, int(quality))

    def round_trip(self, clip: np.ndarray) -> tuple[np.ndarray, int]:
        """A clip, uint8 (T, H, W, 3), as it is decoded again, and how many bytes stored it, without a container.

        The clip is a stream of its own, which begins with a key frame. 4:2:0 has no odd sizes: such a frame is coded with
        its last row or column twice, and loses it again.

        Raises:
            PrivadvError: not every frame came back.
        """
        frames, height, width, _ = clip.shape
        even = np.pad(clip, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        try:
            packets = self._encoded(even)
            decoded = self._decoded(packets)
        except av.error.FFmpegError as error:
            raise PrivadvError(f"{self.name}: a clip of {clip.shape} cannot be coded ({error.strerror})") from None
        if [frame.pts for frame in decoded] != list(range(frames)):
            raise PrivadvError(f"{self.name}: {len(decoded)} of {frames} frames came back, or in another order")
        scaler = VideoReformatter()
        images = [scaler.reformat(frame, format="rgb24", interpolation=SCALER, threads=1).to_ndarray() for frame in decoded]
        return np.stack(images)[:, :height, :width], sum(packet.size for packet in packets)

    def _encoded(self, clip: np.ndarray) -> list[av.Packet]:
        encoder, scaler = self._context(ENCODERS[self.name], "w"), VideoReformatter()
        encoder.height, encoder.width = clip.shape[1:3]
        encoder.pix_fmt, encoder.time_base, encoder.framerate = PIXELS, Fraction(1, FPS), Fraction(FPS)
        encoder.options = self._options()
        packets = []
        for number, image in enumerate(clip):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
            frame = scaler.reformat(frame, format=PIXELS, interpolation=SCALER, threads=1)
            frame.pts, frame.time_base = number, Fraction(1, FPS)
            packets += encoder.encode(frame)
        return [*packets, *encoder.encode(None)]

    def _decoded(self, packets: list[av.Packet]) -> list[av.VideoFrame]:
        decoder = self._context(self.name, "r")
        return [frame for packet in (*packets, None) for frame in decoder.decode(packet)]

    def _context(self, name: str, mode: str) -> VideoCodecContext:
        context = av.CodecContext.create(name, mode)  # pyright: ignore[reportArgumentType, reportCallIssue]
        context.thread_count = 1
        return context  # pyright: ignore[reportReturnType]

    def _options(self) -> dict[str, str]:
        if self.name == "h264":
            return {"crf": str(self.quality)} | X264
        return {"qmin": str(self.quality), "qmax": str(self.quality)}


@dataclass
class Tape:
    """A codec at work on clip after clip; it counts what it stored."""

    codec: Codec
    stored: int = 0
    frames: int = 0

    def recorded(self, batches: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """Batches uint8 (n, T, H, W, 3) as they are decoded again."""
        for batch in batches:
            clips = []
            for clip in batch:
                decoded, size = self.codec.round_trip(clip)
                clips.append(decoded)
                self.stored, self.frames = self.stored + size, self.frames + len(clip)
            yield np.stack(clips)

    @property
    def kbit_per_second(self) -> float:
        """The bit rate so far, at FPS."""
        return 8 * self.stored / 1000 * FPS / self.frames
