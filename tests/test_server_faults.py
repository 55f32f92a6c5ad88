"""The embedded S3 server killed and without room: what it acknowledged is there, what it did not is not half there."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from test_store_faults import PROJECT, blob_of, whole_or_absent

import privadv.store.objects
from privadv.errors import PrivadvError
from privadv.store import Store
from privadv.workspace.seaweed import SeaweedServer

pytestmark = pytest.mark.store
KILLS = 10


def test_a_server_killed_in_the_middle_of_uploads_keeps_what_it_acknowledged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(privadv.store.objects, "PART_BYTES", 5 << 20)
    draw, acknowledged, lines = random.Random(3), {}, []
    for _ in range(KILLS):
        server = SeaweedServer(tmp_path / "s3")
        server.start()
        store = Store.from_environment(server.environment())
        for data in acknowledged.values():
            assert store.get(blob_of(data)) == data
        whole_or_absent(store, {})
        striker = threading.Timer(draw.uniform(0.05, 1.0), server._running().kill)
        striker.start()
        with pytest.raises(PrivadvError) as caught:
            for number in range(10_000):
                # Small ones, and now and then one in three parts.
                data = draw.randbytes(12 << 20 if number % 20 == 19 else draw.choice((10, 3_000, 700_000)))
                acknowledged[store.put(data).sha256] = data
        lines.append(str(caught.value))
        striker.join()
        server.stop()
    server = SeaweedServer(tmp_path / "s3")
    server.start()
    try:
        store = Store.from_environment(server.environment())
        assert all(store.get(blob_of(data)) == data for data in acknowledged.values())
        listed = whole_or_absent(store, {})
    finally:
        server.stop()
    assert all("\n" not in line and "S3 at http://127.0.0.1" in line for line in lines)
    print(f"{KILLS} kills of the server: {len(acknowledged)} acknowledged objects, {listed} listed, all whole")
    assert acknowledged


FILLING = """
import os, sys
from pathlib import Path
from privadv.errors import PrivadvError
from privadv.workspace.seaweed import SeaweedServer
from privadv.store import Store
server = SeaweedServer(Path(sys.argv[1]) / "s3")
server.start()
try:
    store, kept = Store.from_environment(server.environment()), []
    try:
        while True:
            data = os.urandom(4 << 20)
            kept.append((store.put(data), data))
    except PrivadvError as error:
        print(error)
    assert all(store.get(blob) == data for blob, data in kept)
    store.remove([blob.key for blob, _ in kept[:4]])
    listed = len(store.keys("blobs/"))
    print(len(kept), "acknowledged,", listed, "listed")
    assert all(store.get(blob) == data for blob, data in kept[4:]) and listed == len(kept) - 4
finally:
    server.stop()
"""


def test_a_server_without_room_says_so_and_loses_nothing(tmp_path: Path) -> None:
    unshare = shutil.which("unshare")
    assert unshare, "needs unshare(1) to have a small disk of its own"
    namespaces = ["-m"] if os.geteuid() == 0 else ["-r", "-m"]
    script = f"mount -t tmpfs -o size=96m none {tmp_path} && exec {sys.executable} -c \"$0\" {tmp_path}"
    done = subprocess.run([unshare, *namespaces, "sh", "-c", script, FILLING], cwd=PROJECT, capture_output=True,
                          text=True)  # fmt: skip
    assert done.returncode == 0, done.stderr
    said, count = (line for line in done.stdout.splitlines() if "S3 at" in line or "acknowledged" in line)
    assert "could not store" in said and "whether its disk is full" in said, said
    print(f"a disk of 96 MB: {count}, all whole")
