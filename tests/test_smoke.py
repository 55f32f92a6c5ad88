"""The whole pipeline in small, as a user runs it: real stages, real S3 server, real MLflow, real encoded video."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.numpy import load_file

pytestmark = pytest.mark.timeout(1000)  # about two minutes on two idle cores

PROJECT = Path(__file__).resolve().parent.parent
STAGES = (
    "extract_frames",
    "pretrain_degradation",
    "pretrain_target",
    "pretrain_budget",
    "train_adversarial",
    *(f"{stage} {row}" for row in ("raw", "filter", "gray") for stage in ("render", "attack")),
)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project with a workspace of its own."""
    copy = tmp_path_factory.mktemp("clone") / "privadv"
    for name in ("components", "privadv", "configs"):
        shutil.copytree(PROJECT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pipeline.py", "requirements.lock"):
        shutil.copy(PROJECT / name, copy / name)
    return copy


SECRET = "5ec7e7" * 6 + "beef"
# The embedded store's secret key is made known; that this really happened is written down.
PLANT = f"""
import pathlib, secrets
token_hex = secrets.token_hex
def known(size=None):
    if size != 20:
        return token_hex(size)
    pathlib.Path(__file__).with_name("planted").touch()
    return "{SECRET}"
secrets.token_hex = known
"""


def run(project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """``pipeline.py run`` on the smoke configuration, without a store or a tracking server in the environment."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PRIVADV_S3", "AWS_", "MLFLOW_"))
    }
    planted = project.parent / "plant"
    planted.mkdir(exist_ok=True)
    (planted / "sitecustomize.py").write_text(PLANT)
    kept["PYTHONPATH"] = str(planted)
    command = [sys.executable, "pipeline.py", "run", "--config", "configs/smoke.yaml", *arguments]
    return subprocess.run(command, cwd=project, text=True, capture_output=True, env=kept, timeout=900)


def said(output: str, how: str) -> set[str]:
    return set(re.findall(rf"^(\S.*): {how}\b", output, flags=re.MULTILINE))


@pytest.fixture(scope="module")
def first(project: Path) -> subprocess.CompletedProcess[str]:
    return run(project)


def test_every_stage_runs_and_a_report_and_a_filter_come_out(
    project: Path, first: subprocess.CompletedProcess[str]
) -> None:
    assert first.returncode == 0, first.stderr
    assert said(first.stdout, "done") == {*STAGES, "report"}
    (folder,) = (project / ".privadv" / "reports").iterdir()
    page = (folder / "report.html").read_text()
    assert "synthetic data" in page and "http://" not in page.replace("http://www.w3.org", "")
    assert load_file(folder / "filter.safetensors")
    assert {"A_T", "A_B_max", "A_B_mean"} <= set(json.loads((folder / "report.json").read_text())["metrics"])
    assert "blind guess" in first.stdout


def test_mlflow_has_a_parent_a_run_a_stage_and_the_final_metrics(
    project: Path, first: subprocess.CompletedProcess[str]
) -> None:
    code = (
        "import mlflow, json; mlflow.set_tracking_uri('sqlite:///.privadv/mlflow.db');"
        "runs = mlflow.search_runs(search_all_experiments=True, output_format='list');"
        "parents = [r for r in runs if 'mlflow.parentRunId' not in r.data.tags];"
        "names = [r.info.run_name for r in runs];"
        "client, id = mlflow.MlflowClient(), parents[0].info.run_id;"
        "rounds = [m.step for m in client.get_metric_history(id, 'train/target_accuracy')];"
        "print(json.dumps([len(parents), parents[0].info.status, sorted(parents[0].data.metrics), sorted(names), rounds]))"
    )
    out = subprocess.run(
        [sys.executable, "-c", code], cwd=project, text=True, capture_output=True, check=True
    )
    count, status, metrics, names, rounds = json.loads(out.stdout.splitlines()[-1])
    assert count == 1 and status == "FINISHED"
    assert {"A_T", "A_B_max"} <= set(metrics) and rounds == list(range(1, len(rounds) + 1)) != []
    assert {*STAGES, "report"} <= set(names) and "resnet/standardised/warm" in names


def test_a_second_run_executes_the_report_alone(
    project: Path, first: subprocess.CompletedProcess[str]
) -> None:
    again = run(project)
    assert again.returncode == 0, again.stderr
    assert said(again.stdout, "cached") == set(STAGES) and said(again.stdout, "started") == {"report"}
    table = first.stdout.index("synthetic data")
    assert (
        first.stdout[table:].split("report:")[0]
        == again.stdout[again.stdout.index("synthetic data") :].split("report:")[0]
    )


def test_the_store_s_secret_is_in_no_log_manifest_record_or_report(
    project: Path, first: subprocess.CompletedProcess[str]
) -> None:
    assert first.returncode == 0 and (project.parent / "plant" / "planted").is_file()
    compiled = project / "compiled.yaml"
    command = [sys.executable, "pipeline.py", "compile", "--config", "configs/smoke.yaml", "--output", str(compiled)]
    environment = {**os.environ, "AWS_SECRET_ACCESS_KEY": SECRET}
    subprocess.run(command, cwd=project, check=True, capture_output=True, env=environment, timeout=120)
    files = [path for path in project.rglob("*") if path.is_file()]
    assert {"report.html", "mlflow.db", "compiled.yaml"} <= {path.name for path in files}
    assert SECRET not in first.stdout + first.stderr
    assert [path for path in files if SECRET.encode() in path.read_bytes()] == []


def test_a_user_s_mistake_in_a_stage_is_its_own_line_and_keeps_what_is_done(
    project: Path, first: subprocess.CompletedProcess[str]
) -> None:
    failed = run(project, "--set", "extract_frames.dataset=sbu", "--set", "extract_frames.root=nowhere")
    assert failed.returncode == 1 and "Traceback" not in failed.stdout + failed.stderr
    assert re.search(r"extract_frames: .*nowhere", failed.stdout + failed.stderr)
    assert said(failed.stdout, "started") == {"extract_frames"}
