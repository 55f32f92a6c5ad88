"""The pipeline: which stage feeds which, and its verbs run (on this machine), compile and submit."""

import argparse
import contextlib
import json
import os
import re
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from kfp import dsl
from kfp.compiler import Compiler
from kfp.dsl import Artifact

from components.attack import attack
from components.containers import Containers
from components.extract_frames import extract_frames
from components.fit_reader import fit_reader
from components.join_readers import join_readers
from components.list_readers import list_readers
from components.local_runner import LocalRunner, StageFailedError
from components.one_stage import define_one, values
from components.placement import place
from components.plan import plan
from components.pretrain_budget import pretrain_budget
from components.pretrain_degradation import pretrain_degradation
from components.pretrain_target import pretrain_target
from components.processes import Processes
from components.render import render
from components.report import report
from components.server import Login, Server, Submission
from components.tasks import Tasks, stage_name
from components.train_adversarial import train_adversarial
from privadv.cluster import IMAGES, Cluster
from privadv.config import load_yaml, plain_yaml
from privadv.console import number_of, say
from privadv.errors import PrivadvError, exit_code
from privadv.evaluation.rows import is_baseline, of_filter
from privadv.place import CONTAINERS, workspace
from privadv.plan import forced, settled
from privadv.reports import pooled, publish
from privadv.run_config import RunConfig
from privadv.store import Store
from privadv.sweep import expanded
from privadv.workspace import Workspace

PROJECT = Path(__file__).resolve().parent
IMAGES_BUILT = PROJECT / "build" / "images.json"
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


def define(planned: Mapping[str, str] | None = None, cluster: Cluster | None = None, fan_out: str = "row") -> Any:
    """The pipeline. On a ``cluster`` its first task plans; on this machine it is ``planned`` before it starts."""

    @dsl.pipeline(name="privadv", description="Learn a video filter that shows what happens but not who.")
    def privadv(
        run: str,
        seed: int,
        releases: list,
        baselines: list,
        rerun: str,
        extract_frames_config: str,
        pretrain_degradation_config: str,
        pretrain_target_config: str,
        pretrain_budget_config: str,
        train_adversarial_config: str,
        render_config: str,
        attack_config: str,
        report_config: str,
    ) -> Artifact:
        known = planned or planning(
            cluster, run=run, seed=seed, releases=releases, baselines=baselines, rerun=rerun,
            extract_frames=extract_frames_config, pretrain_degradation=pretrain_degradation_config,
            pretrain_target=pretrain_target_config, pretrain_budget=pretrain_budget_config,
            train_adversarial=train_adversarial_config, render=render_config, attack=attack_config,
            report=report_config,
        )
        task = Tasks(known, cluster).make
        clips = task(extract_frames, extract_frames_config).output
        degradation = task(pretrain_degradation, pretrain_degradation_config, seed=seed, clips=clips).output
        begin = {"seed": seed, "clips": clips, "degradation": degradation}
        target = task(pretrain_target, pretrain_target_config, **begin).output
        budget = task(pretrain_budget, pretrain_budget_config, **begin).output
        game = task(train_adversarial, train_adversarial_config, **begin, target=target, budget=budget).output

        def rendered(row: Any, **drawn: Any) -> Any:
            return task(render, render_config, row=row, clips=clips, **drawn)

        def attacked(row: Any, clips: Any, **start: Any) -> Any:
            return task(attack, attack_config, seed=seed, row=row, clips=clips, **start)

        def attacked_by_each(row: Any, clips: Any, **start: Any) -> Any:
            raw_result = {name: value for name, value in start.items() if name == "warm"}
            listed = task(list_readers, attack_config, row=row, **raw_result)
            with dsl.ParallelFor(
                listed.outputs["Output"], name="readers", parallelism=cluster.readers if cluster else 1
            ) as reader:
                fitted = task(fit_reader, attack_config, seed=seed, reader=reader, clips=clips, **start)
            found = dsl.Collected(fitted.outputs["Output"])
            return task(join_readers, attack_config, seed=seed, row=row, clips=clips, readers=found)

        # Only the filter depends on the seed in rendering: one rendering of another row serves every seed. In a loop apart
        # it may have other forms; `filter` itself is always one of them, since an empty loop is nowhere promised to end.
        attacks = attacked_by_each if fan_out == "attacker" else attacked
        raw_clips = rendered("raw", seed=0).outputs["rendered"]
        raw = attacks("raw", raw_clips)
        readers = {"warm": raw.outputs["result"], "raw": raw_clips}
        with dsl.ParallelFor(releases, name="releases", parallelism=cluster.rows if cluster else 1) as row:
            shown = rendered(row, seed=seed, game=game)
            filtered = attacks(row, shown.outputs["rendered"], **readers)
        with dsl.ParallelFor(baselines, name="baselines", parallelism=cluster.rows if cluster else 1) as row:
            baseline = attacks(row, rendered(row, seed=0).outputs["rendered"], **readers)
        page = task(
            report, report_config, seed=seed, configuration=known["configuration"],
            clips=clips, degradation=degradation, target=target, budget=budget, game=game, raw=raw.outputs["Output"],
            # Parameters, because lists of artifacts break when only some of a loop's tasks are cached.
            filtered_clips=dsl.Collected(shown.outputs["Output"]),
            filtered=dsl.Collected(filtered.outputs["Output"]),
            baselines=dsl.Collected(baseline.outputs["Output"]),
        )
        page.set_caching_options(False)
        return page.output

    return privadv


