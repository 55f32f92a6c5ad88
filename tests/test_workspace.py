"""The workspace with its real server: locked, persistent, on loopback only, and gone with its parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

import privadv.workspace.seaweed
from privadv.errors import PrivadvError
from privadv.store import Store
from privadv.workspace import Workspace
from privadv.workspace.seaweed import SeaweedServer

PROJECT = Path(__file__).resolve().parents[1]
HOLDER = """
import signal, sys, time
from pathlib import Path
from privadv.store import Store
from privadv.workspace import Workspace
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job begins without it
with Workspace(Path(sys.argv[1])) as workspace:
    store = Store.from_environment(workspace.environment())
    try:
        print("up", flush=True)
        time.sleep(60)
    finally:
        store.write("last", b"words")
        print(store.read("last"), flush=True)
"""


def server_over(folder: Path) -> psutil.Process:
    """The S3 server of the workspace in ``folder``, whoever started it."""
    found = [process for process in psutil.process_iter(["cmdline"])
             if f"-dir={folder}/s3" in (process.info["cmdline"] or ())]
    assert len(found) == 1
    return found[0]


@pytest.fixture(autouse=True)
def no_other_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PRIVADV_S3_ENDPOINT", raising=False)
    monkeypatch.delenv("PRIVADV_S3_BUCKET", raising=False)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.fixture
def first_ports_taken(s3_server: SeaweedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """As when another program takes one of the ports between the choice and the start."""
    free = privadv.workspace.seaweed._free_ports
    taken = iter([s3_server._port])
    monkeypatch.setattr(privadv.workspace.seaweed, "_free_ports", lambda: next(taken, None) or free())


@pytest.mark.usefixtures("first_ports_taken")
def test_a_run_has_folders_a_store_and_secrets(tmp_path: Path, capfd: pytest.CaptureFixture[str],
                                               s3_server: SeaweedServer) -> None:
    with Workspace(tmp_path / "w") as workspace:
        variables = workspace.environment()
        store = Store.from_environment(variables)
        blob = store.put(b"kept")
        assert store.get(blob) == b"kept"
        assert variables["MLFLOW_TRACKING_URI"] == f"sqlite:///{tmp_path}/w/mlflow.db"
        assert variables["PRIVADV_WORKSPACE"] == f"{tmp_path}/w"
        for folder in (workspace.pipeline_root, workspace.cache, workspace.videos, workspace.reports):
            assert folder.is_dir()
            assert folder.parent == tmp_path / "w"
        server = server_over(tmp_path / "w")
        listening = [found.laddr for found in server.net_connections() if found.status == psutil.CONN_LISTEN]
        assert {address.ip for address in listening} == {"127.0.0.1"}
        assert s3_server._port not in {address.port for address in listening}
        secret = variables["AWS_SECRET_ACCESS_KEY"]
        assert not any(secret in argument for argument in server.cmdline())
    assert not server.is_running()
    said = capfd.readouterr()
    assert secret not in said.out + said.err
    assert not any(secret.encode() in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())


def test_a_second_run_is_refused_and_told_by_whom(tmp_path: Path, store_environment: dict[str, str],
                                                  monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRIVADV_S3_ENDPOINT", store_environment["PRIVADV_S3_ENDPOINT"])
    refused = pytest.raises(PrivadvError, match=f"{tmp_path} is in use by process {os.getpid()}: wait")
    with Workspace(tmp_path), refused:
        Workspace(tmp_path).__enter__()
    with Workspace(tmp_path):
        pass


def clean_runs(folder: Path) -> subprocess.CompletedProcess[str]:
    """`make clean-runs`, by the Python that runs this."""
    command = ["make", "--no-print-directory", "-o", ".venv/.ready"]
    command += [f"BIN={Path(sys.executable).parent}", "CURDIR=/nowhere", "clean-runs"]
    environment = {**os.environ, "PRIVADV_WORKSPACE": str(folder)}
    return subprocess.run(command, cwd=PROJECT, env=environment, text=True, capture_output=True, check=False)


def test_clean_runs_leaves_what_is_not_theirs(tmp_path: Path, store_environment: dict[str, str],
                                              monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRIVADV_S3_ENDPOINT", store_environment["PRIVADV_S3_ENDPOINT"])
    (tmp_path / "my own").write_text("")
    assert clean_runs(tmp_path).stdout == f"{tmp_path}: holds no runs\n"
    for folder in (tmp_path, tmp_path / "containers"):
        with Workspace(folder):
            (folder / "s3").mkdir()
            for name in ("s3/volume", "reports/report.html", "mlflow.db", "mlflow.db-wal"):
                (folder / name).write_text("")
    done = clean_runs(tmp_path)
    assert (done.returncode, done.stdout) == (0, f"{tmp_path}: no run is left\n"), done.stderr
    left = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")}
    assert left == {"my own", "lock", "containers", "containers/lock"}


@pytest.mark.parametrize("below", ["", "containers"])
def test_clean_runs_waits_for_a_run_that_is_under_way(tmp_path: Path, below: str, store_environment: dict[str, str],
                                                      monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRIVADV_S3_ENDPOINT", store_environment["PRIVADV_S3_ENDPOINT"])
    for folder in (tmp_path, tmp_path / "containers"):
        with Workspace(folder):
            (folder / "reports" / "report.html").write_text("")
    with Workspace(tmp_path / below):
        refused = clean_runs(tmp_path)
    assert refused.returncode and f"{tmp_path / below} is in use by process {os.getpid()}: wait" in refused.stderr
    assert all((folder / "reports" / "report.html").exists() for folder in (tmp_path, tmp_path / "containers"))


def test_another_s3_server_is_used_as_it_is(tmp_path: Path, store_environment: dict[str, str],
                                            monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in store_environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:5000")
    with Workspace(tmp_path) as workspace:
        variables = workspace.environment()
        workspace.check()
    assert variables == store_environment | {"MLFLOW_TRACKING_URI": "http://127.0.0.1:5000",
                                             "PRIVADV_WORKSPACE": str(tmp_path)}
    assert not (tmp_path / "s3").exists()


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(PrivadvError, match=f"{tmp_path}/file/w: cannot make"):
        Workspace(tmp_path / "file" / "w").__enter__()


def test_a_lock_that_cannot_be_taken_is_named(tmp_path: Path) -> None:
    (tmp_path / "lock").mkdir()
    with pytest.raises(PrivadvError, match=f"{tmp_path}/lock: cannot be locked"):
        Workspace(tmp_path).__enter__()


def test_what_was_acknowledged_survives_a_kill(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = [os.urandom(size) for size in (10, 100_000, 9_000_000)]
    with Workspace(tmp_path) as workspace:
        before = workspace.environment()
        store = Store.from_environment(before)
        blobs = [store.put(each) for each in data]
        assert store.create("once", b"1")
        workspace.check()
        server_over(tmp_path).kill()
        deadline = time.monotonic() + 10
        while "has died (exit status -9)" not in capsys.readouterr().out:
            assert time.monotonic() < deadline, "nobody said that the server died"
            time.sleep(0.05)
        with pytest.raises(PrivadvError, match=r"has died \(exit status -9\): read .*weed\.log"):
            workspace.check()
    with Workspace(tmp_path) as workspace:
        after = workspace.environment()
        store = Store.from_environment(after)
        assert [store.get(blob) for blob in blobs] == data
        assert not store.create("once", b"2")
        assert store.get(store.put(b"and more")) == b"and more"
        old = {name: before[name] for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")}
        with pytest.raises(PrivadvError, match="refused"):
            Store.from_environment(after | old)


def test_the_server_goes_with_its_run(tmp_path: Path) -> None:
    ends = {signal.SIGKILL: (-signal.SIGKILL, ""), signal.SIGTERM: (128 + signal.SIGTERM, "b'words'\n"),
            signal.SIGINT: (-signal.SIGINT, "b'words'\n")}
    runs = {number: subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path / number.name)],
                                     stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                                     start_new_session=True)
            for number in ends}
    try:
        assert [run.stdout.readline() for run in runs.values() if run.stdout] == ["up\n"] * 3
        servers = [server_over(tmp_path / number.name) for number in runs]
        ports = {found.laddr.port for server in servers for found in server.net_connections()}
        with pytest.raises(PrivadvError, match=f"in use by process {runs[signal.SIGTERM].pid}:"):
            Workspace(tmp_path / "SIGTERM").__enter__()
        for number, run in runs.items():
            # As a terminal's Ctrl-C does: everyone in the run's process group gets it.
            os.killpg(run.pid, number)
        said = {number: run.communicate(timeout=120)[0] for number, run in runs.items()}
        assert {number: (run.returncode, said[number]) for number, run in runs.items()} == ends
        left = psutil.wait_procs(servers, timeout=10)[1]
        assert [server for server in left if server.status() != psutil.STATUS_ZOMBIE] == []
    finally:
        for run in runs.values():
            run.kill()
            run.communicate()
    # The killed run leaves sockets, which the next start over its folder removes.
    SeaweedServer(tmp_path / "SIGKILL" / "s3")._remove_leftovers()
    assert [name for name in os.listdir("/tmp") if name.endswith(".sock") and
            any(f"-{port}.sock" in name for port in ports)] == []


def test_a_missing_program_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(privadv.workspace.seaweed.sysconfig, "get_path", lambda name: str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(PrivadvError, match="'weed' is not installed"):
        SeaweedServer(tmp_path / "s3").start()
