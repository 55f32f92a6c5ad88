"""One fresh reader on one row: what the stage attack does with all of them, as a task of its own."""

from __future__ import annotations

from privadv.data.manifest import ClipSet
from privadv.evaluation.results import ReaderOutcome, RowResult
from privadv.evaluation.suite import Suite
from privadv.stages.attack import line_up, outcome, splits
from privadv.stages.stage import StageContext
from privadv.stages.workbench import Workbench
from privadv.training import fit_all

Config = Suite


def run(
    config: Suite,
    row: str,
    reader: str,
    clips: ClipSet,
    seed: int,
    context: StageContext,
    warm: RowResult | None = None,
    raw: ClipSet | None = None,
) -> ReaderOutcome:
    """What became of ``reader``, such as ``resnet/adaptive/warm``, or ``target``.

    Raises:
        PrivadvError: ``warm`` or ``raw`` is missing, or the row has no such reader.
    """
    with Workbench(context) as bench:
        (job,) = line_up(bench, config, row, clips, seed, warm, raw, only=reader)
        fitted = fit_all([job], context.workers, f"attack {row}: {reader}", context.checkpoints)
        keep = row == "raw" or config.goes_on(row) is not None
        return outcome(bench, config, row, job, fitted[reader], splits(bench, clips), keep)


if __name__ == "__main__":
    from privadv.stages.alone import main

    main("fit_reader")
