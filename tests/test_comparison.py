"""Fronts, hypervolumes, which runs are compared and pooled, who may be champion, and how a sweep spreads."""

from __future__ import annotations

import argparse
import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path
from statistics import stdev

import numpy as np
import pytest

from privadv.compare import main
from privadv.errors import PrivadvError
from privadv.evaluation.comparison import compare, dominated, pooled
from privadv.evaluation.comparison_page import draw, headline, page, table
from privadv.evaluation.pareto import front, hypervolume
from privadv.evaluation.summary import plain
from privadv.promote import check
from privadv.sweep import expanded
from privadv.tracking.archive import FinishedRun, Version

BASELINES = {"raw": (0.96, 0.99), "gray": (0.97, 0.98), "down:8": (0.91, 0.40), "planted:spatial": (0.2, 1.0),
             "buried:8": (0.3, 0.2), "filter:h264:23": (0.99, 0.01)}  # fmt: skip


def finished(
    name: str, kept: float, leaked: float, seed: int = 0, gamma: float = 1.0, started: int = 0, **tags: str
) -> FinishedRun:
    """A run as MLflow gives it back."""
    rows = {"filter": (kept, leaked), **BASELINES}
    metrics = {
        "A_T": kept, "A_T_low": kept - 0.04, "A_T_high": kept + 0.04,
        "A_B_max": leaked, "A_B_max_low": leaked - 0.02, "A_B_max_high": leaked + 0.02, "A_B_mean": leaked / 2,
        "leakage_counts": 1.0, "floors/target_chance": 1 / 8, "floors/budget_chance": 1 / 13,
    }  # fmt: skip
    for row, (a_t, a_b) in rows.items():
        for metric, value in (("A_T", a_t), ("A_B_max", a_b), ("A_B_mean", a_b / 2)):
            metrics[f"rows/{row.replace(':', '_')}_{metric}"] = value
    params = {"rows": json.dumps([*rows]), "seed": str(seed), "train_adversarial.algorithm.gamma": str(gamma),
              "train_adversarial.algorithm.rounds": "40"}  # fmt: skip
    shared = {"seed": str(seed), "dataset": "sbu", "synthetic": "false", "algorithm": "uniform", "restarting": "no",
              "budget_models": "2", "digest.dataset": "d", "digest.split": "s", "digest.suite": "u",
              "digest.config": f"gamma{gamma}", **tags}  # fmt: skip
    return FinishedRun(id=name, name=name, started=started, metrics=metrics, params=params, tags=shared)


def test_attributes_have_a_prevalence_in_the_place_of_chance() -> None:
    run = finished("attributes", 0.9, 0.3)
    metrics = {name: value for name, value in run.metrics.items() if name != "floors/budget_chance"}
    (found,), _ = compare([run.model_copy(update={"metrics": {**metrics, "floors/budget_prevalence": 0.25}})])
    assert found.chance == (0.25, 1 / 8)


def test_the_front_is_who_nobody_dominates() -> None:
    points = [tuple(point) for point in np.random.default_rng(1).integers(0, 12, (60, 2)) / 12]
    free = {
        i for i, (x, y) in enumerate(points)
        if not any(a <= x and b >= y and (a, b) != (x, y) for a, b in points)
    }  # fmt: skip
    found = front(points)
    assert set(found) == free and [points[i][0] for i in found] == sorted(points[i][0] for i in found)


def test_hypervolume_is_the_dominated_share_of_a_fine_grid() -> None:
    rng, chance = np.random.default_rng(2), 0.125
    points = [(float(x), float(y)) for x, y in rng.random((7, 2))]
    side = (np.arange(2000) + 0.5) / 2000
    x, y = np.meshgrid(side, chance + (1 - chance) * side)
    covered = np.any([(a <= x) & (b >= y) for a, b in points], axis=0)
    assert hypervolume(points, chance) == pytest.approx(covered.mean() * (1 - chance), abs=1e-3)
    assert hypervolume([(0.0, 1.0)], chance) == 1 - chance
    assert hypervolume([(1.0, 1.0), (0.3, chance), (0.2, 0.0)], chance) == 0
    assert hypervolume([], chance) == 0


