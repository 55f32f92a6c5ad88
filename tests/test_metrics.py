"""Floors, bootstrap and front against hand-made numbers, enumeration of every resample, and a hull of its own."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest

from privadv.evaluation.attributes import floors
from privadv.evaluation.metrics import Bootstrap, Estimate, front_at
from privadv.evaluation.results import ReaderResult, RowResult


def row(target: Sequence[int], *attackers: Sequence[int], name: str = "filter") -> RowResult:
    """A result whose readers are right (1) or wrong (0) on each clip: every label is 1."""

    def reader(name: str, right: Sequence[int]) -> ReaderResult:
        return ReaderResult(
            name=name,
            family="vgg",
            input="plain",
            start="warm",
            seen=False,
            accuracy=sum(right) / len(right),
            validation=0,
            train_loss=0,
            train_accuracy=1,
            converged=True,
            steps=1,
            seconds=1,
            predictions=tuple(right),
        )

    clips = len(target)
    suite = tuple(reader(f"attacker {number}", right) for number, right in enumerate(attackers))
    return RowResult(
        row=name,
        seed=0,
        clips="",
        target=reader("target", target),
        attackers=suite,
        clip_ids=tuple(map(str, range(clips))),
        target_labels=(1,) * clips,
        budget_labels=(1,) * clips,
        groups=tuple(map(str, range(clips))),
        floors={},
        blind_validation=0.5,
        metrics={},
    )


def test_floors() -> None:
    assert floors([0, 2, 2, 1, 2], 4) == {"chance": 0.25, "majority": 0.6}


@pytest.mark.parametrize("right", [0, 1])
def test_readers_that_never_vary_have_no_interval(right: int) -> None:
    bootstrap = Bootstrap([str(number // 3) for number in range(10)])
    result = row([right] * 10, [right] * 10, [0] * 10)
    exact = Estimate(value=right, low=right, high=right)
    assert Estimate.of(bootstrap.target([result])) == Estimate.of(bootstrap.leakage([result])) == exact


def test_draws_are_those_of_every_resample_enumerated() -> None:
    """Four takes of 1, 2, 1 and 3 clips; two attackers; the maximum is found again in each of the 4^4 resamples."""
    groups = ["a", "b", "b", "c", "d", "d", "d"]
    target, first, second = [1, 1, 0, 0, 1, 1, 0], [1, 0, 0, 0, 1, 0, 0], [0, 0, 1, 1, 0, 0, 0]
    clips_of = [[n for n, group in enumerate(groups) if group == take] for take in "abcd"]
    exact: Counter[tuple[float, float]] = Counter()
    for drawn in itertools.product(clips_of, repeat=4):
        clips = [clip for take in drawn for clip in take]
        kept, *leaked = (sum(right[clip] for clip in clips) / len(clips) for right in (target, first, second))
        exact[round(kept, 9), round(max(leaked), 9)] += 1
    bootstrap, result = Bootstrap(groups, resamples=40_000), row(target, first, second)
    kept, leaked = bootstrap.target([result]), bootstrap.leakage([result])
    assert (kept[0], leaked[0]) == pytest.approx((4 / 7, 2 / 7))
    drawn = Counter(zip(kept[1:].round(9).tolist(), leaked[1:].round(9).tolist(), strict=True))
    assert drawn.keys() <= exact.keys()
    for pair, times in exact.items():
        share = times / 256
        assert drawn[pair] / 40_000 == pytest.approx(share, abs=5 * (share * (1 - share) / 40_000) ** 0.5)


@pytest.mark.parametrize("size", [1, 4])
def test_interval_is_the_binomial_one_of_the_takes(size: int) -> None:
    """240 clips, right on 3 of 4 takes: a take's clips carry no more than one clip does."""
    takes = 240 // size
    right = [int(number // size % 4 > 0) for number in range(240)]
    found = Estimate.of(Bootstrap([str(number // size) for number in range(240)]).target([row(right, right)]))
    half = 1.96 * (0.75 * 0.25 / takes) ** 0.5
    assert found.value == 0.75
    assert (found.low, found.high) == pytest.approx((0.75 - half, 0.75 + half), abs=0.15 * half)


def test_the_interval_of_the_luckiest_of_many_equals_is_corrected() -> None:
    """Twelve attackers that guess: the strongest of a resample reads more than the strongest of the sample, by luck alone."""
    rng, clips = np.random.default_rng(3), 208
    guesses = [(rng.random(clips) < 1 / 13).astype(int).tolist() for _ in range(12)]
    draws = Bootstrap([str(number) for number in range(clips)]).leakage([row([1] * clips, *guesses)])
    found, plain = Estimate.of(draws), np.quantile(draws[1:], (0.025, 0.975))
    assert draws[1:].mean() > draws[0] + 0.01
    assert found.low < plain[0] and found.high < plain[1] and found.low < found.value < found.high


def test_rows_are_paired() -> None:
    bootstrap, right = Bootstrap([str(number) for number in range(50)]), [number % 2 for number in range(50)]
    better = [1, *right[1:]]
    draws = bootstrap.target([row(better, right)]) - bootstrap.target([row(right, right)])
    assert draws[0] == pytest.approx(0.02) and draws.min() == 0
    assert bootstrap.target([row(right, right)]).std() > 0.05


def test_seeds_are_drawn_beside_takes() -> None:
    """One seed reads all, one nothing: the mean of two drawn seeds is 0, 1/2 or 1 with 1/4, 1/2, 1/4."""
    bootstrap = Bootstrap(["a", "b"], seeds=2, resamples=20_000)
    draws = bootstrap.leakage([row([1, 1], [1, 1]), row([1, 1], [0, 0])])
    assert draws[0] == 0.5
    assert [np.mean(draws[1:] == value) for value in (0, 0.5, 1)] == pytest.approx(
        [0.25, 0.5, 0.25], abs=0.02
    )


def test_leakage_of_several_seeds_is_the_mean_of_their_maxima() -> None:
    bootstrap = Bootstrap(["a", "b", "c", "d"], seeds=2)
    seeds = [row([1] * 4, [1, 1, 1, 0], [0] * 4), row([1] * 4, [1, 0, 0, 0], [0, 0, 1, 1])]
    assert bootstrap.leakage(seeds)[0] == pytest.approx((0.75 + 0.5) / 2)


def test_front_by_hand() -> None:
    points = [(0.1, 0.1), (0.4, 0.8), (0.2, 0.2), (0.9, 0.9), (0.5, 0.3)]
    leakage = np.array([0.0, 0.1, 0.25, 0.4, 0.65, 0.9, 1.0])
    assert front_at(leakage, points).tolist() == pytest.approx([0.1, 0.1, 0.45, 0.8, 0.85, 0.9, 0.9])


def test_front_is_the_upper_left_hull() -> None:
    """Against the monotone chain, for a hundred sets of points at once: each draw has points of its own."""
    rng = np.random.default_rng(4)
    sets, leakage = rng.random((100, 7, 2)).round(2), rng.random(100)
    points = [(0.05, 0.05), *((sets[:, n, 0], sets[:, n, 1]) for n in range(7))]
    found = front_at(leakage, points)
    for drawn, at, value in zip(sets.tolist(), leakage, found, strict=True):
        hull = upper_left([(0.05, 0.05), *map(tuple, drawn)])
        leaked, kept = np.transpose(hull)
        assert value == pytest.approx(np.interp(max(at, 0.05), leaked, kept))


def upper_left(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """The corners of the concave hull from the least leakage to the highest A_T."""
    hull: list[tuple[float, float]] = []
    for point in sorted(points, key=lambda point: (point[0], -point[1])):
        if hull and point[1] <= hull[-1][1]:
            continue
        while len(hull) > 1 and slope(hull[-2], hull[-1]) <= slope(hull[-2], point):
            hull.pop()
        hull.append(point)
    return hull


def slope(one: tuple[float, float], other: tuple[float, float]) -> float:
    return (other[1] - one[1]) / (other[0] - one[0])
