"""A run's report in a folder: ``privadv report SOURCE...`` gets one from the store, or makes one over those of several seeds."""

from __future__ import annotations

import argparse
import json
import os
import sys
import webbrowser
from collections.abc import Sequence
from pathlib import Path

from privadv.console import say
from privadv.data.roots import BUCKET
from privadv.errors import PrivadvError, exit_code
from privadv.place import workspace
from privadv.store import Blob, Store
from privadv.tracking import MANIFEST, WEIGHTS
from privadv.workspace import Workspace

REPORT, PAGE = "report.json", "report.html"


def publish(report: str, store: Store, folder: Path) -> None:
    """Lay a report's page and its filter into ``folder``, and print its table and where they lie."""
    manifest = json.loads(report)
    files = {REPORT: report.encode(), PAGE: store.get(Blob.model_validate(manifest["page"]))}
    if manifest["filter"]:
        files[MANIFEST] = json.dumps(manifest["filter"], indent=2).encode()
        files[WEIGHTS] = store.get(Blob.model_validate(manifest["filter"]["weights"]))
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    say(f"\n{manifest['table']}\n")
    for what, name in (("report", PAGE), ("filter", WEIGHTS)):
        if name in files:
            say(f"{what}: {folder / name}")
    _show(folder / PAGE)


def pooled(reports: Sequence[tuple[str, str]], store: Store) -> str:
    """The manifest of one report over those of several seeds, each with where it is from; of one, that itself.

    Raises:
        PrivadvError: one is no report, a seed comes twice, or they are not of the same rows and clips.
    """
    from privadv.stages import report as stage  # imports torch, which a call without work need not wait for

    parsed = [stage.Report.parse(text, source) for source, text in reports]
    return stage.pool(parsed, store).canonical() if len(parsed) > 1 else parsed[0].canonical()


def read(source: str, store: Store) -> str:
    """The manifest that ``source`` names: a report's folder, its report.json, or where KFP has it, minio://bucket/key.

    Raises:
        PrivadvError: nothing is there, or it is no text.
    """
    try:
        if "://" in source:
            return _object(source, store)
        path = Path(source)
        return (path / REPORT if path.is_dir() else path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise PrivadvError(f"{source}: no report ({error}): give a report's folder or the URI of its manifest") from None


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
        webbrowser.open(page.as_uri())


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
    if given.output.exists():
        raise PrivadvError(f"{given.output} is there already: name a new folder")
    with Workspace(given.workspace) as held:
        store = Store.from_environment(held.environment())
        publish(pooled([(source, read(source, store)) for source in given.sources], store), store, given.output)


if __name__ == "__main__":
    sys.exit(main())
