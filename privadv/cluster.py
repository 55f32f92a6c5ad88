"""Where the stages run on a cluster: images, resources, nodes, retries. No stage sees it, so no cache knows it."""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self

import pydantic

from privadv.config import Section

NVIDIA = "nvidia.com/gpu"
SECRET_NAME = re.compile(r"SECRET|PASSWORD|PASSWD|TOKEN|CREDENTIAL|(^|_)KEY(_|$)", re.IGNORECASE)
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
TAG = re.compile(r"\w[\w.-]{0,127}")
REFERENCE = re.compile(r"[\w.:-]+(/[\w.-]+)+(:\w[\w.-]{0,127})?(@sha256:[0-9a-f]{64})?")
IMAGES = ("extract", "pretrain-degradation", "pretrain-models", "adversarial", "evaluate")


def _nothing_secret(name: str) -> str:
    if SECRET_NAME.search(name):
        raise ValueError("it looks like a credential: keep it in a Secret, and name that in cluster.secrets")
    return name


Memory = Annotated[str, pydantic.StringConstraints(pattern=r"^[1-9][0-9]*(Ki|Mi|Gi|Ti|K|M|G|T)$")]
Variable = Annotated[str, pydantic.AfterValidator(_nothing_secret)]


class Toleration(Section):
    """A taint of a node that is no obstacle; without ``value`` the taint's value does not matter."""

    key: str
    value: str | None = None
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None


class Retry(Section):
    """A stage that failed starts again ``times`` times, after ``wait_seconds``, then ``factor`` times as long, and so on."""

    times: int = pydantic.Field(default=3, ge=0, le=20)
    wait_seconds: int = pydantic.Field(default=60, ge=1)
    factor: float = pydantic.Field(default=2.0, ge=1)


class Placement(Section):
    """What a stage's pod asks for, and which nodes may run it.

    ``cpu`` (whole CPUs) and ``memory`` are its request and its limit at once; a stage starts as many workers as it has CPUs.
    ``gpus`` of the resource ``gpu``. ``nodes``: the labels that a node must have. ``shm``: the size of /dev/shm, part of the
    memory; ``scratch``: that of a volume for decoded clips, which else lie in the container. ``queue`` and
    ``priority`` name a LocalQueue and a WorkloadPriorityClass of Kueue. ``environment``: plain variables, nothing secret.
    """

    cpu: int = pydantic.Field(default=4, ge=1)
    memory: Memory = "16Gi"
    gpus: int = pydantic.Field(default=0, ge=0)
    gpu: str = NVIDIA
    nodes: dict[str, str] = {}
    tolerations: tuple[Toleration, ...] = ()
    shm: Memory | None = None
    scratch: Memory | None = None
    timeout_hours: float = pydantic.Field(default=24, gt=0)
    retry: Retry = Retry()
    queue: str | None = None
    priority: str | None = None
    labels: dict[str, str] = {}
    environment: dict[Variable, str] = {}

    def under(self, other: Placement) -> Placement:
        """This placement with what ``other`` sets itself in the place of its own."""
        return self.model_copy(update={name: getattr(other, name) for name in other.model_fields_set})


_SMALL = Placement(cpu=1, memory="4Gi", timeout_hours=1)
_CPU = Placement(cpu=8, memory="16Gi")
_GPU = Placement(cpu=8, memory="32Gi", gpus=1, shm="8Gi", tolerations=(Toleration(key=NVIDIA),))

DEFAULTS = {
    "plan": _SMALL,
    "extract_frames": _CPU,
    "pretrain_degradation": _GPU,
    "pretrain_target": _GPU,
    "pretrain_budget": _GPU,
    "train_adversarial": _GPU,
    "render": _CPU,
    "attack": _GPU,
    "list_readers": _SMALL,
    "fit_reader": _GPU,
    "join_readers": _GPU,
    "report": _CPU,
}
"""Extraction, rendering and the report on CPU nodes; whatever trains on a GPU."""


class Spread(Section):
    """A training stage over several ``nodes``, each with the GPUs of its placement, under a training ``runtime`` of Kubeflow
    Trainer. The pipeline itself runs the stage on one node; components.trainjob makes the job.
    """

    nodes: int = pydantic.Field(default=2, ge=1)
    runtime: str = "torch-distributed"


class Cluster(Section):
    """The run's place on a cluster; a run on this machine ignores it.

    An image is ``<registry>/privadv/<name>:<version>``; ``images`` gives single ones another version, a digest
    (``sha256:...``) or a whole reference. ``cpu_stages`` and ``gpu_stages`` hold what all stages of the kind have in
    common, ``stages`` what a single one has of its own: each sets only the values that it names. ``config_maps`` and
    ``secrets`` give pods their environment: for each object its keys, and the variables that they become. ``rows``
    baselines, and ``readers`` of each row under fan_out: attacker, run at the same time. ``train_jobs``: stages that
    are also made as TrainJobs.
    """

    registry: str = ""
    version: str = pydantic.Field(default="latest", pattern=f"^{TAG.pattern}$")
    images: dict[str, str] = {}
    pull_policy: Literal["Always", "IfNotPresent", "Never"] | None = None
    pull_secrets: tuple[str, ...] = ()
    user: int = pydantic.Field(default=10001, ge=1)
    service_account: str | None = None
    config_maps: dict[str, dict[str, str]] = {
        "privadv-stage": {
            name: name
            for name in ("PRIVADV_S3_ENDPOINT", "PRIVADV_S3_BUCKET", "PRIVADV_S3_REGION", "MLFLOW_TRACKING_URI")
        }
    }
    secrets: dict[str, dict[str, str]] = {
        "privadv-s3": {name: name for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")}
    }
    rows: int = pydantic.Field(default=4, ge=1)
    readers: int = pydantic.Field(default=4, ge=1)
    cpu_stages: Placement = Placement()
    gpu_stages: Placement = Placement()
    stages: dict[str, Placement] = {}
    train_jobs: dict[str, Spread] = {}

    @pydantic.model_validator(mode="after")
    def _known(self) -> Self:
        for name in self.stages.keys() - DEFAULTS.keys():
            raise ValueError(f"stages.{name} is no stage: one of {', '.join(DEFAULTS)}")
        for name, version in self.images.items():
            if name not in IMAGES:
                raise ValueError(f"images.{name} is no image: one of {', '.join(IMAGES)}")
            if not any(form.fullmatch(version) for form in (DIGEST, TAG, REFERENCE)):
                raise ValueError(f"images.{name} = '{version}' is no image: write a tag, sha256: and 64 digits, or all of it")
        for stage in DEFAULTS:
            placement = self.placement(stage)
            if placement.priority and not placement.queue:
                raise ValueError(f"{stage} has priority '{placement.priority}', one of Kueue's, and no queue: name it too")
        return self

    def placement(self, stage: str) -> Placement:
        """Where ``stage`` runs: its defaults, under its kind's values, under its own."""
        default = DEFAULTS[stage]
        kind = self.gpu_stages if default.gpus else self.cpu_stages
        return default.under(kind).under(self.stages.get(stage, Placement()))

    def image(self, name: str) -> str:
        """The image ``privadv/<name>`` as the cluster pulls it."""
        version = self.images.get(name, self.version)
        if REFERENCE.fullmatch(version):
            return version
        prefix = f"{self.registry.rstrip('/')}/" if self.registry else ""
        return f"{prefix}privadv/{name}{'@' if DIGEST.fullmatch(version) else ':'}{version}"
