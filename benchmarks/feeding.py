"""Clips from the store to a training loop, beside the plainest PyTorch dataset of local files."""

from __future__ import annotations

import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from benchmarks.evaluation import a_store
from benchmarks.measure import Row, compared, paired
from benchmarks.processes import apart
from privadv.console import progress
from privadv.data.feeds import Feed, Moves, open_split
from privadv.data.manifest import Clip, ClipSet, Geometry, Task
from privadv.data.shards import write_shards
from privadv.memory import keep_freed_memory
from privadv.store import Store

GEOMETRY = Geometry(frames=16, height=112, width=112)
CLIPS, TIMES, BATCH, BATCHES, SHIFT = 128, (1, 4, 16), 16, 8, 3


def rows(repetitions: int) -> list[Row]:
    """Sets of 1, 4 and 16 times 128 clips of the paper's size."""
    found: list[Row] = []
    with (
        tempfile.TemporaryDirectory(prefix="privadv-bench-") as folder,
        a_store(Path(folder) / "s3") as store,
        progress("feeding", len(TIMES)) as bar,
    ):
        for times in TIMES:
            found += _of_a_set(store, times, Path(folder) / str(times), repetitions)
            bar.advance(1)
    return found


def _of_a_set(store: Store, times: int, folder: Path, repetitions: int) -> list[Row]:
    count = times * CLIPS
    clips = _clip_set(store, count)
    size = f"{count} clips, {count * np.prod(GEOMETRY.shape) / 1e6:,.0f} MB"
    keep_freed_memory()
    array = open_split(store, clips, "train", folder / "ours")
    feed = Feed(array, batch=BATCH, seed=0, moves=Moves(shift=SHIFT))
    batches = _endless(_plain(clips, folder / "theirs", array.frames))
    pairs = paired(
        lambda: [feed.draw()[0][0].contiguous() for _ in range(BATCHES)],
        lambda: [next(batches)[0].contiguous() for _ in range(BATCHES)],
        repetitions,
    )
    per_clip = compared(f"a clip of {size}", "plain local files", pairs, "ms", 1000 / (BATCHES * BATCH))
    first = [apart(_to_the_first_batch, clips, folder / "first") for _ in range(repetitions)]
    waited = statistics.median(one.result for one in first)
    peak = apart(_an_epoch, clips, folder / "ours").memory
    return [
        *per_clip,
        Row(f"from the store to the first batch, {size}", "wall s", waited),
        Row(f"peak memory of a process until the first batch, {size}", "MB", max(one.memory for one in first)),
        Row(f"peak memory of a process that draws an epoch, {size}", "MB", peak),
    ]


def _to_the_first_batch(clips: ClipSet, folder: Path) -> float:
    """Seconds of the clock, imports and the store's greeting left out; a stage keeps what it freed, too."""
    keep_freed_memory()
    store = Store.from_environment()
    start = time.perf_counter()
    Feed(open_split(store, clips, "train", folder), batch=BATCH, seed=0, moves=Moves(shift=SHIFT)).draw()
    seconds = time.perf_counter() - start
    shutil.rmtree(folder)
    return seconds


def _an_epoch(clips: ClipSet, folder: Path) -> None:
    keep_freed_memory()
    feed = Feed(open_split(Store.from_environment(), clips, "train", folder), batch=BATCH, seed=0, moves=Moves(shift=SHIFT))
    for _ in range(clips.count("train") // BATCH):
        feed.draw()


def _clip_set(store: Store, count: int) -> ClipSet:
    rng = np.random.default_rng(0)
    made = (
        Clip(f"{number}", rng.integers(0, 256, GEOMETRY.shape).astype(np.uint8), number % 2, number % 3, "v", (0,) * 16)
        for number in range(count)
    )
    return ClipSet(
        dataset="noise", synthetic=True, row="raw", geometry=GEOMETRY, encoding="raw",
        splits={"train": write_shards(store, made, "raw")},
        target=Task(name="target", classes=("a", "b")), budget=Task(name="budget", classes=("a", "b", "c")),
    )  # fmt: skip


class _Files(Dataset[tuple[Tensor, int]]):
    """A file a clip, moved and mirrored as ours are."""

    def __init__(self, paths: list[Path]) -> None:
        self.paths = paths

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        clip = np.load(self.paths[index])
        dy, dx = np.random.randint(0, 2 * SHIFT + 1, 2)
        padded = np.pad(clip, ((0, 0), (SHIFT, SHIFT), (SHIFT, SHIFT), (0, 0)), mode="edge")
        moved = padded[:, dy : dy + clip.shape[1], dx : dx + clip.shape[2]]
        if np.random.rand() < 0.5:
            moved = moved[:, :, ::-1]
        return torch.from_numpy(np.ascontiguousarray(moved)).permute(3, 0, 1, 2).float() / 255, index % 2


def _plain(clips: ClipSet, folder: Path, frames: Any) -> DataLoader[Any]:
    folder.mkdir(parents=True)
    paths = [folder / f"{number}.npy" for number in range(clips.count("train"))]
    for path, clip in zip(paths, frames, strict=True):
        np.save(path, clip)
    return DataLoader(_Files(paths), batch_size=BATCH, shuffle=True, drop_last=True)


def _endless(loader: DataLoader[Any]) -> Iterator[Any]:
    while True:
        yield from loader
