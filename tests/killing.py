"""Running work in a process of its own, and killing it there with SIGKILL."""

from __future__ import annotations

import multiprocessing
import os
import signal
import traceback
from collections.abc import Callable
from multiprocessing import forkserver
from multiprocessing.connection import Connection

import torch

# Autograd decides at its first step whether it needs threads, which no fork survives: here, while it finds no device but the
# CPU, and not after a test of exported graphs has made torch know others.
torch.zeros(1, requires_grad=True).backward()


def in_a_process(work: Callable[[], str], seconds: float | None = None) -> str | None:
    """What ``work`` returns in a forked process; None where it was killed, with all its children, after ``seconds``.

    None too where it killed itself. Its failure fails the test, with its traceback.
    """
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    child = context.Process(target=_work, args=(work, theirs))
    child.start()
    theirs.close()
    try:
        # The pipe is readable too when it is closed by the end of the process.
        result, failure = ours.recv() if ours.poll(seconds) else (None, None)
    except EOFError:
        result = failure = None
    if result is None and child.pid is not None and child.is_alive():
        _kill_group(child.pid)
    child.join()
    assert failure is None, failure
    assert child.exitcode in (0, -signal.SIGKILL), f"the process ended with {child.exitcode}"
    return result


def _work(work: Callable[[], str], connection: Connection) -> None:
    os.setsid()
    # Workers are forked by a server that is a child of the process which this one is a fork of: this one begins its own.
    forkserver._forkserver._forkserver_pid = None  # pyright: ignore[reportAttributeAccessIssue]
    try:
        connection.send((work(), None))
    except BaseException:
        connection.send((None, traceback.format_exc()))


def _kill_group(leader: int) -> None:
    try:
        os.killpg(leader, signal.SIGKILL)
    except ProcessLookupError:  # not yet a leader: it has only just been forked
        os.kill(leader, signal.SIGKILL)


class Fuse:
    """Kills its own process at the ``steps``-th call."""

    def __init__(self, steps: int) -> None:
        self.left = steps

    def __call__(self, *_: object) -> None:
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
