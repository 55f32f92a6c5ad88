"""Gradients of the joint batch's mean loss, whoever the players and however many their optimizers."""

from __future__ import annotations

from typing import Any, TypeVar

import torch
import torch.distributed as dist

from privadv.parallel.group import count

Opt = TypeVar("Opt", bound=torch.optim.Optimizer)


def shared(optimizer: Opt) -> Opt:
    """The same optimizer, which averages its gradients over all ranks before each of its steps."""
    if count() > 1:
        optimizer.register_step_pre_hook(_average)
    return optimizer


@torch.no_grad()
def _average(optimizer: torch.optim.Optimizer, *_: Any) -> None:
    """One all-reduce a step, of all gradients end to end; those that are averaged already stay as they are."""
    every = (parameter.grad for group in optimizer.param_groups for parameter in group["params"])
    gradients = [gradient for gradient in every if gradient is not None]
    if not gradients:
        return
    flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
    dist.all_reduce(flat)
    flat /= count()
    for gradient, part in zip(gradients, flat.split([one.numel() for one in gradients]), strict=True):
        gradient.copy_(part.view_as(gradient))
