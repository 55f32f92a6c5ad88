"""``python -m privadv.data verify NAME ROOT``, ``upload ROOT URL``, ``statistics ROOT OUT``, ``generate OUT``."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from privadv.console import number_of, say
from privadv.data.datasets import DATASETS
from privadv.errors import exit_code
from privadv.scratch import vacant


def main(arguments: list[str] | None = None) -> int:
    """0: done and sound; 1: a dataset has faults; 2: a mistake in the call, said in one line."""
    wanted = _parser().parse_args(arguments)
    return exit_code("data", lambda: wanted.run(wanted))


def _verify(wanted: argparse.Namespace) -> int:
    from privadv.data.verify import show, verify

    found = verify(wanted.name, wanted.root, wanted.split, wanted.partial, not wanted.listing_only, wanted.workers)
    show(found, f"{wanted.name} at {wanted.root}")
    return 0 if found.sound else 1


def _upload(wanted: argparse.Namespace) -> int:
    from privadv.data.upload import upload

    say(upload(wanted.root, wanted.url, wanted.workers))
    return 0


def _statistics(wanted: argparse.Namespace) -> int:
    from privadv.data.statistics import draw

    for line in draw(wanted.root, vacant(wanted.out)):
        say(line)
    say(f"tables and figures are in {wanted.out}")
    return 0


def _generate(wanted: argparse.Namespace) -> int:
    from privadv.data.synthetic_attributes import AttributesConfig, generate

    generate(AttributesConfig.parse({"seed": wanted.seed}, "--seed"), wanted.out)
    say(f"photos are in {wanted.out / 'vispr'}, videos and their annotations in {wanted.out / 'hmdb51'}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m privadv.data", description="Datasets before they are used.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    verify = commands.add_parser("verify", help="is a copy of a dataset whole?")
    verify.add_argument("name", choices=DATASETS)
    verify.add_argument("root", help="a folder or s3://bucket/prefix")
    verify.add_argument("--split", default="", help="hmdb51: 1, 2, 3 or pa; ucf101: 1, 2 or 3")
    verify.add_argument("--partial", action="store_true", help="do not hold it against the published counts")
    verify.add_argument("--listing-only", action="store_true", help="open no video and no image")
    verify.add_argument("--workers", type=number_of("workers"), default=os.cpu_count() or 1, help="processes that open files")
    verify.set_defaults(run=_verify)
    upload = commands.add_parser("upload", help="a folder of videos into a bucket; what is there already stays")
    upload.add_argument("root", help="a folder")
    upload.add_argument("url", help="s3://bucket/prefix on the server that PRIVADV_S3_ENDPOINT names")
    upload.add_argument("--workers", type=number_of("workers"), default=8, help="files on their way at once")
    upload.set_defaults(run=_upload)
    statistics = commands.add_parser("statistics", help="tables and figures of the PA-HMDB51 annotations")
    statistics.add_argument("root", help="a folder or s3://bucket/prefix with the annotation files")
    statistics.add_argument("out", type=Path, help="a new folder")
    statistics.set_defaults(run=_statistics)
    generate = commands.add_parser("generate", help="small synthetic sets in the formats of VISPR and PA-HMDB51")
    generate.add_argument("out", type=Path, help="the folder that gets two new ones, vispr and hmdb51")
    generate.add_argument("--seed", type=int, default=0)
    generate.set_defaults(run=_generate)
    return parser


if __name__ == "__main__":
    sys.exit(main())
