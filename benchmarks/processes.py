"""Work in a process of its own, whose memory is its alone."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Spent:
    """What a call in a process of its own gave and took: CPU and clock seconds without the imports, and the peak memory in MB
    of the largest of its processes, imports included.
    """

    result: Any
    cpu: float
    wall: float
    memory: float


def apart(work: Callable[..., Any], *arguments: Any) -> Spent:
    """``work(*arguments)`` in a fresh process; all of them are pickled."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(_watched, work, arguments).result()


def _watched(work: Callable[..., Any], arguments: tuple[Any, ...]) -> Spent:
    before, start = _processor(), time.perf_counter()
    result = work(*arguments)
    wall, cpu = time.perf_counter() - start, _processor() - before
    return Spent(result, cpu, wall, max(_peak(), resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss) * 1024 / 1e6)


def _peak() -> int:
    """This process's peak in KiB: getrusage's is at least what the process that started it had then, for children as well."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0])


def _processor() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)
