"""The second fold: on a row's stored clips, a fresh target says what is kept (A_T) and fresh attackers what leaks (A_B^N)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch

from privadv.data.feeds import ClipArray, Player
from privadv.errors import PrivadvError
from privadv.evaluation.attributes import attribute_scores, floors
from privadv.evaluation.inversion import Nearest, RawReader, Reconstruction
from privadv.evaluation.paper import IMAGENET
from privadv.evaluation.results import ALONE, ReaderOutcome, ReaderResult, Start, on_raw
from privadv.evaluation.suite import AttackerSpec, Suite
from privadv.models.losses import accuracy
from privadv.models.shelf import Shelf, begin
from privadv.training import Curves, FitConfig, FitJob, Fitted, seed_of

TARGET = "target"
INVERSIONS = {"reconstruction": Reconstruction, "nearest": Nearest}

Arrays = Mapping[str, ClipArray]


def jobs(
    suite: Suite,
    row: str,
    arrays: Mapping[Player, Arrays],
    raw: Mapping[Player, Arrays] | None,
    classes: tuple[int, int],
    warm: Mapping[str, bytes],
    reached: Sequence[ReaderResult],
    seed: int,
) -> list[AnyJob]:
    """The fits of a row, the target's first.

    ``arrays``: the splits of the clips that label each task, ``raw``: the same of raw clips, ``warm``: raw-trained weights by
    reader name, ``reached``: what those readers reached. On the raw row itself ``raw`` is None, nobody has reached anything, and
    ``warm`` holds only the published weights that attackers start from.
    """
    attackers = suite.against(row, reached)
    begun = "imagenet" if suite.target_init else "scratch"
    specs = [AttackerSpec(reader=suite.target, start=begun if raw is None else "warm"), *attackers]
    make = _Jobs(suite.raw_fit if raw is None else suite.fit, arrays, raw, warm, seed)
    return [make.job(spec, "budget" if number else "target", classes[bool(number)]) for number, spec in enumerate(specs)]


AnyJob = FitJob | Reconstruction | Nearest


@dataclass(frozen=True)
class _Jobs:
    """What all jobs of a row share."""

    config: FitConfig
    arrays: Mapping[Player, Arrays]
    raw: Mapping[Player, Arrays] | None
    warm: Mapping[str, bytes]
    seed: int

    def job(self, spec: AttackerSpec, player: Player, classes: int) -> AnyJob:
        name, known = (TARGET, TARGET) if player == "target" else (spec.name, on_raw(spec.name))
        weights = None if spec.start == "scratch" else self._weights(known)
        arrays, original = self.arrays[player], self.raw[player] if self.raw is not None else None
        seed = seed_of(self.seed, "raw" if original is None else "row", name)
        if weights is not None and original is not None and spec.start in INVERSIONS:
            reader = RawReader(spec.reader, classes, weights)
            clips, raw = ({split: array.path for split, array in each.items()} for each in (arrays, original))
            return INVERSIONS[spec.start](name, reader, spec.fit or self.config, seed, clips, raw)  # pyright: ignore[reportArgumentType]
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


def published(
    attackers: Iterable[AttackerSpec], shelf: Shelf, classes: int, seed: int, only: str | None = None
) -> dict[str, bytes]:
    """What attackers that start from ImageNet start from, by attacker; empty bytes for all others than ``only``.

    Raises:
        PrivadvError: the store lacks weights; all that are missing are named.
    """
    starting = [attacker for attacker in attackers if attacker.start == IMAGENET]
    there = shelf.roles(IMAGENET) if starting else set()
    missing = sorted({one.reader.label for one in starting if one.reader.label not in there})
    if missing:
        raise PrivadvError(
            f"attack: no ImageNet weights of {', '.join(missing)} in the store: add them with `python -m privadv.weights "
            f"add FILE --name {IMAGENET}`, or go without: attack.paper.imagenet: scratch"
        )
    return {
        one.name: begin(shelf, IMAGENET, one.reader, classes, seed) if only in (None, one.name) else b"" for one in starting
    }


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
    every = (*suite.attackers, *suite.raw_attackers())
    specs = {TARGET: suite.target, **{one.name: one.reader for one in every}}
    target, *attackers = results
    able = sorted(
        (one for one in attackers if one.start in ALONE), key=lambda one: (one.validation, -one.train_loss), reverse=True
    )
    always = {name if row != "raw" else on_raw(name) for name in final.always}
    named, others = ([one for one in able if (one.name in always) is chosen] for chosen in (True, False))
    return [
        FitJob(
            name=one.name,
            player=(player := "budget" if number else "target"),
            spec=specs[one.name],
            classes=classes[bool(number)],
            config=final.fit,
            seed=seed_of(seed, "finals", one.name),
            train=arrays[player]["train"].path,
            validation=arrays[player]["val"].path,
            test=arrays[player]["test"].path,
            weights=weights(one.name),
            pace=one.seconds / one.steps,
        )
        for number, one in enumerate([target, *named, *others[: final.best]])
    ]


def went_on(before: ReaderOutcome, after: ReaderResult, curves: Curves) -> ReaderOutcome:
    """A reader after both rounds: the better of its two selves by validation, with the updates and seconds of both.

    How far it fitted its training clips is told of the end.
    """
    first, steps = before.result, before.result.steps
    better = after if after.validation >= first.validation else first
    update = {
        "start": first.start,
        "finals": True,
        "steps": steps + after.steps,
        "seconds": first.seconds + after.seconds,
        "train_accuracy": after.train_accuracy,
        "converged": after.converged,
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
    scores = tuple(tuple(float(f"{logit:.6g}") for logit in line) for line in fitted.predictions)
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
    if job.name != TARGET:
        return cast(Start, job.name.rpartition("/")[2])
    if not isinstance(job, FitJob) or job.weights is None:
        return "scratch"
    return "warm" if job.ease_from else "imagenet"


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
