"""TensorFlow's layers in torch: SAME padding, its pools, its transposed convolution and its normalisations.

Images are (B, C, H, W), weights in torch's layouts; SAME keeps ceil(length / stride) and pads the odd pixel at the end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from privadv.models.frame import FrameNetwork
from privadv.parallel.layers import batch_norm, dropout

Range = Literal["signed", "unit", "bytes", "bytes_less_mean"]
Statistics = Literal["moving", "batch"]
Activation = Literal["none", "relu", "relu6"]
IMAGENET_MEAN = (123.68, 116.78, 103.94)


def to_range(x: Tensor, reads: Range) -> Tensor:
    """Values in [-1, 1] (channels in axis 1) in the range that the original network read; "bytes" are [0, 255]."""
    if reads == "signed":
        return x
    if reads == "unit":
        return (x + 1) * 0.5
    x = (x + 1) * 127.5
    if reads == "bytes":
        return x
    return x - x.new_tensor(IMAGENET_MEAN).view(1, 3, *[1] * (x.ndim - 2))


def pad_same(x: Tensor, kernel: Sequence[int], stride: Sequence[int], value: float = 0.0) -> Tensor:
    """``x`` padded over its last ``len(kernel)`` axes, so that a window without padding gives the SAME result."""
    sides: list[int] = []
    for length, k, s in zip(x.shape[-len(kernel) :], kernel, stride, strict=True):
        total = max((-(-length // s) - 1) * s + k - length, 0)
        sides = [total // 2, total - total // 2, *sides]  # F.pad counts from the last axis
    return F.pad(x, sides, value=value) if any(sides) else x


def conv_same(x: Tensor, weights: Tensor, stride: int = 1, groups: int = 1) -> Tensor:
    """2-D convolution with SAME padding; ``weights`` (out, in / groups, kh, kw)."""
    return F.conv2d(pad_same(x, weights.shape[2:], (stride, stride)), weights, None, stride, 0, 1, groups)


def conv_transpose_same(x: Tensor, weights: Tensor, stride: int) -> Tensor:
    """Transposed SAME convolution to ``stride`` times the size; ``weights`` (in, out, k, k), k >= stride."""
    height, width = x.shape[-2] * stride, x.shape[-1] * stride
    before = (weights.shape[-1] - stride) // 2
    full = F.conv_transpose2d(x, weights, stride=stride)
    return full[..., before : before + height, before : before + width]


def max_pool_same(x: Tensor, kernel: int, stride: int) -> Tensor:
    """2-D maximum over SAME windows."""
    padded = pad_same(x, (kernel, kernel), (stride, stride), value=-torch.inf)
    return F.max_pool2d(padded, kernel, stride)


def max_pool3d_same(x: Tensor, kernel: tuple[int, int, int]) -> Tensor:
    """3-D maximum over SAME windows that touch each other; ``x`` (N, C, T, H, W)."""
    return F.max_pool3d(pad_same(x, kernel, kernel, value=-torch.inf), kernel)


def avg_pool_same(x: Tensor, kernel: int, stride: int) -> Tensor:
    """2-D mean over SAME windows; padding is not counted."""
    window, step = (kernel, kernel), (stride, stride)
    total = F.avg_pool2d(pad_same(x, window, step), kernel, stride)
    return total / F.avg_pool2d(pad_same(torch.ones_like(x[:1, :1]), window, step), kernel, stride)


def instance_norm(x: Tensor, scale: Tensor, shift: Tensor, epsilon: float = 1e-3) -> Tensor:
    """Each image and channel to mean 0 and deviation 1, ``epsilon`` added to the variance inside the root."""
    variance, mean = torch.var_mean(x, dim=(2, 3), keepdim=True, correction=0)
    return scale[:, None, None] * ((x - mean) / (variance + epsilon).sqrt()) + shift[:, None, None]


@dataclass(frozen=True)
class Norm:
    """How a network's batch norms work; ``statistics`` "batch" never uses or updates the moving averages."""

    epsilon: float = 1e-3
    decay: float = 0.9997
    scale: bool = True
    statistics: Statistics = "moving"


class BatchNorm(nn.Module):
    """slim's batch norm: no gamma where ``norm.scale`` is off."""

    def __init__(self, channels: int, norm: Norm) -> None:
        super().__init__()
        self.norm = norm
        self.gamma = nn.Parameter(torch.ones(channels)) if norm.scale else None
        self.beta = nn.Parameter(torch.zeros(channels))
        self.moving_mean: Tensor
        self.moving_variance: Tensor
        self.register_buffer("moving_mean", torch.zeros(channels))
        self.register_buffer("moving_variance", torch.ones(channels))

    def reset_parameters(self) -> None:
        if self.gamma is not None:
            nn.init.ones_(self.gamma)
        nn.init.zeros_(self.beta)
        self.moving_mean.zero_()
        self.moving_variance.fill_(1)

    def forward(self, x: Tensor) -> Tensor:
        n = self.norm
        if n.statistics == "batch":
            # Ranks read different numbers of batches once they do not learn: they must not wait for each other's statistics.
            normalise = batch_norm if self.training else F.batch_norm
            return normalise(x, None, None, self.gamma, self.beta, True, 0.0, n.epsilon)
        moving = (self.moving_mean, self.moving_variance)
        return batch_norm(x, *moving, self.gamma, self.beta, self.training, 1 - n.decay, n.epsilon)


