"""Submitting, with the real client, to a server that takes what kfp-server-api's models hold and nothing else."""

from __future__ import annotations

import contextlib
import dataclasses
import http.server
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from kfp.compiler import Compiler

import pipeline
from components import server as server_module
from components.server import Login, Server, Submission
from privadv.errors import PrivadvError
from privadv.run_config import RunConfig
from tests.kfp_server import FakeKfp, serving

PROJECT = Path(__file__).resolve().parent.parent
SMOKE = PROJECT / "configs" / "smoke.yaml"
VARIABLES = ("PRIVADV_KFP_TOKEN", "PRIVADV_KFP_TOKEN_FILE", "PRIVADV_KFP_COOKIE", "KF_PIPELINES_SA_TOKEN_PATH")


@pytest.fixture(autouse=True)
def nobody_is_logged_in_and_nobody_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(server_module, "BACKOFF", 0)


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    config, output = RunConfig.load(SMOKE), tmp_path_factory.mktemp("package") / "privadv.yaml"
    Compiler().compile(pipeline.define(cluster=config.cluster), str(output), pipeline_parameters=pipeline.parameters(config))
    return output


@pytest.fixture
def submission() -> Submission:
    return Submission("smoke-1", pipeline.parameters(RunConfig.load(SMOKE), "attack@2"), "privadv", "privadv-runner")


def submit(host: str, package: Path, submission: Submission, namespace: str | None = None) -> str:
    return Server(host, namespace, Login.from_environment()).submit(package, "smoke", submission)


def test_first_run_makes_what_is_missing_and_the_next_reuses_it(
    package: Path, submission: Submission, capsys: pytest.CaptureFixture[str]
) -> None:
    kfp = FakeKfp()
    for number in range(5):  # ours is on the last of several pages
        kfp.add("pipelines", f"other-{number}")
        kfp.add("experiments", f"other-{number}")
    with serving(kfp) as host:
        assert submit(host, package, submission) == "run-1"
        assert submit(host, package, submission) == "run-2"
    said = capsys.readouterr().out
    assert f"run: {host}/#/runs/details/run-1\n" in said
    assert [one["display_name"] for one in kfp.things["pipelines"]].count("privadv") == 1
    (version,) = kfp.things["versions"]
    assert version["display_name"].startswith("smoke-") and f"version: {version['display_name']}\n" in said
    assert len(kfp.things["experiments"]) == 6
    assert kfp.runs[0] == kfp.runs[1]
    assert kfp.runs[0]["display_name"] == "smoke-1" and kfp.runs[0]["service_account"] == "privadv-runner"
    given = kfp.runs[0]["runtime_config"]["parameters"]
    assert given == submission.parameters and given["rerun"] == "attack@2" and given["baselines"] == ["gray"]


def test_another_package_is_another_version(package: Path, submission: Submission, tmp_path: Path) -> None:
    other = tmp_path / "privadv.yaml"
    other.write_text(package.read_text().replace("privadv/evaluate:latest", "privadv/evaluate:v2"))
    kfp = FakeKfp()
    with serving(kfp) as host:
        submit(host, package, submission)
        submit(host, other, submission)
    assert len({one["display_name"] for one in kfp.things["versions"]}) == 2


def test_who_else_makes_the_same_at_the_same_time_is_no_trouble(package: Path, submission: Submission) -> None:
    kfp = FakeKfp()
    kfp.racing = True
    with serving(kfp) as host:
        assert submit(host, package, submission) == "run-1"


def test_a_name_that_is_taken_and_not_to_be_found_is_said(package: Path, submission: Submission) -> None:
    kfp = FakeKfp()
    kfp.faults["POST", "/experiments"] = [409]
    with serving(kfp) as host, pytest.raises(PrivadvError, match="something else of that name is in the way"):
        submit(host, package, submission)


