"""The images as their files describe them: nothing here builds one."""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from privadv.code_version import imported_files

PROJECT = Path(__file__).resolve().parent.parent
DOCKER = PROJECT / "docker"
STAGE_IMAGES = {"extract", "pretrain-degradation", "pretrain-models", "adversarial", "evaluate"}
EXTRACTION = ("privadv.stages.extract_frames", "privadv.tracking.delivery")
# Which distribution a module comes from, where the names differ.
DISTRIBUTIONS = {"PIL": "pillow", "yaml": "pyyaml", "mlflow": "mlflow-skinny"}


def dockerfile() -> list[list[str]]:
    """The Dockerfile's instructions, split into words."""
    text = re.sub(r"\\\n", " ", (DOCKER / "Dockerfile").read_text())
    return [line.split() for line in text.splitlines() if line and not line.startswith("#")]


def parents() -> dict[str, str]:
    """For every target of the Dockerfile the one that it is made from."""
    return {words[3]: words[1] for words in dockerfile() if words[0] == "FROM"}


def pins(name: str) -> dict[str, set[str]]:
    """The versions that a lock names for each distribution."""
    found: dict[str, set[str]] = {}
    for line in (PROJECT / name).read_text().splitlines():
        distribution, _, version = line.partition(";")[0].strip().partition("==")
        found.setdefault(distribution, set()).add(version)
    return found


def instructions(target: str) -> Iterator[list[str]]:
    """All instructions that an image of ``target`` comes from, the target's own last."""
    current, made_from = "", parents()
    by_target: dict[str, list[list[str]]] = {}
    for words in dockerfile():
        current = words[3] if words[0] == "FROM" else current
        by_target.setdefault(current, []).append(words)
    chain = [target]
    while made_from[chain[-1]] in made_from:
        chain.append(made_from[chain[-1]])
    for name in reversed(chain):
        yield from by_target[name]


def test_every_component_has_its_image() -> None:
    named = set()
    for path in (PROJECT / "components").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.keyword) and node.arg == "base_image":
                named.add(ast.literal_eval(node.value))
    assert named == {f"privadv/{image}" for image in STAGE_IMAGES}
    assert set(parents()) >= STAGE_IMAGES
    bake = (DOCKER / "docker-bake.hcl").read_text()
    built = re.search(r"item = (\[.*\])", bake)
    assert built and set(yaml.safe_load(built[1])) == STAGE_IMAGES | {"mlflow"}


@pytest.mark.parametrize("target", [*sorted(STAGE_IMAGES), "mlflow"])
def test_an_image_runs_without_root_and_tells_what_it_is(target: str) -> None:
    used = list(instructions(target))
    assert [words[1] for words in used if words[0] == "USER"] == ["10001:10001"]
    assert not [words for words in used if words[0] == "RUN"], "a final image runs nothing, so has no compiler"
    labels = " ".join(" ".join(words[1:]) for words in used if words[0] == "LABEL")
    for label in ("title", "description", "licenses", "version", "revision"):
        assert f"org.opencontainers.image.{label}=" in labels
    assert f'title="privadv/{target}"' in labels


def test_four_images_share_one_layer_of_wheels() -> None:
    made_from = parents()
    trained = STAGE_IMAGES - {"extract"}
    assert {made_from[image] for image in trained} == {"train"}
    copied = [words for words in instructions("train") if words[:2] == ["COPY", "--from=train-wheels"]]
    assert len(copied) == 1


def test_wheels_only_and_no_secret_stays() -> None:
    script = (DOCKER / "install.sh").read_text()
    installs = [line for line in script.splitlines() if "pip" in line and " install " in line]
    assert installs
    assert all("--only-binary :all:" in line and "--no-deps" in line for line in installs)
    for words in dockerfile():
        assert words[0] != "ENV" or not re.search(r"(?i)token|password|secret_|access_key", " ".join(words))
        if words[0] == "RUN" and "/locks/install.sh" in words:
            assert {"--mount=type=secret,id=pip", "--mount=type=secret,id=ca"} <= set(words)


@pytest.mark.parametrize("lock", ["extract", "train", "kfp"])
def test_images_hold_the_versions_that_the_tests_ran_with(lock: str) -> None:
    tested = pins("requirements.lock")
    assert {name: found for name, found in pins(f"docker/{lock}.lock").items()
            if found != tested.get(name)} == {}


def test_the_server_is_of_the_clients_version() -> None:
    assert pins("docker/mlflow.lock")["mlflow"] == pins("requirements.lock")["mlflow"]


def test_every_lock_has_what_was_asked_for() -> None:
    for lock in ("extract", "train", "mlflow"):
        asked = [line for line in (DOCKER / f"{lock}.in").read_text().split("\n") if line and line[0] != "-"]
        assert set(asked) <= set(pins(f"docker/{lock}.lock"))


def test_the_extraction_image_has_no_torch() -> None:
    heavy = re.compile(r"torch|nvidia|cuda|triton|matplotlib|scipy|pandas|pyarrow")
    assert [name for name in pins("docker/extract.lock") if heavy.search(name)] == []


def test_extraction_imports_only_what_its_image_has() -> None:
    installed = set(pins("docker/extract.lock")) | {"privadv"}
    missing = {}
    for module in EXTRACTION:
        for path in imported_files(module):
            for name in third_party(path):
                if DISTRIBUTIONS.get(name, name.replace("_", "-")) not in installed:
                    missing.setdefault(name, []).append(path.relative_to(PROJECT).as_posix())
    assert missing == {}


def third_party(path: Path) -> set[str]:
    """The packages that a module imports, not from the standard library."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.partition(".")[0])
    return names - set(sys.stdlib_module_names)


def test_the_build_context_is_an_allow_list() -> None:
    lines = [line for line in (PROJECT / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]
    assert lines[0] == "*"
    assert {line[1:] for line in lines if line[0] == "!"} == {"docker", "privadv", "requirements.lock"}
