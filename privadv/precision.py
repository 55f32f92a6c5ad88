"""The arithmetic of networks while they learn: float32, or bfloat16 with weights, losses and what comes out in float32."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

from privadv.device import device

Precision = Literal["float32", "bfloat16"]


def precise(precision: Precision) -> torch.autocast:
    """Where a network's forward pass in ``precision`` belongs."""
    return torch.autocast(device().type, torch.bfloat16, enabled=precision == "bfloat16")


def learn_in(precision: Precision, model: nn.Module, method: str = "forward") -> None:
    """From now on ``method`` of ``model`` computes in ``precision`` while the model is in training mode.

    What it gives is float32 all the same, and so are its weights, their gradients and whatever follows, such as a release's
    rounding to 8 bit. In inference mode nothing changes.
    """
    if precision == "float32":
        return
    plain = getattr(model, method)

    def call(*args: Any, **named: Any) -> Tensor:
        with precise(precision if model.training else "float32"):
            return plain(*args, **named).float()

    setattr(model, method, call)
