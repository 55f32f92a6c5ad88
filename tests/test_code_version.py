"""The code version changes with what a stage can import, and with nothing else."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from privadv.code_version import PROJECT, code_version, imported_files
from privadv.errors import PrivadvError

FILES = {
    "requirements.lock": "numpy==2.0\n",
    "privadv/__init__.py": "",
    "privadv/stages/__init__.py": "",
    "privadv/stages/stage.py": "from privadv.store import Store",
    "privadv/stages/report.py": "from privadv.stages.train import Trained\nimport privadv.pages",
    "privadv/stages/train.py": "import numpy, privadv.models.net\ndef run():\n    from privadv import late",
    "privadv/models/__init__.py": "",
    "privadv/models/net.py": "from . import layers\nfrom ..deep.deeper import *",
    "privadv/models/layers.py": "if True:\n    from privadv.deep import Thing",
    "privadv/deep/__init__.py": "class Thing: ...\n",
    "privadv/deep/deeper.py": "",
    "privadv/late.py": "from privadv.stages import train",
    "privadv/store.py": "",
    "privadv/pages.py": "",
    "privadv/other.py": "",
}
TRAIN = {
    "__init__", "stages/__init__", "stages/stage", "stages/train", "models/__init__", "models/net",
    "models/layers", "deep/__init__", "deep/deeper", "late", "store",
}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def test_finds_every_way_to_import(project: Path) -> None:
    found = imported_files("privadv.stages.train", project)
    assert {str(path.relative_to(project / "privadv").with_suffix("")) for path in found} == TRAIN


@pytest.mark.parametrize("name", sorted(FILES))
def test_changes_with_what_is_imported_only(project: Path, name: str) -> None:
    before = code_version("train", project)
    (project / name).write_text(FILES[name] + "\n# edited\n")
    imported = name == "requirements.lock" or name.removeprefix("privadv/").removesuffix(".py") in TRAIN
    assert (code_version("train", project) != before) == imported


def test_same_anywhere(project: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "project"
    project.rename(elsewhere)
    versions = {code_version("train", elsewhere)}
    elsewhere.rename(project)
    assert versions == {code_version("train", project)}


@pytest.mark.parametrize(("stage", "missing"), [("absent", "privadv/stages/absent.py"), ("train", "lock")])
def test_missing_files_are_named(project: Path, stage: str, missing: str) -> None:
    if missing == "lock":
        (project / "requirements.lock").unlink()
    with pytest.raises(PrivadvError, match=missing):
        code_version(stage, project)


def test_the_package_imports_nothing_by_computed_name() -> None:
    """Such an import would hide code from the caches. The stage runner's own is followed by name, and a rank's is the same
    stage again; the command line and a stage started alone come before any stage; a user's own detector is no part of the
    package, and its documentation says so.
    """
    dynamic = {"import_module", "__import__", "exec", "eval"}
    callers = set()
    for path in (PROJECT / "privadv").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, ast.Call):
                name = getattr(node.func, "id", None) or getattr(node.func, "attr", None)
                # `model.eval()` has no argument.
                if name in dynamic and node.args:
                    callers.add(path.relative_to(PROJECT).as_posix())
    before = {"privadv/cli.py", "privadv/stages/alone.py"}
    runners = {"privadv/stages/stage.py", "privadv/stages/rank.py"}
    assert callers == {*runners, "privadv/evaluation/masking.py", *before}
