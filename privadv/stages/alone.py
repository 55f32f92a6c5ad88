"""A stage without the pipeline: python -m privadv.stages.render --config run.yaml --input clips=clips.json ..."""

from __future__ import annotations

import argparse
import importlib
import inspect
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from privadv.code_version import code_version
from privadv.config import Section, Seed, load_yaml
from privadv.console import say
from privadv.errors import PrivadvError
from privadv.place import workspace
from privadv.stages.stage import execute, explained
from privadv.workspace import Workspace

SECTIONS = {"list_readers": "attack", "fit_reader": "attack", "join_readers": "attack"}
"""Stages that share another one's work: its section configures them, and ``rerun`` means them with it."""
VALUES = {"seed": int, "row": str, "reader": str, "configuration": Path}
HELP = {"configuration": "the whole run with every default in it: its config.yaml in MLflow"}
Parameters = Mapping[str, inspect.Parameter]


class Seeded(Section):
    """What a stage reads of the run beside its own section."""

    seed: Seed = 0


def main(stage: str, arguments: Sequence[str] | None = None) -> None:
    """Run ``stage`` with its own section of a run's YAML file; a user's mistake is one line and exit code 2.

    S3 is the server that PRIVADV_S3_ENDPOINT names, or else this machine's own, as for ``pipeline.py run``.
    """
    module = importlib.import_module(f"privadv.stages.{stage}")
    parameters = inspect.signature(module.run).parameters
    options = _parser(stage, parameters).parse_args(arguments)
    with explained(stage):
        config = load_yaml(options.config)
        section = config.get(SECTIONS.get(stage, stage)) or {}
        settings = module.Config.parse(section, f"{options.config}, {SECTIONS.get(stage, stage)}")
        inputs = _inputs(parameters, options.input)
        values = {name: getattr(options, name) for name in VALUES if name in parameters}
        if "seed" in values:
            values["seed"] = _seed(options, config)
        if "configuration" in values:
            values["configuration"] = json.dumps(load_yaml(values["configuration"]))
        with Workspace(options.workspace) as opened:
            os.environ.update(opened.environment())
            execute(stage, settings.canonical(), code_version(stage), str(options.output), inputs, **values)
        say(f"{stage}: {options.output}")


def _parser(stage: str, parameters: Parameters) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=f"python -m privadv.stages.{stage}", description="One stage, alone.")
    parser.add_argument("--config", type=Path, required=True, help="a run, of which the stage's section counts")
    parser.add_argument("--input", action="append", default=[], metavar="NAME=FILE",
                        help="a manifest that another stage left; an input that is a list takes several")
    parser.add_argument("--output", type=Path, required=True, help="the file for the stage's own manifest")
    parser.add_argument("--workspace", type=Path, default=workspace(), help="where this machine keeps runs")
    for name, kind in VALUES.items():
        if name in parameters:
            parser.add_argument(f"--{name}", type=kind, required=name != "seed", help=HELP.get(name))
    return parser


def _seed(options: argparse.Namespace, config: Mapping[str, Any]) -> int:
    if options.seed is not None:
        return Seeded.parse({"seed": options.seed}, "--seed").seed
    return Seeded.parse({"seed": config.get("seed", 0)}, str(options.config)).seed


def _inputs(parameters: Parameters, given: Sequence[str]) -> dict[str, str | list[str]]:
    names = [name for name in parameters if name not in ("config", "context", *VALUES)]
    inputs: dict[str, list[str]] = {}
    for text in given:
        name, _, file = text.partition("=")
        if name not in names:
            known = ", ".join(f"{name}=FILE" for name in names) or "none"
            raise PrivadvError(f"--input {text}: no such input, this stage takes {known}")
        if not Path(file).is_file():
            raise PrivadvError(f"--input {text}: no such file: check the path")
        inputs.setdefault(name, []).append(file)
    for name in names:
        if name not in inputs and parameters[name].default is inspect.Parameter.empty:
            raise PrivadvError(f"an input is missing: add --input {name}=FILE")
    lists = {name for name in names if str(parameters[name].annotation).startswith("tuple")}
    for name, files in inputs.items():
        if len(files) > 1 and name not in lists:
            raise PrivadvError(f"--input {name} stands twice: it takes one file")
    return {name: files if name in lists else files[0] for name, files in inputs.items()}


if __name__ == "__main__":
    sys.exit("name a stage: python -m privadv.stages.NAME, such as privadv.stages.render")
