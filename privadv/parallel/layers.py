"""Noise, dropout and batch norm of a joint batch that is spread over ranks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from privadv.parallel.group import count, share_of

M = TypeVar("M", bound=nn.Module)


def joint(model: M) -> M:
    """The same model, whose batch norms, dropouts and stochastic depths work on the joint batch; alone, the model as it is."""
    if count() > 1:
        from torchvision.ops import StochasticDepth

        kinds = {_BatchNorm: _JointBatchNorm, nn.Dropout: _JointDropout, StochasticDepth: _JointDepth}
        for module in model.modules():
            for kind, ours in kinds.items():
                if isinstance(module, kind):
                    module.__class__ = ours
    return model


def randn(shape: Sequence[int], generator: torch.Generator | None, where: torch.device) -> Tensor:
    """Standard normal noise (N, ...). A ``generator`` given draws for these N clips alone, the common one for all ranks'."""
    if generator is not None or count() == 1:
        return torch.randn(shape, generator=generator, device=where)
    share = share_of(shape[0])
    return torch.randn((share.joint, *shape[1:]), device=where)[share.rows]


def dropout(x: Tensor, p: float, training: bool) -> Tensor:
    """torch's ``dropout`` of (N, ...), drawn for the joint batch."""
    if not training or count() == 1:
        return F.dropout(x, p, training)
    share = share_of(x.shape[0])
    return x * F.dropout(x.new_ones((share.joint, *x.shape[1:])), p)[share.rows]


def batch_norm(
    x: Tensor,
    running_mean: Tensor | None,
    running_variance: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    training: bool,
    momentum: float,
    epsilon: float,
) -> Tensor:
    """torch's ``batch_norm`` of (N, C, ...), with the mean and variance of the joint batch while it trains."""
    if not training or count() == 1:
        return F.batch_norm(x, running_mean, running_variance, weight, bias, training, momentum, epsilon)
    normalised, mean, variance, values = _Normalise.apply(x, epsilon)  # pyright: ignore[reportGeneralTypeIssues]
    if running_mean is not None and running_variance is not None:
        running_mean.lerp_(mean, momentum)
        running_variance.lerp_(variance * values / (values - 1), momentum)
    shape = (1, -1, *[1] * (x.ndim - 2))
    if weight is not None:
        normalised = normalised * weight.view(shape)
    if bias is not None:
        normalised = normalised + bias.view(shape)
    return normalised.to(x.dtype)


class _Normalise(torch.autograd.Function):
    """Mean 0 and variance 1 for each channel of all ranks' values together (Ioffe and Szegedy 2015), in float32 or better."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, epsilon: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        over, shape = _layout(x)
        values = x if x.dtype == torch.float64 else x.float()
        variance, mean = torch.var_mean(values, over, correction=0)
        own = torch.stack([mean, variance, torch.full_like(mean, values.numel() / len(mean))])
        every = [torch.empty_like(own) for _ in range(count())]
        dist.all_gather(every, own)
        means, variances, counts = torch.stack(every).unbind(1)
        number = counts.sum(0)
        mean = (means * counts).sum(0) / number
        variance = ((variances + (means - mean) ** 2) * counts).sum(0) / number
        scale = (variance + epsilon).rsqrt()
        normalised = (values - mean.view(shape)) * scale.view(shape)
        ctx.save_for_backward(normalised, scale, number)
        ctx.dtype = x.dtype
        ctx.mark_non_differentiable(mean, variance, number)
        return normalised, mean, variance, number

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        gradient, (normalised, scale, number) = gradients[0], ctx.saved_tensors
        over, shape = _layout(normalised)
        sums = torch.stack([gradient.sum(over), (gradient * normalised).sum(over)])
        dist.all_reduce(sums)
        along, across = (sums / number).unbind()
        rest = gradient - along.view(shape) - normalised * across.view(shape)
        return (rest * scale.view(shape)).to(ctx.dtype), None


def _layout(x: Tensor) -> tuple[list[int], tuple[int, ...]]:
    """The axes of (N, C, ...) that statistics go over, and the shape that they are broadcast from."""
    return [axis for axis in range(x.ndim) if axis != 1], (1, -1, *[1] * (x.ndim - 2))


class _JointBatchNorm(_BatchNorm):
    def forward(self, input: Tensor) -> Tensor:
        if not self.training:
            return super().forward(input)
        momentum = self.momentum
        if self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
            momentum = 1 / float(self.num_batches_tracked) if momentum is None else momentum
        running = self.running_mean, self.running_var
        return batch_norm(input, *running, self.weight, self.bias, True, momentum or 0.0, self.eps)

    def _check_input_dim(self, input: Tensor) -> None:
        """Whatever the layer was, it has been checked by the process that trains it alone."""


class _JointDropout(nn.Dropout):
    def forward(self, input: Tensor) -> Tensor:
        return dropout(input, self.p, self.training)


class _JointDepth(nn.Module):
    """torchvision's StochasticDepth in its mode "row": leaves a block out for some clips' images."""

    p: float

    def forward(self, input: Tensor) -> Tensor:
        return input * dropout(input.new_ones((len(input), *[1] * (input.ndim - 1))), self.p, self.training)
