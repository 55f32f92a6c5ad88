"""The datasets by name: their tasks, and how what lies below a root is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

from privadv.data import hmdb51, pa_hmdb51, sbu, ucf101, vispr
from privadv.data.manifest import SPLITS, Task
from privadv.data.reading import UNLABELLED, Reading, labels, on_both_sides, read_texts
from privadv.data.roots import Root
from privadv.errors import PrivadvError

SHARES: Mapping[str, float] = {"train": 0.6, "val": 0.15, "test": 0.25}
ACTOR_PAIRS, ACTIONS = 21, 8
EMPTY_CELLS = {"s02s03_05", "s03s06_05", "s05s02_05", "s05s02_07", "s06s03_08"}
"""Cells (ordered pair, action) that nobody has recorded for SBU."""

Read = Callable[[Root, str, Mapping[str, float], int], Reading]


@dataclass(frozen=True)
class Dataset:
    """``read(root, split, shares, seed)`` reads a dataset; ``split`` "" is its usual one.

    Where a dataset has its own test set, validation takes its part of the ``shares`` of train and val.
    ``test_only``: there is nothing to train on; ``still``: photographs, in which nothing moves.
    """

    target: Task
    budget: Task
    read: Read
    test_only: bool = False
    still: bool = False

    def checked(self, root: Root, split: str, shares: Mapping[str, float], seed: int) -> Reading:
        """What :attr:`read` gives, held against what it promises; files in two splits are leaks even if it tells none.

        Raises:
            PrivadvError: as ``read``, or there are other splits than train, val and test, or a label that its task has not.
        """
        reading = self.read(root, split, shares, seed)
        if set(reading.splits) != set(SPLITS):
            raise PrivadvError(f"its reader gives the splits {', '.join(reading.splits)}: they are {', '.join(SPLITS)}")
        for source in (source for sources in reading.splits.values() for source in sources):
            for task, label in ((self.target, source.target), (self.budget, source.budget)):
                if not labels(task, label):
                    raise PrivadvError(f"{source.name}: its reader gives the {task.name} {label}, which is none of its "
                                       f"{len(task.classes)} classes (they count from 0)")
        return replace(reading, leaks=reading.leaks or tuple(on_both_sides(reading.splits)))


def _sbu(root: Root, split: str, shares: Mapping[str, float], seed: int) -> Reading:
    _only("SBU", split)
    found = sbu.scan(root.names())
    cells = {source.id.rpartition("_")[0] for source in found.sources}
    pairs = {cell.partition("_")[0] for cell in cells}
    missing = {f"{pair}_{action:02d}" for pair in pairs for action in range(1, ACTIONS + 1)} - cells
    counts = {"sequences": len(found.sources), "ordered actor pairs": len(pairs),
              "missing cells": len(missing - EMPTY_CELLS)}
    published = {"sequences": 282, "ordered actor pairs": ACTOR_PAIRS, "missing cells": 0, "frames": 6822}
    notes = (f"nobody has recorded {', '.join(sorted(missing & EMPTY_CELLS))}",) if missing & EMPTY_CELLS else ()
    lost = tuple(f"no sequence of {cell}" for cell in sorted(missing - EMPTY_CELLS))
    return Reading(found, sbu.split_by_share(found.sources, dict(shares), seed), counts, published,
                   notes=notes + lost)


def _hmdb51(root: Root, split: str, shares: Mapping[str, float], seed: int) -> Reading:
    names = root.names()
    texts, annotated = read_texts(root, hmdb51.lists(names)), pa_hmdb51.annotation_files(names)
    if not annotated:
        return hmdb51.scan(names, texts, split or "1", val=_validation(shares), seed=seed)
    annotations = pa_hmdb51.parse(read_texts(root, annotated))
    release = annotations.release["videos"]
    return hmdb51.scan(names, texts, split or "pa", annotations.names, _validation(shares), seed, release)


def _ucf101(root: Root, split: str, shares: Mapping[str, float], seed: int) -> Reading:
    names = root.names()
    return ucf101.scan(names, read_texts(root, ucf101.lists(names)), split or "1", _validation(shares), seed)


def _vispr(choice: vispr.Choice, root: Root, split: str, shares: Mapping[str, float], seed: int) -> Reading:
    _only("VISPR", split)
    names = root.names()
    return vispr.scan(names, read_texts(root, vispr.label_files(names)), choice)


def _pa_hmdb51(root: Root, split: str, shares: Mapping[str, float], seed: int) -> Reading:
    _only("PA-HMDB51", split)
    names = root.names()
    return pa_hmdb51.scan(names, read_texts(root, pa_hmdb51.annotation_files(names)))


def _validation(shares: Mapping[str, float]) -> float:
    return shares["val"] / (shares["train"] + shares["val"])


def _only(dataset: str, split: str) -> None:
    if split:
        raise PrivadvError(f"{dataset} has no numbered splits: leave split '{split}' away")


def _photos(choice: vispr.Choice) -> Dataset:
    return Dataset(UNLABELLED, vispr.task(choice), partial(_vispr, choice), still=True)


DATASETS = {
    "sbu": Dataset(sbu.TARGET, sbu.BUDGET, _sbu),
    "hmdb51": Dataset(hmdb51.TARGET, UNLABELLED, _hmdb51),
    "ucf101": Dataset(ucf101.TARGET, UNLABELLED, _ucf101),
    "vispr": _photos(vispr.FIVE),
    "vispr7": _photos(vispr.SEVEN),
    "vispr68": _photos(vispr.ALL),
    "pa_hmdb51": Dataset(pa_hmdb51.TARGET, pa_hmdb51.BUDGET, _pa_hmdb51, test_only=True),
}
