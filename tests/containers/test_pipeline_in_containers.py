"""The smoke pipeline in its images, as `pipeline.py run --runner docker` runs it over podman's socket.

S3 and MLflow are real servers on this machine; a stage sees nothing else of it.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import docker
import pytest

from privadv.store import Store

pytestmark = [pytest.mark.containers, pytest.mark.timeout(3600)]

PROJECT = Path(__file__).resolve().parents[2]
STAGES = {
    "extract_frames", "pretrain_degradation", "pretrain_target", "pretrain_budget", "train_adversarial",
    *(f"{stage} {row}" for row in ("raw", "filter", "gray") for stage in ("render", "attack")),
}
BEFORE = {"extract_frames", "pretrain_degradation", "pretrain_target", "pretrain_budget"}
# Long enough to be killed in the middle of it.
GAME = ("--set", "train_adversarial.algorithm.rounds=60")


@dataclass
class Run:
    """A run that is over: what it printed, and its exit code."""

    lines: list[str] = field(default_factory=list)
    code: int | None = None

    def said(self, how: str) -> set[str]:
        found = (re.match(rf"(\S.*): {how}\b", line) for line in self.lines)
        return {match[1] for match in found if match}

    def __str__(self) -> str:
        return "".join(self.lines)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, engine: docker.DockerClient) -> Path:
    """A copy of the project with a workspace of its own, and the images that were built from it."""
    return copied(tmp_path_factory.mktemp("clone") / "privadv")


def copied(to: Path) -> Path:
    for name in ("components", "privadv", "configs", "build"):
        shutil.copytree(PROJECT / name, to / name, ignore=shutil.ignore_patterns("__pycache__", "k8s"))
    for name in ("pipeline.py", "requirements.lock"):
        shutil.copy(PROJECT / name, to / name)
    return to


def run(project: Path, *arguments: str, kill: str = "") -> Run:
    """The smoke pipeline in containers; the stage ``kill`` is killed once it has saved a resume point."""
    environment = {name: value for name, value in os.environ.items()
                   if not name.startswith(("PRIVADV_", "AWS_", "MLFLOW_"))}
    command = [sys.executable, "pipeline.py", "run", "--runner", "docker", "--config", "configs/smoke.yaml"]
    process = subprocess.Popen([*command, *arguments], cwd=project, text=True, env=environment,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    run = Run()
    assert process.stdout
    for line in process.stdout:
        print(line, end="", flush=True)
        run.lines.append(line)
        if kill and line.startswith(f"{kill}: started"):
            kill_after_a_resume_point()
    run.code = process.wait()
    return run


def kill_after_a_resume_point() -> None:
    (container,) = containers("privadv/adversarial")
    (inspected,) = json.loads(subprocess.run(
        ["podman", "inspect", container], check=True, text=True, stdout=subprocess.PIPE).stdout)
    store = Store.from_environment(dict(entry.split("=", 1) for entry in inspected["Config"]["Env"]))
    deadline = time.monotonic() + 300
    # A finished stage leaves none of its own; but an attempt's number is there before its first one.
    while not any("/steps/" in key for key in store.keys("checkpoints/")):
        assert time.monotonic() < deadline, "no resume point was saved"
        time.sleep(0.1)
    subprocess.run(["podman", "kill", container], check=True)


def containers(image: str) -> list[str]:
    """The ids of the containers that run an image of ours."""
    listed = ["podman", "ps", "--all", "--quiet", "--filter", f"label=privadv.image={image}"]
    return subprocess.run(listed, check=True, text=True, stdout=subprocess.PIPE).stdout.split()


def weights(project: Path) -> bytes:
    """The filter of the newest report."""
    reports = sorted((project / ".privadv" / "containers" / "reports").iterdir())
    return (reports[-1] / "filter.safetensors").read_bytes()


@pytest.fixture(scope="module")
def killed(project: Path) -> Run:
    return run(project, *GAME, kill="train_adversarial")


@pytest.fixture(scope="module")
def again(project: Path, killed: Run) -> Run:
    return run(project, *GAME)


@pytest.fixture(autouse=True)
def nothing_is_left(project: Path) -> Iterator[None]:
    yield
    assert [container for image in images(project) for container in containers(image)] == []


def images(project: Path) -> list[str]:
    return list(json.loads((project / "build" / "images.json").read_text()))


def test_a_killed_container_fails_the_run(killed: Run) -> None:
    assert killed.code == 1
    assert re.search(r"train_adversarial failed after .* \(killed by signal 9", str(killed))
    # What does not wait for the game may have been done before it or not.
    assert BEFORE <= killed.said("done") <= BEFORE | {"render raw", "attack raw"}


def test_the_next_run_takes_what_was_done_from_the_cache_and_goes_on_in_the_middle(killed: Run, again: Run) -> None:
    assert again.code == 0
    assert again.said("cached") == killed.said("done")
    assert again.said("done") == (STAGES | {"report"}) - again.said("cached")
    assert re.search(r"train_adversarial: going on after step [1-9]", str(again))


def test_a_report_and_a_filter_come_out(project: Path, again: Run) -> None:
    (folder,) = (project / ".privadv" / "containers" / "reports").iterdir()
    assert "synthetic data" in (folder / "report.html").read_text()
    assert {"A_T", "A_B_max"} <= set(json.loads((folder / "report.json").read_text())["metrics"])


def test_every_stage_wrote_its_manifest_as_the_user_of_its_image(project: Path, again: Run) -> None:
    written = [path for path in (project / ".privadv" / "containers" / "pipeline").rglob("*") if path.is_file()]
    owner = 10001 if os.getuid() == 0 else os.getuid()
    assert len(written) > len(STAGES) and {path.stat().st_uid for path in written} == {owner}


def test_mlflow_has_heard_of_every_stage(project: Path, again: Run) -> None:
    with sqlite3.connect(project / ".privadv" / "containers" / "mlflow.db") as database:
        runs = {name for (name,) in database.execute("SELECT name FROM runs WHERE status = 'FINISHED'")}
        metrics = {key for (key,) in database.execute("SELECT DISTINCT key FROM latest_metrics")}
    assert {*STAGES, "report"} <= runs and {"A_T", "A_B_max"} <= metrics


def test_an_uninterrupted_game_gives_the_same_filter_bit_by_bit(
    project: Path, again: Run, tmp_path: Path, engine: docker.DockerClient
) -> None:
    whole = copied(tmp_path / "privadv")
    straight = run(whole, *GAME)
    assert straight.code == 0 and straight.said("cached") == set()
    assert weights(whole) == weights(project)


def test_a_stage_that_fails_at_once_fails_the_run(project: Path, tmp_path: Path) -> None:
    failed = run(project, "--set", "extract_frames.dataset=sbu", "--set", f"extract_frames.root={tmp_path}")
    assert failed.code == 1 and "Traceback" not in str(failed)
    assert re.search(r"extract_frames failed after .* \(exit code 2\)", str(failed))
    assert failed.said("started") == {"extract_frames"} and failed.said("done") == set()


def test_an_image_of_other_code_is_refused(tmp_path: Path, engine: docker.DockerClient) -> None:
    edited = copied(tmp_path / "privadv")
    with (edited / "privadv" / "stages" / "extract_frames.py").open("a") as source:
        source.write("# edited since\n")
    refused = run(edited)
    assert refused.code == 1 and "made from other code than is here: build the images" in str(refused)
