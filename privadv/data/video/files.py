"""Whole files: every frame is accounted for, or :class:`BadVideo` names the file and the reason.

A video is one file (mp4, mov, avi) or the images of a frame folder. Only containers that state their number
of frames are read, because in any other (mkv, ts, ...) a file that was cut short looks like a whole one.
"""

from __future__ import annotations

import itertools
import struct
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import av.error
import numpy as np
from av.container import InputContainer
from av.stream import Disposition
from av.video.reformatter import Interpolation, VideoReformatter
from PIL import Image, ImageOps

from privadv.errors import PrivadvError
from privadv.scratch import whole

Media = Path | Sequence[Path]

# Playlists, still images and text never reach a demuxer; nothing but the one file is ever opened.
DEMUXER = {"format_whitelist": "mov,mp4,m4a,3gp,3g2,mj2,avi", "protocol_whitelist": "file"}
# Without the two flags the scaler rounds as the processor's fastest instructions happen to.
SCALER = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.BITEXACT
# x264's macroblock tree gives other bytes from call to call on processors with AVX-512.
X264 = {"preset": "veryfast", "x264-params": "mbtree=0"}
# Of one frame: 8192 x 8192, twice 8K video. What claims more is meant to fill the memory.
MOST_PIXELS = 1 << 26
# MPEG-4 part 2 stands "nothing new here" in a packet of at most so many bytes.
EMPTY_MPEG4 = 19


class BadVideo(PrivadvError):
    """A file or address that gives no trustworthy frames; ``reason`` says why without its path."""

    def __init__(self, path: Path | str, reason: str) -> None:
        super().__init__(path, reason)
        self.path, self.reason = path, reason

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


@dataclass(frozen=True)
class Extent:
    """How many ``frames`` a video has, and how many a second, on average: None for a frame folder, or where nothing says."""

    frames: int
    rate: float | None = None


def extent(media: Media) -> Extent:
    """The frames that :func:`decode` will find, read from the packets alone where these are certain.

    Raises:
        BadVideo: the file is empty, no video, damaged or shorter than its container says.
    """
    if not isinstance(media, Path):
        return Extent(len(media))
    tally = _Tally()
    with _open(media) as file:
        rate = file.stream.average_rate
        for _ in _packets(file, tally):
            pass
    return Extent(sum(1 for _ in _frames(media)) if tally.empty else tally.packets, float(rate) if rate else None)


def count_frames(media: Media) -> int:
    """The frames of :func:`extent`, which raises for it."""
    return extent(media).frames


def decode(media: Media, wanted: Sequence[int], size: tuple[int, int]) -> np.ndarray:
    """The frames numbered ``wanted`` (any order, repeats allowed), upright and scaled to ``size`` = (H, W).

    Returns uint8 (len(wanted), H, W, 3) RGB. One sequential pass over the whole video, so that any damage
    is found.

    Raises:
        BadVideo: as for :func:`count_frames`, a frame cannot be decoded, or one of ``wanted`` does not exist.
    """
    first = media if isinstance(media, Path) else media[0].parent
    scaler, places, count = VideoReformatter(), _places(wanted), 0
    images = np.empty((len(wanted), *size, 3), np.uint8)
    for frame in _frames(media) if isinstance(media, Path) else map(read_image, media):
        if count in places:
            images[places[count]] = upright(frame, size, scaler, first)
        count += 1
    if missing := [number for number in places if not 0 <= number < count]:
        raise BadVideo(first, f"has {count} frames, but frame {min(missing)} was asked for")
    return images


def _places(wanted: Sequence[int]) -> dict[int, list[int]]:
    """Where in ``wanted`` each of its numbers stands."""
    places: dict[int, list[int]] = {}
    for place, number in enumerate(wanted):
        places.setdefault(number, []).append(place)
    return places


