"""Processes that work through a list and hand the results back in its order."""

from __future__ import annotations

import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context, parent_process
from typing import Any, TypeVar

from privadv.errors import PrivadvError

Item = TypeVar("Item")
Result = TypeVar("Result")


def worker_pool(workers: int, begin: Callable[..., None] | None = None, *given: Any) -> ProcessPoolExecutor:
    """Processes that end with this one, however it ends; spawned, because a fork may copy a held lock.

    Each calls ``begin(*given)`` before it does anything else.
    """
    return ProcessPoolExecutor(workers, get_context("spawn"), _begin, (begin, given))


def in_order(pool: ProcessPoolExecutor, work: Callable[[Item], Result], items: Iterable[Item], ahead: int
             ) -> Iterator[tuple[Item, Result]]:
    """Each item with its result, in the order of ``items``; at most ``ahead`` results wait in memory.

    Raises:
        PrivadvError: a process died; and whatever ``work`` raises.
    """
    pending: deque[tuple[Item, Future[Result]]] = deque()
    for item in items:
        pending.append((item, _submit(pool, work, item)))
        if len(pending) >= ahead:
            yield _next(pending)
    while pending:
        yield _next(pending)


def _submit(pool: ProcessPoolExecutor, work: Callable[[Item], Result], item: Item) -> Future[Result]:
    try:
        return pool.submit(work, item)
    except BrokenProcessPool:
        raise _died(item) from None


def _next(pending: deque[tuple[Item, Future[Result]]]) -> tuple[Item, Result]:
    item, future = pending.popleft()
    try:
        return item, future.result()
    except BrokenProcessPool:
        raise _died(item) from None


def _died(item: object) -> PrivadvError:
    return PrivadvError(f"a worker process died at or near {item} (out of memory, or the decoder crashed): "
                        "try fewer workers, then without that file")


def _begin(begin: Callable[..., None] | None, given: tuple[Any, ...]) -> None:
    # Ctrl-C reaches the whole process group; the parent alone answers it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = parent_process()
    if parent is not None:
        threading.Thread(target=lambda: (parent.join(), os._exit(1)), daemon=True).start()
    if begin:
        begin(*given)
