"""A whole run, stage by stage, in this process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import pytest

from privadv.checkpoints import Checkpoints
from privadv.data.manifest import ClipSet
from privadv.evaluation.results import RowResult
from privadv.models.checkpoint import Trained
from privadv.run_config import RunConfig
from privadv.stages import (
    attack,
    extract_frames,
    pretrain_budget,
    pretrain_degradation,
    pretrain_target,
    pretraining,
    render,
    report,
    train_adversarial,
)
from privadv.stages.stage import StageContext
from privadv.store import Store
from privadv.training import Fitted, Job


class Silent:
    """A tracker that nobody reads."""

    def metrics(self, values: dict[str, float], step: int | None = None) -> None:
        assert all(np.isfinite(value) for value in values.values())

    def child(self, *_: Any) -> Any:
        return nullcontext(self)

    @property
    def parent(self) -> Any:
        return nullcontext(self)

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_, **__: None


def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fits and extraction too: starting other processes is most of what so small a run takes, and has tests of its own."""

    def fit_here(jobs: Sequence[Job], workers: int, what: str, checkpoints: Checkpoints) -> dict[str, Fitted]:
        return {job.name: job.fit(lambda steps: None) for job in jobs}

    monkeypatch.setattr(extract_frames, "worker_pool", ThreadPoolExecutor)
    for stage in (pretraining, attack):
        monkeypatch.setattr(stage, "fit_all", fit_here)
    monkeypatch.setattr(report, "_curves", lambda *_: [])


@dataclass
class Played:
    clips: ClipSet
    trained: dict[str, Trained]
    results: dict[str, RowResult]
    filtered: ClipSet
    report: report.Report


def play(config: RunConfig, store: Store) -> Played:
    """All stages in their order, as pipeline.py joins them."""
    context = StageContext(store, cast(Any, Silent()), Checkpoints(store, "stand-in"), workers=1)
    clips = extract_frames.run(config.extract_frames, context)
    filter_ = pretrain_degradation.run(config.pretrain_degradation, clips, 0, context)
    target = pretrain_target.run(config.pretrain_target, clips, filter_, 0, context)
    budget = pretrain_budget.run(config.pretrain_budget, clips, filter_, 0, context)
    game = train_adversarial.run(config.train_adversarial, clips, filter_, target, budget, 0, context)
    stored, results = {}, {}
    for row in config.rows:
        stored[row] = render.run(config.render, row, clips, 0, context, game if row == "filter" else None)
        begin = {"warm": results["raw"], "raw": stored["raw"]} if row != "raw" else {}
        results[row] = attack.run(config.attack, row, stored[row], 0, context, **begin)
    made = report.run(config.report, clips, (stored["filter"],), filter_, target, budget, game, tuple(results.values()),
                      0, config.canonical(), context)
    return Played(clips, {"filter": filter_, "target": target, "budget": budget, "game": game}, results,
                  stored["filter"], made)
