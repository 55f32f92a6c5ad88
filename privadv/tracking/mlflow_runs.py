"""MLflow's side: which run a header is, and how its entries are sent.

Everything may be sent again: a run is created once under its key, and MLflow stores equal values once.
"""

from __future__ import annotations

import base64
import fcntl
import json
import posixpath
import re
import tempfile
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from mlflow import MlflowClient
from mlflow.entities import Dataset, InputTag, Metric, Param, Run, RunTag
from mlflow.entities import DatasetInput as DatasetInputEntity
from mlflow.exceptions import MlflowException

from privadv.errors import PrivadvError
from privadv.place import ARTIFACTS
from privadv.store import Store
from privadv.tracking.spool import METRICS_PER_BATCH, DatasetInput, FilterModel, RunHeader, RunRecord

KEY_TAG, PARENT_TAG, NOTE_TAG = "privadv.key", "mlflow.parentRunId", "mlflow.note.content"
NAME_CHARACTERS, PARAM_CHARACTERS, TAG_CHARACTERS, DIGEST_CHARACTERS = 250, 6000, 8000, 36
ITEMS_PER_BATCH = 100


class MlflowRuns:
    """The runs of one MLflow server or database; every method raises whatever mlflow or the store raise."""

    def __init__(self, uri: str, store: Store) -> None:
        self._uri, self._store = uri, store
        self._connected: MlflowClient | None = None
        self._records: dict[str, RunRecord] = {}
        self._begun: dict[str, str] = {}

    def ping(self) -> None:
        """Return if the server answers."""
        self._client.search_experiments(max_results=1)

    def begin(self, header: RunHeader) -> str:
        """Find or create a run, give it its parameters and tags, and return its id."""
        if header.key in self._begun:
            return self._begun[header.key]
        run_id = self._claim(header).run_id
        self._tag(run_id, header.tags)
        self._log_params(run_id, header.params)
        self._begun[header.key] = run_id
        return run_id

    def send(self, run_id: str, header: RunHeader, entries: list[dict[str, Any]]) -> None:
        """Send the entries of one batch (see :func:`privadv.tracking.spool.batches`)."""
        match entries[0]:
            case {"metrics": _}:
                metrics = [Metric(_name(name), value, entry["time"], entry["step"])
                           for entry in entries for name, value in entry["metrics"].items()]
                for part in _parts(metrics, METRICS_PER_BATCH):
                    self._client.log_batch(run_id, metrics=part)
            case {"params": params}:
                self._log_params(run_id, params)
            case {"tags": tags}:
                self._tag(run_id, tags)
            case {"note": text, "figure": figure}:
                self._tag(run_id, {NOTE_TAG: f"{text}\n\n![{figure}]({_artifact_link(run_id, figure)})"})
            case {"dataset": dataset}:
                self._log_dataset(run_id, DatasetInput.parse(dataset, "a spooled data set"))
            case {"model": model}:
                # mlflow.pyfunc takes seconds to import, and few stages have a model.
                from privadv.tracking.mlflow_models import log_filter

                log_filter(self._client, run_id, FilterModel.parse(model, "a spooled model"), self._store)
            case {"artifact": name, "data": data}:
                self._log_artifact(run_id, name, base64.b64decode(data))
            case {"end": status, "time": time}:
                self._end(run_id, header, status, time)
            case _:
                raise ValueError("a damaged line")

    def _end(self, run_id: str, header: RunHeader, status: str, time: int) -> None:
        self._client.set_terminated(run_id, status, time)
        # A stage that fails, or is all there is, ends the pipeline's run too, unless a platform keeps that one's status.
        if header.role == "stage" and (status != "FINISHED" or header.alone) and not header.task_run:
            pipeline = self._claim(header.pipeline_header()).run_id
            if self._client.get_run(pipeline).info.status == "RUNNING":
                self._client.set_terminated(pipeline, status, time)

    def _log_params(self, run_id: str, values: dict[str, str]) -> None:
        known = self._client.get_run(run_id).data.params if values else {}
        params = {_name(name): _cut(value, PARAM_CHARACTERS) for name, value in values.items()}
        fresh = [Param(name, value) for name, value in params.items() if name not in known]
        for part in _parts(fresh, ITEMS_PER_BATCH):
            self._client.log_batch(run_id, params=part)
        # MLflow refuses to change a parameter, and a repeated task may have another value.
        self._tag(run_id, {f"changed.{name}": value for name, value in params.items()
                           if known.get(name, value) != value})

    def _log_dataset(self, run_id: str, given: DatasetInput) -> None:
        dataset = Dataset(given.name, given.sha256[:DIGEST_CHARACTERS], "privadv", json.dumps(given.source),
                          profile=json.dumps(given.profile))
        context = InputTag("mlflow.data.context", given.context)
        self._client.log_inputs(run_id, [DatasetInputEntity(dataset, [context])])

    def _tag(self, run_id: str, tags: dict[str, str]) -> None:
        items = [RunTag(_name(name), _cut(value, TAG_CHARACTERS)) for name, value in tags.items()]
        for part in _parts(items, ITEMS_PER_BATCH):
            self._client.log_batch(run_id, tags=part)

    def _log_artifact(self, run_id: str, name: str, data: bytes) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, posixpath.basename(name))
            path.write_bytes(data)
            self._client.log_artifact(run_id, str(path), posixpath.dirname(name) or None)

    # Which run is it? The record in the store is created once, so that racing processes agree on one run.

    def _claim(self, header: RunHeader) -> RunRecord:
        if header.key not in self._records:
            known = self._stored(header.key)
            if known is None or not self._exists(known.run_id):
                found = self._find(header)
                known = self._record(header.key, found or self._create(header), known, created=not found)
            self._records[header.key] = known
        return self._records[header.key]

    def _record(self, key: str, run: Run, stale: RunRecord | None, created: bool) -> RunRecord:
        record = RunRecord(run_id=run.info.run_id, experiment_id=run.info.experiment_id)
        data = record.canonical().encode()
        if stale:  # a run of another server, or deleted by hand
            self._store.write(key, data)
        elif not self._store.create(key, data):
            winner = self._stored(key) or record
            if created and winner != record:
                self._client.delete_run(record.run_id)
            return winner
        return record

    def _find(self, header: RunHeader) -> Run | None:
        """The run the platform made for it, or one that was created while the answer was lost."""
        if header.task_run and header.role != "child":
            run = self._client.get_run(header.task_run)
            if header.role == "stage":
                return run
            if parent := run.data.tags.get(PARENT_TAG):
                return self._client.get_run(parent)
        found = self._client.search_runs([self._experiment(header)], f"tags.`{KEY_TAG}` = '{header.key}'",
                                         max_results=1, order_by=["attributes.start_time ASC"])
        return found[0] if found else None

    def _create(self, header: RunHeader) -> Run:
        parent = self._parent(header)
        tags = {KEY_TAG: header.key, **({PARENT_TAG: parent.run_id} if parent else {})}
        return self._client.create_run(self._experiment(header), header.started, tags, header.name)

    def _parent(self, header: RunHeader) -> RunRecord | None:
        match header.role:
            case "pipeline":
                return None
            case "stage":
                return self._claim(header.pipeline_header())
            case "child":
                return self._records.get(header.parent) or self._known(header.parent)

    def _known(self, key: str) -> RunRecord:
        if record := self._stored(key):
            return record
        raise PrivadvError(f"{key}: the run that others are nested under is not known yet")

    def _experiment(self, header: RunHeader) -> str:
        if parent := self._parent(header):
            return parent.experiment_id
        if found := self._client.get_experiment_by_name(header.experiment):
            return found.experiment_id
        try:
            return self._client.create_experiment(header.experiment, _artifact_folder(self._uri))
        except MlflowException:  # another process was faster
            found = self._client.get_experiment_by_name(header.experiment)
            if not found:
                raise
            return found.experiment_id

    def _stored(self, key: str) -> RunRecord | None:
        text = self._store.read(key)
        return RunRecord.parse(text.decode(), key) if text else None

    def _exists(self, run_id: str) -> bool:
        try:
            return self._client.get_run(run_id).info.lifecycle_stage == "active"
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return False

    @property
    def _client(self) -> MlflowClient:
        if self._connected is None:
            self._connected = _connect(self._uri)
        return self._connected


