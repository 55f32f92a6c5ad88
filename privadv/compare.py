"""``python -m privadv.compare EXPERIMENT``: which filter is better, over all runs of an experiment that may be compared."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from privadv.console import say
from privadv.errors import PrivadvError, exit_code
from privadv.place import workspace
from privadv.scratch import vacant


def main(arguments: list[str] | None = None) -> int:
    """0: done; 2: a mistake in the call, said in one line."""
    options = _parser().parse_args(arguments)
    return exit_code("compare", lambda: run(options.experiment, options.filter, options.output))


def run(experiment: str, filter_: str, output: Path) -> None:
    """Print the tables, write page and figures to ``output`` and log them to a run of their own."""
    from privadv.evaluation.comparison import compare
    from privadv.evaluation.comparison_page import draw, page, table
    from privadv.tracking.archive import Archive

    if output != _usual():  # that one shows the latest; MLflow keeps them all
        vacant(output)
    archive = Archive()
    comparisons, left_out = compare(archive.runs(experiment, filter_))
    pictures = [draw(one, f"pareto_{number}" if number else "pareto") for number, one in enumerate(comparisons)]
    text = page(f"Comparison of {experiment}", comparisons, pictures, left_out)
    files = {"comparison.html": text.encode(), **{f"{one.name}.png": one.png for one in pictures}}
    for one in comparisons:
        say(f"{table(one)}\n")
    if left_out:
        say(f"left out, for lack of results or digests: {', '.join(run.name for run in left_out)}")
    _write(output, files)
    name = f"comparison-{time.strftime('%Y%m%d-%H%M%S')}"
    archive.record(experiment, name, comparisons[0].metrics(), {"kind": "comparison", "filter": filter_}, files)
    say(f"comparison: {output / 'comparison.html'}; in MLflow: {name}")
    say(f"MLflow's own page of the runs: http://127.0.0.1:5000{archive.share_view(experiment)} (make mlflow)")


def _usual() -> Path:
    return workspace() / "comparison"


def _write(output: Path, files: dict[str, bytes]) -> None:
    try:
        output.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            (output / name).write_bytes(content)
    except OSError as error:
        raise PrivadvError(f"{output}: cannot be written ({error.strerror}): give another --output") from None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m privadv.compare", description=__doc__)
    parser.add_argument("experiment", help="the experiment in MLflow, such as privadv")
    parser.add_argument("--filter", default="", help="MLflow's search, such as \"tags.algorithm = 'uniform'\"")
    parser.add_argument("--output", type=Path, default=_usual(), help="a new folder to write to; if not given, the "
                        "workspace's comparison, which always holds the latest")
    return parser


if __name__ == "__main__":
    sys.exit(main())
