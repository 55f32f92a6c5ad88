"""The pipeline with stages that only speak: its graph, cache, failures and signals, on a real S3 server."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

pytestmark = pytest.mark.timeout(1000)  # every task is a process: on a busy machine a run takes minutes

PROJECT = Path(__file__).resolve().parent.parent

TINY = '''
import os, subprocess, sys, time
from privadv.config import Section
from privadv.errors import PrivadvError

class Config(Section):
    word: str = "hello"

class Note(Section):
    stage: str
    word: str
    row: str = ""
    heard: tuple[str, ...] = ()

def play(stage, config, row="", inputs=()):
    print(f"{stage} says {config.word}", flush=True)
    task = f"{stage} {row}".strip()
    if stage == "extract_frames" and (edited := os.environ.get("TINY_EDIT")):
        with open(f"privadv/stages/{edited}.py", "a") as source:
            source.write("# edited\\n")
    if os.environ.get("TINY_FAIL") == task:
        raise PrivadvError("the word is wrong: choose another")
    if os.environ.get("TINY_CRASH") == task:
        os.kill(os.getpid(), 9)
    if os.environ.get("TINY_HANG") == task:
        try:
            worker = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
            print(f"worker {worker.pid} of {os.getpid()}", flush=True)
            time.sleep(600)
        finally:
            time.sleep(0.5)
            print("left in order", flush=True)
    return Note(stage=stage, word=config.word, row=row, heard=tuple(note.digest() for note in inputs))
'''
# The stages' names, and what the signature of each asks for.
SIGNATURES = {
    "extract_frames": "",
    "pretrain_degradation": "seed: int, clips: Note",
    "pretrain_target": "seed: int, clips: Note, degradation: Note",
    "pretrain_budget": "seed: int, clips: Note, degradation: Note",
    "train_adversarial": "seed: int, clips: Note, degradation: Note, target: Note, budget: Note",
    "render": "seed: int, row: str, clips: Note, game: Note | None = None",
    "attack": "seed: int, row: str, clips: Note, warm: Note | None = None, raw: Note | None = None",
}
STAGE = '''
from privadv.tiny import Config, Note, play

def run(config: Config, context, {signature}) -> Note:
    given = locals()
    return play("{stage}", config, given.get("row", ""), [v for v in given.values() if isinstance(v, Note)])
'''
REPORT = '''
from privadv.config import Section
from privadv.store import Blob
from privadv.tiny import Config, Note, play

class Report(Section):
    table: str
    page: Blob
    filter: dict | None = None
    evidence: tuple[Blob, ...] = ()

def run(config: Config, context, seed: int, configuration: str, clips: Note, filtered_clips: tuple[Note, ...],
        degradation: Note, target: Note, budget: Note, game: Note, results: tuple[Note, ...]) -> Report:
    play("report", config)
    assert [note.row for note in filtered_clips] == ["filter", "filter:mjpeg:5"]
    page = context.store.put(f"<p>{seed} {configuration}</p>".encode())
    weights = context.store.put(game.canonical().encode())
    table = f"seed {seed}: " + ", ".join(f"{note.row} heard {len(note.heard)}" for note in results)
    return Report(table=table, page=page, filter={"role": "filter", "weights": weights.model_dump()})

def pool(reports: list[Report], store) -> Report:
    return Report(table="pooled: " + " | ".join(report.table for report in reports), page=reports[0].page)
'''
RUN_CONFIG = '''
from privadv.cluster import Cluster
from privadv.config import Section
from privadv.tiny import Config

class RunConfig(Section):
    name: str
    seed: int = 0
    rows: tuple[str, ...] = ("raw", "filter", "filter:mjpeg:5", "gray", "blur:4")
    fan_out: str = "row"
    cluster: Cluster = Cluster()
''' + "".join(f"    {stage}: Config = Config()\n" for stage in [*SIGNATURES, "report"])
# The names of rows, without the tensors that draw them.
ROWS_NAMED = '''
def of_filter(row):
    return row.partition(":")[0] == "filter"

def is_baseline(row):
    return row != "raw" and not of_filter(row)
'''
TRACKING = '''
from contextlib import nullcontext

MANIFEST, WEIGHTS = "filter.json", "filter.safetensors"

class DatasetInput: pass

class Silent:
    def __getattr__(self, name):
        return self
    def __call__(self, *arguments, **named):
        return self

class Tracker:
    @staticmethod
    def open(store, stage, task, params, tags, session):
        return nullcontext(Silent())

def Session(store):
    return nullcontext()

def platform_tags():
    return {}
'''
FANNED = '''
import privadv.tiny
from privadv.config import Section
from privadv.tiny import Config, Note, play

class Names(Section):
    names: tuple[str, ...]

def list_readers(config: Config, context, row: str, warm: Note | None = None) -> Names:
    play("list_readers", config, row)
    return Names(names=[f"{row} {name}" for name in ("target", "one", "two")[: 2 if row == "gray" else 3]])

def fit_reader(config: Config, context, seed: int, row: str, reader: str, clips: Note, warm: Note | None = None,
               raw: Note | None = None) -> Note:
    assert (row == "raw") == (warm is None) == (raw is None) and clips.row == row
    return play("fit_reader", config, f"{row} {reader}", [clips])

def join_readers(config: Config, context, seed: int, row: str, clips: Note, readers: tuple[Note, ...]) -> Note:
    assert [reader.row.split()[0] for reader in readers] == [row] * len(readers) and readers[0].row.endswith("target")
    return play("join_readers", config, row, readers)
'''
FILTER = [f"{stage} {row}" for row in ("filter", "filter:mjpeg:5") for stage in ("render", "attack")]
BASELINES = ["render gray", "attack gray", "render blur:4", "attack blur:4"]
ROWS = ["render raw", "attack raw", *FILTER, *BASELINES]
ALL = [*list(SIGNATURES)[:5], *ROWS]


@pytest.fixture
def tiny(tmp_path: Path, store_environment: dict[str, str]) -> Path:
    """A copy of the project whose stages are tiny; its path has what kfp.local would stumble over."""
    project = tmp_path / "a python3 project"
    ignore = shutil.ignore_patterns("__pycache__", "tracking*")
    for name in ("components", "privadv"):
        shutil.copytree(PROJECT / name, project / name, ignore=ignore)
    for name in ("pipeline.py", "requirements.lock"):
        shutil.copy(PROJECT / name, project / name)
    package = project / "privadv"
    with (package / "data" / "workers.py").open("a") as workers:
        workers.write("FITTING = ()\n")  # nobody learns here
    (package / "tiny.py").write_text(TINY)
    (package / "tracking.py").write_text(TRACKING)
    (package / "run_config.py").write_text(RUN_CONFIG)
    (package / "evaluation" / "rows.py").write_text(ROWS_NAMED)
    for stage, signature in SIGNATURES.items():
        (package / "stages" / f"{stage}.py").write_text(STAGE.format(stage=stage, signature=signature))
    (package / "stages" / "report.py").write_text(REPORT)
    (package / "fanned.py").write_text(FANNED)
    for stage in ("list_readers", "fit_reader", "join_readers"):
        (package / "stages" / f"{stage}.py").write_text(f"from privadv.fanned import Config, {stage} as run\n")
    (project / "tiny.yaml").write_text("name: tiny\n")
    return project


def command(*arguments: str) -> list[str]:
    return [sys.executable, "pipeline.py", *arguments]


def run(project: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command("run", "--config", "tiny.yaml", *arguments), cwd=project, text=True,
                          capture_output=True, env={**os.environ, **environment}, timeout=600)


def tasks(output: str, how: str) -> list[str]:
    """The tasks of which it is said: "started", "done" or "cached"."""
    return sorted(re.findall(rf"^(\S.*): {how}\b", output, flags=re.MULTILINE))


def test_seeds_then_only_what_changed(tiny: Path) -> None:
    first = run(tiny, "--seeds", "0,1")
    assert first.returncode == 0, first.stdout + first.stderr
    seed0, seed1 = first.stdout.split("run tiny-seed1")
    assert tasks(seed0, "done") == sorted([*ALL, "report"])
    assert tasks(seed1, "cached") == ["extract_frames", "render blur:4", "render gray", "render raw"]
    assert "\n    extract_frames says hello\n" in first.stdout
    assert "\nseed 0: raw heard 1, filter heard 3, filter:mjpeg:5 heard 3, gray heard 3, blur:4 heard 3\n" in first.stdout
    assert re.search(r"\npooled: seed 0: .* \| seed 1: ", first.stdout)
    assert not re.search("kfp|executor|Traceback", first.stdout + first.stderr, flags=re.IGNORECASE)
    folders = sorted((tiny / ".privadv" / "reports").iterdir())
    assert [folder.name.split("-")[1] for folder in folders] == ["pooled", "seed0", "seed1"]
    assert f"report: {folders[1]}/report.html" in first.stdout
    assert '"name":"tiny"' in (folders[1] / "report.html").read_text()
    assert json.loads((folders[1] / "filter.safetensors").read_text())["stage"] == "train_adversarial"

    again = run(tiny)
    assert (tasks(again.stdout, "done"), tasks(again.stdout, "cached")) == (["report"], sorted(ALL))

    changed = run(tiny, "--set", "attack.word='python3 2'")
    attacks = [row for row in ROWS if row.startswith("attack")]
    assert tasks(changed.stdout, "done") == sorted([*attacks, "report"])
    assert "    attack says python3 2\n" in changed.stdout

    for stage, rest in (("report", []), ("train_adversarial", ["train_adversarial", *FILTER])):
        with (tiny / "privadv" / "stages" / f"{stage}.py").open("a") as source:
            source.write("# edited\n")
        assert tasks(run(tiny).stdout, "done") == sorted([*rest, "report"])


def test_every_run_of_a_sweep_has_a_server_of_its_own_and_shares_what_is_finished(tiny: Path) -> None:
    both = run(tiny, "--sweep", "attack.word=one,two", PRIVADV_S3_ENDPOINT="")
    assert both.returncode == 0, both.stdout + both.stderr
    first, second = both.stdout.split("run tiny-word=two")
    attacks = [row for row in ROWS if row.startswith("attack")]
    assert tasks(first, "done") == sorted([*ALL, "report"]) and tasks(second, "done") == sorted([*attacks, "report"])


def test_killed_stage_is_named_as_such(tiny: Path) -> None:
    failed = run(tiny, TINY_CRASH="render raw")
    assert failed.returncode == 1
    assert re.fullmatch(r"privadv: render raw failed after .* \(killed by signal 9, .*\n", failed.stderr)


def test_code_edited_under_way_is_not_run(tiny: Path) -> None:
    failed = run(tiny, TINY_EDIT="render")
    assert failed.returncode == 1 and tasks(failed.stdout, "started") == ["extract_frames"]
    assert failed.stderr == ("privadv: render raw: its code has changed since this run began: "
                             "start the run again\n")


def test_cache_is_good_for_one_store_only(tiny: Path) -> None:
    stores = {"A": "one-bucket", "B": "another-bucket"}
    runs = [run(tiny, TINY_FAIL="render raw", PRIVADV_S3_BUCKET=stores[name]).stdout for name in "ABA"]
    assert [tasks(said, "cached") for said in runs] == [[], [], ["extract_frames"]]


def stop_in(project: Path, task: str, number: signal.Signals) -> tuple[str, str]:
    """Start a run, send it ``number`` while ``task`` works, and see every process end.

    Returns what the run said before the signal, and after.
    """
    # Whatever started the tests may have them ignore SIGINT, as shells do for background jobs.
    process = subprocess.Popen(
        command("run", "--config", "tiny.yaml"), cwd=project, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, env={**os.environ, "TINY_HANG": task},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    before, found = "", None
    while process.stdout and not found:
        before += (line := process.stdout.readline())
        found = re.match(r"    worker (\d+) of (\d+)", line)
        assert line, before
    children = psutil.Process(process.pid).children(recursive=True)
    assert found and {int(pid) for pid in found.groups()} < {child.pid for child in children}
    assert "weed" in {child.name() for child in children}
    process.send_signal(number)
    after, _ = process.communicate(timeout=30)
    assert process.returncode == 128 + number, after
    _, alive = psutil.wait_procs(children, timeout=10)
    assert not alive
    return before, after


def test_interrupt(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PRIVADV_S3_ENDPOINT")  # the embedded server must go too
    _, after = stop_in(tiny, "extract_frames", signal.SIGINT)
    assert "    left in order\n" in after and after.endswith(
        "stopped by SIGINT: finished stages are kept, the same command goes on from there\n")
    assert ": started" not in after and "Traceback" not in after


def test_stopped_then_failing_then_mended(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PRIVADV_S3_ENDPOINT")
    before, after = stop_in(tiny, "attack gray", signal.SIGTERM)  # in a loop kfp runs tasks in other threads
    finished = tasks(before, "done")
    assert "attack raw" in finished and tasks(after, "done") == [] and ": started" not in after

    failed = run(tiny, TINY_FAIL="attack gray")
    assert failed.returncode == 1
    assert "    privadv: attack: the word is wrong: choose another\n" in failed.stdout
    assert re.fullmatch(r"privadv: attack gray failed after .* \(exit code 2\): .*\n", failed.stderr)
    assert "Traceback" not in failed.stdout
    assert (tasks(failed.stdout, "cached"), tasks(failed.stdout, "started")) == (finished, ["attack gray"])

    mended = run(tiny)
    assert mended.returncode == 0, mended.stdout + mended.stderr
    assert tasks(mended.stdout, "cached") == finished
    assert tasks(mended.stdout, "done") == sorted({*ALL, "report"} - {*finished})


def test_forced_stage_starts_afresh_and_the_cluster_section_concerns_no_cache(tiny: Path) -> None:
    assert run(tiny).returncode == 0
    forced = run(tiny, "--rerun", "attack", "--set", "cluster.version=v9", "--set", "cluster.cpu_stages.cpu=2")
    attacks = [row for row in ROWS if row.startswith("attack")]
    assert tasks(forced.stdout, "done") == sorted([*attacks, "report"]), forced.stdout + forced.stderr
    assert tasks(run(tiny, "--rerun", "attack@1").stdout, "done") == sorted([*attacks, "report"])
    assert tasks(run(tiny, "--rerun", "attack@1").stdout, "done") == ["report"]


def test_a_task_an_attacker(tiny: Path) -> None:
    done = run(tiny, "--set", "fan_out=attacker")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "\nseed 0: raw heard 3, filter heard 3, filter:mjpeg:5 heard 3, gray heard 2, blur:4 heard 3\n" in done.stdout
    rows = ("raw", "filter", "filter:mjpeg:5", "gray", "blur:4")
    fitted = [f"fit_reader {row} {name}" for row in rows for name in ("target", "one", "two")]
    fitted.remove("fit_reader gray two")
    others = [f"{stage} {row}" for stage in ("render", "list_readers", "join_readers") for row in rows]
    assert tasks(done.stdout, "done") == sorted([*list(SIGNATURES)[:5], *others, *fitted, "report"])
    again = run(tiny, "--set", "fan_out=attacker")
    assert tasks(again.stdout, "started") == ["report"]


ONE_STAGE = '''
import json, os, sys
from pathlib import Path
import pipeline as whole
from components.one_stage import define_one
clips, = (path for path in Path(".privadv/pipeline").glob("**/extract-frames/clips"))
with whole.LocalRunner() as runner, whole.Workspace(Path(".privadv")) as workspace:
    os.environ.update(workspace.environment())
    done = runner.run(define_one(whole.render, whole.Cluster(), []), {
        "config": '{"word": "alone"}', "seed": 0, "row": "blur:9", "clips_uri": str(clips.resolve()), "rerun": ""},
        workspace.pipeline_root, workspace.cache / "alone")
'''


def test_one_stage_takes_manifests_that_a_run_left(tiny: Path) -> None:
    assert run(tiny).returncode == 0
    alone = subprocess.run([sys.executable, "-c", ONE_STAGE], cwd=tiny, text=True, capture_output=True)
    assert alone.returncode == 0, alone.stdout + alone.stderr
    assert "    render says alone\n" in alone.stdout and "render blur:9: done" in alone.stdout
    found = next((tiny / ".privadv" / "pipeline").glob("privadv-render-*/**/rendered"))  # kfp adds the time
    assert json.loads(found.read_text())["row"] == "blur:9" and json.loads(found.read_text())["heard"]


def test_seeds_that_are_none_are_refused_with_the_usage(tiny: Path) -> None:
    done = run(tiny, "--seeds", "a,b")
    assert done.returncode == 2 and "argument --seeds: 'a,b' names no seeds: write numbers" in done.stderr
    done = run(tiny, "--seeds", "1,0,1")
    assert done.returncode == 2 and "argument --seeds: '1,0,1' names a seed twice" in done.stderr


@pytest.mark.parametrize(("arguments", "complaint"), [
    (["--set", "attack.wort=x"], "tiny.yaml and --set: unknown key 'attack.wort'"),
    (["--set", "attack"], "--set attack: write section.key=value"),
    (["--set", "name.first=x"], "'name' is no section"),
    (["--set", "rows=[raw, gray]"], "name raw, filter and a baseline"),
    (["--set", "rows=[raw, filter]"], "name raw, filter and a baseline"),
    (["--sweep", "rows=[raw, filter, gray], [raw, filter]"], "name raw, filter and a baseline"),
    (["--set", "name=2024-13-45"], "--set name=2024-13-45: the value is no plain YAML (month must be in 1..12): mend it"),
    (["--sweep", "name=2024-13-45"], "--sweep name=2024-13-45: write section.key=value,value,..."),
    (["--rerun", "atack"], "'atack' is no stage"),
    (["--rerun", "attack@a b"], "write the stages and a new mark, such as attack@2"),
    (["--config", "absent.yaml"], "absent.yaml: cannot read"),
])
def test_mistake_is_one_line(tiny: Path, arguments: list[str], complaint: str) -> None:
    done = run(tiny, *arguments)
    assert done.returncode == 2 and done.stdout == ""
    assert complaint in done.stderr and done.stderr.count("\n") == 1
    assert not (tiny / ".privadv").exists()
