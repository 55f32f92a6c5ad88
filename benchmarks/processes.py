"""Work in a process of its own, whose memory is its alone."""

from __future__ import annotations

import contextlib
import importlib
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
    """``work(*arguments)`` in a fresh process; all of them are pickled. It and its workers have ``loaded`` modules before."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(_watched, work, arguments, loaded).result()


def _watched(work: Callable[..., Any], arguments: tuple[Any, ...], loaded: Sequence[str]) -> Spent:
    if loaded:
        load_ahead(*loaded)
        for name in loaded:
            importlib.import_module(name)
        with worker_pool(1) as pool:
            pool.submit(int).result()
    with _watcher() as watcher:
        before, start = _processor(), time.perf_counter()
        result = work(*arguments)
        wall, cpu = time.perf_counter() - start, _processor() - before
    return Spent(result, cpu - watcher.cpu, wall, watcher.peak * 1024 / 1e6)


@dataclass
class _Watcher:
    """The largest peak, in KiB, of this process and of those it started, and the CPU seconds that looking took."""

    peak: int = 0
    cpu: float = 0.0

    def look_until(self, done: threading.Event) -> None:
        while not done.wait(PAUSE_SECONDS):
            self.peak = max(self.peak, *map(_peak, _running()))
            self.cpu = time.thread_time()


@contextlib.contextmanager
def _watcher() -> Iterator[_Watcher]:
    watcher, done = _Watcher(), threading.Event()
    thread = threading.Thread(target=watcher.look_until, args=(done,), daemon=True)
    thread.start()
    try:
        yield watcher
    finally:
        done.set()
        thread.join()
        watcher.peak = max(watcher.peak, _peak(psutil.Process()))


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
