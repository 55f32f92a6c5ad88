"""How busy the machine and a training are, seen from outside the training."""

from __future__ import annotations

import os
import shutil
import subprocess
import time

import psutil

GIB = 1 << 30
GPU_QUERY = ("--query-gpu=utilization.gpu,memory.used", "--format=csv,noheader,nounits")


class SystemSampler:
    """Samples one process with all its children (but not the caller's own process), the host and its GPUs."""

    def __init__(self, pid: int) -> None:
        self._process = psutil.Process(pid)
        self._smi = shutil.which("nvidia-smi")
        self._last = time.monotonic(), self._tree()[0]
        psutil.cpu_percent()

    def sample(self) -> dict[str, float]:
        """``system/...`` values since the last call: percent (100 = one core for the process) and GiB.

        Raises:
            psutil.NoSuchProcess: the process has ended.
        """
        (then, seconds_then), now = self._last, time.monotonic()
        seconds, memory = self._tree()
        self._last = now, seconds
        # A child that ended takes its seconds along.
        busy = max(0.0, seconds - seconds_then) / max(now - then, 1e-3)
        return {
            "system/process_cpu_percent": 100 * busy,
            "system/process_memory_gib": memory / GIB,
            "system/host_cpu_percent": psutil.cpu_percent(),
            "system/host_memory_gib": psutil.virtual_memory().used / GIB,
            **self._gpus(),
        }

    def _tree(self) -> tuple[float, int]:
        seconds, memory = 0.0, 0
        for process in (self._process, *self._process.children(recursive=True)):
            try:
                if process.pid != os.getpid():
                    times = process.cpu_times()
                    seconds += times.user + times.system
                    memory += process.memory_info().rss
            except psutil.NoSuchProcess:
                if process is self._process:
                    raise
        return seconds, memory

    def _gpus(self) -> dict[str, float]:
        if not self._smi:
            return {}
        try:
            answer = subprocess.run((self._smi, *GPU_QUERY), capture_output=True, text=True, timeout=5,
                                    check=True)
            rows = [[float(cell) for cell in line.split(",")] for line in answer.stdout.splitlines()]
        except (OSError, subprocess.SubprocessError, ValueError):
            return {}
        return {name: value for index, (percent, mib) in enumerate(rows)
                for name, value in ((f"system/gpu{index}_percent", percent),
                                    (f"system/gpu{index}_memory_gib", mib / 1024))}
