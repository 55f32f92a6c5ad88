"""What the evidence of one run, or of one run a seed, amounts to: one summary a row, the comparison and the verdict."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean
from typing import Literal

import numpy as np

from privadv.config import Section
from privadv.data.manifest import ClipSet
from privadv.errors import PrivadvError
from privadv.evaluation.metrics import Bootstrap, Draws, Estimate, front_at
from privadv.evaluation.published import Curve, published
from privadv.evaluation.results import AttributeScores, ReaderResult, RowResult, on_raw
from privadv.evaluation.rows import is_baseline, is_control, of_filter
from privadv.models.checkpoint import Trained

PLANTED = ("planted:spatial", "planted:temporal")
PICTURE = ("psnr", "flicker", "kbit_per_second")
"""What is measured of a row's stored clips without any reader: dB to raw clips, grey levels, and a codec's bit rate."""
READ = 0.90
"""How far an attacker must get on a planted control, from a blind guess (0) to no mistake (1), to have read it."""
ENOUGH = 4
CEILING = 0.5
"""How far an attacker must get on raw validation clips, counted likewise, to be evidence on any row."""


class Evidence(Section):
    """All that one run of the pipeline left; ``configuration`` is JSON, ``resamples`` of the bootstrap."""

    kind: Literal["evidence"] = "evidence"
    seed: int
    configuration: str
    resamples: int
    clips: ClipSet
    filtered_clips: ClipSet
    stages: tuple[Trained, ...]
    results: tuple[RowResult, ...]
    versions: dict[str, str]

    def result(self, row: str) -> RowResult:
        """The result of ``row``."""
        return next(one for one in self.results if one.row == row)


@dataclass(frozen=True)
class Row:
    """One row over all seeds, which ``results`` holds one of each. Draws are those of the shared bootstrap.

    ``able``: by seed, the readers that read raw video well enough to prove something. ``bar``: the score from which on a
    control counts as read.
    """

    name: str
    results: tuple[RowResult, ...]
    able: tuple[frozenset[str], ...]
    bar: float
    target_draws: Draws
    leakage_draws: Draws

    @cached_property
    def target(self) -> Estimate:
        """A_T."""
        return Estimate.of(self.target_draws)

    @cached_property
    def leakage(self) -> Estimate:
        """A_B_max; with several seeds the mean of each seed's maximum."""
        return Estimate.of(self.leakage_draws)

    @property
    def mean_leakage(self) -> float:
        """A_B_mean."""
        return fmean(fmean(reader.score for reader in one.attackers) for one in self.results)

    @property
    def unseen_leakage(self) -> float | None:
        """The highest attacker of a family that no budget model has; None where there is none."""
        unseen = [[reader.score for reader in one.attackers if not reader.seen] for one in self.results]
        return fmean(max(each) for each in unseen) if all(unseen) else None

    @property
    def unseen_families(self) -> list[str]:
        """Attacker families that no budget model has."""
        return sorted({reader.family for one in self.results for reader in one.attackers if not reader.seen})

    @property
    def strongest(self) -> tuple[ReaderResult, ...]:
        """The attacker that makes A_B_max, one a seed."""
        return tuple(max(one.attackers, key=lambda reader: reader.score) for one in self.results)

    @property
    def attackers(self) -> int:
        """How many attacked, in the seed where the fewest did."""
        return min(len(one.attackers) for one in self.results)

    @property
    def converged(self) -> int:
        """How many of them fit their own training clips and can read raw video, in the seed where the fewest did."""
        return min(
            sum(reader.converged and on_raw(reader.name) in able for reader in one.attackers)
            for one, able in zip(self.results, self.able, strict=True)
        )

    @property
    def enough_converged(self) -> bool:
        """Enough to say that nobody reads more."""
        return self.converged >= ENOUGH

    @property
    def lower_bound(self) -> bool:
        """Too few attackers converged, and more is there to be read."""
        return not self.enough_converged and any(reader.score < 1 for reader in self.strongest)

    @property
    def went_on(self) -> bool:
        """Its target and its best attackers had a second round."""
        return all(one.target.finals for one in self.results)

    @property
    def control(self) -> bool:
        """It hides everybody and writes the answer in: planted ones must be read, buried ones tell how faint it may be."""
        return is_control(self.name)

    @property
    def baseline(self) -> bool:
        """What the filter is compared with."""
        return is_baseline(self.name)

    @property
    def variant(self) -> bool:
        """The filter in another form, after a codec for instance: compared with the filter alone."""
        return of_filter(self.name) and self.name != "filter"

    def measured(self, name: str) -> float | None:
        """One of PICTURE, over all seeds; None where it was not measured."""
        return _mean([one.metrics.get(name) for one in self.results])

    @property
    def read(self) -> bool:
        """The attackers read it, in every seed."""
        return all(reader.score >= self.bar for reader in self.strongest)


