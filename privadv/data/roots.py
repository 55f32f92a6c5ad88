"""Where a dataset's files lie: a folder, or the keys below a prefix of an S3 bucket."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from privadv.errors import PrivadvError
from privadv.scratch import scratch
from privadv.store import Store


@dataclass(frozen=True)
class Folder:
    """A folder and everything below it, symbolic links followed."""

    path: Path

    def names(self) -> list[str]:
        """All files as sorted ``/``-separated names below the folder.

        Raises:
            PrivadvError: a folder below cannot be listed, or a name is not UTF-8.
        """
        found, visited = [], set()
        for folder, subfolders, files in os.walk(self.path, onerror=_unlisted, followlinks=True):
            real = os.path.realpath(folder)
            if real in visited:
                subfolders.clear()  # a link to a folder above would be walked for ever
                continue
            visited.add(real)
            paths = (Path(folder, file) for file in files)
            found += [_text(path.relative_to(self.path).as_posix()) for path in paths if path.is_file()]
        return sorted(found)

    @contextmanager
    def local(self, names: Sequence[str]) -> Iterator[list[Path]]:
        """The files as paths.

        Raises:
            PrivadvError: a name leads out of the folder.
        """
        yield [self.path / _inside(name) for name in names]


@dataclass(frozen=True)
class Bucket:
    """The keys below ``prefix`` of a bucket of the configured S3 server."""

    bucket: str
    prefix: str

    def names(self) -> list[str]:
        """All objects as sorted names below the prefix.

        Raises:
            PrivadvError: the bucket cannot be listed or has nothing there.
        """
        keys = _store(self.bucket).keys(self.prefix)
        if not keys:
            raise PrivadvError(f"s3://{self.bucket}/{self.prefix} holds nothing: check bucket and prefix")
        return [key.removeprefix(self.prefix) for key in keys if not key.endswith("/")]

    @contextmanager
    def local(self, names: Sequence[str]) -> Iterator[list[Path]]:
        """The objects as files in a temporary folder, so that only what is being read takes room."""
        with scratch() as folder:
            yield [self._download(name, Path(folder, Path(_inside(name)).name)) for name in names]

    def _download(self, name: str, path: Path) -> Path:
        data = _store(self.bucket).read_foreign(self.prefix + name)
        if data is None:
            raise PrivadvError(f"s3://{self.bucket}/{self.prefix}{name} has gone meanwhile: run again")
        path.write_bytes(data)
        return path


Root = Folder | Bucket
BUCKET = re.compile(r"(?!.*(\.\.|\.-|-\.))(?!(\d+\.){3}\d+$)[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")


def open_root(root: str) -> Root:
    """The files at ``root``, a folder or ``s3://bucket/prefix``.

    Raises:
        PrivadvError: it is no folder, or no such URL.
    """
    if root.startswith("s3://"):
        bucket, _, prefix = root.removeprefix("s3://").partition("/")
        if not BUCKET.fullmatch(bucket):
            # The value is not shown: someone may have put a password into it.
            raise PrivadvError("root names no bucket: write s3://bucket/prefix, and credentials into the environment")
        return Bucket(bucket, prefix.strip("/") + "/" if prefix.strip("/") else "")
    if not Path(root).is_dir():
        raise PrivadvError(f"root '{root}' is no folder: give the dataset's folder or s3://bucket/prefix")
    return Folder(Path(root).resolve())


@cache
def _store(bucket: str) -> Store:
    return Store.from_environment(bucket=bucket)


def _inside(name: str) -> str:
    """A name that a listing, an annotation or a manifest gave, if it stays below its root."""
    if name.startswith("/") or not {"", ".", ".."}.isdisjoint(name.split("/")):
        raise PrivadvError(f"the file name {name[:200]!r} leads out of its root: remove it from the data set")
    return name


def _text(name: str) -> str:
    try:
        name.encode()
    except UnicodeEncodeError:
        raise PrivadvError(f"the file name {name!r} is not UTF-8: rename it") from None
    return name


def _unlisted(error: OSError) -> None:
    raise PrivadvError(f"{error.filename}: cannot be listed ({error.strerror}): check its permissions")
