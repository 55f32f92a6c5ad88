"""What a stage uses to tell MLflow about itself."""

from __future__ import annotations

import base64
import json
import os
import re
import uuid
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Any, Self

from privadv.console import say
from privadv.errors import PrivadvError
from privadv.store import Store
from privadv.tracking import spool
from privadv.tracking.session import Session
from privadv.tracking.spool import DatasetInput, FilterModel, RunHeader


class Tracker:
    """One run. Every call only adds a line to a file; a process of its own carries the lines to MLflow.

    As a context manager it ends its run: FINISHED, FAILED on an error, KILLED on an interrupt.
    """

    def __init__(self, path: Path, header: RunHeader, session: Session | None = None) -> None:
        """Use :meth:`open`, :meth:`child`, :attr:`parent` or :meth:`join`."""
        self._path, self._header, self._session = path, header, session
        self._writable = True
        self._write(spool.begin, header)

    @classmethod
    def open(cls, store: Store, stage: str, task: str, params: dict[str, Any], tags: dict[str, str],
             session: Session | None = None) -> Tracker:
        """The run of one attempt at a stage, nested under the pipeline's run: that of PRIVADV_RUN, else of Kubeflow's run id,
        PRIVADV_KFP_RUN_ID, else a new one that ends with the stage, which runs outside of any pipeline.

        ``task`` identifies the work (a hex digest), nested ``params`` become dotted names, and the tag
        ``mlflow.runName`` names the run when the stage's own name is not enough. Where MLFLOW_RUN_ID is set,
        that run is used and its parent is the pipeline's run. A ``session`` that was begun ahead is whoever's began it to
        close; without one the run has its own, which ends with it.

        Raises:
            PrivadvError: PRIVADV_RUN or PRIVADV_TRACKING_WAIT is malformed.
        """
        named = os.environ.get("PRIVADV_RUN") or os.environ.get("PRIVADV_KFP_RUN_ID") or ""
        pipeline = _checked(named or f"{stage}-alone-{uuid.uuid4().hex[:8]}")
        attempts = f"runs/{pipeline}/children/{stage}-{task[:12]}-"
        earlier = sum("." not in key.removeprefix(attempts) for key in store.keys(attempts))
        header = RunHeader(
            role="stage", key=attempts + uuid.uuid4().hex[:8], name=tags.get("mlflow.runName", stage),
            pipeline=pipeline, experiment=os.environ.get("MLFLOW_EXPERIMENT_NAME") or "privadv",
            started=spool.now(), alone=not named, task_run=os.environ.get("MLFLOW_RUN_ID") or None, params=_flat(params),
            tags={"kind": "stage", "privadv.stage": stage, "privadv.task": task, "attempt": str(1 + earlier), **_text(tags)})
        spooled = session or Session(store)
        return cls(spooled.folder / _file_name(header.key), header, None if session else spooled)

    def metrics(self, values: dict[str, float], step: int | None = None) -> None:
        """Values at a step; names such as ``section/name`` become sections of charts."""
        numbers = {name: float(value) for name, value in values.items()}
        self._append({"metrics": numbers, "step": int(step or 0), "time": spool.now()})

    def params(self, values: dict[str, Any]) -> None:
        """More parameters of the run; nested ones become dotted names."""
        self._append({"params": _flat(values)})

    def tags(self, values: dict[str, str]) -> None:
        """Tags of the run."""
        self._append({"tags": _text(values)})

    def note(self, markdown: str, figure: str) -> None:
        """The run's note, with one of its figures shown under it."""
        self._append({"note": markdown, "figure": _figure_file(figure)})

    def dataset(self, dataset: DatasetInput) -> None:
        """A data set that the run read."""
        self._append({"dataset": dataset.model_dump(mode="json")})

    def model(self, model: FilterModel) -> None:
        """A filter that the run made: it becomes the registered model's newest version, with the alias ``candidate``."""
        self._append({"model": model.model_dump(mode="json")})

    def figure(self, name: str, png: bytes) -> None:
        """A picture (PNG bytes), as artifact ``figures/<name>.png``."""
        self.artifact(_figure_file(name), png)

    def artifact(self, name: str, data: bytes) -> None:
        """A file of the run; ``name`` is a relative path with forward slashes.

        Raises:
            PrivadvError: the name leads out of the run's folder.
        """
        path = PurePosixPath(name)
        if path.is_absolute() or not path.name or ".." in path.parts:
            raise PrivadvError(f"tracking: artifact '{name}': use a relative path without '..'")
        self._append({"artifact": str(path), "data": base64.b64encode(data).decode()})

    def child(self, name: str, params: dict[str, Any], tags: dict[str, str]) -> Tracker:
        """A run nested under this one."""
        header = RunHeader(
            role="child", key=f"{self._header.key}.{uuid.uuid4().hex[:8]}", parent=self._header.key,
            name=name, pipeline=self._header.pipeline, experiment=self._header.experiment,
            started=spool.now(), task_run=self._header.task_run, params=_flat(params),
            tags={"kind": "reader", **_text(tags)})
        return Tracker(self._path.with_name(_file_name(header.key)), header)

    @property
    def parent(self) -> Tracker:
        """The pipeline's own run, left open until the last stage ends it by using it as context manager."""
        return Tracker(self._path.with_suffix(".pipeline.jsonl"), self._header.pipeline_header())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        status = "FINISHED" if kind is None else "FAILED" if issubclass(kind, Exception) else "KILLED"
        self._append({"end": status, "time": spool.now()})
        if self._session:
            self._session.close()

    def _append(self, entry: dict[str, Any]) -> None:
        self._write(spool.append, entry)

    def _write(self, write: Callable[[Path, Any], None], what: RunHeader | dict[str, Any]) -> None:
        # A full disk must not end a training.
        if self._writable:
            try:
                write(self._path, what)
            except OSError as error:
                self._writable = False
                say(f"tracking: cannot write {self._path} ({error.strerror}): "
                    f"nothing more is recorded of the run '{self._header.name}'")


def platform_tags() -> dict[str, str]:
    """Tags that lead to Kubeflow's own page of the run: PRIVADV_KFP_RUN_ID, under PRIVADV_KFP_UI; none elsewhere."""
    run, pages = (os.environ.get(name) or "" for name in ("PRIVADV_KFP_RUN_ID", "PRIVADV_KFP_UI"))
    if not run:
        return {}
    return {"kfp_run": run, **({"kfp_url": f"{pages.rstrip('/')}/#/runs/details/{run}"} if pages else {})}


def _checked(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_=-][A-Za-z0-9._=-]{0,199}", name):
        raise PrivadvError(f"PRIVADV_RUN = '{name[:80]}': use letters, digits and ._=- only")
    return name


def _figure_file(name: str) -> str:
    return f"figures/{name.removesuffix('.png')}.png"


def _file_name(key: str) -> str:
    return f"{key.rpartition('/')[2]}.jsonl"


def _text(tags: dict[str, str]) -> dict[str, str]:
    return {name: str(value) for name, value in tags.items()}


def _flat(params: dict[str, Any], prefix: str = "") -> dict[str, str]:
    flat: dict[str, str] = {}
    for name, value in params.items():
        if isinstance(value, dict) and value:
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value if isinstance(value, str) else json.dumps(value, default=str, sort_keys=True)
    return flat
