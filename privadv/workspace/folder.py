"""Everything one machine keeps between runs, in one folder that one run at a time may use."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from privadv.errors import PrivadvError
from privadv.leaving import leave
from privadv.place import ARTIFACTS, CONTAINERS, DATABASE
from privadv.store import Store
from privadv.workspace.mlflow_server import MlflowServer
from privadv.workspace.seaweed import SeaweedServer

PASSED_ON = ("PRIVADV_S3_ENDPOINT", "PRIVADV_S3_BUCKET", "PRIVADV_S3_REGION", "AWS_ACCESS_KEY_ID",
             "AWS_SECRET_ACCESS_KEY")

LEFT = ("pipeline", "cache", "videos", "reports", "s3", "spool", "comparison", f"{DATABASE}*", ARTIFACTS, "mlflow.log")
"""What runs and the commands that look at them leave in a workspace, besides its lock."""


class Workspace:
    """The locked local state of a run and the servers it talks to; a context manager.

    Entering takes the lock and starts the embedded S3 server, unless PRIVADV_S3_ENDPOINT names another one.
    Where stages do not see this disk (``apart``), an MLflow server stands before MLflow's database, unless
    MLFLOW_TRACKING_URI names another one. Leaving, also by SIGINT or SIGTERM, stops them; their data stays.
    Enter it in the main thread.
    """

    def __init__(self, folder: Path, apart: bool = False) -> None:
        self.folder, self._apart = folder.resolve(), apart
        self.pipeline_root = self.folder / "pipeline"
        self.cache = self.folder / "cache"
        self.videos = self.folder / "videos"
        self.reports = self.folder / "reports"
        self._server: SeaweedServer | None = None
        self._tracking = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{self.folder / DATABASE}"
        self._held = contextlib.ExitStack()

    def __enter__(self) -> Self:
        """Raises:
            PrivadvError: another run holds the folder, it cannot be written, S3 does not answer, or MLflow
                is nowhere that stages reach.
        """
        with contextlib.ExitStack() as held:
            _make_folders(self.folder, self.pipeline_root, self.cache, self.videos, self.reports)
            held.enter_context(_locked(self.folder))
            held.enter_context(_sigterm_as_exit())
            if not os.environ.get("PRIVADV_S3_ENDPOINT"):
                server = self._server = SeaweedServer(self.folder / "s3")
                held.callback(server.stop)
                server.start()
            Store.from_environment(self._s3())
            if self._apart:
                self._tracking = held.enter_context(_reachable_tracking(self.folder))
            self._held = held.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self._held.close()

    def environment(self) -> dict[str, str]:
        """What the processes of this run need. It holds the S3 credentials: never print it."""
        return {**self._s3(), "MLFLOW_TRACKING_URI": self._tracking, "PRIVADV_WORKSPACE": str(self.folder)}

    def check(self) -> None:
        """For when a stage has failed: raises PrivadvError if the embedded server has died."""
        if self._server is not None:
            self._server.check()

    def _s3(self) -> dict[str, str]:
        if self._server is not None:
            return self._server.environment()
        return {name: os.environ[name] for name in PASSED_ON if name in os.environ}


def with_store(folder: Path) -> Path:
    """``folder``, if runs have a store there or PRIVADV_S3_ENDPOINT names another one.

    Raises:
        PrivadvError: neither is the case.
    """
    if not os.environ.get("PRIVADV_S3_ENDPOINT") and not (folder / "s3").is_dir():
        raise PrivadvError(f"{folder} holds no store: name another --workspace, or set PRIVADV_S3_ENDPOINT")
    return folder


def remove_runs(folder: Path) -> bool:
    """Remove all that runs have left in the workspace ``folder``, those in containers too; whether there was one.

    What is not theirs stays, as does the lock.

    Raises:
        PrivadvError: a run is using it.
    """
    if not (folder / "lock").exists():
        return False
    with _locked(folder):
        remove_runs(folder / CONTAINERS)
        for path in [path for name in LEFT for path in folder.glob(name)]:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
    return True


def _make_folders(*folders: Path) -> None:
    for folder in folders:
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise PrivadvError(f"{folder}: cannot make this folder of the workspace ({error.strerror}): "
                               "choose another place") from None


@contextlib.contextmanager
def _reachable_tracking(folder: Path) -> Iterator[str]:
    named = os.environ.get("MLFLOW_TRACKING_URI")
    if named:
        if not named.startswith(("http://", "https://")):
            raise PrivadvError("MLFLOW_TRACKING_URI names something that containers do not see: name a server, "
                               "http://..., or unset it")
        yield named
        return
    server = MlflowServer(folder)
    try:
        server.start()
        yield server.uri
    finally:
        server.stop()


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    with contextlib.ExitStack() as held:
        try:
            # Never unlinked: a second run could otherwise lock a file of the same name that nobody else sees.
            lock = held.enter_context(open(folder / "lock", "a+", encoding="ascii"))
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = (folder / "lock").read_text().strip() or "(starting)"
            raise PrivadvError(f"{folder} is in use by process {holder}: wait until that one ends, "
                               "or stop it") from None
        except OSError as error:
            raise PrivadvError(f"{folder}/lock: cannot be locked ({error.strerror}): check the rights, "
                               "and that it lies on a local disk") from None
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        yield


@contextlib.contextmanager
def _sigterm_as_exit() -> Iterator[None]:
    """SIGTERM unwinds the stack as Ctrl-C does, so that what is held is let go; another handler stays."""
    ours = (threading.current_thread() is threading.main_thread()
            and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL)
    if ours:
        signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        if ours:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