@pytest.mark.parametrize(("often", "trigger"), [
    ({"cron": "0 0 3 * * *"}, {"cron_schedule": {"cron": "0 0 3 * * *"}}),
    ({"every": 3600}, {"periodic_schedule": {"interval_second": "3600"}}),
])
def test_schedules(
    package: Path, submission: Submission, often: dict, trigger: dict, capsys: pytest.CaptureFixture[str]
) -> None:
    kfp = FakeKfp()
    with serving(kfp) as host:
        submit(host, package, dataclasses.replace(submission, **often))
    (schedule,) = kfp.schedules
    assert schedule["trigger"] == trigger and schedule["mode"] == "ENABLE" and not kfp.runs
    assert f"schedule: {host}/#/recurringrun/details/again-1\n" in capsys.readouterr().out


def test_many_users_have_namespaces(package: Path, submission: Submission) -> None:
    kfp = FakeKfp(multi_user=True)
    with serving(kfp) as host:
        assert submit(host, package, submission, "team") == "run-1"
        assert {one["namespace"] for kind in ("pipelines", "experiments") for one in kfp.things[kind]} == {"team"}
        with pytest.raises(PrivadvError, match="serves many users: name your profile's namespace with --namespace"):
            submit(host, package, submission)
        with pytest.raises(PrivadvError, match=r"403 Forbidden.*check that namespace 'tame' exists and you may"):
            submit(host, package, submission, "tame")
    with serving(FakeKfp()) as host, pytest.raises(PrivadvError, match="serves one user: leave --namespace team out"):
        submit(host, package, submission, "team")


