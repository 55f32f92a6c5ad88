"""Several processes of this node run one training stage together, under torchrun; see :mod:`privadv.parallel`."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure
from torch.distributed.run import parse_args, run

from privadv.code_version import PROJECT
from privadv.device import devices
from privadv.errors import PrivadvError
from privadv.parallel.group import SCRATCH
from privadv.scratch import scratch

TASK, PUBLISHED, FAILURE = "task.json", "published.json", "failure.txt"


def launch(
    stage: str,
    config: str,
    code: str,
    output: str,
    inputs: Mapping[str, Any],
    values: Mapping[str, Any],
    accelerators: int,
    workers: int,
) -> str:
    """Run a stage in ``accelerators`` processes here, which share ``workers`` CPUs; gives what the first rank published.

    Under Kubeflow Trainer, whose PET_* variables torchrun reads, the ranks of all nodes run it together.

    Raises:
        PrivadvError: a rank failed with it, or was killed, or there are too few GPUs.
        SystemExit: a rank failed otherwise, and has said how.
    """
    found = devices()
    if found[0].type == "cuda" and len(found) < accelerators:
        raise PrivadvError(f"PRIVADV_ACCELERATORS = {accelerators}, but {len(found)} GPUs are visible: ask for as many")
    with scratch(os.environ.get("PRIVADV_SCRATCH")) as folder:
        task = {"stage": stage, "config": config, "code": code, "output": output, "sources": inputs, "values": values}
        (folder / TASK).write_text(json.dumps(task), encoding="utf-8")
        with _environment(folder, max(1, workers // accelerators)):
            _torchrun(folder, accelerators)
        return (folder / PUBLISHED).read_text(encoding="utf-8")


def _torchrun(folder: Path, accelerators: int) -> None:
    # What it logs of a failure hides the one line that says it.
    logging.getLogger("torch.distributed").setLevel(logging.CRITICAL)
    alone = [] if _several_nodes() else ["--local-addr", "127.0.0.1"]
    options = ["--nproc-per-node", str(accelerators), "--max-restarts", "0", *alone]
    try:
        run(parse_args([*options, "-m", "privadv.stages.rank", str(folder)]))
    except ChildFailedError as error:
        raise _explained(folder, *error.get_first_failure()) from None
    except SignalException as error:
        raise SystemExit(128 + int(error.sigval)) from None


def _explained(folder: Path, rank: int, failure: ProcessFailure) -> BaseException:
    said = folder / FAILURE
    if said.is_file() and said.stat().st_size:
        return PrivadvError(said.read_text(encoding="utf-8"))
    if failure.exitcode < 0:
        return PrivadvError(f"rank {rank} was killed by {failure.signal_name()}: most likely for memory, give it more")
    return SystemExit(failure.exitcode)


@contextmanager
def _environment(folder: Path, workers: int) -> Iterator[None]:
    """The variables that ranks are born with."""
    path = os.pathsep.join(filter(None, (str(PROJECT), os.environ.get("PYTHONPATH"))))
    threads = {"PRIVADV_WORKERS": str(workers), "OMP_NUM_THREADS": str(workers)}
    variables = {SCRATCH: str(folder), "PYTHONPATH": path, **threads}
    if sys.platform == "linux" and not _several_nodes():
        variables["GLOO_SOCKET_IFNAME"] = "lo"  # the host's name need not lead anywhere
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _several_nodes() -> bool:
    return os.environ.get("PET_NNODES", "1") != "1"
