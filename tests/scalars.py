"""Counting how often a program waits for a value that a device computes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from privadv.parallel import group


class ScalarsRead(TorchDispatchMode):
    """Counts ``item()``, ``float()``, ``bool()`` and the like of tensors inside its block, on a GPU each of which waits for it,
    and apart from them how often several were read back ``together`` by :mod:`privadv.parallel.group`.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__()
        self.count, self.together, read = 0, 0, group._read

        def counted(values: Sequence[float | Tensor]) -> list[float]:
            self.together += any(isinstance(value, Tensor) for value in values)
            return read(values)

        monkeypatch.setattr(group, "_read", counted)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += func is torch.ops.aten._local_scalar_dense.default
        return func(*args, **(kwargs or {}))
