"""The spool folder of one open stage and the process that delivers it."""

from __future__ import annotations

import fcntl
import os
import re
import subprocess
import sys
import tempfile
import uuid
from pathlib import Path
from typing import Self

from privadv.console import say
from privadv.errors import PrivadvError, without_credentials
from privadv.place import DATABASE, workspace
from privadv.store import Store
from privadv.tracking.leftovers import OWNER, State, keep, keep_abandoned

LOG = "delivery.log"
QUICK = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "5",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "0",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "GIT_PYTHON_REFRESH": "quiet",
}


class Session:
    """One spool folder, owned while this process or the delivery process it starts lives.

    Raises:
        PrivadvError: PRIVADV_TRACKING_WAIT is malformed, or the folder cannot be made.
    """

    def __init__(self, store: Store) -> None:
        self._store, self._wait, self._uri = store, _wait_seconds(), _tracking_uri()
        root = _spool_root()
        keep_abandoned(root, store)
        try:
            self.folder, self._owner = _claim_folder(root)
        except OSError as error:
            raise PrivadvError(f"{root}: cannot be written ({error.strerror}): "
                               "set PRIVADV_WORKSPACE to a folder that can") from None
        self._process = self._start() if self._uri else None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Wait a bounded time for the delivery; keep the rest in the store, and say so in one line."""
        try:
            problem = self._stop()
            stuck = State.of(self.folder).stuck
            kept = keep(self.folder, self._store)
        except (PrivadvError, OSError) as error:
            say(f"tracking: not everything may have reached MLflow, nor the store ({error}): "
                f"the next stage on this machine sends what lies in {self.folder}")
            return
        finally:
            os.close(self._owner)
        if kept:
            place = f"MLflow at {without_credentials(self._uri)}" if self._uri else "MLflow"
            say(f"tracking: {kept} did not reach {place} ({problem}): "
                "the next stage that reaches it sends them")
        if stuck:
            say(f"tracking: MLflow refused again what an earlier stage left in the store: {stuck}")

    def _start(self) -> subprocess.Popen[bytes] | None:
        package_root = str(Path(__file__).parents[2])
        paths = os.pathsep.join(filter(None, (package_root, os.environ.get("PYTHONPATH"))))
        environment = {**os.environ, **QUICK, "MLFLOW_TRACKING_URI": str(self._uri), "PYTHONPATH": paths}
        command = [sys.executable, "-m", "privadv.tracking.delivery", str(self.folder), str(self._wait)]
        with (self.folder / LOG).open("wb") as log:
            try:
                # A session of its own, because the signal that ends a training must not end its last words.
                return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=log, stderr=log,
                                        env=environment, pass_fds=(self._owner,), start_new_session=True)
            except OSError as error:
                log.write(str(error).encode())
                return None

    def _stop(self) -> str:
        """End the delivery and return what stood in its way last."""
        if not self._uri:
            return "MLFLOW_TRACKING_URI is not set"
        if self._process:
            try:
                # A byte, because a forked worker that still lives would keep the pipe from ending.
                self._process.communicate(b".", self._wait)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
                return State.of(self.folder).problem or f"not done within {self._wait:g} s"
            if self._process.returncode == 0:
                return State.of(self.folder).problem or "written too late"
            if self._process.returncode < 0:
                return "its delivery was killed"
        log = (self.folder / LOG).read_text(errors="replace").strip().splitlines()
        return without_credentials("".join(log[-1:]))[:160]


def _spool_root() -> Path:
    workspace = os.environ.get("PRIVADV_WORKSPACE")
    return Path(workspace or Path(tempfile.gettempdir(), f"privadv-{os.getuid()}")).absolute() / "spool"


def tracking_uri() -> str:
    """MLFLOW_TRACKING_URI, else the database of the workspace."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{workspace().absolute() / DATABASE}"


def _tracking_uri() -> str | None:
    known = os.environ.get("PRIVADV_WORKSPACE") or os.environ.get("MLFLOW_TRACKING_URI")
    return tracking_uri() if known else None


def _wait_seconds() -> float:
    text = os.environ.get("PRIVADV_TRACKING_WAIT") or "20"
    if not re.fullmatch(r"\d+(\.\d+)?", text):
        raise PrivadvError(f"PRIVADV_TRACKING_WAIT = '{text}' is no number of seconds: mend it")
    return float(text)


def _claim_folder(root: Path) -> tuple[Path, int]:
    name = uuid.uuid4().hex[:12]
    fresh = root / f".{name}"
    root.mkdir(parents=True, exist_ok=True)
    fresh.mkdir(mode=0o700)
    owner = os.open(fresh / OWNER, os.O_CREAT | os.O_RDWR)
    fcntl.flock(owner, fcntl.LOCK_EX)
    # Under its final name a folder that nobody owns is abandoned; so it gets that name once it is owned.
    return fresh.rename(root / name), owner
