"""Worker processes: order, errors, and that none of them is left behind."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch

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


def known(module: str) -> bool:
    return module in sys.modules


def variable(name: str) -> str | None:
    return os.environ.get(name)


def test_workers_have_the_environment_of_their_pool_s_beginning(monkeypatch: pytest.MonkeyPatch) -> None:
    for value in ("one", "two"):  # the process that they are forked from began before both
        monkeypatch.setenv("PRIVADV_A_TEST", value)
        with worker_pool(1) as pool:
            assert pool.submit(variable, "PRIVADV_A_TEST").result() == value
    monkeypatch.delenv("PRIVADV_A_TEST")
    with worker_pool(1) as pool:
        assert pool.submit(variable, "PRIVADV_A_TEST").result() is None


@pytest.mark.skipif(sys.platform != "linux", reason="workers are spawned elsewhere")
def test_workers_find_loaded_what_was_to_be_loaded_ahead(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(
        "import sys\nfrom privadv.data.workers import load_ahead, worker_pool\nfrom tests.test_workers import known\n"
        "if __name__ == '__main__':\n    load_ahead('colorsys')\n"
        "    with worker_pool(1) as pool:\n"
        "        print(known('colorsys'), pool.submit(known, 'colorsys').result(), pool.submit(known, 'cmd').result())\n")
    project = str(Path(__file__).parent.parent)
    said = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=60,
                          env=os.environ | {"PYTHONPATH": project})
    assert said.stdout == "False True False\n", said.stderr


def cut_off_from_the_gpu() -> bool:
    import torch

    return torch.cuda._is_in_bad_fork()


@pytest.mark.skipif(not torch.cuda._is_compiled() or sys.platform != "linux", reason="no GPU that this PyTorch knows, or no fork")
def test_a_forked_worker_may_use_a_gpu(tmp_path: Path) -> None:
    """CUDA forbids it once the process that was forked has so much as counted the GPUs, as an import may."""
    script = tmp_path / "parent.py"
    (tmp_path / "counts_gpus.py").write_text("import torch\ntorch.cuda.is_available()\n")
    script.write_text(
        "import sys\nfrom privadv.data.workers import FITTING, load_ahead, worker_pool\n"
        "from tests.test_workers import cut_off_from_the_gpu\n"
        "if __name__ == '__main__':\n    load_ahead(*(sys.argv[1:] or FITTING))\n"
        "    with worker_pool(1) as pool:\n        print(pool.submit(cut_off_from_the_gpu).result())\n")
    project = os.pathsep.join([str(Path(__file__).parent.parent), str(tmp_path)])
    for argument, expected in ([], "False\n"), (["counts_gpus"], "True\n"):
        said = subprocess.run([sys.executable, str(script), *argument], capture_output=True, text=True, timeout=120,
                              env=os.environ | {"PYTHONPATH": project})
        assert said.stdout == expected, said.stderr


def test_a_long_temporary_folder_has_no_room_for_a_socket(tmp_path: Path) -> None:
    script, folder = tmp_path / "parent.py", tmp_path / ("long" * 20)
    folder.mkdir()
    script.write_text(
        "from privadv.data.workers import load_ahead, worker_pool\n"
        "if __name__ == '__main__':\n    load_ahead('colorsys')\n"
        "    with worker_pool(1) as pool:\n        print(pool.submit(abs, -1).result())\n")
    said = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=60,
                          env=os.environ | {"PYTHONPATH": str(Path(__file__).parent.parent), "TMPDIR": str(folder)})
    assert said.stdout == "1\n", said.stderr


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
