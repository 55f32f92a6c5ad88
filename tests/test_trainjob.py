"""The TrainJob of a stage, against the models that Kubeflow Trainer publishes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from kubeflow_trainer_api.models import TrainerV1alpha1TrainJob

from components.trainjob import train_job
from privadv.cluster import Cluster
from privadv.code_version import PROJECT, code_version
from privadv.errors import PrivadvError
from privadv.run_config import RunConfig
from privadv.store import Blob

CLUSTER = {
    "registry": "registry.example/team",
    "version": "v1",
    "service_account": "privadv-runner",
    "pull_secrets": ["registry"],
    "train_jobs": {"train_adversarial": {"nodes": 3}},
    "stages": {"train_adversarial": {"gpus": 4, "cpu": 16, "scratch": "50Gi", "queue": "gpus", "nodes": {"gpu": "h100"}}},
}
CLIPS = Blob(sha256="1" * 64, bytes=5)
INPUTS: dict[str, Blob] = dict.fromkeys(("clips", "degradation", "target", "budget"), CLIPS)


def config(**cluster: object) -> RunConfig:
    run = RunConfig.load(PROJECT / "configs" / "smoke.yaml")
    return run.model_copy(update={"cluster": Cluster.parse({**CLUSTER, **cluster}, "cluster")})


def test_the_published_models_know_every_field_of_a_job() -> None:
    job = train_job(config(), "train_adversarial", INPUTS)
    parsed = TrainerV1alpha1TrainJob.from_dict(job)
    assert parsed is not None and parsed.to_dict() == job  # they drop what they do not know


def test_every_node_runs_the_pipelines_own_task_with_its_gpus() -> None:
    job = train_job(config(), "train_adversarial", INPUTS)
    trainer = job["spec"]["trainer"]
    assert trainer["image"] == "registry.example/team/privadv/adversarial:v1"
    assert (trainer["numNodes"], trainer["numProcPerNode"]) == (3, 4)
    assert trainer["resourcesPerNode"]["limits"]["nvidia.com/gpu"] == "4"
    task = json.loads(trainer["command"][-1])
    assert task["code"] == code_version("train_adversarial") and json.loads(task["inputs"]["clips"])["sha256"] == CLIPS.sha256
    assert json.loads(task["config"]) == json.loads(config().train_adversarial.canonical())
    environment = {one["name"]: one for one in trainer["env"]}
    assert environment["PRIVADV_ACCELERATORS"]["value"] == "4"
    assert environment["AWS_SECRET_ACCESS_KEY"]["valueFrom"]["secretKeyRef"]["name"] == "privadv-s3"
    assert not [name for name in environment if name.startswith("PET_")]  # Kubeflow's own, refused in a job
    (pods,) = job["spec"]["runtimePatches"][0]["trainingRuntimeSpec"]["template"]["spec"]["replicatedJobs"]
    assert pods["template"]["spec"]["template"]["metadata"]["labels"] == {"pipelines.kubeflow.org/v2_component": "true"}
    assert {one["name"] for one in pods["template"]["spec"]["template"]["spec"]["volumes"]} == {"shm", "scratch"}


@pytest.mark.parametrize(
    ("stage", "inputs", "complaint"),
    [
        ("pretrain_target", INPUTS, "cluster.train_jobs holds no pretrain_target"),
        ("train_adversarial", {"clips": CLIPS}, "--input budget=FILE is missing"),
        ("train_adversarial", {**INPUTS, "game": CLIPS}, "--input game=FILE is no input of train_adversarial"),
    ],
)
def test_what_makes_no_job_is_refused(stage: str, inputs: dict[str, Blob], complaint: str) -> None:
    with pytest.raises(PrivadvError, match=complaint):
        train_job(config(), stage, inputs)


def test_the_command_writes_the_job(tmp_path: Path) -> None:
    run = yaml.safe_load((PROJECT / "configs" / "smoke.yaml").read_text())
    (tmp_path / "run.yaml").write_text(yaml.safe_dump({**run, "cluster": {"train_jobs": {"pretrain_degradation": {}}}}))
    (tmp_path / "clips.json").write_text("{}")
    command = ["--config", "run.yaml", "--stage", "pretrain_degradation", "--input", "clips=clips.json", "--output", "job.yaml"]
    subprocess.run(
        [sys.executable, "-m", "components.trainjob", *command], cwd=tmp_path, env={"PYTHONPATH": str(PROJECT)}, check=True
    )
    assert yaml.safe_load((tmp_path / "job.yaml").read_text())["spec"]["trainer"]["numNodes"] == 2
    before = (tmp_path / "run.yaml").read_text()
    refused = subprocess.run([sys.executable, "-m", "components.trainjob", *command[:-1], "run.yaml"], cwd=tmp_path,
                             env={"PYTHONPATH": str(PROJECT)}, check=False, capture_output=True, text=True)
    assert refused.returncode == 1 and refused.stderr == "privadv: run.yaml: is the configuration: name another --output\n"
    assert (tmp_path / "run.yaml").read_text() == before
