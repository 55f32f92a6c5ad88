"""A real S3 server that the whole test session shares; each test has a bucket of its own.

It is the embedded one, or the one at PRIVADV_TEST_S3_ENDPOINT with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadFileScheduling

from privadv.store import Store
from privadv.workspace.seaweed import SeaweedServer

# Tests run beside each other, where a thread that spins while it waits takes the CPU from whoever it waits for. Read when torch
# is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")


FIRST = "test_pipeline.py", "test_smoke.py", "test_configs_in_small.py"
"""The files that take longest, so that no worker begins one when the other is nearly done."""
APART = "test_pipeline.py", "test_configs_in_small.py"
"""Files of long tests that share nothing: they run beside each other."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: FIRST.index(item.path.name) if item.path.name in FIRST else len(FIRST))


class FilesTogether(LoadFileScheduling):
    """The tests of a file on one worker, but for those of APART."""

    def _split_scope(self, nodeid: str) -> str:
        return nodeid if Path(nodeid.split("::")[0]).name in APART else super()._split_scope(nodeid)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> FilesTogether | None:
    return FilesTogether(config, log) if config.getvalue("dist") == "loadfile" else None


class GivenServer:
    """A server that somebody else runs."""

    def environment(self) -> dict[str, str]:
        names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
        return {"PRIVADV_S3_ENDPOINT": os.environ["PRIVADV_TEST_S3_ENDPOINT"],
                "PRIVADV_S3_REGION": os.environ.get("PRIVADV_S3_REGION") or "us-east-1",
                **{name: os.environ[name] for name in names}}


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SeaweedServer | GivenServer]:
    """The server; do not stop it: a test that needs to breaks one of its own."""
    if os.environ.get("PRIVADV_TEST_S3_ENDPOINT"):
        yield GivenServer()
        return
    server = SeaweedServer(tmp_path_factory.mktemp("s3"))
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture
def store_environment(s3_server: SeaweedServer | GivenServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    """The variables of a fresh bucket, set for the test and the processes it starts."""
    variables = s3_server.environment() | {"PRIVADV_S3_BUCKET": f"test-{uuid.uuid4().hex[:16]}"}
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    store = Store.from_environment()
    yield variables
    if isinstance(s3_server, GivenServer):
        # What a test left under an odd key goes too; the embedded server removes a bucket with what is in it.
        for entry in store._client.list_objects(store.bucket, recursive=True):
            store._client.remove_object(store.bucket, str(entry.object_name))
    store._client.remove_bucket(store.bucket)


@pytest.fixture
def store(store_environment: dict[str, str]) -> Store:
    """A store on a fresh bucket."""
    return Store.from_environment()


@pytest.fixture(autouse=True, scope="session")
def on_the_cpu() -> None:
    """What tests compare with was computed there."""
    os.environ.setdefault("PRIVADV_DEVICE", "cpu")


@pytest.fixture(autouse=True, scope="session")
def a_busy_machine() -> None:
    """MLflow's process starts late beside other work: what is tested is that lines arrive, not when."""
    os.environ.setdefault("PRIVADV_TRACKING_WAIT", "120")


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """Tiny networks on several threads mostly wait for each other."""
    import torch

    torch.set_num_threads(1)
