"""From stored shards to batches: random access to a split through a local file, and endless resumable streams."""

from __future__ import annotations

import json
import math
import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pydantic
import torch
from torch import Tensor

from privadv.config import Section
from privadv.data.manifest import Clip, ClipSet, Geometry
from privadv.data.shards import read_shard
from privadv.device import CPU, device, to_device
from privadv.errors import PrivadvError
from privadv.parallel import group
from privadv.scratch import whole
from privadv.store import Store

Player = Literal["target", "budget"]
BATCH = 32
"""Clips that pass through a model together where nothing is learned."""
Move = tuple[int, int, bool]
"""Pixels down and to the right, and whether mirrored."""
AHEAD = 2
"""Shards on their way, into memory, while one is laid out."""


class Frames:
    """The clips of a file, uint8 (N, T, H, W, 3), read anew each time one is asked for: a process holds those that it works on.

    Asked for by number, slice, or array of numbers, as an array would be; the system's file cache, which it may take back at
    any time, makes the second reading as quick as a mapped file's.
    """

    def __init__(self, path: Path, shape: tuple[int, ...]) -> None:
        self.path, self.shape = path, shape
        self._size = math.prod(shape[1:])

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any) -> np.ndarray:
        if isinstance(index, slice):
            start, stop, step = index.indices(len(self))
            if step == 1:
                return self._read(start, max(0, stop - start))
            index = np.arange(start, stop, step)
        if np.ndim(index) == 0:
            return self._read(range(len(self))[int(index)], 1)[0]
        found = np.empty((len(index), *self.shape[1:]), np.uint8)
        for place, number in enumerate(np.asarray(index)):
            found[place] = self[number]
        return found

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self[number] for number in range(len(self)))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self[:] if dtype is None else self[:].astype(dtype)

    def _read(self, first: int, count: int) -> np.ndarray:
        read = np.fromfile(self.path, np.uint8, count * self._size, offset=first * self._size)
        return read.reshape(count, *self.shape[1:])


@dataclass(frozen=True)
class ClipArray:
    """One split of a clip set: ``frames`` uint8 (N, T, H, W, 3) in the file ``path``, labels in memory.

    ``budget`` is (N,) classes, or (N, classes) zeros and ones for a multi-label task. ``groups`` names what each clip was
    cut from: its recording or film where the dataset tells it, else its source.
    """

    path: Path
    frames: Frames
    target: Tensor
    budget: Tensor
    ids: tuple[str, ...]
    sources: tuple[str, ...]
    groups: tuple[str, ...]

    @classmethod
    def write(cls, path: Path, clips: Iterable[Clip], count: int, geometry: Geometry) -> ClipArray:
        """Lay ``count`` clips out in ``path`` (complete or not at all) with their labels beside it."""
        path.parent.mkdir(parents=True, exist_ok=True)
        facts = []
        with whole(path) as part:
            _reserve(part, count * math.prod(geometry.shape))
            with part.open("r+b") as file:
                for clip in clips:
                    if clip.frames.shape != geometry.shape:
                        raise PrivadvError(f"{path.name}: clip {clip.id} is {clip.frames.shape}, expected {geometry.shape}")
                    file.write(np.ascontiguousarray(clip.frames).data)
                    facts.append((clip.id, clip.target, clip.budget, clip.source, clip.indices, clip.group))
            if len(facts) != count:
                raise PrivadvError(
                    f"{path.name}: {len(facts)} clips arrived where the manifest says {count}: render it again"
                )
            labels = {"shape": (count, *geometry.shape), "facts": facts}
            path.with_suffix(".json").write_text(json.dumps(labels), encoding="utf-8")
        return cls.open(path)

    @classmethod
    def open(cls, path: Path) -> ClipArray:
        """What :meth:`write` laid out; cheap, and safe in any number of processes."""
        labels = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        facts = labels["facts"]
        return cls(
            path=path,
            frames=Frames(path, tuple(labels["shape"])),
            target=torch.tensor([fact[1] for fact in facts]),
            budget=torch.tensor([fact[2] for fact in facts]),
            ids=tuple(fact[0] for fact in facts),
            sources=tuple(fact[3] for fact in facts),
            groups=tuple(fact[5] or fact[3] for fact in facts),
        )

    def __len__(self) -> int:
        return len(self.ids)

    def clips(self, index: Any, where: torch.device = CPU) -> Tensor:
        """Chosen clips as float (n, 3, T, H, W) in [0, 1]."""
        return to_float(self.frames[index], where)

    def sample(self, most: int) -> np.ndarray:
        """The indices of at most ``most`` clips, evenly over the array."""
        return np.unique(np.linspace(0, len(self) - 1, min(most, len(self))).round().astype(int))

    def labels(self, player: Player) -> Tensor:
        """Labels of the ``target`` or ``budget`` task."""
        return self.target if player == "target" else self.budget

    def batches(self, size: int = BATCH) -> Iterator[Tensor]:
        """One pass in order: float (n, 3, T, H, W) in [0, 1]."""
        for start in range(0, len(self), size):
            yield self.clips(slice(start, start + size))

    def derive(self, path: Path, batches: Iterable[np.ndarray], draws: int = 1) -> ClipArray:
        """The same clips and labels with other pixels: uint8 batches (n, T, H, W, 3) in order, written to ``path``.

        With several ``draws`` the batches go over all clips that often, and every pass gives clips of its own.
        """
        pixels = (frames for batch in batches for frames in batch)
        named = (
            replace(clip, id=f"{clip.id}_draw{draw}") if draw else clip
            for draw in range(draws)
            for clip in self.iterate()
        )
        clips = (replace(clip, frames=frames) for frames, clip in zip(pixels, named, strict=True))
        _, frames, height, width, _ = self.frames.shape
        geometry = Geometry(frames=frames, height=height, width=width)
        return ClipArray.write(path, clips, draws * len(self), geometry)

    def goes_with(self, other: ClipArray) -> bool:
        """Whether these are the clips of ``other`` in its order, once or drawn several times over."""
        draws, rest = divmod(len(self), len(other))
        return not rest and self.ids[: len(other)] == other.ids and self.sources == other.sources * draws

    def iterate(self) -> Iterator[Clip]:
        """The clips with their labels, in order."""
        labels = json.loads(self.path.with_suffix(".json").read_text(encoding="utf-8"))
        for frames, fact in zip(self.frames, labels["facts"], strict=True):
            budget = fact[2] if isinstance(fact[2], int) else tuple(fact[2])
            yield Clip(
                id=fact[0],
                frames=frames,
                target=fact[1],
                budget=budget,
                source=fact[3],
                indices=tuple(fact[4]),
                group=fact[5],
            )


