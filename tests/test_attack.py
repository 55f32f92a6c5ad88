"""A row under attack: the second round of the best, and one task a reader instead of one a row."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from playing import in_this_process
from test_killed_stages import context, told
from test_train_adversarial import clip_set

from privadv.errors import PrivadvError
from privadv.evaluation.results import ReaderOutcome, RowResult
from privadv.evaluation.suite import AttackerSpec, Finals, Suite
from privadv.models.clip import R2Plus1D
from privadv.models.frame import DenseNet, Inception, ResNet
from privadv.models.reader import ReaderSpec
from privadv.stages import attack, fit_reader, join_readers, list_readers
from privadv.store import Store
from privadv.training import FitConfig, Fitted

SHORT = FitConfig(steps=6, every=3, batch=4)
LONG = FitConfig(steps=9, every=3, batch=4, lr=0.01)
NETWORKS = (ResNet(width=4), Inception(width=8), DenseNet(growth=4, layers=1))


def suite(**changes: Any) -> Suite:
    values = {
        "target": ReaderSpec(network=R2Plus1D(width=4)),
        "attackers": (
            *(AttackerSpec(reader=ReaderSpec(network=network)) for network in NETWORKS),
            AttackerSpec(reader=ReaderSpec(network=ResNet(width=4)), start="mixed"),
            AttackerSpec(reader=ReaderSpec(network=ResNet(width=4)), start="nearest"),
        ),
        "raw_fit": SHORT,
        "fit": SHORT,
        "seen": ("resnet",),
    }
    return Suite.parse({**values, **changes}, "suite")


@pytest.fixture
def rows(store: Store, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Attacks a row of toy clips under a suite."""
    in_this_process(monkeypatch)
    clips = clip_set(store)
    raw = attack.run(suite(), "raw", clips, 3, context(store, "raw"))

    def attacked(asked: Suite, row: str = "filter") -> RowResult:
        return attack.run(asked, row, clips, 3, context(store, f"{row}-{asked.finals is not None}"), warm=raw, raw=clips)

    return attacked


def test_the_best_and_the_target_go_on_and_nobody_else(rows: Any) -> None:
    without, found = rows(suite()), rows(suite(finals=Finals(best=2, fit=LONG)))
    before, after = ({one.name: one for one in (row.target, *row.attackers)} for row in (without, found))
    able = [one for one in without.attackers if one.start == "warm"]
    best = sorted(able, key=lambda one: (one.validation, -one.train_loss))[-2:]
    assert [name for name in after if after[name].steps == 15] == ["target", *(
        one.name for one in without.attackers if one in best
    )]
    for name, one in after.items():
        first = before[name]
        assert one.validation >= first.validation and one.start == first.start and one.seen == first.seen
        assert one.finals == (one.steps == 15) and (one.finals or told(one) == told(first))
    assert found.metrics["A_T"] == after["target"].accuracy
    assert found.metrics["A_B_max"] == max(one.accuracy for one in found.attackers)


def test_whoever_always_goes_on_does_so_beside_the_best(rows: Any) -> None:
    def lasting(finals: Finals) -> set[str]:
        return {one.name for one in rows(suite(finals=finals)).attackers if one.finals}

    best = lasting(Finals(best=1, fit=LONG))
    last = next(name for name in ("resnet/plain/warm", "inception/plain/warm") if name not in best)
    assert lasting(Finals(best=1, fit=LONG, always=(last,))) == {last} | best
    assert len(lasting(Finals(best=1, fit=LONG, always=tuple(best)))) == 2
    with pytest.raises(PrivadvError, match=r"finals.always names \['resnet/plain/mixed'\]: choose among resnet/plain/warm, "):
        suite(finals=Finals(always=("resnet/plain/mixed",)))


def test_raw_readers_go_on_too_but_others_start_from_their_first_round(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    in_this_process(monkeypatch)
    clips = clip_set(store)
    once, on, always = (
        attack.run(suite(finals=finals), "raw", clips, 3, context(store, f"raw-{number}"))
        for number, finals in enumerate((None, Finals(best=1, fit=LONG), Finals(fit=LONG, always=("densenet/plain/warm",))))
    )
    assert [one.finals for one in (on.target, *on.attackers)].count(True) == 2 and on.target.steps == 15
    assert next(one for one in always.attackers if one.name == "densenet/plain/scratch").finals
    assert {name: store.get(ref.weights) for name, ref in on.warm.items()} == {
        name: store.get(ref.weights) for name, ref in once.warm.items()
    }


def test_whoever_was_slow_in_the_first_round_begins_the_second(rows: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    rounds: list[tuple[Any, dict[str, Fitted]]] = []
    fit_all = attack.fit_all

    def noted(jobs: Any, *rest: Any) -> dict[str, Fitted]:
        rounds.append((jobs, {name: replace(one, seconds=len(name)) for name, one in fit_all(jobs, *rest).items()}))
        return rounds[-1][1]

    monkeypatch.setattr(attack, "fit_all", noted)
    rows(suite(finals=Finals(best=2, fit=LONG)))
    (_, before), (jobs, _) = rounds
    assert {job.name: job.cost for job in jobs} == {job.name: 9 * len(job.name) / before[job.name].steps for job in jobs}
    assert len({job.cost for job in jobs}) > 1


def test_curves_of_both_rounds_are_one(rows: Any, store: Store) -> None:
    import json

    found = rows(suite(finals=Finals(best=1, fit=LONG)))
    curves = json.loads(store.get(found.curves))
    assert [step for step, _ in curves["target"]["val_accuracy"]] == [3, 6, 9, 12, 15]


def test_controls_and_rows_of_few_attackers_have_no_finals() -> None:
    asked = suite(finals=Finals(fit=LONG), strongest=2, chosen={"planted:spatial": ("inception/plain/warm",)})
    assert [row for row in ("raw", "filter", "filter:int8", "gray", "planted:spatial", "planted:temporal")
            if asked.goes_on(row)] == ["raw", "filter", "filter:int8", "planted:temporal"]  # fmt: skip
    assert suite(finals=Finals(fit=LONG)).goes_on("gray") and not suite().goes_on("filter")
    with pytest.raises(PrivadvError, match="best"):
        suite(finals={"best": 0})


@pytest.mark.parametrize("finals", [None, Finals(best=2, fit=LONG)], ids=["one round", "finals"])
def test_a_task_a_reader_finds_what_a_task_a_row_does(
    finals: Finals | None, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_this_process(monkeypatch)
    monkeypatch.setattr(fit_reader, "fit_all", attack.fit_all)
    clips, asked = clip_set(store), suite(finals=finals)

    def apart(row: str, **start: Any) -> RowResult:
        warm = {name: value for name, value in start.items() if name == "warm"}
        listed = list_readers.run(asked, row, context(store, "list"), **warm).names
        readers: list[ReaderOutcome] = []
        for reader in (name.partition(" ")[2] for name in listed):
            there = context(store, f"{row}-{reader.replace('/', '-')}")
            readers.append(fit_reader.run(asked, row, reader, clips, 3, there, **start))
        return join_readers.run(asked, row, clips, tuple(readers), 3, context(store, f"{row}-join"))

    raw = apart("raw")
    assert told(raw) == told(attack.run(asked, "raw", clips, 3, context(store, "raw")))
    assert raw.target.finals == (finals is not None)
    start = {"warm": raw, "raw": clips}
    together = attack.run(asked, "filter", clips, 3, context(store, "filter"), **start)
    assert told(apart("filter", **start)) == told(together)
