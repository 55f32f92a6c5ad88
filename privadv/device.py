"""Where tensors live: on a CUDA GPU where there is one, else on the CPU; PRIVADV_DEVICE decides otherwise.

PRIVADV_DEVICE is ``cpu``, ``cuda`` or ``cuda:<n>``. PRIVADV_DETERMINISTIC=1 trades a GPU's speed for kernels that give the same
bits in every run, as far as torch has them. On the CPU nothing changes with either.
"""

from __future__ import annotations

import os
import re

import torch
from torch import Tensor

from privadv.errors import PrivadvError

CPU = torch.device("cpu")


def device() -> torch.device:
    """What this process computes on. A rank of several on one node has the GPU of its local rank.

    Raises:
        PrivadvError: PRIVADV_DEVICE or PRIVADV_DETERMINISTIC is malformed, or there is no such GPU.
    """
    found = devices()
    if found[0].type == "cpu":
        return found[0]
    chosen = found[_local_rank(len(found))]
    _settle()
    return chosen


def devices() -> list[torch.device]:
    """All that this process may compute on: the CPU, one GPU that PRIVADV_DEVICE names, or every visible GPU."""
    text = os.environ.get("PRIVADV_DEVICE") or ("cuda" if torch.cuda.is_available() else "cpu")
    match = re.fullmatch(r"cpu|cuda(:(\d+))?", text)
    if not match:
        raise PrivadvError(f"PRIVADV_DEVICE = '{text}' is no device: write cpu, cuda or cuda:0")
    if text == "cpu":
        return [CPU]
    count = torch.cuda.device_count()
    numbers = range(count) if match[2] is None else [int(match[2])]
    if not numbers or max(numbers) >= count:
        raise PrivadvError(f"PRIVADV_DEVICE = '{text}', but {count} GPUs are visible: name another, or cpu")
    return [torch.device("cuda", number) for number in numbers]


def to_device(batch: Tensor, where: torch.device) -> Tensor:
    """A batch from the CPU, through pinned memory and without waiting where the way leads to a GPU."""
    return batch.pin_memory().to(where, non_blocking=True) if where.type == "cuda" else batch.to(where)


def random_state() -> dict[str, Tensor]:
    """The states of the generators that this process draws from."""
    states = {"cpu": torch.get_rng_state()}
    if device().type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device())
    return states


def set_random_state(states: dict[str, Tensor]) -> None:
    """Take back what :func:`random_state` gave; a GPU's state means nothing to a CPU, nor the other way."""
    torch.set_rng_state(states["cpu"])
    if "cuda" in states and device().type == "cuda":
        torch.cuda.set_rng_state(states["cuda"], device())


def _local_rank(count: int) -> int:
    rank = int(os.environ.get("LOCAL_RANK") or 0)
    if rank >= count:
        raise PrivadvError(f"accelerator {rank} of this node is not there: {count} GPUs are visible to the stage")
    return rank


def _settle() -> None:
    text = os.environ.get("PRIVADV_DETERMINISTIC") or "0"
    if text not in ("0", "1"):
        raise PrivadvError(f"PRIVADV_DETERMINISTIC = '{text}': write 0 or 1")
    exact = text == "1"
    if exact:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when CUDA starts
        # Some pools have no deterministic gradient: torch warns of each.
        torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cudnn.deterministic = exact
    torch.backends.cudnn.benchmark = not exact