def write_h264(path: Path, frames: Iterable[np.ndarray], fps: int | Fraction, crf: int = 20) -> int:
    """Encode ``frames``, uint8 (H, W, 3) RGB with even H and W, as H.264 in an mp4; returns how many.

    ``path`` appears only when complete. One thread: equal frames give equal bytes on any number of cores.

    Raises:
        PrivadvError: there are no frames, or they have an odd size (4:2:0 video has none) or several sizes.
    """
    frames = iter(frames)
    first = next(frames, None)
    if first is None:
        raise PrivadvError(f"{path}: no frames to write")
    if first.ndim != 3 or first.shape[0] % 2 or first.shape[1] % 2:
        raise PrivadvError(f"{path}: frames of {first.shape}: H.264 needs an even height and width")
    scaler, count = VideoReformatter(), 0
    with whole(path) as part, av.open(f"file:{part}", "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=fps, options={"crf": str(crf)} | X264)
        stream.height, stream.width = first.shape[:2]
        stream.pix_fmt, stream.codec_context.thread_count = "yuv420p", 1
        for image in itertools.chain([first], frames):
            if image.shape != first.shape:
                raise PrivadvError(f"{path}: frame {count} is {image.shape}, the first was {first.shape}")
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame = scaler.reformat(frame, format="yuv420p", interpolation=SCALER, threads=1)
            container.mux(stream.encode(frame))
            count += 1
        container.mux(stream.encode(None))
    return count


@dataclass
class _Tally:
    """What a file holds: packets to show, ``empty`` ones among them that may give no frame, hidden ones."""

    packets: int = 0
    empty: int = 0
    hidden: int = 0


@dataclass(frozen=True)
class _File:
    path: Path
    container: InputContainer
    stream: av.VideoStream


@contextmanager
def _open(path: Path) -> Iterator[_File]:
    try:
        if path.stat().st_size == 0:
            raise BadVideo(path, "is empty (0 bytes)")
        with _demuxer(path) as container:
            cover = Disposition.attached_pic
            stream = next((each for each in container.streams.video if not each.disposition & cover), None)
            if stream is None:
                raise BadVideo(path, "has no video stream")
            if stream.codec_context is None:
                raise BadVideo(path, "has a video codec that cannot be decoded here")
            if stream.width * stream.height > MOST_PIXELS:
                raise BadVideo(path, _oversized(stream.width, stream.height))
            stream.codec_context.thread_count = 1
            stream.codec_context.options = {"max_pixels": str(MOST_PIXELS)}  # frames may grow within a stream
            yield _File(path, container, stream)
    except OSError as error:
        raise BadVideo(path, f"cannot be read ({error.strerror})") from None
    except av.error.FFmpegError as error:
        raise BadVideo(path, f"is no video, or cut short or damaged ({error.strerror})") from None


def _demuxer(path: Path) -> InputContainer:
    try:
        return av.open(f"file:{path}", options=DEMUXER, metadata_errors="replace")
    except av.error.ArgumentError:
        raise BadVideo(path, "is no mp4, mov or avi: remux it (ffmpeg -i FILE -c copy FILE.mp4)") from None


def _packets(file: _File, tally: _Tally) -> Iterator[av.Packet]:
    for packet in file.container.demux(file.stream):
        if packet.is_corrupt:
            raise BadVideo(file.path, f"packet {tally.packets} is damaged or cut short")
        if packet.size == 0:
            # PyAV's last "packet" only stands for the end; one with a place in the file repeats a frame.
            tally.hidden += packet.pos is not None
            continue
        tally.hidden += packet.is_discard
        tally.packets += not packet.is_discard
        tally.empty += file.stream.codec_context.name == "mpeg4" and packet.size <= EMPTY_MPEG4
        yield packet
    found, stated = tally.packets + tally.hidden, file.stream.frames
    if not stated:
        raise BadVideo(file.path, "does not state its number of frames: a cut would not show, remux it")
    if found != stated:
        raise BadVideo(file.path, f"is cut short or damaged: it holds {found} of its stated {stated} frames")


def _frames(path: Path) -> Iterator[av.VideoFrame]:
    tally, count = _Tally(), 0
    with _open(path) as file:
        for packet in itertools.chain(_packets(file, tally), [None]):
            for frame in file.stream.decode(packet):
                if frame.is_corrupt:
                    raise BadVideo(path, f"frame {count} is damaged")
                count += 1
                yield frame
    if not tally.packets - tally.empty <= count <= tally.packets:
        raise BadVideo(path, f"is damaged: {count} frames decoded of {tally.packets}")


def read_image(path: Path) -> av.VideoFrame:
    """A PNG or JPEG image, upright; raises BadVideo, which names its folder."""
    try:
        with warnings.catch_warnings(action="ignore"), Image.open(path, formats=("PNG", "JPEG")) as image:
            if image.width * image.height > MOST_PIXELS:
                raise BadVideo(path.parent, f"holds {path.name}, which {_oversized(*image.size)}")
            return av.VideoFrame.from_ndarray(np.asarray(ImageOps.exif_transpose(image).convert("RGB")), format="rgb24")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        # Some of these say the path, and a manifest must not.
        reason = str(error).partition(f" '{path}'")[0]
        raise BadVideo(path.parent, f"holds {path.name}, which is no whole image ({reason})") from None


def _oversized(width: int, height: int) -> str:
    return f"has {width} x {height} pixels, more than the {MOST_PIXELS} that a frame may have"


def upright(frame: av.VideoFrame, size: tuple[int, int], scaler: VideoReformatter, path: Path | str) -> np.ndarray:
    """Scaled and turned as the display matrix asks; ``size`` is that of the upright picture."""
    (a, b), (c, d) = display_matrix(frame)
    if abs(a * d - b * c) != 1 or (a and b):
        raise BadVideo(path, "is to be turned by an angle that is no multiple of 90 degrees")
    height, width = size if a else size[::-1]
    image = scaler.reformat(frame, width, height, "rgb24", interpolation=SCALER, threads=1).to_ndarray()
    # A pixel at (x, y) is shown at (ax + cy, bx + dy); a negative factor is a mirrored axis.
    image = image if a else image.swapaxes(0, 1)
    return image[:: d or b, :: a or c]


def display_matrix(frame: av.VideoFrame) -> tuple[tuple[int, int], tuple[int, int]]:
    """((a, b), (c, d)): a pixel at (x, y) is shown at (ax + cy, bx + dy)."""
    data = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return (1, 0), (0, 1)
    a, b, _, c, d, *_ = struct.unpack("=9i", bytes(data))
    return (round(a / 65536), round(b / 65536)), (round(c / 65536), round(d / 65536))
