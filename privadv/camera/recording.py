"""From a source through the filter into a sink, until the end, an error or a signal. Nothing else ever reaches a sink."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from types import FrameType

import numpy as np

from privadv.camera.frames import FrameFilter
from privadv.console import progress, say
from privadv.data.video.sinks import Sink
from privadv.data.video.sources import Frame, Sound, Source
from privadv.errors import PrivadvError

CHUNK_FRAMES, CHUNK_PIXELS = 16, 1 << 18
"""At most how much of a file the network sees at once; of a live source it is one frame, for the least delay."""
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stopped(BaseException):
    """A signal ended the work before there was anything worth keeping; ``number`` is the signal's."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@dataclass
class Recording:
    """``seconds``: how much of the source is taken, from its first frame; None = all."""

    source: Source
    filter: FrameFilter
    sink: Sink
    seconds: float | None = None
    done: int = field(default=0, init=False)
    _signal: int = field(default=0, init=False)
    _waiting: bool = field(default=False, init=False)

    def run(self) -> str:
        """Work until the end; a signal is the end of a live source. Returns what cut a live source short, if anything did.

        A live source that breaks off leaves what came before; of a file there is all or nothing.

        Raises:
            PrivadvError: the source, the filter or the sink fails.
            Stopped: a signal came before the end of a file.
        """
        why = ""
        try:
            with self._signals(), progress("filtering", self.source.total) as bar:
                start = time.monotonic()
                try:
                    for item in self._interruptible(self._filtered()):
                        self.sink.write(item)
                        if isinstance(item, Frame):
                            self.done += 1
                            bar.advance(1, fps=self.done / (time.monotonic() - start))
                except Stopped:
                    if not self._worth_keeping:
                        raise
                except _Broken as broken:
                    if not self._worth_keeping:
                        raise broken.error from None
                    why = str(broken.error)
                self.sink.finish()
        except BaseException:
            self.sink.discard()
            raise
        seconds = time.monotonic() - start
        say(f"{self.done} frames in {seconds:.1f} s, {self.done / seconds:.1f} a second")
        return why

    @property
    def _worth_keeping(self) -> bool:
        return self.source.live and self.done > 0

    def _filtered(self) -> Iterator[Frame | Sound]:
        """What the source gives, its images filtered, in order; sound passes."""
        waiting: list[Frame] = []
        for item in self._taken():
            if isinstance(item, Sound):
                yield item
                continue
            waiting.append(item)
            if len(waiting) >= (1 if self.source.live else _chunk(item.image)):
                yield from self._released(waiting)
                waiting = []
        if waiting:
            yield from self._released(waiting)

    def _released(self, frames: list[Frame]) -> Iterator[Frame]:
        images = self.filter(np.stack([frame.image for frame in frames]))
        for frame, image in zip(frames, images, strict=True):
            yield replace(frame, image=image)

    def _taken(self) -> Iterator[Frame | Sound]:
        try:
            for item in self.source:
                if self.seconds is not None and isinstance(item, Frame) and item.pts * self.source.time_base >= self.seconds:
                    return
                yield item
        except PrivadvError as error:
            raise _Broken(error) from None

    def _interruptible(self, items: Iterator[Frame | Sound]) -> Iterator[Frame | Sound]:
        """A signal takes effect between two writes only, so that what is written is always whole."""
        while True:
            self._waiting = True
            if self._signal:
                raise Stopped(self._signal)
            item = next(items, None)
            self._waiting = False
            if item is None:
                return
            yield item

    @contextmanager
    def _signals(self) -> Iterator[None]:
        earlier = {number: signal.signal(number, self._on_signal) for number in SIGNALS}
        try:
            yield
        finally:
            for number, handler in earlier.items():
                signal.signal(number, handler)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._signal = number
        if self._waiting:
            self._waiting = False
            raise Stopped(number)


class _Broken(Exception):
    """The source failed with ``error``."""

    def __init__(self, error: PrivadvError) -> None:
        super().__init__(error)
        self.error = error


def _chunk(image: np.ndarray) -> int:
    return max(1, min(CHUNK_FRAMES, CHUNK_PIXELS // (image.shape[0] * image.shape[1])))
