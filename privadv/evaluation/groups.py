"""Who pays and who is exposed: a row's utility and leakage by class, since a mean can hide the group that fares worst."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from privadv.data.manifest import ClipSet, Task
from privadv.evaluation.results import ReaderResult
from privadv.evaluation.summary import Row


@dataclass(frozen=True)
class Group:
    """The test clips of one class, of the ``task`` that the class belongs to; shares in [0, 1], means over the seeds.

    ``kept``: the share whose target class the fresh target reads. ``leaked`` is by the attacker that reads most *in this
    group*, since one that is weak on average may know one person well: of a target class the share whose budget class is
    read, of a budget class (``secret``) its F1, since an attacker that calls everybody Bob reads all of Bob's clips and knows
    nothing. None where no test clip of the group was shown to such a reader.
    """

    task: str
    name: str
    clips: int
    kept: float | None
    leaked: float | None
    secret: bool = False


def groups(row: Row, clips: ClipSet) -> list[Group]:
    """A group a class of the target and of the budget task; of an attribute, the clips that show it and those that don't."""
    apart = bool(row.results[0].private_ids)  # the two tasks have test clips of their own
    target = [
        Group(clips.target.name, name, int(members.sum()), _kept(row, members), None if apart else _most(row, _read, members))
        for name, members in _classes(clips.target, row.results[0].target_labels)
        if members.any()
    ]
    budget = [
        Group(clips.budget.name, name, int(members.sum()), None if apart else _kept(row, members), _most(row, _f1, members), True)
        for name, members in _classes(clips.budget, row.results[0].budget_labels)
        if members.any()
    ]
    return target + budget


def least_kept(found: Sequence[Group]) -> Group | None:
    """The group whose target class is read least."""
    return min((one for one in found if one.kept is not None), key=lambda one: one.kept or 0.0, default=None)


def most_leaked(found: Sequence[Group]) -> Group | None:
    """The group that gives most away."""
    return max((one for one in found if one.leaked is not None), key=lambda one: one.leaked or 0.0, default=None)


def _classes(task: Task, labels: object) -> Iterator[tuple[str, np.ndarray]]:
    """A group's name, and which test clips belong to it; they are the same in all seeds."""
    labels = np.asarray(labels)
    for number, name in enumerate(task.classes):
        if task.multi_label:
            yield name, labels[:, number] == 1
            yield f"not {name}", labels[:, number] == 0
        else:
            yield name, labels == number


def _kept(row: Row, members: np.ndarray) -> float:
    return float(np.mean([_read(one.target, one.target_labels, members) for one in row.results]))


def _most(row: Row, measure: Callable[[ReaderResult, object, np.ndarray], float], members: np.ndarray) -> float | None:
    """By the attacker that reads most among ``members``."""
    if row.results[0].attackers[0].scores:
        return None  # how attributes are read is a table of its own
    return float(np.mean([
        max(measure(reader, one.budget_labels, members) for reader in one.attackers) for one in row.results
    ]))  # fmt: skip


def _f1(reader: ReaderResult, labels: object, members: np.ndarray) -> float:
    """Of the one class whose test clips are ``members``."""
    named = np.asarray(reader.predictions) == np.asarray(labels)[members][0]
    return float(2 * (named & members).sum() / (named.sum() + members.sum()))


def _read(reader: ReaderResult, labels: object, members: np.ndarray) -> float:
    return float((np.asarray(reader.predictions) == np.asarray(labels))[members].mean())
