"""Attack one row: a fresh target and fresh attackers are trained and tested on its stored clips."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from PIL import Image

from privadv.data.feeds import ClipArray, Player
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

    Attackers learn and are tested on the clips that label the privacy task, the target on those that label its own.

    Raises:
        PrivadvError: ``warm`` or ``raw`` is missing, or the suite asks for readers that ``warm`` does not hold.
    """
    if row != "raw" and (warm is None or raw is None):
        raise PrivadvError(
            f"attack {row}: attackers start from raw video: give the raw row's result and clips"
        )
    start, classes = time.monotonic(), (len(clips.target.classes), len(clips.budget.classes))
    with Workbench(context) as bench:
        arrays = _splits(bench, clips)
        originals = _splits(bench, raw) if raw is not None and row != "raw" else None
        weights = (
            {name: context.store.get(ref.weights) for name, ref in warm.warm.items()}
            if warm and row != "raw"
            else {}
        )
        weights |= published(config.attackers, Shelf(context.store), classes[1], seed)
        todo = jobs(config, row, arrays, originals, classes, weights, warm.attackers if warm else None, seed)
        fitted = fit_all(todo, context.workers, f"attack {row}: {len(todo)} readers")
        test, private = arrays["target"]["test"], arrays["budget"]["test"]
        target, *attackers = (
            result(job, fitted[job.name], arrays[job.player]["test"], config) for job in todo
        )
        sample = context.store.put(_strip([test] if clips.private is None else [test, private]))
        nothing = row_floors(arrays, classes)
        colours = _colours(row, arrays["budget"], seed)
    for name, one in fitted.items():
        record(context, name, one)
    metrics = {
        **row_metrics(target, attackers),
        **colours,
        **{k: v for k, v in clips.metrics.items() if k in ("psnr", "A_T_game", "A_B_game")},
    }
    each = {f"A_B/{one.name.replace('/', '-')}": one.score for one in attackers}
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
        budget_labels=_labels(private),
        groups=test.sources,
        private_ids=private.ids if clips.private else (),
        private_groups=private.sources if clips.private else (),
        floors=nothing,
        metrics=metrics,
        warm=keep,
        samples=sample,
        seconds=time.monotonic() - start,
        curves=put_curves(context.store, {name: one.curves for name, one in fitted.items()}),
    )


def _splits(bench: Workbench, clips: ClipSet) -> dict[Player, dict[str, ClipArray]]:
    """All splits of the set that labels each task."""
    sets: dict[Player, ClipSet] = {"target": clips, "budget": clips.privacy}
    return {player: {split: bench.open(one, split) for split in SPLITS} for player, one in sets.items()}


def _labels(array: ClipArray) -> tuple[int, ...] | tuple[tuple[int, ...], ...]:
    labels = array.budget.tolist()
    return tuple(labels) if array.budget.ndim == 1 else tuple(map(tuple, labels))


def _colours(row: str, arrays: Mapping[str, ClipArray], seed: int) -> dict[str, float]:
    """On raw video, what colours alone give away: a control on the data, not an attacker."""
    if row != "raw":
        return {}
    return {"A_B_histogram": histogram_leakage(arrays["train"], arrays["test"], seed)}


def _strip(arrays: Sequence[ClipArray], clips: int = 6, frames: int = 4) -> bytes:
    """PNG of some test clips of each array, one below the other, with some of their frames side by side; the same ones in
    every row. Single frames stand side by side.
    """
    buffer = io.BytesIO()
    lines = [line for array in arrays for line in _lines(array, clips, frames)]
    Image.fromarray(np.concatenate(lines, axis=0)).save(buffer, "PNG")
    return buffer.getvalue()


def _lines(array: ClipArray, clips: int, frames: int) -> Iterator[np.ndarray]:
    """Pictures (H, frames * W, 3)."""
    still = array.frames.shape[1] == 1
    chosen = np.linspace(0, len(array) - 1, clips * frames if still else clips).round().astype(int)
    times = np.linspace(0, array.frames.shape[1] - 1, 1 if still else frames).round().astype(int)
    pictures = [picture for i in chosen for picture in array.frames[i][times]]
    for start in range(0, len(pictures), frames):
        yield np.concatenate(pictures[start : start + frames], axis=1)
