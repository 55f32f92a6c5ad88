"""``python -m privadv.tracking ADDRESS``: prepares MLflow's page of the runs, and prints where a server shows it."""

from __future__ import annotations

import sys

from privadv.console import say
from privadv.errors import PrivadvError
from privadv.tracking.archive import Archive


def main(address: str) -> int:
    """0: done; 1: there is nothing to show, said in one line."""
    try:
        archive = Archive()
        pages = {name: archive.share_view(name) for name in archive.experiments()}
    except PrivadvError as error:
        print(f"privadv: {error}", file=sys.stderr)
        return 1
    for name, page in pages.items():
        say(f"{name}: {address}{page}")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
