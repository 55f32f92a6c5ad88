"""Baselines that mask boxes, as cameras do today: ``mask:black``, ``mask:mean`` (the box's mean colour), ``mask:blur:8``.

Boxes are (left, top, right, bottom). They come from an annotation file or a detector, never from the labels.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self, cast

import numpy as np
import pydantic
from torch import Tensor

from privadv.config import Section
from privadv.data.feeds import BATCH, ClipArray
from privadv.data.manifest import Clip
from privadv.data.roots import open_root
from privadv.errors import PrivadvError

Box = tuple[float, float, float, float]
Detector = Callable[[np.ndarray], Sequence[Sequence[Box]]]
"""uint8 (T, H, W, 3) to the boxes of each of the T frames, in pixels."""
Annotations = pydantic.TypeAdapter(dict[str, dict[int, list[Box]]])


class Masking(Section):
    """Where the boxes of the rows ``mask:...`` come from; each is widened by the share ``margin`` of its size on all sides.

    ``boxes`` is a JSON file (a path or s3://bucket/key): {source: {frame number: [[left, top, right, bottom], ...]}}, in shares
    of the source's width and height; a frame that it does not number takes the boxes of the nearest one that it does. ``resize``
    says how large (height, width) frames were before their centre was cropped, as extract_frames has it. ``detector`` is
    ``package.module:function``, called with a clip's frames, uint8 (T, H, W, 3); it gives each frame's boxes in pixels. No cache
    sees its code, nor what stands in the file of boxes: rerun=render after changing either.
    """

    boxes: str | None = None
    resize: tuple[pydantic.PositiveInt, pydantic.PositiveInt] = (120, 160)
    detector: str | None = pydantic.Field(default=None, pattern=r"^[\w.]+:\w+$")
    margin: float = pydantic.Field(default=0.0, ge=0)

    @pydantic.model_validator(mode="after")
    def _one_origin(self) -> Self:
        if (self.boxes is None) == (self.detector is None):
            raise ValueError("name either boxes, an annotation file, or a detector, package.module:function")
        return self

    def find(self) -> Callable[[Clip], Sequence[Sequence[Box]]]:
        """What gives the boxes of each frame of a clip, in pixels of the clip.

        Raises:
            PrivadvError: the file cannot be read, or the detector cannot be imported.
        """
        if self.detector is not None:
            detect = _imported(self.detector)
            return lambda clip: _checked(detect(clip.frames), clip, str(self.detector))
        where = str(self.boxes)
        known = _annotations(where)
        return lambda clip: [self._placed(boxes, clip) for boxes in _nearest(known, clip, where)]

    def _placed(self, boxes: Sequence[Box], clip: Clip) -> list[Box]:
        """From shares of the source's frame to pixels of its cropped centre."""
        (height, width), (rows, columns) = self.resize, clip.frames.shape[1:3]
        top, left = (height - rows) // 2, (width - columns) // 2
        return [(x0 * width - left, y0 * height - top, x1 * width - left, y1 * height - top) for x0, y0, x1, y1 in boxes]


@dataclass(frozen=True)
class Mask:
    """One of the rows. As a transform of clips alone it cannot work: boxes belong to a clip, which :meth:`released` knows."""

    fill: Callable[[np.ndarray], np.ndarray]

    def __call__(self, clips: Tensor, labels: Tensor, generator: object) -> Tensor:
        raise PrivadvError("rows mask:... need boxes: set render.masking")

    def released(self, array: ClipArray, masking: Masking | None) -> Iterator[np.ndarray]:
        """Batches uint8 (n, T, H, W, 3) of all clips, their boxes filled."""
        if masking is None:
            raise PrivadvError("rows mask:... need boxes: set render.masking")
        find, done = masking.find(), []
        for clip in array.iterate():
            done.append(self.fill_boxes(clip.frames, find(clip), masking.margin))
            if len(done) == BATCH:
                yield np.stack(done)
                done = []
        if done:
            yield np.stack(done)

    def fill_boxes(self, frames: np.ndarray, boxes: Sequence[Sequence[Box]], margin: float = 0.0) -> np.ndarray:
        """uint8 (T, H, W, 3) with everything inside of each frame's boxes replaced; whatever a box touches is inside."""
        filled = np.array(frames)
        for frame, its in zip(filled, boxes, strict=True):
            for box in its:
                rows, columns = _inside(box, margin, *frame.shape[:2])
                if frame[rows, columns].size:
                    frame[rows, columns] = self.fill(frame[rows, columns])
        return filled


def mask(how: str) -> Mask:
    """The row ``mask:HOW``; raises PrivadvError where there is no such one."""
    name, _, strength = how.partition(":")
    if how in ("black", "mean"):
        return Mask(_black if name == "black" else _mean)
    try:
        sigma = float(strength) if name == "blur" else 0.0
    except ValueError:
        sigma = 0.0
    if not 0 < sigma < math.inf:
        raise PrivadvError(f"rows: 'mask:{how}' is no row: write 'mask:black', 'mask:mean' or 'mask:blur:8' (pixels)")
    return Mask(lambda inside: _blurred(inside, sigma))


def _black(inside: np.ndarray) -> np.ndarray:
    return np.zeros_like(inside)


def _mean(inside: np.ndarray) -> np.ndarray:
    return np.broadcast_to(np.rint(inside.mean((0, 1))), inside.shape)


def _blurred(inside: np.ndarray, sigma: float) -> np.ndarray:
    """Of the box alone: nothing around it runs in, nothing of it runs out."""
    # Here, because every stage would take a quarter of a second more to begin.
    from skimage.filters import gaussian

    return np.rint(gaussian(inside.astype(np.float64), sigma, mode="nearest", channel_axis=2, preserve_range=True))


def _inside(box: Box, margin: float, height: int, width: int) -> tuple[slice, slice]:
    left, top, right, bottom = box
    across, down = margin * (right - left), margin * (bottom - top)
    rows = slice(max(0, math.floor(top - down)), min(height, math.ceil(bottom + down)))
    columns = slice(max(0, math.floor(left - across)), min(width, math.ceil(right + across)))
    return slice(rows.start, max(rows.start, rows.stop)), slice(columns.start, max(columns.start, columns.stop))


def _annotations(where: str) -> dict[str, dict[int, list[Box]]]:
    folder, slash, name = where.rpartition("/")
    with open_root(folder or slash or ".").local([name]) as (file,):
        try:
            return Annotations.validate_json(Path(file).read_bytes())
        except OSError as error:
            raise PrivadvError(f"{where}: the boxes cannot be read ({error.strerror}): check render.masking.boxes") from None
        except pydantic.ValidationError as error:
            first = error.errors()[0]
            key = ".".join(map(str, first["loc"]))
            raise PrivadvError(
                f"{where}: no boxes ({key}: {first['msg']}): write {{source: {{frame: [[left, top, right, bottom]]}}}}"
            ) from None


def _nearest(known: dict[str, dict[int, list[Box]]], clip: Clip, where: str) -> Iterator[Sequence[Box]]:
    if clip.source not in known:
        raise PrivadvError(f"{where}: no boxes of {clip.source}: annotate it, with {{}} where nobody is to be masked")
    frames = known[clip.source]
    for index in clip.indices:
        yield frames[min(frames, key=lambda number: (abs(number - index), number))] if frames else ()


def _imported(detector: str) -> Detector:
    module, _, name = detector.partition(":")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise PrivadvError(f"render.masking.detector {detector} cannot be imported ({error}): check it") from None
    if not callable(found):
        raise PrivadvError(f"render.masking.detector {detector} is no function: name one")
    return cast(Detector, found)


def _checked(boxes: Sequence[Sequence[Box]], clip: Clip, detector: str) -> Sequence[Sequence[Box]]:
    if len(boxes) != len(clip.frames) or any(len(box) != 4 for its in boxes for box in its):
        raise PrivadvError(
            f"{detector}: gave no list of (left, top, right, bottom) for each of the {len(clip.frames)} frames of {clip.id}"
        )
    return boxes
