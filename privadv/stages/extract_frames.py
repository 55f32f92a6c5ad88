"""Videos to clips: every source gives its clips, or stands in the manifest with the reason why not."""

from __future__ import annotations

import hashlib
import inspect
import math
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal, Self

import numpy as np
import pydantic

from privadv.config import Section
from privadv.console import progress, say
from privadv.data import sbu, synthetic
from privadv.data.manifest import SPLITS, Clip, ClipSet, Encoding, Found, Geometry, Quarantined, Source, Task
from privadv.data.roots import Folder, Root, open_root
from privadv.data.sampling import How, indices
from privadv.data.shards import write_shards
from privadv.data.synthetic import SyntheticConfig
from privadv.data.video import X264, BadVideo, Media, count_frames, decode, write_h264
from privadv.data.workers import in_order, worker_pool
from privadv.errors import PrivadvError
from privadv.stages.stage import StageContext

Pixels = pydantic.PositiveInt

LISTED = 20


class Shares(Section):
    """How large a part of the takes each split gets; they add up to 1."""

    train: float = pydantic.Field(default=0.6, gt=0)
    val: float = pydantic.Field(default=0.15, gt=0)
    test: float = pydantic.Field(default=0.25, gt=0)

    @pydantic.model_validator(mode="after")
    def _whole(self) -> Self:
        if not math.isclose(self.train + self.val + self.test, 1):
            raise ValueError("train, val and test must add up to 1")
        return self


class Config(Section):
    """Which videos become which clips.

    ``root`` null generates the set of ``synthetic``; for other datasets it is a folder or
    s3://bucket/prefix. A frame is scaled to ``resize`` and its centre cropped to ``crop``, both (height,
    width) in pixels. ``clips`` is the most that a video may give (ranked: its best; dense: one every
    ``stride`` frames). A video with fewer than ``frames`` frames repeats its last one, is quarantined or
    refused (``too_short``); a damaged or foreign file is quarantined or refused (``on_bad``). ``shares``
    splits real datasets; ``workers`` 0 takes what the machine has.
    """

    dataset: str = "synthetic"
    root: str | None = None
    synthetic: SyntheticConfig = SyntheticConfig()
    shares: Shares = Shares()
    frames: pydantic.PositiveInt = 16
    resize: tuple[Pixels, Pixels] = (120, 160)
    crop: tuple[Pixels, Pixels] = (112, 112)
    sampling: How = "ranked"
    clips: pydantic.PositiveInt = 1
    stride: pydantic.PositiveInt = 16
    encoding: Encoding = "raw"
    too_short: Literal["repeat", "quarantine", "refuse"] = "repeat"
    on_bad: Literal["quarantine", "refuse"] = "quarantine"
    workers: pydantic.NonNegativeInt = 0
    seed: pydantic.NonNegativeInt = 0

    @pydantic.model_validator(mode="after")
    def _possible(self) -> Self:
        if self.dataset not in DATASETS:
            raise ValueError(f"dataset '{self.dataset}' is unknown: choose one of {', '.join(DATASETS)}")
        if self.root is None and not DATASETS[self.dataset].synthetic:
            raise ValueError(f"dataset '{self.dataset}' needs root, a folder or s3://bucket/prefix")
        if self.crop[0] > self.resize[0] or self.crop[1] > self.resize[1]:
            raise ValueError(f"crop {self.crop} is larger than resize {self.resize}")
        return self


Splits = Mapping[str, Sequence[Source]]


@dataclass(frozen=True)
class Dataset:
    """A reader: the two tasks, and how the files below a root become the sources of each split."""

    target: Task
    budget: Task
    synthetic: bool
    read: Callable[[Root, Config], tuple[Found, Splits]]


def _read_sbu(root: Root, config: Config) -> tuple[Found, Splits]:
    found = sbu.scan(root.names())
    return found, sbu.split_by_share(found.sources, config.shares.model_dump(), config.seed)