@dataclass(frozen=True)
class Summary:
    """All rows in the order of the report: raw, filter and its other forms, baselines, controls. ``game`` is A_T_game."""

    evidence: tuple[Evidence, ...]
    rows: tuple[Row, ...]
    floors: dict[str, float]
    game: float | None

    def row(self, name: str) -> Row:
        """The row of that name."""
        return next(row for row in self.rows if row.name == name)

    @property
    def clips(self) -> ClipSet:
        """The raw clips."""
        return self.evidence[0].clips

    @property
    def blind_target(self) -> float:
        """A_T of naming the most frequent class."""
        return self.floors["target_majority"]

    @property
    def blind_leakage(self) -> float:
        """A_B of who sees nothing: the most frequent class, or the mean prevalence of the attributes."""
        return _blind_leakage(self.floors)

    @property
    def published(self) -> tuple[Curve, ...]:
        """What others published on these datasets, under their own protocol."""
        return () if self.clips.synthetic else published(self.clips.dataset, self.clips.privacy.dataset)

    @property
    def baselines(self) -> list[Row]:
        """The rows that the filter is compared with."""
        return [row for row in self.rows if row.baseline]

    @property
    def controls(self) -> list[Row]:
        """The planted filters."""
        return [row for row in self.rows if row.control]

    @property
    def variants(self) -> list[Row]:
        """The filter in other forms."""
        return [row for row in self.rows if row.variant]

    def change(self, row: Row) -> tuple[Estimate, Estimate]:
        """By how much A_T and A_B_max of ``row`` lie above the filter's, on the same draws of the bootstrap."""
        own = self.row("filter")
        return (Estimate.of(row.target_draws - own.target_draws), Estimate.of(row.leakage_draws - own.leakage_draws))

    def front(self, leakage: np.ndarray) -> np.ndarray:
        """A_T of the baselines' front at each leakage, for drawing it."""
        points = [(row.leakage.value, row.target.value) for row in self.baselines]
        return front_at(leakage, [self._blank, *points])

    @cached_property
    def gain(self) -> Estimate:
        """How much higher the filter's A_T lies than the front of the baselines at the filter's leakage; of no meaning without
        baselines.
        """
        own = self.row("filter")
        points = [(row.leakage_draws, row.target_draws) for row in self.baselines]
        return Estimate.of(own.target_draws - front_at(own.leakage_draws, [self._blank, *points]))

    @property
    def dominating(self) -> list[str]:
        """Baselines that have both a higher A_T and a lower A_B_max than the filter."""
        own = self.row("filter")
        return [
            row.name
            for row in self.baselines
            if row.target.value > own.target.value and row.leakage.value < own.leakage.value
        ]

    @property
    def counts(self) -> bool:
        """Whether the filter's leakage is evidence: four attackers converged, or all possible controls were read."""
        read, own = {row.name for row in self.controls if row.read}, self.row("filter")
        return own.attackers >= ENOUGH and (own.enough_converged or set(self.plantable) <= read)

    @property
    def plantable(self) -> tuple[str, ...]:
        """The controls that these data allow: photos hold nothing that changes over time."""
        return PLANTED if self.clips.privacy.geometry.frames > 1 else PLANTED[:1]

    @property
    def _blank(self) -> tuple[float, float]:
        return self.blind_leakage, self.blind_target

    def attributes(self, row: str) -> dict[str, dict[str, float | None]]:
        """How the strongest attacker reads each attribute, by name; means over the seeds. Empty for a single-label task."""
        readers = self.row(row).strongest
        return {
            name: {
                what: _mean([getattr(reader.attributes[number], what) for reader in readers])
                for what in AttributeScores.model_fields
            }
            for number, name in enumerate(self.clips.budget.classes if readers[0].attributes else ())
        }

    def metrics(self) -> dict[str, float]:
        """Everything as numbers, under names that MLflow takes."""
        own = self.row("filter")
        values = {
            **_with_interval("A_T", own.target),
            **_with_interval("A_B_max", own.leakage),
            "A_B_mean": own.mean_leakage,
            "leakage_counts": self.counts,
            **{f"floors/{name}": value for name, value in self.floors.items()},
        }
        if self.baselines:
            values |= {**_with_interval("A_T_gain", self.gain), "dominating": len(self.dominating)}
        if own.unseen_leakage is not None:
            values["A_B_max_unseen"] = own.unseen_leakage
        if self.game is not None:
            values["A_T_game"] = self.game
        for reader in by_attacker(own):
            values[f"A_B/{plain(reader[0].name)}"] = fmean(one.score for one in reader)
        for name, reads in self.attributes("filter").items():
            values |= {f"attributes/{plain(name)}_{what}": value for what, value in reads.items() if value is not None}
        for row in self.rows:
            of_row = {
                **_with_interval("A_T", row.target),
                **_with_interval("A_B_max", row.leakage),
                "A_B_mean": row.mean_leakage,
                **{name: value for name in PICTURE if (value := row.measured(name)) is not None},
            }
            values |= {f"rows/{plain(row.name)}_{name}": value for name, value in of_row.items()}
        return {name: float(value) for name, value in values.items()}


def _with_interval(name: str, estimate: Estimate) -> dict[str, float]:
    return {name: estimate.value, f"{name}_low": estimate.low, f"{name}_high": estimate.high}


