"""SBU Kinect Interaction: which files are sequences, what they show, and how they are split.

Reads frame folders (``s01s02/01/001/rgb_000055.png``, however deep) and re-encoded files
(``s01s02_01_001.avi``). The target is the action, keyed by its number because public copies disagree on the
names of 4 to 8. The budget is the *unordered* pair. The official folds hold out whole pairs, which an
identity task cannot use: splits here are by take.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Any

import numpy as np

from privadv.data.manifest import SPLITS, Found, Quarantined, Source, Task
from privadv.data.reading import visible
from privadv.errors import PrivadvError

PAIRS = ("01-02", "01-03", "01-07", "02-03", "02-06", "02-07", "03-04", "03-05", "03-06", "02-04", "04-06",
         "02-05", "03-07")
TARGET = Task(name="action", classes=(
    "1 approach", "2 depart", "3 kick", "4 push", "5 shake hands", "6 hug", "7 exchange object", "8 punch"))
BUDGET = Task(name="actor pair", classes=PAIRS)

VIDEO = re.compile(r".*\.(avi|mp4|mov|m4v|mkv|webm|mpe?g|ts|wmv|flv)", re.IGNORECASE)
VIDEO_NAME = re.compile(r"(s\d\ds\d\d)_(\d\d)_(\d\d\d)")
FOLDER = re.compile(r"(?:.*/)?(s\d\ds\d\d)/(\d\d)/(\d\d\d)")
FRAME = re.compile(r"rgb_(\d+)\.(png|jpe?g)", re.IGNORECASE)


def scan(names: Iterable[str]) -> Found:
    """Sort files, given by their names below the data root, into sequences; unusable ones with the reason.

    Of several copies of a sequence the one with the most frame files is taken, then the least deeply nested.

    Raises:
        PrivadvError: there is no sequence.
    """
    folders: dict[str, list[str]] = defaultdict(list)
    found: dict[str, list[Source]] = defaultdict(list)
    quarantined = []
    for name in visible(names):
        folder, _, file = name.rpartition("/")
        if FOLDER.fullmatch(folder):
            folders[folder].append(file)
        elif VIDEO.fullmatch(file):
            _admit(name, VIDEO_NAME.fullmatch(file.rpartition(".")[0]), (name,), found, quarantined)
    for folder, files in folders.items():
        frames = sorted((int(match[1]), file) for file in files if (match := FRAME.fullmatch(file)))
        paths = tuple(f"{folder}/{file}" for _, file in frames)
        _admit(folder, FOLDER.fullmatch(folder), paths, found, quarantined)
    if not found:
        raise PrivadvError("root holds no SBU sequence (s01s02/01/001/rgb_000055.png or s01s02_01_001.avi)")
    chosen = [min(copies, key=lambda copy: (-len(copy.files), copy.name.count("/")))
              for _, copies in sorted(found.items())]
    return Found(tuple(chosen), tuple(quarantined), sum(map(len, found.values())) - len(chosen))


def split_by_take(sources: Iterable[Source], takes: tuple[int, int, int]) -> dict[str, list[Source]]:
    """Split by take number: takes 1 to ``takes[0]`` train, the next ``takes[1]`` are val, ``takes[2]`` test.

    Raises:
        PrivadvError: a take lies beyond.
    """
    owner = [split for split, count in zip(SPLITS, takes, strict=True) for _ in range(count)]
    splits: dict[str, list[Source]] = {split: [] for split in SPLITS}
    for source in sources:
        take = int(source.id.rpartition("_")[2])
        if not 1 <= take <= len(owner):
            raise PrivadvError(f"{source.name}: take {take} is in no split: configured are 1 to {len(owner)}")
        splits[owner[take - 1]].append(source)
    return splits


def split_by_share(sources: Iterable[Source], shares: dict[str, float], seed: int) -> dict[str, list[Source]]:
    """Split the takes inside each (pair, action): each pair, action and the whole come near to ``shares``.

    The first take of each (pair, action) trains, so that nothing is tested that was never trained on. Each
    other one goes where its pair, its action and the whole lack most. The order is drawn from ``seed``
    alone.
    """
    cells: dict[tuple[Any, int], list[Source]] = defaultdict(list)
    for source in sorted(sources, key=lambda source: source.id):
        cells[source.budget, source.target].append(source)
    rng, have = np.random.default_rng(seed), Counter()
    splits: dict[str, list[Source]] = {split: [] for split in SPLITS}
    for cell in rng.permutation(sorted(cells)).tolist():
        groups = ("all", f"pair {cell[0]}", f"action {cell[1]}")
        takes = cells[cell[0], cell[1]]
        for rank, choice in enumerate(rng.permutation(len(takes)).tolist()):
            lacks = {split: _lack(have, groups, split, shares[split]) for split in SPLITS}
            split = max(SPLITS, key=lacks.__getitem__) if rank else SPLITS[0]
            splits[split].append(takes[choice])
            have.update([*groups, *((group, split) for group in groups)])
    return {split: sorted(chosen, key=lambda source: source.id) for split, chosen in splits.items()}


def _lack(have: Counter[Any], groups: Iterable[str], split: str, share: float) -> float:
    return sum(share * (have[group] + 1) - have[group, split] for group in groups)


def _admit(name: str, match: re.Match[str] | None, files: tuple[str, ...], found: dict[str, list[Source]],
           quarantined: list[Quarantined]) -> None:
    if match is None:
        quarantined.append(Quarantined(source=name, reason="its name is not of the form s01s02_01_001"))
        return
    actors, action, take = match.groups()
    pair = "-".join(sorted((actors[1:3], actors[4:6])))
    if pair not in PAIRS or not 1 <= int(action) <= len(TARGET.classes):
        quarantined.append(Quarantined(source=name, reason=f"SBU has no {actors} with action {action}"))
    elif not files:
        quarantined.append(Quarantined(source=name, reason="has no rgb_*.png frames"))
    else:
        sequence = f"{actors}_{action}_{take}"
        found[sequence].append(Source(sequence, name, files, int(action) - 1, PAIRS.index(pair)))
