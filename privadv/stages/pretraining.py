"""Readers learn before the game begins: what pretrain_target and pretrain_budget share."""

from __future__ import annotations

import time
from typing import Literal

from privadv.config import Section
from privadv.data.feeds import Player
from privadv.data.manifest import ClipSet
from privadv.models.checkpoint import Trained
from privadv.models.reader import ReaderSpec
from privadv.stages.stage import StageContext
from privadv.stages.workbench import Workbench, put_curves, put_reader, record
from privadv.training import FitConfig, FitJob, fit_all

View = Literal["filter", "raw"]
"""What readers are pretrained on: the clips that the pretrained filter releases, as in the seed work, or raw ones."""


class Settings(Section):
    """How readers are trained, and on which ``view``."""

    view: View = "filter"
    fit: FitConfig = FitConfig()


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
        config, filter_ = settings.fit, degradation.degradation.open(store)
        train, validation = (
            bench.open(clips, split)
            if settings.view == "raw"
            else bench.filtered(bench.open(clips, split), filter_, seed + number)
            for number, split in enumerate(("train", "val"))
        )
        jobs = [
            FitJob(role, player, spec, classes, config, seed + number, train.path, validation.path)
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
