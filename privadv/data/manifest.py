"""What a set of clips is: its geometry, labels, splits, shards, and what was set aside."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal, Self

import numpy as np
import pydantic

from privadv.config import Section
from privadv.store import Blob

Encoding = Literal["raw", "jpeg"]
SPLITS = ("train", "val", "test")


class Geometry(Section):
    """Size of every clip of a set: ``frames`` images of ``height`` x ``width`` pixels."""

    frames: int = pydantic.Field(gt=0)
    height: int = pydantic.Field(gt=0)
    width: int = pydantic.Field(gt=0)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(T, H, W, 3), the shape of :attr:`Clip.frames`."""
        return self.frames, self.height, self.width, 3


class Task(Section):
    """What is read from a clip: one class of ``classes``, or any number of them (``multi_label``)."""

    name: str
    classes: tuple[str, ...]
    multi_label: bool = False


class Shard(Section):
    """One tar of ``clips`` clips in the store."""

    blob: Blob
    clips: int


class Quarantined(Section):
    """A source that gave no clip: ``source`` relative to the data root, and why."""

    source: str
    reason: str


class ClipSet(Section):
    """The manifest of a set of clips. ``row`` names what was done to the pixels ("raw": nothing).

    ``private`` is another set where that one labels the privacy task: ``budget`` is its task, and what the
    clips of this one say of it means nothing. Its clips may have another number of frames.
    ``resize``: (height, width) to which a frame was scaled before its centre was cropped to the geometry's.
    """

    kind: Literal["clips"] = "clips"
    dataset: str
    synthetic: bool
    row: str
    geometry: Geometry
    resize: tuple[int, int] | None = None
    encoding: Encoding
    target: Task
    budget: Task
    splits: dict[str, tuple[Shard, ...]]
    quarantined: tuple[Quarantined, ...] = ()
    lineage: dict[str, str] = pydantic.Field(default_factory=dict)
    metrics: dict[str, float] = pydantic.Field(default_factory=dict)
    private: ClipSet | None = None

    @pydantic.model_validator(mode="after")
    def _one_task(self) -> Self:
        if self.private and (self.private.budget != self.budget or self.private.private):
            raise ValueError("private must label the same privacy task, and nothing else may label it")
        return self

    @property
    def privacy(self) -> ClipSet:
        """The set that labels the privacy task: another one, or this one."""
        return self.private or self

    def digest(self) -> str:
        """sha256 (hex) of everything but the metrics: how long the work took does not make it another set."""
        private = self.private and self.private.model_copy(update={"metrics": {}})
        return Section.digest(self.model_copy(update={"metrics": {}, "private": private}))

    def count(self, split: str) -> int:
        """Number of clips of ``split``; 0 for a split that the set does not have."""
        return sum(shard.clips for shard in self.splits.get(split, ()))


@dataclass(frozen=True, eq=False)
class Clip:
    """One clip: ``frames`` uint8 (T, H, W, 3) RGB; labels; ``indices`` = its frame numbers in ``source``.

    ``budget`` is a class, or for a multi-label task one 0 or 1 a class. ``source`` is its name below the
    data root, ``group`` as that one's.
    """

    id: str
    frames: np.ndarray
    target: int
    budget: int | tuple[int, ...]
    source: str
    indices: tuple[int, ...]
    group: str = ""


@dataclass(frozen=True)
class Source:
    """One video: ``files`` below the data root are one video file, or the images of the folder ``name``.

    ``group``: what was cut from one recording or film has one, stands on one side of every split, and says no more than
    one clip about how sure a result is; empty where the video stands alone.
    """

    id: str
    name: str
    files: tuple[str, ...]
    target: int
    budget: int | tuple[int, ...]
    group: str = field(default="", kw_only=True)

    @property
    def recording(self) -> str:
        """What it was cut from: its group, or itself."""
        return self.group or self.id

    @property
    def is_folder(self) -> bool:
        """Whether the video is a folder of images."""
        return self.files != (self.name,)

    def labelled(self, count: int) -> Sequence[int]:
        """Which of its ``count`` frames have labels."""
        return range(count)

    def budget_at(self, indices: Iterable[int]) -> int | tuple[int, ...]:
        """The budget labels of a clip of the frames ``indices``."""
        return self.budget


@dataclass(frozen=True)
class Found:
    """What a reader made of a listing: videos, unusable files, and the number of copies left aside."""

    sources: tuple[Source, ...]
    quarantined: tuple[Quarantined, ...]
    copies: int = 0
