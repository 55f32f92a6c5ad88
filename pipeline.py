"""The pipeline: which stage feeds which, and its verbs run (on this machine), compile and submit."""

import argparse
import json
import logging
import os
import sys
import tempfile
import time
import uuid
import warnings
import webbrowser
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from kfp import dsl
from kfp.compiler import Compiler
from kfp.dsl import Artifact

from components.attack import attack
from components.containers import Containers
from components.extract_frames import extract_frames
from components.local_runner import LocalRunner, StageFailedError
from components.pretrain_budget import pretrain_budget
from components.pretrain_degradation import pretrain_degradation
from components.pretrain_target import pretrain_target
from components.processes import Processes
from components.render import render
from components.report import report
from components.train_adversarial import train_adversarial
from privadv.code_version import code_version
from privadv.config import load_yaml
from privadv.console import say
from privadv.errors import PrivadvError
from privadv.evaluation.rows import is_control
from privadv.run_config import RunConfig
from privadv.store import Blob, Store
from privadv.workspace import Workspace

PROJECT = Path(__file__).resolve().parent
STAGES = (
    extract_frames,
    pretrain_degradation,
    pretrain_target,
    pretrain_budget,
    train_adversarial,
    render,
    attack,
    report,
)


def define(parallelism: int) -> Any:
    """The pipeline; at most ``parallelism`` baselines at once, 0 for all."""

    @dsl.pipeline(name="privadv", description="Learn a video filter that shows what happens but not who.")
    def privadv(
        seed: int,
        baselines: list,
        configuration: str,
        extract_frames_config: str,
        pretrain_degradation_config: str,
        pretrain_target_config: str,
        pretrain_budget_config: str,
        train_adversarial_config: str,
        render_config: str,
        attack_config: str,
        report_config: str,
    ) -> Artifact:
        clips = task(extract_frames, extract_frames_config).output
        degradation = task(pretrain_degradation, pretrain_degradation_config, seed=seed, clips=clips).output
        begin = {"seed": seed, "clips": clips, "degradation": degradation}
        target = task(pretrain_target, pretrain_target_config, **begin).output
        budget = task(pretrain_budget, pretrain_budget_config, **begin).output
        game = task(train_adversarial, train_adversarial_config, **begin, target=target, budget=budget).output

        def rendered(row: Any, **drawn: Any) -> Any:
            return task(render, render_config, row=row, clips=clips, **drawn).output

        def attacked(row: Any, clips: Any, **start: Any) -> Any:
            return task(attack, attack_config, seed=seed, row=row, clips=clips, **start)

        # Only the filter draws anything in rendering: one rendering of another row serves every seed.
        raw_clips = rendered("raw", seed=0)
        raw = attacked("raw", raw_clips)
        readers = {"warm": raw.outputs["result"], "raw": raw_clips}
        filtered_clips = rendered("filter", seed=seed, game=game)
        filtered = attacked("filter", filtered_clips, **readers)
        with dsl.ParallelFor(baselines, name="baselines", parallelism=parallelism) as row:
            baseline = attacked(row, rendered(row, seed=0), **readers)
        page = task(
            report, report_config, seed=seed, configuration=configuration,
            clips=clips, filtered_clips=filtered_clips,
            degradation=degradation, target=target, budget=budget, game=game,
            raw=raw.outputs["Output"], filtered=filtered.outputs["Output"],
            # Parameters, because lists of artifacts break when only some of a loop's tasks are cached.
            baselines=dsl.Collected(baseline.outputs["Output"]),
        )
        page.set_caching_options(False)
        return page.output

    return privadv


def task(stage: Any, config: Any, **inputs: Any) -> Any:
    """A task of ``stage``, of which the caches know its own configuration section and its own code."""
    made = stage(config=config, code=code_version(_name(stage)), **inputs)
    row = inputs.get("row", "")
    return made.set_display_name(f"{stage.name} {row if isinstance(row, str) else 'baseline'}".rstrip())


