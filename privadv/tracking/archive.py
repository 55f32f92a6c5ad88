"""What finished runs left in MLflow, for whoever compares and promotes: reads, and writes of its own, without a spool."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from privadv.config import Section
from privadv.errors import PrivadvError, without_credentials
from privadv.tracking.session import QUICK, tracking_uri
from privadv.tracking.spool import MANIFEST

PIPELINES = "tags.kind = 'pipeline' and attributes.status = 'FINISHED'"


class FinishedRun(Section):
    """One pipeline's run; ``started`` in milliseconds since 1970."""

    id: str
    name: str
    started: int
    metrics: dict[str, float]
    params: dict[str, str]
    tags: dict[str, str]


class Version(Section):
    """A version of a registered model and the run that made it."""

    model: str
    number: int
    run: FinishedRun


class Archive:
    """The MLflow that MLFLOW_TRACKING_URI names, else the database of the workspace (PRIVADV_WORKSPACE, else .privadv).

    Every method raises PrivadvError in one line when MLflow cannot be reached or refuses.
    """

    def __init__(self) -> None:
        self._uri = tracking_uri()
        database = Path(self._uri.removeprefix("sqlite:///"))
        if self._uri.startswith("sqlite:///") and not database.exists():
            raise PrivadvError(f"{database}: no run yet: make run first, or set MLFLOW_TRACKING_URI")
        os.environ.update({name: value for name, value in QUICK.items() if name not in os.environ})
        import mlflow

        named = "MLFLOW_TRACKING_URI" if os.environ.get("MLFLOW_TRACKING_URI") else str(database)
        with self._explained(named, "check the address, or whether another version of MLflow made the database"):
            mlflow.set_tracking_uri(self._uri)  # models:/ addresses are resolved there, whoever asks
            self._client = mlflow.MlflowClient(self._uri)

    def runs(self, experiment: str, filter_: str = "") -> list[FinishedRun]:
        """Every finished pipeline run of an experiment, the oldest first; ``filter_`` is in MLflow's own words."""
        with self._explained(f"--filter \"{filter_}\"" if filter_ else experiment):
            wanted = " and ".join(filter(None, (PIPELINES, filter_)))
            pages = self._pages([self._experiment(experiment)], wanted)
            return sorted((_finished(run) for page in pages for run in page), key=lambda run: run.started)

    def version(self, model: str, which: str) -> Version | None:
        """A model's version by its number or alias; None where that does not exist."""
        from mlflow.exceptions import MlflowException

        with self._explained(f"{model}@{which}"):
            try:
                if which.isdecimal():
                    found = self._client.get_model_version(model, which)
                else:
                    found = self._client.get_model_version_by_alias(model, which)
            except MlflowException as error:
                if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                    raise
                return None
            run = _finished(self._client.get_run(str(found.run_id)))
            return Version(model=model, number=int(found.version), run=run)

    def models(self) -> list[str]:
        """The registered filters."""
        with self._explained("the model registry"):
            return [model.name for model in self._client.search_registered_models("name LIKE 'privadv-%'")]

    def name(self, version: Version, alias: str) -> None:
        """Let ``alias`` name this version from now on."""
        with self._explained(f"{version.model}@{alias}"):
            self._client.set_registered_model_alias(version.model, alias, str(version.number))

    def download(self, version: Version, folder: Path) -> Path:
        """The folder, below ``folder``, with a version's filter.json and filter.safetensors.

        Raises:
            PrivadvError: MLflow does not give them, as where a workspace was moved.
        """
        with self._explained(f"{version.model} version {version.number}"):
            from mlflow.artifacts import download_artifacts

            uri = f"models:/{version.model}/{version.number}"
            try:
                found = Path(download_artifacts(uri, tracking_uri=self._uri, dst_path=str(folder)), "data", "filter")
                (found / MANIFEST).stat()
                return found
            except OSError as error:
                place = self._client.get_model_version_download_uri(version.model, str(version.number))
                reason = error.strerror or without_credentials(" ".join(str(error).split()))[:200]
                raise PrivadvError(f"{uri}: MLflow has no files of it at {without_credentials(place)} ({reason}): bring them "
                                   "back if they were moved, or name a folder that a run published") from None

    def record(self, experiment: str, name: str, metrics: Mapping[str, float], tags: Mapping[str, str],
               files: Mapping[str, bytes]) -> str:
        """A run of its own with files at its top; returns its id."""
        with self._explained(experiment), tempfile.TemporaryDirectory() as folder:
            run = self._client.create_run(self._experiment(experiment), tags=dict(tags), run_name=name).info.run_id
            for metric, value in metrics.items():
                self._client.log_metric(run, metric, value)
            for file, content in files.items():
                Path(folder, file).write_bytes(content)
            self._client.log_artifacts(run, folder)
            self._client.set_terminated(run)
            return run

    def share_view(self, experiment: str) -> str:
        """Give an experiment its prepared page of runs; returns the page's path on the server."""
        from privadv.tracking.view import share

        with self._explained(experiment):
            return share(self._client, self._experiment(experiment))

    def experiments(self) -> list[str]:
        """Their names, without the one that MLflow makes itself."""
        with self._explained("the experiments"):
            return [one.name for one in self._client.search_experiments() if one.name != "Default"]

    def _experiment(self, name: str) -> str:
        found = self._client.get_experiment_by_name(name)
        if found is None:
            known = ", ".join(self.experiments()) or "(none yet)"
            raise PrivadvError(f"MLflow has no experiment '{name}': one of {known}")
        return found.experiment_id

    def _pages(self, experiments: list[str], wanted: str) -> Iterator[Any]:
        token = None
        while page := self._client.search_runs(experiments, wanted, max_results=500, page_token=token):
            yield page
            token = page.token
            if not token:
                return

    @contextmanager
    def _explained(self, what: str, mend: str = "check it") -> Iterator[None]:
        from alembic.util import CommandError
        from mlflow.exceptions import MlflowException
        from sqlalchemy.exc import SQLAlchemyError

        try:
            yield
        except (MlflowException, SQLAlchemyError, CommandError, ImportError) as error:  # ImportError: of a database's driver
            said = without_credentials(" ".join(str(error).split()))[:200]
            where = without_credentials(self._uri)
            raise PrivadvError(f"{what}: MLflow at {where} does not take it ({said}): {mend}") from None


def _finished(run: Any) -> FinishedRun:
    data, info = run.data, run.info
    return FinishedRun(id=info.run_id, name=info.run_name, started=info.start_time, metrics=data.metrics,
                       params=data.params, tags=data.tags)
