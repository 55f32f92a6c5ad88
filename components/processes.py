"""A stage as a process of this machine, in this Python."""

import contextlib
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import kfp.local
from kfp.local.status import Status
from kfp.local.subprocess_task_handler import SubprocessTaskHandler

from components.launcher import Child, Seam
from privadv.scratch import hold

PROJECT = Path(__file__).resolve().parent.parent
LAUNCH = "_KFP_RUNTIME=true python3"


class Processes:
    """Starts stages in process groups of their own."""

    def runner(self, root: Path) -> kfp.local.SubprocessRunner:
        return kfp.local.SubprocessRunner(use_venv=False)

    def seam(self, play: Callable[[Child], int], scratch: str) -> Seam:
        def run(task: SubprocessTaskHandler) -> Status:
            return Status.SUCCESS if play(_start(task, scratch)) == 0 else Status.FAILURE

        return SubprocessTaskHandler, "run", run


class _Process:
    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def lines(self) -> Iterator[str]:
        assert self._process.stdout
        return iter(self._process.stdout)

    def signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)

    def wait(self) -> int:
        code = self._process.wait()
        # Workers that outlive their stage would hold the pipe open, and the CPU.
        self.signal(signal.SIGKILL)
        return code

    def close(self) -> None:
        pass


def _start(task: SubprocessTaskHandler, scratch: str) -> _Process:
    path = os.pathsep.join(filter(None, [str(PROJECT), os.environ.get("PYTHONPATH")]))
    ours = {"PYTHONPATH": path, "PYTHONUNBUFFERED": "1", "TMPDIR": scratch}
    # A stage may outlive a killed run: until its end, it keeps the folder that it works in.
    lock = hold(scratch)
    try:
        return _Process(subprocess.Popen(
            python_command(task.full_command, sys.executable), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, encoding="utf-8", errors="replace", start_new_session=True,
            pass_fds=(lock,), env={**os.environ, **task.env_vars, **ours}))
    finally:
        os.close(lock)


def python_command(full_command: list[str], python: str) -> list[str]:
    """kfp's command, with ``python`` in the shell's place: signals and exit codes are the stage's own.

    kfp would rewrite `python3` everywhere, in paths and settings too.
    """
    shell, flags, script, *rest = full_command
    if LAUNCH not in script:
        raise RuntimeError(f"kfp starts tasks in a new way, look here: {script}")
    exec_python = f"exec env _KFP_RUNTIME=true {shlex.quote(python)}"
    return [shell, flags, script.replace(LAUNCH, exec_python), *rest]
