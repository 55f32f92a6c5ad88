"""Frames as they come, in bounded memory: of any video file, a camera or stream, a folder of images, or a pipe."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import av
import av.error
import numpy as np
from av.container import InputContainer
from av.stream import Disposition
from av.video.reformatter import VideoReformatter

from privadv.data.video.files import BadVideo, display_matrix, read_image, upright
from privadv.errors import PrivadvError, without_credentials

Size = tuple[int, int]

# A playlist would make a file open other files and addresses.
FILE = {
    "format_whitelist": "mov,mp4,m4a,3gp,3g2,mj2,avi,matroska,webm,mpegts,mpeg,mpegvideo,m4v,flv,asf,ogg,mxf,nut,gif,dv,wtv",
    "protocol_whitelist": "file",
}
URL = re.compile(r"[a-z][a-z0-9+.-]*://")
PATIENCE = (10.0, 10.0)
"""Seconds that a stream may take to open, and to give its next packet."""
IMAGES = {".png", ".jpg", ".jpeg"}
RATE = Fraction(25)
REORDERED = 64
"""Packets that a decoder may hold back, with room to spare."""


@dataclass(frozen=True)
class Scale:
    """How a frame gets its size: scaled to ``resize``, its centre cropped to ``crop``, both (height, width)."""

    resize: Size
    crop: Size


@dataclass(frozen=True, eq=False)
class Frame:
    """``image``: uint8 (H, W, 3) RGB, upright. It shows from ``pts`` on for ``duration``, in time bases of its source, which
    begins at 0; ``duration`` 0 is unknown. ``name``: that of its file, where it has one of its own.
    """

    image: np.ndarray
    pts: int
    duration: int = 0
    name: str = ""


@dataclass(frozen=True, eq=False)
class Sound:
    """A piece of the sound, encoded, for a sink that was told of its stream."""

    packet: av.Packet


class Source(Protocol):
    """``rate``: frames a second, on average. ``total``: about how many frames there are; None while nobody knows.

    ``live``: it goes on until somebody ends it.
    """

    @property
    def time_base(self) -> Fraction: ...
    @property
    def rate(self) -> Fraction: ...
    @property
    def total(self) -> int | None: ...
    @property
    def live(self) -> bool: ...
    @property
    def sound(self) -> av.AudioStream | None: ...

    def __iter__(self) -> Iterator[Frame | Sound]: ...


@dataclass
class _Fitting:
    """Frames to one size: that of ``scale``, or that of the first frame."""

    scale: Scale | None
    where: Path | str
    scaler: VideoReformatter = field(default_factory=VideoReformatter)
    size: Size | None = None

    def __call__(self, frame: av.VideoFrame) -> np.ndarray:
        size = self.scale.resize if self.scale else self.size or _shown_size(frame)
        self.size = size
        image = upright(frame, size, self.scaler, self.where)
        if self.scale:
            rows, columns = self.scale.crop
            top, left = (size[0] - rows) // 2, (size[1] - columns) // 2
            image = image[top : top + rows, left : left + columns]
        return np.ascontiguousarray(image)


def _shown_size(frame: av.VideoFrame) -> Size:
    (a, _), _ = display_matrix(frame)
    return (frame.height, frame.width) if a else (frame.width, frame.height)


class VideoSource:
    """A video file of any container that PyAV reads; or, ``live``, an address (rtsp://, http://, ...) or a device.

    ``format``: the input format of a device, such as v4l2, dshow, avfoundation or lavfi; /dev/video* is known by its name.
    A file with a damaged packet or frame is refused; a live stream may lose some, and ``lost`` counts them.
    """

    def __init__(self, where: str, scale: Scale | None, format: str = "", sound: bool = False) -> None:
        self.where, self._path, self._keep_sound = where, Path(where), sound
        self._format = format or ("v4l2" if where.startswith("/dev/video") else "")
        self.live = bool(self._format or URL.match(where))
        self.lost = 0
        # A Path would take one of an address's slashes.
        self._shown_as = without_credentials(where) if URL.match(where) else self._path
        self._decoding: deque[int] = deque(maxlen=REORDERED)
        self._fit = _Fitting(scale, self._shown_as)
        with self._explained():
            self._container = self._open()
            self._stream = self._video()
        self.sound = self._sound() if sound else None
        self.time_base = self._stream.time_base or Fraction(1, 90000)
        self.rate = self._stream.average_rate or self._stream.guessed_rate or RATE
        self.total = None if self.live else self._stream.frames or self._guess()

    def __iter__(self) -> Iterator[Frame | Sound]:
        start, last, waiting = None, -1, []
        with self._explained(), self._container:
            for packet in self._container.demux([one for one in (self._stream, self.sound) if one is not None]):
                if self.sound is not None and packet.stream_index == self.sound.index:
                    waiting.append(packet)
                    if start is not None:
                        yield from self._sounds(waiting, start)
                    continue
                for frame in self._decoded(packet):
                    step = max(1, round(1 / (self.rate * self.time_base)))
                    shown = self._shown(frame)
                    pts = shown if shown is not None else (start or 0) + last + step
                    start = pts if start is None else start
                    # A clock that stands still or runs back, as those of damaged files and cameras do, goes on by the least.
                    last = max(pts - start, last + 1)
                    yield Frame(self._fit(frame), last, frame.duration or 0)
            if start is None:
                raise BadVideo(self._shown_as, "holds no frame")
            yield from self._sounds(waiting, start)

    def _shown(self, frame: av.VideoFrame) -> int | None:
        """When a frame shows. An AVI stores no such time: its n-th frame shows when its n-th packet is decoded."""
        if self._container.format.name != "avi":
            return frame.pts
        return self._decoding.popleft() if self._decoding else None

    def _decoded(self, packet: av.Packet) -> Iterator[av.VideoFrame]:
        if packet.size and packet.dts is not None:
            self._decoding.append(packet.dts)
        if packet.is_corrupt and not self.live:
            raise BadVideo(self._shown_as, "is damaged or cut short")
        try:
            frames: list[Any] = packet.decode()
        except av.error.FFmpegError:
            if not self.live:
                raise
            self.lost += 1
            return
        for frame in frames:
            if frame.is_corrupt and not self.live:
                raise BadVideo(self._shown_as, "is damaged: a frame cannot be decoded whole")
            self.lost += frame.is_corrupt
            yield frame

    def _sounds(self, waiting: list[av.Packet], start: int) -> Iterator[Sound]:
        """Packets of the sound, moved as the frames are; what was to be heard before the first frame is not kept."""
        for packet in waiting:
            if packet.dts is None or packet.pts is None or packet.time_base is None:
                continue
            shift = round(start * self.time_base / packet.time_base)
            packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
            if packet.dts >= 0:
                yield Sound(packet)
        waiting.clear()

    def _open(self) -> InputContainer:
        if not self.live:
            if self._path.stat().st_size == 0:
                raise BadVideo(self._shown_as, "is empty (0 bytes)")
            return av.open(f"file:{self._path}", options=FILE, metadata_errors="replace")
        over_tcp = {"rtsp_transport": "tcp"} if self.where.startswith("rtsp") else {}
        return av.open(self.where, format=self._format or None, options=over_tcp, timeout=PATIENCE, metadata_errors="replace")

    def _video(self) -> av.VideoStream:
        cover = Disposition.attached_pic
        found = next((one for one in self._container.streams.video if not one.disposition & cover), None)
        if found is None or found.codec_context is None:
            raise BadVideo(self._shown_as, "has no video stream that can be decoded here")
        found.thread_type = "AUTO"
        return found

    def _sound(self) -> av.AudioStream | None:
        return next(iter(self._container.streams.audio), None)

    def _guess(self) -> int | None:
        duration = self._container.duration
        return round(duration / av.time_base * self.rate) if duration else None

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except av.error.FFmpegError as error:
            what = "cannot be opened or read" if self.live else "is no video, or cut short or damaged"
            raise BadVideo(self._shown_as, f"{what} ({error.strerror or type(error).__name__})") from None
        except OSError as error:
            raise BadVideo(self._shown_as, f"cannot be read ({error.strerror})") from None


class FolderSource:
    """The PNG and JPEG images of a folder, in the order of their names, as the frames of one video."""

    live, sound = False, None

    def __init__(self, folder: Path, scale: Scale | None, rate: Fraction = RATE) -> None:
        try:
            self._files = sorted(path for path in folder.iterdir() if path.suffix.lower() in IMAGES)
        except OSError as error:
            raise BadVideo(folder, f"cannot be read ({error.strerror})") from None
        if not self._files:
            raise BadVideo(folder, "holds no PNG or JPEG image")
        self.rate, self.time_base, self.total = rate, 1 / rate, len(self._files)
        self._folder, self._fit, self._native = folder, _Fitting(scale, folder), scale is None

    def __iter__(self) -> Iterator[Frame]:
        for number, path in enumerate(self._files):
            frame = read_image(path)
            if self._native and self._fit.size not in (None, (frame.height, frame.width)):
                raise BadVideo(self._folder, f"holds images of several sizes ({path.name}): leave --native out")
            yield Frame(self._fit(frame), number, 1, path.stem)


class PipeSource:
    """Raw RGB frames, 8 bit, ``size`` = (height, width), ``rate`` of them a second, one after the other."""

    live, sound, total = True, None, None

    def __init__(self, stream: BinaryIO, size: Size, scale: Scale | None, rate: Fraction = RATE) -> None:
        self._stream, self._size = stream, size
        self.rate, self.time_base, self._fit = rate, 1 / rate, _Fitting(scale, "the pipe")

    def __iter__(self) -> Iterator[Frame]:
        number, count = 0, self._size[0] * self._size[1] * 3
        while data := self._stream.read(count):
            if len(data) < count:
                raise PrivadvError(f"the pipe ends within frame {number} ({len(data)} of {count} bytes): check --size")
            image = np.frombuffer(data, np.uint8).reshape(*self._size, 3)
            yield Frame(self._fit(av.VideoFrame.from_ndarray(image, format="rgb24")), number, 1)
            number += 1
        if not number:
            raise PrivadvError("the pipe gave no frame: write raw RGB frames into it")
