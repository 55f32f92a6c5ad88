"""What is compiled for a cluster: nodes, secrets by reference, images, loops, and what reaches which task."""

from __future__ import annotations

import copy
import functools
import inspect
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from kfp.compiler import Compiler

import pipeline
from components import tasks
from components.one_stage import define_one, values
from privadv.cluster import DEFAULTS, Cluster
from privadv.errors import PrivadvError
from privadv.plan import STAGES, forced, plan
from privadv.run_config import RunConfig

PROJECT = Path(__file__).resolve().parent.parent
SMOKE = PROJECT / "configs" / "smoke.yaml"
DIGEST = "sha256:" + "5" * 64
CLUSTER = {
    "registry": "registry.example/team/",
    "version": "v7",
    "images": {"evaluate": DIGEST},
    "pull_secrets": ["registry-login"],
    "rows": 3,
    "readers": 5,
    "gpu_stages": {"nodes": {"pool": "a100"}, "queue": "gpus", "scratch": "200Gi"},
    "stages": {
        "attack": {"gpus": 2, "memory": "48Gi", "retry": {"times": 5, "wait_seconds": 30}, "timeout_hours": 2},
        "fit_reader": {"tolerations": [{"key": "spot", "value": "yes", "effect": "NoSchedule"}], "priority": "low"},
        "extract_frames": {"cpu": 32, "environment": {"PRIVADV_TRACKING_WAIT": "60"}},
    },
}


