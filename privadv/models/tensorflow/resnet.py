"""ResNet-v1 and -v2, 50 and 101 layers, as slim has them: the stride stands in the last unit of a block."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch.nn.functional as F
from torch import Tensor, nn

from privadv.models.tensorflow.same import (
    BatchNorm,
    Conv,
    ImageNetwork,
    MaxPool,
    Norm,
    Range,
    Statistics,
    TfFrameNetwork,
)

UNITS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}


class TfResNet(TfFrameNetwork):
    """``version`` 1 normalises after, 2 before a convolution; batch norm with epsilon 1e-5."""

    family: ClassVar[str] = "resnet"
    kind: Literal["tf_resnet"] = "tf_resnet"
    version: Literal[1, 2] = 1
    layers: Literal[50, 101] = 50
    decay: float = 0.997
    statistics: Statistics = "moving"
    reads: Range = "signed"

    @property
    def published(self) -> str:
        return f"resnet_v{self.version}_{self.layers}"

    def image_network(self, classes: int) -> nn.Module:
        norm = Norm(1e-5, self.decay, statistics=self.statistics)
        unit = _UnitV1 if self.version == 1 else _UnitV2
        first = norm if self.version == 1 else None
        layers: dict[str, nn.Module] = {
            "conv1": Conv(3, 64, 7, 2, norm=first, activation="relu" if first else "none", fixed=True),
            "pool1": MaxPool(3, 2),
        }
        inputs = 64
        for block, units in enumerate(UNITS[self.layers]):
            width, stages = 64 * 2**block, nn.Sequential()
            for i in range(1, units + 1):
                stride = 2 if i == units and block < 3 else 1
                stages.add_module(f"unit_{i}", _Scope(self.version, unit(inputs, width, stride, norm)))
                inputs = 4 * width
            layers[f"block{block + 1}"] = stages
        if self.version == 2:
            layers["postnorm"] = _Activated(inputs, norm)
        return ImageNetwork(layers, inputs, classes, self.reads)


class _Scope(nn.Sequential):
    def __init__(self, version: int, unit: nn.Module) -> None:
        super().__init__()
        self.add_module(f"bottleneck_v{version}", unit)


class _Activated(BatchNorm):
    def forward(self, x: Tensor) -> Tensor:
        return F.relu(super().forward(x))


class _UnitV1(nn.Module):
    def __init__(self, inputs: int, width: int, stride: int, norm: Norm) -> None:
        super().__init__()
        self.stride = stride
        self.shortcut = None if inputs == 4 * width else Conv(inputs, 4 * width, 1, stride, norm=norm)
        self.conv1 = Conv(inputs, width, 1, norm=norm, activation="relu")
        self.conv2 = Conv(width, width, 3, stride, norm=norm, activation="relu", fixed=True)
        self.conv3 = Conv(width, 4 * width, 1, norm=norm)

    def forward(self, x: Tensor) -> Tensor:
        short = self.shortcut(x) if self.shortcut else _subsample(x, self.stride)
        return F.relu(short + self.conv3(self.conv2(self.conv1(x))))


class _UnitV2(nn.Module):
    def __init__(self, inputs: int, width: int, stride: int, norm: Norm) -> None:
        super().__init__()
        self.stride = stride
        self.preact = _Activated(inputs, norm)
        self.shortcut = None if inputs == 4 * width else Conv(inputs, 4 * width, 1, stride)
        self.conv1 = Conv(inputs, width, 1, norm=norm, activation="relu")
        self.conv2 = Conv(width, width, 3, stride, norm=norm, activation="relu", fixed=True)
        self.conv3 = Conv(width, 4 * width, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.preact(x)
        short = self.shortcut(y) if self.shortcut else _subsample(x, self.stride)
        return short + self.conv3(self.conv2(self.conv1(y)))


def _subsample(x: Tensor, stride: int) -> Tensor:
    return x[..., ::stride, ::stride]
