"""kfp.local as `pipeline.py run` uses it: quiet, done at the first failure, and leaving no process behind."""

import contextlib
import functools
import logging
import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import kfp.local
from kfp.local import graph_utils, logging_utils, subprocess_task_handler
from kfp.local.orchestrator import task_executor
from kfp.local.orchestrator.orchestrator_utils import OrchestratorUtils
from kfp.local.status import Status

from privadv.code_version import code_version
from privadv.console import say
from privadv.errors import PrivadvError

PROJECT = Path(__file__).resolve().parent.parent
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
GRACE_SECONDS = 10.0
LAUNCH = "_KFP_RUNTIME=true python3"


class StageFailedError(PrivadvError):
    """A stage's process ended with an error, which it has said itself."""


class LocalRunner:
    """Runs pipelines on this machine, one task at a time, each in a process group of its own.

    Within its context SIGINT, SIGTERM and SIGHUP stop the running stage with all its processes (a second
    signal, or 10 seconds, kills them) and then raise SystemExit(128 + signal), which unwinds the rest.
    """

    def __init__(self) -> None:
        self._running = False
        self._stopped_by = 0
        self._failure = ""
        self._child: subprocess.Popen[str] | None = None
        self._label = ""
        self._exit_code: int | None = None
        self._scratch = ""

    def __enter__(self) -> "LocalRunner":
        # What is ignored stays so: it is how nohup keeps a run alive.
        self._handlers = {number: signal.signal(number, self._stop) for number in SIGNALS
                          if signal.getsignal(number) is not signal.SIG_IGN}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        if self._stopped_by:
            name = signal.Signals(self._stopped_by).name
            say(f"stopped by {name}: finished stages are kept, the same command goes on from there")

    def run(self, pipeline: Callable[..., Any], arguments: dict[str, Any], root: Path, cache: Path) -> Any:
        """Run ``pipeline``; a later run finds finished tasks by ``cache``, and their outputs in ``root``.

        Returns:
            The finished pipeline's task, with its outputs.

        Raises:
            StageFailedError: a stage failed; no further one was started.
        """
        # kfp leaves a folder in TMPDIR behind for every task.
        scratch = tempfile.TemporaryDirectory(prefix="privadv-")
        with _tamed(self._observe, self._run_child), scratch as self._scratch:
            kfp.local.init(runner=kfp.local.SubprocessRunner(use_venv=False), pipeline_root=str(root),
                           workspace_root=self._scratch, enable_caching=True, cache_root=str(cache))
            self._running = True
            try:
                return pipeline(**arguments)
            except Exception:
                if self._failure:
                    # A failure inside a loop arrives as an error of kfp's that says less.
                    raise StageFailedError(self._failure) from None
                raise
            finally:
                self._running = False
                self._leave_if_stopped()

    def _observe(self, execute: Callable[..., Any], **task: Any) -> Any:
        """One task, executed or found in the cache, between our lines. After a failure none is started."""
        self._leave_if_stopped()
        if self._failure:
            raise StageFailedError(self._failure)
        given = OrchestratorUtils.make_task_arguments(task["task_spec"].inputs, task["io_store"])
        # kfp numbers the tasks of one component: `attack-3`.
        stage = re.sub(r"-\d+$", "", task["task_name"]).replace("-", "_")
        self._label = f"{stage} {given.get('row', '')}".rstrip()
        if given["code"] != code_version(stage):
            # Its result would lie in the cache under the version that it does not come from.
            self._fail(f"{self._label}: its code has changed since this run began: start the run again")
        self._exit_code, start = None, time.monotonic()
        outputs, status = execute(**task)
        seconds = time.monotonic() - start
        self._leave_if_stopped()
        if status != Status.SUCCESS:
            self._fail(_failure(self._label, seconds, self._exit_code))
        say(f"{self._label}: " + ("cached" if self._exit_code is None else f"done in {seconds:.1f} s"))
        return outputs, status

    def _run_child(self, task: subprocess_task_handler.SubprocessTaskHandler) -> Status:
        say(f"{self._label}: started")
        path = os.pathsep.join(filter(None, [str(PROJECT), os.environ.get("PYTHONPATH")]))
        ours = {"PYTHONPATH": path, "PYTHONUNBUFFERED": "1", "TMPDIR": self._scratch}
        self._child = child = subprocess.Popen(
            _command(task.full_command), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, encoding="utf-8", errors="replace", start_new_session=True,
            env={**os.environ, **task.env_vars, **ours})
        if self._stopped_by:
            _signal_group(child, signal.SIGTERM)
        output = threading.Thread(target=_show, args=(child.stdout,), daemon=True)
        output.start()
        self._exit_code = child.wait()
        # Workers that outlive their stage would hold the pipe open, and the CPU.
        _signal_group(child, signal.SIGKILL)
        output.join()
        self._child = None
        return Status.SUCCESS if self._exit_code == 0 else Status.FAILURE

    def _stop(self, number: int, _frame: object) -> None:
        again, self._stopped_by = bool(self._stopped_by), number
        if not self._running:
            raise SystemExit(128 + number)
        if self._child:
            _signal_group(self._child, signal.SIGKILL if again else signal.SIGTERM)
            killer = threading.Timer(GRACE_SECONDS, _signal_group, (self._child, signal.SIGKILL))
            killer.daemon = True
            killer.start()

    def _fail(self, message: str) -> NoReturn:
        self._failure = message
        raise StageFailedError(message)

    def _leave_if_stopped(self) -> None:
        if self._stopped_by:
            raise SystemExit(128 + self._stopped_by)


