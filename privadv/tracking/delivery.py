"""The process that carries spooled runs to MLflow: ``python -m privadv.tracking.delivery FOLDER SECONDS``.

A process and not a thread, because importing mlflow and talking to it would hold the training's interpreter
for seconds. It ends when told to on its standard input, or when that ends because the training was killed.
"""

from __future__ import annotations

import io
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, ParamSpec, TypeVar

import psutil

from privadv.errors import PrivadvError
from privadv.store import Store
from privadv.tracking import spool
from privadv.tracking.leftovers import UNDELIVERED, State, refused_path
from privadv.tracking.mlflow_runs import MlflowRuns
from privadv.tracking.session import without_credentials
from privadv.tracking.system import SystemSampler

PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 3.0, 30.0
SAMPLE_SECONDS = 10.0
NICENESS = 10

P = ParamSpec("P")
T = TypeVar("T")


class Unreachable(Exception):
    """MLflow does not answer: nothing can be sent now."""


class Refused(Exception):
    """MLflow answers, but does not take this."""


class Delivery:
    """Sends what one spool folder holds, then what earlier stages left in the store."""

    def __init__(self, folder: Path, store: Store, uri: str) -> None:
        self._folder, self._store, self._runs = folder, store, MlflowRuns(uri, store)
        self._sent = dict(State.of(folder).sent)
        self._redelivered, self._refusal, self._stuck = False, "", ""

    def run_once(self) -> bool:
        """Send every complete line that is not sent yet. True if nothing stood in the way."""
        obstacle = ""
        try:
            for path in spool.run_files(self._folder):
                obstacle = self._deliver_file(path) or obstacle
            if not self._redelivered:
                self._redeliver()
        except (Unreachable, PrivadvError) as error:
            obstacle = str(error)
        self._save(obstacle)
        return not obstacle

    def _deliver_file(self, path: Path) -> str:
        """Send the rest of one file; refused lines are set aside. Returns why the run itself was refused."""
        offset = self._sent.get(path.name, 0)
        if path.stat().st_size == offset:
            return ""
        try:
            with path.open("rb") as stream:
                for batch, refusal in self._sending(stream, offset):
                    if refusal:
                        self._refusal = refusal
                        with refused_path(path).open("ab") as refused:
                            refused.writelines(batch.lines)
                    self._sent[path.name] = batch.end
                    self._save("")
        except Refused as error:
            return str(error)
        return ""

    def _redeliver(self) -> None:
        for key in sorted(self._store.keys(UNDELIVERED), key=spool.nesting):
            data = self._store.read(key)
            if data is None:  # another stage was faster
                continue
            try:
                refusals = [refusal for _, refusal in self._sending(io.BytesIO(data), 0) if refusal]
            except Refused as error:
                refusals = [str(error)]
            if refusals:
                self._stuck = f"{key} ({refusals[0]})"
            else:
                self._store.remove([key])
        self._redelivered = True

    def _sending(self, stream: BinaryIO, offset: int) -> Iterator[tuple[spool.Batch, str]]:
        """Send a run from an offset on; every batch comes back with why it was refused (empty: it was not).

        Raises:
            Refused: the run itself is.
            Unreachable: MLflow does not answer.
        """
        header = spool.read_header(stream)
        run_id = self._attempt(self._runs.begin, header)
        start = max(offset, stream.tell())
        yield spool.Batch(end=start), ""  # the header
        stream.seek(start)
        for batch in spool.batches(stream):
            try:
                self._attempt(self._runs.send, run_id, header, batch.entries)
            except Refused as error:
                yield batch, str(error)
            else:
                yield batch, ""

    def _attempt(self, action: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return action(*args, **kwargs)
        except Exception as error:
            # Where a plain question is still answered, the fault is here: no list of errors tells so surely.
            try:
                self._runs.ping()
            except Exception as silence:
                raise Unreachable(_root_cause(silence)) from None
            raise Refused(_root_cause(error)) from None

    def _save(self, obstacle: str) -> None:
        State(sent=self._sent, problem=obstacle or self._refusal, stuck=self._stuck).save(self._folder)


def _root_cause(error: BaseException) -> str:
    while cause := error.__cause__ or error.__context__:
        error = cause
    text = str(getattr(error, "strerror", None) or error or type(error).__name__)
    return without_credentials(" ".join(text.split()))[:160]


def main(folder: Path, wait: float) -> None:
    """Deliver until told to stop; then once more everything, for at most ``wait`` seconds."""
    os.nice(NICENESS)
    stop = threading.Event()
    threading.Thread(target=_await_stop, args=(stop, wait), daemon=True).start()
    sampling = threading.Thread(target=_sample, args=(folder, os.getppid(), stop), daemon=True)
    sampling.start()
    delivery = Delivery(folder, Store.from_environment(), os.environ["MLFLOW_TRACKING_URI"])
    pause = 0.0
    while not stop.wait(pause):
        healthy = delivery.run_once()
        pause = next_pause(pause, healthy)
    sampling.join()
    spool.end_runs(folder, "KILLED")
    delivery.run_once()


def next_pause(pause: float, healthy: bool) -> float:
    """Seconds until the next try: short while all is well, ever longer while it is not."""
    return PAUSE_SECONDS if healthy else min(2 * max(pause, PAUSE_SECONDS), LONGEST_PAUSE_SECONDS)


def _await_stop(stop: threading.Event, wait: float) -> None:
    sys.stdin.buffer.read(1)
    stop.set()
    # By now whoever waits has killed this process; nobody waits where the training itself was killed.
    time.sleep(wait + 5)
    os._exit(1)


def _sample(folder: Path, pid: int, stop: threading.Event) -> None:
    """Spool the load of the training's process as values of its stage's run."""
    try:
        sampler, started = SystemSampler(pid), time.monotonic()
        while not stop.wait(SAMPLE_SECONDS):
            step = round(time.monotonic() - started)
            entry = {"metrics": sampler.sample(), "step": step, "time": spool.now()}
            spool.append(spool.run_files(folder)[0], entry)
    except (psutil.Error, OSError, IndexError):
        return


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]))
