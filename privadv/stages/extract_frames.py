"""Videos to clips: every source gives its clips, or stands in the manifest with the reason why not."""

from __future__ import annotations

import hashlib
import json
import math
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal, Self

import numpy as np
import pydantic

from privadv.config import Section, Seed
from privadv.console import progress, say
from privadv.data.datasets import SHARES
from privadv.data.manifest import SPLITS, Clip, ClipSet, Encoding, Geometry, Quarantined, Source
from privadv.data.roots import Root
from privadv.data.sampling import indices
from privadv.data.shards import write_shards
from privadv.data.synthetic import SyntheticConfig
from privadv.data.synthetic_attributes import AttributesConfig
from privadv.data.video import BadVideo, Media, decode, extent
from privadv.data.workers import in_order, worker_pool
from privadv.errors import PrivadvError
from privadv.stages.selection import Making, Part, Private, Selection, problem, refuse_leaks
from privadv.stages.stage import StageContext

Pixels = pydantic.PositiveInt

LISTED = 20


class Shares(Section):
    """How large a part of the takes each split gets; they add up to 1."""

    train: float = pydantic.Field(default=SHARES["train"], gt=0)
    val: float = pydantic.Field(default=SHARES["val"], gt=0)
    test: float = pydantic.Field(default=SHARES["test"], gt=0)

    @pydantic.model_validator(mode="after")
    def _whole(self) -> Self:
        if not math.isclose(self.train + self.val + self.test, 1):
            raise ValueError("train, val and test must add up to 1")
        return self


class Config(Selection):
    """Which videos become which clips.

    ``private`` names the dataset that labels the privacy task where the first one does not, or another is
    wanted. A frame is scaled to ``resize`` and its centre cropped to ``crop``, both (height, width) in pixels.
    A video with fewer than ``frames`` frames repeats its last one, is quarantined or refused
    (``too_short``); a damaged or foreign file is quarantined or refused (``on_bad``). ``shares`` splits what has
    no split of its own; ``synthetic`` and ``attributes`` are what synthetic sets are generated from; ``workers`` 0
    takes what the machine has.
    """

    dataset: str = "synthetic"
    private: Private | None = None
    synthetic: SyntheticConfig = SyntheticConfig()
    attributes: AttributesConfig = AttributesConfig()
    shares: Shares = Shares()
    resize: tuple[Pixels, Pixels] = (120, 160)
    crop: tuple[Pixels, Pixels] = (112, 112)
    encoding: Encoding = "raw"
    too_short: Literal["repeat", "quarantine", "refuse"] = "repeat"
    on_bad: Literal["quarantine", "refuse"] = "quarantine"
    workers: pydantic.NonNegativeInt = 0
    seed: Seed = 0

    @pydantic.model_validator(mode="after")
    def _possible(self) -> Self:
        if wrong := problem(self, self.private):
            raise ValueError(wrong)
        if self.crop[0] > self.resize[0] or self.crop[1] > self.resize[1]:
            raise ValueError(f"crop {self.crop} is larger than resize {self.resize}")
        return self


Parts = Mapping[str, Part]
"""Where each split of a set comes from."""


def run(config: Config, context: StageContext) -> ClipSet:
    """Extract every clip of the datasets into the store.

    Raises:
        PrivadvError: a root cannot be read, the configuration refuses a file, a split is left empty, or what is
            tested was trained on.
    """
    making = Making(config.shares.model_dump(), config.seed, config.synthetic, config.attributes)
    with ExitStack() as stack:
        target = stack.enter_context(making.open(config))
        if config.private is None:
            clip_set = _extract_set(config, dict.fromkeys(SPLITS, target), context)
        else:
            private = stack.enter_context(making.open(config.private))
            test = stack.enter_context(making.open(config.private.test)) if config.private.test else private
            refuse_leaks([target, private], test)
            refuse_leaks([private], target)
            clip_set = _extract_set(config, dict.fromkeys(SPLITS, target), context)
            labels = _extract_set(config, {"train": private, "val": private, "test": test}, context)
            metrics = clip_set.metrics | {f"private_{name}": value for name, value in labels.metrics.items()}
            clip_set = clip_set.model_copy(update={
                "private": labels, "budget": labels.budget, "synthetic": clip_set.synthetic or labels.synthetic,
                "metrics": metrics})
    context.tracker.metrics(clip_set.metrics)
    return clip_set


