"""``python -m privadv.workspace FOLDER``: remove every run there, as `make clean-runs` does."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from privadv.console import say
from privadv.errors import exit_code
from privadv.workspace.folder import remove_runs


def main(arguments: list[str] | None = None) -> int:
    """0: no run is left; 2: one is under way there, said in one line."""
    parser = argparse.ArgumentParser(prog="python -m privadv.workspace", description="Remove every run of a workspace.")
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args(arguments).folder
    return exit_code("workspace", lambda: say(f"{folder}: {'no run is left' if remove_runs(folder) else 'holds no runs'}"))


if __name__ == "__main__":
    sys.exit(main())
