"""The images as their files describe them, and what `make images` asks of a builder: nothing here builds one."""

import ast
import json
import os
import re
import shutil
import subprocess
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
TRAINING = (*(f"privadv.stages.{path.stem}" for path in (PROJECT / "privadv" / "stages").glob("[a-z]*.py")),
            "privadv.tracking.delivery")
# Which distribution a module comes from, where the names differ.
DISTRIBUTIONS = {"PIL": "pillow", "yaml": "pyyaml", "mlflow": "mlflow-skinny", "skimage": "scikit-image",
                 "sklearn": "scikit-learn"}


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
    assert [words[1] for words in used if words[0] == "USER"][-1] == "10001:10001"
    run = [" ".join(words) for words in used if words[0] == "RUN"]
    assert run and not [line for line in run if "apt" in line], "only wheels go in, so there is no compiler"
    labels = " ".join(" ".join(words[1:]) for words in used if words[0] == "LABEL")
    for label in ("title", "description", "licenses", "version", "revision"):
        assert f"org.opencontainers.image.{label}=" in labels
    assert f'title="privadv/{target}"' in labels


def test_four_images_share_the_layers_of_all_wheels() -> None:
    made_from = parents()
    trained = STAGE_IMAGES - {"extract"}
    assert {made_from[image] for image in trained} == {"train"} and made_from["train"] == "torch"
    for image in trained:
        assert {words[0] for words in instructions(image)} - {words[0] for words in instructions("train")} == set()
    locks = [word for words in instructions("torch") if words[0] == "COPY" for word in words if word.endswith(".lock")]
    assert locks == ["docker/torch.lock"], "another wheel must not renew the layer of torch"


@pytest.mark.parametrize("target", ["extract", "train", "mlflow"])
def test_an_image_is_tried_as_soon_as_it_is_built(target: str) -> None:
    words = [words for words in instructions(target) if words[0] in ("COPY", "RUN")]
    assert words[-1][0] == "RUN" and "import" in " ".join(words[-1])


def test_wheels_only_and_no_secret_stays() -> None:
    script = (DOCKER / "install.sh").read_text()
    installs = [line for line in script.splitlines() if "-m pip" in line]
    assert len(installs) == 2
    assert all("--only-binary :all:" in line and "--no-deps" in line for line in installs)
    for words in dockerfile():
        assert words[0] != "ENV" or not re.search(r"(?i)token|password|secret_|access_key", " ".join(words))
        if words[0] == "RUN" and "/locks/install.sh" in words:
            assert {"--mount=type=secret,id=pip", "--mount=type=secret,id=ca"} <= set(words)


@pytest.mark.parametrize("lock", ["extract", "train", "torch", "kfp"])
def test_images_hold_the_versions_that_the_tests_ran_with(lock: str) -> None:
    tested = pins("requirements.lock")
    assert {name: found for name, found in pins(f"docker/{lock}.lock").items()
            if found != tested.get(name)} == {}


def test_the_server_is_of_the_clients_version() -> None:
    assert pins("docker/mlflow.lock")["mlflow"] == pins("requirements.lock")["mlflow"]


def test_every_lock_has_what_was_asked_for() -> None:
    for lock in ("extract", "train", "mlflow"):
        asked = [line for line in (DOCKER / f"{lock}.in").read_text().split("\n") if line and line[0] != "-"]
        held = set(pins(f"docker/{lock}.lock")) | (set(pins("docker/torch.lock")) if lock == "train" else set())
        assert set(asked) <= held


def test_the_extraction_image_has_no_torch() -> None:
    heavy = re.compile(r"torch|nvidia|cuda|triton|matplotlib|scipy|pandas|pyarrow")
    assert [name for name in pins("docker/extract.lock") if heavy.search(name)] == []


@pytest.mark.parametrize(("locks", "modules"), [(["extract"], EXTRACTION), (["train", "torch"], TRAINING)])
def test_stages_import_only_what_their_image_has(locks: list[str], modules: tuple[str, ...]) -> None:
    installed = {"privadv"}.union(*(pins(f"docker/{lock}.lock") for lock in locks))
    missing = {}
    for module in modules:
        for path in imported_files(module):
            for name in third_party(path):
                if DISTRIBUTIONS.get(name, name.replace("_", "-")) not in installed:
                    missing.setdefault(name, []).append(path.relative_to(PROJECT).as_posix())
    assert missing == {}


def test_importing_extraction_imports_no_torch() -> None:
    code = "import sys, privadv.stages.extract_frames; print(sorted({'torch', 'torchvision'} & set(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, text=True, capture_output=True, check=True)
    assert run.stdout == "[]\n"


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


# Stands in for a builder: writes down how it was called, and the digests that a registry would tell.
BUILDER = '''#!{python}
import json, os, pathlib, sys
arguments = sys.argv[1:]
with open("{log}", "a") as log:
    log.write(json.dumps([pathlib.Path(sys.argv[0]).name, *arguments]) + chr(10))
digest = "sha256:" + "1" * 64
if "--digestfile" in arguments:
    pathlib.Path(arguments[arguments.index("--digestfile") + 1]).write_text(digest)
if "--metadata-file" in arguments:
    images = {{"extract": {{"containerimage.digest": digest}}}} if "--push" in arguments else {{}}
    pathlib.Path(arguments[arguments.index("--metadata-file") + 1]).write_text(json.dumps(images))
sys.exit({code} if "build" in arguments[:1] or "bake" in arguments else {plugin})
'''