def planning(cluster: Cluster | None, **parameters: Any) -> Mapping[str, Any]:
    """The outputs of the task that checks the parameters, which somebody may have changed in a user interface."""
    made = plan(**parameters).set_caching_options(False)
    return place(made, "plan", cluster or Cluster()).outputs


def parameters(config: RunConfig, rerun: str = "") -> dict[str, Any]:
    """The pipeline parameters that ``config`` amounts to, for a user interface to show and change."""
    releases = [row for row in config.rows if of_filter(row)]
    baselines = [row for row in config.rows if row != "raw" and not of_filter(row)]
    if not any(map(is_baseline, baselines)) or not {"raw", "filter"} <= set(config.rows):
        raise PrivadvError(f"rows = {list(config.rows)}: name raw, filter and a baseline, such as gray")
    forced(rerun)
    sections = {f"{stage_name(stage)}_config": getattr(config, stage_name(stage)).canonical() for stage in STAGES}
    rows = {"releases": releases, "baselines": baselines}
    return {"run": config.name, "seed": config.seed, **rows, "rerun": rerun, **sections}


def planned(config: RunConfig, rerun: str) -> dict[str, str]:
    """What the pipeline's first task would give."""
    nonces = {f"{stage}_nonce": nonce for stage, nonce in forced(rerun).items()}
    return {"configuration": settled(config), **nonces}


def run(options: argparse.Namespace) -> None:
    """The pipeline on this machine, once a seed."""
    configs = [load(options.config, options.set, seed) for seed in options.seeds or [options.seed]]
    rerun = marked(options.rerun)
    arguments = [parameters(config, rerun) for config in configs]
    contained = options.runner == "docker"
    if options.images and not contained:
        raise PrivadvError(f"--images {options.images}: only --runner docker runs in images: add it, or leave --images out")
    # Apart, because kfp's cache does not tell what an image made from what this Python made.
    folder = workspace() / CONTAINERS if contained else workspace()
    launcher = Containers.open(options.images or IMAGES_BUILT, read_here(configs[0])) if contained else Processes()
    with LocalRunner(launcher) as runner, Workspace(folder, apart=contained) as held, _environment(held.environment()):
        store = Store.from_environment()
        cache, reports = held.cache / _identity(store), []
        for config, given in zip(configs, arguments, strict=True):
            name = os.environ["PRIVADV_RUN"] = run_name(config.name, *options.label, f"seed{config.seed}")
            say(f"run {name}")
            try:
                pipeline = define(planned(config, rerun), fan_out=config.fan_out)
                done = runner.run(pipeline, given, held.pipeline_root, cache)
            except StageFailedError:
                held.check()
                raise
            reports.append((name, Path(done.output.path).read_text(encoding="utf-8")))
            publish(reports[-1][1], store, held.reports / name)
        if len(reports) > 1:
            publish(pooled(reports, store), store, held.reports / run_name(configs[0].name, *options.label, "pooled"))
        say(f"all runs in MLflow: make mlflow{f' WORKSPACE={folder}' if contained else ''}")


@contextlib.contextmanager
def _environment(given: Mapping[str, str]) -> Iterator[None]:
    """These variables for one run: the next one of a sweep has a server of its own."""
    before = dict(os.environ)
    os.environ.update(given)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def compile_pipeline(options: argparse.Namespace) -> None:
    """The pipeline, or one stage of it, as YAML, with the configuration as its parameters' defaults."""
    _refuse_other_file(options.output)
    config = configured(options)
    given = dict(_pair(text, "--input", "NAME=URI") for text in options.input)
    if options.stage:
        stage = {stage_name(stage): stage for stage in STAGES}[options.stage]
        section = getattr(config, options.stage).canonical()
        pipeline = define_one(stage, config.cluster, given.keys())
        defaults = {"config": section, "seed": config.seed, "configuration": settled(config), "rerun": ""}
        _compile(pipeline, values(stage, given, defaults), options.output)
    elif given:
        raise PrivadvError("--input is for a pipeline of one stage: name it with --stage")
    else:
        _compile(define(cluster=config.cluster, fan_out=config.fan_out), parameters(config), options.output)
    say(f"pipeline: {options.output}")


