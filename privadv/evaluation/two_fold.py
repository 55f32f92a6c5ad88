"""The second fold: on a row's stored clips, a fresh target says what is kept (A_T) and fresh attackers what leaks (A_B^N)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
import pydantic
import torch

from privadv.config import Section
from privadv.data.feeds import ClipArray, Player
from privadv.errors import PrivadvError
from privadv.evaluation.attributes import attribute_scores, floors
from privadv.evaluation.inversion import Nearest, RawReader, Reconstruction
from privadv.evaluation.paper import Paper
from privadv.evaluation.results import ReaderOutcome, ReaderResult, Start
from privadv.evaluation.rows import is_control, of_filter
from privadv.models.losses import accuracy
from privadv.models.reader import ReaderSpec
from privadv.training import Curves, FitConfig, FitJob, Fitted

TARGET = "target"
INVERSIONS = {"reconstruction": Reconstruction, "nearest": Nearest}
ALONE: tuple[Start, ...] = ("warm", "scratch", "imagenet")
"""The starts of attackers that end up reading a row's own clips and nothing else, and so can go on reading them."""


class AttackerSpec(Section):
    """One attacker of the suite: a reader, what it makes of its raw-trained self, and its training where it has its own."""

    reader: ReaderSpec
    start: Start = "warm"
    fit: FitConfig | None = None

    @property
    def name(self) -> str:
        """Such as ``resnet/adaptive/warm``."""
        return f"{self.reader.label}/{self.reader.input}/{self.start}"


class Finals(Section):
    """The second round of an attack: the ``best`` attackers by validation, and the target, go on for ``fit``.

    Twelve attackers with ten times the updates cost ten times as much; the few that read best after the first round are the ones
    that more updates help. ``fit`` begins where the first round ended, with a learning rate that rises anew.
    """

    best: int = pydantic.Field(default=2, ge=1)
    fit: FitConfig = FitConfig()


class Suite(Section):
    """Who attacks, with how many updates, and what counts as converged.

    ``raw_fit`` trains on raw video, ``fit`` on every other row; ``finals`` is a second, longer round of the best on the rows that
    the whole suite attacks, null for none. ``strongest`` > 0 sends only that many attackers, the best by
    validation on raw video, against rows not in ``full_rows``, but for other forms of the filter; ``chosen`` names the
    attackers of single rows instead: a control that some of the suite read is read by the suite. ``seen`` names the families of
    the game's budget models. ``converged`` is the least accuracy on its own training clips of an attacker that counts as
    evidence.
    ``profile`` paper is the seed work's protocol: ``paper`` makes its attackers where none are named, and fewer than two
    unseen families are allowed, which the report says. ``target_init`` names published weights that the target of the raw row
    starts from, such as sports1m.
    """

    profile: Literal["honest", "paper"] = "honest"
    paper: Paper = Paper()
    target: ReaderSpec
    target_init: str | None = None
    attackers: tuple[AttackerSpec, ...] = ()
    raw_fit: FitConfig = FitConfig()
    fit: FitConfig = FitConfig()
    finals: Finals | None = None
    seen: tuple[str, ...] = ()
    full_rows: tuple[str, ...] = ("raw", "filter", "planted:spatial", "planted:temporal")
    chosen: dict[str, tuple[str, ...]] = {}
    strongest: int = pydantic.Field(default=0, ge=0)
    converged: float = pydantic.Field(default=0.8, gt=0, le=1)

    @pydantic.model_validator(mode="before")
    @classmethod
    def _ten(cls, data: Any) -> Any:
        if isinstance(data, dict) and data.get("profile") == "paper" and not data.get("attackers"):
            return {**data, "attackers": Paper.model_validate(data.get("paper", {})).attackers()}
        return data

    @pydantic.model_validator(mode="after")
    def _honest(self) -> Self:
        names = [attacker.name for attacker in self.attackers]
        doubled = {name for name in names if names.count(name) > 1}
        if doubled:
            raise ValueError(
                f"attackers {sorted(doubled)} stand twice: give each reader, input and start once"
            )
        families = {attacker.reader.family for attacker in self.attackers}
        if not {"raw", "filter"} <= set(self.full_rows):
            raise ValueError("full_rows must name raw and filter: both are attacked by the whole suite")
        unplanted = [row for row in self.chosen if not is_control(row)]
        if unplanted:
            raise ValueError(f"chosen names {unplanted}: single attackers are for the controls only")
        strangers = {name for row in self.chosen.values() for name in row} - set(names)
        if strangers or not all(self.chosen.values()):
            raise ValueError(f"chosen names {sorted(strangers) or 'nobody'}: choose among {', '.join(names)}")
        unpublished = [one.name for one in self.attackers if one.start == "imagenet" and not one.reader.published]
        if unpublished:
            raise ValueError(f"attackers {unpublished} have no published weights to start from: give another start")
        if len(self.attackers) < 4 or len(families) < 2:
            raise ValueError("a row needs at least four attackers of at least two families")
        if len(families - set(self.seen)) < 2 and self.profile == "honest":
            raise ValueError(
                f"at least two attacker families must be unseen in training (seen: {', '.join(self.seen)})"
            )
        return self

    def against(self, row: str, raw: Sequence[ReaderResult] | None) -> list[AttackerSpec]:
        """The attackers that go against ``row``, given what they reached on raw video."""
        if row in self.chosen:
            return [attacker for attacker in self.attackers if attacker.name in self.chosen[row]]
        if self._whole(row) or raw is None:
            return list(self.attackers)
        reached = {result.name: (result.validation, -result.train_loss) for result in raw}
        different = {_raw_name(attacker): attacker for attacker in reversed(self.attackers)}
        ranked = sorted(different, key=lambda name: reached.get(name, (0.0, 0.0)), reverse=True)
        return [different[name] for name in ranked[: self.strongest]]

    def goes_on(self, row: str) -> Finals | None:
        """The second round against ``row``, if there is one; none on raw video, whose readers all others start from."""
        return self.finals if row != "raw" and row not in self.chosen and self._whole(row) else None

    def _whole(self, row: str) -> bool:
        return not self.strongest or row in self.full_rows or of_filter(row)

    def raw_attackers(self) -> list[AttackerSpec]:
        """On raw video every reader is trained once, from scratch or published weights: there is nothing else to start from."""
        return list({_raw_name(attacker): _on_raw(attacker) for attacker in self.attackers}.values())