def _command(full_command: list[str]) -> list[str]:
    """The task's command, with this Python in the shell's place: signals and exit codes are the stage's own.

    kfp would rewrite `python3` everywhere, in paths and settings too.
    """
    shell, flags, script, *rest = full_command
    if LAUNCH not in script:
        raise RuntimeError(f"kfp starts tasks in a new way, look here: {script}")
    python = f"exec env _KFP_RUNTIME=true {shlex.quote(sys.executable)}"
    return [shell, flags, script.replace(LAUNCH, python), *rest]


def _failure(label: str, seconds: float, exit_code: int | None) -> str:
    why = f"exit code {exit_code}"
    if exit_code is not None and exit_code < 0:
        why = f"killed by signal {-exit_code}, out of memory?"
    return (f"{label} failed after {seconds:.1f} s ({why}): see its message above; finished stages are kept, "
            "the same command goes on from there")


def _show(lines: Iterable[str]) -> None:
    """Print a stage's output as it comes, without what kfp's executor says before and after."""
    dumping = False
    for line in lines:
        if dumping:
            dumping = line != "}\n"
        elif line.startswith("[KFP Executor "):
            dumping = "Got executor_input" in line
        else:
            with contextlib.suppress(OSError):  # our reader has left; a full pipe would block the stage
                say("    " + line.rstrip("\n"))


def _signal_group(child: subprocess.Popen[str], number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, number)


@contextlib.contextmanager
def _tamed(observe: Callable[..., Any], run_child: Callable[..., Status]) -> Iterator[None]:
    """Put ``observe`` around each of kfp.local's tasks, and ``run_child`` in the place of its subprocess."""
    execute, sort = task_executor.execute_single_task, graph_utils.topological_sort_tasks
    seams = [
        (task_executor, "execute_single_task", functools.partial(observe, execute)),
        (subprocess_task_handler.SubprocessTaskHandler, "run", lambda task: run_child(task)),
        # kfp would choose another order in every process.
        (graph_utils, "topological_sort_tasks", lambda tasks: sort(dict(sorted(tasks.items())))),
        (logging_utils, "indented_print", contextlib.nullcontext),
        (logging_utils, "print_horizontal_line", lambda: None),
    ]
    originals = [(owner, name, getattr(owner, name)) for owner, name, _ in seams]
    disabled = logging.root.manager.disable
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.disable(logging.CRITICAL)
        for owner, name, ours in seams:
            setattr(owner, name, ours)
        try:
            yield
        finally:
            logging.disable(disabled)
            for owner, name, theirs in originals:
                setattr(owner, name, theirs)
