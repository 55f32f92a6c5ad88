"""Care of the store: ``python -m privadv.store gc | refs | forget KEY | verify``."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from privadv.console import amount_of, say
from privadv.errors import exit_code
from privadv.place import workspace
from privadv.store.garbage import GRACE_SECONDS, forget, plan, sweep, verify
from privadv.store.objects import Entry, Store
from privadv.workspace import Workspace, with_store

LISTED = 20
DAY = 86400.0


def gc(store: Store, options: argparse.Namespace) -> int:
    """Show what nobody names any more; --delete removes it."""
    grace = options.grace_days * DAY
    found = plan(store, options.workspace, grace)
    say(f"{found.references} published manifests name {_amount(found.kept)}; {_amount(found.young)} are younger "
        f"than {options.grace_days:g} days and stay")
    say(f"{_amount(found.doomed)} may go")
    for entry in found.doomed[:LISTED]:
        say(f"  {entry.key} ({entry.bytes} bytes, {entry.age / DAY:.1f} days old)")
    if len(found.doomed) > LISTED:
        say(f"  ... and {len(found.doomed) - LISTED} more")
    if options.delete:
        say(f"{sweep(store, found, grace)} objects deleted")
    elif found.doomed:
        say("nothing was deleted: add --delete")
    return 0


def refs(store: Store, options: argparse.Namespace) -> int:
    """List what has been published."""
    for key, record in store.published().items():
        say(f"{key} {record.row} names {len(record.names)}")
    return 0


def withdraw(store: Store, options: argparse.Namespace) -> int:
    """Give up published manifests, so that gc may take what only they name."""
    for key in options.keys:
        forget(store, key, options.workspace)
        say(f"{key} forgotten: a cached task that names it will ask for rerun={key.split('/')[1]}")
    return 0


def check(store: Store, options: argparse.Namespace) -> int:
    """Read every blob; --delete removes those whose bytes are not their own."""
    faults = verify(store)
    for fault in faults.values():
        say(fault)
    if options.delete:
        store.remove(list(faults))
    say(f"{len(faults)} faults" + (", damaged objects deleted" if faults and options.delete else ""))
    return 1 if faults else 0


@contextmanager
def _opened(workspace: Path) -> Iterator[Store]:
    """The server that the environment names, else the workspace's own, which then no run may be using."""
    if os.environ.get("PRIVADV_S3_ENDPOINT"):
        yield Store.from_environment()
    else:
        with Workspace(with_store(workspace)) as own:
            yield Store.from_environment(own.environment())


def _amount(entries: Iterable[Entry]) -> str:
    sizes = [entry.bytes for entry in entries]
    return f"{len(sizes)} objects ({sum(sizes) / 1e6:.1f} MB)"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m privadv.store", description=__doc__)
    verbs = parser.add_subparsers(required=True, metavar="gc|refs|forget|verify")
    for name, verb in (("gc", gc), ("refs", refs), ("forget", withdraw), ("verify", check)):
        options = verbs.add_parser(name, help=verb.__doc__, description=verb.__doc__)
        options.set_defaults(verb=verb)
        options.add_argument("--workspace", type=Path, help="its runs' files name blobs too; default .privadv",
                             default=workspace())
        if verb is withdraw:
            options.add_argument("keys", nargs="+", metavar="published/STAGE/SHA256")
        if verb in (gc, check):
            options.add_argument("--delete", action="store_true", help="do it; without, only tell")
        if verb is gc:
            options.add_argument("--grace-days", type=amount_of("days", none=True), default=GRACE_SECONDS / DAY,
                                 help="what is younger stays: a running stage publishes last (default 7; less "
                                      "only while no stage runs)")
    return parser


def _answer(options: argparse.Namespace) -> int:
    with _opened(options.workspace) as store:
        return options.verb(store, options)


def main(arguments: list[str] | None = None) -> int:
    """0: done; 1: the store is not whole; 2: a mistake in the call, or no server, said in one line."""
    options = _parser().parse_args(arguments)
    return exit_code("store", lambda: _answer(options))


if __name__ == "__main__":
    sys.exit(main())
