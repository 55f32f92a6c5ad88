"""What every component calls, against a real store."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from privadv.checkpoints import Checkpoints
from privadv.code_version import PROJECT
from privadv.config import Section
from privadv.errors import PrivadvError
from privadv.stages import alone
from privadv.stages import stage as stage_module
from privadv.stages.stage import StageContext, execute
from privadv.store import Blob, Store


class Note(Section):
    text: str


class Config(Section):
    times: int = 1


def run(config: Config, context: StageContext, seed: int, one: Note, many: tuple[Note, ...] = (),
        maybe: Note | None = None) -> Note:
    if one.text == "wrong":
        raise PrivadvError("the text\nis wrong")
    context.tracker.metrics({"seed": seed})
    context.checkpoints.save(1, {"part": b"bytes"})
    assert context.checkpoints.load() == (1, {"part": b"bytes"})
    words = [one.text, *(note.text for note in many), maybe.text if maybe else "none"]
    return Note(text=" ".join(words) * config.times)


@pytest.fixture
def repeat(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, store: Store) -> Store:
    """A stage `repeat`, made of this module's Config and run."""
    module = types.ModuleType("privadv.stages.repeat")
    module.__dict__.update(Config=Config, run=run)
    monkeypatch.setitem(sys.modules, "privadv.stages.repeat", module)
    monkeypatch.setattr("privadv.stages.stage.code_version", lambda stage: "code")
    monkeypatch.setenv("PRIVADV_WORKSPACE", str(tmp_path))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    monkeypatch.setenv("PRIVADV_RUN", "test")
    monkeypatch.setenv("PRIVADV_TRACKING_WAIT", "0")
    return store


def play(output: Path, inputs: dict[str, Any], config: str = "{}") -> Note:
    pointer = execute("repeat", config, "code", str(output), inputs, seed=3, row="gray")
    published = Store.from_environment().get(Blob.parse(pointer, "pointer"))
    assert published == output.read_bytes()
    return Note.parse(published.decode(), "output")


def test_reads_inputs_however_they_come(repeat: Store, tmp_path: Path) -> None:
    (tmp_path / "one.json").write_text('{"text": "from-file"}')
    pointer = repeat.put(b'{"text": "from-store"}').canonical()
    inputs = {"one": str(tmp_path / "one.json"), "many": [pointer, '{"text": "from-json"}'], "maybe": None}
    assert play(tmp_path / "made" / "out", inputs).text == "from-file from-store from-json none"
    some = {"one": pointer, "maybe": '{"text": "some"}'}
    assert play(tmp_path / "out", some, '{"times": 2}').text == "from-store some" * 2


@pytest.mark.parametrize("content", [b"", b"no json", b"[]", b"\xff\xfe", b"7"])
def test_an_input_that_is_no_manifest_is_one_line(
    repeat: Store, tmp_path: Path, content: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "one.json").write_bytes(content)
    with pytest.raises(SystemExit) as ended:
        play(tmp_path / "out", {"one": str(tmp_path / "one.json")})
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("privadv: ")]
    assert ended.value.code == 2 and len(said) == 1 and "one" in said[0]


def test_resume_points_go_once_the_output_is_out(
    repeat: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Checkpoints] = []

    def checkpoints(store: Store, task: str) -> Checkpoints:
        made.append(Checkpoints(store, task))
        return made[-1]

    monkeypatch.setattr(stage_module, "Checkpoints", checkpoints)
    play(tmp_path / "out", {"one": '{"text": "x"}'})
    assert made[0].load() is None


def test_tasks_differ_by_all_that_tells_them_apart() -> None:
    def task(stage: str = "s", settings: Section = Config(), code: str = "c",  # noqa: B008
             text: str = "a", **values: str | int) -> str:
        return stage_module._task(stage, settings, code, {"one": Note(text=text), "many": ()}, values)

    tasks = [task(), task(stage="t"), task(settings=Config(times=2)), task(code="d"), task(text="b"),
             task(seed=1), task(seed=2), task(row="raw")]
    assert len(set(tasks)) == len(tasks) and task(seed=1, row="raw") == task(row="raw", seed=1)


@pytest.mark.parametrize(("inputs", "config", "complaint"), [
    ({"one": '{"text": "wrong"}'}, "{}", "the text is wrong"),
    ({"one": '{"text": "x"}'}, '{"time": 1}', "configuration of repeat: unknown key 'time'"),
    ({"one": '{"words": "x"}'}, "{}", "repeat's input one: "),
    ({"one": Blob(sha256="0" * 64, bytes=1).canonical()}, "{}", "blobs/00/"),
])
def test_mistake_is_one_line(repeat: Store, tmp_path: Path, capfd: pytest.CaptureFixture[str],
                             inputs: dict[str, str], config: str, complaint: str) -> None:
    with pytest.raises(SystemExit) as ended:
        play(tmp_path / "out", inputs, config)
    assert ended.value.code == 2
    (line,) = [line for line in capfd.readouterr().err.splitlines() if line]
    assert line.startswith("privadv: repeat: ") and complaint in line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("text", "workers"), [("3", 3), ("", len(os.sched_getaffinity(0)))])
def test_workers(monkeypatch: pytest.MonkeyPatch, text: str, workers: int) -> None:
    monkeypatch.setenv("PRIVADV_WORKERS", text)
    assert stage_module._workers() == workers


@pytest.mark.parametrize("text", ["0", "-1", "many"])
def test_senseless_workers_are_refused(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("PRIVADV_WORKERS", text)
    with pytest.raises(PrivadvError, match="PRIVADV_WORKERS"):
        stage_module._workers()


def test_components_start_without_heavy_imports() -> None:
    """A component imports what its stage needs, and no more."""
    code = "import json, sys, privadv.stages.stage; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, check=True)
    modules = set(json.loads(done.stdout))
    assert "minio" in modules
    assert not modules & {"av", "kfp", "matplotlib", "mlflow", "torch"}


def test_other_code_than_the_pipeline_s_is_refused(
    repeat: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("privadv.stages.stage.code_version", lambda stage: "another")
    with pytest.raises(SystemExit) as left:
        play(tmp_path / "out", {"one": '{"text": "word"}'})
    assert left.value.code == 2 and not (tmp_path / "out").exists()
    assert "made from other code than is here: build the images" in capfd.readouterr().err


def test_stages_on_cpu_nodes_start_without_what_they_have_no_use_for() -> None:
    stages = "import privadv.stages.render, privadv.stages.report, privadv.stages.list_readers"
    loaded = "import sys; print([one for one in ('torchvision', 'mlflow', 'torch._dynamo', 'kfp') if one in sys.modules])"
    told = subprocess.run([sys.executable, "-c", f"{stages}; {loaded}"], check=True, capture_output=True, text=True)
    assert told.stdout.strip() == "[]"


@pytest.mark.parametrize(("given", "written", "said"), [
    (["--seed", str(2**32)], "seed: 0", "--seed: key 'seed' = 4294967296"),
    (["--seed", "-1"], "seed: 0", "--seed: key 'seed' = -1"),
    ([], "seed: many", "run.yaml: key 'seed' = 'many'"),
])
def test_a_stage_alone_has_the_seeds_of_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str], given: list[str],
                                              written: str, said: str) -> None:
    file = tmp_path / "run.yaml"
    file.write_text(written)
    call = ["--config", str(file), "--input", f"clips={file}", "--output", str(tmp_path / "out.json"), "--row", "raw", *given]
    with pytest.raises(SystemExit, match="2"):
        alone.main("render", [*call, "--workspace", str(tmp_path / "workspace")])
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and said in error and not (tmp_path / "workspace").exists()
