"""HMDB51: which files are videos, what they show, and the official splits.

Reads ``<action>/<video>.avi`` at any depth and the lists ``<action>_test_split{1,2,3}.txt`` (a line
``<video>.avi 1``: 1 trains, 2 tests, 0 is unused). Split "pa" holds given videos (those of PA-HMDB51) out as
the test set and trains on all others.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping

from privadv.data.manifest import Found, Quarantined, Source, Task
from privadv.data.reading import VIDEO, Reading, hold_out, one_copy, shared_groups, visible
from privadv.errors import PrivadvError

NAMES = """
    brush_hair cartwheel catch chew clap climb climb_stairs dive draw_sword dribble drink eat fall_floor
    fencing flic_flac golf handstand hit hug jump kick kick_ball kiss laugh pick pour pullup punch push pushup
    ride_bike ride_horse run shake_hands shoot_ball shoot_bow shoot_gun sit situp smile smoke somersault stand
    swing_baseball sword sword_exercise talk throw turn walk wave"""
ACTIONS = tuple(NAMES.split())
TARGET = Task(name="action", classes=ACTIONS)

SPLITS = ("1", "2", "3", "pa")
LIST = re.compile(rf"(?:.*/)?((?:{'|'.join(ACTIONS)})_test_split([123])\.txt)")
LINE = re.compile(r"\s*(\S.*?)\s+([012])\s*")
# The action stands between the title of the film and what is seen of the body; "draw_sword" goes before "sword".
NAMED = re.compile(rf"(.*?)_({'|'.join(sorted(ACTIONS, key=len, reverse=True))})_[a-z]+_[cn]m_np\d+_.*")

OFFICIAL = {"videos": 6766, "actions": 51, "training": 3570, "test": 1530, "unused": 1666}


def action_of(video: str) -> str | None:
    """The action that a video's name tells, if it is formed like one."""
    match = NAMED.fullmatch(video)
    return match[2] if match else None


def title_of(video: str) -> str:
    """Action and film of a video: what comes from one film never stands on both sides of an official split."""
    match = NAMED.fullmatch(video)
    return f"{match[2]}/{match[1]}" if match else video


def videos(names: Iterable[str]) -> tuple[dict[str, str], list[Quarantined], int]:
    """Files by ``<action>/<video>`` (no suffix), files in no folder of an action, and the number of copies."""
    found, strangers = [], []
    for name in visible(names):
        *_, folder, file = ["", *name.split("/")]
        if VIDEO.fullmatch(file) and folder in ACTIONS:
            found.append((f"{folder}/{file.rpartition('.')[0]}", name))
        elif VIDEO.fullmatch(file):
            strangers.append(Quarantined(source=name, reason="is in no folder of one of the 51 actions"))
    files = one_copy(found)
    return files, strangers, len(found) - len(files)


def lists(names: Iterable[str]) -> list[str]:
    """The split lists among ``names``, the least deeply nested of several copies."""
    return list(one_copy((match[1], name) for name in visible(names)
                         if (match := LIST.fullmatch(name))).values())


def scan(names: Iterable[str], texts: Mapping[str, str], split: str = "1", held: Collection[str] = (),
         val: float = 0.2, seed: int = 0, release: int = 515) -> Reading:
    """Sort videos into the splits of ``texts``, the content of :func:`lists`; ``val`` of training is held out.

    ``held`` are the videos (no suffix) of PA-HMDB51: the test set of split "pa", a leak in the training of any
    other. A whole copy of their ``release`` has that many.

    Raises:
        PrivadvError: there are no videos or no lists, a line of one is malformed, or ``split`` is unknown.
    """
    if split not in SPLITS:
        raise PrivadvError(f"HMDB51 has no split '{split}': choose one of {', '.join(SPLITS)}")
    if split == "pa" and not held:
        raise PrivadvError("split 'pa' needs the PA-HMDB51 annotations (<action>.json) below the same root")
    files, unusable, copies = videos(names)
    listed = _listed(texts, split, held)
    if not files or not listed:
        what = "video (brush_hair/NAME.avi)" if not files else "list (brush_hair_test_split1.txt)"
        raise PrivadvError(f"root holds no HMDB51 {what}")
    unusable += [Quarantined(source=files[key], reason="is in no split list")
                 for key in files if key not in listed]
    unusable += [Quarantined(source=f"{key}.avi", reason="is in a split list, but its file is missing")
                 for key, use in sorted(listed.items()) if key not in files and use]
    parts: dict[int, list[Source]] = {0: [], 1: [], 2: []}
    for key, name in files.items():
        if key in listed:
            action, _, video = key.partition("/")
            parts[listed[key]].append(Source(video, name, (name,), ACTIONS.index(action), 0, group=title_of(video)))
    train, validation = hold_out(parts[1], val, seed)
    splits = {"train": train, "val": validation, "test": parts[2]}
    counts = {"videos": len(files), "actions": len({key.partition("/")[0] for key in files}),
              "training": len(parts[1]), "test": len(parts[2]), "unused": len(parts[0])}
    found = Found((*train, *validation, *parts[2]), tuple(unusable), copies)
    without = {"training": OFFICIAL["videos"] - release, "test": release, "unused": 0} if split == "pa" else {}
    return Reading(found, splits, counts, OFFICIAL | without, *_crossing(splits, split, set(held)))


def _listed(texts: Mapping[str, str], split: str, held: Collection[str]) -> dict[str, int]:
    """1, 2 or 0 by ``<action>/<video>``."""
    listed, held = {}, set(held)
    for name, text in texts.items():
        match = LIST.fullmatch(name)
        if not match or match[2] != ("1" if split == "pa" else split):
            continue
        action = match[1].partition("_test_split")[0]
        for number, line in enumerate(text.splitlines(), 1):
            entry = LINE.fullmatch(line)
            if entry is None and line.strip():
                raise PrivadvError(f"{name}: line {number} is not 'VIDEO.avi 0|1|2': get the lists again")
            if entry:
                video = entry[1].rpartition(".")[0]
                listed[f"{action}/{video}"] = 1 + (video in held) if split == "pa" else int(entry[2])
    return listed


def _crossing(splits: dict[str, list[Source]], split: str, held: set[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Leaks and notes. The protocol of PA-HMDB51 splits films; the official splits never do."""
    films = shared_groups(splits)
    if split == "pa":
        return (), (f"{len(films)} films have videos in training and in test, as the protocol has it",) if films else ()
    trained = held.intersection(source.id for part in ("train", "val") for source in splits[part])
    leaks = [f"{video} of PA-HMDB51 is in training" for video in sorted(trained)]
    sides = Counter(source.id for part in splits.values() for source in part)
    twice = [f"{video} stands under two actions" for video, number in sorted(sides.items()) if number > 1]
    return (*leaks, *films, *twice), ()
