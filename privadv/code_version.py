"""The code version of a stage: KFP's caches know a task's inputs, but not the package its code is in."""

from __future__ import annotations

import ast
import functools
import hashlib
from pathlib import Path

from privadv.errors import PrivadvError

PROJECT = Path(__file__).resolve().parent.parent


def code_version(stage: str, project: Path = PROJECT) -> str:
    """sha256 (hex) of every privadv module that ``stage`` can import, and of the locked dependencies.

    Modules are found in the source, imports inside functions included, without importing anything. An import
    by a computed name is not seen.

    Raises:
        PrivadvError: the stage's module or requirements.lock is not there.
    """
    lock = project / "requirements.lock"
    if not lock.is_file():
        raise PrivadvError(f"{lock} is missing: run from a checkout of the project")
    if _file_of(f"privadv.stages.{stage}", project) is None:
        raise PrivadvError(f"stage '{stage}' has no module privadv/stages/{stage}.py: check the name")
    digest = hashlib.sha256()
    for path in [lock, *sorted(imported_files(f"privadv.stages.{stage}", project))]:
        content = path.read_bytes()
        digest.update(f"{path.relative_to(project).as_posix()}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()


def imported_files(module: str, project: Path = PROJECT) -> set[Path]:
    """The source files of ``module``, of the stage runner and of all that they import from privadv."""
    found: set[Path] = set()
    waiting = [module, "privadv.stages.stage"]
    while waiting:
        name = waiting.pop()
        path = _file_of(name, project)
        if path is None or path in found:
            continue
        found.add(path)
        package = name if path.name == "__init__.py" else name.rpartition(".")[0]
        waiting += [name.rpartition(".")[0], *_imports(path.read_bytes(), package)]
    return found


def _file_of(name: str, project: Path) -> Path | None:
    if name.split(".")[0] != "privadv":
        return None
    base = project.joinpath(*name.split("."))
    candidates = (base.with_suffix(".py"), base / "__init__.py")
    return next((path for path in candidates if path.is_file()), None)


@functools.cache  # by content: a file may be edited while this process runs
def _imports(source: bytes, package: str) -> tuple[str, ...]:
    module = ast.parse(source)
    # What only `python -m` runs is no part of the stage.
    module.body = [node for node in module.body if not _is_main(node)]
    found: list[str] = []
    for node in ast.walk(module):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(node, package)
            # `from a import b` may name the module a.b as well as the object b of a.
            found += [base, *(f"{base}.{alias.name}" for alias in node.names)]
    return tuple(found)


def _is_main(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "__name__ == '__main__'"


def _absolute(node: ast.ImportFrom, package: str) -> str:
    if not node.level:
        return node.module or ""
    parents = package.split(".")
    return ".".join([*parents[: len(parents) - node.level + 1], *filter(None, [node.module])])
