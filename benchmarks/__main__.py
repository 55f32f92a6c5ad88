"""`python -m benchmarks [--only NAME ...] [--repetitions N]`: measure, print one table, renew docs/benchmarks.md."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from benchmarks import gpu, section
from benchmarks.report import markdown, show
from privadv.errors import PrivadvError

SECTIONS = ("training", "alternatives", "precision", "extraction", "feeding", "evaluation", "growth", "footprint", "gpu")
"""Modules of this package; each one's ``rows(repetitions)`` measures; ``versions()``, where it has that, names what else ran, and
``REPEATED = False`` says that it measures once.
"""

PAGE = Path("docs/benchmarks.md")


def main(arguments: list[str] | None = None) -> int:
    """Measure the wanted sections; those of the page that were not wanted stay as they are."""
    wanted = _parser().parse_args(arguments)
    only = "".join(f" --only {name}" for name in wanted.only or ())
    command = f"python -m benchmarks{only} --repetitions {wanted.repetitions} --threads {wanted.threads}"
    os.environ |= {"PRIVADV_DEVICE": "cpu", "OMP_NUM_THREADS": str(wanted.threads)}
    names = wanted.only or [name for name in SECTIONS if name != "gpu" or gpu.here()]
    measured = []
    try:
        for name in names:
            measured.append(section.measured(name, wanted.repetitions, wanted.threads, command))
            # What has been measured is not lost to a later section's error.
            wanted.output.write_text(markdown(measured, wanted.output.read_text() if wanted.output.exists() else ""))
        show(measured)
    except (PrivadvError, OSError, subprocess.CalledProcessError, BrokenProcessPool) as error:
        print(f"benchmarks: {names[len(measured)]}: {error}", file=sys.stderr)
        return 1
    return 0


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
