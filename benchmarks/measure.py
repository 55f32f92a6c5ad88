"""Paired measurements: ours and theirs take turns, so that a busy machine slows both."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

Work = Callable[[], object]


@dataclass(frozen=True)
class Row:
    """One line of the table. ``ours`` and ``theirs`` are in ``unit``; ``ratio`` > 1 means that ours is the better one."""

    section: str
    what: str
    ours: float
    other: str
    theirs: float | None
    unit: str
    ratio: float | None
    goal: str = ""


def paired(ours: Work, theirs: Work, repeats: int = 5) -> tuple[float, float, float]:
    """Median seconds of both, and the median of theirs / ours over the pairs; one unmeasured turn of each first."""
    ours(), theirs()
    pairs = [(_seconds(ours), _seconds(theirs)) for _ in range(repeats)]
    mine, others = zip(*pairs, strict=True)
    ratio = statistics.median(other / own for own, other in pairs)
    return statistics.median(mine), statistics.median(others), ratio


def faster(
    section: str,
    what: str,
    ours: Work,
    other: str,
    theirs: Work,
    units: float,
    unit: str,
    goal: str = "",
    repeats: int = 5,
) -> Row:
    """A row of rates: ``units`` of work a call, given as ``unit``, such as frames/s."""
    own, others, ratio = paired(ours, theirs, repeats)
    return Row(section, what, units / own, other, units / others, unit, ratio, goal)


def alone(section: str, what: str, value: float, unit: str, goal: str = "") -> Row:
    """A figure that nothing stands beside."""
    return Row(section, what, value, "", None, unit, None, goal)


def _seconds(work: Work) -> float:
    gc.collect()
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
