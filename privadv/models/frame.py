"""Small image networks that look at every frame: the building stones of budget models and attackers.

Each maps (B, 3, H, W) floats to (B, classes) logits. A *family* is an architecture, whatever its width, depth or
normalisation. :class:`PerFrame` lifts any of them to clips by averaging the logits over time.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from privadv.config import Section


class PerFrame(nn.Module):
    """(N, C, T, H, W) -> (N, classes): the image network on every frame, logits averaged over time.

    While it trains it looks at ``glimpse`` frames of a clip, drawn anew at each step; 0 = at all of them.
    """

    def __init__(self, network: nn.Module, glimpse: int) -> None:
        super().__init__()
        self.network, self.glimpse = network, glimpse

    def forward(self, clips: Tensor) -> Tensor:
        if self.training and 0 < self.glimpse < clips.shape[2]:
            clips = clips[:, :, torch.randperm(clips.shape[2])[: self.glimpse]]
        n, c, t, h, w = clips.shape
        frames = clips.transpose(1, 2).reshape(n * t, c, h, w).contiguous(memory_format=torch.channels_last)
        return self.network(frames).view(n, t, -1).mean(1)


class FrameNetwork(Section):
    """What every image network's specification has; ``glimpse`` as in :class:`PerFrame`."""

    glimpse: int = 0

    def build(self, classes: int) -> nn.Module:
        """Clips to logits, freshly initialised."""
        return PerFrame(self.image_network(classes), self.glimpse)

    def image_network(self, classes: int) -> nn.Module:
        """Images to logits."""
        raise NotImplementedError


def _norm(kind: str, channels: int) -> nn.Module:
    if kind == "group":
        return nn.GroupNorm(_groups(channels), channels)
    return nn.BatchNorm2d(channels)


def _groups(channels: int) -> int:
    """At most 8 groups, and a divisor of the channels."""
    return next(g for g in (8, 4, 2, 1) if channels % g == 0)


def _conv(
    inputs: int, outputs: int, kernel: int = 3, stride: int = 1, groups: int = 1, norm: str = "batch"
) -> nn.Sequential:
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, _norm(norm, outputs), nn.ReLU(inplace=True))


def _head(channels: int, classes: int) -> nn.Sequential:
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes))


class MobileNet(FrameNetwork):
    """MobileNet-v1 (Howard et al. 2017) with a depth multiplier; ``depth`` cuts the five equal blocks for small frames."""

    family: ClassVar[str] = "mobilenet"
    kind: Literal["mobilenet"] = "mobilenet"
    width: float = 1.0
    depth: int = 5
    norm: Literal["batch", "group"] = "batch"

    def image_network(self, classes: int) -> nn.Module:
        def scaled(channels: int) -> int:
            return max(8, int(channels * self.width))

        plan = [
            (64, 1),
            (128, 2),
            (128, 1),
            (256, 2),
            (256, 1),
            (512, 2),
            *[(512, 1)] * self.depth,
            (1024, 2),
            (1024, 1),
        ]
        layers, channels = [_conv(3, scaled(32), stride=2, norm=self.norm)], scaled(32)
        for outputs, stride in plan:
            layers += [
                _conv(channels, channels, stride=stride, groups=channels, norm=self.norm),
                _conv(channels, scaled(outputs), 1, norm=self.norm),
            ]
            channels = scaled(outputs)
        return nn.Sequential(*layers, _head(channels, classes))


class Vgg(FrameNetwork):
    """A plain stack of 3x3 convolutions with pooling between stages (after Simonyan and Zisserman 2015)."""

    family: ClassVar[str] = "vgg"
    kind: Literal["vgg"] = "vgg"
    width: int = 16
    stages: int = 3
    norm: Literal["batch", "group"] = "group"

    def image_network(self, classes: int) -> nn.Module:
        layers: list[nn.Module] = []
        inputs = 3
        for stage in range(self.stages):
            channels = self.width * 2**stage
            layers += [
                _conv(inputs, channels, norm=self.norm),
                _conv(channels, channels, norm=self.norm),
                nn.MaxPool2d(2),
            ]
            inputs = channels
        return nn.Sequential(*layers, _head(inputs, classes))


