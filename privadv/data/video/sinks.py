"""Where filtered frames go. Nothing has its own name before it is whole: a file or folder is a ``.part`` until then."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO, Protocol

import av
import av.error
import numpy as np
from av.video.reformatter import VideoReformatter
from PIL import Image

from privadv.data.video.files import SCALER, X264, count_frames
from privadv.data.video.sources import Frame, Sound
from privadv.errors import PrivadvError

MP4_SOUND = {"aac", "mp3", "ac3", "eac3", "alac", "opus", "flac"}
LIMITED_RANGE, BT601 = 1, 6


class Sink(Protocol):
    """Takes frames in order; :meth:`finish` makes them last, :meth:`discard` leaves nothing of them behind."""

    def write(self, frame: Frame | Sound) -> None: ...
    def finish(self) -> None: ...
    def discard(self) -> None: ...


class VideoSink:
    """H.264 in an mp4 that carries no metadata; frames keep their times, in ``time_base``s.

    ``sound``: the source's stream, whose packets are copied. Frames with an odd number of rows or columns lose the last one,
    as 4:2:0 video has none.
    """

    def __init__(self, path: Path, rate: Fraction, time_base: Fraction, crf: int = 20,
                 sound: av.AudioStream | None = None) -> None:
        self._path, self._part = path, part_of(path)
        self._rate, self._time_base, self._crf = rate, time_base, crf
        self._scaler, self._count, self._early = VideoReformatter(), 0, []
        if sound is not None and sound.codec_context.name not in MP4_SOUND:
            raise PrivadvError(f"the sound ({sound.codec_context.name}) does not fit into an mp4: convert it to AAC before")
        with self._explained():
            self._container = av.open(f"file:{self._part}", "w", format="mp4", container_options={"fflags": "+bitexact"})
            self._stream = self._container.add_stream("libx264", rate=rate, options={"crf": str(crf)} | X264)
            self._sound = self._container.add_stream_from_template(sound) if sound is not None else None
        if self._sound is not None:
            self._sound.metadata.clear()

    def write(self, frame: Frame | Sound) -> None:
        with self._explained():
            if isinstance(frame, Sound):
                self._hear(frame)
                return
            image = frame.image[: frame.image.shape[0] & ~1, : frame.image.shape[1] & ~1]
            if not self._count:
                self._begin(image)
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
            picture = self._scaler.reformat(picture, format="yuv420p", interpolation=SCALER, threads=1)
            picture.pts, picture.time_base, picture.duration = frame.pts, self._time_base, frame.duration
            self._container.mux(self._stream.encode(picture))
            self._count += 1
            while self._early:
                self._hear(self._early.pop(0))

    def finish(self) -> None:
        """Close the file, see that every frame is in it, and give it its name."""
        if not self._count:
            self.discard()
            raise PrivadvError(f"{self._path}: no frames to write")
        with self._explained():
            self._container.mux(self._stream.encode(None))
            self._container.close()
            if (found := count_frames(self._part)) != self._count:
                raise PrivadvError(f"{self._path}: {found} of {self._count} frames were written: is the disk full?")
            os.replace(self._part, self._path)

    def discard(self) -> None:
        try:
            self._container.close()
        except (OSError, av.error.FFmpegError):
            pass  # it goes anyway
        finally:
            self._part.unlink(missing_ok=True)

    def _begin(self, image: np.ndarray) -> None:
        coder = self._stream.codec_context
        coder.height, coder.width = image.shape[:2]
        coder.pix_fmt, coder.time_base = "yuv420p", self._time_base
        coder.color_range, coder.colorspace = LIMITED_RANGE, BT601

    def _hear(self, sound: Sound) -> None:
        if self._sound is None:
            return
        if not self._count:
            self._early.append(sound)
            return
        sound.packet.stream = self._sound
        self._container.mux(sound.packet)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (OSError, av.error.FFmpegError) as error:
            raise PrivadvError(f"{self._path}: cannot be written ({error.strerror or type(error).__name__})") from None


class FolderSink:
    """A PNG for every frame, under the name of its image or its number."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._part, self._count = folder, part_of(folder), 0
        with self._explained():
            self._part.mkdir()

    def write(self, frame: Frame | Sound) -> None:
        if isinstance(frame, Sound):
            return
        with self._explained(), (self._part / f"{frame.name or f'{self._count:06d}'}.png").open("xb") as file:
            Image.fromarray(frame.image).save(file, "PNG")
        self._count += 1

    def finish(self) -> None:
        with self._explained():
            if self._folder.is_dir():
                self._folder.rmdir()  # an empty one: nobody's files are at stake
            self._part.rename(self._folder)

    def discard(self) -> None:
        shutil.rmtree(self._part, ignore_errors=True)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except FileExistsError as error:
            raise PrivadvError(f"{error.filename}: two images have this name: rename one") from None
        except OSError as error:
            raise PrivadvError(f"{self._folder}: cannot be written ({error.strerror})") from None


class PipeSink:
    """Raw RGB frames, 8 bit, at once; what went into the pipe cannot be taken back, and is filtered."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def write(self, frame: Frame | Sound) -> None:
        if isinstance(frame, Frame):
            self._stream.write(frame.image.tobytes())
            self._stream.flush()

    def finish(self) -> None:
        self._stream.flush()

    def discard(self) -> None:
        pass


def part_of(path: Path) -> Path:
    """Where ``path`` grows: beside it, and plainly unfinished."""
    return path.with_name(f"{path.name}.{os.getpid()}.part")
