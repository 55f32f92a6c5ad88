"""Runs beside each other: which may be compared, which are one method's seeds, and who is better."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from statistics import fmean, variance
from typing import Literal

from privadv.errors import PrivadvError
from privadv.evaluation.identity import BESIDE_THE_FILTER, COMPARABLE, POOLED
from privadv.evaluation.metrics import Estimate
from privadv.evaluation.pareto import Point, front, hypervolume
from privadv.evaluation.rows import is_baseline
from privadv.evaluation.summary import plain
from privadv.tracking.archive import FinishedRun

Kind = Literal["filter", "baseline", "raw"]
NORMAL = 1.96
NAMED_SETTINGS = 3


@dataclass(frozen=True)
class Entry:
    """A filter or a baseline over all its seeds; ``counts``: its leakage is evidence, in every seed (None: not said)."""

    name: str
    kind: Kind
    method: str
    runs: tuple[FinishedRun, ...]
    target: Estimate
    leakage: Estimate
    mean_leakage: float
    counts: bool | None

    @property
    def point(self) -> Point:
        """Where it lies among the others."""
        return self.leakage.value, self.target.value

    @property
    def seeds(self) -> str:
        """Such as ``0, 1, 2``."""
        return ", ".join(sorted((run.tags["seed"] for run in self.runs), key=int))


@dataclass(frozen=True)
class Comparison:
    """Runs on the same clips, the same split and with the same suite; ``entries`` have the best first.

    ``equal``: that suite was sent whole against baselines, too.
    """

    dataset: str
    synthetic: bool
    digests: tuple[str, ...]
    chance: tuple[float, float]
    equal: bool
    entries: tuple[Entry, ...]

    @cached_property
    def front(self) -> list[Entry]:
        """Who is dominated by nobody, by growing leakage. Raw video takes no part."""
        taking_part = self._but_raw
        return [taking_part[i] for i in front([entry.point for entry in taking_part])]

    @property
    def hypervolume(self) -> float:
        """Of filters and baselines together."""
        return self._volume(self._but_raw)

    def alone(self, entry: Entry) -> float:
        """The hypervolume of one entry: what the ranking goes by."""
        return self._volume([entry])

    def by_method(self) -> dict[str, float]:
        """Hypervolume of each method's front, the best first; the baselines' is one of them."""
        methods = dict.fromkeys(entry.method for entry in self._but_raw)
        volumes = {name: self._volume([one for one in self.entries if one.method == name]) for name in methods}
        return dict(sorted(volumes.items(), key=lambda item: -item[1]))

    def proves(self, method: str) -> bool:
        """Whether the leakage of any filter of a method is evidence; baselines have nothing to prove."""
        return any(entry.counts is not False for entry in self.entries if entry.method == method)

    def metrics(self) -> dict[str, float]:
        """Its hypervolumes, under the names that a run in MLflow has them."""
        methods = {f"hypervolume/{plain(method)}": volume for method, volume in self.by_method().items()}
        return {"hypervolume": self.hypervolume, **methods}

    @property
    def _but_raw(self) -> list[Entry]:
        return [entry for entry in self.entries if entry.kind != "raw"]

    def _volume(self, entries: Sequence[Entry]) -> float:
        return hypervolume([entry.point for entry in entries], self.chance[1])


def compare(runs: Sequence[FinishedRun]) -> tuple[list[Comparison], list[FinishedRun]]:
    """The comparisons that are possible between runs, the newest first; and those runs that lack what it takes.

    Raises:
        PrivadvError: there is nothing to compare.
    """
    usable = [run for run in runs if {*COMPARABLE, POOLED, "seed"} <= run.tags.keys() and "A_T" in run.metrics]
    if not usable:
        raise PrivadvError("compare: no finished run with results: make run first, or widen --filter")
    groups: dict[tuple[str, ...], list[FinishedRun]] = {}
    for run in sorted(usable, key=lambda run: -run.started):
        groups.setdefault(tuple(run.tags[name] for name in COMPARABLE), []).append(run)
    return [_comparison(digests, group) for digests, group in groups.items()], [run for run in runs if run not in usable]


def dominated(one: Mapping[str, float], other: Mapping[str, float]) -> bool:
    """Whether the run with the metrics ``other`` is at least as good as ``one`` in A_T and A_B_max, and better in one."""
    points = [(metrics["A_B_max"], metrics["A_T"]) for metrics in (one, other)]
    return points[0] != points[1] and front(points) == [1]


def _comparison(digests: tuple[str, ...], runs: Sequence[FinishedRun]) -> Comparison:
    """``runs``, the newest first."""
    variants: dict[str, list[FinishedRun]] = {}
    for run in runs:
        seeds = variants.setdefault(run.tags[POOLED], [])
        if run.tags["seed"] not in {one.tags["seed"] for one in seeds}:  # of a repeated run the newest counts
            seeds.append(run)
    names = _names([seeds[0] for seeds in variants.values()])
    filters = [_filter(name, seeds) for name, seeds in zip(names, variants.values(), strict=True)]
    first, entries = runs[0], [*filters, *_baselines(runs)]
    chance = (_floor(first, "budget"), _floor(first, "target"))
    equal = all(run.params.get("attack.strongest", "0") == "0" for run in runs)
    found = Comparison(first.tags["dataset"], first.tags["synthetic"] == "true", digests, chance, equal, ())
    return replace(found, entries=tuple(sorted(entries, key=lambda entry: -found.alone(entry))))


def _floor(run: FinishedRun, player: str) -> float:
    """What a blind guess reaches: chance, or of attributes their prevalence."""
    chance = f"floors/{player}_chance"
    return run.metrics[chance if chance in run.metrics else f"floors/{player}_prevalence"]


def _filter(name: str, runs: Sequence[FinishedRun]) -> Entry:
    return Entry(
        name=name,
        kind="filter",
        method=_method(runs[0]),
        runs=tuple(runs),
        target=pooled(runs, "A_T"),
        leakage=pooled(runs, "A_B_max"),
        mean_leakage=fmean(run.metrics["A_B_mean"] for run in runs),
        counts=all(run.metrics["leakage_counts"] for run in runs),
    )


def _baselines(runs: Sequence[FinishedRun]) -> list[Entry]:
    """Raw video and every baseline, pooled over all runs that have it: no filter makes a difference to it."""
    found: dict[str, dict[str, FinishedRun]] = {}
    for run in runs:
        for row in json.loads(run.params.get("rows", "[]")):
            if (row == "raw" or is_baseline(row)) and f"rows/{plain(row)}_A_T" in run.metrics:
                found.setdefault(row, {}).setdefault(run.tags["seed"], run)
    return [_baseline(row, tuple(seeds.values())) for row, seeds in found.items()]


def _baseline(row: str, runs: tuple[FinishedRun, ...]) -> Entry:
    prefix = f"rows/{plain(row)}"
    return Entry(
        name=row,
        kind="raw" if row == "raw" else "baseline",
        method="raw" if row == "raw" else "baselines",
        runs=runs,
        target=pooled(runs, f"{prefix}_A_T"),
        leakage=pooled(runs, f"{prefix}_A_B_max"),
        mean_leakage=fmean(run.metrics[f"{prefix}_A_B_mean"] for run in runs),
        counts=None,
    )


def pooled(runs: Sequence[FinishedRun], metric: str) -> Estimate:
    """The mean over seeds with a 95 % interval, out of the spread of the seeds and each run's own interval over takes.

    Squares of their reaches add up: that of the seeds is Student's, by their number, and the takes' is as it is, since all
    seeds share the test takes. Without either the interval is the value alone.
    """
    from scipy.stats import t

    values = [run.metrics[metric] for run in runs]
    own = [(run.metrics[f"{metric}_high"] - run.metrics[f"{metric}_low"]) / 2 / NORMAL
           for run in runs if f"{metric}_high" in run.metrics]  # fmt: skip
    of_seeds = t.ppf(0.975, len(values) - 1) * math.sqrt(variance(values) / len(values)) if len(values) > 1 else 0.0
    reach = float(math.hypot(of_seeds, NORMAL * math.sqrt(fmean(one**2 for one in own)) if own else 0.0))
    mean = fmean(values)
    return Estimate(value=mean, low=max(0.0, mean - reach), high=min(1.0, mean + reach))


def _method(run: FinishedRun) -> str:
    return f"{_algorithm(run)}, {run.tags['budget_models']} budget models"


def _algorithm(run: FinishedRun) -> str:
    """With a plus where it restarts, as in the papers."""
    return run.tags["algorithm"] + ("" if run.tags["restarting"] == "no" else "+")


def _names(runs: Sequence[FinishedRun]) -> list[str]:
    """Each variant by its algorithm and the settings in which those of one algorithm differ."""
    return [_variant(run, [one for one in runs if _algorithm(one) == _algorithm(run)]) for run in runs]


def _variant(run: FinishedRun, kin: Sequence[FinishedRun]) -> str:
    keys = sorted({key for one in kin for key in one.params if key.partition(".")[0] not in BESIDE_THE_FILTER})
    differing = [key for key in keys if len({one.params.get(key) for one in kin}) > 1]
    settings = [f"{key.rpartition('.')[2]}={run.params.get(key, '-')[:24]}" for key in differing[:NAMED_SETTINGS]]
    if len(differing) > NAMED_SETTINGS:
        settings.append(run.tags[POOLED][:6])
    return " ".join([_algorithm(run), *settings])