def test_seeds_are_pooled_and_the_newest_of_a_repeated_one_counts() -> None:
    runs = [finished("old", 0.5, 0.9, seed=0), finished("a", 0.90, 0.14, seed=0, started=1),
            finished("b", 0.80, 0.18, seed=1, started=2), finished("c", 0.88, 0.2, gamma=2.0, started=3)]  # fmt: skip
    (found,), left_out = compare(runs)
    entries = {entry.name: entry for entry in found.entries}
    assert left_out == [] and set(entries) == {"uniform gamma=1.0", "uniform gamma=2.0", "raw", "gray", "down:8"}
    both = entries["uniform gamma=1.0"]
    assert both.seeds == "0, 1" and {run.name for run in both.runs} == {"a", "b"}
    assert (both.target.value, both.leakage.value) == pytest.approx((0.85, 0.16))
    students = 12.706  # the 97.5 % point of Student's t with one degree of freedom
    reach = math.hypot(students * stdev([0.14, 0.18]) / math.sqrt(2), 0.02)
    assert pooled([runs[1], runs[2]], "A_B_max").high == pytest.approx(0.16 + reach, abs=1e-4)
    assert both.target.high == 1.0  # two seeds that lie 0.1 apart say next to nothing
    assert pooled(runs[1:2], "A_T").low == pytest.approx(0.86)
    assert [run.name for run in entries["gray"].runs] == ["c", "b"] and entries["gray"].target.high == 0.97


def test_ranked_by_what_each_dominates_alone() -> None:
    runs = [finished("a", 0.90, 0.14), finished("b", 0.80, 0.30, gamma=2.0), finished("c", 0.99, 0.97, gamma=3.0)]
    (found,), _ = compare(runs)
    areas = [(1 - one.leakage.value) * (one.target.value - 1 / 8) for one in found.entries]
    assert [one.name for one in found.entries][:2] == ["uniform gamma=1.0", "uniform gamma=2.0"]
    assert areas == sorted(areas, reverse=True) and [found.alone(one) for one in found.entries] == pytest.approx(areas)
    assert [one.name for one in found.front] == ["uniform gamma=1.0", "down:8", "uniform gamma=3.0"]
    assert found.by_method()["baselines"] == pytest.approx(0.02 * (0.97 - 0.125) + 0.58 * (0.91 - 0.125))
    assert found.hypervolume == pytest.approx(hypervolume(
        [one.point for one in found.entries if one.kind != "raw"], 1 / 8))  # raw video would take part at (0.99, 0.96)
    assert found.hypervolume > max(found.by_method().values())
    assert {"hypervolume", "hypervolume/uniform_2_budget_models"} <= set(found.metrics())
    # What MLflow takes as a metric's name.
    assert all(re.fullmatch(r"[\w .:/-]+", name, re.ASCII) for name in found.metrics())


def test_a_name_that_becomes_a_metric_s_is_told_from_others_and_taken() -> None:
    names = {"down:8": "down_8", "densenet/local/warm": "densenet-local-warm",
             "kbeam+, 4 budget models": "kbeamplus_4_budget_models",
             "kbeam, 4 budget models": "kbeam_4_budget_models", "häh?": "h_h_"}  # fmt: skip
    assert {name: plain(name) for name in names} == names


def test_other_clips_splits_or_suites_are_compared_apart() -> None:
    runs = [finished("a", 0.9, 0.1), *(finished(digest, 0.9, 0.1, 0, 1.0, 0, **{f"digest.{digest}": "other"})
                                      for digest in ("dataset", "split", "suite"))]  # fmt: skip
    found, left_out = compare([*runs, finished("old", 0.9, 0.1).model_copy(update={"tags": {}})])
    assert len(found) == 4 and [run.name for run in left_out] == ["old"]
    with pytest.raises(PrivadvError, match="no finished run"):
        compare([])


def test_the_page_stands_alone_and_says_what_proves_nothing() -> None:
    weak = finished("weak", 0.9, 0.1, gamma=4.0)
    weak = weak.model_copy(update={"metrics": {**weak.metrics, "leakage_counts": 0.0}})
    (found,), _ = compare([finished("<b>", 0.85, 0.25), weak])
    drawn = draw(found)
    text = page("Comparison of <i>", [found], [drawn], [finished("<old>", 0, 0)])
    HTMLParser().feed(text)
    assert drawn.png.startswith(b"\x89PNG") and "<svg" in text
    assert "Comparison of &lt;i&gt;" in text and "&lt;old&gt;" in text and "<old>" not in text
    assert "http" not in text.replace("http://www.w3.org", "")
    assert ">NO<" in text and "uniform gamma=4.0" in text and "synthetic" not in text
    line = next(line for line in table(found).splitlines() if line.startswith("uniform gamma=1.0"))
    # Dominated by the weak one, and yet the best of those that prove something.
    assert line.split()[2:] == ["0", "0.85", "0.81-0.89", "0.25", "0.23-0.27", "yes", "0.544"]
    assert "On sbu, uniform gamma=1.0 ranks first of the filters: A_T 0.85" in text


def version(run: FinishedRun, number: int) -> Version:
    return Version(model="privadv-sbu-112x112", number=number, run=run)


