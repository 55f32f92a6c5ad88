"""The store under fire: many writers, killed writers, slow, breaking and silent connections, full disks.

Against any S3 server (`make test-store ENDPOINT=...`); what needs a server of its own is in test_server_faults.py.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from faulty_proxy import Fault, FaultyProxy
from killing import in_a_process

import privadv.store.client
import privadv.store.objects
from privadv.checkpoints import Checkpoints
from privadv.errors import PrivadvError
from privadv.store import Blob, Store

PROJECT = Path(__file__).resolve().parent.parent
FORK = multiprocessing.get_context("fork")


def content(number: int) -> bytes:
    """Between 8 bytes and 64 kB, told by the number alone."""
    draw = random.Random(number)
    return number.to_bytes(8, "big") + draw.randbytes(draw.choice((0, 100, 5_000, 64_000)))


def blob_of(data: bytes) -> Blob:
    return Blob(sha256=hashlib.sha256(data).hexdigest(), bytes=len(data))


def whole_or_absent(store: Store, known: dict[str, int]) -> int:
    """How many listed blobs there are; every one is read and is what its name says."""
    keys = store.keys("blobs/")
    for key in keys:
        digest = key.rpartition("/")[2]
        store.get(Blob(sha256=digest, bytes=known.get(digest, 0)))
    return len(keys)


def run_all(*works: Callable[[], None]) -> None:
    children = [FORK.Process(target=work) for work in works]
    for child in children:
        child.start()
    for child in children:
        child.join()
    assert [child.exitcode for child in children] == [0] * len(children)


@pytest.mark.store
def test_a_thousand_objects_of_eight_writers_are_all_there_and_were_never_seen_half(
    store: Store, tmp_path: Path
) -> None:
    known = {blob_of(content(n)).sha256: len(content(n)) for n in range(1000)}
    done = tmp_path / "done"

    def write(writer: int) -> None:
        # An eighth each, and what the next writer writes too: both send some objects at once.
        numbers = [n for n in range(1000) if n % 8 in (writer, (writer + 1) % 8)]
        random.Random(writer).shuffle(numbers)
        for number in numbers:
            store.put(content(number))

    def watch() -> None:
        while not done.exists():
            whole_or_absent(store, known)

    watcher = FORK.Process(target=watch)
    watcher.start()
    run_all(*(lambda writer=writer: write(writer) for writer in range(8)))
    done.touch()
    watcher.join()
    assert watcher.exitcode == 0
    assert whole_or_absent(store, known) == len(known)
    assert all(store.get(blob_of(content(n))) == content(n) for n in range(1000))
    print(f"{len(known)} objects of 8 writing processes: all whole; a reader beside them never met another")


@pytest.mark.store
def test_writers_that_are_killed_lose_nothing_that_was_acknowledged(store: Store, tmp_path: Path) -> None:
    known = {blob_of(content(n)).sha256: len(content(n)) for n in range(4000)}
    draw, acknowledged, log = random.Random(1), 0, tmp_path / "acknowledged"
    for kill in range(20):

        def write(first: int = 200 * kill) -> str:
            with log.open("a", buffering=1) as stream:
                for number in range(first, first + 200):
                    store.put(content(number))
                    stream.write(f"{number}\n")
            return "all"

        in_a_process(write, draw.uniform(0.02, 0.6))
        numbers = [int(line) for line in log.read_text().splitlines()] if log.exists() else []
        for number in numbers[acknowledged:]:
            assert store.get(blob_of(content(number))) == content(number)
        acknowledged = len(numbers)
    listed = whole_or_absent(store, known)
    print(f"20 killed writers: {acknowledged} acknowledged objects, {listed} listed, all whole")
    assert acknowledged and acknowledged <= listed


@pytest.mark.store
def test_an_upload_in_parts_that_is_killed_leaves_nothing_and_can_be_done_again(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(privadv.store.objects, "PART_BYTES", 5 << 20)
    draw, left = random.Random(2), 0
    for _ in range(8):
        path = tmp_path / "shard.tar"
        path.write_bytes(draw.randbytes(16 << 20))
        began = time.monotonic()
        in_a_process(lambda path=path: store.put(path).sha256, draw.uniform(0.05, 0.5))
        assert time.monotonic() - began < 60
        left += len(store.keys("blobs/"))
        whole_or_absent(store, {})
        blob = store.put(path)
        assert store.get(blob) == path.read_bytes()
        store.remove([blob.key])
    print(f"8 uploads in 4 parts: {8 - left} killed before their end, none left a part of an object")


@pytest.mark.store
def test_a_document_that_is_written_over_is_read_old_or_new_and_nothing_between(store: Store, tmp_path: Path
                                                                                ) -> None:
    done = tmp_path / "done"
    documents = [f"{hashlib.sha256(bytes([n]) * 5000).hexdigest()}".encode() + bytes([n]) * 5000 * n for n in (1, 2, 3, 4)]
    store.write("document", documents[0])

    def write(which: int) -> None:
        while not done.exists():
            store.write("document", documents[which])

    writers = [FORK.Process(target=write, args=(which,)) for which in range(4)]
    for writer in writers:
        writer.start()
    seen = [documents.index(store.read("document") or b"") for _ in range(300)]
    done.touch()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0] * 4 and len(set(seen)) > 1
    print(f"300 reads beside 4 writers: {len(set(seen))} of 4 versions met, all whole")


@pytest.mark.store
def test_eight_processes_race_for_a_key_and_one_wins(store: Store, tmp_path: Path) -> None:
    for race in range(20):
        gate = FORK.Barrier(8)

        def attempt(who: int, race: int = race, gate=gate) -> None:
            gate.wait()
            if store.create(f"race/{race}", str(who).encode()):
                (tmp_path / f"{race}-{who}").touch()

        run_all(*(lambda who=who: attempt(who) for who in range(8)))
        (winner,) = tmp_path.glob(f"{race}-*")
        assert store.read(f"race/{race}") == winner.name.rpartition("-")[2].encode()
    print("20 races of 8 processes for one key: one winner each")


def test_a_truncated_object_is_never_taken_for_whole(store: Store) -> None:
    blob = store.put(b"0123456789" * 1000)
    store.write(blob.key, b"0123456789" * 999)
    with pytest.raises(PrivadvError, match=f"{blob.key} .*corrupt.*verify --delete.*rerun="):
        store.get(blob)


@pytest.fixture
def proxy(store_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyProxy]:
    url = urlsplit(store_environment["PRIVADV_S3_ENDPOINT"])
    proxy = FaultyProxy(str(url.hostname), url.port or 80)
    monkeypatch.setenv("PRIVADV_S3_ENDPOINT", proxy.endpoint)
    yield proxy
    proxy.close()


BIG = random.Random(0).randbytes(300_000)


def put(store: Store) -> None:
    assert store.get(store.put(BIG)) == BIG


def put_in_parts(store: Store) -> None:
    data = BIG * 20
    assert store.get(store.put(data)) == data


def document(store: Store) -> None:
    store.write("documents/x", BIG)
    assert store.read("documents/x") == BIG


def create(store: Store) -> None:
    assert store.create("epoch", b"mine") and not store.create("epoch", b"other")


def listing(store: Store) -> None:
    for number in range(3):
        store.write(f"listed/{number}", b"")
    assert store.keys("listed/") == ["listed/0", "listed/1", "listed/2"]


def removal(store: Store) -> None:
    store.write("removed", b"1")
    store.remove(["removed"])
    assert store.read("removed") is None


def checkpoints(store: Store) -> None:
    Checkpoints(store, "task").save(3, {"state": BIG})
    assert Checkpoints(store, "task").load() == (3, {"state": BIG})


USES = (put, put_in_parts, document, create, listing, removal, checkpoints)


@pytest.mark.parametrize("use", USES, ids=lambda use: use.__name__)
def test_every_request_survives_a_connection_that_ends(
    use: Callable[[Store], None], proxy: FaultyProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The n-th request, or its answer, meets a reset or an end: at once, or within its body."""
    monkeypatch.setattr(privadv.store.objects, "PART_BYTES", 5 << 20)
    faults = [Fault("request", "reset"), Fault("answer", "reset"), Fault("answer", "close", after=120),
              Fault("request", "close", after=150_000), Fault("answer", "reset", after=2_000)]  # fmt: skip
    for fault in faults:
        store = Store.from_environment()
        store._client.remove_object(store.bucket, "epoch")
        store.remove(store.keys(""))
        before, proxy.fault = proxy.struck, fault
        use(store)
        proxy.fault = None
        assert proxy.struck == before + 1 or fault.after, fault