def submit(options: argparse.Namespace) -> int:
    """The pipeline to a Kubeflow Pipelines server, as one run or as a schedule of runs."""
    if options.wait and (options.cron or options.every):
        raise PrivadvError("--wait follows one run, and --cron and --every make a schedule of them: leave one out")
    config = configured(options)
    submission = Submission(
        name=run_name(config.name, *options.label, f"seed{config.seed}"), parameters=parameters(config, marked(options.rerun)),
        experiment=options.experiment, service_account=config.cluster.service_account,
        cron=options.cron, every=options.every)
    server = Server(options.host, options.namespace, Login.from_environment(options.ca))
    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder) / "privadv.yaml"
        _compile(define(cluster=config.cluster, fan_out=config.fan_out), parameters(config), package)
        submitted = server.submit(package, config.name, submission)
    return server.follow(submitted) if options.wait else 0


def configured(options: argparse.Namespace) -> RunConfig:
    """The run, with the images that a build has left, where the run itself names none.

    Raises:
        PrivadvError: the run, or what the build has left, is no such thing.
    """
    config = load(options.config, options.set, options.seed)
    if not options.images:
        return config
    try:
        built = json.loads(options.images.read_text(encoding="utf-8"))
        images = {name.removeprefix("privadv/"): reference for name, reference in built.items()}
    except (OSError, ValueError, AttributeError):
        raise PrivadvError(f"{options.images} names no images: make push-images writes it") from None
    known = {name: images[name] for name in IMAGES if name in images}
    cluster = {**config.cluster.model_dump(exclude_unset=True), "images": {**known, **config.cluster.images}}
    return config.model_copy(update={"cluster": Cluster.parse(cluster, str(options.images))})


def load(path: Path, settings: Sequence[str], seed: int | None) -> RunConfig:
    """The run of the YAML file ``path``, with ``section.key=value`` settings and ``seed`` over its own.

    Raises:
        PrivadvError: the file or a setting does not make a run.
    """
    data = load_yaml(path)
    for setting in settings:
        key, text = _pair(setting, "--set", "section.key=value")
        try:
            value = plain_yaml(text)
        except ValueError as error:
            raise PrivadvError(f"--set {setting[:80]}: the value is no plain YAML ({error}): mend it, or quote it") from None
        try:
            _put(data, key.split("."), value)
        except KeyError as error:
            raise PrivadvError(f"--set {setting}: {error.args[0]} of {path}") from None
    if seed is not None:
        data["seed"] = seed
    return RunConfig.parse(data, f"{path} and --set" if settings else str(path))


def _put(section: Any, keys: Sequence[str], value: Any, above: str = "") -> None:
    """Set a key of nested sections, or a numbered item of a list: the next number is a new one.

    Raises:
        KeyError: what is wrong with the key, in words.
    """
    name, *rest = keys
    place: str | int = name
    if isinstance(section, list):
        if not name.isdecimal() or int(name) > len(section):
            raise KeyError(f"'{name}' is none of the items 0 to {len(section)}, the last a new one, of '{above}'")
        place = int(name)
        section += [{}] if place == len(section) else []
    elif not isinstance(section, dict):
        raise KeyError(f"'{above}' is no section")
    elif rest:
        section.setdefault(name, {})
    if rest:
        _put(section[place], rest, value, name)
    else:
        section[place] = value


def run_name(*parts: str) -> str:
    """A readable name that no other run has."""
    return "-".join([*parts, time.strftime("%Y%m%d-%H%M%S")])


def _identity(store: Store) -> str:
    """The store's own name: a cache is good for the store that holds what its entries name."""
    fresh = uuid.uuid4().hex.encode()
    known = None if store.create("identity", fresh) else store.read("identity")
    return (known or fresh).decode()


def marked(rerun: str) -> str:
    """``rerun`` with a new mark where it has none."""
    return rerun if "@" in rerun or not rerun else f"{rerun}@{time.strftime('%Y%m%d-%H%M%S')}"


def _refuse_other_file(output: Path) -> None:
    """A pipeline may be compiled again; a configuration may not get lost by it."""
    if output.is_file() and b"pipelineInfo" not in output.read_bytes():
        raise PrivadvError(f"{output}: is there already and no compiled pipeline: name another --output")


