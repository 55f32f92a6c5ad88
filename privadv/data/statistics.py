"""What PA-HMDB51 holds: how its attributes and actions are distributed, and how one goes with the other.

A frame counts for an attribute where that is annotated. Where people differ in gender or skin color it counts for a value of
its own, ``coexisting``, as in the seed's figures; a person whom one cannot tell makes no difference beside one whom one can.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from privadv.data.pa_hmdb51 import VALUES, Annotation, annotation_files, count, parse
from privadv.data.reading import read_texts
from privadv.data.roots import open_root
from privadv.errors import PrivadvError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = ("#c9ced6", "#8ab6e0", "#0a6ebd", "#0b3d66")
TOGETHER = "#e0a458"
DIFFER = {"gender", "skin_color"}
MEANINGS = {name: (*values, "coexisting") if name in DIFFER else values for name, values in VALUES.items()}
"""What is counted of each attribute: the values of its track, and that people of several are seen."""


@dataclass(frozen=True)
class Statistics:
    """Sums by action, in the order of ``actions``.

    ``videos`` int (A,); ``frames`` int (A,) up to each video's last annotation; for each attribute ``annotated``
    int (A,), ``present`` int (A,): frames that show it, and ``values`` int (A, V): frames that show each of its MEANINGS.
    """

    actions: tuple[str, ...]
    videos: np.ndarray
    frames: np.ndarray
    annotated: Mapping[str, np.ndarray]
    present: Mapping[str, np.ndarray]
    values: Mapping[str, np.ndarray]

    def prevalence(self, attribute: str) -> float:
        """Share of the annotated frames that show it: what a coin's average precision comes to."""
        return float(self.present[attribute].sum() / max(1, self.annotated[attribute].sum()))

    def shares(self, attribute: str) -> np.ndarray:
        """Share of each action's annotated frames that show each value, (A, V) in [0, 1]."""
        return self.values[attribute] / np.maximum(1, self.annotated[attribute])[:, None]

    def correlation(self, attribute: str) -> np.ndarray:
        """Phi coefficient over frames of "is this action" and "shows the attribute", (A,) in [-1, 1].

        0 where one of the two never varies.
        """
        seen, shown = self.annotated[attribute].astype(float), self.present[attribute].astype(float)
        n, hits = seen.sum(), shown.sum()
        spread = np.sqrt(seen * (n - seen) * hits * (n - hits))
        return np.divide(n * shown - seen * hits, spread, out=np.zeros_like(spread), where=spread > 0)


def statistics(annotations: Iterable[Annotation]) -> Statistics:
    """Count the videos and frames of ``annotations``."""
    annotations = list(annotations)
    actions = tuple(sorted({one.action for one in annotations}))
    place = np.array([actions.index(one.action) for one in annotations])
    annotated, present, values = {}, {}, {}
    for number, attribute in enumerate(VALUES):
        shown = [one.shown(number) for one in annotations]
        annotated[attribute] = _sum(place, [frames.any(axis=1).sum() for frames in shown])
        present[attribute] = _sum(place, [frames[:, 1:].any(axis=1).sum() for frames in shown])
        values[attribute] = _sum(place, [_told_apart(attribute, frames).sum(axis=0) for frames in shown])
    return Statistics(actions, np.bincount(place), _sum(place, [one.frames for one in annotations]),
                      annotated, present, values)


def draw(root: str, out: Path) -> list[str]:
    """Write tables (attributes.csv, actions.csv) and figures (attributes, actions, values, correlation .png) into
    ``out``; the annotations below ``root`` are enough, no video is opened. Returns lines that sum it up.

    Raises:
        PrivadvError: there are no annotations, or ``out`` cannot be written.
    """
    place = open_root(root)
    annotations = parse(read_texts(place, annotation_files(place.names())))
    found = statistics(annotations.videos)
    figures = {"attributes": _attributes, "actions": _actions, "values": _values, "correlation": _correlation}
    try:
        out.mkdir(parents=True, exist_ok=True)
        _table(out / "attributes.csv", ("attribute", "value", "meaning", "frames", "share"), _value_rows(found))
        header = ("action", "videos", "frames", *(f"{name}: {what}" for what in ("share", "phi") for name in VALUES))
        _table(out / "actions.csv", header, _action_rows(found))
        for name, drawing in figures.items():
            drawing(found).savefig(out / f"{name}.png", dpi=150, bbox_inches="tight")
    except OSError as error:
        raise PrivadvError(f"{out}: cannot be written ({error.strerror}): choose another folder") from None
    facts = ", ".join(f"{number} {what}" for what, number in count(annotations)[0].items())
    shown = ", ".join(f"{name} {100 * found.prevalence(name):.1f} %" for name in VALUES)
    return [facts, f"frames that show it: {shown}", *annotations.remarks,
            *(f"left aside {bad.source}: {bad.reason}" for bad in annotations.unusable)]


