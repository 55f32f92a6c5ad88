"""Whether filtered clips are computed once for all attackers: forwards of the filter are counted, not timed."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast
from unittest.mock import patch

from torch import Tensor

from benchmarks.measure import Row
from benchmarks.one_stage import Untracked
from privadv.checkpoints import Checkpoints
from privadv.data.manifest import SPLITS, ClipSet
from privadv.models.checkpoint import ModelRef, Trained, save_weights
from privadv.models.degradation import TransformNetwork
from privadv.run_config import RunConfig
from privadv.stages import attack, extract_frames, render
from privadv.stages.stage import StageContext
from privadv.stages.workbench import put_curves, put_filter, put_reader
from privadv.store import Store
from privadv.training import Fitted, Job
from privadv.workspace.seaweed import SeaweedServer

CONFIG = Path("configs/smoke.yaml")
REPEATED = False


def rows(repetitions: int) -> list[Row]:
    """Clips through the filter while its row is rendered, and while it is attacked; counting needs no repetitions."""
    with tempfile.TemporaryDirectory(prefix="privadv-bench-") as folder, a_store(Path(folder)) as store:
        context = StageContext(store, cast(Any, Untracked()), Checkpoints(store, "bench"), workers=1)
        return _counted(RunConfig.load(CONFIG), context)


def _counted(config: RunConfig, context: StageContext) -> list[Row]:
    clips = extract_frames.run(config.extract_frames, context)
    game = _fresh_game(config, clips, context.store)
    raw = render.run(config.render, "raw", clips, 0, context)
    with _counting() as rendering:
        filtered = render.run(config.render, "filter", clips, 0, context, game)
    with patch.object(attack, "fit_all", fit_here):
        warm = attack.run(config.attack, "raw", raw, 0, context)
        with _counting() as attacking:
            result = attack.run(config.attack, "filter", filtered, 0, context, warm, raw)
    there, many = sum(clips.count(split) for split in SPLITS), len(result.attackers)
    stored, through = sum(filtered.count(split) for split in SPLITS), sum(rendering)
    return [
        Row(f"clips through the filter in rendering {stored} of the row", "clips", through, "raw clips", there, there / through),
        Row(f"clips through the filter under {many} attackers", "clips", sum(attacking)),
    ]


def _fresh_game(config: RunConfig, clips: ClipSet, store: Store) -> Trained:
    """The run's filter and readers, untrained."""
    readers = {"target": (config.pretrain_target.reader, len(clips.target.classes))}
    readers |= {f"budget_{k}": (spec, len(clips.budget.classes)) for k, spec in enumerate(config.pretrain_budget.readers)}
    models: dict[str, ModelRef] = {
        role: put_reader(store, spec, classes, save_weights(spec.build(classes)))
        for role, (spec, classes) in readers.items()
    }
    models["degradation"] = put_filter(store, config.pretrain_degradation.network.build())
    curves = put_curves(store, {})
    return Trained(stage="train_adversarial", seed=0, models=models, metrics={}, curves=curves, seconds=0)


def fit_here(jobs: Sequence[Job], workers: int, what: str, checkpoints: Checkpoints) -> dict[str, Fitted]:
    """As :func:`privadv.training.fit_all`, but in this process, where a forward can be counted."""
    return {job.name: job.fit(lambda steps: None) for job in jobs}


@contextmanager
def _counting() -> Iterator[list[int]]:
    """The clips of every pass through a filter's network in this process, whichever copy of it."""
    seen: list[int] = []
    paint = TransformNetwork.paint

    def counted(self: TransformNetwork, clips: Tensor, before: Tensor | None = None) -> Tensor:
        seen.append(len(clips))
        return paint(self, clips, before)

    with patch.object(TransformNetwork, "paint", counted):
        yield seen


@contextmanager
def a_store(folder: Path) -> Iterator[Store]:
    """An embedded S3 server below ``folder``, which processes that are started meanwhile find in their environment."""
    server = SeaweedServer(folder)
    try:
        server.start()
        with patch.dict(os.environ, server.environment() | {"PRIVADV_S3_BUCKET": "benchmarks"}):
            yield Store.from_environment()
    finally:
        server.stop()
