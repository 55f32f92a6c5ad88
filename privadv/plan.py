"""What a cluster's run does before all else: see whether its parameters make a run, and which stages start afresh."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence

from privadv.errors import PrivadvError
from privadv.evaluation.rows import of_filter
from privadv.run_config import RunConfig

STAGES = (
    "extract_frames",
    "pretrain_degradation",
    "pretrain_target",
    "pretrain_budget",
    "train_adversarial",
    "render",
    "attack",
    "report",
)


def forced(rerun: str) -> dict[str, str]:
    """A nonce for every stage; empty for those that ``rerun``, such as ``attack,report@2``, does not name.

    Raises:
        PrivadvError: ``rerun`` names no stage, or has no mark after ``@``.
    """
    named, _, mark = rerun.partition("@")
    stages = [name.strip() for name in named.split(",")] if rerun.strip() else []
    for name in stages:
        if name not in STAGES:
            raise PrivadvError(f"rerun = '{rerun}': '{name}' is no stage: name some of {', '.join(STAGES)}")
    if stages and not re.fullmatch(r"[\w.-]+", mark):
        raise PrivadvError(f"rerun = '{rerun}': write the stages and a new mark, such as {named}@2")
    return {stage: mark if stage in stages else "" for stage in STAGES}


def settled(config: RunConfig) -> str:
    """The run as JSON, without where a cluster runs it and in how many tasks: the results know neither."""
    return json.dumps(config.model_dump(mode="json", exclude={"cluster", "fan_out"}), sort_keys=True, separators=(",", ":"))


def plan(
    run: str, seed: int, releases: Sequence[str], baselines: Sequence[str], sections: Mapping[str, str], rerun: str
) -> tuple[str, ...]:
    """The run's configuration as JSON, and the nonce of each of STAGES.

    Args:
        releases: the rows of the filter, ``filter`` itself among them; ``baselines`` are all others but raw.
        sections: for each stage, its configuration section as JSON.

    Raises:
        PrivadvError: the parameters make no run.
    """
    parsed = {}
    for stage, section in sections.items():
        try:
            parsed[stage] = json.loads(section)
        except ValueError as error:
            raise PrivadvError(f"{stage}_config is no JSON ({error}): mend it there") from None
    misplaced = [row for row in releases if not of_filter(row)] + [row for row in baselines if of_filter(row)]
    if misplaced or "filter" not in releases:
        raise PrivadvError(f"releases = {[*releases]}: name filter and its other forms there, all other rows in baselines")
    rows = ["raw", *releases, *baselines]
    config = RunConfig.parse({"name": run, "seed": seed, "rows": rows, **parsed}, "the run's parameters")
    nonces = forced(rerun)
    return (settled(config), *(nonces[stage] for stage in STAGES))
