"""The store against a real S3 server, a proxy that breaks connections off, and spoiled bytes."""

from __future__ import annotations

import contextlib
import hashlib
import http.server
import multiprocessing
import os
import pickle
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import privadv.store.objects
from privadv.errors import PrivadvError
from privadv.store import Blob, Store


def test_a_blob_is_named_by_its_content(store: Store) -> None:
    data = b"what happens, not who"
    blob = store.put(data)
    assert blob == Blob(sha256=hashlib.sha256(data).hexdigest(), bytes=len(data))
    assert store.keys("blobs/") == [f"blobs/{blob.sha256[:2]}/{blob.sha256}"]
    assert store.get(blob) == data


def test_no_bytes_are_a_blob_too(store: Store) -> None:
    assert store.get(store.put(b"")) == b""


def test_a_file_is_stored_in_parts_and_comes_back_whole(store: Store, tmp_path: Path,
                                                        monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(privadv.store.objects, "PART_BYTES", 5 << 20)
    data = os.urandom(12 << 20)
    (tmp_path / "shard.tar").write_bytes(data)
    blob = store.put(tmp_path / "shard.tar")
    assert blob.sha256 == hashlib.sha256(data).hexdigest()
    assert store.get(blob) == data


def test_stored_bytes_are_not_sent_again(store: Store) -> None:
    blob = store.put(b"first")
    store.write(blob.key, b"FIRST")
    assert store.put(b"first") == blob
    assert store.read(blob.key) == b"FIRST"


def test_an_object_of_another_size_is_sent_again(store: Store) -> None:
    blob = store.put(b"first")
    store.write(blob.key, b"fir")
    store.put(b"first")
    assert store.get(blob) == b"first"


def test_one_spoiled_byte_is_an_error_that_names_the_key(store: Store) -> None:
    blob = store.put(b"0123456789")
    store.write(blob.key, b"01234x6789")
    with pytest.raises(PrivadvError, match=f"{blob.key} .*corrupt"):
        store.get(blob)


def test_a_missing_blob_is_an_error_that_names_the_key(store: Store) -> None:
    blob = Blob(sha256="ab" * 32, bytes=3)
    with pytest.raises(PrivadvError, match=f"{blob.key} is missing from bucket '{store.bucket}'.*stage"):
        store.get(blob)


def test_documents_are_read_overwritten_listed_and_removed(store: Store) -> None:
    assert store.read("runs/a/mlflow") is None
    store.write("runs/a/mlflow", b"1")
    store.write("runs/a/mlflow", b"22")
    store.write("runs/b", b"3")
    assert store.read("runs/a/mlflow") == b"22"
    assert store.keys("runs/") == ["runs/a/mlflow", "runs/b"]
    store.remove(["runs/a/mlflow", "runs/never"])
    assert store.keys("runs/") == ["runs/b"]


@pytest.mark.parametrize("key", ["", "a//b", "/a", "a/", "../a", "a\\b", "a/" + "b" * 256, "a b", "ä"])
def test_keys_that_servers_disagree_about_are_refused(store: Store, key: str) -> None:
    for use in (store.read, lambda name: store.write(name, b"1"), lambda name: store.create(name, b"1")):
        with pytest.raises(PrivadvError, match="no safe object key"):
            use(key)


def test_create_has_one_winner_among_eight(store: Store) -> None:
    store.write("warm", b"the first write of a bucket is slow")
    with ThreadPoolExecutor(8) as pool:
        for race in range(2):
            start = threading.Barrier(8)

            def attempt(who: int, key: str, start: threading.Barrier) -> bool:
                start.wait()
                return store.create(key, f"{who}".encode())

            key = f"race/{race}"
            won = list(pool.map(attempt, range(8), [key] * 8, [start] * 8))
            assert won.count(True) == 1
            assert store.read(key) == f"{won.index(True)}".encode()


class CuttingProxy:
    """Forwards to a server; once ``allowed`` is set, so many bytes of answer pass and the connection ends."""

    def __init__(self, upstream: int) -> None:
        self.allowed: int | None = None
        self._upstream = upstream
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self._upstream))
            threading.Thread(target=self._forward, args=(client, server, False), daemon=True).start()
            threading.Thread(target=self._forward, args=(server, client, True), daemon=True).start()

    def _forward(self, source: socket.socket, sink: socket.socket, answers: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                if answers and self.allowed is not None:
                    sink.sendall(data[:self.allowed])
                    self.allowed = None
                    break
                sink.sendall(data)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def proxy(store_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[CuttingProxy]:
    proxy = CuttingProxy(int(store_environment["PRIVADV_S3_ENDPOINT"].rpartition(":")[2]))
    monkeypatch.setenv("PRIVADV_S3_ENDPOINT", f"http://127.0.0.1:{proxy.port}")
    yield proxy
    proxy.close()


def test_a_create_whose_answer_was_lost_still_knows_that_it_won(proxy: CuttingProxy) -> None:
    store = Store.from_environment()
    proxy.allowed = 0
    assert store.create("epoch", b"mine")
    assert proxy.allowed is None
    assert not store.create("epoch", b"mine")


def test_a_body_that_breaks_off_is_got_again(proxy: CuttingProxy) -> None:
    store = Store.from_environment()
    data = os.urandom(1 << 20)
    blob = store.put(data)
    proxy.allowed = 10_000
    assert store.get(blob) == data
    assert proxy.allowed is None


def _get_in_child(store: Store, inherited: object, blob: Blob) -> None:
    assert store.get(blob) == b"for all"
    assert store._client is not inherited


def test_a_forked_process_makes_its_own_connections(store: Store) -> None:
    blob = store.put(b"for all")
    fork = multiprocessing.get_context("fork")
    child = fork.Process(target=_get_in_child, args=(store, store._client, blob))
    child.start()
    assert store.get(blob) == b"for all"
    child.join(30)
    assert child.exitcode == 0


def test_a_pickled_store_holds_no_secret(store: Store, store_environment: dict[str, str]) -> None:
    pickled = pickle.dumps(store)
    assert store_environment["AWS_SECRET_ACCESS_KEY"].encode() not in pickled
    blob = store.put(b"travels")
    assert pickle.loads(pickled).get(blob) == b"travels"


@pytest.mark.parametrize("name", ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"])
def test_wrong_credentials_are_refused_in_one_line_without_them(store_environment: dict[str, str],
                                                                name: str) -> None:
    wrong = store_environment | {name: "wrong-wrong-wrong"}
    with pytest.raises(PrivadvError, match=r"refused to .*check AWS_ACCESS_KEY_ID") as caught:
        Store.from_environment(wrong)
    assert "\n" not in str(caught.value)
    assert "wrong-wrong" not in str(caught.value)
    assert store_environment["AWS_SECRET_ACCESS_KEY"] not in str(caught.value)


@pytest.mark.parametrize("name", ["PRIVADV_S3_ENDPOINT", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"])
def test_an_unset_variable_is_named(store_environment: dict[str, str], name: str) -> None:
    with pytest.raises(PrivadvError, match=f"^{name} is not set"):
        Store.from_environment({key: value for key, value in store_environment.items() if key != name})


@pytest.mark.parametrize(("name", "value", "told"), [
    ("PRIVADV_S3_ENDPOINT", "127.0.0.1:9000", "PRIVADV_S3_ENDPOINT is not of the form"),
    ("PRIVADV_S3_ENDPOINT", "http://user:pa55@127.0.0.1:9000", "PRIVADV_S3_ENDPOINT is not of the form"),
    ("PRIVADV_S3_ENDPOINT", "http://127.0.0.1:port", "PRIVADV_S3_ENDPOINT is not of the form"),
    ("PRIVADV_S3_ENDPOINT", "http://[::1", "PRIVADV_S3_ENDPOINT is not of the form"),
    ("PRIVADV_S3_ENDPOINT", "http://", "PRIVADV_S3_ENDPOINT is not of the form"),
    ("PRIVADV_S3_ENDPOINT", "http://127.0.0.1:9000/bucket", "PRIVADV_S3_ENDPOINT is not of the form"),
    ("AWS_ACCESS_KEY_ID", "AKIAKEY\n", "AWS_ACCESS_KEY_ID holds a space"),
    ("AWS_SECRET_ACCESS_KEY", " se cret", "AWS_SECRET_ACCESS_KEY holds a space"),
    ("PRIVADV_S3_REGION", "eu west!", "PRIVADV_S3_REGION holds a space"),
    ("PRIVADV_S3_BUCKET", "No_Bucket!", "PRIVADV_S3_BUCKET 'No_Bucket!'"),
])
def test_a_malformed_variable_is_named(store_environment: dict[str, str], name: str, value: str,
                                       told: str) -> None:
    with pytest.raises(PrivadvError, match=told) as caught:
        Store.from_environment(store_environment | {name: value})
    assert "pa55" not in str(caught.value)


def test_an_unreachable_endpoint_is_named(store_environment: dict[str, str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        endpoint = f"http://127.0.0.1:{listener.getsockname()[1]}"
    with pytest.raises(PrivadvError, match=rf"{endpoint}, .* cannot be reached .*refused.*ENDPOINT"):
        Store.from_environment(store_environment | {"PRIVADV_S3_ENDPOINT": endpoint})


def test_a_server_that_is_not_s3_is_told(store_environment: dict[str, str]) -> None:
    handler = http.server.BaseHTTPRequestHandler
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        endpoint = f"http://127.0.0.1:{server.server_address[1]}"
        with pytest.raises(PrivadvError, match="is this an S3 server") as caught:
            Store.from_environment(store_environment | {"PRIVADV_S3_ENDPOINT": endpoint})
        server.shutdown()
    assert "\n" not in str(caught.value)
