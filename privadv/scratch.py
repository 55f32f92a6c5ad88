"""Temporary folders that do not outlive their owner: gone at its end, or after a SIGKILL when the next one begins; and files
and folders that are there whole or not at all."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from privadv.errors import PrivadvError

PREFIX = "privadv-scratch-"


@contextlib.contextmanager
def scratch(below: str | None = None) -> Iterator[Path]:
    """A folder of its own ``below`` a folder, or the system's temporary one; what killed processes left there goes first.

    An owner holds a shared flock on the folder itself, which the kernel takes back with the last process that has it.

    Raises:
        PrivadvError: ``below`` is no folder.
    """
    parent = Path(below or tempfile.gettempdir())
    if not parent.is_dir():
        raise PrivadvError(f"{parent}: no such folder for what is needed for a while: make it, or set PRIVADV_SCRATCH to another")
    remove_abandoned(parent)
    folder, lock = _made(parent)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


@contextlib.contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Where ``path`` grows: it gets its name when the block is through; of a block that failed nothing is left."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield part
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def vacant(folder: Path) -> Path:
    """``folder``, where nothing is yet but perhaps an empty folder.

    Raises:
        PrivadvError: something is there.
    """
    if folder.is_symlink() and not folder.exists():
        raise PrivadvError(f"{folder}: is a link to nothing: name a new folder")
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise PrivadvError(f"{folder} is there already: name a new folder")
    return folder


@contextlib.contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """Where a new ``folder`` grows, as :func:`whole` does for a file; the block does nothing but write into it.

    Raises:
        PrivadvError: something is there already, or it cannot be made or written.
    """
    try:
        vacant(folder).parent.mkdir(parents=True, exist_ok=True)
        with scratch(str(folder.parent)) as held:
            part = held / folder.name
            part.mkdir()  # unlike the one around it, it has the rights that folders usually have
            yield part
            part.rename(folder)
    except OSError as error:
        raise PrivadvError(f"{folder}: cannot be made ({error.strerror}): name another place") from None


def hold(folder: Path | str) -> int:
    """A descriptor that keeps ``folder`` from being taken for abandoned while any process has it open."""
    lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(lock, fcntl.LOCK_SH)
    except OSError:
        os.close(lock)
        raise
    return lock


def remove_abandoned(parent: Path) -> None:
    """Remove the scratch folders below ``parent`` that nobody holds; those of other users stay."""
    for folder in parent.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):  # it is held, or not ours, or another process was faster
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder)
            finally:
                os.close(lock)


def _made(parent: Path) -> tuple[Path, int]:
    while True:
        folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
        # Before it was held, another process may have taken it for abandoned.
        with contextlib.suppress(FileNotFoundError):
            lock = hold(folder)
            if folder.exists():
                return folder, lock
            os.close(lock)
