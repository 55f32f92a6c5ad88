"""PA-HMDB51: privacy attributes of HMDB51 videos, frame by frame; all of them are the test set.

Reads the annotation files ``<action>.json`` and, for :func:`scan`, the HMDB51 videos, both at any depth. Both
releases are understood: the published one and the older one, which repeats videos under foreign actions
(left aside) and has no lists of values.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from privadv.data import hmdb51, vispr
from privadv.data.manifest import Found, Quarantined, Source
from privadv.data.reading import Reading, visible
from privadv.errors import PrivadvError

TARGET, BUDGET = hmdb51.TARGET, vispr.task(vispr.FIVE)
VALUES = {
    "gender": ("unidentifiable", "male", "female"), "face": ("invisible", "partial", "complete"),
    "nudity": ("none", "partial", "semi"), "skin_color": ("unidentifiable", "white", "brown/yellow", "black"),
    "relationship": ("none", "visible")}
"""The tracks of a video in the order of BUDGET's classes, and what their values mean; 0 is absence."""

MOST_FRAMES = 1 << 20
"""Of a video, about ten hours: what claims more is damaged, or meant to fill the memory."""

FILE = re.compile(rf"(?:.*/)?({'|'.join(hmdb51.ACTIONS)})\.json")
PUBLISHED = {"entries": 515, "videos": 515, "actions": 51, "annotated frames": 52533, "test": 515}
OLDER = {"entries": 605, "videos": 529, "actions": 51, "annotated frames": 57388, "test": 528}


@dataclass(frozen=True)
class Segment:
    """Frames ``first`` to ``last``, both included, show ``values`` (several where people differ)."""

    first: int
    last: int
    values: tuple[int, ...]


@dataclass(frozen=True)
class Annotation:
    """One video (no suffix): ``tracks`` in the order of VALUES; a track may start late, have gaps or be empty."""

    video: str
    action: str
    tracks: tuple[tuple[Segment, ...], ...]
    reviewed: bool = False

    @property
    def frames(self) -> int:
        """The number of frames up to the last annotated one."""
        return 1 + max(segment.last for track in self.tracks for segment in track)

    def shown(self, attribute: int) -> np.ndarray:
        """Which frame shows which value, bool (frames, values); a row of no value is not annotated."""
        shown = np.zeros((self.frames, len(tuple(VALUES.values())[attribute])), bool)
        for segment in self.tracks[attribute]:
            shown[segment.first : segment.last + 1, list(segment.values)] = True
        return shown

    def present(self) -> np.ndarray:
        """Which frame shows which attribute (a value that is not 0), bool (frames, attributes)."""
        return np.stack([self.shown(number)[:, 1:].any(axis=1) for number in range(len(VALUES))], axis=1)

    def known(self) -> list[int]:
        """The frames in which every attribute is annotated, ascending."""
        annotated = [self.shown(number).any(axis=1) for number in range(len(VALUES))]
        return np.flatnonzero(np.all(annotated, axis=0)).tolist()

    def labels(self, indices: Iterable[int]) -> tuple[int, ...]:
        """0 or 1 for each attribute: is it in any of the frames ``indices``? Nothing is known to be behind the end."""
        present = self.present()
        chosen = present[[number for number in indices if number < len(present)]]
        return tuple(chosen.any(axis=0).astype(int).tolist())


@dataclass(frozen=True)
class AnnotatedSource(Source):
    """A video whose labels depend on the frames; ``budget`` holds for the whole of it."""

    annotation: Annotation

    def labelled(self, count: int) -> list[int]:
        """Those of ``count`` frames in which every attribute is annotated: elsewhere absence would be a guess."""
        return [number for number in self.annotation.known() if number < count]

    def budget_at(self, indices: Iterable[int]) -> tuple[int, ...]:
        """The labels of a clip of the frames ``indices``."""
        return self.annotation.labels(indices)


@dataclass(frozen=True)
class Annotations:
    """What the files say: one annotation a video, unusable ones with the reason, the release's ``remarks``.

    ``names`` are all videos (no suffix) that stand under their own action, also those without annotated frames.
    """

    videos: tuple[Annotation, ...]
    unusable: tuple[Quarantined, ...]
    names: frozenset[str]
    entries: int
    remarks: tuple[str, ...]

    @property
    def release(self) -> Mapping[str, int]:
        """What a whole copy has of the release that these are nearer to."""
        return min((PUBLISHED, OLDER), key=lambda release: abs(release["entries"] - self.entries))


def annotation_files(names: Iterable[str]) -> list[str]:
    """The annotation files among ``names``.

    Raises:
        PrivadvError: an action has two, as where both releases lie below one root.
    """
    found: dict[str, str] = {}
    for name in visible(names):
        match = FILE.fullmatch(name)
        if match and match[1] in found:
            raise PrivadvError(f"{match[1]} has two annotation files, {found[match[1]]} and {name}: keep one release")
        if match:
            found[match[1]] = name
    return sorted(found.values())