def _compile(pipeline: Any, defaults: dict[str, Any], output: Path) -> None:
    try:
        Compiler().compile(pipeline, str(output), pipeline_parameters=defaults)
    except (OSError, ValueError) as error:
        raise PrivadvError(f"{output}: cannot be compiled ({' '.join(str(error).split())[:200]})") from None


def _pair(text: str, option: str, form: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not all(key.split(".")):
        raise PrivadvError(f"{option} {text}: write {form}")
    return key, value


def read_here(config: RunConfig) -> list[Path]:
    """What a run reads from this machine's disk: folders of videos and photos, and a file of boxes."""
    private, masking = config.extract_frames.private, config.render.masking
    found = {"extract_frames.root": config.extract_frames.root, "extract_frames.private.root": private and private.root,
             "extract_frames.private.test.root": private and private.test and private.test.root,
             "render.masking.boxes": masking and masking.boxes}  # fmt: skip
    here = {key: Path(where) for key, where in found.items() if where and "://" not in where}
    for key, path in here.items():
        if not (path.is_absolute() and path.exists()):
            raise PrivadvError(f"{key} = '{path}': containers need the absolute path of something that exists")
    return sorted(set(here.values()))


def _seeds(text: str) -> list[int]:
    if not re.fullmatch(r"\d+(,\d+)*", text):
        raise argparse.ArgumentTypeError(f"'{text}' names no seeds: write numbers, such as 0,1,2")
    seeds = [int(part) for part in text.split(",")]
    if len(set(seeds)) < len(seeds):
        raise argparse.ArgumentTypeError(f"'{text}' names a seed twice: name each once")
    return seeds


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="pipeline.py", description=__doc__)
    verbs = parser.add_subparsers(required=True, metavar="run|compile|submit")
    for name, verb in (("run", run), ("compile", compile_pipeline), ("submit", submit)):
        options = verbs.add_parser(name, help=verb.__doc__, description=verb.__doc__)
        options.set_defaults(verb=verb)
        options.add_argument("--config", type=Path, required=True, help="the run, a YAML file")
        options.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE",
                             help="a value in the place of the file's, as often as needed")
        options.set_defaults(sweep=[], label=())
        if verb is not compile_pipeline:
            options.add_argument("--sweep", action="append", metavar="SECTION.KEY=VALUE,VALUE",
                                 help="a run a value; of several sweeps, one a combination")
        seeds = options.add_mutually_exclusive_group()
        seeds.add_argument("--seed", type=int, help="in the place of the file's")
        if verb is run:
            seeds.add_argument("--seeds", type=_seeds, help="such as 0,1,2: a run each, then one report")
            options.add_argument("--runner", choices=("process", "docker"), default="process",
                                 help="docker: in the images, by Docker or podman")
            options.add_argument("--images", type=Path, help=f"which images there are, if not what `make images` has written to "
                                                             f"{IMAGES_BUILT.relative_to(PROJECT)}")
        else:
            options.add_argument("--images", type=Path, help="pin the images that `make push-images` has named in this file")
        if verb is compile_pipeline:
            options.add_argument("--output", type=Path, required=True, help="the YAML file to write")
            options.add_argument("--stage", choices=[stage_name(stage) for stage in STAGES],
                                 help="this one alone, its inputs being manifests of earlier runs")
            options.add_argument("--input", action="append", default=[], metavar="NAME=URI",
                                 help="a default for an input of --stage, as often as needed")
        else:
            options.add_argument("--rerun", default="", metavar="STAGE,STAGE",
                                 help="stages that start afresh, whatever the cache holds")
        if verb is submit:
            _server_options(options)
    return parser


def _server_options(options: argparse.ArgumentParser) -> None:
    options.add_argument("--host", required=True, help="the Kubeflow Pipelines server's URL")
    options.add_argument("--ca", type=Path, help="the certificates that the server's is signed by, a PEM file")
    options.add_argument("--namespace", help="the user's, on a multi-user server")
    options.add_argument("--experiment", default="privadv", help="the run's experiment")
    options.add_argument("--wait", action="store_true", help="follow the run; fail if it fails")
    often = options.add_mutually_exclusive_group()
    often.add_argument("--cron", help="again and again: six fields, the first are seconds")
    often.add_argument("--every", type=number_of("seconds"), metavar="SECONDS", help="again and again")


def main() -> int:
    """0: done; 1: a stage or a followed run failed; 2: a mistake in the call, said in one line."""
    options = _parser().parse_args()
    return exit_code("pipeline", lambda: _answer(options))


def _answer(options: argparse.Namespace) -> int:
    variants = expanded(options)
    for one in variants:
        parameters(load(one.config, one.set, one.seed))  # before the first starts: a mistake in the last is one in all
    try:
        return max(one.verb(one) or 0 for one in variants)
    except StageFailedError as error:
        print(f"privadv: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
