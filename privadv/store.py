"""Bytes in S3, on any server that speaks it: immutable content-addressed blobs and small documents."""

from __future__ import annotations

import hashlib
import io
import os
import re
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast
from urllib.parse import urlsplit

import minio
import minio.deleteobjects
import minio.error
import pydantic
import urllib3

from privadv.cache import BlobCache
from privadv.config import Section
from privadv.errors import PrivadvError

CACHE_BYTES = 20 << 30
PART_BYTES = 64 << 20
CHUNK_BYTES = 1 << 20
DOWNLOAD_TRIES = 3
# Keys outside of this pattern are stored by some S3 servers under another name, or not at all.
PLAIN_KEY = re.compile(r"[A-Za-z0-9_=-][A-Za-z0-9._=-]{0,254}(/[A-Za-z0-9_=-][A-Za-z0-9._=-]{0,254})*")
MENDS = {"NoSuchBucket": "the bucket was removed while in use, start the run again",
         "AuthorizationHeaderMalformed": "check PRIVADV_S3_REGION"}
REFUSED = ("AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "RequestTimeTooSkewed")


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


class Store:
    """One bucket of an S3 server. Safe to share between threads, forked and spawned processes.

    Every method raises PrivadvError in one line when the server cannot be reached or refuses.
    """

    def __init__(self, endpoint: str, bucket: str, credentials: tuple[str, str], region: str = "us-east-1",
                 cache_bytes: int = CACHE_BYTES) -> None:
        """``endpoint`` is ``http(s)://host:port``; ``credentials`` are access key and secret key."""
        self.endpoint, self.bucket, self.region = endpoint, bucket, region
        self._credentials, self._cache_bytes = credentials, cache_bytes
        self._caches: dict[Path, BlobCache] = {}
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
        store = cls(endpoint.rstrip("/"), bucket or environ.get("PRIVADV_S3_BUCKET") or "privadv", (access, secret),
                    environ.get("PRIVADV_S3_REGION") or "us-east-1",
                    _cache_bytes(environ.get("PRIVADV_CACHE_BYTES")))
        if not bucket:  # one that a user misspelt is not to be made
            store._ensure_bucket()
        return store

    def __reduce__(self) -> tuple[Any, ...]:
        # A spawned worker inherits the environment; so no secret ever stands in a pickle.
        return Store.from_environment, ()

    def put(self, data: bytes | Path, folder: str = "") -> Blob:
        """Store immutable bytes (or a file's) under their sha256; stored bytes are not sent again.

        ``folder`` keeps them apart from the pipeline's blobs, as ``<folder>/<sha256>``.
        """
        blob = _identify(data)
        key = blob.key if not folder else _plain(f"{folder}/{blob.sha256}")
        with self._explained(f"store {key}"):
            if self._size(key) != blob.bytes:
                with data.open("rb") if isinstance(data, Path) else io.BytesIO(data) as stream:
                    self._client.put_object(self.bucket, key, cast(BinaryIO, stream), blob.bytes,
                                            part_size=PART_BYTES)
        return blob

    def get(self, blob: Blob, folder: str = "") -> bytes:
        """The blob's bytes, their sha256 verified; ``folder`` as it was put.

        Raises:
            PrivadvError: the object is missing or corrupt; the line names its key.
        """
        buffer = io.BytesIO()
        self._download(blob.key if not folder else f"{folder}/{blob.sha256}", blob, buffer)
        return buffer.getvalue()

    def fetch(self, blob: Blob, folder: Path) -> Path:
        """A verified file of the blob's bytes in the bounded cache ``folder``; re-used when present.

        Open it at once, and fetch again before opening it again: files unused for an hour may be evicted.

        Raises:
            PrivadvError: as for :meth:`get`.
        """
        cache = self._caches.setdefault(folder, BlobCache(folder, self._cache_bytes))
        return cache.obtain(blob.sha256, blob.bytes, lambda file: self._download(blob.key, blob, file))

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

    def _read(self, key: str) -> bytes | None:
        with self._explained(f"read {key}"):
            try:
                response = self._client.get_object(self.bucket, key)
            except minio.error.S3Error as error:
                if error.code == "NoSuchKey":
                    return None
                raise
            with response:
                return response.read()

    def write(self, key: str, data: bytes) -> None:
        """Store a small document, over what was there."""
        with self._explained(f"write {key}"):
            self._client.put_object(self.bucket, _plain(key), io.BytesIO(data), len(data))

    def upload(self, path: Path, key: str) -> bool:
        """A user's file under a key of any characters; False where the object has its bytes already.

        Its sha256 goes with it as metadata: an object that came another way is written again.
        """
        blob = _identify(path)
        with self._explained(f"upload {key}"):
            try:
                stored = self._client.stat_object(self.bucket, key)
                if stored.size == blob.bytes and (stored.metadata or {}).get("x-amz-meta-sha256") == blob.sha256:
                    return False
            except minio.error.S3Error as error:
                if error.code != "NoSuchKey":
                    raise
            self._client.fput_object(self.bucket, key, str(path), metadata={"sha256": blob.sha256},
                                     part_size=PART_BYTES)
            return True

    def keys(self, prefix: str) -> list[str]:
        """All keys that start with ``prefix``, sorted."""
        with self._explained(f"list {prefix}"):
            found = self._client.list_objects(self.bucket, prefix=prefix, recursive=True)
            return sorted(cast(str, entry.object_name) for entry in found)

    def remove(self, keys: list[str]) -> None:
        """Delete objects; keys that do not exist are no error. Never for blobs that a manifest may name."""
        doomed = [minio.deleteobjects.DeleteObject(key) for key in keys]
        with self._explained("remove objects"):
            for failed in self._client.remove_objects(self.bucket, doomed):
                raise PrivadvError(f"S3 at {self.endpoint} did not remove {failed.name} ({failed.code})")

    # The rest is how: one verified transfer each way, one client a process, one place that words errors.

    def _size(self, key: str) -> int | None:
        try:
            return self._client.stat_object(self.bucket, key).size
        except minio.error.S3Error as error:
            if error.code != "NoSuchKey":
                raise
            return None

    def _download(self, key: str, blob: Blob, sink: BinaryIO) -> None:
        found = ""
        for attempt in range(DOWNLOAD_TRIES):
            sink.seek(0)
            sink.truncate()
            with self._explained(f"get {key}"):
                try:
                    found = self._stream(key, sink)
                except minio.error.S3Error as error:
                    if error.code != "NoSuchKey":
                        raise
                    raise DamagedError(f"{key} is missing from bucket '{self.bucket}' at {self.endpoint}: "
                                       "run the stage that writes it again") from None
                except urllib3.exceptions.HTTPError:
                    # urllib3 retries a request, but not a body that breaks off.
                    if attempt + 1 == DOWNLOAD_TRIES:
                        raise
                    continue
            if found == blob.sha256:
                return
        raise DamagedError(f"{key} in bucket '{self.bucket}' at {self.endpoint} is corrupt (its sha256 is "
                           f"{found[:12]}...): remove the object and run the stage that writes it again")

    def _stream(self, key: str, sink: BinaryIO) -> str:
        digest = hashlib.sha256()
        with self._client.get_object(self.bucket, key) as response:
            for chunk in response.stream(CHUNK_BYTES):
                digest.update(chunk)
                sink.write(chunk)
        return digest.hexdigest()

    @property
    def _client(self) -> minio.Minio:
        # Sockets must not be shared with a forked child.
        if self._client_of is None or self._client_of[0] != os.getpid():
            self._client_of = os.getpid(), self._connect()
        return self._client_of[1]

    def _connect(self) -> minio.Minio:
        pool = urllib3.PoolManager(
            timeout=urllib3.Timeout(connect=5, read=60), maxsize=10,
            retries=urllib3.Retry(total=3, backoff_factor=0.2, status_forcelist=[500, 502, 503, 504]))
        try:
            url = urlsplit(self.endpoint)
            beyond = url.path or url.query or url.fragment or url.username
            if url.scheme not in ("http", "https") or not url.hostname or beyond:
                raise ValueError
            return minio.Minio(url.netloc, *self._credentials, secure=url.scheme == "https",
                               region=self.region, http_client=pool)
        except ValueError:
            # The value is not shown: someone may have put a password into it.
            raise PrivadvError("PRIVADV_S3_ENDPOINT is not of the form http://host:port or https://host:port "
                               "without a path or credentials: mend it") from None

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

    @contextmanager
    def _explained(self, what: str) -> Iterator[None]:
        place = f"S3 at {self.endpoint}, bucket '{self.bucket}'"
        try:
            yield
        except minio.error.S3Error as error:
            if error.code in REFUSED:
                raise PrivadvError(f"{place}: refused to {what} ({error.code}): check AWS_ACCESS_KEY_ID, "
                                   "AWS_SECRET_ACCESS_KEY and their rights") from None
            mend = MENDS.get(error.code or "", "is this an S3 server? see its log")
            raise PrivadvError(f"{place}: could not {what} ({error.code}, {error.message}): {mend}") from None
        except minio.error.MinioException as error:
            reason = " ".join(str(error).split())[:200]
            raise PrivadvError(f"{place}: could not {what} ({reason}): is this an S3 server? "
                               "see its log") from None
        except urllib3.exceptions.HTTPError as error:
            raise PrivadvError(f"{place}: cannot be reached to {what} ({_reason(error)}): check "
                               "PRIVADV_S3_ENDPOINT and that the server runs") from None


def _cache_bytes(text: str | None) -> int:
    if text and not text.isdecimal():
        raise PrivadvError(f"PRIVADV_CACHE_BYTES = '{text}' is no whole number of bytes: mend it")
    return int(text) if text else CACHE_BYTES


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


def _reason(error: urllib3.exceptions.HTTPError) -> str:
    cause = getattr(error, "reason", None) or error
    return str(cause).rpartition(": ")[2]
