"""Frame choice against hand-worked numbers and scipy's Kolmogorov-Smirnov test."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from privadv.data.sampling import CANDIDATES, indices, unevenness


def test_uniform_takes_the_middle_of_equal_parts() -> None:
    assert indices(8, 4, "uniform", np.random.default_rng(0)) == [(1, 3, 5, 7)]
    assert indices(4, 4, "uniform", np.random.default_rng(0)) == [(0, 1, 2, 3)]
    for n_frames in range(16, 200):
        (chosen,) = indices(n_frames, 16, "uniform", np.random.default_rng(0))
        assert len(set(chosen)) == 16
        assert list(chosen) == sorted(chosen)
        assert chosen[0] >= 0 and chosen[-1] < n_frames
        assert abs(chosen[0] - (n_frames - 1 - chosen[-1])) <= 1  # as much left out before as after


def test_dense_takes_every_stride() -> None:
    rng = np.random.default_rng(0)
    assert indices(10, 4, "dense", rng, clips=9, stride=3) == [(0, 1, 2, 3), (3, 4, 5, 6), (6, 7, 8, 9)]
    assert indices(10, 4, "dense", rng, clips=2, stride=3) == [(0, 1, 2, 3), (3, 4, 5, 6)]
    assert indices(9, 4, "dense", rng, clips=9, stride=3) == [(0, 1, 2, 3), (3, 4, 5, 6)]
    assert indices(4, 4, "dense", rng, clips=9, stride=3) == [(0, 1, 2, 3)]


@pytest.mark.parametrize("how", ["uniform", "ranked", "dense"])
def test_a_short_video_repeats_its_last_frame(how) -> None:
    assert indices(3, 5, how, np.random.default_rng(0), clips=4) == [(0, 1, 2, 2, 2)]
    assert indices(1, 3, how, np.random.default_rng(0)) == [(0, 0, 0)]


@pytest.mark.parametrize("n_frames", [17, 24, 46, 300])
def test_ranked_keeps_the_draws_of_highest_p_value(n_frames) -> None:
    chosen = indices(n_frames, 16, "ranked", np.random.default_rng(7), clips=3)
    rng = np.random.default_rng(7)
    draws = [tuple(sorted(rng.choice(n_frames, 16, replace=False).tolist())) for _ in range(CANDIDATES)]
    p_value = {draw: stats.kstest(draw, stats.uniform(0, n_frames).cdf).pvalue for draw in draws}
    expected = sorted(p_value.values(), reverse=True)[:3]
    assert [p_value[clip] for clip in chosen] == pytest.approx(expected)
    assert len(set(chosen)) == 3


def test_ranked_is_random_without_repeats_and_repeatable() -> None:
    (first,) = indices(40, 16, "ranked", np.random.default_rng(1))
    (again,) = indices(40, 16, "ranked", np.random.default_rng(1))
    (other,) = indices(40, 16, "ranked", np.random.default_rng(2))
    assert first == again != other
    assert len(set(first)) == 16 and list(first) == sorted(first) and max(first) < 40
    assert indices(16, 16, "ranked", np.random.default_rng(1), clips=5) == [tuple(range(16))]


def test_unevenness_is_the_statistic_of_scipy() -> None:
    rng = np.random.default_rng(3)
    draws = np.sort([rng.choice(31, 8, replace=False) for _ in range(50)], axis=1)
    expected = [stats.kstest(draw, stats.uniform(0, 31).cdf).statistic for draw in draws]
    assert unevenness(draws, 31) / (8 * 31) == pytest.approx(expected)