class Compiled:
    """A compiled pipeline: ``spec`` and the pods' settings; ``executors`` by the stage that each runs."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.spec, platform = yaml.safe_load_all(text)
        self.pods: dict[str, Any] = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
        self.executors = self.spec["deploymentSpec"]["executors"]

    def of(self, stage: str) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
        """Container and pod of every task of ``stage``, in a loop or not."""
        for name, executor in self.executors.items():
            if "container" in executor and executor["container"]["args"][-1] == stage:
                yield executor["container"], self.pods[name]

    def dags(self) -> Iterator[dict[str, Any]]:
        yield self.spec["root"]
        yield from (one for one in self.spec["components"].values() if "dag" in one)


def config(**changes: Any) -> RunConfig:
    return RunConfig.parse({**yaml.safe_load(SMOKE.read_text()), "rows": ["raw", "filter", "gray", "blur:2"], **changes}, "test")


def compiled(folder: Path, run: RunConfig) -> Compiled:
    made = pipeline.define(cluster=run.cluster, fan_out=run.fan_out)
    Compiler().compile(made, str(folder / "out.yaml"), pipeline_parameters=pipeline.parameters(run))
    return Compiled((folder / "out.yaml").read_text())


@pytest.fixture(scope="module", autouse=True)
def code_is_read_once() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tasks, "code_version", functools.cache(tasks.code_version))
        # kfp asks for the whole stack at each setting of a task; pytest's is deep, and its source lines take long to find.
        patch.setattr(inspect, "stack", functools.partial(inspect.stack, 0))
        yield


@pytest.fixture(scope="module", params=["row", "attacker"])
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Compiled:
    return compiled(tmp_path_factory.mktemp("compiled"), config(cluster=CLUSTER, fan_out=request.param))


def test_two_processes_compile_the_same_bytes(tmp_path: Path) -> None:
    texts = []
    for seed in ("1", "2"):
        output = tmp_path / f"{seed}.yaml"
        command = [sys.executable, "pipeline.py", "compile", "--config", str(SMOKE), "--output", str(output)]
        secret = {"AWS_SECRET_ACCESS_KEY": "hush-secret", "PRIVADV_KFP_TOKEN": "hush-token", "PYTHONHASHSEED": seed}
        subprocess.run(command, cwd=PROJECT, check=True, capture_output=True, env=os.environ | secret)
        texts.append(output.read_bytes())
    assert texts[0] == texts[1]
    assert b"hush" not in texts[0] and b"pip install" not in texts[0]


def test_every_task_has_its_stage_s_resources_inside_loops_and_outside(made: Compiled) -> None:
    cluster = Cluster.parse(CLUSTER, "test")
    seen = set()
    for stage in DEFAULTS:
        for container, pod in made.of(stage):
            seen.add(stage)
            wanted, got = cluster.placement(stage), container["resources"]
            assert got["resourceCpuRequest"] == got["resourceCpuLimit"] == str(wanted.cpu)
            assert got["resourceMemoryRequest"] == got["resourceMemoryLimit"] == wanted.memory
            gpus = {"count": str(wanted.gpus), "resourceCount": str(wanted.gpus), "type": wanted.gpu, "resourceType": wanted.gpu}
            assert got.get("accelerator") == (gpus if wanted.gpus else None)
            assert pod.get("nodeSelector", {}).get("labels", {}) == wanted.nodes
            assert ("nodeAffinity" in pod) == (not wanted.gpus)
            assert pod["activeDeadlineSeconds"] == str(round(wanted.timeout_hours * 3600))
    assert seen == DEFAULTS.keys() - ({"attack"} if len(list(made.of("fit_reader"))) else {
        "list_readers", "fit_reader", "join_readers"})


def test_defaults_extract_and_report_on_cpu_nodes_and_train_on_gpus() -> None:
    cluster = Cluster()
    with_gpu = {stage for stage in DEFAULTS if cluster.placement(stage).gpus}
    assert with_gpu == {"pretrain_degradation", "pretrain_target", "pretrain_budget", "train_adversarial", "attack", "fit_reader",
                        "join_readers"}
    assert all(cluster.placement(stage).tolerations and cluster.placement(stage).shm for stage in with_gpu)


def test_a_stage_s_own_values_stand_over_its_kind_s(made: Compiled) -> None:
    for _, pod in made.of("fit_reader"):
        labels = pod["podMetadata"]["labels"]
        assert labels == {"kueue.x-k8s.io/queue-name": "gpus", "kueue.x-k8s.io/priority-class": "low"}
        assert pod["tolerations"] == [{"key": "spot", "value": "yes", "operator": "Equal", "effect": "NoSchedule"}]
        mounts = {mount["mountPath"]: mount for mount in pod["emptyDirMounts"]}
        assert mounts["/dev/shm"]["medium"] == "Memory" and mounts["/scratch"]["sizeLimit"] == "200Gi"
    ((container, _),) = made.of("extract_frames")
    environment = {one["name"]: one["value"] for one in container["env"]}
    for container, _ in made.of("attack"):
        assert {"name": "PRIVADV_ACCELERATORS", "value": "2"} in container["env"]
    assert environment == {"PRIVADV_WORKERS": "32", "OMP_NUM_THREADS": "32", "PRIVADV_TRACKING_WAIT": "60"}


def test_secrets_are_references_in_every_pod(made: Compiled) -> None:
    assert made.pods.keys() == {name for name, one in made.executors.items() if "container" in one}
    for pod in made.pods.values():
        (secret,) = pod["secretAsEnv"]
        assert secret["secretName"] == "privadv-s3" and not secret["optional"]
        assert {key["envVar"] for key in secret["keyToEnv"]} == {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}
        (settings,) = pod["configMapAsEnv"]
        assert settings["configMapName"] == "privadv-stage"
        assert [one["secretName"] for one in pod["imagePullSecret"]] == ["registry-login"]
        assert pod["securityContext"] == {"runAsUser": "10001", "runAsGroup": "10001", "runAsNonRoot": True}
    manifests = (PROJECT / "k8s" / "pipeline" / "config.yaml").read_text()
    given = next(one for one in yaml.safe_load_all(manifests) if one["metadata"]["name"] == "privadv-stage")
    assert {key["configMapKey"] for key in settings["keyToEnv"]} == given["data"].keys()


def test_every_pod_knows_its_run_and_no_cache_does(made: Compiled) -> None:
    """KFP labels the pods of a run with its id; what is in the pipeline's own part decides which task is cached."""
    wanted = [{"name": "PRIVADV_KFP_RUN_ID", "fieldPath": "metadata.labels['pipeline/runid']"}]
    assert [pod.get("fieldPathAsEnv") for pod in made.pods.values()] == [wanted] * len(made.pods)
    assert "run_id" not in json.dumps(made.spec).lower() and "runid" not in json.dumps(made.spec).lower()


def test_images_have_the_registry_and_a_digest_where_one_is_given(made: Compiled) -> None:
    images = {one["container"]["image"] for one in made.executors.values()}
    prefix = "registry.example/team/privadv"
    others = {f"{prefix}/{name}:v7" for name in ("extract", "pretrain-degradation", "pretrain-models", "adversarial")}
    assert images == {*others, f"{prefix}/evaluate@{DIGEST}"}
    assert "pip install" not in made.text and "packages_to_install" not in made.text


