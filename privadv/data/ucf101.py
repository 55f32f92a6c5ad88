"""UCF101: which files are videos, what they show, and the official splits.

Reads ``<Class>/v_<Class>_g01_c01.avi`` at any depth and ``trainlist0{1,2,3}.txt``, ``testlist0{1,2,3}.txt``,
``classInd.txt``. Groups g01 to g25 share a source video, so that nothing is ever split inside one. Names are
compared without case: the folder ``HandstandPushups`` holds ``v_HandStandPushups_*``.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping

from privadv.data.manifest import Found, Quarantined, Source, Task
from privadv.data.reading import VIDEO, Reading, hold_out, one_copy, shared_groups, visible
from privadv.errors import PrivadvError

NAMES = """
    ApplyEyeMakeup ApplyLipstick Archery BabyCrawling BalanceBeam BandMarching BaseballPitch Basketball
    BasketballDunk BenchPress Biking Billiards BlowDryHair BlowingCandles BodyWeightSquats Bowling
    BoxingPunchingBag BoxingSpeedBag BreastStroke BrushingTeeth CleanAndJerk CliffDiving CricketBowling
    CricketShot CuttingInKitchen Diving Drumming Fencing FieldHockeyPenalty FloorGymnastics FrisbeeCatch
    FrontCrawl GolfSwing Haircut Hammering HammerThrow HandstandPushups HandstandWalking HeadMassage HighJump
    HorseRace HorseRiding HulaHoop IceDancing JavelinThrow JugglingBalls JumpingJack JumpRope Kayaking Knitting
    LongJump Lunges MilitaryParade Mixing MoppingFloor Nunchucks ParallelBars PizzaTossing PlayingCello
    PlayingDaf PlayingDhol PlayingFlute PlayingGuitar PlayingPiano PlayingSitar PlayingTabla PlayingViolin
    PoleVault PommelHorse PullUps Punch PushUps Rafting RockClimbingIndoor RopeClimbing Rowing SalsaSpin
    ShavingBeard Shotput SkateBoarding Skiing Skijet SkyDiving SoccerJuggling SoccerPenalty StillRings
    SumoWrestling Surfing Swing TableTennisShot TaiChi TennisSwing ThrowDiscus TrampolineJumping Typing
    UnevenBars VolleyballSpiking WalkingWithDog WallPushups WritingOnBoard YoYo"""
CLASSES = tuple(NAMES.split())
TARGET = Task(name="action", classes=CLASSES)

SPLITS = ("1", "2", "3")
LIST = re.compile(r"(?:.*/)?(classInd\.txt|(train|test)list0([123])\.txt)")
NAME = re.compile(r"v_(\w+)_g(\d\d)_c(\d\d)", re.IGNORECASE)
NUMBER = {name.casefold(): number for number, name in enumerate(CLASSES)}
GROUPS = 25

WHOLE = {"videos": 13320, "classes": 101, "missing groups": 0}
OFFICIAL = {"1": {"training": 9537, "test": 3783}, "2": {"training": 9586, "test": 3734},
            "3": {"training": 9624, "test": 3696}}


def group_of(video: str) -> str:
    """The class and group of a video's name, e.g. ``archery_g07``: what shares a source video."""
    return video.rpartition("_c")[0].removeprefix("v_")


def lists(names: Iterable[str]) -> list[str]:
    """The class and split lists among ``names``, the least deeply nested of several copies."""
    return list(one_copy((match[1], name) for name in visible(names)
                         if (match := LIST.fullmatch(name))).values())


def scan(names: Iterable[str], texts: Mapping[str, str], split: str = "1", val: float = 0.2, seed: int = 0
         ) -> Reading:
    """Sort videos into the splits of ``texts``, the content of :func:`lists`; whole groups of training,
    ``val`` of it, are held out for validation.

    Raises:
        PrivadvError: there are no videos or no lists, one is malformed or numbers the classes otherwise, or
            ``split`` is unknown.
    """
    if split not in SPLITS:
        raise PrivadvError(f"UCF101 has no split '{split}': choose one of {', '.join(SPLITS)}")
    files, unusable, copies = _videos(names)
    listed = _listed(texts, split)
    if not files or not listed:
        what = "video (Archery/v_Archery_g01_c01.avi)" if not files else f"list (trainlist0{split}.txt)"
        raise PrivadvError(f"root holds no UCF101 {what}")
    unusable += [Quarantined(source=files[key], reason=f"is in no list of split {split}")
                 for key in files if key not in listed]
    unusable += [Quarantined(source=key, reason="is in a split list, but its file is missing")
                 for key in sorted(listed) if key not in files]
    parts: dict[str, list[Source]] = {"train": [], "test": []}
    for key, name in files.items():
        for part in listed.get(key, ()):
            parts[part].append(Source(key, name, (name,), NUMBER[_match(key)[1]], 0, group=group_of(key)))
    train, validation = hold_out(parts["train"], val, seed)
    splits = {"train": train, "val": validation, "test": parts["test"]}
    counts = _counts(files) | {"training": len(parts["train"]), "test": len(parts["test"])}
    found = Found((*train, *validation, *parts["test"]), tuple(unusable), copies)
    return Reading(found, splits, counts, WHOLE | OFFICIAL[split], tuple(shared_groups(splits)))


def _videos(names: Iterable[str]) -> tuple[dict[str, str], list[Quarantined], int]:
    found, strangers = [], []
    for name in visible(names):
        stem = name.rpartition("/")[2].rpartition(".")[0].casefold()
        match = NAME.fullmatch(stem)
        if VIDEO.fullmatch(name) and match and match[1] in NUMBER:
            found.append((stem, name))
        elif VIDEO.fullmatch(name):
            strangers.append(Quarantined(source=name, reason="its name is not of the form v_Archery_g01_c01"))
    files = one_copy(found)
    return files, strangers, len(found) - len(files)


def _listed(texts: Mapping[str, str], split: str) -> dict[str, set[str]]:
    """train or test (both: a leak) by video, in lower case and without suffix."""
    listed: dict[str, set[str]] = defaultdict(set)
    for name, text in texts.items():
        match = LIST.fullmatch(name)
        for number, line in enumerate(text.splitlines(), 1):
            if match is None or not line.strip():
                continue
            if match[2] is None:
                _check_class(name, number, line)
            elif match[3] == split:
                listed[_entry(name, number, line)].add(match[2])
    return listed


def _check_class(name: str, number: int, line: str) -> None:
    index, _, label = line.strip().partition(" ")
    if label.strip().casefold() not in NUMBER or index != str(NUMBER[label.strip().casefold()] + 1):
        raise PrivadvError(f"{name}: line {number} ('{line.strip()}') is not the numbering of UCF101: get it again")


def _entry(name: str, number: int, line: str) -> str:
    path, *label = line.split()
    key = path.rpartition("/")[2].rpartition(".")[0].casefold()
    match = NAME.fullmatch(key)
    if match is None or match[1] not in NUMBER or (label and label != [str(NUMBER[match[1]] + 1)]):
        raise PrivadvError(f"{name}: line {number} ('{line.strip()}') is no video of UCF101 with its class: get it again")
    return key


def _match(key: str) -> re.Match[str]:
    match = NAME.fullmatch(key)
    assert match is not None
    return match


def _counts(files: Iterable[str]) -> dict[str, int]:
    groups = {(match[1], match[2]) for match in map(_match, files)}
    classes = {name for name, _ in groups}
    return {"videos": len(list(files)), "classes": len(classes),
            "missing groups": GROUPS * len(classes) - len(groups)}
