"""A training stage on several nodes: a TrainJob of Kubeflow Trainer (v2) in the place of a pipeline's task.

    python -m components.trainjob --config run.yaml --stage train_adversarial --input clips=clips.json ... --output job.yaml
"""

import argparse
import hashlib
import json
import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from kfp.dsl.types.type_utils import is_parameter_type

from components.placement import SCRATCH, queued, tolerated, variables
from components.pretrain_budget import pretrain_budget
from components.pretrain_degradation import pretrain_degradation
from components.pretrain_target import pretrain_target
from components.tasks import stage_name
from components.train_adversarial import train_adversarial
from privadv.cluster import Cluster, Placement
from privadv.code_version import code_version
from privadv.console import say
from privadv.errors import PrivadvError
from privadv.run_config import RunConfig
from privadv.store import Blob

STAGES = {stage_name(stage): stage for stage in (pretrain_degradation, pretrain_target, pretrain_budget, train_adversarial)}
"""Those whose processes can train together."""
STEP = "node"
"""What Kubeflow's runtimes call the replicated job that trains, and its container."""
ADMITTED = {"pipelines.kubeflow.org/v2_component": "true"}
"""The label by which k8s/base/network.yaml lets pods reach S3 and MLflow."""


def train_job(config: RunConfig, stage: str, inputs: Mapping[str, Blob]) -> dict[str, Any]:
    """The manifest. ``inputs``: where the store holds the manifests that the stage reads, by the names of its inputs.

    Raises:
        PrivadvError: cluster.train_jobs does not hold the stage, or inputs are missing or unknown.
    """
    spread = config.cluster.train_jobs.get(stage)
    if spread is None:
        raise PrivadvError(f"cluster.train_jobs holds no {stage}: add {stage}: {{nodes: 2}} to it")
    _check(stage, inputs)
    placement, image = config.cluster.placement(stage), STAGES[stage].component_spec.implementation.container.image
    trainer = {
        "image": config.cluster.image(image.removeprefix("privadv/")),
        "command": ["python3", "-m", "privadv.stages.task", _task(config, stage, inputs)],
        "numNodes": spread.nodes,
        "numProcPerNode": max(1, placement.gpus),
        "env": _environment(placement, config.cluster),
        "resourcesPerNode": {kind: _resources(placement) for kind in ("requests", "limits")},
    }
    name = f"{config.name}-{stage}-seed{config.seed}".replace("_", "-")
    return {
        "apiVersion": "trainer.kubeflow.org/v1alpha1",
        "kind": "TrainJob",
        "metadata": {"generateName": f"{name}-", "labels": queued(placement)},
        "spec": {
            "runtimeRef": {"name": spread.runtime},
            "activeDeadlineSeconds": math.ceil(placement.timeout_hours * 3600),
            "trainer": trainer,
            "runtimePatches": [_patch(placement, config.cluster)],
        },
    }


def _check(stage: str, inputs: Mapping[str, Blob]) -> None:
    specs = STAGES[stage].component_spec.inputs
    known = {name for name, spec in specs.items() if not is_parameter_type(spec.type)}
    for name in sorted(known ^ inputs.keys()):
        wrong = "is missing: add it" if name in known else f"is no input of {stage}: one of {', '.join(sorted(known))}"
        raise PrivadvError(f"--input {name}=FILE {wrong}")


def _task(config: RunConfig, stage: str, inputs: Mapping[str, Blob]) -> str:
    task = {
        "stage": stage,
        "config": getattr(config, stage).canonical(),
        "code": code_version(stage),
        "output": f"/tmp/{stage}.json",
        "inputs": {name: blob.canonical() for name, blob in inputs.items()},
        "seed": config.seed,
    }
    return json.dumps(task, sort_keys=True)


def _resources(placement: Placement) -> dict[str, str]:
    gpus = {placement.gpu: str(placement.gpus)} if placement.gpus else {}
    return {"cpu": str(placement.cpu), "memory": placement.memory, **gpus}


def _environment(placement: Placement, cluster: Cluster) -> list[dict[str, Any]]:
    plain = {
        "PRIVADV_ACCELERATORS": str(max(1, placement.gpus)),
        **({"PRIVADV_SCRATCH": SCRATCH} if placement.scratch else {}),
        **variables(placement),
    }
    kinds = {"configMapKeyRef": cluster.config_maps, "secretKeyRef": cluster.secrets}
    return [{"name": name, "value": value} for name, value in plain.items()] + [
        {"name": variable, "valueFrom": {kind: {"name": name, "key": key}}}
        for kind, objects in kinds.items()
        for name, keys in objects.items()
        for key, variable in keys.items()
    ]


def _patch(placement: Placement, cluster: Cluster) -> dict[str, Any]:
    """What the runtime's own pods do not have: nodes, tolerations, memory for /dev/shm, scratch, the user, the label."""
    sizes = {
        "shm": ("/dev/shm", {"medium": "Memory", "sizeLimit": placement.shm} if placement.shm else None),
        "scratch": (SCRATCH, {"sizeLimit": placement.scratch} if placement.scratch else None),
    }
    volumes = [{"name": name, "emptyDir": volume} for name, (_, volume) in sizes.items() if volume]
    mounts = [{"name": name, "mountPath": path} for name, (path, volume) in sizes.items() if volume]
    user = {"runAsUser": cluster.user, "runAsGroup": cluster.user, "fsGroup": cluster.user, "runAsNonRoot": True}
    pod = {
        "securityContext": user,
        "serviceAccountName": cluster.service_account,
        "imagePullSecrets": [{"name": name} for name in cluster.pull_secrets],
        "nodeSelector": placement.nodes,
        "tolerations": [tolerated(one) for one in placement.tolerations],
        "volumes": volumes,
        "containers": [{"name": STEP, "volumeMounts": mounts}] if mounts else [],
    }
    pods = {
        "metadata": {"labels": {**placement.labels, **ADMITTED}},
        "spec": {key: value for key, value in pod.items() if value},
    }
    jobs = [{"name": STEP, "template": {"spec": {"template": pods}}}]
    return {"manager": "privadv/trainjob", "trainingRuntimeSpec": {"template": {"spec": {"replicatedJobs": jobs}}}}


def _blob(text: str) -> tuple[str, Blob]:
    name, equals, file = text.partition("=")
    if not equals or not Path(file).is_file():
        raise PrivadvError(f"--input {text}: write NAME=FILE, with the manifest that another stage left")
    manifest = Path(file).read_bytes()
    return name, Blob(sha256=hashlib.sha256(manifest).hexdigest(), bytes=len(manifest))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m components.trainjob", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--config", type=Path, required=True, help="the run, a YAML file")
    parser.add_argument("--stage", choices=STAGES, required=True)
    parser.add_argument("--input", action="append", default=[], metavar="NAME=FILE", help="a manifest of another stage")
    parser.add_argument("--output", type=Path, required=True, help="the YAML file to write")
    options = parser.parse_args()
    try:
        if options.output.exists() and options.output.samefile(options.config):
            raise PrivadvError(f"{options.output}: is the configuration: name another --output")
        job = train_job(RunConfig.load(options.config), options.stage, dict(map(_blob, options.input)))
        options.output.write_text(yaml.safe_dump(job, sort_keys=False), encoding="utf-8")
    except (PrivadvError, OSError) as error:
        print(f"privadv: {error}", file=sys.stderr)
        return 1
    say(f"{options.stage}: kubectl create -f {options.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