def test_what_a_loop_uses_is_declared(made: Compiled) -> None:
    for dag in made.dags():
        declared = dag.get("inputDefinitions", {})
        known = {*declared.get("parameters", {}), *declared.get("artifacts", {})}
        for name, task in dag["dag"]["tasks"].items():
            inputs = {key: one for kind in task.get("inputs", {}).values() for key, one in kind.items()}
            given = inputs.values()
            wanted = {one.get("componentInputParameter") or one.get("componentInputArtifact") for one in given} - {None}
            # A loop's own item is no input of the graph around it.
            item = task.get("parameterIterator", {}).get("itemInput")
            assert wanted - {item} <= known, (name, wanted - known)
            produced = {one[key]["producerTask"] for one in given for key in one if key.startswith("taskOutput")}
            assert produced <= {*task.get("dependentTasks", [])}, name
            inner = made.spec["components"][task["componentRef"]["name"]].get("inputDefinitions", {})
            required = {key for kind in inner.values() for key, spec in kind.items() if not spec.get("isOptional")}
            assert required - {item} <= inputs.keys()
    for label, executor in made.executors.items():
        inputs = next(one for one in made.spec["components"].values() if one.get("executorLabel") == label)["inputDefinitions"]
        used = re.findall(r"\$\.inputs\.parameters\['([^']+)'\]", json.dumps(executor))
        assert {*used} <= inputs["parameters"].keys()


def test_loops_are_bounded_and_pass_text_alone(made: Compiled) -> None:
    limits: dict[str, list[int]] = {}
    for dag in made.dags():
        for name, task in dag["dag"]["tasks"].items():
            if "parameterIterator" in task:
                kind = task["taskInfo"]["name"]
                limits.setdefault(kind, []).append(task["iteratorPolicy"]["parallelismLimit"])
                loop = made.spec["components"][task["componentRef"]["name"]]
                assert "artifacts" not in loop.get("outputDefinitions", {}), name
    assert limits.pop("baselines") == limits.pop("releases") == [3]
    assert limits in ({}, {"readers": [5, 5, 5]})


def test_retries_last_as_long_as_all_attempts(made: Compiled) -> None:
    retried = [task for dag in made.dags() for task in dag["dag"]["tasks"].values() if "retryPolicy" in task]
    assert len(retried) == len(made.pods)
    for task in retried:
        executor = made.spec["components"][task["componentRef"]["name"]]["executorLabel"]
        attempts, policy = int(made.pods[executor]["activeDeadlineSeconds"]), task["retryPolicy"]
        assert int(policy["backoffMaxDuration"][:-1]) > attempts * (policy["maxRetryCount"] + 1)
        assert policy["backoffFactor"] == 2
    for task in retried:
        if task["componentRef"]["name"].startswith("comp-attack"):
            assert task["retryPolicy"]["maxRetryCount"] == 5 and task["retryPolicy"]["backoffDuration"] == "30s"


def test_every_section_the_rows_and_rerun_are_parameters(made: Compiled) -> None:
    parameters = made.spec["root"]["inputDefinitions"]["parameters"]
    assert parameters.keys() == {"run", "seed", "releases", "baselines", "rerun", *(f"{stage}_config" for stage in STAGES)}
    assert parameters["releases"]["defaultValue"] == ["filter"]
    assert parameters["baselines"]["defaultValue"] == ["gray", "blur:2"] and parameters["rerun"]["defaultValue"] == ""
    assert parameters["attack_config"]["defaultValue"] == config().attack.canonical()
    assert "registry.example" not in json.dumps(parameters)
    for dag in made.dags():
        for task in dag["dag"]["tasks"].values():
            if task["componentRef"]["name"].split("-")[1] in ("plan", "report"):
                assert task["cachingOptions"] == {}
            else:
                assert task.get("cachingOptions") == {"enableCache": True} or "iteratorPolicy" in task


