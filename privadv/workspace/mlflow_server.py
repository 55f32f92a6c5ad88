"""A real MLflow server for one machine, for stages that do not see its disk."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from privadv.errors import PrivadvError
from privadv.place import ARTIFACTS, DATABASE

READY_SECONDS = 120.0
SETTINGS = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
# The server has workers of its own: their group ends once whoever started it closes the pipe, or dies.
SUPERVISE = """
import os, signal, subprocess, sys, threading
def end():
    sys.stdin.buffer.read()
    os.killpg(0, signal.SIGKILL)
threading.Thread(target=end, daemon=True).start()
sys.exit(subprocess.call(sys.argv[1:], stdin=subprocess.DEVNULL))
"""


class MlflowServer:
    """The server on loopback over ``folder``, whose records `make mlflow WORKSPACE=folder` shows later."""

    def __init__(self, folder: Path) -> None:
        self.log = folder / "mlflow.log"
        self._folder, self._port = folder, _free_port()
        self.uri = f"http://127.0.0.1:{self._port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start, and return once it answers.

        Raises:
            PrivadvError: it exits, or does not answer within 120 s.
        """
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self._port),
                   "--workers", "1", "--backend-store-uri", f"sqlite:///{self._folder / DATABASE}",
                   "--serve-artifacts", "--artifacts-destination", str(self._folder / ARTIFACTS)]
        with self.log.open("wb") as log:
            self._process = process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", SUPERVISE, *command], env=os.environ | SETTINGS,
                stdin=subprocess.PIPE, stdout=log, stderr=log, start_new_session=True)
        deadline = time.monotonic() + READY_SECONDS
        while not self._answers():
            if process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise PrivadvError(f"the MLflow server does not start: read {self.log}")
            time.sleep(0.2)

    def stop(self) -> None:
        """End the server; without one running, nothing. What it acknowledged is in its database."""
        if self._process and self._process.stdin:
            self._process.stdin.close()
            self._process.wait()
        self._process = None

    def _answers(self) -> bool:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{self.uri}/health", timeout=1) as answer:
            return answer.status == 200
        return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
