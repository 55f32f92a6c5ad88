"""Fronts of (leakage, utility) points: little leakage and much utility are good."""

from __future__ import annotations

from collections.abc import Sequence

Point = tuple[float, float]
"""(A_B_max, A_T)."""


def front(points: Sequence[Point]) -> list[int]:
    """Which points no other dominates (at most its leakage, at least its utility, and not equal), by growing leakage."""
    order = sorted(range(len(points)), key=lambda i: (points[i][0], -points[i][1]))
    best, kept = float("-inf"), []
    for i in order:
        equal = bool(kept) and points[i] == points[kept[-1]]
        if points[i][1] > best or equal:
            kept.append(i)
            best = points[i][1]
    return kept


def hypervolume(points: Sequence[Point], chance: float) -> float:
    """The area that the points dominate, up to the reference point: leakage 1, utility at ``chance``.

    0 for a set that dominates nothing of it, 1 - ``chance`` at most (Zitzler and Thiele, 1998).
    """
    area, best = 0.0, chance
    steps = [points[i] for i in front(points)]
    ends = [leakage for leakage, _ in steps[1:]] + [1.0]
    for (leakage, utility), end in zip(steps, ends, strict=False):
        best = max(best, utility)
        area += max(0.0, min(end, 1.0) - min(leakage, 1.0)) * (best - chance)
    return area