def _keys(made: Compiled) -> dict[str, Any]:
    """What KFP's cache keys are made of, for every task: component, command and inputs, down to parameters' values."""
    values = {name: one.get("defaultValue") for name, one in made.spec["root"]["inputDefinitions"]["parameters"].items()}
    nonces = dict(zip(("configuration", *(f"{stage}_nonce" for stage in STAGES)), plan(
        values["run"], int(values["seed"]), values["releases"], values["baselines"],
        {stage: values[f"{stage}_config"] for stage in STAGES}, values["rerun"]), strict=True))
    keys = {}
    for dag in made.dags():
        for name, task in dag["dag"]["tasks"].items():
            component = made.spec["components"][task["componentRef"]["name"]]
            if "executorLabel" not in component or name == "plan":
                continue
            given = copy.deepcopy(task["inputs"])
            for one in given["parameters"].values():
                key = one.get("componentInputParameter", "").removeprefix("pipelinechannel--")
                if key in values:
                    one["value"] = values[key]
                if key.startswith("plan-") or one.get("taskOutputParameter", {}).get("producerTask") == "plan":
                    output = key.removeprefix("plan-") or one["taskOutputParameter"]["outputParameterKey"]
                    one["value"] = nonces[output]
            container = made.executors[component["executorLabel"]]["container"]
            keys[name] = json.dumps([component, container["command"], container["args"], given], sort_keys=True)
    return keys


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    data = config().model_dump(mode="json", exclude={"cluster"})
    return _keys(compiled(tmp_path_factory.mktemp("before"), RunConfig.parse(data, "test")))


@pytest.mark.parametrize(("change", "concerned"), [
    ({"attack": {"converged": 0.7}}, {"attack", "report"}),
    ({"render": {"shard_megabytes": 63}}, {"render", "report"}),
    ({"report": {"resamples": 500}}, {"report"}),
    ({"cluster": {"version": "v8", "cpu_stages": {"cpu": 2}, "gpu_stages": {"gpus": 4}}}, set()),
])
def test_a_changed_value_changes_the_keys_of_its_own_stage_and_the_report(
    change: dict[str, Any], concerned: set[str], before: dict[str, str], tmp_path: Path
) -> None:
    """By what a task is given itself; what comes out of a changed task changes the next one's key as well."""
    data = config().model_dump(mode="json", exclude={"cluster"})
    changed = {name: {**data[name], **value} if isinstance(data.get(name), dict) else value for name, value in change.items()}
    after = _keys(compiled(tmp_path, RunConfig.parse(data | changed, "test")))
    different = {re.sub(r"-\d+$", "", name) for name in before if before[name] != after[name]}
    assert before.keys() == after.keys() and different == concerned


def test_rerun_concerns_the_stages_that_it_names() -> None:
    given = forced("attack, report@2")
    assert {stage for stage, nonce in given.items() if nonce} == {"attack", "report"} and given["attack"] == "2"
    assert not any(forced("").values())
    for wrong in ("attack", "attack@", "@2", "atack@2", "attack@a b"):
        with pytest.raises(PrivadvError, match="rerun = "):
            forced(wrong)


def test_plan_refuses_parameters_that_make_no_run() -> None:
    run = config()
    sections = {stage: getattr(run, stage).canonical() for stage in STAGES}
    configuration, *nonces = plan("smoke", 3, ["filter", "filter:h264:23"], ["gray"], sections, "render@x")
    assert json.loads(configuration)["seed"] == 3 and "cluster" not in json.loads(configuration)
    assert dict(zip(STAGES, nonces, strict=True))["render"] == "x"
    for wrong, said in (
        ({"baselines": ["sepia"]}, "unknown row 'sepia'"),
        ({"releases": ["filter", "filter:h265:23"]}, "'filter:h265:23' is no row"),
        ({"releases": ["filter:h264:23"]}, "name filter and its other forms"),
        ({"releases": ["filter", "gray"]}, "name filter and its other forms"),
        ({"baselines": ["filter:mjpeg:5"]}, "name filter and its other forms"),
        ({"sections": {**sections, "attack": "{"}}, "attack_config is no JSON"),
        ({"sections": {**sections, "report": '{"resample": 3}'}}, "unknown key 'report.resample'"),
    ):
        good = {"run": "smoke", "seed": 0, "releases": ["filter"], "baselines": ["gray"], "sections": sections, "rerun": ""}
        with pytest.raises(PrivadvError, match=re.escape(said)):
            plan(**{**good, **wrong})


