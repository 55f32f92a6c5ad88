"""A bounded folder of verified blobs, so that a shard crosses the network once and not once an epoch."""

from __future__ import annotations

import hashlib
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from privadv.errors import PrivadvError

GRACE_SECONDS = 3600.0


class BlobCache:
    """Files named by their sha256 in one folder, shared by all processes of a machine.

    The bound is soft: the least recently used files go first, but none used within ``grace`` seconds, since
    another process may be about to open it. So a path is good for opening at once; who reads the file again
    later asks for it again.
    """

    def __init__(self, folder: Path, limit: int, grace: float = GRACE_SECONDS) -> None:
        """``limit`` in bytes."""
        self._folder, self._limit, self._grace = folder, limit, grace
        self._verified: set[tuple[str, int]] = set()

    def obtain(self, sha256: str, size: int, download: Callable[[BinaryIO], None]) -> Path:
        """The path of the file with this digest; ``download`` writes verified bytes if it is missing or bad.

        Raises:
            PrivadvError: the folder cannot be written.
        """
        path = self._folder / sha256
        try:
            if not self._intact(path, sha256, size):
                self._folder.mkdir(parents=True, exist_ok=True)
                self._evict(size)
                self._write(path, download)
        except OSError as error:
            raise PrivadvError(f"{path}: cannot be kept in the cache ({error.strerror}): free some space, or "
                               "check the rights on the folder") from None
        return path

    def _intact(self, path: Path, sha256: str, size: int) -> bool:
        try:
            os.utime(path)
            found = path.stat()
            if found.st_size != size:
                return False
            # A whole read is spent once a process and file: a disk that lies is rare, an epoch is frequent.
            if (sha256, found.st_ino) not in self._verified:
                with path.open("rb") as file:
                    if hashlib.file_digest(file, "sha256").hexdigest() != sha256:
                        return False
                self._verified.add((sha256, found.st_ino))
        except FileNotFoundError:
            return False
        return True

    def _write(self, path: Path, download: Callable[[BinaryIO], None]) -> None:
        descriptor, partial = tempfile.mkstemp(dir=self._folder, prefix=".partial-")
        try:
            with os.fdopen(descriptor, "wb") as file:
                download(file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(partial, path)
        except BaseException:
            Path(partial).unlink(missing_ok=True)
            raise

    def _evict(self, incoming: int) -> None:
        files = []
        for entry in os.scandir(self._folder):
            try:
                found = entry.stat()
            except FileNotFoundError:
                continue
            files.append((found.st_mtime, found.st_size, entry.path))
        excess = sum(size for _, size, _ in files) + incoming - self._limit
        for used, size, path in sorted(files):
            if excess <= 0 or time.time() - used < self._grace:
                return
            Path(path).unlink(missing_ok=True)
            excess -= size