class _Pointwise(nn.Conv2d):
    """A 1x1 convolution of every ``step``-th pixel.

    Not as a stride, though it gives the same: of fewer than 8 channels oneDNN's kernel for that (torch 2.15, processors with AVX2
    alone) returns a wrong gradient, or writes over other memory.
    """

    def __init__(self, inputs: int, outputs: int, step: int) -> None:
        super().__init__(inputs, outputs, 1, bias=False)
        self.step = step

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input[..., :: self.step, :: self.step])


class _Residual(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int, norm: str) -> None:
        super().__init__()
        self.body = nn.Sequential(
            _conv(inputs, outputs, stride=stride, norm=norm),
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
            _norm(norm, outputs),
        )
        same = inputs == outputs and stride == 1
        self.skip = nn.Identity() if same else _Pointwise(inputs, outputs, stride)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.body(x) + self.skip(x))


class ResNet(FrameNetwork):
    """A small residual network of basic blocks (He et al. 2016), first stage at half resolution."""

    family: ClassVar[str] = "resnet"
    kind: Literal["resnet"] = "resnet"
    width: int = 16
    blocks: int = 1
    stages: int = 3
    norm: Literal["batch", "group"] = "batch"

    def image_network(self, classes: int) -> nn.Module:
        layers: list[nn.Module] = [_conv(3, self.width, stride=2, norm=self.norm)]
        inputs = self.width
        for stage in range(self.stages):
            channels = self.width * 2**stage
            for block in range(self.blocks):
                layers.append(_Residual(inputs, channels, 2 if stage and not block else 1, self.norm))
                inputs = channels
        return nn.Sequential(*layers, _head(inputs, classes))


class _Mixed(nn.Module):
    """Parallel 1x1, 3x3, double 3x3 and pooled branches, concatenated."""

    def __init__(self, inputs: int, outputs: int, norm: str) -> None:
        super().__init__()
        branch = outputs // 4
        self.branches = nn.ModuleList(
            [
                _conv(inputs, branch, 1, norm=norm),
                nn.Sequential(_conv(inputs, branch, 1, norm=norm), _conv(branch, branch, norm=norm)),
                nn.Sequential(
                    _conv(inputs, branch, 1, norm=norm),
                    _conv(branch, branch, norm=norm),
                    _conv(branch, branch, norm=norm),
                ),
                nn.Sequential(nn.AvgPool2d(3, 1, 1), _conv(inputs, branch, 1, norm=norm)),
            ]
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([branch(x) for branch in self.branches], 1)


class Inception(FrameNetwork):
    """A small Inception network (Szegedy et al. 2015, with the double 3x3 of Inception-v2)."""

    family: ClassVar[str] = "inception"
    kind: Literal["inception"] = "inception"
    width: int = 32
    stages: int = 3
    norm: Literal["batch", "group"] = "batch"

    def image_network(self, classes: int) -> nn.Module:
        layers: list[nn.Module] = [_conv(3, self.width, stride=2, norm=self.norm)]
        inputs = self.width
        for stage in range(self.stages):
            channels = self.width * 2**stage
            layers += [*([nn.MaxPool2d(2)] if stage else []), _Mixed(inputs, channels, self.norm)]
            inputs = channels
        return nn.Sequential(*layers, _head(inputs, classes))


class _Dense(nn.Module):
    def __init__(self, inputs: int, growth: int, layers: int, norm: str) -> None:
        super().__init__()
        self.layers = nn.ModuleList(_conv(inputs + i * growth, growth, norm=norm) for i in range(layers))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = torch.cat([x, layer(x)], 1)
        return x


class DenseNet(FrameNetwork):
    """A small densely connected network (Huang et al. 2017)."""

    family: ClassVar[str] = "densenet"
    kind: Literal["densenet"] = "densenet"
    growth: int = 12
    layers: int = 3
    stages: int = 3
    norm: Literal["batch", "group"] = "batch"

    def image_network(self, classes: int) -> nn.Module:
        channels = 2 * self.growth
        layers: list[nn.Module] = [_conv(3, channels, stride=2, norm=self.norm)]
        for stage in range(self.stages):
            if stage:
                layers += [_conv(channels, channels // 2, 1, norm=self.norm), nn.AvgPool2d(2)]
                channels //= 2
            layers.append(_Dense(channels, self.growth, self.layers, self.norm))
            channels += self.growth * self.layers
        return nn.Sequential(*layers, _head(channels, classes))