@pytest.mark.parametrize("stage", pipeline.STAGES, ids=lambda stage: stage.name)
def test_one_stage_imports_the_manifests_it_needs(stage: Any, tmp_path: Path) -> None:
    name = stage.name.replace("-", "_")
    given = {"clips": "minio://privadv-kfp/clips"} if "clips" in stage.component_spec.inputs else {}
    defaults = values(stage, given, {"config": "{}", "seed": 4, "configuration": "{}", "rerun": ""})
    made = define_one(stage, Cluster.parse(CLUSTER, "test"), given.keys())
    Compiler().compile(made, str(tmp_path / "one.yaml"), pipeline_parameters=defaults)
    one = Compiled((tmp_path / "one.yaml").read_text())
    parameters = one.spec["root"]["inputDefinitions"]["parameters"]
    inputs = stage.component_spec.inputs
    required = {key for key, spec in inputs.items() if "system." in spec.type and not spec.optional}
    graph = one.spec["root"]["dag"]["tasks"]
    assert {task["taskInfo"]["name"] for name, task in graph.items() if name.startswith("importer")} == required
    assert {key for key in parameters if key.endswith("_uri")} == {f"{key}_uri" for key in required}
    if given:
        assert parameters["clips_uri"]["defaultValue"] == given["clips"]
    ((container, _),) = one.of(name)
    assert container["image"].startswith("registry.example/team/privadv/")


def test_one_stage_takes_what_it_could_do_without_when_it_is_named() -> None:
    given = {"game": "minio://b/game"}
    assert "game_uri" in values(pipeline.render, given, {})
    define_one(pipeline.render, Cluster(), given.keys())
    with pytest.raises(PrivadvError, match="render has no such input"):
        define_one(pipeline.render, Cluster(), ["games"])
    with pytest.raises(PrivadvError, match="write it as JSON"):
        values(pipeline.report, {"baselines": "gray"}, {})


def test_a_configuration_is_not_lost_where_a_pipeline_is_compiled(tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text(SMOKE.read_text())
    with pytest.raises(PrivadvError, match=r"mine\.yaml: is there already and no compiled pipeline: name another --output"):
        pipeline.compile_pipeline(pipeline._parser().parse_args(["compile", "--config", str(mine), "--output", str(mine)]))
    assert mine.read_text() == SMOKE.read_text()


def test_images_of_a_build_are_taken_as_they_were_pushed(tmp_path: Path) -> None:
    pushed = {f"privadv/{name}": f"registry.example/t/privadv/{name}@{DIGEST}" for name in ("extract", "mlflow")}
    (tmp_path / "images.json").write_text(json.dumps(pushed))
    options = ["compile", "--config", str(SMOKE), "--output", "o", "--images", str(tmp_path / "images.json")]
    loaded = pipeline.configured(pipeline._parser().parse_args(options))
    assert loaded.cluster.image("extract") == pushed["privadv/extract"]
    assert loaded.cluster.image("evaluate") == "privadv/evaluate:latest"
    own = pipeline._parser().parse_args([*options, "--set", "cluster.images.extract=v3"])
    assert pipeline.configured(own).cluster.image("extract") == "privadv/extract:v3"
    (tmp_path / "images.json").write_text("{")
    with pytest.raises(PrivadvError, match="make push-images"):
        pipeline.configured(own)


@pytest.mark.parametrize(("section", "said"), [
    ({"stages": {"attak": {}}}, "stages.attak is no stage"),
    ({"images": {"evaluate": "sha256:12"}}, "is no image: write a tag"),
    ({"images": {"evaluat": "v1"}}, "images.evaluat is no image"),
    ({"cpu_stages": {"memory": "16 GB"}}, "key 'cpu_stages.memory'"),
    ({"stages": {"attack": {"priority": "low"}}}, "no queue: name it too"),
    ({"gpu_stages": {"gpu_type": "x"}}, "unknown key 'gpu_stages.gpu_type'"),
    ({"user": 0}, "key 'user' = 0"),
])
def test_a_mistake_in_the_cluster_section_is_one_line(section: dict[str, Any], said: str) -> None:
    with pytest.raises(PrivadvError) as caught:
        Cluster.parse(section, "run.yaml")
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_a_credential_in_the_configuration_is_refused_and_not_repeated() -> None:
    with pytest.raises(PrivadvError) as caught:
        Cluster.parse({"cpu_stages": {"environment": {"AWS_SECRET_ACCESS_KEY": "planted"}}}, "run.yaml")
    assert "keep it in a Secret" in str(caught.value) and "planted" not in str(caught.value)
