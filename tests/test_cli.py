"""One command for all: each answers --help, and says a mistake in one line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from privadv.cli import COMMANDS, app

LIGHT = ("data", "report", "compare", "promote", "filter", "export", "store")
"""Commands that say how they are called before PyTorch is there."""


def call(*arguments: str) -> tuple[int, str, str]:
    done = CliRunner().invoke(app, list(arguments))
    return done.exit_code, done.stdout, done.stderr


def test_all_commands_are_listed() -> None:
    code, said, _ = call("--help")
    assert code == 0
    assert set(COMMANDS) == {"data", "weights", "import-tf", "report", "compare", "promote", "filter", "export", "store"}
    assert all(f"  {name} " in said for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(name: str) -> None:
    code, said, _ = call(name, "--help")
    assert code == 0 and said.startswith("usage: ") and "show this help" in said


def test_help_waits_for_no_library() -> None:
    """In one fresh interpreter, command after command."""
    text = f"""
import sys
from typer.testing import CliRunner
from privadv.cli import app
for name in {LIGHT}:
    assert CliRunner().invoke(app, [name, "--help"]).exit_code == 0, name
    heavy = {{"torch", "mlflow", "onnxruntime", "matplotlib", "av"}} & set(sys.modules)
    assert not heavy, (name, heavy)
"""
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=False,
                          cwd=Path(__file__).resolve().parents[1])
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("arguments", "reason"), [
    (["data", "verify", "sbu", "nowhere"], "nowhere"),
    (["data", "generate", "/dev/null/out"], "/dev/null/out/vispr"),
    (["data", "generate", "out", "--seed", "-1"], "key 'seed' = -1"),
    (["weights", "add", "nothing.bin"], "nothing.bin"),
    (["weights", "add", "folder.safetensors", "--network", "resnet18"], "folder.safetensors: Is a directory: check the path"),
    (["import-tf", "nothing", "out"], "nothing"),
    (["report", "nothing", "--output", "out"], "nothing"),
    (["compare", "no-such-experiment"], "no run yet"),
    (["promote", "no-such-filter"], "no run yet"),
    (["filter", "none.mp4", "out.mp4", "--model", "nothing"], "nothing"),
    (["export", "--onnx", "out.onnx", "--model", "nothing"], "nothing"),
    (["store", "refs"], ".privadv"),
], ids=lambda value: value[0] if isinstance(value, list) else "")
def test_a_mistake_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], reason: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder.safetensors").mkdir()
    monkeypatch.delenv("PRIVADV_S3_ENDPOINT", raising=False)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    if arguments[0] in ("weights", "report"):
        arguments = [arguments[0], "--workspace", str(tmp_path / "workspace"), *arguments[1:]]
    code, _, said = call(*arguments)
    assert code in (1, 2) and reason in said and "Traceback" not in said
    assert len([line for line in said.splitlines() if line.startswith("privadv: ")]) == 1


@pytest.mark.parametrize("arguments", [["unheard-of"], ["filter"], ["filter", "--unheard-of"], ["store", "burn"], ["data"]],
                         ids=str)
def test_a_call_that_is_none(arguments: list[str]) -> None:
    code, _, said = call(*arguments)
    assert code == 2 and "Traceback" not in said and said