def _on_raw(attacker: AttackerSpec) -> AttackerSpec:
    return attacker if attacker.start == "imagenet" else attacker.model_copy(update={"start": "scratch"})


def _raw_name(attacker: AttackerSpec) -> str:
    return _on_raw(attacker).name


Arrays = Mapping[str, ClipArray]


def jobs(
    suite: Suite,
    row: str,
    arrays: Mapping[Player, Arrays],
    raw: Mapping[Player, Arrays] | None,
    classes: tuple[int, int],
    warm: Mapping[str, bytes],
    reached: Sequence[ReaderResult] | None,
    seed: int,
) -> list[AnyJob]:
    """The fits of a row, the target's first.

    ``arrays``: the splits of the clips that label each task, ``raw``: the same of raw clips, ``warm``: raw-trained weights by
    reader name, ``reached``: what those readers reached; None and empty on the raw row itself, where ``warm`` holds only the
    published weights that attackers start from.
    """
    attackers = suite.raw_attackers() if raw is None else suite.against(row, reached)
    begun = "imagenet" if suite.target_init else "scratch"
    specs = [AttackerSpec(reader=suite.target, start=begun if raw is None else "warm"), *attackers]
    make = _Jobs(suite.raw_fit if raw is None else suite.fit, arrays, raw, warm)
    return [
        make.job(spec, "budget" if number else "target", classes[bool(number)], seed + number)
        for number, spec in enumerate(specs)
    ]


AnyJob = FitJob | Reconstruction | Nearest


@dataclass(frozen=True)
class _Jobs:
    """What all jobs of a row share."""

    config: FitConfig
    arrays: Mapping[Player, Arrays]
    raw: Mapping[Player, Arrays] | None
    warm: Mapping[str, bytes]

    def job(self, spec: AttackerSpec, player: Player, classes: int, seed: int) -> AnyJob:
        name, known = (TARGET, TARGET) if player == "target" else (spec.name, _raw_name(spec))
        weights = None if spec.start == "scratch" else self._weights(known)
        arrays, original = self.arrays[player], self.raw[player] if self.raw is not None else None
        if weights is not None and original is not None and spec.start in INVERSIONS:
            reader = RawReader(spec.reader, classes, weights)
            clips, raw = ({split: array.path for split, array in each.items()} for each in (arrays, original))
            return INVERSIONS[spec.start](name, reader, self.config, seed, clips, raw)  # pyright: ignore[reportArgumentType]
        return FitJob(
            name=name,
            player=player,
            spec=spec.reader,
            classes=classes,
            config=spec.fit or self.config,
            seed=seed,
            train=arrays["train"].path,
            validation=arrays["val"].path,
            test=arrays["test"].path,
            ease_from=original["train"].path if original is not None and spec.start in ("warm", "mixed") else None,
            weights=weights,
            mixed=spec.start == "mixed",
        )

    def _weights(self, name: str) -> bytes:
        if name not in self.warm:
            raise PrivadvError(
                f"attack: the raw row's result holds no '{name}' to start from: attack raw with the same suite first"
            )
        return self.warm[name]


