"""Readers learn before the game begins: what pretrain_target and pretrain_budget share."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, Self

import pydantic

from privadv.config import Section
from privadv.data.feeds import ClipArray, Player
from privadv.data.manifest import ClipSet
from privadv.models.checkpoint import Trained, save_weights
from privadv.models.reader import Reader, ReaderSpec
from privadv.models.scores import fitted, score
from privadv.models.shelf import Shelf, begin
from privadv.stages.imported import imported_reader
from privadv.stages.stage import StageContext
from privadv.stages.workbench import Workbench, put_curves, put_reader, record
from privadv.store import Store
from privadv.training import TRAIN_SAMPLE, FitConfig, FitJob, Fitted, fit_all, predict

EQUALS = 1000
"""How far apart the seeds of equal readers lie."""

View = Literal["filter", "raw"]
"""What readers are pretrained on: the clips that the pretrained filter releases, as in the seed work, or raw ones."""


class Settings(Section):
    """How readers are trained, and on which ``view``.

    ``start_from`` names imported weights (``python -m privadv.weights``) that take the training's place. ``init`` names
    published ones, such as imagenet, that training starts from, all but the last layer's.
    """

    view: View = "filter"
    start_from: str | None = None
    init: str | None = None
    fit: FitConfig = FitConfig()

    @pydantic.model_validator(mode="after")
    def _one_beginning(self) -> Self:
        if self.start_from and self.init:
            raise ValueError("start_from trains nothing, init begins a training: name one of them")
        return self


def pretrain(
    stage: str,
    readers: dict[str, ReaderSpec],
    player: Player,
    settings: Settings,
    clips: ClipSet,
    degradation: Trained,
    seed: int,
    context: StageContext,
) -> Trained:
    """Train every reader (by role) on its own; metrics are validation scores, by role and the best."""
    start = time.monotonic()
    store, classes = context.store, len((clips.target if player == "target" else clips.budget).classes)
    clips = clips if player == "target" else clips.privacy
    with Workbench(context) as bench:
        filter_ = degradation.degradation.open(store)
        train, validation = (
            bench.open(clips, split)
            if settings.view == "raw"
            else bench.filtered(bench.open(clips, split), filter_, seed + number)
            for number, split in enumerate(("train", "val"))
        )
        specs = readers
        if settings.start_from:
            refs = {role: imported_reader(store, settings.start_from, role, spec, classes) for role, spec in readers.items()}
            specs = {role: ref.spec for role, ref in refs.items()}
            done = {role: _measured(role, ref.open(store), player, train, validation) for role, ref in refs.items()}
        else:
            seeds = _seeds(seed, list(readers.values()))
            jobs = [
                FitJob(role, player, spec, classes, settings.fit, own, train.path, validation.path)
                for (role, spec), own in zip(readers.items(), seeds, strict=True)
            ]
            jobs = [_begun(job, settings.init, store) for job in jobs]
            what = f"{stage}: {len(jobs)} x {settings.fit.steps} steps"
            done = fit_all(jobs, context.workers, what, context.checkpoints)
    for role, one in done.items():
        record(context, role, one)
    metrics = {f"{role}_val_accuracy": one.validation for role, one in done.items()}
    return Trained(
        stage=stage,
        seed=seed,
        metrics={**metrics, "val_accuracy": max(metrics.values())},
        models={
            role: put_reader(store, specs[role], classes, one.weights) for role, one in done.items()
        },
        curves=put_curves(
            store,
            {f"{role}_{name}": curve for role, one in done.items() for name, curve in one.curves.items()},
        ),
        seconds=time.monotonic() - start,
    )


def _seeds(seed: int, specs: Sequence[ReaderSpec]) -> list[int]:
    """Each reader's own; equal ones are never those of a neighbouring run, whose seeds must be independent."""
    return [seed + number + EQUALS * specs[:number].count(spec) for number, spec in enumerate(specs)]


def _begun(job: FitJob, init: str | None, store: Store) -> FitJob:
    """The job, with the published weights of the name ``init`` to begin from."""
    return replace(job, weights=begin(Shelf(store), init, job.spec, job.classes, job.seed)) if init else job


def _measured(role: str, reader: Reader, player: Player, train: ClipArray, validation: ClipArray) -> Fitted:
    """An imported reader as it is, after no step of training."""
    start, sample = time.monotonic(), train.sample(TRAIN_SAMPLE)
    return Fitted(
        name=role,
        weights=save_weights(reader),
        steps=0,
        validation=score(predict(reader, validation), validation.labels(player)),
        train_loss=float("nan"),
        train_accuracy=fitted(predict(reader, train, sample), train.labels(player)[sample]),
        seconds=time.monotonic() - start,
    )
