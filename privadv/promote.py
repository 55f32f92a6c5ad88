"""``python -m privadv.promote MODEL``: the candidate becomes the champion, unless the champion is better."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from privadv.console import say
from privadv.errors import PrivadvError, exit_code
from privadv.tracking import CANDIDATE, CHAMPION

if TYPE_CHECKING:
    from privadv.tracking.archive import Version


def main(arguments: list[str] | None = None) -> int:
    """0: done; 2: refused, said in one line."""
    options = _parser().parse_args(arguments)
    return exit_code("promote", lambda: run(options.model, options.version, options.without_evidence))


def run(model: str, which: str = CANDIDATE, without_evidence: bool = False) -> None:
    """Let ``champion`` name a version, by number or alias, of a registered filter.

    Raises:
        PrivadvError: there is no such version, its run failed or proves nothing, it cannot be compared with the
            present champion, or the champion dominates it.
    """
    from privadv.tracking.archive import Archive

    archive = Archive()
    challenger, champion = archive.version(model, which), archive.version(model, CHAMPION)
    if challenger is None:
        known = ", ".join(archive.models()) or "(none yet: make run registers one)"
        raise PrivadvError(f"promote: {model} has no version '{which}'; registered filters: {known}")
    check(challenger, champion, without_evidence)
    archive.name(challenger, CHAMPION)
    before = f", in the place of version {champion.number} ({_numbers(champion)})" if champion else ""
    say(f"promote: version {challenger.number} of {model} ({_numbers(challenger)}) is the champion{before}")


def check(challenger: Version, champion: Version | None, without_evidence: bool) -> None:
    """Raises PrivadvError if ``challenger`` must not take the champion's place; None: the place is free."""
    from privadv.evaluation.comparison import dominated
    from privadv.evaluation.identity import COMPARABLE

    metrics, who = challenger.run.metrics, f"promote: version {challenger.number} of {challenger.model}"
    missing = [name for name in ("A_T", "A_B_max", "leakage_counts") if name not in metrics]
    if missing:
        raise PrivadvError(f"{who}: its run {challenger.run.name} has no {', '.join(missing)}: promote a finished run's")
    if not metrics["leakage_counts"] and not without_evidence:
        raise PrivadvError(f"{who}: its leakage is no evidence of privacy (leakage_counts is 0, see the report of "
                           f"{challenger.run.name}): attack it harder, or say --without-evidence")  # fmt: skip
    if champion is None or champion.number == challenger.number:
        return
    for tag in COMPARABLE:
        ours, theirs = (one.run.tags.get(tag, "(none)") for one in (challenger, champion))
        if ours != theirs:
            raise PrivadvError(f"{who} cannot be compared with the champion, version {champion.number}: {tag} is "
                               f"{ours[:12]}, not {theirs[:12]}: run it on the champion's clips and suite")  # fmt: skip
    if dominated(metrics, champion.run.metrics):
        raise PrivadvError(f"{who} ({_numbers(challenger)}) is dominated by the champion, version {champion.number} "
                           f"({_numbers(champion)}): it stays")  # fmt: skip


def _numbers(version: Version) -> str:
    return ", ".join(f"{name} {version.run.metrics.get(name, float('nan')):.3f}" for name in ("A_T", "A_B_max"))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m privadv.promote", description=__doc__)
    parser.add_argument("model", help="the registered filter, such as privadv-synthetic-48x48")
    parser.add_argument("--version", default=CANDIDATE, help="a number or an alias; the candidate unless said")
    parser.add_argument("--without-evidence", action="store_true",
                        help="even if too few attackers converged to prove anything")  # fmt: skip
    return parser


if __name__ == "__main__":
    sys.exit(main())