def finals(
    suite: Suite,
    row: str,
    arrays: Mapping[Player, Arrays],
    classes: tuple[int, int],
    results: Sequence[ReaderResult],
    weights: Callable[[str], bytes],
    seed: int,
) -> list[FitJob]:
    """The fits of a row's second round, the target's first; none where there is no such round.

    ``results``: of the first round, the target's first; ``weights``: what a reader learned there, by its name.
    """
    final = suite.goes_on(row)
    if final is None:
        return []
    specs = {TARGET: suite.target, **{one.name: one.reader for one in suite.attackers}}
    target, *attackers = results
    able = [one for one in attackers if one.start in ALONE]
    best = sorted(able, key=lambda one: (one.validation, -one.train_loss), reverse=True)[: final.best]
    return [
        FitJob(
            name=one.name,
            player=(player := "budget" if number else "target"),
            spec=specs[one.name],
            classes=classes[bool(number)],
            config=final.fit,
            seed=seed + len(specs) + number,
            train=arrays[player]["train"].path,
            validation=arrays[player]["val"].path,
            test=arrays[player]["test"].path,
            weights=weights(one.name),
        )
        for number, one in enumerate([target, *best])
    ]


def went_on(before: ReaderOutcome, after: ReaderResult, curves: Curves) -> ReaderOutcome:
    """A reader after both rounds: the better of its two selves by validation, with the updates and seconds of both."""
    first, steps = before.result, before.result.steps
    better = after if after.validation >= first.validation else first
    update = {
        "start": first.start,
        "finals": True,
        "steps": steps + after.steps,
        "seconds": first.seconds + after.seconds,
    }
    joined = {
        name: [*curve, *((steps + step, value) for step, value in curves.get(name, []))]
        for name, curve in before.curves.items()
    }
    return before.model_copy(update={"result": better.model_copy(update=update), "curves": joined})


def result(job: AnyJob, fitted: Fitted, array: ClipArray, suite: Suite) -> ReaderResult:
    """What a fitted reader reached on the row's test clips."""
    logits, labels = torch.tensor(fitted.predictions), array.labels(job.player)
    multi_label = labels.ndim == 2
    scores = tuple(tuple(round(logit, 4) for logit in line) for line in fitted.predictions)
    return ReaderResult(
        name=job.name,
        family=job.spec.family,
        input=job.spec.input,
        start=_start(job),
        seen=job.spec.family in suite.seen,
        accuracy=accuracy(logits, labels),
        validation=fitted.validation,
        train_loss=fitted.train_loss,
        train_accuracy=fitted.train_accuracy,
        converged=fitted.train_accuracy >= suite.converged,
        steps=fitted.steps,
        seconds=fitted.seconds,
        predictions=() if multi_label else tuple(logits.argmax(1).tolist()),
        scores=scores if multi_label else (),
        attributes=attribute_scores(np.array(scores), labels.numpy()) if multi_label else (),
        metrics=fitted.metrics,
    )


def _start(job: AnyJob) -> Start:
    if not isinstance(job, FitJob):
        return "reconstruction" if isinstance(job, Reconstruction) else "nearest"
    if job.name.endswith("/imagenet"):
        return "imagenet"
    return "mixed" if job.mixed else "warm" if job.weights else "scratch"


def row_metrics(target: ReaderResult, attackers: Sequence[ReaderResult]) -> dict[str, float]:
    """A_T, the maximum over all attackers and over those of unseen families, and the mean."""
    unseen = [attacker.score for attacker in attackers if not attacker.seen]
    every = [attacker.score for attacker in attackers]
    return {
        "A_T": target.score,
        "A_B_max": max(every),
        "A_B_mean": sum(every) / len(every),
        **({"A_B_max_unseen": max(unseen)} if unseen else {}),
    }


def row_floors(arrays: Mapping[Player, Mapping[str, ClipArray]], classes: tuple[int, int]) -> dict[str, float]:
    """The floors of both tasks on a row's test clips, as ``target_chance`` ... ``budget_majority``."""
    return {
        f"{player}_{name}": value
        for (player, splits), count in zip(arrays.items(), classes, strict=True)
        for name, value in floors(splits["test"].labels(player).numpy(), count).items()
    }
