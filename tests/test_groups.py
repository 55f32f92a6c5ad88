"""Per-class results against counts made by hand."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from privadv.data.manifest import ClipSet, Task
from privadv.evaluation.groups import Group, groups, least_kept, most_leaked
from privadv.evaluation.summary import Row
from privadv.evaluation.wording import worst

ACTIONS, PEOPLE = Task(name="action", classes=("hug", "kick", "bow")), Task(name="person", classes=("ann", "bob"))


def made(seeds: int = 1, **changed: Any) -> Row:
    """Four clips: the target errs on the last kick; one attacker calls everybody bob, another is right by half on both."""
    target = SimpleNamespace(predictions=(0, 0, 1, 0), scores=())
    attackers = tuple(SimpleNamespace(predictions=read, scores=()) for read in ((1, 1, 1, 1), (0, 1, 0, 1)))
    one = {"target_labels": (0, 0, 1, 1), "budget_labels": (0, 0, 1, 1), "target": target, "attackers": attackers,
           "private_ids": (), "clip_ids": tuple("abcd"), **changed}  # fmt: skip
    return cast(Row, SimpleNamespace(results=(SimpleNamespace(**one),) * seeds))


def clips(budget: Task = PEOPLE) -> ClipSet:
    return cast(ClipSet, SimpleNamespace(target=ACTIONS, budget=budget))


def test_each_class_is_kept_by_the_target_and_leaked_by_who_reads_it_best() -> None:
    expected = [
        Group("action", "hug", 2, 1.0, 0.5),
        Group("action", "kick", 2, 0.5, 1.0),
        Group("person", "ann", 2, 1.0, 0.5, True),
        Group("person", "bob", 2, 0.5, 2 / 3, True),  # not 1, as calling everybody bob would have it
    ]
    for seeds in (1, 3):
        assert groups(made(seeds), clips()) == expected  # nobody bows in the test clips
    least, most = least_kept(expected), most_leaked(expected)
    assert least and most and (least.name, most.name) == ("kick", "kick")
    assert worst(expected) == (
        "The filter keeps least of action 'kick' (2 test clips): the target reads 50%; the most exposed of 4 groups is action "
        "'kick' (2 test clips), of whose clips one attacker reads 100%.")  # fmt: skip


def test_who_is_most_exposed_is_told_by_who_can_be_told_from_the_others() -> None:
    found = [Group("action", "hug", 4, 1.0, 0.3), Group("person", "bob", 2, 1.0, 0.625, True)]
    assert worst(found).endswith("the most exposed of 2 groups is person 'bob' (2 test clips), which one attacker tells from all "
                                 "others with F1 0.62.")


def test_seeds_count_alike() -> None:
    first, second = made(), made(target=SimpleNamespace(predictions=(0, 0, 1, 1), scores=()))
    both = cast(Row, SimpleNamespace(results=first.results + second.results))
    assert [one.kept for one in groups(both, clips())] == [1.0, 0.75, 1.0, 0.75]


def test_tasks_with_clips_of_their_own_are_told_apart() -> None:
    found = groups(made(private_ids=tuple("wxyz")), clips())
    assert [(one.kept, one.leaked) for one in found] == [(1.0, None), (0.5, None), (None, 0.5), (None, 2 / 3)]


def test_attributes_group_the_clips_that_show_them_and_those_that_dont() -> None:
    attributes = Task(name="attribute", classes=("hair", "hat"), multi_label=True)
    row = made(budget_labels=((1, 0), (0, 0), (0, 0), (1, 0)),
               attackers=(SimpleNamespace(predictions=(), scores=((0.0, 0.0),) * 4),))  # fmt: skip
    found = {one.name: one for one in groups(row, clips(attributes))}
    assert found["hair"] == Group("attribute", "hair", 2, 0.5, None, True)
    assert found["not hair"] == Group("attribute", "not hair", 2, 1.0, None, True)
    assert "hat" not in found and found["not hat"].clips == 4
    assert "exposed" not in worst(list(found.values()))
