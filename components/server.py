"""A Kubeflow Pipelines server: a compiled pipeline goes there as a version, and its runs are started and followed."""

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import kfp_server_api as kfp
import urllib3

from privadv.console import say
from privadv.errors import PrivadvError

PIPELINE = "privadv"
SERVICE_ACCOUNT_TOKEN = "/var/run/secrets/kubeflow/pipelines/token"
TIMEOUT = (10, 60)
BACKOFF = 0.5
PAGE = 100
GIVE_UP = 30
"""Polls in a row that may fail while a run is followed."""
ENDS = {"SUCCEEDED": 0, "SKIPPED": 0, "FAILED": 1, "CANCELED": 1}


@dataclass(frozen=True)
class Login:
    """How the server knows who asks: a bearer token, a file with one that is renewed there, or a session's cookie."""

    token: str = ""
    token_file: Path | None = None
    cookie: str = ""
    ca: Path | None = None

    @classmethod
    def from_environment(cls, ca: Path | None = None) -> "Login":
        """What PRIVADV_KFP_TOKEN, PRIVADV_KFP_TOKEN_FILE or PRIVADV_KFP_COOKIE hold; else a pod's own token, if there is one.

        ``ca``: the certificates, in PEM, that the server's is signed by.

        Raises:
            PrivadvError: several are set, or a file is missing.
        """
        names = ("PRIVADV_KFP_TOKEN", "PRIVADV_KFP_TOKEN_FILE", "PRIVADV_KFP_COOKIE")
        given = [name for name in names if os.environ.get(name)]
        if len(given) > 1:
            raise PrivadvError(f"{' and '.join(given)} are set: keep one")
        token, file, cookie = (os.environ.get(name, "").strip() for name in names)
        own = os.environ.get("KF_PIPELINES_SA_TOKEN_PATH", SERVICE_ACCOUNT_TOKEN)
        if not given and Path(own).exists():
            file = own
        for path in (file, ca):
            if path and not Path(path).is_file():
                raise PrivadvError(f"{path} is no file: check the path")
        return cls(token, Path(file) if file else None, cookie, ca)

    def client(self, host: str) -> kfp.ApiClient:
        """A client of the server at ``host``, which follows no redirection: that would be a login page."""
        settings: Any = kfp.Configuration(host=host)
        settings.retries = urllib3.Retry(3, redirect=False, status_forcelist=(502, 503, 504), backoff_factor=BACKOFF,
                                         raise_on_status=False)
        settings.ssl_ca_cert = str(self.ca) if self.ca else None
        settings.api_key_prefix["authorization"] = "Bearer"
        if self.token_file:
            settings.refresh_api_key_hook = self._renew
        if self.token or self.token_file:
            settings.api_key["authorization"] = self.token
        return kfp.ApiClient(settings, cookie=self.cookie or None)

    def _renew(self, settings: kfp.Configuration) -> None:
        assert self.token_file
        settings.api_key["authorization"] = self.token_file.read_text(encoding="utf-8").strip()


@dataclass(frozen=True)
class Submission:
    """A run called ``name``; again and again where ``cron`` (six fields) or ``every`` (seconds) says so."""

    name: str
    parameters: dict[str, Any]
    experiment: str
    service_account: str | None = None
    cron: str | None = None
    every: int | None = None


