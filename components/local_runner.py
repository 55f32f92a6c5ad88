"""kfp.local as `pipeline.py run` uses it: quiet, done at the first failure, and leaving nothing behind."""

import contextlib
import functools
import logging
import re
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import kfp.local
from kfp.local import graph_utils, logging_utils
from kfp.local.orchestrator import task_executor
from kfp.local.orchestrator.orchestrator_utils import OrchestratorUtils
from kfp.local.status import Status

from components.launcher import Child, Launcher
from components.processes import Processes
from privadv.code_version import code_version
from privadv.console import say
from privadv.errors import PrivadvError
from privadv.scratch import scratch

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
GRACE_SECONDS = 10.0


class StageFailedError(PrivadvError):
    """A stage ended with an error, which it has said itself."""


class LocalRunner:
    """Runs pipelines on this machine, one task at a time, each started by ``launcher``.

    Within its context SIGINT, SIGTERM and SIGHUP stop the running stage with all its processes (a second
    signal, or 10 seconds, kills them) and then raise SystemExit(128 + signal), which unwinds the rest.
    """

    def __init__(self, launcher: Launcher | None = None) -> None:
        self._launcher = launcher or Processes()
        self._running = False
        self._stopped_by = 0
        self._failure = ""
        self._child: Child | None = None
        self._label = ""
        self._exit_code: int | None = None

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
        with scratch() as folder, _tamed(self._observe, self._launcher.seam(self._play, str(folder))):
            kfp.local.init(runner=self._launcher.runner(root), pipeline_root=str(root), workspace_root=str(folder),
                           enable_caching=True, cache_root=str(cache))
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
        self._label = f"{stage} {given.get('row') or given.get('reader') or ''}".rstrip()
        # An importer has no code.
        if "code" in given and given["code"] != code_version(stage):
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

    def _play(self, child: Child) -> int:
        say(f"{self._label}: started")
        self._child = child
        if self._stopped_by:
            child.signal(signal.SIGTERM)
        output = threading.Thread(target=_show, args=(child.lines(),), daemon=True)
        output.start()
        try:
            self._exit_code = code = child.wait()
            output.join()
            return code
        finally:
            self._child = None
            child.close()

    def _stop(self, number: int, _frame: object) -> None:
        again, self._stopped_by = bool(self._stopped_by), number
        if not self._running:
            raise SystemExit(128 + number)
        if self._child:
            self._child.signal(signal.SIGKILL if again else signal.SIGTERM)
            killer = threading.Timer(GRACE_SECONDS, self._child.signal, (signal.SIGKILL,))
            killer.daemon = True
            killer.start()

    def _fail(self, message: str) -> NoReturn:
        self._failure = message
        raise StageFailedError(message)

    def _leave_if_stopped(self) -> None:
        if self._stopped_by:
            raise SystemExit(128 + self._stopped_by)


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


@contextlib.contextmanager
def _tamed(observe: Callable[..., Any], launch: tuple[Any, str, Callable[..., Any]]) -> Iterator[None]:
    """Put ``observe`` around each of kfp.local's tasks, and ``launch`` in the place of what starts them."""
    execute, sort = task_executor.execute_single_task, graph_utils.topological_sort_tasks
    seams = [
        (task_executor, "execute_single_task", functools.partial(observe, execute)),
        launch,
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
