"""Inception-v1 and Inception-v2 (BN-Inception) as slim has them; global pooling, so that any size from 112 up works.

slim's batch norms have no gamma here, and Inception-v2's first, separable convolution has a bias instead of a batch norm.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from privadv.models.tensorflow.same import (
    AvgPool,
    Conv,
    ImageNetwork,
    MaxPool,
    Norm,
    Range,
    Separable,
    Statistics,
    TfFrameNetwork,
)

# Widths of a block's branches: 1x1; 1x1 and 3x3; 1x1 and 3x3; pooled 1x1.
V1 = {
    "Mixed_3b": (64, (96, 128), (16, 32), 32),
    "Mixed_3c": (128, (128, 192), (32, 96), 64),
    "MaxPool_4a_3x3": 3,
    "Mixed_4b": (192, (96, 208), (16, 48), 64),
    "Mixed_4c": (160, (112, 224), (24, 64), 64),
    "Mixed_4d": (128, (128, 256), (24, 64), 64),
    "Mixed_4e": (112, (144, 288), (32, 64), 64),
    "Mixed_4f": (256, (160, 320), (32, 128), 128),
    "MaxPool_5a_2x2": 2,
    "Mixed_5b": (256, (160, 320), (32, 128), 128),
    "Mixed_5c": (384, (192, 384), (48, 128), 128),
}
# 1x1; 1x1 and 3x3; 1x1 and twice 3x3; pooled 1x1. Two branches only: a block that halves the resolution.
V2 = {
    "Mixed_3b": (64, (64, 64), (64, 96), 32),
    "Mixed_3c": (64, (64, 96), (64, 96), 64),
    "Mixed_4a": ((128, 160), (64, 96)),
    "Mixed_4b": (224, (64, 96), (96, 128), 128),
    "Mixed_4c": (192, (96, 128), (96, 128), 128),
    "Mixed_4d": (160, (128, 160), (128, 160), 96),
    "Mixed_4e": (96, (128, 192), (160, 192), 96),
    "Mixed_5a": ((128, 192), (192, 256)),
    "Mixed_5b": (352, (192, 320), (160, 224), 128),
    "Mixed_5c": (352, (192, 320), (192, 224), 128),
}


class TfInception(TfFrameNetwork):
    """``version`` 1 is GoogLeNet with batch norm, 2 is BN-Inception."""

    family: ClassVar[str] = "inception"
    kind: Literal["tf_inception"] = "tf_inception"
    version: Literal[1, 2] = 1
    decay: float = 0.9997
    statistics: Statistics = "moving"
    reads: Range = "signed"
    dropout: float = 0.2

    @property
    def published(self) -> str:
        return f"inception_v{self.version}"

    def image_network(self, classes: int) -> nn.Module:
        make = _Maker(Norm(decay=self.decay, scale=False, statistics=self.statistics), self.version)
        layers: dict[str, nn.Module] = {
            "Conv2d_1a_7x7": make.conv(3, 64, 7, 2) if self.version == 1 else Separable(3, 64, 7, 2, 8),
            "MaxPool_2a_3x3": MaxPool(3, 2),
            "Conv2d_2b_1x1": make.conv(64, 64, 1),
            "Conv2d_2c_3x3": make.conv(64, 192, 3),
            "MaxPool_3a_3x3": MaxPool(3, 2),
        }
        channels = 192
        for name, widths in (V1 if self.version == 1 else V2).items():
            if isinstance(widths, int):
                layers[name] = MaxPool(widths, 2)
                continue
            layers[name] = make.halving(channels, *widths) if len(widths) == 2 else make.mixed(name, channels)
            channels = _outputs(widths, channels)
        return ImageNetwork(layers, channels, classes, self.reads, self.dropout)


class _Branches(nn.Module):
    def __init__(self, branches: list[dict[str, nn.Module]]) -> None:
        super().__init__()
        self.count = len(branches)
        for i, layers in enumerate(branches):
            branch = nn.Sequential()
            for name, layer in layers.items():
                branch.add_module(name, layer)
            self.add_module(f"Branch_{i}", branch)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.get_submodule(f"Branch_{i}")(x) for i in range(self.count)], 1)


class _Maker:
    """The convolutions and blocks of one Inception version."""

    def __init__(self, norm: Norm, version: int) -> None:
        self.norm, self.version = norm, version

    def conv(self, inputs: int, outputs: int, kernel: int, stride: int = 1) -> Conv:
        deviation = 0.01 if self.version == 1 else None
        return Conv(inputs, outputs, kernel, stride, norm=self.norm, activation="relu", deviation=deviation)

    def mixed(self, name: str, inputs: int) -> nn.Module:
        """Four branches side by side, at the same resolution."""
        if self.version == 1:
            return self._mixed_v1(name, inputs)
        single, (a, b), (c, d), pooled = V2[name]
        pool = MaxPool if name == "Mixed_5c" else AvgPool
        pool_name = "MaxPool_0a_3x3" if name == "Mixed_5c" else "AvgPool_0a_3x3"
        double = {"Conv2d_0b_3x3": self.conv(c, d, 3), "Conv2d_0c_3x3": self.conv(d, d, 3)}
        return _Branches(
            [
                {"Conv2d_0a_1x1": self.conv(inputs, single, 1)},
                {"Conv2d_0a_1x1": self.conv(inputs, a, 1), "Conv2d_0b_3x3": self.conv(a, b, 3)},
                {"Conv2d_0a_1x1": self.conv(inputs, c, 1), **double},
                {pool_name: pool(3, 1), "Conv2d_0b_1x1": self.conv(inputs, pooled, 1)},
            ]
        )

    def _mixed_v1(self, name: str, inputs: int) -> nn.Module:
        single, (a, b), (c, d), pooled = V1[name]
        last = "Conv2d_0a_3x3" if name == "Mixed_5b" else "Conv2d_0b_3x3"  # slim's own slip of the pen
        return _Branches(
            [
                {"Conv2d_0a_1x1": self.conv(inputs, single, 1)},
                {"Conv2d_0a_1x1": self.conv(inputs, a, 1), "Conv2d_0b_3x3": self.conv(a, b, 3)},
                {"Conv2d_0a_1x1": self.conv(inputs, c, 1), last: self.conv(c, d, 3)},
                {"MaxPool_0a_3x3": MaxPool(3, 1), "Conv2d_0b_1x1": self.conv(inputs, pooled, 1)},
            ]
        )

    def halving(self, inputs: int, first: tuple[int, int], second: tuple[int, int]) -> nn.Module:
        """Two branches with stride 2 and a pooled one."""
        (a, b), (c, d) = first, second
        twice = {"Conv2d_0b_3x3": self.conv(c, d, 3), "Conv2d_1a_3x3": self.conv(d, d, 3, 2)}
        return _Branches(
            [
                {"Conv2d_0a_1x1": self.conv(inputs, a, 1), "Conv2d_1a_3x3": self.conv(a, b, 3, 2)},
                {"Conv2d_0a_1x1": self.conv(inputs, c, 1), **twice},
                {"MaxPool_1a_3x3": MaxPool(3, 2)},
            ]
        )


def _outputs(widths: tuple, inputs: int) -> int:
    last = [width if isinstance(width, int) else width[-1] for width in widths]
    return sum(last) + (inputs if len(widths) == 2 else 0)
