"""The result of one row out of those of its readers, as the stage attack would have given it."""

from __future__ import annotations

from privadv.data.manifest import ClipSet
from privadv.evaluation.results import ReaderOutcome, RowResult
from privadv.evaluation.two_fold import Suite
from privadv.stages.attack import joined
from privadv.stages.stage import StageContext
from privadv.stages.workbench import Workbench

Config = Suite


def run(
    config: Suite, row: str, clips: ClipSet, readers: tuple[ReaderOutcome, ...], seed: int, context: StageContext
) -> RowResult:
    """The row's result; ``readers`` in the order of list_readers, the target first."""
    with Workbench(context) as bench:
        return joined(bench, row, clips, seed, readers)


if __name__ == "__main__":
    from privadv.stages.alone import main

    main("join_readers")