def _told_apart(attribute: str, shown: np.ndarray) -> np.ndarray:
    """Which frame shows which of an attribute's MEANINGS, bool (frames, V), of which it shows which value."""
    if attribute not in DIFFER:
        return shown
    known = shown[:, 1:]
    several = known.sum(axis=1, keepdims=True) > 1
    return np.concatenate([shown[:, :1] & ~known.any(axis=1, keepdims=True), known & ~several, several], axis=1)


def _sum(place: np.ndarray, numbers: Sequence[int | np.ndarray]) -> np.ndarray:
    stacked = np.asarray(numbers)
    sums = np.zeros((place.max() + 1, *stacked.shape[1:]), int)
    np.add.at(sums, place, stacked)
    return sums


def _value_rows(found: Statistics) -> Iterable[tuple[object, ...]]:
    for attribute, meanings in MEANINGS.items():
        frames, annotated = found.values[attribute].sum(axis=0), max(1, found.annotated[attribute].sum())
        for value, meaning in enumerate(meanings):
            yield attribute, value, meaning, frames[value], f"{frames[value] / annotated:.4f}"


def _action_rows(found: Statistics) -> Iterable[tuple[object, ...]]:
    share = {name: found.present[name] / np.maximum(1, found.annotated[name]) for name in VALUES}
    phi = {name: found.correlation(name) for name in VALUES}
    for row, action in enumerate(found.actions):
        numbers = (f"{columns[name][row]:.4f}" for columns in (share, phi) for name in VALUES)
        yield action, found.videos[row], found.frames[row], *numbers


def _table(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)


def _figure(width: float, height: float) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _attributes(found: Statistics) -> Figure:
    """One stacked bar an attribute."""
    figure = _figure(7, 3)
    axes = figure.subplots()
    for row, (attribute, meanings) in enumerate(MEANINGS.items()):
        left, annotated = 0.0, max(1, found.annotated[attribute].sum())
        colours = (*COLOURS[: len(VALUES[attribute])], TOGETHER)
        for value, frames in enumerate(found.values[attribute].sum(axis=0)):
            share = frames / annotated
            axes.barh(row, share, left=left, color=colours[value], edgecolor="white")
            if share > 0.07:
                axes.text(left + share / 2, row, f"{meanings[value]}\n{100 * share:.1f} %", ha="center", va="center",
                          fontsize=7, color="white" if value in (2, 3) else "black")
            left += share
    axes.set(yticks=range(len(VALUES)), yticklabels=[name.replace("_", " ") for name in VALUES],
             xlabel="share of the annotated frames (orange: coexisting)", title="Attributes")
    axes.invert_yaxis()
    return figure


def _actions(found: Statistics) -> Figure:
    figure = _figure(10, 3.6)
    axes = figure.subplots()
    order = np.argsort(-found.videos, kind="stable")
    bars = axes.bar(range(len(order)), found.videos[order], color=COLOURS[2])
    axes.bar_label(bars, fontsize=6)
    axes.set_xticks(range(len(order)), [found.actions[row] for row in order], rotation=90, fontsize=7)
    axes.set(ylabel="videos", title="Actions")
    return figure


def _values(found: Statistics) -> Figure:
    """Share of an action's frames that show a value."""
    rows = np.concatenate([found.shares(name).T for name in VALUES])
    names = [f"{name.replace('_', ' ')}: {meaning}" for name, meanings in MEANINGS.items() for meaning in meanings]
    return _heat(found, rows, names, "Share of the action's frames that show a value", ("Blues", 0.0, 1.0))


def _correlation(found: Statistics) -> Figure:
    rows = np.stack([found.correlation(name) for name in VALUES])
    edge = max(0.01, float(np.abs(rows).max()))
    return _heat(found, rows, [name.replace("_", " ") for name in VALUES],
                 "Correlation of action and attribute over frames (phi)", ("RdBu_r", -edge, edge))


def _heat(found: Statistics, rows: np.ndarray, names: list[str], title: str, scale: tuple[str, float, float]) -> Figure:
    figure = _figure(11, 1.6 + 0.22 * len(rows))
    axes = figure.subplots()
    image = axes.imshow(rows, cmap=scale[0], vmin=scale[1], vmax=scale[2], aspect="auto")
    axes.set_xticks(range(len(found.actions)), found.actions, rotation=90, fontsize=7)
    axes.set_yticks(range(len(names)), names, fontsize=7)
    axes.set_title(title)
    figure.colorbar(image, ax=axes, pad=0.01)
    return figure
