from __future__ import annotations

import itertools
import json
import math
import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import psutil
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow_health import healthy

from privadv.data.feeds import to_float, to_uint8
from privadv.errors import PrivadvError, without_credentials
from privadv.models.checkpoint import FilterRef, save_weights
from privadv.models.degradation import TransformNet
from privadv.serving import open_folder
from privadv.store import Store
from privadv.tracking import DatasetInput, FilterModel, Tracker, spool
from privadv.tracking.archive import Archive
from privadv.tracking.delivery import Delivery, next_pause
from privadv.tracking.leftovers import State, keep, keep_abandoned
from privadv.tracking.mlflow_runs import MlflowRuns
from privadv.tracking.session import QUICK
from privadv.tracking.spool import RunHeader, RunRecord
from privadv.tracking.system import SystemSampler

ROOT = Path(__file__).parents[1]
TASK = "0123456789abcdef" * 4


class MlflowServer:
    """A real tracking server on one loopback port that can be killed and started again."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._port = folder, _free_port()
        self.uri = f"http://127.0.0.1:{self._port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self._port),
                   "--workers", "1", "--backend-store-uri", f"sqlite:///{self._folder}/mlflow.db",
                   "--serve-artifacts", "--artifacts-destination", str(self._folder / "artifacts")]
        settings = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
        with (self._folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(command, env=os.environ | settings, stdout=log, stderr=log,
                                             start_new_session=True)
        _until(lambda: healthy(self.uri))

    def kill(self) -> None:
        if self._process:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with all its tables: creating them takes seconds."""
    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def workspace(tmp_path: Path, database: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in list(os.environ):
        if name.startswith("MLFLOW_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("PRIVADV_WORKSPACE", str(tmp_path))
    monkeypatch.setenv("PRIVADV_RUN", "run-1")
    shutil.copy(database, tmp_path / "mlflow.db")
    return tmp_path


@pytest.fixture
def server(tmp_path: Path, database: Path, workspace: Path,
           monkeypatch: pytest.MonkeyPatch) -> Iterator[MlflowServer]:
    """A server that is not started yet."""
    folder = tmp_path / "server"
    folder.mkdir()
    shutil.copy(database, folder)
    server = MlflowServer(folder)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
    try:
        yield server
    finally:
        server.kill()


@pytest.fixture
def local(workspace: Path) -> MlflowClient:
    return MlflowClient(f"sqlite:///{workspace}/mlflow.db")


# Whole stages, each with its own delivery process.


def test_a_server_that_is_down_then_up_then_killed_then_back_gets_everything_once(
        store: Store, server: MlflowServer, workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Tracker.open(store, "pretrain", TASK, {}, {}) as early:
        early.metrics({"loss": 0.5}, 1)
        early.metrics({"loss": 0.25}, 2)
        with early.child("early child", {}, {}) as child:
            child.metrics({"loss": 0.125}, 3)
    said = capsys.readouterr().out
    assert said.count("\n") == 1 and "7 lines of 2 runs" in said and "refused" in said
    assert len(store.keys("undelivered/run-1/pretrain-")) == 2

    server.start()
    client = MlflowClient(server.uri)
    params = {"lr": 0.1, "net": {"width": 8, "rows": [{"b": 1, "a": "raw"}]}}
    with Tracker.open(store, "attack", TASK, params, {"row": "raw"}) as tracker:
        tracker.metrics({"game/loss": 3.0}, 10)
        _until(lambda: "attack" in _runs(client) and "game/loss" in _runs(client)["attack"].data.metrics)
        server.kill()
        tracker.metrics({"game/loss": 2.0}, 20)
        with tracker.child("mobile/plain", {"start": "warm"}, {"family": "mobile"}) as child:
            child.metrics({"accuracy": 0.75}, 1)
        server.start()
        tracker.metrics({"game/loss": 1.0}, 30)
        tracker.figure("curve", b"\x89PNG curve")
        with tracker.parent as parent:
            parent.metrics({"A_T": 0.9})
            parent.tags({"mlflow.note.content": "what it means"})
            parent.artifact("report/report.html", b"<html>")

    assert capsys.readouterr().out == ""
    assert store.keys("undelivered/") == [] and list((workspace / "spool").iterdir()) == []
    runs = _runs(client)
    assert {name: run.info.status for name, run in runs.items()} == dict.fromkeys(
        ("run-1", "pretrain", "early child", "attack", "mobile/plain"), "FINISHED")
    assert _history(client, runs["pretrain"], "loss") == [(1, 0.5), (2, 0.25)]
    assert _history(client, runs["early child"], "loss") == [(3, 0.125)]
    assert _parent(runs["early child"]) == runs["pretrain"].info.run_id
    assert _history(client, runs["attack"], "game/loss") == [(10, 3.0), (20, 2.0), (30, 1.0)]
    assert _history(client, runs["mobile/plain"], "accuracy") == [(1, 0.75)]
    assert runs["attack"].data.params == {"lr": "0.1", "net.width": "8", "net.rows": '[{"a": "raw", "b": 1}]'}
    assert runs["mobile/plain"].data.params == {"start": "warm"}
    tags = runs["attack"].data.tags
    names = ("row", "privadv.stage", "privadv.task", "attempt")
    assert [tags[name] for name in names] == ["raw", "attack", TASK, "1"]
    assert runs["run-1"].data.tags["mlflow.note.content"] == "what it means"
    assert runs["run-1"].data.metrics == {"A_T": 0.9}
    assert [_parent(runs[name]) for name in ("pretrain", "attack", "mobile/plain")] == [
        runs["run-1"].info.run_id, runs["run-1"].info.run_id, runs["attack"].info.run_id]
    assert _artifact(client, runs["attack"], "figures/curve.png") == b"\x89PNG curve"
    assert _artifact(client, runs["run-1"], "report/report.html") == b"<html>"


def test_two_stages_that_start_at_once_on_no_database_share_one_silent_parent(
        store: Store, workspace: Path) -> None:
    (workspace / "mlflow.db").unlink()
    script = f"""
        import sys
        from privadv.store import Store
        from privadv.tracking import Tracker
        with Tracker.open(Store.from_environment(), sys.argv[1], {TASK!r}, {{}}, {{}}) as tracker:
            tracker.metrics({{"loss": 1.0}}, 1)
        print("mlflow" in sys.modules)
    """
    stages = [_start(script, name) for name in ("target", "budget")]
    assert [stage.communicate() for stage in stages] == [("False\n", "")] * 2
    client = MlflowClient(f"sqlite:///{workspace}/mlflow.db")
    runs = _runs(client)
    assert sorted(runs) == ["budget", "run-1", "target"]
    assert _parent(runs["target"]) == _parent(runs["budget"]) == runs["run-1"].info.run_id
    record = RunRecord.parse((store.read("runs/run-1/mlflow") or b"").decode(), "record")
    assert record.run_id == runs["run-1"].info.run_id
    assert str(runs["target"].info.artifact_uri).startswith(workspace.as_uri())


def test_a_killed_training_still_reaches_mlflow_as_killed(
        store: Store, workspace: Path, local: MlflowClient) -> None:
    script = f"""
        import os, signal
        from privadv.store import Store
        from privadv.tracking import Tracker
        tracker = Tracker.open(Store.from_environment(), "game", {TASK!r}, {{}}, {{}})
        tracker.metrics({{"loss": 1.0}}, 1)
        tracker.child("attacker", {{}}, {{}}).metrics({{"loss": 2.0}}, 1)
        os.kill(os.getpid(), signal.SIGKILL)
    """
    stage = _start(script)
    stage.communicate()
    assert stage.returncode == -signal.SIGKILL
    _until(lambda: [run.info.status for run in _runs(local).values()] == ["KILLED"] * 3)
    runs = _runs(local)
    assert (runs["game"].data.metrics, runs["attacker"].data.metrics) == ({"loss": 1.0}, {"loss": 2.0})
    _until(lambda: keep_abandoned(workspace / "spool", store) or not list((workspace / "spool").iterdir()))
    assert store.keys("undelivered/") == []


def test_a_stage_that_fails_ends_failed_and_adopts_what_a_killed_machine_left(
        store: Store, workspace: Path, local: MlflowClient) -> None:
    left = workspace / "spool" / "left"
    left.mkdir(parents=True)
    (left / "owner").touch()
    _spool(left, _header("runs/run-1/children/game-1", name="game"),
           {"metrics": {"loss": 7.0}, "step": 1, "time": 1})
    with pytest.raises(ZeroDivisionError), Tracker.open(store, "attack", TASK, {}, {}) as tracker:
        tracker.child("never ended", {}, {})
        with tracker.child("raised", {}, {}):
            raise ZeroDivisionError
    runs = _runs(local)
    assert {name: run.info.status for name, run in runs.items()} == {
        "run-1": "FAILED", "attack": "FAILED", "raised": "FAILED", "never ended": "KILLED", "game": "KILLED"}
    assert runs["game"].data.metrics == {"loss": 7.0}
    assert not left.exists() and store.keys("undelivered/") == []


def test_a_stage_alone_ends_the_run_that_was_made_for_it(
        store: Store, workspace: Path, local: MlflowClient, monkeypatch: pytest.MonkeyPatch) -> None:
    with Tracker.open(store, "game", TASK, {}, {}):
        pass
    assert _runs(local)["run-1"].info.status == "RUNNING"  # other stages of that pipeline will follow
    monkeypatch.delenv("PRIVADV_RUN")
    with Tracker.open(store, "attack", TASK, {}, {}):
        pass
    ended = {name: run.info.status for name, run in _runs(local).items()}
    (alone,) = (name for name in ended if name.startswith("attack-alone-"))
    assert (ended[alone], ended["attack"], ended["run-1"]) == ("FINISHED", "FINISHED", "RUNNING")


@pytest.mark.parametrize("secret", ["plain", "pass@word", "with/slash", "both@and/more"])
def test_no_credentials_of_an_address_are_told(secret: str) -> None:
    told = without_credentials(f"http://user:{secret}@127.0.0.1:5000/api: cannot be reached")
    assert told == "http://127.0.0.1:5000/api: cannot be reached"


def test_a_server_that_never_answers_holds_nobody_up(
        store: Store, workspace: Path, monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://user:secret@127.0.0.1:{silent.getsockname()[1]}")
        monkeypatch.setenv("PRIVADV_TRACKING_WAIT", "1")
        with Tracker.open(store, "attack", TASK, {}, {}) as tracker:
            tracker.metrics({"loss": 1.0}, 1)
    said = capsys.readouterr().out
    assert "3 lines of 1 runs" in said and "not done within 1 s" in said and "secret" not in said
    (key,) = store.keys("undelivered/")
    lines = [json.loads(line) for line in (store.read(key) or b"").splitlines()]
    assert lines[0]["name"] == "attack"
    assert (lines[1]["metrics"], lines[2]["end"]) == ({"loss": 1.0}, "FINISHED")


def test_without_any_server_everything_is_kept_in_the_store(
        store: Store, workspace: Path, monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delenv("PRIVADV_WORKSPACE")
    monkeypatch.setattr("tempfile.tempdir", str(workspace))
    with Tracker.open(store, "attack", TASK, {}, {}) as tracker:
        tracker.metrics({"loss": 1.0}, 1)
    assert "MLFLOW_TRACKING_URI is not set" in capsys.readouterr().out
    assert len(store.keys("undelivered/run-1/attack-")) == 1


def test_the_tasks_of_a_run_on_kubeflow_have_one_parent(
        store: Store, workspace: Path, local: MlflowClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pods that share nothing but the run's id."""
    monkeypatch.delenv("PRIVADV_WORKSPACE")
    monkeypatch.delenv("PRIVADV_RUN")
    monkeypatch.setenv("PRIVADV_KFP_RUN_ID", run := "0f8e9d1c-5b7a-4c3d-9e2f-1a2b3c4d5e6f")
    monkeypatch.setattr("tempfile.tempdir", str(workspace))
    for stage in ("render", "attack"):
        with Tracker.open(store, stage, TASK, {}, {}) as tracker:
            tracker.metrics({"loss": 1.0}, 1)
    (later := workspace / "later").mkdir()
    assert _delivery(later, store, workspace).run_once()
    runs = _runs(local)
    assert runs.keys() == {run, "render", "attack"}
    assert {one.data.tags.get("mlflow.parentRunId") for one in runs.values()} == {None, runs[run].info.run_id}


# What the delivery does, against a real database, in this process.


def test_sending_everything_again_changes_nothing(store: Store, workspace: Path, local: MlflowClient) -> None:
    folder = workspace / "spooled"
    for name in ("target", "budget"):
        _spool(folder, _header(f"runs/run-1/children/{name}", name=name, params={"lr": "0.1"}),
               *({"metrics": {"a": i * 0.5, "b": 1.0}, "step": i, "time": 1000 + i} for i in range(600)),
               {"artifact": "x.txt", "data": "eA=="}, {"end": "FINISHED", "time": 5000})
    for _ in range(2):
        assert _delivery(folder, store, workspace).run_once()
        (folder / "state.json").unlink()
    runs = _runs(local)
    assert len(runs) == 3 and runs["target"].info.end_time == 5000
    assert _history(local, runs["target"], "a") == [(i, i * 0.5) for i in range(600)]
    assert len(_history(local, runs["budget"], "b")) == 600


def test_what_mlflow_refuses_is_set_aside_and_holds_up_nothing(
        store: Store, workspace: Path, local: MlflowClient) -> None:
    folder = workspace / "spooled"
    path = _spool(folder, _header("runs/run-1/children/a", name="a"), {"artifact": "x", "data": "eA=="},
                  {"artifact": "x/y", "data": "eQ=="}, {"metrics": {"loss": 1.0}, "step": 1, "time": 1})
    with path.open("ab") as file:
        file.write(b'{"metrics": {"loss": \n{"end": "FINISHED", "time": 9}\n')
    assert _delivery(folder, store, workspace).run_once()
    run = _runs(local)["a"]
    assert (run.info.status, run.data.metrics) == ("FINISHED", {"loss": 1.0})
    assert keep(folder, store) == "3 lines of 1 runs (now in the store under undelivered/run-1/)"
    rest = (store.read("undelivered/run-1/a.jsonl") or b"").splitlines()[1:]
    assert rest == [b'{"artifact": "x/y", "data": "eQ=="}', b'{"metrics": {"loss": ']

    later = workspace / "later"
    later.mkdir()
    assert _delivery(later, store, workspace).run_once()
    assert "undelivered/run-1/a.jsonl" in State.of(later).stuck
    assert store.keys("undelivered/") == ["undelivered/run-1/a.jsonl"]


def test_a_server_that_takes_calls_but_never_answers_is_unreachable(
        store: Store, workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (QUICK | {"MLFLOW_HTTP_REQUEST_TIMEOUT": "1"}).items():
        monkeypatch.setenv(name, value)
    folder = workspace / "spooled"
    _spool(folder, _header("runs/run-1/children/a"), {"metrics": {"loss": 1.0}, "step": 1, "time": 1})
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        assert not Delivery(folder, store, f"http://127.0.0.1:{silent.getsockname()[1]}").run_once()
    assert State.of(folder) == State(problem="timed out")
    assert keep(folder, store).startswith("3 lines of 1 runs")


def test_a_repeated_run_may_change_its_parameters_and_names_need_not_be_mlflows(
        store: Store, workspace: Path, local: MlflowClient) -> None:
    folder = workspace / "spooled"
    header = _header("runs/run-1/children/a", name="a", params={"lr": "0.1", "text": "x" * 7000, "häh?": "1"})
    metrics = {"down:8/é (x)": 1.0, "../up//there": 2.0, "nan": math.nan, "inf": math.inf}
    _spool(folder, header, {"metrics": metrics, "step": 1, "time": 1})
    assert _delivery(folder, store, workspace).run_once()
    again = workspace / "again"
    _spool(again, header.model_copy(update={"params": {"lr": "0.2", "new": "1"}}))
    assert _delivery(again, store, workspace).run_once()
    data = _runs(local)["a"].data
    assert data.params == {"lr": "0.1", "text": "x" * 5997 + "...", "häh_": "1", "new": "1"}
    assert data.tags["changed.lr"] == "0.2"
    assert data.metrics["down:8/é _x_"] == 1.0 and data.metrics["up/there"] == 2.0
    assert math.isnan(data.metrics["nan"]) and data.metrics["inf"] > 1e300


def test_a_run_that_the_platform_made_is_used_with_its_parent(
        store: Store, workspace: Path, local: MlflowClient) -> None:
    experiment = local.create_experiment("platform")
    pipeline = local.create_run(experiment, run_name="pipeline").info.run_id
    task = local.create_run(experiment, tags={"mlflow.parentRunId": pipeline}, run_name="task").info.run_id
    folder = workspace / "spooled"
    stage = _header("runs/run-1/children/a", name="a", task_run=task)
    end = {"end": "FAILED", "time": 9}
    _spool(folder, stage, {"metrics": {"loss": 1.0}, "step": 1, "time": 1}, end)
    child = {"role": "child", "key": f"{stage.key}.b", "parent": stage.key, "name": "b"}
    _spool(folder, stage.model_copy(update=child))
    _spool(folder, stage.pipeline_header(), {"metrics": {"A_T": 0.5}, "step": 0, "time": 1})
    assert _delivery(folder, store, workspace).run_once()
    runs = _runs(local, "platform")
    assert sorted(runs) == ["b", "pipeline", "task"] and _parent(runs["b"]) == task
    assert (runs["task"].data.metrics, runs["task"].info.status) == ({"loss": 1.0}, "FAILED")
    # Its status is the platform's: a task may be tried again.
    assert (runs["pipeline"].data.metrics, runs["pipeline"].info.status) == ({"A_T": 0.5}, "RUNNING")


def test_whoever_loses_the_race_for_a_run_deletes_its_own(
        store: Store, workspace: Path, local: MlflowClient, monkeypatch: pytest.MonkeyPatch) -> None:
    header = _header("runs/run-1/mlflow", role="pipeline", name="run-1")
    other = local.create_run(local.create_experiment("privadv"), run_name="other").info
    create = store.create

    def create_late(key: str, data: bytes) -> bool:
        create(key, RunRecord(run_id=other.run_id, experiment_id=other.experiment_id).canonical().encode())
        return create(key, data)

    monkeypatch.setattr(store, "create", create_late)
    assert MlflowRuns(f"sqlite:///{workspace}/mlflow.db", store).begin(header) == other.run_id
    assert list(_runs(local)) == ["other"]


def test_a_run_whose_record_was_never_written_or_is_stale_is_found_or_made_anew(
        store: Store, workspace: Path, local: MlflowClient) -> None:
    header, uri = _header("runs/run-1/mlflow", role="pipeline", name="run-1"), f"sqlite:///{workspace}/mlflow.db"
    first = MlflowRuns(uri, store).begin(header)
    store.remove([header.key])
    assert MlflowRuns(uri, store).begin(header) == first
    local.delete_run(first)
    second = MlflowRuns(uri, store).begin(header)
    assert second != first and MlflowRuns(uri, store).begin(header) == second
    store.write(header.key, RunRecord(run_id="f" * 32, experiment_id="1").canonical().encode())
    assert MlflowRuns(uri, store).begin(header) == second


def test_a_pipeline_s_data_and_filter_are_sent_once_and_the_newest_filter_is_the_candidate(
        store: Store, workspace: Path, local: MlflowClient) -> None:
    clips = DatasetInput(name="sbu", sha256="ab" * 32, source={"row": "raw"}, context="training", profile={"train": 3})
    for number in (1, 2):
        folder, filter_ = workspace / f"spooled-{number}", _filter(store)
        _spool(folder, _pipeline(f"run-{number}"), {"params": {"game.gamma": "2"}}, {"tags": {"dataset": "sbu"}},
               {"note": "| A_T |", "figure": "figures/plot.png"}, {"dataset": clips.model_dump(mode="json")},
               {"end": "FINISHED", "time": 9}, {"model": filter_.model_dump(mode="json")})
        for _ in range(2):
            assert _delivery(folder, store, workspace).run_once()
            assert "refused" not in (folder / "state.json").read_text() and State.of(folder).problem == ""
            (folder / "state.json").unlink()
    runs = _runs(local)
    first, run = runs["run-1"], runs["run-2"]
    assert (run.data.params, run.data.tags["dataset"], run.data.tags["kind"]) == ({"game.gamma": "2"}, "sbu", "pipeline")
    assert run.data.tags["mlflow.note.content"] == (
        f"| A_T |\n\n![figures/plot.png](get-artifact?path=figures%2Fplot.png&run_uuid={run.info.run_id})")
    assert run.inputs is not None
    (read,) = run.inputs.dataset_inputs
    assert (read.dataset.name, read.dataset.digest, read.tags[0].value) == ("sbu", "ab" * 18, "training")
    assert [version.run_id for version in local.search_model_versions("name = 'privadv-sbu-8x8'")] == [
        run.info.run_id, first.info.run_id]
    (workspace / "spooled-1" / "state.json").unlink(missing_ok=True)
    assert _delivery(workspace / "spooled-1", store, workspace).run_once()
    newest = local.get_model_version_by_alias("privadv-sbu-8x8", "candidate")
    assert (newest.run_id, newest.tags) == (run.info.run_id, {"digest.suite": "u"})


def test_a_registered_filter_is_data_that_the_installed_package_rebuilds(
        store: Store, workspace: Path, local: MlflowClient, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, filter_ = workspace / "spooled", _filter(store)
    _spool(folder, _pipeline("run-1"), {"model": filter_.model_dump(mode="json")})
    assert _delivery(folder, store, workspace).run_once()
    archive = Archive()
    version = archive.version("privadv-sbu-8x8", "candidate")
    assert version and archive.version("privadv-sbu-8x8", "champion") is None
    data = archive.download(version, workspace / "downloaded")
    assert {file.name for file in data.iterdir()} == {"filter.json", "filter.safetensors"}
    assert not [file for file in data.parents[1].rglob("*") if file.suffix in (".py", ".pkl", ".pth", ".pt")]
    clips = np.random.default_rng(0).integers(0, 256, (2, 3, 8, 8, 3), np.uint8)
    expected = to_uint8(FilterRef.model_validate(filter_.manifest).open(store).eval()(to_float(clips)).detach())
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{workspace}/mlflow.db")
    loaded = mlflow.pyfunc.load_model(str(data.parents[1]))
    assert np.array_equal(loaded.predict(clips), expected)
    assert loaded.input_example is not None and loaded.input_example.shape == (2, 2, 8, 8, 3)
    assert loaded.metadata.signature is not None
    (data / "filter.safetensors").write_bytes(b"other")
    with pytest.raises(PrivadvError, match=r"not the weights that filter\.json names"):
        open_folder(data)
    (workspace / "mlflow-artifacts").rename(workspace / "moved")
    with pytest.raises(PrivadvError, match=r"models:/privadv-sbu-8x8/1: MLflow has no files of it at .*/mlflow-artifacts/"):
        archive.download(version, workspace / "again")


@pytest.mark.parametrize(("address", "said"), [
    ("nonsense", "MLflow at nonsense does not take it"),
    ("foo://bar", "unsupported URI 'foo://bar'"),
    ("postgres://user:hunter2@db/x", "MLflow at postgres://db/x does not take it"),
    ("postgresql://user:hunter2@db/x", "No module named"),
    ("sqlite:///none.db", "file is not a database"),
    ("sqlite:///other.db", "Can't locate revision identified by 'ffffffffffff'): check the address, or whether another version"),
])
def test_an_mlflow_that_cannot_be_opened_is_one_line(workspace: Path, address: str, said: str,
                                                     monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workspace)
    Path("none.db").write_text("no database, " * 100)
    with closing(sqlite3.connect("other.db")) as other:
        other.execute("CREATE TABLE alembic_version AS SELECT 'ffffffffffff' AS version_num")
        other.execute("CREATE TABLE experiments (name)")
        other.commit()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    with pytest.raises(PrivadvError, match=f"^MLFLOW_TRACKING_URI: .*{re.escape(said)}") as caught:
        Archive()
    assert "hunter2" not in str(caught.value)


def test_the_prepared_page_is_kept_with_its_experiment(workspace: Path, local: MlflowClient) -> None:
    experiment = local.create_experiment("privadv")
    assert Archive().experiments() == ["privadv"]
    page = Archive().share_view("privadv")
    assert page == Archive().share_view("privadv") and f"/experiments/{experiment}/" in page
    key = page.partition("viewStateShareKey=")[2]
    state = json.loads(local.get_experiment(experiment).tags[f"mlflow.sharedViewState.{key}"])
    assert "metrics.`A_B_max`" in state["selectedColumns"] and state["searchFilter"] == "tags.kind = 'pipeline'"
    with pytest.raises(PrivadvError, match="no experiment 'other': one of privadv"):
        Archive().runs("other")
    with pytest.raises(PrivadvError, match=r"--filter .*does not take it"):
        Archive().runs("privadv", "nonsense")


# Small things.


def test_metrics_are_sent_in_batches_that_mlflow_takes(tmp_path: Path) -> None:
    metrics = {"metrics": {"a": 1, "b": 2, "c": 3}, "step": 1, "time": 1}
    path = _spool(tmp_path, _header("runs/r/children/a"), *[metrics] * 500, {"tags": {}}, {"tags": {}})
    with path.open("ab") as file:
        file.write(b'{"metrics": {"a": 1}, "st')
    with path.open("rb") as stream:
        spool.read_header(stream)
        batches = list(spool.batches(stream))
    assert [len(batch.lines) for batch in batches] == [333, 167, 1, 1]
    assert batches[-1].end == path.read_bytes().rindex(b"\n") + 1


def test_a_server_that_is_down_is_asked_ever_more_rarely() -> None:
    pauses = list(itertools.accumulate([False] * 5, next_pause, initial=0.0))
    assert pauses == [0, 6, 12, 24, 30, 30]
    assert next_pause(30, True) == 3


def test_a_full_disk_is_said_once_and_ends_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    tracker = Tracker(Path("/dev/full"), _header("runs/r/children/a", name="game"))
    tracker.metrics({"loss": 1.0})
    tracker.metrics({"loss": 2.0})
    assert capsys.readouterr().out.count("nothing more is recorded of the run 'game'") == 1


@pytest.mark.parametrize("name", ["/etc/passwd", "../x", "a/../../x", ""])
def test_an_artifact_stays_in_its_run(tmp_path: Path, name: str) -> None:
    with pytest.raises(PrivadvError, match="relative path"):
        Tracker(tmp_path / "a.jsonl", _header("runs/r/children/a")).artifact(name, b"")


@pytest.mark.parametrize("name,value", [("PRIVADV_RUN", "a b"), ("PRIVADV_TRACKING_WAIT", "long")])
def test_a_malformed_setting_is_named(store: Store, workspace: Path, monkeypatch: pytest.MonkeyPatch,
                                      name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(PrivadvError, match=f"{name} = '{value}'"):
        Tracker.open(store, "attack", TASK, {}, {})


def test_the_load_is_that_of_the_training_and_its_children(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    smi = tmp_path / "nvidia-smi"
    smi.write_text("#!/bin/sh\nprintf '37, 2048\\n5, 512\\n'\n")
    smi.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    busy = "import os; block = b'x' * (300 << 20); print(flush=True)\nwhile True: pass"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {busy!r}])"
    process = subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE)
    assert process.stdout and process.stdout.readline()
    children = psutil.Process(process.pid).children()
    sampler = SystemSampler(process.pid)
    _until(lambda: sum(child.cpu_times().user for child in children) > 0.5)
    values = sampler.sample()
    for stopped in (*children, process):
        stopped.kill()
    process.wait()
    assert values["system/process_cpu_percent"] > 1 and 0.3 < values["system/process_memory_gib"] < 0.5
    assert values["system/host_memory_gib"] > values["system/process_memory_gib"]
    assert (values["system/gpu0_percent"], values["system/gpu1_memory_gib"]) == (37.0, 0.5)
    with pytest.raises(psutil.NoSuchProcess):
        sampler.sample()


def _header(key: str, **values: Any) -> RunHeader:
    shared = {"role": "stage", "name": "a", "pipeline": "run-1", "experiment": "privadv", "started": 1}
    return RunHeader.parse({**shared, "key": key, **values}, "header")


def _pipeline(name: str) -> RunHeader:
    return _header(f"runs/{name}/children/a", name="a", pipeline=name).pipeline_header()


def _filter(store: Store) -> FilterModel:
    filter_ = TransformNet(width=2, blocks=0, kernel=3).build()
    ref = FilterRef(spec=filter_.spec, weights=store.put(save_weights(filter_)))
    return FilterModel(registered="privadv-sbu-8x8", manifest=ref.model_dump(mode="json"), weights=ref.weights,
                       geometry=(3, 8, 8), tags={"digest.suite": "u"}, description="what it does")


def _spool(folder: Path, header: RunHeader, *entries: dict[str, Any]) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / f"{header.key.rpartition('/')[2]}.jsonl"
    spool.begin(path, header)
    for entry in entries:
        spool.append(path, entry)
    return path


def _delivery(folder: Path, store: Store, workspace: Path) -> Delivery:
    return Delivery(folder, store, f"sqlite:///{workspace}/mlflow.db")


def _runs(client: MlflowClient, experiment_name: str = "privadv") -> dict[str, Run]:
    experiment = client.get_experiment_by_name(experiment_name)
    runs = client.search_runs([experiment.experiment_id]) if experiment else []
    assert len({run.info.run_name for run in runs}) == len(runs)
    return {str(run.info.run_name): run for run in runs}


def _parent(run: Run) -> str:
    return run.data.tags["mlflow.parentRunId"]


def _history(client: MlflowClient, run: Run, name: str) -> list[tuple[int, float]]:
    return [(metric.step, metric.value) for metric in client.get_metric_history(run.info.run_id, name)]


def _artifact(client: MlflowClient, run: Run, name: str) -> bytes:
    return Path(client.download_artifacts(run.info.run_id, name)).read_bytes()


def _start(script: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", textwrap.dedent(script), *arguments], cwd=ROOT, text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def _until(true: Callable[[], bool], seconds: float = 60) -> None:
    limit = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < limit, "it never became true"
        time.sleep(0.1)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
