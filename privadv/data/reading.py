"""What every dataset reader gives, and the few things that all of them do."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from operator import attrgetter

import numpy as np

from privadv.data.manifest import Found, Source, Task
from privadv.data.roots import Root
from privadv.errors import PrivadvError

UNLABELLED = Task(name="not labelled", classes=("any",))
"""The task of a dataset that says nothing about it; every source has class 0."""

VIDEO = re.compile(r".*\.(avi|mp4|mov)", re.IGNORECASE)


@dataclass(frozen=True)
class Reading:
    """What lies below a root: ``splits`` has train, val and test.

    ``counts`` are facts of this copy, ``published`` what a whole copy has of them ("frames" is known only
    once the files are opened). ``leaks`` says what stands on both sides of a split, ``notes`` what is worth
    knowing but no fault.
    """

    found: Found
    splits: dict[str, list[Source]]
    counts: Mapping[str, int]
    published: Mapping[str, int]
    leaks: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def visible(names: Iterable[str]) -> list[str]:
    """The sorted names without hidden files and what archivers leave behind."""
    return sorted(name for name in names
                  if not any(part.startswith((".", "__MACOSX")) for part in name.split("/")))


def read_texts(root: Root, names: Iterable[str]) -> dict[str, str]:
    """The content of small annotation files by name.

    Raises:
        PrivadvError: one cannot be read or is no UTF-8 text.
    """
    texts = {}
    for name in names:
        with root.local([name]) as [path]:  # one at a time: in a bucket's copy equal file names would collide
            try:
                texts[name] = path.read_text(encoding="utf-8-sig")
            except (OSError, UnicodeDecodeError) as error:
                raise PrivadvError(f"{name}: cannot be read as text ({error}): get it again") from None
    return texts


def one_copy(files: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Of (key, name) pairs the least deeply nested name of each key, in the order of the keys."""
    copies: dict[str, list[str]] = defaultdict(list)
    for key, name in files:
        copies[key].append(name)
    return {key: min(found, key=lambda name: (name.count("/"), name)) for key, found in sorted(copies.items())}


def labels(task: Task, label: int | tuple[int, ...]) -> bool:
    """Whether ``label`` is one of a task: a class of it, or one 0 or 1 for each."""
    if task.multi_label:
        return isinstance(label, tuple) and len(label) == len(task.classes) and set(label) <= {0, 1}
    return isinstance(label, int) and 0 <= label < len(task.classes)


def on_both_sides(splits: Mapping[str, Iterable[Source]], known: Callable[[Source], str] = attrgetter("name")) -> list[str]:
    """One line for each file or folder that stands in two splits, or for each thing that sources are ``known`` by."""
    sides: dict[str, list[str]] = defaultdict(list)
    for split, sources in splits.items():
        for name in {known(source) for source in sources}:
            sides[name].append(split)
    return [f"{name} is in {' and in '.join(found)}" for name, found in sorted(sides.items()) if len(found) > 1]


def hold_out(sources: Iterable[Source], share: float, seed: int) -> tuple[list[Source], list[Source]]:
    """Take about ``share`` of the sources of each target class out, as whole groups: (kept, held out).

    At least one group of each class is kept; the order is drawn from ``seed`` alone.
    """
    groups: dict[int, dict[str, list[Source]]] = defaultdict(lambda: defaultdict(list))
    for source in sorted(sources, key=lambda source: source.id):
        groups[source.target][source.recording].append(source)
    kept, held, rng = [], [], np.random.default_rng(seed)
    for _, members in sorted(groups.items()):
        order = [members[key] for key in rng.permutation(sorted(members)).tolist()]
        wanted = share * sum(map(len, order))
        taken = 0
        for rank, group_members in enumerate(order):
            if rank and taken + len(group_members) / 2 <= wanted:
                held += group_members
                taken += len(group_members)
            else:
                kept += group_members
    return sorted(kept, key=lambda source: source.id), sorted(held, key=lambda source: source.id)


def shared_groups(splits: Mapping[str, Iterable[Source]]) -> list[str]:
    """One line for each group that has sources both in training (train or val) and in test."""
    sides: dict[str, set[str]] = defaultdict(set)
    for split, sources in splits.items():
        for source in sources:
            sides[source.recording].add("test" if split == "test" else "training")
    return [f"{name} is in training and in test" for name, found in sorted(sides.items()) if len(found) > 1]
