"""The images that `make images` has written down, and podman's API on a socket of its own."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import docker
import pytest
from docker.errors import DockerException

PROJECT = Path(__file__).resolve().parents[2]
READY_SECONDS = 60.0

Podman = Callable[..., str]


@pytest.fixture(scope="session")
def podman() -> Podman:
    """Calls podman, and gives what it prints; it is never a reason to skip."""

    def call(*arguments: str) -> str:
        return subprocess.run(["podman", *arguments], check=True, text=True, stdout=subprocess.PIPE).stdout

    call("info")
    return call


@pytest.fixture(scope="session")
def images(podman: Podman) -> dict[str, str]:
    """The reference of every image, by the name that its components know."""
    return json.loads((PROJECT / "build" / "images.json").read_text())


@pytest.fixture(scope="session")
def engine(podman: Podman, tmp_path_factory: pytest.TempPathFactory) -> Iterator[docker.DockerClient]:
    """Docker's API as podman speaks it; DOCKER_HOST names it."""
    host = f"unix://{tmp_path_factory.mktemp('podman')}/podman.sock"
    service = subprocess.Popen(["podman", "system", "service", "--time", "0", host])
    before = os.environ.get("DOCKER_HOST")
    os.environ["DOCKER_HOST"] = host
    try:
        yield _answering(service)
    finally:
        os.environ.pop("DOCKER_HOST")
        if before is not None:
            os.environ["DOCKER_HOST"] = before
        service.terminate()
        service.wait()


def _answering(service: subprocess.Popen[bytes]) -> docker.DockerClient:
    deadline = time.monotonic() + READY_SECONDS
    while True:
        try:
            client = docker.from_env()
            client.ping()
            return client
        except DockerException:
            if service.poll() is not None or time.monotonic() > deadline:
                raise
            time.sleep(0.2)
