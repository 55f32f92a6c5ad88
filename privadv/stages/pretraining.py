"""Readers learn on the clips that the pretrained filter releases: what pretrain_target and pretrain_budget share."""

from __future__ import annotations

import time

from privadv.data.feeds import Player
from privadv.data.manifest import ClipSet
from privadv.models.checkpoint import Trained
from privadv.models.reader import ReaderSpec
from privadv.stages.stage import StageContext
from privadv.stages.workbench import Workbench, put_curves, put_reader
from privadv.training import FitConfig, FitJob, Fitted, fit_all


def pretrain(
    stage: str,
    readers: dict[str, ReaderSpec],
    player: Player,
    config: FitConfig,
    clips: ClipSet,
    degradation: Trained,
    seed: int,
    context: StageContext,
) -> Trained:
    """Train every reader (by role) on its own; metrics are validation accuracies, by role and the best."""
    start = time.monotonic()
    store, classes = context.store, len((clips.target if player == "target" else clips.budget).classes)
    with Workbench(context) as bench:
        filter_ = degradation.degradation.open(store)
        train, validation = (
            bench.filtered(bench.open(clips, split), filter_, seed).path for split in ("train", "val")
        )
        jobs = [
            FitJob(role, player, spec, classes, config, seed + number, train, validation)
            for number, (role, spec) in enumerate(readers.items())
        ]
        fitted = fit_all(jobs, context.workers, f"{stage}: {len(jobs)} x {config.steps} steps")
    for role, one in fitted.items():
        record(context, role, one)
    metrics = {f"{role}_val_accuracy": one.validation for role, one in fitted.items()}
    return Trained(
        stage=stage,
        seed=seed,
        metrics={**metrics, "val_accuracy": max(metrics.values())},
        models={
            role: put_reader(store, spec, classes, fitted[role].weights) for role, spec in readers.items()
        },
        curves=put_curves(
            store,
            {f"{role}_{name}": curve for role, one in fitted.items() for name, curve in one.curves.items()},
        ),
        seconds=time.monotonic() - start,
    )


def record(context: StageContext, role: str, fitted: Fitted) -> None:
    """A reader's curves and figures as a run of its own below the stage's."""
    with context.tracker.child(role, {}, {"role": role}) as run:
        for name, curve in fitted.curves.items():
            split, _, metric = name.partition("_")
            for step, value in curve:
                run.metrics({f"{split}/{metric}": value}, step)
        run.metrics(
            {
                "val/best_accuracy": fitted.validation,
                "train/final_accuracy": fitted.train_accuracy,
                "seconds": fitted.seconds,
            },
            fitted.steps,
        )