class Server:
    """The server at ``host``; ``namespace`` is the user's where many share it."""

    def __init__(self, host: str, namespace: str | None, login: Login) -> None:
        """Raises:
            PrivadvError: the server cannot be reached or refuses, or the namespace is missing.
        """
        self.host = (host if "://" in host else f"https://{host}").rstrip("/")
        self.namespace = namespace
        client = login.client(self.host)
        self._pipelines, self._uploads = kfp.PipelineServiceApi(client), kfp.PipelineUploadServiceApi(client)
        self._experiments, self._runs = kfp.ExperimentServiceApi(client), kfp.RunServiceApi(client)
        self._schedules = kfp.RecurringRunServiceApi(client)
        health = self._ask("look", kfp.HealthzServiceApi(client).healthz_service_get_healthz)
        if health.multi_user is None and health.pipeline_store is None:
            raise PrivadvError(f"{self.host} answers, but not as Kubeflow Pipelines: check --host, such as "
                               "https://kubeflow.example/pipeline, and that your login has not expired")
        if health.multi_user and not namespace:
            raise PrivadvError(f"{self.host} serves many users: name your profile's namespace with --namespace")
        if namespace and not health.multi_user:
            raise PrivadvError(f"{self.host} serves one user: leave --namespace {namespace} out")

    def submit(self, package: Path, run: str, submission: Submission) -> str:
        """Start what ``submission`` says of the compiled ``package``; say where it is to be seen, and give its id.

        The package becomes a version of the pipeline, called after ``run`` and its content; it is sent once.

        Raises:
            PrivadvError: the server refuses.
        """
        pipeline = self._pipeline()
        version = self._version(pipeline, package, run)
        experiment = self._experiment(submission.experiment)
        body = {
            "display_name": submission.name,
            "experiment_id": experiment,
            "pipeline_version_reference": kfp.V2beta1PipelineVersionReference(
                pipeline_id=pipeline, pipeline_version_id=version),
            "runtime_config": kfp.V2beta1RuntimeConfig(parameters=submission.parameters),
            "service_account": submission.service_account,
        }
        if submission.cron or submission.every:
            return self._schedule(submission, body)
        created = self._ask("start the run", self._runs.run_service_create_run, kfp.V2beta1Run(**body))
        say(f"run: {self.host}/#/runs/details/{created.run_id}")
        return created.run_id

    def follow(self, run: str, seconds: float = 10) -> int:
        """Wait for the end of the run with this id, looking every ``seconds``: 0 where it succeeded, else 1.

        Raises:
            PrivadvError: the server refuses, or is gone for long.
        """
        shown, missed = "", 0
        while True:
            try:
                found = self._ask("follow the run", self._runs.run_service_get_run, run)
                missed = 0
            except _PassingError:
                missed += 1
                if missed >= GIVE_UP:
                    raise
                found = None
            if found and found.state != shown:
                shown = found.state
                say(f"run {run}: {shown}")
            if shown in ENDS:
                for line in _failures(found):
                    say(line)
                return ENDS[shown]
            try:
                time.sleep(seconds)
            except KeyboardInterrupt:
                say(f"the run goes on: {self.host}/#/runs/details/{run}")
                raise SystemExit(130) from None

    def _schedule(self, submission: Submission, body: dict[str, Any]) -> str:
        if submission.cron:
            trigger = kfp.V2beta1Trigger(cron_schedule=kfp.V2beta1CronSchedule(cron=submission.cron))
        else:
            every = kfp.V2beta1PeriodicSchedule(interval_second=str(submission.every))
            trigger = kfp.V2beta1Trigger(periodic_schedule=every)
        schedule = kfp.V2beta1RecurringRun(
            **body, trigger=trigger, mode=kfp.RecurringRunMode.ENABLE, max_concurrency="1", no_catchup=True)
        create = self._schedules.recurring_run_service_create_recurring_run
        created = self._ask("schedule the runs", create, schedule)
        say(f"schedule: {self.host}/#/recurringrun/details/{created.recurring_run_id}")
        return created.recurring_run_id

    def _pipeline(self) -> str:
        """The pipeline's id; the pipeline is made if it is not there."""
        def find() -> str | None:
            found = self._listed("pipelines", self._pipelines.pipeline_service_list_pipelines, PIPELINE,
                                 **self._mine())
            return found and found.pipeline_id

        def make() -> str:
            body = kfp.V2beta1Pipeline(name=PIPELINE, display_name=PIPELINE, **self._mine())
            create = self._pipelines.pipeline_service_create_pipeline
            return self._ask("make the pipeline", create, body).pipeline_id

        return find() or _made(make, find)

    def _version(self, pipeline: str, package: Path, run: str) -> str:
        content = hashlib.sha256(package.read_bytes()).hexdigest()[:12]
        # Where pipelines are kept as Kubernetes objects, names have no underscore.
        name = f"{run.replace('_', '-').strip('-')}-{content}"

        def find() -> str | None:
            found = self._listed("pipeline_versions", self._pipelines.pipeline_service_list_pipeline_versions,
                                 name, pipeline)
            return found and found.pipeline_version_id

        def send() -> str:
            upload = self._uploads.upload_pipeline_version
            sent = self._ask("take the pipeline", upload, str(package), name=name, pipelineid=pipeline)
            say(f"version: {name}")
            return sent.pipeline_version_id

        known = find()
        if known:
            say(f"version: {name}, which is there already")
        return known or _made(send, find)

    def _experiment(self, name: str) -> str:
        def find() -> str | None:
            found = self._listed("experiments", self._experiments.experiment_service_list_experiments, name,
                                 **self._mine())
            return found and found.experiment_id

        def make() -> str:
            body = kfp.V2beta1Experiment(display_name=name, **self._mine())
            create = self._experiments.experiment_service_create_experiment
            return self._ask("make the experiment", create, body).experiment_id

        return find() or _made(make, find)

    def _mine(self) -> dict[str, str]:
        return {"namespace": self.namespace} if self.namespace else {}

    def _listed(self, what: str, listing: Callable[..., Any], name: str, *where: str, **limits: str) -> Any:
        """What is called ``name``, from all pages of a listing; None if nothing is."""
        return next((one for one in self._pages(what, listing, name, where, limits) if one.display_name == name), None)

    def _pages(
        self, what: str, listing: Callable[..., Any], name: str, where: tuple[str, ...], limits: dict[str, str]
    ) -> Iterator[Any]:
        wanted = {"predicates": [{"operation": "EQUALS", "key": "display_name", "string_value": name}]}
        token = ""
        while True:
            page = self._ask(f"list {what}", listing, *where, **limits, page_size=PAGE, page_token=token,
                             filter=json.dumps(wanted))
            yield from getattr(page, what) or ()
            token = page.next_page_token
            if not token:
                return

    def _ask(self, what: str, call: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        try:
            return call(*arguments, **named, _request_timeout=TIMEOUT)
        except kfp.ApiException as error:
            raise self._complaint(what, error) from None
        except (urllib3.exceptions.HTTPError, OSError) as error:
            why = type(getattr(error, "reason", None) or error).__name__
            raise _PassingError(f"{self.host} cannot be reached ({why}): check --host, and the tunnel if there is one"
                                ) from None

    def _complaint(self, what: str, error: kfp.ApiException) -> PrivadvError:
        said = f"{self.host} does not {what} ({error.status} {error.reason}{_message(error)})"
        if error.status == 0:
            return PrivadvError(f"{self.host}: no safe connection ({' '.join(str(error.reason).split())[:120]}): "
                                "name the certificates that sign the server's with --ca")
        if error.status in (301, 302, 303, 307, 308, 401):
            return PrivadvError(f"{said}: log in: set PRIVADV_KFP_TOKEN, PRIVADV_KFP_TOKEN_FILE or PRIVADV_KFP_COOKIE; "
                                "if it is set, it has expired")
        if error.status == 403:
            where = f"namespace '{self.namespace}' exists and you" if self.namespace else "you"
            return PrivadvError(f"{said}: check that {where} may make runs there")
        if error.status == 404:
            return PrivadvError(f"{said}: check --host, such as https://kubeflow.example/pipeline")
        if error.status == 409:
            return _ConflictError(f"{said}: something else of that name is in the way: remove it there, or rename the run")
        if error.status and error.status >= 500:
            return _PassingError(f"{said}: try again, and see the log of ml-pipeline if it stays so")
        return PrivadvError(f"{said}: see the log of ml-pipeline")


class _PassingError(PrivadvError):
    """May be over in a moment."""


class _ConflictError(PrivadvError):
    """It is there already."""


def _made(make: Callable[[], str], find: Callable[[], str | None]) -> str:
    """The id of what ``make`` makes, or, where somebody else was faster, of what they have made."""
    try:
        return make()
    except _ConflictError:
        found = find()
        if not found:
            raise
        return found


def _message(error: kfp.ApiException) -> str:
    """What the server says in its JSON, cut short; pages of HTML say nothing."""
    try:
        body = json.loads(error.body or "")
        text = body.get("message") or body.get("error_message") or body.get("error") or ""
    except (ValueError, AttributeError):
        return ""
    return f": {' '.join(str(text).split())[:200]}" if text else ""


def _failures(run: Any) -> Iterator[str]:
    if run.error and run.error.message:
        yield f"error: {run.error.message}"
    for task in (run.run_details and run.run_details.task_details) or ():
        if task.state == "FAILED":
            yield f"failed: {task.display_name}"
