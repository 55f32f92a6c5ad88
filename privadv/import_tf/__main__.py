"""Old TensorFlow checkpoints become models of this project: ``python -m privadv.import_tf PATH OUT``.

Every variable is accounted for: imported, dropped because it is known to be no part of a network, or refused by name.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from privadv.console import say
from privadv.errors import exit_code
from privadv.import_tf.importing import import_checkpoints
from privadv.models.tensorflow.same import Range
from privadv.models.tensorflow.scopes import Options


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m privadv.import_tf", description=__doc__)
    parser.add_argument("path", type=Path, help="a checkpoint, its folder, or a folder of such folders")
    parser.add_argument("out", type=Path, help="the new folder for manifest.json and the weights")
    parser.add_argument(
        "--allow-unknown", nargs="+", default=[], metavar="NAME", help="variables to leave out"
    )
    parser.add_argument(
        "--allow-missing", nargs="+", default=[], metavar="NAME", help="variables to go without"
    )
    parser.add_argument("--clip", nargs=3, type=int, default=[16, 112, 112], metavar=("T", "H", "W"))
    parser.add_argument(
        "--reads", choices=Range.__args__, help="the range the networks read, if not the usual"
    )
    parser.add_argument(
        "--statistics", choices=["moving", "batch"], help="what the batch norms use, if not the usual"
    )
    parser.add_argument("--white", type=float, default=255.0, help="the value that the filter read as white")
    parser.add_argument(
        "--gray", action=argparse.BooleanOptionalAction, help="whether the filter's channels were averaged, if not the usual"
    )
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """0: done; 2: refused, said in one line."""
    given = _arguments(arguments)
    return exit_code("import_tf", lambda: _import(given))


def _import(given: argparse.Namespace) -> None:
    chosen = {key: value for key, value in vars(given).items() if key not in ("path", "out")}
    manifest = import_checkpoints(given.path, given.out, Options.parse(chosen, "options"))
    for role, model in manifest.models.items():
        classes = f", {model.classes} classes" if model.classes else ""
        say(f"{role}: {model.scope} of {model.source}{classes} -> {given.out / model.file}")
    for kind, count in manifest.dropped.items():
        say(f"dropped: {count} x {kind}")
    for note in manifest.notes:
        say(f"note: {note}")


if __name__ == "__main__":
    raise SystemExit(main())