def by_attacker(row: Row) -> list[list[ReaderResult]]:
    """The row's attackers, the strongest first; each as its results of all seeds that have it."""
    named: dict[str, list[ReaderResult]] = {}
    for one in row.results:
        for reader in one.attackers:
            named.setdefault(reader.name, []).append(reader)
    return sorted(named.values(), key=lambda each: -fmean(reader.score for reader in each))


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None


def plain(name: str) -> str:
    """A row's, reader's or method's name as part of a metric's or file's name, of letters, digits and ``_.-`` alone."""
    return re.sub(r"[^A-Za-z0-9_.-]", "_", name.replace("/", "-").replace("+", "plus").replace(", ", "_"))


def summarise(evidence: Sequence[Evidence]) -> Summary:
    """The summary of runs that differ in nothing but their seed.

    Raises:
        PrivadvError: rows are missing or doubled, or were read on other clips than the others.
    """
    _check(evidence)
    first = evidence[0].result("raw")
    able, bar = tuple(_able(one.result("raw")) for one in evidence), _beyond(_blind_leakage(first.floors), READ)
    bootstrap = Bootstrap(first.groups, len(evidence), evidence[0].resamples, first.private_groups)
    names = sorted((one.row for one in evidence[0].results), key=_place)
    rows = []
    for name in names:
        results = tuple(one.result(name) for one in evidence)
        rows.append(Row(name, results, able, bar, bootstrap.target(results), bootstrap.leakage(results)))
    games = [
        one.filtered_clips.metrics["A_T_game"] for one in evidence if "A_T_game" in one.filtered_clips.metrics
    ]
    return Summary(tuple(evidence), tuple(rows), first.floors, fmean(games) if games else None)


def _blind_leakage(floors: Mapping[str, float]) -> float:
    name = "budget_prevalence"
    return floors[name if name in floors else "budget_majority"]


def _beyond(blind: float, share: float) -> float:
    """The score that lies ``share`` of the way from a blind guess to no mistake."""
    return blind + share * (1 - blind)


def _able(raw: RowResult) -> frozenset[str]:
    enough = _beyond(raw.blind_validation, CEILING)
    return frozenset(reader.name for reader in raw.attackers if reader.validation >= enough)


def _place(row: str) -> int:
    return {"raw": 0, "filter": 1}.get(row, 2 if of_filter(row) else 4 if is_control(row) else 3)


def _check(evidence: Sequence[Evidence]) -> None:
    seeds = [one.seed for one in evidence]
    if len(set(seeds)) < len(seeds):
        raise PrivadvError(f"report: seeds {seeds}: name each seed once")
    rows = sorted(one.row for one in evidence[0].results)
    first = evidence[0].results[0]
    if not _varies(first.budget_labels):
        raise PrivadvError(
            f"report: all test clips have the same {evidence[0].clips.budget.name}: there is nothing to read: test on others"
        )
    protocols = sorted({one.protocol for run in evidence for one in run.results})
    if len(protocols) > 1:
        raise PrivadvError(
            f"report: rows were attacked under protocols {protocols}, of older and newer code: attack all of them with the same"
        )
    for run in evidence:
        if _but_seed(run) != _but_seed(evidence[0]):
            raise PrivadvError(
                f"report: seed {run.seed} was run with another configuration: pool runs of one"
            )
        if _stored(run) != _stored(evidence[0]):
            raise PrivadvError(
                f"report: seed {run.seed} was run on other clips than seed {evidence[0].seed}, though the configuration is the "
                "same: extract both with the same code and libraries"
            )
        names = sorted(one.row for one in run.results)
        if len(set(names)) < len(names) or not {"raw", "filter"} <= set(names) or names != rows:
            raise PrivadvError(
                f"report: seed {run.seed} has results of {names}: give raw, filter and each other row once, "
                "the same rows for every seed"
            )
        for one in run.results:
            if _clips(one) != _clips(first):
                raise PrivadvError(
                    f"report: row '{one.row}' of seed {run.seed} was read on other test clips than "
                    f"'{first.row}': attack it again on the same extraction"
                )
            tested = len(one.private_ids or one.clip_ids)
            if (
                not one.attackers
                or len(one.target.predictions) != len(one.clip_ids)
                or any(len(reader.predictions or reader.scores) != tested for reader in one.attackers)
            ):
                raise PrivadvError(
                    f"report: row '{one.row}' of seed {run.seed} lacks attackers or predictions: attack it again"
                )


def _varies(labels: tuple[int, ...] | tuple[tuple[int, ...], ...]) -> bool:
    """Whether there is anything to read: two classes, or an attribute that some clips show and others do not."""
    every = np.asarray(labels)
    return bool((every != every[0]).any())


def _but_seed(run: Evidence) -> dict[str, object]:
    return {**json.loads(run.configuration), "seed": None}


def _stored(run: Evidence) -> tuple[object, ...]:
    """The raw clips themselves, by the digests of their shards."""
    return run.clips.splits, run.clips.privacy.splits


def _clips(result: RowResult) -> tuple[tuple[object, ...], ...]:
    labels = result.target_labels, result.budget_labels
    return result.clip_ids, result.groups, result.private_ids, result.private_groups, *labels
