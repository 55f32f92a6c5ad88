"""`python -m benchmarks [--only NAME ...] [--repetitions N]`: measure, print one table, renew docs/benchmarks.md."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from pathlib import Path

from benchmarks.report import Measured, markdown, show
from privadv.errors import PrivadvError

SECTIONS = ("training", "alternatives", "precision", "extraction", "feeding", "evaluation", "growth", "footprint", "gpu")
"""Modules of this package; each one's ``rows(repetitions)`` measures; ``versions()``, where it has that, names what else ran."""

PAGE = Path("docs/benchmarks.md")


def main(arguments: list[str] | None = None) -> int:
    """Measure the wanted sections; those of the page that were not wanted stay as they are."""
    wanted = _parser().parse_args(arguments)
    only = "".join(f" --only {name}" for name in wanted.only or ())
    command = f"python -m benchmarks{only} --repetitions {wanted.repetitions} --threads {wanted.threads}"
    try:
        os.environ["PRIVADV_DEVICE"] = "cpu"
        measured = [_measure(name, wanted, command) for name in wanted.only or SECTIONS]
        show(measured)
        wanted.output.write_text(markdown(measured, wanted.output.read_text() if wanted.output.exists() else ""))
    except (PrivadvError, OSError) as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 1
    return 0


def _measure(name: str, wanted: argparse.Namespace, command: str) -> Measured:
    import torch

    torch.set_num_threads(wanted.threads)
    before = os.getloadavg()[0]
    section = importlib.import_module(f"benchmarks.{name}")
    rows, others = section.rows(wanted.repetitions), getattr(section, "versions", list)()
    return Measured(name, tuple(rows), command, wanted.repetitions, wanted.threads, before, tuple(others))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", action="append", choices=SECTIONS, help="a section; may be given again")
    parser.add_argument("--repetitions", type=_positive, default=5, help="pairs a median is taken of (5)")
    parser.add_argument("--threads", type=_positive, default=len(os.sched_getaffinity(0)), help="of torch (all cores)")
    parser.add_argument("--output", type=Path, default=PAGE, help=f"the page ({PAGE})")
    return parser


def _positive(text: str) -> int:
    if not text.isdigit() or not int(text):
        raise argparse.ArgumentTypeError(f"'{text}' is no number above 0")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