@pytest.mark.store
@pytest.mark.parametrize("use", USES, ids=lambda use: use.__name__)
def test_every_request_survives_a_reset_of_each_of_its_connections_in_turn(
    use: Callable[[Store], None], proxy: FaultyProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever in the first 400 kB of a use a connection is reset, the use succeeds."""
    monkeypatch.setattr(privadv.store.objects, "PART_BYTES", 5 << 20)
    struck = 0
    for after in (0, 300, 700, 1_200, 2_000, 4_000, 100_000, 301_000, 303_000, 400_000):
        for side in ("request", "answer"):
            store = Store.from_environment()
            store.remove(store.keys(""))
            before, proxy.fault = proxy.struck, Fault(side, "reset", after)
            use(store)
            proxy.fault = None
            struck += proxy.struck - before
    print(f"{use.__name__}: {struck} resets survived")
    assert struck >= 5


def one_line(error: PrivadvError, *words: str) -> None:
    assert "\n" not in str(error) and all(word in str(error) for word in words), error


@pytest.mark.parametrize("use", [put, document, listing, removal], ids=lambda use: use.__name__)
@pytest.mark.parametrize("side", ["request", "answer"])
def test_connections_that_always_reset_are_given_up_in_one_line(
    use: Callable[[Store], None], side, proxy: FaultyProxy
) -> None:
    store = Store.from_environment()
    proxy.fault = Fault(side, "reset", times=float("inf"))
    with pytest.raises(PrivadvError) as caught:
        use(store)
    one_line(caught.value, f"S3 at {proxy.endpoint}", "cannot be reached to", "PRIVADV_S3_ENDPOINT")
    # urllib3 makes four tries of a request, and the store three of what urllib3 does not repeat.
    assert 3 <= proxy.struck <= 4


def test_a_server_that_falls_silent_is_given_up_in_one_line(
    proxy: FaultyProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(privadv.store.client, "READ_SECONDS", 0.3)
    store = Store.from_environment()
    blob = store.put(BIG)
    proxy.fault = Fault("answer", "silence", times=float("inf"))
    for use in (lambda: store.keys("x"), lambda: store.get(blob), lambda: store.write("x", b"")):
        before = proxy.struck
        with pytest.raises(PrivadvError) as caught:
            use()
        one_line(caught.value, "cannot be reached to", "timed out")
        assert proxy.struck - before == 4
    proxy.fault = Fault("answer", "silence", after=100_000, times=1)
    assert store.get(blob) == BIG  # a body that stops half-way is got again


def test_a_slow_connection_is_waited_for(proxy: FaultyProxy) -> None:
    store = Store.from_environment()
    proxy.pace = 4_000, 0.005
    blob = store.put(BIG)
    assert store.get(blob) == BIG


CROWDED = """
import os, sys, types
from pathlib import Path
import numpy as np
from privadv.config import Section
from privadv.data.feeds import ClipArray
from privadv.data.manifest import Clip, Geometry
import privadv.stages.stage
from privadv.data.shards import write_shards
from privadv.stages.stage import execute
from privadv.store import Store

class Config(Section):
    pass

def run(config: Config, context, what: str) -> Config:
    folder, geometry = Path(sys.argv[1]), Geometry(frames=16, height=112, width=112)
    clips = [Clip(str(n), np.zeros(geometry.shape, np.uint8), 0, 0, "v", (0,) * 16) for n in range(4)]
    if what == "clips":
        ClipArray.write(folder / "clips.u8", clips, 4, geometry)
    else:
        write_shards(context.store, clips, "raw")
    return config

stage = types.ModuleType("privadv.stages.crowded")
stage.__dict__.update(Config=Config, run=run)
sys.modules["privadv.stages.crowded"] = stage
privadv.stages.stage.code_version = lambda stage: "code"  # it is no file of the project
for what in ("clips", "shards"):
    try:
        execute("crowded", "{}", "code", sys.argv[1] + "/output", {}, what=what)
    except SystemExit as ended:
        print(what, "ended with", ended.code)
print(sorted(path.name for path in Path(sys.argv[1]).rglob("*") if path.is_file()))
"""


@pytest.mark.store
def test_a_full_disk_of_this_machine_is_one_line_and_leaves_nothing(store: Store, tmp_path: Path) -> None:
    unshare = shutil.which("unshare")
    assert unshare, "needs unshare(1) to have a small disk of its own"
    namespaces = ["-m"] if os.geteuid() == 0 else ["-r", "-m"]
    script = f"mount -t tmpfs -o size=1m none {tmp_path} && exec {sys.executable} -c \"$0\" {tmp_path}"
    environment = {name: value for name, value in os.environ.items() if name not in ("PRIVADV_WORKSPACE",
                   "MLFLOW_TRACKING_URI")} | {"TMPDIR": str(tmp_path)}  # fmt: skip
    done = subprocess.run([unshare, *namespaces, "sh", "-c", script, CROWDED],
                          cwd=PROJECT, capture_output=True, text=True, env=environment)  # fmt: skip
    assert done.returncode == 0, done.stderr
    said = [line for line in done.stderr.splitlines() if line.startswith("privadv: crowded: ")]
    assert len(said) == 2 and all("No space left on device" in line and "free some space" in line for line in said)
    *ended, left = (line for line in done.stdout.splitlines() if not line.startswith("tracking: "))
    assert ended == [f"{what} ended with 2" for what in ("clips", "shards")] and left == "[]"
    print("a full disk met by a layout of clips and by a shard: a line each, nothing left behind")
