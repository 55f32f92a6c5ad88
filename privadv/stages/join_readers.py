"""The result of one row out of those of its readers, as the stage attack would have given it: the best of them go on here."""

from __future__ import annotations

from privadv.data.manifest import ClipSet
from privadv.evaluation.results import ReaderOutcome, RowResult
from privadv.evaluation.suite import Suite
from privadv.stages.attack import joined, second_round
from privadv.stages.stage import StageContext
from privadv.stages.workbench import Workbench

Config = Suite


def run(
    config: Suite, row: str, clips: ClipSet, readers: tuple[ReaderOutcome, ...], seed: int, context: StageContext
) -> RowResult:
    """The row's result; ``readers`` in the order of list_readers, the target first."""
    kept = {one.result.name: one.weights for one in readers if one.weights}
    with Workbench(context) as bench:
        after = second_round(bench, config, row, clips, seed, readers, lambda name: context.store.get(kept[name].weights))
        return joined(bench, row, clips, seed, after)


if __name__ == "__main__":
    from privadv.stages.alone import main

    main("join_readers")
