"""Work in a process of its own, whose memory is its alone."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import psutil

from privadv.data.workers import load_ahead, worker_pool

PAUSE_SECONDS = 0.05


@dataclass(frozen=True)
class Spent:
    """What a call in a process of its own gave and took: CPU and clock seconds without the imports, and the peak memory in MB
    of the largest of its processes, imports included.
    """

    result: Any
    cpu: float
    wall: float
    memory: float


def apart(work: Callable[..., Any], *arguments: Any, loaded: Sequence[str] = ()) -> Spent:
    """``work(*arguments)`` in a fresh process; all of them are pickled. Its workers have ``loaded`` those modules before."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(_watched, work, arguments, loaded).result()


def _watched(work: Callable[..., Any], arguments: tuple[Any, ...], loaded: Sequence[str]) -> Spent:
    if loaded:
        load_ahead(*loaded)
        with worker_pool(1) as pool:
            pool.submit(int).result()
    with _peaks() as peaks:
        before, start = _processor(), time.perf_counter()
        result = work(*arguments)
        wall, cpu = time.perf_counter() - start, _processor() - before
    return Spent(result, cpu, wall, max(peaks) * 1024 / 1e6)


@contextlib.contextmanager
def _peaks() -> Iterator[list[int]]:
    """The peaks of this process and of those it starts, in KiB, as they are looked at time and again."""
    found, done = [0], threading.Event()

    def watch() -> None:
        while not done.wait(PAUSE_SECONDS):
            found.extend(map(_peak, _running()))
            found[:] = [max(found)]

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield found
    finally:
        done.set()
        watcher.join()
        found.append(_peak(psutil.Process()))


def _peak(process: psutil.Process) -> int:
    """getrusage's would be at least what the process that started it had then."""
    try:
        status = Path(f"/proc/{process.pid}/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0])
    except (OSError, IndexError):  # it has ended
        return 0


def _processor() -> float:
    """CPU seconds of this process, of those that it started and of all that they waited for."""
    seconds = 0.0
    for process in _running():
        with contextlib.suppress(psutil.NoSuchProcess):
            seconds += sum(process.cpu_times()[:4])  # user, system, and those of children
    return seconds


def _running() -> list[psutil.Process]:
    this = psutil.Process()
    return [this, *this.children(recursive=True)]
