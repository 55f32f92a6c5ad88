"""Who pays and who is exposed: utility and leakage of a row by class, since a mean can hide the group that fares worst."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from privadv.evaluation.results import RowResult
from privadv.evaluation.summary import Row


@dataclass(frozen=True)
class Group:
    """Test clips of one class: how many, and the share of them whose class is read (recall), over all seeds."""

    name: str
    clips: int
    read: float


def kept(row: Row, classes: Sequence[str]) -> list[Group]:
    """What the fresh target reads of each target class, the worst first."""
    return sorted(
        _groups(classes, [(one.target_labels, one.target.predictions) for one in row.results]),
        key=lambda group: group.read,
    )


def leaked(row: Row, classes: Sequence[str]) -> list[Group]:
    """What each class gives away to the attacker that reads *it* best, the most exposed first.

    The maximum is taken class by class: an attacker that is weak on average may know one person well. Attributes are no
    groups of clips: there is nothing to say of them here.
    """
    if any(reader.scores for one in row.results for reader in one.attackers):
        return []
    each = [_most(one, classes) for one in row.results]
    groups = [
        Group(name, same[0].clips, float(np.mean([group.read for group in same])))
        for name, same in zip(classes, zip(*each, strict=True), strict=True)
        if same[0].clips
    ]
    return sorted(groups, key=lambda group: -group.read)


def _most(one: RowResult, classes: Sequence[str]) -> list[Group]:
    by_attacker = [_of(classes, one.budget_labels, reader.predictions) for reader in one.attackers]
    return [max(same, key=lambda group: group.read) for same in zip(*by_attacker, strict=True)]


def _groups(classes: Sequence[str], runs: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[Group]:
    labels, predictions = (np.concatenate([np.asarray(run[i]) for run in runs]) for i in (0, 1))
    found = _of(classes, labels, predictions)
    return [Group(group.name, group.clips // len(runs), group.read) for group in found if group.clips]


def _of(
    classes: Sequence[str], labels: Sequence[object] | np.ndarray, predictions: Sequence[int] | np.ndarray
) -> list[Group]:
    of_class, right = np.asarray(labels), np.asarray(labels) == np.asarray(predictions)
    return [
        Group(
            name,
            int((of_class == number).sum()),
            float(right[of_class == number].mean()) if (of_class == number).any() else 0.0,
        )
        for number, name in enumerate(classes)
    ]
