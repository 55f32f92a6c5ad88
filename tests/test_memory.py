"""Freed memory is used again: counted in the pages that the system has to give."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

PAGES = """
import resource, torch
from privadv.memory import {policy}

{policy}()
for number in range(30):
    if number == 20:  # older ones find their places by and by
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(16 << 20)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library does as it likes")
def test_large_blocks_that_were_freed_are_used_again() -> None:
    def after(policy: str) -> int:
        told = subprocess.run([sys.executable, "-c", PAGES.format(policy=policy)], check=True, capture_output=True)
        return int(told.stdout)

    ten_times_64_mb = 10 * (64 << 20) // 4096
    assert after("give_freed_memory_back") >= ten_times_64_mb > 4 * after("keep_freed_memory")