@pytest.mark.parametrize(
    ("kept", "leaked", "refused"),
    [(0.91, 0.20, False), (0.89, 0.09, False), (0.95, 0.05, False), (0.90, 0.10, False),
     (0.89, 0.11, True), (0.90, 0.11, True), (0.89, 0.10, True)],
)  # fmt: skip
def test_only_a_dominated_filter_is_refused(kept: float, leaked: float, refused: bool) -> None:
    champion, challenger = finished("champion", 0.90, 0.10), finished("new", kept, leaked)
    assert dominated(challenger.metrics, champion.metrics) == refused
    if refused:
        with pytest.raises(PrivadvError, match=r"version 2 .* is dominated by the champion, version 1"):
            check(version(challenger, 2), version(champion, 1), False)
    else:
        check(version(challenger, 2), version(champion, 1), False)


@pytest.mark.parametrize("digest", ["digest.dataset", "digest.split", "digest.suite"])
def test_a_champion_of_other_clips_or_attackers_is_not_compared(digest: str) -> None:
    challenger = version(finished("new", 0.99, 0.01, 0, 1.0, 0, **{digest: "other"}), 2)
    with pytest.raises(PrivadvError, match=f"cannot be compared .* {digest} is other"):
        check(challenger, version(finished("champion", 0.9, 0.1), 1), False)


def test_a_filter_without_evidence_or_results_is_no_champion() -> None:
    run = finished("weak", 0.99, 0.01)
    weak = run.model_copy(update={"metrics": {**run.metrics, "leakage_counts": 0.0}})
    with pytest.raises(PrivadvError, match="no evidence of privacy"):
        check(version(weak, 1), None, False)
    check(version(weak, 1), None, True)
    with pytest.raises(PrivadvError, match="has no A_T, A_B_max"):
        check(version(run.model_copy(update={"metrics": {"leakage_counts": 1.0}}), 1), None, True)


def test_a_comparison_lies_in_the_workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRIVADV_WORKSPACE", str(tmp_path))
    given: list[Path] = []
    monkeypatch.setattr("privadv.compare.run", lambda experiment, filter_, output: given.append(output))
    assert main(["privadv"]) == 0 and main(["privadv", "--output", "elsewhere"]) == 0
    assert given == [tmp_path / "comparison", Path("elsewhere")]


def test_a_comparison_writes_over_no_folder_but_the_workspace_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PRIVADV_WORKSPACE", str(tmp_path))
    theirs = tmp_path / "theirs" / "comparison.html"
    theirs.parent.mkdir()
    theirs.write_text("mine")
    assert main(["privadv", "--output", str(theirs.parent)]) == 2
    assert capsys.readouterr().err == f"privadv: compare: {theirs.parent} is there already: name a new folder\n"
    assert theirs.read_text() == "mine"


def test_a_sweep_is_one_run_a_combination() -> None:
    given = argparse.Namespace(set=["name=x"], sweep=["a.gamma=0.5,2", "a.release={gray: true},null"], seed=3)
    found = expanded(given)
    assert [one.label for one in found] == [
        ("gamma=0.5", "release=gray_true"), ("gamma=0.5", "release=null"),
        ("gamma=2", "release=gray_true"), ("gamma=2", "release=null")]  # fmt: skip
    assert found[2].set == ["name=x", "a.gamma=2", 'a.release={"gray": true}'] and found[2].seed == 3
    (alone,) = expanded(argparse.Namespace(set=[], sweep=[]))
    assert alone.label == () and alone.set == []


@pytest.mark.parametrize("sweeps", [["gamma"], ["a.b="], ["a..b=1"], ["a=1,1"], ["a=[1"], ["a=1", "a=2"]])
def test_a_mistake_in_a_sweep_is_named(sweeps: list[str]) -> None:
    with pytest.raises(PrivadvError, match="--sweep"):
        expanded(argparse.Namespace(set=[], sweep=sweeps))


def test_unequal_terms_and_methods_without_evidence_are_named() -> None:
    run = finished("a", 0.9, 0.14)
    few = run.model_copy(update={"params": {**run.params, "attack.strongest": "2"}})
    weak = run.model_copy(update={"metrics": {**run.metrics, "leakage_counts": 0.0}})
    told = {name: headline(compare([one])[0][0]) for name, one in (("equal", run), ("few", few), ("weak", weak))}
    assert [name for name, said in told.items() if "equal terms" in said] == ["few"]
    assert [name for name, said in told.items() if "(no evidence)" in said] == ["weak"]
    assert "uniform, 2 budget models 0.666 (no evidence)" in told["weak"] and "none ranks first" in told["weak"]


def test_a_baseline_s_interval_holds_the_takes_too() -> None:
    run = finished("a", 0.9, 0.14)
    run = run.model_copy(update={"metrics": {**run.metrics, "rows/gray_A_T_low": 0.93, "rows/gray_A_T_high": 0.99}})
    gray = next(one for one in compare([run])[0][0].entries if one.name == "gray")
    assert gray.target.high - gray.target.low == pytest.approx(0.06) and gray.leakage.high == gray.leakage.low
