"""What the images are, as podman has built them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import docker
import pytest

pytestmark = pytest.mark.containers

Podman = Callable[..., str]

STAGES = ("extract", "pretrain-degradation", "pretrain-models", "adversarial", "evaluate")
ALL = (*STAGES, "mlflow")
PRIVATE = ("PIP_CONFIG", "CA_BUNDLE")
# What a stage does first: every module that it needs.
IMPORTS = {
    "extract": "privadv.stages.extract_frames",
    "pretrain-degradation": "privadv.stages.pretrain_degradation",
    "pretrain-models": "privadv.stages.pretrain_target, privadv.stages.pretrain_budget",
    "adversarial": "privadv.stages.train_adversarial",
    "evaluate": "privadv.stages.render, privadv.stages.attack, privadv.stages.report",
    "mlflow": "mlflow.server, boto3, psycopg2",
}


def said(engine: docker.DockerClient, image: str, script: str, user: str | None = None) -> str:
    """What a shell in the image prints, as a stage runs there; its exit code is 0."""
    container = engine.containers.run(
        image, [script], entrypoint=["sh", "-ec"], detach=True, read_only=True, network_mode="host", user=user,
        cap_drop=["ALL"], security_opt=["no-new-privileges"], tmpfs={"/tmp": "mode=1777"})
    try:
        assert container.wait()["StatusCode"] == 0
        return container.logs().decode()  # whole only now: a stream may end before the last line
    finally:
        container.remove(force=True)


def layers(podman: Podman, image: str) -> list[str]:
    return json.loads(podman("image", "inspect", image))[0]["RootFS"]["Layers"]


@pytest.mark.parametrize("name", ALL)
def test_an_image_works_without_root_on_a_read_only_file_system(
    engine: docker.DockerClient, images: dict[str, str], name: str
) -> None:
    script = f"id -u; touch /tmp/a; ! touch /a 2> /dev/null; python3 -c 'import {IMPORTS[name]}; print(\"imported\")'"
    assert said(engine, images[f"privadv/{name}"], script).split() == ["10001", "imported"]


@pytest.mark.parametrize("name", ALL)
def test_an_image_has_no_compiler_and_installs_nothing(
    engine: docker.DockerClient, images: dict[str, str], name: str
) -> None:
    script = "command -v cc gcc clang tcc || echo none; python3 -c 'import pip' 2> /dev/null || echo no pip"
    assert said(engine, images[f"privadv/{name}"], script).splitlines() == ["none", "no pip"]


@pytest.mark.parametrize("name", ALL)
def test_an_image_tells_what_it_is(podman: Podman, images: dict[str, str], name: str) -> None:
    (image,) = json.loads(podman("image", "inspect", images[f"privadv/{name}"]))
    labels = {key.removeprefix("org.opencontainers.image."): value for key, value in image["Labels"].items()}
    assert labels["title"] == f"privadv/{name}" and labels["licenses"] == "MIT"
    assert images[f"privadv/{name}"].endswith(f":{labels['version']}") and len(labels["revision"]) == 40
    assert image["Config"]["User"] == "10001:10001"


@pytest.mark.parametrize("name", ALL)
def test_nothing_of_the_build_s_own_settings_stays(
    engine: docker.DockerClient, podman: Podman, images: dict[str, str], name: str
) -> None:
    image = images[f"privadv/{name}"]
    # Nobody's /root is open to the image's own user; root without capabilities is told of a few folders that it may not.
    script = "ls -A /run/secrets 2> /dev/null || true; find / -xdev -name pip.conf 2> /dev/null || true"
    assert said(engine, image, script, user="0:0") == ""
    described = podman("image", "inspect", image) + podman("history", "--no-trunc", image)
    files = [Path(os.environ[variable]) for variable in PRIVATE if os.environ.get(variable)]
    private = [line.strip() for file in files for line in file.read_text().splitlines() if len(line) > 20]
    assert [line for line in private if line in described] == []


def test_extraction_has_no_torch_and_is_small(
    engine: docker.DockerClient, podman: Podman, images: dict[str, str]
) -> None:
    script = "python3 -c 'import torch' 2> /dev/null || echo no torch"
    assert said(engine, images["privadv/extract"], script) == "no torch\n"
    (image,) = json.loads(podman("image", "inspect", images["privadv/extract"]))
    assert image["Size"] < 700e6


def test_five_images_cost_one_layer_of_cuda(podman: Podman, images: dict[str, str]) -> None:
    found = {name: layers(podman, images[f"privadv/{name}"]) for name in STAGES}
    large = {name: [layer for layer in found[name] if size(podman, layer) > 1e9] for name in STAGES}
    assert large.pop("extract") == []
    assert {len(of_one) for of_one in large.values()} == {1}
    assert len({layer for of_one in large.values() for layer in of_one}) == 1
    print_table(podman, {name: layers(podman, images[f"privadv/{name}"]) for name in ALL})


def size(podman: Podman, diff_id: str) -> float:
    """Unpacked bytes of one layer, as podman's storage has written them down."""
    root = Path(podman("info", "--format", "{{.Store.GraphRoot}}").strip())
    for layer in json.loads((root / "overlay-layers" / "layers.json").read_text()):
        if layer.get("diff-digest") == diff_id:
            return float(layer["diff-size"])
    raise AssertionError(f"podman does not know the layer {diff_id}")


def print_table(podman: Podman, found: dict[str, list[str]]) -> None:
    """Every image's layers in MB, and what all images take together."""
    print()
    for name, of_one in found.items():
        sizes = [size(podman, layer) / 1e6 for layer in of_one]
        print(f"privadv/{name}: {sum(sizes):.0f} MB = " + " + ".join(f"{part:.1f}" for part in sizes))
    unique = {layer for of_one in found.values() for layer in of_one}
    print(f"all together: {sum(size(podman, layer) for layer in unique) / 1e6:.0f} MB in {len(unique)} layers")