def parse(texts: Mapping[str, str]) -> Annotations:
    """Read the content of :func:`annotation_files`; a video counts under its own action only.

    Raises:
        PrivadvError: there is none, or one is no JSON object.
    """
    entries = list(_entries(texts))
    own = [entry for entry in entries if hmdb51.action_of(entry[1]) in (entry[0], None)]
    videos, unusable, blank = [], [], 0
    for action, video, facts in own:
        try:
            tracks = tuple(_track(facts, key) for key in VALUES)
        except ValueError as error:
            unusable.append(Quarantined(source=f"{action}/{video}", reason=str(error)))
            continue
        if any(tracks):
            videos.append(Annotation(video, action, tracks, facts.get("review") is True))
        else:
            blank += 1
    if not videos:
        raise PrivadvError("root holds no PA-HMDB51 annotation (brush_hair.json)")
    unmarked = sum(not (isinstance(facts, dict) and {"review", "note"} <= facts.keys()) for _, _, facts in own)
    facts = {"repeats under foreign actions left aside": len(entries) - len(own),
             "videos without any annotated frame left aside": blank, "videos without review or note": unmarked}
    return Annotations(tuple(videos), tuple(unusable), frozenset(video for _, video, _ in own), len(entries),
                       _remarks(facts, videos))


def scan(names: Iterable[str], texts: Mapping[str, str]) -> Reading:
    """The annotated HMDB51 videos, all of them test; the content of :func:`annotation_files` labels them.

    Raises:
        PrivadvError: there are no annotations, or none of their videos.
    """
    files, _, copies = hmdb51.videos(names)
    annotations = parse(texts)
    unusable, sources = list(annotations.unusable), []
    for one in annotations.videos:
        key = f"{one.action}/{one.video}"
        if key not in files:
            unusable.append(Quarantined(source=f"{key}.avi", reason="is annotated, but its file is missing"))
            continue
        target, budget = hmdb51.ACTIONS.index(one.action), one.labels(range(one.frames))
        film = hmdb51.title_of(one.video)
        sources.append(AnnotatedSource(one.video, files[key], (files[key],), target, budget, one, group=film))
    if not sources:
        raise PrivadvError("root holds none of the annotated HMDB51 videos (brush_hair/NAME.avi)")
    counts, published = count(annotations)
    return Reading(Found(tuple(sources), tuple(unusable), copies), {"train": [], "val": [], "test": list(sources)},
                   counts | {"test": len(sources)}, published, notes=annotations.remarks)


def count(annotations: Annotations) -> tuple[dict[str, int], dict[str, int]]:
    """Facts of the annotations, and those of their release."""
    counts = {"entries": annotations.entries, "videos": len(annotations.names),
              "actions": len({one.action for one in annotations.videos}),
              "annotated frames": sum(one.frames for one in annotations.videos)}
    return counts, dict(annotations.release)


def _remarks(facts: dict[str, int], videos: list[Annotation]) -> tuple[str, ...]:
    late = sum(not all(one.shown(number)[0].any() for number in range(len(VALUES))) for one in videos)
    several = sum(any(len(segment.values) > 1 for track in one.tracks for segment in track) for one in videos)
    facts = facts | {"videos not reviewed": sum(not one.reviewed for one in videos),
                     "videos with a track that starts late or is empty": late,
                     "videos with several values at once": several}
    return tuple(f"{number} {what}" for what, number in facts.items() if number)


def _entries(texts: Mapping[str, str]) -> Iterator[tuple[str, str, Any]]:
    """(action of the file, video without suffix, what is said of it)."""
    for name, text in sorted(texts.items()):
        match = FILE.fullmatch(name)
        if match:
            for file, facts in _object(name, text).items():
                yield match[1], re.sub(r"\.\w+$", "", file), facts


def _object(name: str, text: str) -> dict[str, Any]:
    try:
        facts = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise PrivadvError(f"{name}: is no JSON ({error}): get it again") from None
    if not isinstance(facts, dict):
        raise PrivadvError(f"{name}: is no JSON object of videos: get it again")
    return facts


def _track(facts: Any, key: str) -> tuple[Segment, ...]:
    if not isinstance(facts, dict) or not isinstance(facts.get(key), list):
        raise ValueError(f"has no track '{key}'")
    return tuple(_segment(key, data) for data in facts[key])


def _segment(key: str, data: Any) -> Segment:
    if isinstance(data, list) and len(data) == 3:
        first, last, value = data
        values = value if isinstance(value, list) else [value]
        whole = all(type(number) is int for number in (first, last, *values))
        if whole and values and 0 <= first <= last < MOST_FRAMES and all(number in range(len(VALUES[key])) for number in values):
            return Segment(first, last, tuple(dict.fromkeys(values)))
    raise ValueError(f"its {key} segment {str(data)[:60]} is not [first, last, value] within {MOST_FRAMES} frames")