def _reserve(path: Path, size: int) -> None:
    """A file of ``size`` bytes that are really there: what does not fit is said before anything is fetched."""
    with path.open("wb") as file:
        try:
            os.posix_fallocate(file.fileno(), 0, size) if hasattr(os, "posix_fallocate") else file.truncate(size)
        except OSError as error:
            path.unlink()
            raise OSError(error.errno, error.strerror, str(path)) from None


def to_float(frames: np.ndarray, where: torch.device = CPU) -> Tensor:
    """uint8 (N, T, H, W, 3) to float (N, 3, T, H, W) in [0, 1]; only the bytes travel to the device."""
    return to_device(torch.from_numpy(frames), where).permute(0, 4, 1, 2, 3).float().div_(255)


def to_uint8(clips: Tensor) -> np.ndarray:
    """Float (N, 3, T, H, W) in [0, 1] to uint8 (N, T, H, W, 3), as a camera would store it.

    Raises:
        PrivadvError: a value is no number, which would be stored as black and look private.
    """
    if clips.isnan().any():
        raise PrivadvError("a clip to be stored holds values that are no numbers: its filter or baseline has diverged: "
                           "train with lower learning rates, or mend the baseline")
    return (clips.clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 4, 1).contiguous().cpu().numpy()


def open_split(store: Store, clips: ClipSet, split: str, folder: Path) -> ClipArray:
    """Bring a split's shards to ``folder`` once and lay their clips out there.

    ``AHEAD`` shards travel while one is laid out: memory holds those three at most, ``folder`` takes the split's size.

    Raises:
        PrivadvError: the set has no such split, or it is empty.
    """
    count = clips.count(split)
    if count == 0:
        raise PrivadvError(
            f"{clips.dataset} ({clips.row}): no clips in split '{split}': extract more takes for it"
        )
    path = folder / f"{clips.digest()[:32]}-{split}.u8"
    if path.exists():
        return ClipArray.open(path)
    return ClipArray.write(path, _stored(store, clips, split), count, clips.geometry)


def _stored(store: Store, clips: ClipSet, split: str) -> Iterator[Clip]:
    """A split's clips in order."""
    shards = clips.splits[split]
    with ThreadPoolExecutor(AHEAD) as pool:
        coming = deque(pool.submit(store.get, shard.blob) for shard in shards[:AHEAD])
        try:
            for number, shard in enumerate(shards):
                data = coming.popleft().result()
                coming.extend(pool.submit(store.get, later.blob) for later in shards[number + AHEAD :][:1])
                yield from read_shard(data, shard.blob.key, clips.geometry, clips.encoding, shard.clips)
        finally:
            for future in coming:
                future.cancel()