def parameters(config: RunConfig) -> dict[str, Any]:
    """The pipeline parameters that ``config`` amounts to, for a user interface to show and change."""
    baselines = [row for row in config.rows if row not in ("raw", "filter")]
    compared = [row for row in baselines if not is_control(row)]
    if not compared or not {"raw", "filter"} <= set(config.rows):
        raise PrivadvError(f"rows = {list(config.rows)}: name raw, filter and a baseline, such as gray")
    sections = {f"{_name(stage)}_config": getattr(config, _name(stage)).canonical() for stage in STAGES}
    return {"seed": config.seed, "baselines": baselines, "configuration": config.canonical(), **sections}


def run(options: argparse.Namespace) -> None:
    """The pipeline on this machine, once a seed."""
    configs = [load(options.config, options.set, seed) for seed in options.seeds or [options.seed]]
    arguments = [parameters(config) for config in configs]
    contained = options.runner == "docker"
    # Apart, because kfp's cache does not tell what an image made from what this Python made.
    folder = PROJECT / ".privadv" / "containers" if contained else PROJECT / ".privadv"
    launcher = Containers.open(options.images, _videos(configs)) if contained else Processes()
    with LocalRunner(launcher) as runner, Workspace(folder, apart=contained) as workspace:
        os.environ.update(workspace.environment())
        cache = workspace.cache / _identity(Store.from_environment())
        reports = []
        for config, values in zip(configs, arguments, strict=True):
            name = os.environ["PRIVADV_RUN"] = run_name(config.name, f"seed{config.seed}")
            say(f"run {name}")
            try:
                # One task at a time: a stage takes all CPUs for itself.
                done = runner.run(define(parallelism=1), values, workspace.pipeline_root, cache)
            except StageFailedError:
                workspace.check()
                raise
            reports.append(Path(done.output.path).read_text(encoding="utf-8"))
            publish(reports[-1], workspace.reports / name)
        if len(reports) > 1:
            publish(pooled(reports), workspace.reports / run_name(configs[0].name, "pooled"))
        say(f"all runs in MLflow: make mlflow{f' WORKSPACE={folder}' if contained else ''}")


def pooled(reports: Sequence[str]) -> str:
    """The manifest of one report over those of several seeds."""
    from privadv.stages import report as stage

    parsed = [stage.Report.parse(text, "report") for text in reports]
    return stage.pool(parsed, Store.from_environment()).canonical()


def publish(report: str, folder: Path) -> None:
    """Lay a report's page and its filter into ``folder``, and print its table and where they lie."""
    manifest = json.loads(report)
    store = Store.from_environment()
    folder.mkdir(parents=True, exist_ok=True)
    files = {"report.json": report.encode(), "report.html": store.get(Blob.model_validate(manifest["page"]))}
    if manifest["filter"]:
        files["filter.json"] = json.dumps(manifest["filter"], indent=2).encode()
        files["filter.safetensors"] = store.get(Blob.model_validate(manifest["filter"]["weights"]))
    for name, content in files.items():
        (folder / name).write_bytes(content)
    say(f"\n{manifest['table']}\n")
    for what, name in (("report", "report.html"), ("filter", "filter.safetensors")):
        if name in files:
            say(f"{what}: {folder / name}")
    show(folder / "report.html")


def show(page: Path) -> None:
    """Open a page where somebody sits before a screen; a browser in a terminal or a log is nobody's wish."""
    screen = sys.platform in ("darwin", "win32") or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    if screen and sys.stdout.isatty():
        webbrowser.open(page.as_uri())


def compile_pipeline(options: argparse.Namespace) -> None:
    """The pipeline as YAML, with the configuration as its parameters' defaults."""
    _compile(load(options.config, options.set, options.seed), options.output)
    say(f"pipeline: {options.output}")


def submit(options: argparse.Namespace) -> None:
    """The pipeline to a Kubeflow Pipelines server, as one run."""
    import kfp
    import kfp_server_api
    import urllib3

    config = load(options.config, options.set, options.seed)
    logging.disable(logging.CRITICAL)
    try:
        with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(action="ignore"):
            _compile(config, Path(folder) / "privadv.yaml")
            client = kfp.Client(host=options.host, namespace=options.namespace or "kubeflow",
                                existing_token=os.environ.get("PRIVADV_KFP_TOKEN"))
            client.create_run_from_pipeline_package(
                str(Path(folder) / "privadv.yaml"), run_name=run_name(config.name, f"seed{config.seed}"),
                experiment_name=options.experiment, namespace=options.namespace)
    except kfp_server_api.ApiException as error:
        mend = "set PRIVADV_KFP_TOKEN" if error.status in (401, 403) else "check the server's log"
        said = f"{error.status} {error.reason}"
        raise PrivadvError(f"{options.host} refused the run ({said}): {mend}") from None
    except (urllib3.exceptions.HTTPError, TimeoutError) as error:
        why = type(error).__name__
        raise PrivadvError(f"{options.host} cannot be reached ({why}): check --host") from None


