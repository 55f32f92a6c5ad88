"""One section's measurement, in a process whose memory no other has used."""

from __future__ import annotations

import importlib

from benchmarks.measure import busy
from benchmarks.report import Measured


def measured(name: str, repetitions: int, threads: int, command: str) -> Measured:
    """The section ``name``; the GPU's in this process, which is all that a machine with little but torch needs."""
    if name == "gpu":
        return here(name, repetitions, threads, command)
    from benchmarks.processes import apart

    return apart(here, name, repetitions, threads, command).result


def here(name: str, repetitions: int, threads: int, command: str) -> Measured:
    """The section in this process."""
    import torch

    torch.set_num_threads(threads)
    module = importlib.import_module(f"benchmarks.{name}")
    others, rows = busy(), module.rows(repetitions)
    once, versions = not getattr(module, "REPEATED", True), tuple(getattr(module, "versions", list)())
    return Measured(name, tuple(rows), command, 1 if once else repetitions, threads, others, versions)