class Building:
    """A copy of docker/ in which docker and podman are stand-ins."""

    def __init__(self, folder: Path) -> None:
        self.project, self.bin, self.log = folder / "project", folder / "bin", folder / "log"
        shutil.copytree(DOCKER, self.project / "docker")
        self.bin.mkdir()
        (self.bin / "env").symlink_to("/usr/bin/env")

    def install(self, name: str, code: int = 0, plugin: int = 0) -> None:
        text = BUILDER.format(python=sys.executable, log=self.log, code=code, plugin=plugin)
        (self.bin / name).write_text(text)
        (self.bin / name).chmod(0o755)

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, str(self.project / "docker" / "build.py"), *arguments], text=True,
                              capture_output=True, env={**os.environ, "PATH": str(self.bin)})

    def calls(self) -> list[list[str]]:
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    def images(self) -> dict[str, str]:
        return json.loads((self.project / "build" / "images.json").read_text())


@pytest.fixture
def building(tmp_path: Path) -> Building:
    return Building(tmp_path)


def test_podman_builds_every_image_with_the_builder_s_own_settings(building: Building, tmp_path: Path) -> None:
    building.install("podman")
    (tmp_path / "pip.conf").write_text("[global]")
    done = building.run("--version", "v1", "--pip-config", str(tmp_path / "pip.conf"), "--", "--volume", "/a:/a:ro")
    assert done.returncode == 0, done.stderr
    builds = building.calls()
    assert {call[call.index("--target") + 1] for call in builds} == STAGE_IMAGES | {"mlflow"}
    for call in builds:
        assert call[:2] == ["podman", "build"] and call[-3:] == ["--volume", "/a:/a:ro", "."]
        assert f"id=pip,src={tmp_path}/pip.conf" in call and "VERSION=v1" in call
    assert building.images() == {f"privadv/{image}": f"localhost/privadv/{image}:v1"
                                 for image in STAGE_IMAGES | {"mlflow"}}


def test_what_is_pushed_is_pinned_by_its_digest(building: Building) -> None:
    building.install("podman")
    done = building.run("--version", "v1", "--registry", "registry.example/team", "--push")
    assert done.returncode == 0, done.stderr
    assert [call[-1] for call in building.calls() if call[1] == "push"] == [
        f"registry.example/team/privadv/{image}:v1" for image in
        ("extract", "pretrain-degradation", "pretrain-models", "adversarial", "evaluate", "mlflow")]
    assert set(building.images().values()) == {f"registry.example/team/privadv/{image}@sha256:{'1' * 64}"
                                               for image in STAGE_IMAGES | {"mlflow"}}


def test_docker_bakes_where_it_has_buildx(building: Building, tmp_path: Path) -> None:
    building.install("podman")
    building.install("docker")
    (tmp_path / "ca.pem").write_text("")
    done = building.run("--version", "v1", "--registry", "registry.example", "--push",
                        "--ca-bundle", str(tmp_path / "ca.pem"))
    assert done.returncode == 0, done.stderr
    bake = building.calls()[-1]
    assert bake[:3] == ["docker", "buildx", "bake"] and "--push" in bake
    assert bake[bake.index("--set") + 1] == f"*.secrets=id=ca,src={tmp_path}/ca.pem"
    images = building.images()
    assert images["privadv/extract"] == f"registry.example/privadv/extract@sha256:{'1' * 64}"
    # This registry told no digest of the others.
    assert images["privadv/evaluate"] == "registry.example/privadv/evaluate:v1"


def test_docker_without_buildx_leaves_it_to_podman(building: Building) -> None:
    building.install("docker", plugin=1)
    building.install("podman")
    assert building.run().returncode == 0
    assert {call[0] for call in building.calls() if "build" in call} == {"podman"}


@pytest.mark.parametrize(("arguments", "said"), [
    ((), "no builder is installed: Docker with buildx, or podman"),
    (("--push",), "name the registry to push to"),
    (("--ca-bundle", "nowhere.pem"), "--ca-bundle nowhere.pem: there is no such file"),
    (("--builder", "podman"), "podman is not installed: choose another --builder"),
])
def test_what_cannot_be_built_is_said_in_one_line(
    building: Building, arguments: tuple[str, ...], said: str
) -> None:
    refused = building.run(*arguments)
    assert refused.returncode == 1 and refused.stderr.startswith(f"privadv: {said}")
    assert len(refused.stderr.splitlines()) == 1


def test_a_failed_build_leaves_the_old_list_of_images(building: Building) -> None:
    building.install("podman")
    assert building.run("--version", "v1").returncode == 0
    before = building.images()
    building.install("podman", code=125)
    failed = building.run("--version", "v2")
    assert failed.returncode == 1 and "podman build" in failed.stderr and "exit code 125" in failed.stderr
    assert building.images() == before
