"""Immutable content-addressed blobs, small documents, and what has been published, in one bucket."""

from __future__ import annotations

import hashlib
import io
import os
import re
import uuid
from collections.abc import Mapping
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, cast

import minio
import minio.datatypes
import minio.deleteobjects
import minio.error
import pydantic

from privadv.config import Section
from privadv.errors import PrivadvError
from privadv.store.client import connect, explained, insistently

PART_BYTES = 64 << 20
CHUNK_BYTES = 1 << 20
DOWNLOADS = 3
# What is older than a day is sent again: gc never takes what was put within its week of grace.
FRESH_SECONDS = 86400.0
PUBLISHED = "published/"
# Keys outside of this pattern are stored by some S3 servers under another name, or not at all.
PLAIN_KEY = re.compile(r"[A-Za-z0-9_=-][A-Za-z0-9._=-]{0,254}(/[A-Za-z0-9_=-][A-Za-z0-9._=-]{0,254})*")
DIGEST = re.compile(r"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")
KEY = re.compile("[!-~]+")
REGION = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_-]{0,61}[A-Za-z0-9])?")


class DamagedError(PrivadvError):
    """A stored object is missing, or its bytes are not those that were written."""


class Blob(Section):
    """A pointer to immutable bytes: their sha256 (hex) and their number."""

    sha256: str = pydantic.Field(pattern=r"^[0-9a-f]{64}$")
    bytes: int = pydantic.Field(ge=0)

    @property
    def key(self) -> str:
        """The object's key in the bucket."""
        return f"blobs/{self.sha256[:2]}/{self.sha256}"


class Published(Section):
    """The reference that keeps what a stage has published: all that its manifest ``names``, by sha256."""

    stage: str
    row: str = ""
    names: tuple[str, ...]


@dataclass(frozen=True)
class Entry:
    """An object as the server lists it; ``age`` in seconds since it was written."""

    key: str
    bytes: int
    age: float


