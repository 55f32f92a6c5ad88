"""How sure the numbers are: a paired bootstrap over takes and seeds, and the front of the baselines."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.special import ndtr, ndtri

from privadv.config import Section
from privadv.evaluation.results import RowResult
from privadv.models.scores import average_precision, mean

RESAMPLES_AT_ONCE = 200
Draws = np.ndarray
"""float (1 + resamples,): a statistic of the sample itself at [0], and of every resample after it."""


class Estimate(Section):
    """A value and the 95 % interval of its bootstrap: percentiles, corrected for bias (Efron 1981).

    The strongest of many attackers that read about alike is stronger in resamples than in the sample, since another one is
    lucky in each; uncorrected, the interval of its accuracy, and of all that depends on it, lies too high.
    """

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, draws: Draws) -> Estimate:
        """The estimate that a statistic's draws amount to."""
        value, resampled = draws[0], draws[1:]
        below = ((resampled < value).mean() + (resampled <= value).mean()) / 2
        bias = ndtri(np.clip(below, 1 / len(draws), 1 - 1 / len(draws)))
        low, high = np.quantile(resampled, ndtr(2 * bias + ndtri([0.025, 0.975])))
        return cls(value=float(value), low=float(low), high=float(high))


class Bootstrap:
    """Resamples of takes and of seeds, the same ones for every row, so that differences between rows are paired.

    Clips of one take are drawn together. With several seeds, each row has one result a seed on the same clips; a
    resample draws as many seeds as there are, with replacement, beside its takes, and averages over them. Where another
    set labels the privacy task, the takes of its clips (``private``) are drawn apart.
    """

    def __init__(
        self, groups: Sequence[str], seeds: int = 1, resamples: int = 2000, private: Sequence[str] = ()
    ) -> None:
        rng = np.random.default_rng(0)
        self._target = _Takes(groups, resamples, rng)
        self._seeds = _counts(seeds, resamples, rng) / seeds
        self._private = _Takes(private, resamples, rng) if private else self._target

    def target(self, results: Sequence[RowResult]) -> Draws:
        """A_T of a row, from its result of every seed."""
        return self._over_seeds(
            [self._target.accuracies([one.target.predictions], one.target_labels)[:, 0] for one in results]
        )

    def leakage(self, results: Sequence[RowResult]) -> Draws:
        """A_B_max of a row: which attacker is the strongest is found again inside every resample and seed."""
        return self._over_seeds([self._scores(one).max(1) for one in results])

    def _scores(self, result: RowResult) -> np.ndarray:
        """A_B of every attacker, (1 + resamples, attackers)."""
        labels = np.asarray(result.budget_labels)
        if labels.ndim == 1:
            return self._private.accuracies([reader.predictions for reader in result.attackers], labels)
        return np.stack([self._private.cmap(reader.scores, labels) for reader in result.attackers], 1)

    def _over_seeds(self, each: Sequence[Draws]) -> Draws:
        return (self._seeds * np.stack(each, 1)).sum(1)


class _Takes:
    """Resamples of the takes of one set of clips."""

    def __init__(self, groups: Sequence[str], resamples: int, rng: np.random.Generator) -> None:
        takes, self._take_of = np.unique(groups, return_inverse=True)
        self._membership = np.eye(len(takes))[self._take_of]
        self._takes = _counts(len(takes), resamples, rng)

    def accuracies(self, predictions: Sequence[Sequence[int]], labels: Sequence[int] | np.ndarray) -> np.ndarray:
        """(1 + resamples, readers)."""
        right = (np.asarray(predictions) == np.asarray(labels)) @ self._membership
        sizes = self._membership.sum(0)
        return self._takes @ right.T / (self._takes @ sizes)[:, None]

    def cmap(self, scores: Sequence[Sequence[float]], labels: np.ndarray) -> np.ndarray:
        """One reader's (1 + resamples,), over the attributes that the resample shows somewhere but not everywhere."""
        logits, found = np.asarray(scores), []
        for start in range(0, len(self._takes), RESAMPLES_AT_ONCE):
            weights = self._takes[start : start + RESAMPLES_AT_ONCE][:, self._take_of]
            found += [mean(precisions) for precisions in average_precision(logits, labels, weights)]
        return np.array(found)


def _counts(things: int, resamples: int, rng: np.random.Generator) -> np.ndarray:
    """(1 + resamples, things): how often each thing is drawn; the first line is the sample itself."""
    return np.vstack([np.ones(things), rng.multinomial(things, np.full(things, 1 / things), resamples)])


def front_at(
    leakage: np.ndarray, points: Sequence[tuple[float | np.ndarray, float | np.ndarray]]
) -> np.ndarray:
    """The highest A_T that baselines reach while they leak at most ``leakage`` (any A_B_max, one a draw).

    ``points`` are (A_B_max, A_T), each a number or one a draw. The first is the blank clip: it shows nothing, and both
    its accuracies are the majority floors. The front is the upper-left concave hull of all points, which is what
    one reaches by sending each clip through one of two baselines at the toss of a loaded coin: linear between
    two points, flat right of the highest one, and never below the blank clip.
    """
    x, y = (np.stack([np.broadcast_to(point[axis], leakage.shape) for point in points]) for axis in (0, 1))
    allowed = np.maximum(leakage, x[0])
    alone = np.where(x <= allowed, y, -np.inf).max(0)
    left, right = (x <= allowed)[:, None], (x > allowed)[None]
    share = (allowed - x)[:, None] / np.where(left & right, x[None] - x[:, None], 1)
    mixed = np.where(left & right, y[:, None] + share * (y[None] - y[:, None]), -np.inf).max((0, 1))
    return np.maximum(alone, mixed)
