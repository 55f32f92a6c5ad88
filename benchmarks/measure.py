"""Paired measurements: ours and theirs take turns, so that a busy machine slows both."""

from __future__ import annotations

import gc
import os
import resource
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class Cost:
    """Seconds of processor time, of this process and of those it waited for, and seconds of the clock."""

    cpu: float
    wall: float

    def over(self, count: float) -> Cost:
        """The cost of one of ``count``."""
        return Cost(self.cpu / count, self.wall / count)


def total(costs: Sequence[Cost]) -> Cost:
    """The cost of all of them."""
    return Cost(sum(one.cpu for one in costs), sum(one.wall for one in costs))


Clock = Literal["cpu", "wall"]
CLOCKS: dict[Clock, str] = {"cpu": "CPU s", "wall": "wall s"}
Work = Callable[[], object]
"""What is measured; where it returns a :class:`Cost`, that is its cost, and not what the call took."""


@dataclass(frozen=True)
class Row:
    """One line of a table: ``ours`` and ``theirs`` in ``unit``; ``ratio`` > 1 means that ours is the better one.

    ``note`` says why a figure is missing.
    """

    what: str
    unit: str
    ours: float | None = None
    other: str = ""
    theirs: float | None = None
    ratio: float | None = None
    note: str = ""


def cost(work: Work) -> Cost:
    """What one call costs."""
    gc.collect()
    cpu, wall = _processor(), time.perf_counter()
    result = work()
    if isinstance(result, Cost):
        return result
    return Cost(_processor() - cpu, time.perf_counter() - wall)


def paired(ours: Work, theirs: Work, repetitions: int) -> list[tuple[Cost, Cost]]:
    """The costs of both in turn, after one unmeasured turn of each."""
    for work in (ours, theirs):
        cost(work)
    return [(cost(ours), cost(theirs)) for _ in range(repetitions)]


def compared(what: str, other: str, pairs: list[tuple[Cost, Cost]], unit: str = "s", scale: float = 1) -> list[Row]:
    """Processor time and time of the clock: the medians, ``scale`` times, and the median of theirs / ours over the pairs."""
    return [
        Row(
            what,
            f"{name} {unit}",
            scale * statistics.median(getattr(own, clock) for own, _ in pairs),
            other,
            scale * statistics.median(getattr(one, clock) for _, one in pairs),
            statistics.median(getattr(one, clock) / getattr(own, clock) for own, one in pairs),
        )
        for name, clock in (("CPU", "cpu"), ("wall", "wall"))
    ]


def rates(
    what: str, unit: str, pairs: list[tuple[Cost, Cost]], clock: Clock, mine: float, other: str, theirs: float
) -> Row:
    """Work a second, where a call of ours does ``mine`` of it and one of theirs ``theirs``; ratio: our share of their rate."""
    own, one = (statistics.median(getattr(pair[side], clock) for pair in pairs) for side in (0, 1))
    share = statistics.median(mine / getattr(pair[0], clock) / (theirs / getattr(pair[1], clock)) for pair in pairs)
    return Row(what, unit, mine / own, other, theirs / one, share)


def median(work: Work, repetitions: int) -> Cost:
    """The medians of both clocks, after one unmeasured call."""
    cost(work)
    costs = [cost(work) for _ in range(repetitions)]
    return Cost(statistics.median(one.cpu for one in costs), statistics.median(one.wall for one in costs))


def busy(seconds: float = 2.0) -> float | None:
    """The share of the cores, 0 to 1, that others work on while this process waits; None where the system does not say."""
    before = _machine()
    time.sleep(seconds)
    after = _machine()
    return (after[0] - before[0]) / (after[1] - before[1]) if before and after else None


def _machine() -> tuple[float, float] | None:
    """Seconds of all cores since the start: busy, and altogether."""
    try:
        user, nice, system, idle, waiting, *others = map(int, Path("/proc/stat").read_text().partition("\n")[0].split()[1:9])
    except (OSError, ValueError):
        return None
    working, ticks = user + nice + system + sum(others), os.sysconf("SC_CLK_TCK")
    return working / ticks, (working + idle + waiting) / ticks


def _processor() -> float:
    waited_for = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + waited_for.ru_utime + waited_for.ru_stime