def activate(x: Tensor, activation: Activation) -> Tensor:
    return {"none": lambda y: y, "relu": F.relu, "relu6": F.relu6}[activation](x)


class Conv(nn.Module):
    """slim's conv2d: convolution, then batch norm or a bias, then the activation.

    ``fixed`` pads kernel // 2 at both ends whatever the stride, as slim's ResNets do; ``deviation`` of the truncated normal
    initialisation, None for variance scaling.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        stride: int = 1,
        *,
        norm: Norm | None = None,
        activation: Activation = "none",
        deviation: float | None = None,
        fixed: bool = False,
    ) -> None:
        super().__init__()
        self.stride, self.fixed, self.deviation = stride, fixed, deviation
        self.activation: Activation = activation
        self.weights = nn.Parameter(torch.empty(outputs, inputs, kernel, kernel))
        if norm:
            self.BatchNorm = BatchNorm(outputs, norm)
        self.biases = None if norm else nn.Parameter(torch.empty(outputs))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        _draw(self.weights, self.deviation)
        if self.biases is not None:
            nn.init.zeros_(self.biases)

    def forward(self, x: Tensor) -> Tensor:
        if self.fixed:
            x = F.conv2d(x, self.weights, None, self.stride, self.weights.shape[-1] // 2)
        else:
            x = conv_same(x, self.weights, self.stride)
        x = self.BatchNorm(x) if self.biases is None else x + self.biases[:, None, None]
        return activate(x, self.activation)


class Depthwise(nn.Module):
    """slim's separable_conv2d without its pointwise half."""

    def __init__(
        self, channels: int, stride: int, norm: Norm, activation: Activation, deviation: float
    ) -> None:
        super().__init__()
        self.stride, self.deviation = stride, deviation
        self.activation: Activation = activation
        self.depthwise_weights = nn.Parameter(torch.empty(channels, 1, 3, 3))
        self.BatchNorm = BatchNorm(channels, norm)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        _draw(self.depthwise_weights, self.deviation)

    def forward(self, x: Tensor) -> Tensor:
        y = conv_same(x, self.depthwise_weights, self.stride, groups=x.shape[1])
        return activate(self.BatchNorm(y), self.activation)


class Separable(nn.Module):
    """slim's separable_conv2d: ``multiplier`` filters a channel, a 1x1 convolution, and a bias; ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, multiplier: int) -> None:
        super().__init__()
        self.stride = stride
        self.depthwise_weights = nn.Parameter(torch.empty(inputs * multiplier, 1, kernel, kernel))
        self.pointwise_weights = nn.Parameter(torch.empty(outputs, inputs * multiplier, 1, 1))
        self.biases = nn.Parameter(torch.empty(outputs))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        _draw(self.depthwise_weights, 1.0)
        _draw(self.pointwise_weights, 1.0)
        nn.init.zeros_(self.biases)

    def forward(self, x: Tensor) -> Tensor:
        x = conv_same(x, self.depthwise_weights, self.stride, groups=x.shape[1])
        return F.relu(conv_same(x, self.pointwise_weights) + self.biases[:, None, None])


class MaxPool(nn.Module):
    def __init__(self, kernel: int, stride: int) -> None:
        super().__init__()
        self.kernel, self.stride = kernel, stride

    def forward(self, x: Tensor) -> Tensor:
        return max_pool_same(x, self.kernel, self.stride)


class AvgPool(MaxPool):
    def forward(self, x: Tensor) -> Tensor:
        return avg_pool_same(x, self.kernel, self.stride)


class TfFrameNetwork(FrameNetwork):
    """What the specifications of slim's image networks have in common."""

    @property
    def published(self) -> str:
        """Under which role its ImageNet weights lie among the named ones: as the import of slim's checkpoint calls it."""
        raise NotImplementedError

    @property
    def head(self) -> tuple[str, ...]:
        """The last layer, which another task's weights do not fill."""
        return ("logits",)


class ImageNetwork(nn.Module):
    """``layers`` by name, the mean over all places, dropout, and the ``logits``: (B, 3, H, W) in [-1, 1] to (B, classes)."""

    def __init__(
        self, layers: dict[str, nn.Module], features: int, classes: int, reads: Range, dropped: float = 0.0
    ) -> None:
        super().__init__()
        self.reads: Range = reads
        self.dropped = dropped
        self.order = tuple(layers)
        for name, layer in layers.items():
            self.add_module(name, layer)
        self.logits = Conv(features, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = to_range(x, self.reads)
        for name in self.order:
            x = self.get_submodule(name)(x)
        x = dropout(x.mean((2, 3), keepdim=True), self.dropped, self.training)
        return self.logits(x).flatten(1)


def _draw(weights: Tensor, deviation: float | None) -> None:
    # slim's variance scaling: twice the inverse of the inputs, 1.3 for what the truncation takes away.
    std = (2.6 / weights[0].numel()) ** 0.5 if deviation is None else deviation
    nn.init.trunc_normal_(weights, std=std, a=-2 * std, b=2 * std)
