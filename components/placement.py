"""The cluster section of a run as settings of KFP's tasks."""

import math
from typing import Any

from kfp import kubernetes

from privadv.cluster import Cluster, Placement, Toleration

GPU_NODE = "nvidia.com/gpu.present"
"""The label by which NVIDIA's GPU feature discovery marks a node."""
SCRATCH = "/scratch"
KUEUE = "kueue.x-k8s.io"
RUN_ID = "metadata.labels['pipeline/runid']"
"""Where a pod of KFP says which run it is of; each attempt and retry of a run has the same."""


def place(task: Any, stage: str, cluster: Cluster) -> Any:
    """Give ``task``, one of ``stage``, its image, resources, nodes, retries and environment.

    All are constants, known when the pipeline is compiled: so they hold inside loops as outside.
    """
    placement = cluster.placement(stage)
    name = task.container_spec.image.removeprefix("privadv/")
    task.set_container_image(cluster.image(name))
    _resources(task, placement)
    _nodes(task, placement)
    _volumes(task, placement)
    _environment(task, placement, cluster)
    _retries(task, placement)
    kubernetes.set_security_context(task, run_as_user=cluster.user, run_as_group=cluster.user, run_as_non_root=True)
    if cluster.pull_policy:
        kubernetes.set_image_pull_policy(task, cluster.pull_policy)
    if cluster.pull_secrets:
        kubernetes.set_image_pull_secrets(task, list(cluster.pull_secrets))
    return task


def _resources(task: Any, placement: Placement) -> None:
    task.set_cpu_request(str(placement.cpu)).set_cpu_limit(str(placement.cpu))
    # A request below the limit lets the node evict the stage when memory runs out.
    task.set_memory_request(placement.memory).set_memory_limit(placement.memory)
    if placement.gpus:
        task.set_accelerator_type(placement.gpu).set_accelerator_limit(placement.gpus)


def _nodes(task: Any, placement: Placement) -> None:
    for name, value in placement.nodes.items():
        kubernetes.add_node_selector(task, name, value)
    for toleration in placement.tolerations:
        kubernetes.add_toleration_json(task, tolerated(toleration))
    if not placement.gpus:
        # A wish, so that a cluster of GPU nodes alone runs everything too.
        elsewhere = {"key": GPU_NODE, "operator": "DoesNotExist", "values": []}
        kubernetes.add_node_affinity(task, match_expressions=[elsewhere], weight=100)
    for name, value in {**placement.labels, **queued(placement)}.items():
        if value:
            kubernetes.add_pod_label(task, name, value)


def queued(placement: Placement) -> dict[str, str]:
    """The labels by which Kueue finds its queue and priority; none where the placement names none."""
    labels = {f"{KUEUE}/queue-name": placement.queue, f"{KUEUE}/priority-class": placement.priority}
    return {name: value for name, value in labels.items() if value}


def tolerated(toleration: Toleration) -> dict[str, str]:
    """A toleration as Kubernetes writes it."""
    given = toleration.model_dump(exclude_none=True)
    return {**given, "operator": "Equal" if "value" in given else "Exists"}


def _volumes(task: Any, placement: Placement) -> None:
    if placement.shm:
        kubernetes.empty_dir_mount(task, "shm", "/dev/shm", medium="Memory", size_limit=placement.shm)
    if placement.scratch:
        kubernetes.empty_dir_mount(task, "scratch", SCRATCH, size_limit=placement.scratch)
        task.set_env_variable("PRIVADV_SCRATCH", SCRATCH)


def _environment(task: Any, placement: Placement, cluster: Cluster) -> None:
    for name, value in variables(placement).items():
        task.set_env_variable(name, value)
    # A parameter that differs with every run would never let a task be found in KFP's cache.
    kubernetes.use_field_path_as_env(task, "PRIVADV_KFP_RUN_ID", RUN_ID)
    for name, keys in cluster.config_maps.items():
        kubernetes.use_config_map_as_env(task, name, dict(keys))
    for name, keys in cluster.secrets.items():
        kubernetes.use_secret_as_env(task, name, dict(keys))


def variables(placement: Placement) -> dict[str, str]:
    """What a process is to know of its place: it sees all CPUs of its node, however few are its own."""
    cpu = str(placement.cpu)
    own = {"PRIVADV_WORKERS": cpu, "OMP_NUM_THREADS": cpu}
    if placement.gpus > 1:
        own["PRIVADV_ACCELERATORS"] = str(placement.gpus)
    return {**own, **placement.environment}


def _retries(task: Any, placement: Placement) -> None:
    seconds = math.ceil(placement.timeout_hours * 3600)
    kubernetes.set_timeout(task, seconds)
    retry = placement.retry
    if retry.times:
        waits = sum(retry.wait_seconds * retry.factor**number for number in range(retry.times))
        # Argo counts this from the first attempt's start: KFP's hour would leave no retry to a longer stage.
        whole = math.ceil(seconds * (retry.times + 1) + waits)
        task.set_retry(retry.times, f"{retry.wait_seconds}s", retry.factor, f"{whole}s")