def test_logins(package: Path, submission: Submission, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "token"
    file.write_text("good\n")
    for variable, value in (("PRIVADV_KFP_TOKEN", "good"), ("PRIVADV_KFP_TOKEN_FILE", str(file)),
                            ("KF_PIPELINES_SA_TOKEN_PATH", str(file))):
        with monkeypatch.context() as patch, serving(FakeKfp(token="good")) as host:
            patch.setenv(variable, value)
            assert submit(host, package, submission) == "run-1"
    with monkeypatch.context() as patch, serving(FakeKfp(cookie="authservice_session=abc")) as host:
        patch.setenv("PRIVADV_KFP_COOKIE", "authservice_session=abc")
        assert submit(host, package, submission) == "run-1"


@pytest.mark.parametrize(("variable", "value"), [
    ("PRIVADV_KFP_TOKEN", "hush"), ("PRIVADV_KFP_COOKIE", "session=hush"), (None, "")])
@pytest.mark.parametrize("kfp", [FakeKfp(token="good"), FakeKfp(cookie="session=good")], ids=["401", "302"])
def test_refused_login(
    kfp: FakeKfp, variable: str | None, value: str, package: Path, submission: Submission, monkeypatch: pytest.MonkeyPatch
) -> None:
    if variable:
        monkeypatch.setenv(variable, value)
    with serving(kfp) as host, pytest.raises(PrivadvError, match="log in: set PRIVADV_KFP_TOKEN") as caught:
        submit(host, package, submission)
    assert "hush" not in str(caught.value) and "\n" not in str(caught.value)


def test_a_token_that_is_renewed_in_its_file_is_read_again(
    package: Path, submission: Submission, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "token"
    file.write_text("first")
    monkeypatch.setenv("PRIVADV_KFP_TOKEN_FILE", str(file))
    kfp = FakeKfp(token="first")
    with serving(kfp) as host:
        server = Server(host, None, Login.from_environment())
        run = server.submit(package, "smoke", submission)
        kfp.token = "second"
        file.write_text("second")
        assert server.follow(run, seconds=0) == 0


def test_wrong_ways_to_log_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRIVADV_KFP_TOKEN", "a")
    monkeypatch.setenv("PRIVADV_KFP_COOKIE", "b")
    with pytest.raises(PrivadvError, match="PRIVADV_KFP_TOKEN and PRIVADV_KFP_COOKIE are set: keep one"):
        Login.from_environment()
    monkeypatch.delenv("PRIVADV_KFP_COOKIE")
    with pytest.raises(PrivadvError, match=r"absent\.pem is no file"):
        Login.from_environment(tmp_path / "absent.pem")


def test_what_is_no_pipelines_server(package: Path, submission: Submission) -> None:
    with serving(FakeKfp()) as host, pytest.raises(PrivadvError, match=r"404 Not Found.*check --host"):
        submit(f"{host}/pipelines", package, submission)
    with page() as host, pytest.raises(PrivadvError, match="answers, but not as Kubeflow Pipelines"):
        submit(host, package, submission)
    with pytest.raises(PrivadvError, match=r"cannot be reached .*check --host") as caught:
        submit("http://127.0.0.1:1", package, submission)
    assert "\n" not in str(caught.value)


def test_server_errors_pass_or_are_said(package: Path, submission: Submission) -> None:
    kfp = FakeKfp()
    kfp.faults["GET", "/experiments"] = [503, 502]
    with serving(kfp) as host:
        assert submit(host, package, submission) == "run-1"
    kfp.faults["POST", "/runs"] = [500]
    with serving(kfp) as host, pytest.raises(PrivadvError, match=r"start the run .500 .*out of order.: try again"):
        submit(host, package, submission)
    assert len(kfp.runs) == 1 and kfp.asked.count("POST /apis/v2beta1/runs") == 2  # never sent twice by itself


@pytest.mark.parametrize(("states", "code"), [
    (["PENDING", "RUNNING", "SUCCEEDED"], 0), (["RUNNING", "FAILED"], 1), (["RUNNING", "CANCELING", "CANCELED"], 1)])
def test_wait(states: list[str], code: int, capsys: pytest.CaptureFixture[str]) -> None:
    kfp = FakeKfp()
    kfp.states = list(states)
    kfp.faults["GET", "/runs/run-1"] = [500] * 5
    with serving(kfp) as host:
        assert Server(host, None, Login()).follow("run-1", seconds=0) == code
    said = capsys.readouterr().out.splitlines()
    assert [line.rpartition(" ")[2] for line in said if line.startswith("run ")] == states
    assert ("failed: attack" in said and "error: a step failed" in said) == ("FAILED" in states)


def test_wait_gives_up_when_the_server_is_gone_for_long() -> None:
    kfp = FakeKfp()
    kfp.faults["GET", "/runs/run-1"] = [500] * 1000
    with serving(kfp) as host, pytest.raises(PrivadvError, match="follow the run"):
        Server(host, None, Login()).follow("run-1", seconds=0)


def test_as_a_user_runs_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    kfp = FakeKfp(token="good")
    kfp.states = ["FAILED"]
    bad = tmp_path / "bad.yaml"
    bad.write_text(SMOKE.read_text().replace("seed: 0", "seed: none"))
    with serving(kfp) as host:
        command = ["pipeline.py", "submit", "--host", host, "--wait", "--rerun", "report", "--config"]
        environment = os.environ | {"PRIVADV_KFP_TOKEN": "good", "HOME": str(tmp_path)}
        done = subprocess.run([sys.executable, *command, str(SMOKE)], cwd=PROJECT, text=True, capture_output=True,
                              env=environment)
        asked, refusals = len(kfp.asked), []
        for mistaken in ([str(bad)], [str(SMOKE), "--every", "3600"]):
            monkeypatch.setattr(sys, "argv", [*command, *mistaken])
            assert pipeline.main() == 2
            refusals.append(capsys.readouterr().err)
        monkeypatch.setattr(sys, "argv", [*command, str(SMOKE), "--every", "0"])
        with pytest.raises(SystemExit, match="2"):
            pipeline.main()
    assert done.returncode == 1 and done.stderr == "", done.stderr
    assert f"run: {host}/#/runs/details/run-1\n" in done.stdout and "failed: attack\n" in done.stdout
    assert kfp.runs[0]["runtime_config"]["parameters"]["rerun"].startswith("report@")
    assert len(kfp.asked) == asked
    assert "key 'seed' = 'none'" in refusals[0] and "privadv: pipeline: --wait follows one run" in refusals[1]
    assert "'0' is no number of seconds" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [bad]


@contextlib.contextmanager
def page() -> Iterator[str]:
    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(b"<html>Welcome</html>")

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