def load(path: Path, settings: Sequence[str], seed: int | None) -> RunConfig:
    """The run of the YAML file ``path``, with ``section.key=value`` settings and ``seed`` over its own.

    Raises:
        PrivadvError: the file or a setting does not make a run.
    """
    data = load_yaml(path)
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals or not all(key.split(".")):
            raise PrivadvError(f"--set {setting}: write section.key=value")
        *sections, last = key.split(".")
        section = data
        for name in sections:
            section = section.setdefault(name, {})
            if not isinstance(section, dict):
                raise PrivadvError(f"--set {setting}: '{name}' is no section of {path}")
        try:
            section[last] = yaml.safe_load(value)
        except yaml.YAMLError:
            raise PrivadvError(f"--set {setting}: the value is no YAML: quote it") from None
    if seed is not None:
        data["seed"] = seed
    return RunConfig.parse(data, str(path))


def run_name(*parts: str) -> str:
    """A readable name that no other run has."""
    return "-".join([*parts, time.strftime("%Y%m%d-%H%M%S")])


def _identity(store: Store) -> str:
    """The store's own name: a cache is good for the store that holds what its entries name."""
    fresh = uuid.uuid4().hex.encode()
    known = None if store.create("identity", fresh) else store.read("identity")
    return (known or fresh).decode()


def _compile(config: RunConfig, output: Path) -> None:
    try:
        Compiler().compile(define(parallelism=0), str(output), pipeline_parameters=parameters(config))
    except (OSError, ValueError) as error:
        raise PrivadvError(f"{output}: cannot be compiled ({' '.join(str(error).split())[:200]})") from None


def _name(stage: Any) -> str:
    """The stage's name as modules and configurations spell it: kfp turns `_` into `-`."""
    return stage.name.replace("-", "_")


def _videos(configs: Sequence[RunConfig]) -> list[Path]:
    """The folders of this machine that the runs read videos from."""
    roots = {config.extract_frames.root for config in configs}
    folders = [Path(root) for root in sorted(filter(None, roots)) if "://" not in root]
    for folder in folders:
        if not (folder.is_absolute() and folder.is_dir()):
            raise PrivadvError(f"extract_frames.root = '{folder}': containers need the absolute path of a folder")
    return folders


def _seeds(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="pipeline.py", description=__doc__)
    verbs = parser.add_subparsers(required=True, metavar="run|compile|submit")
    for name, verb in (("run", run), ("compile", compile_pipeline), ("submit", submit)):
        options = verbs.add_parser(name, help=verb.__doc__, description=verb.__doc__)
        options.set_defaults(verb=verb)
        options.add_argument("--config", type=Path, required=True, help="the run, a YAML file")
        options.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE",
                             help="a value in the place of the file's, as often as needed")
        seeds = options.add_mutually_exclusive_group()
        seeds.add_argument("--seed", type=int, help="in the place of the file's")
        if verb is run:
            seeds.add_argument("--seeds", type=_seeds, help="such as 0,1,2: a run each, then one report")
            options.add_argument("--runner", choices=("process", "docker"), default="process",
                                 help="docker: in the images, by Docker or podman")
            options.add_argument("--images", type=Path, default=PROJECT / "build" / "images.json",
                                 help="which images there are, as `make images` has written it")
        elif verb is compile_pipeline:
            options.add_argument("--output", type=Path, required=True, help="the YAML file to write")
        else:
            options.add_argument("--host", required=True, help="the Kubeflow Pipelines server's URL")
            options.add_argument("--namespace", help="the user's, on a multi-user server")
            options.add_argument("--experiment", default="privadv", help="the run's experiment")
    return parser


def main() -> int:
    options = _parser().parse_args()
    try:
        options.verb(options)
    except PrivadvError as error:
        print(f"privadv: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
