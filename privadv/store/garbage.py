"""What nobody names any more goes, after a week of grace; what a published manifest names never does.

Roots are the references under ``published/``, manifests that stand there without one, and whatever the files
of this machine's workspace name (KFP's cache entries, artifacts, reports). Checkpoints that no attempt has
touched for as long are abandoned.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from privadv.console import progress
from privadv.errors import PrivadvError
from privadv.store.objects import DIGEST, Blob, Entry, Store

GRACE_SECONDS = 7 * 86400.0
BLOBS, CHECKPOINTS = "blobs/", "checkpoints/"
POINTER = re.compile(r'\{"bytes":(\d+),"sha256":"([0-9a-f]{64})"\}')
"""A Blob as manifests write it."""
NAMING = ("pipeline", "cache", "reports")
"""The folders of a workspace whose files name blobs."""


@dataclass(frozen=True)
class Plan:
    """What is to go (``doomed``), and what stays: ``kept`` named blobs, and ``young`` ones that may yet be."""

    references: int
    kept: list[Entry]
    young: list[Entry]
    doomed: list[Entry]


def plan(store: Store, workspace: Path, grace: float = GRACE_SECONDS) -> Plan:
    """Mark; ``grace`` in seconds.

    Raises:
        PrivadvError: a reference cannot be read, so that nobody knows what it keeps.
    """
    # Listed before the references are: a blob that is published meanwhile is found to be named.
    blobs = {_digest(entry.key): entry for entry in store.entries(BLOBS)}
    references = store.published()
    named = _closure(store, blobs, [*map(_digest, references), *mentioned(workspace)])
    unnamed = [entry for digest, entry in blobs.items() if digest not in named]
    old = [entry for entry in unnamed if entry.age > grace]
    unrecorded = [_digest(entry.key) for entry in old if _is_manifest(store, entry)]
    saved = _closure(store, blobs, unrecorded)
    return Plan(
        references=len(references) + len(unrecorded),
        kept=[entry for digest, entry in blobs.items() if digest in named or digest in saved],
        young=[entry for entry in unnamed if entry.age <= grace and _digest(entry.key) not in saved],
        doomed=[entry for entry in old if _digest(entry.key) not in saved] + _abandoned(store, grace))


def sweep(store: Store, found: Plan, grace: float = GRACE_SECONDS) -> int:
    """Delete the doomed, but for those that were written again since; gives how many went."""
    gone = [entry.key for entry in found.doomed if (now := store.entry(entry.key)) and now.age > grace]
    store.remove(gone)
    return len(gone)


def forget(store: Store, key: str, workspace: Path) -> None:
    """Withdraw the reference ``published/<stage>/<sha256>`` and its manifest; what only it named is garbage then.

    Raises:
        PrivadvError: there is no such reference, or its manifest is named by another one or by the workspace.
    """
    references = store.published()
    if key not in references:
        raise PrivadvError(f"{key}: no such reference: `python -m privadv.store refs` lists them")
    digest = _digest(key)
    for other, record in references.items():
        if digest in record.names and other != key:
            raise PrivadvError(f"{key} is named by {other}: forget that one first")
    if digest in (holders := mentioned(workspace)):
        raise PrivadvError(f"{key} is named by {holders[digest]}: remove that file first, or every run: "
                           f"make clean-runs WORKSPACE={workspace.absolute()}")
    store.remove([Blob(sha256=digest, bytes=0).key, key])


def verify(store: Store) -> dict[str, str]:
    """Every blob that a published manifest points to but is not there, or whose bytes are not its own: key to fault.

    Reads the whole store.
    """
    blobs = {entry.key: Blob(sha256=_digest(entry.key), bytes=entry.bytes) for entry in store.entries(BLOBS)}
    for reference in store.published():
        manifest = Blob(sha256=_digest(reference), bytes=0)
        text = (store.read(manifest.key) or b"").decode(errors="replace")
        pointed = [Blob(sha256=digest, bytes=int(size)) for size, digest in POINTER.findall(text)]
        blobs |= {blob.key: blob for blob in [manifest, *pointed]}
    with progress("verify", len(blobs)) as bar:
        faults = {}
        for key, blob in sorted(blobs.items()):
            faults[key] = store.check(blob)
            bar.advance()
    return {key: fault for key, fault in faults.items() if fault}


def mentioned(workspace: Path) -> dict[str, Path]:
    """Every sha256 that a file of the workspace names, or has itself, with that file."""
    found: dict[str, Path] = {}
    for folder in NAMING:
        for path in sorted((workspace / folder).rglob("*")):
            if path.is_file():
                data = path.read_bytes()
                text = data.decode("ascii", errors="replace")
                found |= dict.fromkeys([*DIGEST.findall(text), hashlib.sha256(data).hexdigest()], path)
    return found


def _closure(store: Store, blobs: dict[str, Entry], roots: Iterable[str]) -> set[str]:
    """The blobs that roots name, and those that named JSON documents name in turn."""
    named: set[str] = set()
    waiting = list(roots)
    while waiting:
        digest = waiting.pop()
        if digest in named or digest not in blobs:
            continue
        named.add(digest)
        waiting += DIGEST.findall(_document(store, blobs[digest]))
    return named


def _document(store: Store, entry: Entry) -> str:
    """The text of a blob that is JSON, else none; most blobs cost one byte."""
    if store.first_byte(entry.key) not in (b"{", b"["):
        return ""
    return (store.read(entry.key) or b"").decode("utf-8", errors="replace")


def _is_manifest(store: Store, entry: Entry) -> bool:
    """Whether a blob is a manifest that was published before references were kept."""
    try:
        facts = json.loads(_document(store, entry) or "null")
    except (ValueError, RecursionError):
        return False
    return isinstance(facts, dict) and "kind" in facts


def _abandoned(store: Store, grace: float) -> list[Entry]:
    tasks: dict[str, list[Entry]] = {}
    for entry in store.entries(CHECKPOINTS):
        tasks.setdefault(entry.key.split("/")[1], []).append(entry)
    old = [entries for entries in tasks.values() if min(entry.age for entry in entries) > grace]
    # Steps go before the parts that they name.
    return sorted(chain.from_iterable(old), key=lambda entry: "/parts/" in entry.key)


def _digest(key: str) -> str:
    return key.rpartition("/")[2]
