"""A run's report in a folder: ``privadv report SOURCE...`` gets one from the store, or makes one over those of several seeds.

The folder is all that it takes to make such a report again, on any machine: what was measured lies in it beside the page.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import webbrowser
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from privadv.console import say
from privadv.data.roots import BUCKET
from privadv.errors import PrivadvError, exit_code
from privadv.place import workspace
from privadv.scratch import vacant, whole_folder
from privadv.store import Blob, Store
from privadv.store.objects import DIGEST
from privadv.tracking import MANIFEST, WEIGHTS
from privadv.workspace import Workspace

REPORT, PAGE, EVIDENCE = "report.json", "report.html", "evidence"
NO_REPORT = (ValueError, LookupError, TypeError, AttributeError, RecursionError)
"""What reading something else as a report's manifest raises."""


def publish(report: str, store: Store, folder: Path) -> None:
    """Lay a report's page, its evidence and its filter into a new ``folder``, and print its table and where they lie.

    Raises:
        PrivadvError: something is there already, it cannot be made, or the store lacks what the report names.
    """
    manifest = json.loads(report)
    files = {REPORT: report.encode(), PAGE: _get(manifest["page"], store)}
    if manifest["filter"]:
        files[MANIFEST] = json.dumps(manifest["filter"], indent=2).encode()
        files[WEIGHTS] = _get(manifest["filter"]["weights"], store)
    evidence = _evidence(manifest, lambda blob: _get(blob, store))
    files |= {f"{EVIDENCE}/{sha256}": content for sha256, content in evidence.items()}
    with whole_folder(folder) as part:
        (part / EVIDENCE).mkdir()
        for name, content in files.items():
            (part / name).write_bytes(content)
    say(f"\n{manifest['table']}\n")
    for what, name in (("report", PAGE), ("filter", WEIGHTS)):
        if name in files:
            say(f"{what}: {folder / name}")
    _show(folder / PAGE)


def _evidence(manifest: dict[str, Any], get: Callable[[dict[str, Any]], bytes]) -> dict[str, bytes]:
    """By their sha256, what the page of one seed or of several is drawn from: results, and the curves and pictures they name."""
    found = {}
    for blob in manifest["evidence"]:
        found[blob["sha256"]] = text = get(blob)
        one = json.loads(text)
        named = [stage["curves"] for stage in one["stages"]] + [row["samples"] for row in one["results"]]
        named += [row["curves"] for row in one["results"] if row["row"] == "filter"]
        found |= {each["sha256"]: get(each) for each in named if each}
    return found


def _get(blob: dict[str, Any], store: Store) -> bytes:
    return store.get(Blob.model_validate(blob))


def pooled(reports: Sequence[tuple[str, str]], store: Store) -> str:
    """The manifest of one report over those of several seeds, each with where it is from; of one, that itself, drawn again
    where its page is lost.

    Raises:
        PrivadvError: one is no report, a seed comes twice, or they are not of the same rows and clips.
    """
    from privadv.stages import report as stage  # imports torch, which a call without work need not wait for

    parsed = [stage.Report.parse(text, source) for source, text in reports]
    if len(parsed) > 1:
        return stage.pool(parsed, store).canonical()
    only = parsed[0]
    if store.entry(only.page.key):
        return only.canonical()
    return stage.pool(parsed, store).model_copy(update={"filter": only.filter}).canonical()


def read(source: str, store: Store) -> str:
    """The manifest that ``source`` names: a report's folder, its report.json, or where KFP has it, minio://bucket/key.

    The store gets what a folder has beside it, in case the run was another store's.

    Raises:
        PrivadvError: nothing is there, it is no text, or a file of the evidence, or the filter, is not what was measured.
    """
    try:
        if "://" in source:
            return _object(source, store)
        path = Path(source) / REPORT if Path(source).is_dir() else Path(source)
        manifest = path.read_text(encoding="utf-8")
        _restore(path.parent, _weights(manifest), store)
        _require_evidence(path.parent / EVIDENCE, manifest, store)
        return manifest
    except (OSError, UnicodeDecodeError) as error:
        raise PrivadvError(f"{source}: no report ({error}): give a report's folder or the URI of its manifest") from None


def _restore(folder: Path, weights: Blob | None, store: Store) -> None:
    measured = {path: path.name for path in sorted((folder / EVIDENCE).glob("*")) if DIGEST.fullmatch(path.name)}
    if weights and ((folder / WEIGHTS).exists() or not store.entry(weights.key)):
        measured[folder / WEIGHTS] = weights.sha256
    for path, sha256 in measured.items():
        if not path.is_file():
            raise PrivadvError(f"{path}: is missing: copy the report's folder again")
        if store.put(path).sha256 != sha256:
            raise PrivadvError(f"{path}: is not what was measured: copy the report's folder again")
    if (folder / PAGE).is_file():
        store.put(folder / PAGE)


def _require_evidence(folder: Path, manifest: str, store: Store) -> None:
    """The store, which has what lay in ``folder``, has all that the page is drawn from; what is no report, its reader finds."""

    def get(blob: dict[str, Any]) -> bytes:
        wanted = Blob.model_validate(blob)
        if not store.entry(wanted.key):
            raise PrivadvError(f"{folder / wanted.sha256}: is missing, and the store has it not: copy the report's folder again")
        return store.get(wanted)

    with suppress(*NO_REPORT):
        _evidence(json.loads(manifest), get)


def _weights(manifest: str) -> Blob | None:
    """Those of a report's filter; of what is no report, as whoever reads it will find, there are none."""
    try:
        return Blob.model_validate(json.loads(manifest)["filter"]["weights"])
    except NO_REPORT:
        return None


def _object(uri: str, store: Store) -> str:
    scheme, _, place = uri.partition("://")
    bucket, _, key = place.partition("/")
    if scheme not in ("minio", "s3") or not BUCKET.fullmatch(bucket) or not key:
        raise PrivadvError(f"{uri}: no URI of a manifest: write minio://bucket/key, as Kubeflow shows it")
    data = store.beside(bucket).read_foreign(key)
    if data is None:
        raise FileNotFoundError("the store has no such object")
    return data.decode()


def _show(page: Path) -> None:
    """Open a page where somebody sits before a screen; a browser in a terminal or a log is nobody's wish."""
    screen = sys.platform in ("darwin", "win32") or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    if screen and sys.stdout.isatty():
        webbrowser.open(page.absolute().as_uri())


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="privadv report", description=__doc__)
    parser.add_argument("sources", nargs="+", metavar="SOURCE", help="a report's folder, its report.json, or the URI that "
                        "Kubeflow shows for it; of several seeds, each")
    parser.add_argument("--output", type=Path, required=True, help="the folder to make")
    parser.add_argument("--workspace", type=Path, default=workspace(), help="whose store holds what reports name, unless "
                        "PRIVADV_S3_ENDPOINT names another server")
    given = parser.parse_args(arguments)
    return exit_code("report", lambda: _answer(given))


def _answer(given: argparse.Namespace) -> None:
    vacant(given.output)
    with Workspace(given.workspace) as held:
        store = Store.from_environment(held.environment())
        publish(pooled([(source, read(source, store)) for source in given.sources], store), store, given.output)


if __name__ == "__main__":
    sys.exit(main())