def _read_synthetic(root: Root, config: Config) -> tuple[Found, Splits]:
    found, made = sbu.scan(root.names()), config.synthetic
    return found, sbu.split_by_take(found.sources, (made.train_takes, made.val_takes, made.test_takes))


DATASETS = {
    "synthetic": Dataset(sbu.TARGET, sbu.BUDGET, True, _read_synthetic),
    "sbu": Dataset(sbu.TARGET, sbu.BUDGET, False, _read_sbu),
}


def run(config: Config, context: StageContext) -> ClipSet:
    """Extract every clip of the dataset into the store.

    Raises:
        PrivadvError: the root cannot be read, the configuration refuses a file, or a split is left empty.
    """
    start, dataset, ledger = time.monotonic(), DATASETS[config.dataset], _Ledger()
    with _root(config) as root:
        found, splits = dataset.read(root, config)
        for bad in found.quarantined:
            _set_aside(config, bad.source, _Outcome(reason=bad.reason), ledger)
        total, workers = sum(map(len, splits.values())), config.workers or context.workers
        with worker_pool(workers) as pool, progress("extracting clips", total) as bar:
            shards = {}
            for split in SPLITS:
                outcomes = in_order(pool, partial(_extract, config, root), splits[split], 4 * workers)
                clips = _accepted(config, outcomes, ledger, bar.advance)
                shards[split] = write_shards(context.store, clips, config.encoding)
                if not shards[split]:
                    raise PrivadvError(f"split '{split}' of {config.dataset} has no clips: {_why(ledger)}")
    clip_set = ClipSet(
        dataset=config.dataset, synthetic=dataset.synthetic, row="raw", encoding=config.encoding,
        splits=shards, resize=config.resize, geometry=Geometry(frames=config.frames, height=config.crop[0], width=config.crop[1]),
        target=dataset.target, budget=dataset.budget, quarantined=tuple(ledger.quarantined),
        lineage={"config": _settings(config), "listing": _listing(splits)})
    metrics = _metrics(clip_set, ledger, found.copies, time.monotonic() - start)
    context.tracker.metrics(metrics)
    _summarise(clip_set, ledger, found.copies)
    return clip_set.model_copy(update={"metrics": metrics})


class _TooShort(BadVideo):
    """Sound, but with fewer frames than a clip has."""


@dataclass(frozen=True)
class _Outcome:
    """What a worker made of a source: ``clips`` out of ``frames`` frames, or the ``reason`` why none."""

    clips: tuple[Clip, ...] = ()
    frames: int = 0
    reason: str = ""
    short: bool = False


@dataclass
class _Ledger:
    quarantined: list[Quarantined] = field(default_factory=list)
    frames: int = 0
    repeated: int = 0


def _extract(config: Config, root: Root, source: Source) -> _Outcome:
    try:
        with root.local(source.files) as files:
            return _read(config, source, files if source.is_folder else files[0])
    except BadVideo as error:
        return _Outcome(reason=error.reason, short=isinstance(error, _TooShort))


def _read(config: Config, source: Source, media: Media) -> _Outcome:
    count = count_frames(media)
    if count < config.frames and config.too_short != "repeat":
        raise _TooShort(Path(source.name), f"is too short: {count} frames, a clip has {config.frames}")
    # From the source's name, not its place in the list: a new file changes no other file's clips.
    rng = np.random.default_rng([config.seed, *hashlib.sha256(source.id.encode()).digest()])
    chosen = indices(count, config.frames, config.sampling, rng, config.clips, config.stride)
    (height, width), (rows, columns) = config.resize, config.crop
    top, left = (height - rows) // 2, (width - columns) // 2
    images = decode(media, [number for clip in chosen for number in clip], config.resize)
    images = images[:, top : top + rows, left : left + columns]
    images = images.reshape(len(chosen), config.frames, rows, columns, 3)
    clips = tuple(
        Clip(f"{source.id}_c{number:03d}" if config.clips > 1 else source.id, images[number], source.target,
             source.budget, source.name, chosen[number])
        for number in range(len(chosen)))
    return _Outcome(clips, count)


