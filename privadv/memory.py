"""What a training process does with memory that it has freed."""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # of glibc's mallopt
LARGEST, ALL = 1 << 30, 2**31 - 1


def keep_freed_memory() -> None:
    """Take large blocks from what was freed before, not from the system.

    By default glibc gives each block of more than 32 MB back when it is freed, and the next one comes page by page, zeroed: at
    every step anew for every activation. Blocks above 1 GB still go back. Nothing happens under another C library.
    """
    _set(MMAP_THRESHOLD, LARGEST)
    _set(TRIM_THRESHOLD, ALL)


def give_freed_memory_back() -> None:
    """What glibc arrives at by itself, for comparison."""
    _set(MMAP_THRESHOLD, 32 << 20)
    _set(TRIM_THRESHOLD, 64 << 20)


def _set(parameter: int, value: int) -> None:
    if mallopt := _mallopt():
        mallopt(parameter, value)


@functools.cache
def _mallopt() -> Callable[[int, int], int] | None:
    try:
        return ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return None