class Store:
    """One bucket of an S3 server. Safe to share between threads, forked and spawned processes.

    Every method raises PrivadvError in one line when the server cannot be reached or refuses.
    """

    def __init__(self, endpoint: str, bucket: str, credentials: tuple[str, str], region: str = "us-east-1") -> None:
        """``endpoint`` is ``http(s)://host:port``; ``credentials`` are access key and secret key."""
        self.endpoint, self.bucket, self.region = endpoint, bucket, region
        self._credentials = credentials
        self._client_of: tuple[int, minio.Minio] | None = None

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None, bucket: str = "") -> Store:
        """The store that PRIVADV_S3_ENDPOINT, PRIVADV_S3_BUCKET, PRIVADV_S3_REGION, AWS_ACCESS_KEY_ID and
        AWS_SECRET_ACCESS_KEY name; the bucket is created when missing. Another ``bucket`` must exist.

        Raises:
            PrivadvError: a variable is unset or malformed, the server is unreachable, or it refuses.
        """
        environ = os.environ if environ is None else environ
        required = ("PRIVADV_S3_ENDPOINT", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
        for name in required:
            if not environ.get(name):
                raise PrivadvError(f"{name} is not set: set it, or start through `pipeline.py run`, "
                                   "which brings its own S3 server")
        endpoint, access, secret = (environ[name] for name in required)
        region = environ.get("PRIVADV_S3_REGION") or "us-east-1"
        for name, value, form in (("AWS_ACCESS_KEY_ID", access, KEY), ("AWS_SECRET_ACCESS_KEY", secret, KEY),
                                  ("PRIVADV_S3_REGION", region, REGION)):
            if not form.fullmatch(value):
                # The value is not shown: it may be a secret.
                raise PrivadvError(f"{name} holds a space, a line's end or another character that it cannot have: set it again")
        store = cls(endpoint.rstrip("/"), bucket or environ.get("PRIVADV_S3_BUCKET") or "privadv", (access, secret), region)
        if not bucket:  # one that a user misspelt is not to be made
            store._ensure_bucket()
        return store

    def beside(self, bucket: str) -> Store:
        """Another bucket of the same server, which must exist."""
        return Store(self.endpoint, bucket, self._credentials, self.region)

    def __reduce__(self) -> tuple[Any, ...]:
        # Workers get the environment of their parent; so no pickle of a store holds its secret.
        return Store.from_environment, ()

    def put(self, data: bytes | Path, folder: str = "") -> Blob:
        """Store immutable bytes (or a file's) under their sha256; stored bytes are not sent again.

        ``folder`` keeps them apart from the pipeline's blobs, as ``<folder>/<sha256>``.
        """
        blob = _identify(data)
        key = blob.key if not folder else _plain(f"{folder}/{blob.sha256}")
        with self._explained(f"store {key}"):
            insistently(partial(self._put, key, blob, data))
        return blob

    def publish(self, manifest: str, stage: str, row: str = "") -> Blob:
        """Store a stage's manifest, and the reference that keeps all it names: ``published/<stage>/<sha256>``."""
        blob = self.put(manifest.encode())
        record = Published(stage=stage, row=row, names=tuple(sorted(set(DIGEST.findall(manifest)))))
        self.write(f"{PUBLISHED}{stage}/{blob.sha256}", record.canonical().encode())
        return blob

    def published(self) -> dict[str, Published]:
        """Every reference by its key.

        Raises:
            PrivadvError: one of them is damaged.
        """
        found = {key: self.read(key) for key in self.keys(PUBLISHED)}
        return {key: Published.parse(text.decode(errors="replace"), key) for key, text in found.items() if text}

    def get(self, blob: Blob, folder: str = "") -> bytes:
        """The blob's bytes, their sha256 verified; ``folder`` as it was put.

        Raises:
            PrivadvError: the object is missing or corrupt; the line names its key.
        """
        buffer = io.BytesIO()
        self._download(blob.key if not folder else f"{folder}/{blob.sha256}", blob, buffer)
        return buffer.getvalue()

    def check(self, blob: Blob) -> str:
        """What is wrong with a stored blob, in a line; nothing where it is whole."""
        try:
            self._download(blob.key, blob, None)
        except DamagedError as error:
            return str(error)
        return ""

    def create(self, key: str, data: bytes) -> bool:
        """Store a small document unless its key exists. True only for the one call that created it."""
        # The mark tells our own write from another's when its answer was lost and urllib3 sent it twice.
        mark = uuid.uuid4().hex
        headers: dict[str, Any] = {"If-None-Match": "*", "x-amz-meta-mark": mark}
        with self._explained(f"create {key}"):
            try:
                # minio's public put_object has no conditional write.
                self._client._put_object(self.bucket, _plain(key), data, headers)
                return True
            except minio.error.S3Error as error:
                if error.code != "PreconditionFailed":
                    raise
                stored = self._client.stat_object(self.bucket, key).metadata or {}
                return stored.get("x-amz-meta-mark") == mark

    def read(self, key: str) -> bytes | None:
        """A small document, None when its key does not exist."""
        return self._read(_plain(key))

    def read_foreign(self, key: str) -> bytes | None:
        """As :meth:`read`, of an object that others named: any key but one that leads elsewhere."""
        if not {"", ".", ".."}.isdisjoint(key.split("/")):
            raise PrivadvError(f"object key {key[:200]!r} leads out of its folder: rename the object")
        return self._read(key)

    def first_byte(self, key: str) -> bytes:
        """What an object begins with; nothing where it is empty or missing."""
        return self._read(_plain(key), length=1) or b""

    def write(self, key: str, data: bytes) -> None:
        """Store a small document, over what was there."""
        with self._explained(f"write {key}"):
            insistently(lambda: self._client.put_object(self.bucket, _plain(key), io.BytesIO(data), len(data)))

    def upload(self, path: Path, key: str) -> bool:
        """A user's file under a key of any characters; False where the object has its bytes already.

        Its sha256 goes with it as metadata: an object that came another way is written again.
        """
        blob = _identify(path)
        with self._explained(f"upload {key}"):
            return insistently(partial(self._upload, key, blob, path))

    def keys(self, prefix: str) -> list[str]:
        """All keys that start with ``prefix``, sorted."""
        return [entry.key for entry in self.entries(prefix)]

    def entries(self, prefix: str) -> list[Entry]:
        """All objects whose key starts with ``prefix``, sorted by it."""
        with self._explained(f"list {prefix}"):
            found = insistently(lambda: list(self._client.list_objects(self.bucket, prefix, recursive=True)))
        return sorted((_entry(one.object_name, one.size, one.last_modified) for one in found),
                      key=lambda one: one.key)

    def entry(self, key: str) -> Entry | None:
        """One object, None when its key does not exist."""
        with self._explained(f"find {key}"):
            return insistently(partial(self._entry, key))

    def remove(self, keys: list[str]) -> None:
        """Delete objects; keys that do not exist are no error. Never for blobs that a manifest may name."""
        with self._explained("remove objects"):
            insistently(partial(self._remove, keys))

    # The rest is how: one verified transfer each way, one client a process, one place that words errors.

    def _put(self, key: str, blob: Blob, data: bytes | Path) -> None:
        stored = self._entry(key)
        if stored and stored.bytes == blob.bytes and stored.age < FRESH_SECONDS:
            return
        with data.open("rb") if isinstance(data, Path) else io.BytesIO(data) as stream:
            self._client.put_object(self.bucket, key, cast(BinaryIO, stream), blob.bytes, part_size=PART_BYTES)

    def _upload(self, key: str, blob: Blob, path: Path) -> bool:
        stored = self._stat(key)
        if stored and stored.size == blob.bytes and (stored.metadata or {}).get("x-amz-meta-sha256") == blob.sha256:
            return False
        self._client.fput_object(self.bucket, key, str(path), metadata={"sha256": blob.sha256}, part_size=PART_BYTES)
        return True

    def _read(self, key: str, length: int = 0) -> bytes | None:
        def request() -> bytes | None:
            try:
                with self._client.get_object(self.bucket, key, length=length) as response:
                    return response.read()
            except minio.error.S3Error as error:
                if error.code not in ("NoSuchKey", "InvalidRange"):
                    raise
                return None

        with self._explained(f"read {key}"):
            return insistently(request)

    def _entry(self, key: str) -> Entry | None:
        found = self._stat(key)
        return found and _entry(key, found.size, found.last_modified)

    def _stat(self, key: str) -> minio.datatypes.Object | None:
        try:
            return self._client.stat_object(self.bucket, key)
        except minio.error.S3Error as error:
            if error.code != "NoSuchKey":
                raise
            return None

    def _remove(self, keys: list[str]) -> None:
        doomed = [minio.deleteobjects.DeleteObject(key) for key in keys]
        for failed in self._client.remove_objects(self.bucket, doomed):
            raise PrivadvError(f"S3 at {self.endpoint} did not remove {failed.name} ({failed.code})")

    def _download(self, key: str, blob: Blob, sink: BinaryIO | None) -> None:
        found = ""
        for _ in range(DOWNLOADS):
            with self._explained(f"get {key}"):
                try:
                    found = insistently(partial(self._stream, key, sink))
                except minio.error.S3Error as error:
                    if error.code != "NoSuchKey":
                        raise
                    raise DamagedError(f"{key} is missing from bucket '{self.bucket}' at {self.endpoint}: "
                                       f"{self._mend(key)}") from None
            if found == blob.sha256:
                return
        raise DamagedError(f"{key} in bucket '{self.bucket}' at {self.endpoint} is corrupt (its sha256 is "
                           f"{found[:12]}...): remove it with `python -m privadv.store verify --delete`, then "
                           f"{self._mend(key)}")

    def _mend(self, key: str) -> str:
        """How a blob comes back, in words."""
        digest = key.rpartition("/")[2]
        with suppress(PrivadvError):  # what is missing is to be said in any case
            for name, record in self.published().items():
                if digest in record.names or name.endswith(digest):
                    wrote = f"{record.stage} {record.row}".rstrip()
                    return f"{wrote} wrote it, so run this stage again: rerun={record.stage}"
        return "run the stage that writes it again: rerun=<stage>"

    def _stream(self, key: str, sink: BinaryIO | None) -> str:
        digest = hashlib.sha256()
        if sink:
            sink.seek(0)
            sink.truncate()
        with self._client.get_object(self.bucket, key) as response:
            for chunk in response.stream(CHUNK_BYTES):
                digest.update(chunk)
                if sink:
                    sink.write(chunk)
        return digest.hexdigest()

    @property
    def _client(self) -> minio.Minio:
        # Sockets must not be shared with a forked child.
        if self._client_of is None or self._client_of[0] != os.getpid():
            self._client_of = os.getpid(), connect(self.endpoint, self._credentials, self.region)
        return self._client_of[1]

    def _ensure_bucket(self) -> None:
        with self._explained("find the bucket"):
            try:
                if self._client.bucket_exists(self.bucket):
                    return
            except ValueError as error:
                raise PrivadvError(f"PRIVADV_S3_BUCKET '{self.bucket}': {error}") from None
            try:
                self._client.make_bucket(self.bucket)
            except minio.error.S3Error as error:
                if error.code not in ("BucketAlreadyOwnedByYou", "BucketAlreadyExists"):
                    raise

    def _explained(self, what: str) -> AbstractContextManager[None]:
        return explained(f"S3 at {self.endpoint}, bucket '{self.bucket}'", what)


def _identify(data: bytes | Path) -> Blob:
    if isinstance(data, bytes):
        return Blob(sha256=hashlib.sha256(data).hexdigest(), bytes=len(data))
    with data.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return Blob(sha256=digest, bytes=file.tell())


def _plain(key: str) -> str:
    if not PLAIN_KEY.fullmatch(key):
        raise PrivadvError(f"'{key}' is no safe object key: use letters, digits and ._=- between single /")
    return key


def _entry(key: str | None, size: int | None, modified: datetime | None) -> Entry:
    now = datetime.now(UTC)
    return Entry(cast(str, key), size or 0, (now - (modified or now)).total_seconds())
