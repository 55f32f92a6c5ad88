"""Filters in MLflow's model registry, as data: a manifest and safetensors, which the installed privadv rebuilds.

Neither a pickle nor code lies in the model, so loading one from a foreign registry runs nothing of it. (MLflow's own
PyTorch flavour pickles the module or freezes it with torch.export, its "model from code" executes a script that is
stored with the model.)
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import mlflow
import mlflow.pyfunc
import numpy as np
from mlflow import MlflowClient
from mlflow.entities import LoggedModel, LoggedModelOutput
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.models import Model, ModelSignature
from mlflow.types import Schema, TensorSpec

from privadv.store import Store
from privadv.tracking.spool import CANDIDATE, MANIFEST, WEIGHTS, FilterModel

LOADER = "privadv.serving"
REQUIREMENTS = ["torch", "safetensors", "numpy", "pydantic"]  # of the loader, which is privadv's own
EXAMPLE_FRAMES = 2


def log_filter(client: MlflowClient, run_id: str, given: FilterModel, store: Store) -> None:
    """Log a run's filter, register it and let ``candidate`` name it, unless a newer version has that name.

    What an earlier attempt has done is kept.
    """
    mlflow.set_tracking_uri(client.tracking_uri)  # a database's registry asks there where a model lies
    logged = _logged(client, run_id) or _log(client, run_id, given, store)
    version = _version(client, given.registered, run_id) or _register(client, run_id, logged, given)
    newest = _alias(client, given.registered, CANDIDATE)
    if newest is None or int(newest.version) < int(version.version):
        client.set_registered_model_alias(given.registered, CANDIDATE, version.version)


def _logged(client: MlflowClient, run_id: str) -> LoggedModel | None:
    experiment = client.get_run(run_id).info.experiment_id
    found = client.search_logged_models([experiment], f"source_run_id = '{run_id}'")
    for half in (one for one in found if one.status != "READY"):
        client.delete_logged_model(half.model_id)
    return next((one for one in found if one.status == "READY"), None)


def _log(client: MlflowClient, run_id: str, given: FilterModel, store: Store) -> LoggedModel:
    experiment = client.get_run(run_id).info.experiment_id
    made = client.create_logged_model(experiment, "filter", run_id, given.tags)
    with tempfile.TemporaryDirectory() as folder:
        data, model = Path(folder, "filter"), Path(folder, "model")
        data.mkdir()
        (data / MANIFEST).write_text(json.dumps(given.manifest, indent=2))
        (data / WEIGHTS).write_bytes(store.get(given.weights))
        mlflow.pyfunc.save_model(
            model, loader_module=LOADER, data_path=data, signature=_signature(), input_example=_example(given),
            pip_requirements=REQUIREMENTS, metadata={"geometry": list(given.geometry)},
            mlflow_model=Model(run_id=run_id, model_id=made.model_id, model_uuid=made.model_id))
        client.log_model_artifacts(made.model_id, str(model))
    client.log_outputs(run_id, [LoggedModelOutput(made.model_id, step=0)])
    return client.finalize_logged_model(made.model_id, "READY")


def _signature() -> ModelSignature:
    """8-bit clips (N, T, H, W, 3) to 8-bit clips of the same shape."""
    clips = Schema([TensorSpec(np.dtype(np.uint8), (-1, -1, -1, -1, 3))])
    return ModelSignature(inputs=clips, outputs=clips)


def _example(given: FilterModel) -> np.ndarray:
    """Two short clips of a grey ramp at the measured size: no footage of anybody belongs into a registry."""
    _, height, width = given.geometry
    ramp = np.linspace(0, 255, width, dtype=np.uint8)
    return np.broadcast_to(ramp[:, None], (2, EXAMPLE_FRAMES, height, width, 3)).copy()


def _register(client: MlflowClient, run_id: str, logged: LoggedModel, given: FilterModel) -> ModelVersion:
    try:
        client.create_registered_model(given.registered)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    return client.create_model_version(given.registered, f"models:/{logged.model_id}", run_id, given.tags,
                                       description=given.description, await_creation_for=0,
                                       model_id=logged.model_id)


def _version(client: MlflowClient, name: str, run_id: str) -> ModelVersion | None:
    return next(iter(client.search_model_versions(f"name = '{name}' and run_id = '{run_id}'")), None)


def _alias(client: MlflowClient, name: str, alias: str) -> ModelVersion | None:
    try:
        return client.get_model_version_by_alias(name, alias)
    except MlflowException as error:
        if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise
        return None
