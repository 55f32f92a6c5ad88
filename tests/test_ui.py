"""MLflow's pages after a sweep of two smoke runs, in a real browser. Screenshots go to PRIVADV_SCREENSHOTS, if set."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from devtools import Browser
from mlflow_health import healthy

from privadv.tracking.view import COLUMNS

pytestmark = [pytest.mark.ui, pytest.mark.timeout(3600)]

PROJECT = Path(__file__).resolve().parent.parent
SWEEP = "train_adversarial.algorithm.gamma=0.5,2"


@dataclass
class Site:
    """A project with two runs, and the MLflow server that shows them."""

    project: Path
    address: str

    def say(self, *command: str) -> str:
        """What a module of the project prints."""
        done = subprocess.run([sys.executable, "-m", *command], cwd=self.project, env=environment(), text=True,
                              capture_output=True, check=False)  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def runs(self) -> dict[str, dict[str, str]]:
        """The pipelines' runs by name: id and tags."""
        code = ("import json; from privadv.tracking.archive import Archive;"
                "print(json.dumps({r.name: {**r.tags, 'id': r.id} for r in Archive().runs('privadv')}))")  # fmt: skip
        done = subprocess.run([sys.executable, "-c", code], cwd=self.project, env=environment(), text=True,
                              capture_output=True, check=True)  # fmt: skip
        return json.loads(done.stdout.splitlines()[-1])


