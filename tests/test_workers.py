"""Worker processes: order, errors, and that none of them is left behind."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from privadv.data.workers import in_order, worker_pool
from privadv.errors import PrivadvError


def slow_double(number: int) -> int:
    time.sleep(0.05 if number % 3 == 0 else 0)
    if number == 13:
        raise PrivadvError("13 is refused")
    if number == 99:
        os._exit(1)
    return 2 * number


def test_results_come_in_order_and_errors_with_them() -> None:
    with worker_pool(2) as pool:
        expected = [(number, 2 * number) for number in range(10)]
        assert list(in_order(pool, slow_double, range(10), 4)) == expected
        assert list(in_order(pool, slow_double, [], 4)) == []
        results = in_order(pool, slow_double, [1, 13, 2], 2)
        assert next(results) == (1, 2)
        with pytest.raises(PrivadvError, match="13 is refused"):
            next(results)


def test_no_more_than_asked_is_read_ahead() -> None:
    taken = []
    with worker_pool(1) as pool:
        results = in_order(pool, slow_double, (taken.append(number) or number for number in range(50)), 3)
        next(results)
        assert taken == [0, 1, 2]


def test_a_process_that_dies_is_named() -> None:
    with worker_pool(1) as pool, pytest.raises(PrivadvError, match="a worker process died at or near 99"):
        list(in_order(pool, slow_double, [99], 4))


@pytest.mark.parametrize("begin", ["", ", os.nice, 1"])
def test_workers_end_with_a_parent_that_is_killed(tmp_path: Path, begin: str) -> None:
    script = tmp_path / "parent.py"
    script.write_text(
        "import os, time\nfrom privadv.data.workers import worker_pool\n"
        f"if __name__ == '__main__':\n    pool = worker_pool(1{begin})\n    pool.submit(abs, 1).result()\n"
        "    print('ready', flush=True)\n    time.sleep(60)\n")
    project = str(Path(__file__).parent.parent)
    parent = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE,
                              env=os.environ | {"PYTHONPATH": project})
    assert parent.stdout is not None and parent.stdout.readline() == b"ready\n"
    children = psutil.Process(parent.pid).children(recursive=True)
    assert children
    parent.kill()
    parent.communicate()
    _, alive = psutil.wait_procs(children, timeout=10)
    assert alive == []