def _accepted(
    config: Config, outcomes: Iterable[tuple[Source, _Outcome]], ledger: _Ledger, advance: Callable[[], None]
) -> Iterator[Clip]:
    for source, outcome in outcomes:
        if outcome.reason:
            _set_aside(config, source.name, outcome, ledger)
        ledger.frames += outcome.frames
        ledger.repeated += len(outcome.clips) if outcome.frames < config.frames else 0
        yield from outcome.clips
        advance()


def _set_aside(config: Config, name: str, outcome: _Outcome, ledger: _Ledger) -> None:
    key = "too_short" if outcome.short else "on_bad"
    if getattr(config, key) == "refuse":
        raise PrivadvError(f"{name}: {outcome.reason}: mend or remove it, or set {key}: quarantine")
    ledger.quarantined.append(Quarantined(source=name, reason=outcome.reason))


@contextmanager
def _root(config: Config) -> Iterator[Root]:
    if config.root is not None:
        yield open_root(config.root)
        return
    workspace = os.environ.get("PRIVADV_WORKSPACE")
    with tempfile.TemporaryDirectory(prefix="privadv-videos-") as passing:
        yield Folder(_generated(config.synthetic, Path(workspace, "videos") if workspace else Path(passing)))


def _generated(config: SyntheticConfig, videos: Path) -> Path:
    """The folder of the synthetic set: complete or not there, and another one for another generator."""
    sources = sorted(Path(synthetic.__file__).parent.glob("*.py"))
    recipe = config.canonical(), *(source.read_text() for source in sources), inspect.getsource(write_h264), X264
    folder = videos / hashlib.sha256(repr(recipe).encode()).hexdigest()[:32]
    if folder.is_dir():
        return folder
    videos.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=".generating-", dir=videos))
    try:
        synthetic.generate(config, unfinished)
        unfinished.rename(folder)
    except OSError as error:
        if not folder.is_dir():  # else another run was faster: the same videos
            raise PrivadvError(f"{videos}: cannot hold the videos ({error}): make room there") from None
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return folder


def _settings(config: Config) -> str:
    # The same files give the same clips wherever they lie and however many workers read them.
    return config.model_copy(update={"root": None, "workers": 0}).digest()


def _listing(splits: Splits) -> str:
    lines = [f"{split} {source.name} {len(source.files)}" for split in SPLITS for source in splits[split]]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _metrics(clip_set: ClipSet, ledger: _Ledger, copies: int, seconds: float) -> dict[str, float]:
    return {f"clips_{split}": float(clip_set.count(split)) for split in SPLITS} | {
        "quarantined": float(len(ledger.quarantined)), "clips_with_repeated_frames": float(ledger.repeated),
        "copies_left_aside": float(copies), "seconds": seconds, "frames_per_second": ledger.frames / seconds}


def _summarise(clip_set: ClipSet, ledger: _Ledger, copies: int) -> None:
    counts = ", ".join(f"{clip_set.count(split)} {split}" for split in SPLITS)
    say(f"{clip_set.dataset}: {counts} clips; {len(ledger.quarantined)} files quarantined, "
        f"{ledger.repeated} clips with repeated frames, {copies} copies left aside")
    for bad in ledger.quarantined[:LISTED]:
        say(f"  quarantined {bad.source}: {bad.reason}")
    if len(ledger.quarantined) > LISTED:
        say(f"  ... and {len(ledger.quarantined) - LISTED} more in the manifest")


def _why(ledger: _Ledger) -> str:
    if not ledger.quarantined:
        return "the dataset is too small for these shares or takes"
    first = ledger.quarantined[0]
    return f"{len(ledger.quarantined)} files are quarantined, the first is {first.source} ({first.reason})"
