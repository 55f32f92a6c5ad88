"""Attack one row: a fresh target and fresh attackers are trained and tested on its stored clips."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
from PIL import Image

from privadv.data.feeds import ClipArray, Player
from privadv.data.manifest import SPLITS, ClipSet
from privadv.errors import PrivadvError
from privadv.evaluation.attributes import blind
from privadv.evaluation.histogram import histogram_leakage
from privadv.evaluation.results import PROTOCOL, ReaderOutcome, RowResult, on_raw
from privadv.evaluation.suite import Suite
from privadv.evaluation.two_fold import (
    TARGET,
    AnyJob,
    Arrays,
    finals,
    jobs,
    published,
    result,
    row_floors,
    row_metrics,
    went_on,
)
from privadv.models.shelf import Shelf, begin
from privadv.stages.stage import StageContext
from privadv.stages.workbench import Workbench, put_curves, put_reader, record
from privadv.training import FitJob, Fitted, fit_all

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
    start = time.monotonic()
    with Workbench(context) as bench:
        arrays = splits(bench, clips)
        todo = line_up(bench, config, row, clips, seed, warm, raw)
        fitted = fit_all(todo, context.workers, f"attack {row}: {len(todo)} readers", context.checkpoints)
        outcomes = [outcome(bench, config, row, job, fitted[job.name], arrays, row == "raw") for job in todo]
        outcomes = second_round(bench, config, row, clips, seed, outcomes, lambda name: fitted[name].weights)
        found = joined(bench, row, clips, seed, outcomes)
    return found.model_copy(update={"seconds": time.monotonic() - start})


def line_up(
    bench: Workbench,
    config: Suite,
    row: str,
    clips: ClipSet,
    seed: int,
    warm: RowResult | None,
    raw: ClipSet | None,
    only: str | None = None,
) -> list[AnyJob]:
    """The fits of a row, the target's first, or of ``only`` one of its readers.

    Raises:
        PrivadvError: as :func:`run`, or the row has no such reader.
    """
    if row != "raw" and (warm is None or raw is None):
        raise PrivadvError(
            f"attack {row}: attackers start from raw video: give the raw row's result and clips"
        )
    store, classes = bench.context.store, (len(clips.target.classes), len(clips.budget.classes))
    originals = splits(bench, raw) if raw is not None and row != "raw" else None
    known = warm.warm if warm and row != "raw" else {}
    # One reader needs no other's weights, but all must be there.
    needed = known if only is None else {only, on_raw(only)}
    weights = {name: store.get(ref.weights) if name in needed else b"" for name, ref in known.items()}
    weights |= published(config.attackers, Shelf(store), classes[1], seed, only)
    if row == "raw" and config.target_init:
        weights[TARGET] = begin(Shelf(store), config.target_init, config.target, classes[0], seed)
    reached = warm.attackers if warm else ()
    todo = jobs(config, row, splits(bench, clips), originals, classes, weights, reached, seed)
    chosen = [job for job in todo if only in (None, job.name)]
    if not chosen:
        raise PrivadvError(f"attack {row}: no reader '{only}': one of {', '.join(job.name for job in todo)}")
    return chosen


def outcome(
    bench: Workbench, config: Suite, row: str, job: AnyJob, fitted: Fitted, arrays: Mapping[Player, Arrays], keep: bool
) -> ReaderOutcome:
    """What became of a reader; its weights are kept where other readers, or itself in another task, will start from them."""
    context, kept = bench.context, None
    if keep and isinstance(job, FitJob):
        kept = put_reader(context.store, job.spec, job.classes, fitted.weights)
    record(context, job.name, fitted)
    found = result(job, fitted, arrays[job.player]["test"], config)
    return ReaderOutcome(result=found, curves=fitted.curves, weights=kept)


def second_round(
    bench: Workbench,
    config: Suite,
    row: str,
    clips: ClipSet,
    seed: int,
    outcomes: Sequence[ReaderOutcome],
    weights: Callable[[str], bytes],
) -> list[ReaderOutcome]:
    """The readers after the suite's finals, those who take part in them further on; the target's first."""
    context, arrays = bench.context, splits(bench, clips)
    classes = len(clips.target.classes), len(clips.budget.classes)
    todo = finals(config, row, arrays, classes, [one.result for one in outcomes], weights, seed)
    if not todo:
        return list(outcomes)
    what = f"attack {row}: the best {len(todo) - 1} and the target go on"
    fitted = fit_all(todo, context.workers, what, context.checkpoints.piece("finals"))
    after = {}
    for job in todo:
        record(context, job.name, fitted[job.name], " (finals)")
        after[job.name] = result(job, fitted[job.name], arrays[job.player]["test"], config)
    return [
        went_on(one, after[one.result.name], fitted[one.result.name].curves) if one.result.name in after else one
        for one in outcomes
    ]


def joined(
    bench: Workbench, row: str, clips: ClipSet, seed: int, outcomes: Sequence[ReaderOutcome]
) -> RowResult:
    """The row's result out of those of its readers, the target's first; ``seconds`` are the sum of theirs."""
    context, arrays = bench.context, splits(bench, clips)
    test, private = arrays["target"]["test"], arrays["budget"]["test"]
    target, *attackers = (one.result for one in outcomes)
    metrics = {
        **row_metrics(target, attackers),
        **_colours(row, arrays["budget"], seed),
        **{k: v for k, v in clips.metrics.items() if k in ("psnr", "flicker", "kbit_per_second", "A_T_game", "A_B_game")},
    }
    each = {f"A_B/{one.name.replace('/', '-')}": one.score for one in attackers}
    context.tracker.metrics({**metrics, **each})
    return RowResult(
        protocol=PROTOCOL,
        row=row,
        seed=seed,
        clips=clips.digest(),
        target=target,
        attackers=tuple(attackers),
        clip_ids=test.ids,
        target_labels=tuple(test.target.tolist()),
        budget_labels=_labels(private),
        groups=test.groups,
        private_ids=private.ids if clips.private else (),
        private_groups=private.groups if clips.private else (),
        floors=row_floors(arrays, (len(clips.target.classes), len(clips.budget.classes))),
        blind_validation=blind(arrays["budget"]["val"].budget.numpy(), len(clips.budget.classes)),
        metrics=metrics,
        warm={one.result.name: one.weights for one in outcomes if one.weights and row == "raw"},
        samples=context.store.put(_strip([test] if clips.private is None else [test, private])),
        seconds=sum(one.result.seconds for one in outcomes),
        curves=put_curves(context.store, {one.result.name: one.curves for one in outcomes}),
    )


def splits(bench: Workbench, clips: ClipSet) -> dict[Player, dict[str, ClipArray]]:
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


if __name__ == "__main__":
    from privadv.stages.alone import main

    main("attack")
