"""What a run is, in short texts: the tags by which runs are sorted, and the digests that say which may be compared."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from privadv.errors import PrivadvError
from privadv.evaluation.summary import Evidence

COMPARABLE = ("digest.dataset", "digest.split", "digest.suite")
"""Runs that differ in one of these tags were measured on other clips or by other attackers: no number compares them."""

POOLED = "digest.config"
"""Runs with this tag in common differ in nothing but their seed, and in what they were compared with."""

BESIDE_THE_FILTER = ("name", "seed", "rows", "report")
"""Sections of a configuration on which neither the filter nor its evaluation depends."""


def tags(evidence: Evidence) -> dict[str, str]:
    """The tags of a run that left ``evidence``.

    Raises:
        PrivadvError: its configuration lacks a section or a key.
    """
    config = json.loads(evidence.configuration)
    try:
        return {**_facts(evidence, config), **_digests(evidence, config)}
    except KeyError as error:
        raise PrivadvError(f"report: the configuration has no {error}: give the whole run, with every default in it") from None


def _facts(evidence: Evidence, config: dict[str, Any]) -> dict[str, str]:
    game, restart = config["train_adversarial"], config["train_adversarial"]["restart"]
    return {
        "dataset": evidence.clips.dataset,
        "synthetic": str(evidence.clips.synthetic).lower(),
        "algorithm": game["algorithm"]["kind"],
        "restarting": f"every {restart['every']}" if restart else "no",
        "budget_models": str(game["models"] or len(config["pretrain_budget"]["readers"])),
        "seed": str(evidence.seed),
        "git": evidence.versions["privadv"],
    }


def _digests(evidence: Evidence, config: dict[str, Any]) -> dict[str, str]:
    raw, clips = evidence.result("raw"), evidence.clips
    counts = {split: clips.count(split) for split in clips.splits}
    # Which families a game has seen is a label on the attackers: they are the same without it.
    suite = {name: value for name, value in config["attack"].items() if name != "seen"}
    # How many releases attackers learn from, and what masked rows mask, are as much a part of who attacks what.
    suite |= {f"render.{name}": config["render"][name] for name in ("draws", "masking")}
    if raw.protocol > 1:  # tags of runs before there was a second one stay what they were
        suite["protocol"] = raw.protocol
    filter_ = {name: value for name, value in config.items() if name not in BESIDE_THE_FILTER}
    return {
        "digest.dataset": clips.digest(),
        "digest.split": _digest([counts, raw.clip_ids, raw.groups, raw.target_labels, raw.budget_labels]),
        "digest.suite": _digest(suite),
        POOLED: _digest(filter_),
    }


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