def environment() -> dict[str, str]:
    """Ours, without a store or tracking server of somebody else's."""
    named = ("PRIVADV_S3", "AWS_", "MLFLOW_", "PRIVADV_WORKSPACE")
    return {name: value for name, value in os.environ.items() if not name.startswith(named)} | {
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true",
        "PRIVADV_TRACKING_WAIT": "300"}  # fmt: skip


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project in which a sweep has run; PRIVADV_UI_PROJECT names one where it has already."""
    if ready := os.environ.get("PRIVADV_UI_PROJECT"):
        return Path(ready)
    copy = tmp_path_factory.mktemp("clone") / "privadv"
    for name in ("components", "privadv", "configs"):
        shutil.copytree(PROJECT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pipeline.py", "requirements.lock"):
        shutil.copy(PROJECT / name, copy / name)
    command = [sys.executable, "pipeline.py", "run", "--config", "configs/smoke.yaml", "--sweep", SWEEP]
    done = subprocess.run(command, cwd=copy, env=environment(), text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr
    assert "extract_frames: cached" in done.stdout and done.stdout.count("train_adversarial: done") == 2
    return copy


@pytest.fixture(scope="module")
def site(project: Path) -> Iterator[Site]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    folder = project / ".privadv"
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
               "--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--artifacts-destination",
               str(folder / "mlflow-artifacts")]  # fmt: skip
    with (folder / "server.log").open("wb") as log:
        server = subprocess.Popen(command, env=environment(), stdout=log, stderr=log)
    try:
        limit = time.monotonic() + 300
        while not healthy(f"http://127.0.0.1:{port}"):
            assert server.poll() is None and time.monotonic() < limit, (folder / "server.log").read_text()[-2000:]
            time.sleep(0.5)
        yield Site(project, f"http://127.0.0.1:{port}")
    finally:
        server.terminate()
        server.wait()


@pytest.fixture(scope="module")
def browser(site: Site) -> Iterator[Browser]:
    with Browser() as browser:
        yield browser


@pytest.fixture(scope="module")
def shots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = Path(os.environ.get("PRIVADV_SCREENSHOTS") or tmp_path_factory.mktemp("screenshots"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def shoot(browser: Browser, path: Path) -> None:
    time.sleep(2)  # animations
    browser.screenshot(path)
    assert path.stat().st_size > 20_000, f"{path}: an empty page"


def test_the_prepared_page_lists_both_runs_with_the_documented_columns(
    site: Site, browser: Browser, shots: Path
) -> None:
    (line,) = site.say("privadv.tracking", site.address).splitlines()
    browser.open(line.split(": ", 1)[1])
    browser.see(*site.runs())
    shown = browser.wait("[...document.querySelectorAll('[role=columnheader]')].map(e => e.innerText).join('|')")
    wanted = [column.partition(".")[2] for column in COLUMNS if column != "metrics.leakage_counts"]
    shoot(browser, shots / "table.png")
    headers = set()
    for left in range(0, 3000, 400):  # columns that are out of sight are not drawn
        browser.evaluate(f"document.querySelectorAll('.ag-center-cols-viewport, .ag-body-horizontal-scroll-viewport')"
                         f".forEach(e => e.scrollLeft = {left})")  # fmt: skip
        time.sleep(0.3)
        shown = browser.evaluate("[...document.querySelectorAll('[role=columnheader]')].map(e => e.innerText.trim())")
        headers |= {part.strip() for text in shown for part in text.split("\n")}
    assert set(wanted) <= headers
    assert not {"extract_frames", "attack raw"} & set(browser.text().split("\n"))
    documented = (PROJECT / "docs" / "mlflow.md").read_text()
    assert all(f"`{name}`" in documented or name.startswith("train_adversarial") for name in wanted)


def test_the_charts_of_both_runs_are_drawn(site: Site, browser: Browser, shots: Path) -> None:
    page = site.say("privadv.tracking", site.address).split(": ", 1)[1].strip()
    browser.open(page.replace("compareRunsMode=TABLE", "compareRunsMode=CHART"))
    browser.see("A_B_max vs. A_T", *site.runs())
    # Its charts are out of sight, and so not drawn.
    browser.wait("document.body.innerText.replace(/\\s+/g, ' ').includes('The game, by round (2)')")
    browser.wait("document.querySelectorAll('.js-plotly-plot .point, .js-plotly-plot .bars .point').length > 4")
    shoot(browser, shots / "charts.png")


def test_the_compare_view_opens_with_both_runs(site: Site, browser: Browser, shots: Path) -> None:
    runs = site.runs()
    experiment = site.say("privadv.tracking", site.address).split("/experiments/")[1].split("/")[0]
    ids = json.dumps([run["id"] for run in runs.values()], separators=(",", ":"))
    browser.open(f"{site.address}/#/compare-runs?runs={ids}&experiments=[%22{experiment}%22]".replace('"', "%22"))
    browser.see(*runs, "train_adversarial.algorithm.gamma", "A_B_max")
    shoot(browser, shots / "compare.png")


def test_a_run_s_note_shows_table_and_plot_and_its_report_renders(site: Site, browser: Browser, shots: Path) -> None:
    experiment = site.say("privadv.tracking", site.address).split("/experiments/")[1].split("/")[0]
    run = next(iter(site.runs().values()))["id"]
    browser.open(f"{site.address}/#/experiments/{experiment}/runs/{run}")
    browser.see("blind guess", "A_B_max", "privadv-synthetic-24x24")
    browser.wait("[...document.images].some(i => i.src.includes('get-artifact') && i.naturalWidth > 500)")
    shoot(browser, shots / "note.png")
    browser.open(f"{site.address}/#/experiments/{experiment}/runs/{run}/artifacts/report.html")
    frame = "document.querySelector('iframe')"
    browser.wait(f"{frame} !== null")
    shoot(browser, shots / "report.png")
    source = browser.wait(f"{frame}.src || {frame}.srcdoc")
    assert source
    texts = browser.frames()
    assert any("Privacy and utility" in text and "Every attacker" in text for text in texts)


def test_a_comparison_of_both_lies_in_mlflow(site: Site, browser: Browser, shots: Path) -> None:
    said = site.say("privadv.compare", "privadv", "--output", str(site.project / "out"))
    assert "uniform gamma=0.5" in said and "uniform gamma=2" in said and "gray" in said
    browser.open((site.project / "out" / "comparison.html").as_uri())
    browser.see("uniform gamma=0.5", "uniform gamma=2", "Hypervolume")
    shoot(browser, shots / "comparison.png")


def test_the_candidate_is_the_newest_filter_and_can_be_loaded(site: Site) -> None:
    code = ("import mlflow, numpy as np; mlflow.set_tracking_uri('sqlite:///.privadv/mlflow.db');"
            "model = mlflow.pyfunc.load_model('models:/privadv-synthetic-24x24@candidate');"
            "clips = model.input_example; out = model.predict(clips);"
            "assert out.shape == clips.shape == (2, 2, 24, 24, 3) and out.dtype == np.uint8;"
            "print(model.metadata.run_id)")  # fmt: skip
    done = subprocess.run([sys.executable, "-c", code], cwd=site.project, env=environment(), text=True,
                          capture_output=True, check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[-1] in {run["id"] for run in site.runs().values()}
    refused = subprocess.run([sys.executable, "-m", "privadv.promote", "privadv-synthetic-24x24"], cwd=site.project,
                             env=environment(), text=True, capture_output=True, check=False)  # fmt: skip
    assert refused.returncode == 2 and "no evidence of privacy" in refused.stderr
    said = site.say("privadv.promote", "privadv-synthetic-24x24", "--without-evidence")
    assert "is the champion" in said
