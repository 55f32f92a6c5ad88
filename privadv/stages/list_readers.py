"""Who reads one row, for a task each: the target and the attackers that the suite sends against it."""

from __future__ import annotations

from typing import Literal

from privadv.config import Section
from privadv.errors import PrivadvError
from privadv.evaluation.results import RowResult
from privadv.evaluation.suite import Suite
from privadv.evaluation.two_fold import TARGET
from privadv.stages.stage import StageContext

Config = Suite


class Readers(Section):
    """``names``: row and reader, such as ``gray resnet/adaptive/warm``, the target first."""

    kind: Literal["readers"] = "readers"
    names: tuple[str, ...]


def run(config: Suite, row: str, context: StageContext, warm: RowResult | None = None) -> Readers:
    """The readers of ``row``; on every row but ``raw`` the choice may need the raw row's result (``warm``).

    Raises:
        PrivadvError: ``warm`` is missing.
    """
    if row != "raw" and warm is None:
        raise PrivadvError(f"list_readers {row}: give the raw row's result")
    attackers = config.against(row, warm.attackers if warm else ())
    return Readers(names=tuple(f"{row} {name}" for name in (TARGET, *(one.name for one in attackers))))


if __name__ == "__main__":
    from privadv.stages.alone import main

    main("list_readers")
