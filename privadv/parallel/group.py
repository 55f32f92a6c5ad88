"""The ranks: who they are, which rows of a batch each has, and what they tell each other."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from privadv.device import device
from privadv.errors import PrivadvError

T = TypeVar("T")

PATIENCE = timedelta(hours=2)
"""How long ranks wait for each other: one of them may be filtering all clips for the others."""
SCRATCH = "PRIVADV_RANKS_SCRATCH"
"""The variable that names the scratch folder which the ranks of one node share."""

_control: Any = None


@contextmanager
def group() -> Iterator[None]:
    """Join the ranks that torchrun started: NCCL between GPUs, gloo between CPUs and for plain values."""
    global _control
    where = device()
    if where.type == "cuda":
        torch.cuda.set_device(where)
    dist.init_process_group("nccl" if where.type == "cuda" else "gloo", timeout=PATIENCE)
    _control = dist.new_group(backend="gloo", timeout=PATIENCE)
    yield
    # Not after an error: it would wait for ranks that are gone.
    _control = None
    dist.destroy_process_group()


def count() -> int:
    """How many ranks train together."""
    return dist.get_world_size() if _joined() else 1


def rank() -> int:
    return dist.get_rank() if _joined() else 0


def first() -> bool:
    """Whether this is the rank that writes and reports."""
    return rank() == 0


def scratch() -> Path | None:
    """The folder that the ranks of this node share; None alone."""
    return Path(os.environ[SCRATCH]) if count() > 1 else None


@contextmanager
def first_here() -> Iterator[bool]:
    """The first rank of every node goes through the block before its others; gives whether this is one."""
    leads = count() == 1 or os.environ["LOCAL_RANK"] == "0"
    if not leads:
        _wait()
    yield leads
    if leads and count() > 1:
        _wait()


@dataclass(frozen=True)
class Share:
    """A rank's ``rows`` of a joint batch of ``joint`` clips, of which the first ``own`` are no other rank's."""

    joint: int
    rows: slice
    own: int


_share: Share | None = None


@contextmanager
def sharing(joint: int) -> Iterator[Share]:
    """Cut a joint batch of any size; each rank has a row at least, and draws inside the block are cut alike."""
    global _share
    start, stop = (joint * number // count() for number in (rank(), rank() + 1))
    _share = Share(joint, slice(start, max(stop, start + 1)), stop - start)
    try:
        yield _share
    finally:
        _share = None


def share_of(own: int) -> Share:
    """This rank's share, when it computes on ``own`` clips."""
    return _share or Share(own * count(), slice(own * rank(), own * (rank() + 1)), own)


def rows(joint: int) -> slice:
    """This rank's rows of a training batch.

    Raises:
        PrivadvError: the ranks cannot have equally many.
    """
    own, rest = divmod(joint, count())
    if rest:
        raise PrivadvError(
            f"a batch of {joint} clips cannot be cut into {count()} equal parts: choose a batch (and a set of clips no "
            f"smaller) that {count()} divides, or another number of accelerators"
        )
    return share_of(own).rows


def means(values: Sequence[float | Tensor]) -> list[float]:
    """The mean of each value over all ranks, the same on every one.

    Scalars on a device are read back together: however many they are, this process waits for its device once.
    """
    own = _read(values)
    return [value / count() for value in _summed(own)] if count() > 1 else own


def _read(values: Sequence[float | Tensor]) -> list[float]:
    scalars = [value.detach().double() for value in values if isinstance(value, Tensor)]
    read = iter(torch.stack(scalars).tolist() if scalars else ())
    return [next(read) if isinstance(value, Tensor) else value for value in values]


def mean_of(tensor: Tensor) -> Tensor:
    """A tensor's mean over all ranks, the same on every one, without a gradient."""
    found = tensor.detach()
    if count() > 1:
        found = found.clone()
        dist.all_reduce(found)
        found /= count()
    return found


def mean(value: float | Tensor) -> float:
    """One value's mean over all ranks."""
    return means([value])[0]


def total(value: float | Tensor) -> float:
    """A value's sum over all ranks."""
    own = _read([value])
    return _summed(own)[0] if count() > 1 else own[0]


def gathered(own: list[Tensor]) -> Tensor:
    """The batches of all ranks, on the CPU, one after the other in the order of ranks."""
    if count() == 1:
        return torch.cat(own)
    every: list[list[Tensor]] = [[] for _ in range(count())]
    dist.all_gather_object(every, own, group=_control)
    return torch.cat([batch for batches in every for batch in batches])


def from_first(value: T) -> T:
    """What the first rank has."""
    if count() == 1:
        return value
    told = [value]
    dist.broadcast_object_list(told, 0, group=_control, device=torch.device("cpu"))
    return told[0]


@torch.no_grad()
def require_equal(models: Iterable[nn.Module], what: str) -> None:
    """Hold that every rank has the same weights.

    Raises:
        PrivadvError: they have parted ways, which would make the result nobody's.
    """
    if count() == 1:
        return
    tensors = [tensor for model in models for tensor in model.state_dict().values()]
    own = torch.stack([tensor.double().sum() for tensor in tensors]).nan_to_num().cpu()
    if not torch.equal(own, from_first(own)):
        raise PrivadvError(f"{what}: the weights of rank {rank()} are no longer those of rank 0: run it on one accelerator")


def _joined() -> bool:
    return dist.is_available() and dist.is_initialized()


def _summed(values: Sequence[float]) -> list[float]:
    tensor = torch.tensor(values, dtype=torch.float64)
    dist.all_reduce(tensor, group=_control)
    return tensor.tolist()


def _wait() -> None:
    dist.barrier(group=_control)