class Moves(Section):
    """How training clips differ each time they are seen: moved by up to ``shift`` pixels each way, every other one mirrored."""

    shift: int = pydantic.Field(default=3, ge=0)
    mirror: bool = True


MOVED = Moves()


class Feed:
    """An endless stream of shuffled batches of one or more aligned arrays; every clip at most once an epoch.

    Aligned arrays hold the same clips in the same order (raw and filtered); they are moved alike. The first may hold
    them drawn several times over.
    The stream is a function of (seed, position), so that :meth:`load_state_dict` resumes it exactly. Its batches lie on this
    process's device; a rank of several gets its own rows of them.
    """

    def __init__(self, *arrays: ClipArray, batch: int, seed: int, moves: Moves = MOVED) -> None:
        if not all(arrays[0].goes_with(array) for array in arrays):
            raise PrivadvError(
                "feed: the arrays do not hold the same clips in the same order: render the row again"
            )
        self.arrays, self.batch, self.seed, self.moves = arrays, min(batch, len(arrays[0])), seed, moves
        self.position, self.where = 0, device()
        self._moved: Sequence[Move] = ()
        group.rows(self.batch)  # refuses a batch that the ranks cannot share before anything is trained

    def state_dict(self) -> dict[str, int]:
        return {"position": self.position}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.position = state["position"]

    def draw(self, arrays: int | None = None) -> tuple[list[Tensor], Tensor, Tensor]:
        """The next batch: clips, float (n, 3, T, H, W), of all arrays or the first ``arrays``; target and budget labels."""
        index = self._index()
        rng = np.random.default_rng([self.seed, 1, self.position])
        self.position += 1
        own, shift = group.rows(len(index)), self.moves.shift
        moves = [
            (int(dy), int(dx), bool(mirror) and self.moves.mirror)
            for dy, dx, mirror in zip(
                *rng.integers(-shift, shift + 1, (2, len(index))),
                rng.integers(0, 2, len(index)),
                strict=True,
            )
        ]
        index, self._moved = index[own], moves[own]
        batches = [to_float(_gathered(array, index, self._moved), self.where) for array in self.arrays[:arrays]]
        target, budget = (to_device(labels[index], self.where) for labels in (self.arrays[0].target, self.arrays[0].budget))
        return batches, target, budget

    def moved(self, image: Tensor) -> Tensor:
        """An image (3, 1, H, W), on the CPU, moved as each clip of the last batch was: (n, 3, 1, H, W)."""
        picture = image.permute(1, 2, 3, 0).contiguous().numpy()
        batch = np.empty((len(self._moved), *picture.shape), np.float32)
        for number, move in enumerate(self._moved):
            _move(picture, *move, batch[number])
        return to_device(torch.from_numpy(batch), self.where).permute(0, 4, 1, 2, 3)

    def _index(self) -> np.ndarray:
        a_pass = len(self.arrays[0]) // self.batch
        epoch, step = divmod(self.position, a_pass)
        order = np.random.default_rng([self.seed, 0, epoch]).permutation(len(self.arrays[0]))
        return order[step * self.batch : (step + 1) * self.batch]


def _gathered(array: ClipArray, index: np.ndarray, moves: Sequence[Move]) -> np.ndarray:
    """Chosen clips uint8 (n, T, H, W, 3), each moved its own way."""
    batch = np.empty((len(index), *array.frames.shape[1:]), np.uint8)
    for place, number, move in zip(batch, index, moves, strict=True):
        _move(array.frames[number % len(array)], *move, place)
    return batch


def _move(frames: np.ndarray, dy: int, dx: int, mirror: bool, out: np.ndarray) -> None:
    """``frames`` (T, H, W, 3) into ``out``, shifted by whole pixels, repeating the border, and mirrored."""
    (top, bottom, rows), (left, right, columns) = _overlap(dy, frames.shape[1]), _overlap(dx, frames.shape[2])
    out[:, top:bottom, left:right] = frames[:, rows, columns]
    out[:, top:bottom, :left] = out[:, top:bottom, left : left + 1]
    out[:, top:bottom, right:] = out[:, top:bottom, right - 1 : right]
    out[:, :top] = out[:, top : top + 1]
    out[:, bottom:] = out[:, bottom - 1 : bottom]
    if mirror:
        out[:] = torch.from_numpy(out).flip(2).numpy()  # NumPy would go byte by byte


def _overlap(shift: int, size: int) -> tuple[int, int, slice]:
    """Where a shifted line of ``size`` pixels shows its own, from and to, and which."""
    shift = max(1 - size, min(size - 1, shift))
    first, last = max(0, -shift), min(size, size - shift)
    return first, last, slice(first + shift, last + shift)
