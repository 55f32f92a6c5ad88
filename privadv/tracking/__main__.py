"""``python -m privadv.tracking ADDRESS``: prepares MLflow's page of the runs, and prints where a server shows it."""

from __future__ import annotations

import sys

from privadv.console import say
from privadv.errors import exit_code
from privadv.tracking.archive import Archive


def main(address: str) -> int:
    """0: done; 2: there is nothing to show, said in one line."""
    return exit_code("mlflow", lambda: _show(address))


def _show(address: str) -> None:
    archive = Archive()
    for name in archive.experiments():
        say(f"{name}: {address}{archive.share_view(name)}")


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
