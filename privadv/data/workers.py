"""Processes that work through a list and hand the results back in its order."""

from __future__ import annotations

import functools
import os
import signal
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import forkserver, get_context, parent_process
from multiprocessing.context import BaseContext
from typing import Any, TypeVar

from privadv.errors import PrivadvError

Item = TypeVar("Item")
Result = TypeVar("Result")

LONGEST = 75
"""Bytes of the temporary folder's path, below which a socket's own name finds room: 108 bytes with all."""
FITTING = "privadv.training", "torch._dynamo"
"""What a worker imports that trains readers, the second with its first optimizer."""


@functools.cache
def context() -> BaseContext:
    """How workers begin.

    A fork of this process could copy a held lock; of one that has done nothing but import, not. That one is asked by a socket
    in the temporary folder. Elsewhere than on Linux the system's own libraries do not stand a fork.
    """
    short = len(os.fsencode(tempfile.gettempdir())) <= LONGEST
    return get_context("forkserver" if sys.platform == "linux" and short else "spawn")


def load_ahead(*modules: str) -> None:
    """Begin to import ``modules`` in the process that every worker will be forked from, while this one goes on.

    The first call counts, and none after the first pool. No import may ask for GPUs: forked processes could not use them then.
    Where workers are not forked, each imports them itself.
    """
    if context().get_start_method() == "forkserver":
        context().set_forkserver_preload(list(modules))
        forkserver.ensure_running()


def worker_pool(workers: int, begin: Callable[..., None] | None = None, *given: Any) -> ProcessPoolExecutor:
    """Processes that end with this one, however it ends, and have its environment.

    Each calls ``begin(*given)`` before it does anything else.
    """
    return ProcessPoolExecutor(workers, context(), _begin, (dict(os.environ), begin, given))


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


def _begin(environment: dict[str, str], begin: Callable[..., None] | None, given: tuple[Any, ...]) -> None:
    # What this was forked from has the environment of its own beginning.
    os.environ.clear()
    os.environ.update(environment)
    # Ctrl-C reaches the whole process group; the parent alone answers it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = parent_process()
    if parent is not None:
        threading.Thread(target=lambda: (parent.join(), os._exit(1)), daemon=True).start()
    if begin:
        begin(*given)