def _extract_set(config: Config, parts: Parts, context: StageContext) -> ClipSet:
    start, ledger, first = time.monotonic(), _Ledger(), parts["train"]
    every = list({id(part): part for part in parts.values()}.values())
    for part in every:
        for bad in part.reading.found.quarantined:
            _set_aside(config, bad.source, _Outcome(reason=bad.reason), ledger)
    name = " tested on ".join(part.selection.dataset for part in every)
    total, workers = sum(len(part.sources(split)) for split, part in parts.items()), config.workers or context.workers
    with worker_pool(workers) as pool, progress(f"extracting clips of {name}", total) as bar:
        shards = {}
        for split, part in parts.items():
            work = partial(_extract, config, part.selection, part.root)
            outcomes = in_order(pool, work, part.sources(split), 4 * workers)
            clips = _accepted(config, part.selection, outcomes, ledger, bar.advance)
            shards[split] = write_shards(context.store, clips, config.encoding)
            if not shards[split]:
                raise PrivadvError(f"split '{split}' of {part.selection.dataset} has no clips: {_why(ledger)}")
    clip_set = ClipSet(
        dataset=name, synthetic=any(part.synthetic for part in every), row="raw", encoding=config.encoding,
        splits=shards, resize=config.resize, target=first.dataset.target, budget=first.dataset.budget,
        quarantined=tuple(ledger.quarantined),
        geometry=Geometry(frames=first.selection.frames, height=config.crop[0], width=config.crop[1]),
        lineage={"config": _settings(config), "listing": _listing(parts)})
    copies = sum(part.reading.found.copies for part in every)
    _summarise(clip_set, ledger, copies)
    return clip_set.model_copy(update={"metrics": _metrics(clip_set, ledger, copies, time.monotonic() - start)})


class _TooShort(BadVideo):
    """Sound, but with fewer frames than a clip has."""


@dataclass(frozen=True)
class _Outcome:
    """What a worker made of a source: ``clips`` out of ``frames`` frames, ``rate`` a second, or the ``reason`` why none."""

    clips: tuple[Clip, ...] = ()
    frames: int = 0
    rate: float | None = None
    reason: str = ""
    short: bool = False


@dataclass
class _Ledger:
    quarantined: list[Quarantined] = field(default_factory=list)
    frames: int = 0
    repeated: int = 0
    rates: list[float] = field(default_factory=list)


def _extract(config: Config, selection: Selection, root: Root, source: Source) -> _Outcome:
    try:
        with root.local(source.files) as files:
            return _read(config, selection, source, files if source.is_folder else files[0])
    except BadVideo as error:
        return _Outcome(reason=error.reason, short=isinstance(error, _TooShort))


def _read(config: Config, selection: Selection, source: Source, media: Media) -> _Outcome:
    found = extent(media)
    numbers = source.labelled(found.frames)
    if not numbers:
        raise BadVideo(Path(source.name), "has no frame that is labelled in full")
    if len(numbers) < selection.frames and config.too_short != "repeat":
        raise _TooShort(
            Path(source.name), f"is too short: {len(numbers)} frames, a clip has {selection.frames}")
    # From the source's name, not its place in the list: a new file changes no other file's clips.
    rng = np.random.default_rng([config.seed, *hashlib.sha256(source.id.encode()).digest()])
    places = indices(len(numbers), selection.frames, selection.sampling, rng, selection.clips, selection.stride)
    chosen = [tuple(numbers[place] for place in clip) for clip in places]
    (height, width), (rows, columns) = config.resize, config.crop
    top, left = (height - rows) // 2, (width - columns) // 2
    images = decode(media, [number for clip in chosen for number in clip], config.resize)
    images = images[:, top : top + rows, left : left + columns]
    images = images.reshape(len(chosen), selection.frames, rows, columns, 3)
    clips = tuple(
        Clip(f"{source.id}_c{number:03d}" if selection.clips > 1 else source.id, images[number], source.target,
             source.budget_at(chosen[number]), source.name, chosen[number], source.group)
        for number in range(len(chosen)))
    return _Outcome(clips, len(numbers), found.rate)


def _accepted(
    config: Config, selection: Selection, outcomes: Iterable[tuple[Source, _Outcome]], ledger: _Ledger,
    advance: Callable[[], None],
) -> Iterator[Clip]:
    for source, outcome in outcomes:
        if outcome.reason:
            _set_aside(config, source.name, outcome, ledger)
        ledger.frames += outcome.frames
        ledger.rates += [outcome.rate] if outcome.rate else []
        ledger.repeated += len(outcome.clips) if outcome.frames < selection.frames else 0
        yield from outcome.clips
        advance()


def _set_aside(config: Config, name: str, outcome: _Outcome, ledger: _Ledger) -> None:
    key = "too_short" if outcome.short else "on_bad"
    if getattr(config, key) == "refuse":
        raise PrivadvError(f"{name}: {outcome.reason}: mend or remove it, or set {key}: quarantine")
    ledger.quarantined.append(Quarantined(source=name, reason=outcome.reason))


def _settings(config: Config) -> str:
    # The same files give the same clips wherever they lie and however many workers read them.
    facts = config.model_dump(mode="json", exclude={"workers"})
    private = facts["private"] or {}
    for selection in (facts, private, private.get("test") or {}):
        selection.pop("root", None)
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _listing(parts: Parts) -> str:
    lines = [f"{split} {source.name} {len(source.files)}" for split, part in parts.items()
             for source in part.sources(split)]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _metrics(clip_set: ClipSet, ledger: _Ledger, copies: int, seconds: float) -> dict[str, float]:
    return {f"clips_{split}": float(clip_set.count(split)) for split in SPLITS} | {
        "quarantined": float(len(ledger.quarantined)), "clips_with_repeated_frames": float(ledger.repeated),
        "copies_left_aside": float(copies), "seconds": seconds, "frames_per_second": ledger.frames / seconds,
        **({"video_fps": statistics.median(ledger.rates)} if ledger.rates else {})}


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


if __name__ == "__main__":
    from privadv.stages.alone import main

    main("extract_frames")