def _connect(uri: str) -> MlflowClient:
    database = _database(uri)
    if database is None:
        return MlflowClient(uri)
    database.parent.mkdir(parents=True, exist_ok=True)
    # Two processes that create the tables at once break each other.
    with Path(f"{database}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        client = MlflowClient(uri)
        client.search_experiments(max_results=1)
    return client


def _artifact_folder(uri: str) -> str | None:
    """Beside a local database; a server decides for itself."""
    database = _database(uri)
    return (database.parent / ARTIFACTS).as_uri() if database else None


def _database(uri: str) -> Path | None:
    return Path(uri.removeprefix("sqlite:///")).absolute() if uri.startswith("sqlite:///") else None


def _name(name: str) -> str:
    """The nearest name that MLflow takes."""
    plain = posixpath.normpath(re.sub(r"[^\w/.\- :]", "_", name)).lstrip("/.")
    return plain[:NAME_CHARACTERS] or "unnamed"


def _artifact_link(run_id: str, name: str) -> str:
    """Relative to MLflow's page, so that it holds behind any address of the server."""
    return f"get-artifact?{urlencode({'path': name, 'run_uuid': run_id})}"


def _cut(value: str, limit: int) -> str:
    return value if len(value) <= limit else f"{value[:limit - 3]}..."


def _parts(items: list[Any], size: int) -> Iterator[list[Any]]:
    rest = iter(items)
    while part := list(islice(rest, size)):
        yield part
