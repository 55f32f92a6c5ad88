"""Attack one row: a fresh target and fresh attackers are trained and tested on its stored clips."""

from __future__ import annotations

import io
import time
from collections.abc import Mapping

import numpy as np
from PIL import Image

from privadv.data.feeds import ClipArray
from privadv.data.manifest import SPLITS, ClipSet
from privadv.errors import PrivadvError
from privadv.evaluation.histogram import histogram_leakage
from privadv.evaluation.paper import published
from privadv.evaluation.results import RowResult
from privadv.evaluation.two_fold import Suite, jobs, result, row_floors, row_metrics
from privadv.models.shelf import Shelf
from privadv.stages.stage import StageContext
from privadv.stages.workbench import Workbench, put_curves, put_reader, record
from privadv.training import FitJob, fit_all

Config = Suite


def run(
    config: Suite,
    row: str,
    clips: ClipSet,
    seed: int,
    context: StageContext,
    warm: RowResult | None = None,
    raw: ClipSet | None = None,
) -> RowResult:
    """The row's result. Every row but ``raw`` needs the raw row's result (``warm``) and its clips (``raw``).

    Raises:
        PrivadvError: ``warm`` or ``raw`` is missing, or the suite asks for readers that ``warm`` does not hold.
    """
    if row != "raw" and (warm is None or raw is None):
        raise PrivadvError(
            f"attack {row}: attackers start from raw video: give the raw row's result and clips"
        )
    start, classes = time.monotonic(), (len(clips.target.classes), len(clips.budget.classes))
    with Workbench(context) as bench:
        arrays = {split: bench.open(clips, split) for split in SPLITS}
        originals = {split: bench.open(raw, split) for split in SPLITS} if raw is not None and row != "raw" else None
        weights = (
            {name: context.store.get(ref.weights) for name, ref in warm.warm.items()}
            if warm and row != "raw"
            else {}
        )
        weights |= published(config.attackers, Shelf(context.store), classes[1], seed)
        todo = jobs(config, row, arrays, originals, classes, weights, warm.attackers if warm else None, seed)
        fitted = fit_all(todo, context.workers, f"attack {row}: {len(todo)} readers")
        test = arrays["test"]
        target, *attackers = (result(job, fitted[job.name], test, config) for job in todo)
        sample = context.store.put(_strip(test))
        nothing = row_floors(test, classes)
        colours = _colours(row, arrays, seed)
    for name, one in fitted.items():
        record(context, name, one)
    metrics = {
        **row_metrics(target, attackers),
        **colours,
        **{k: v for k, v in clips.metrics.items() if k in ("psnr", "A_T_game", "A_B_game")},
    }
    each = {f"A_B/{one.name.replace('/', '-')}": one.accuracy for one in attackers}
    context.tracker.metrics({**metrics, **each})
    keep = {
        job.name: put_reader(context.store, job.spec, job.classes, fitted[job.name].weights)
        for job in todo
        if row == "raw" and isinstance(job, FitJob)
    }
    return RowResult(
        row=row,
        seed=seed,
        clips=clips.digest(),
        target=target,
        attackers=tuple(attackers),
        clip_ids=test.ids,
        target_labels=tuple(test.target.tolist()),
        budget_labels=tuple(test.budget.tolist()),
        groups=test.sources,
        floors=nothing,
        metrics=metrics,
        warm=keep,
        samples=sample,
        seconds=time.monotonic() - start,
        curves=put_curves(context.store, {name: one.curves for name, one in fitted.items()}),
    )


def _colours(row: str, arrays: Mapping[str, ClipArray], seed: int) -> dict[str, float]:
    """On raw video, what colours alone give away: a control on the data, not an attacker."""
    if row != "raw":
        return {}
    return {"A_B_histogram": histogram_leakage(arrays["train"], arrays["test"], seed)}


def _strip(array: ClipArray, clips: int = 6, frames: int = 4) -> bytes:
    """PNG of some test clips, one below the other, with some of their frames side by side; the same ones in every row."""
    chosen = np.linspace(0, len(array) - 1, clips).round().astype(int)
    times = np.linspace(0, array.frames.shape[1] - 1, frames).round().astype(int)
    rows = [np.concatenate(list(array.frames[i][times]), axis=1) for i in chosen]
    buffer = io.BytesIO()
    Image.fromarray(np.concatenate(rows, axis=0)).save(buffer, "PNG")
    return buffer.getvalue()
