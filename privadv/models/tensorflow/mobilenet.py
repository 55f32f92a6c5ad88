"""MobileNet-v1 as slim and the seed work have it: SAME padding, relu6, batch norm with epsilon 1e-3."""

from __future__ import annotations

from typing import ClassVar, Literal

from torch import nn

from privadv.models.tensorflow.same import (
    Conv,
    Depthwise,
    ImageNetwork,
    Norm,
    Range,
    Statistics,
    TfFrameNetwork,
)

PLAN = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1))


class TfMobileNet(TfFrameNetwork):
    """``width`` is the depth multiplier. The seed's budget models use ``decay`` 0.999, slim's own 0.9997."""

    family: ClassVar[str] = "mobilenet"
    kind: Literal["tf_mobilenet"] = "tf_mobilenet"
    width: float = 1.0
    decay: float = 0.9997
    statistics: Statistics = "moving"
    reads: Range = "signed"
    dropout: float = 0.001

    @property
    def published(self) -> str:
        return f"mobilenet_v1_{self.width:g}"

    def image_network(self, classes: int) -> nn.Module:
        norm = Norm(decay=self.decay, statistics=self.statistics)
        channels = self._scaled(32)
        layers: dict[str, nn.Module] = {
            "Conv2d_0": Conv(3, channels, 3, 2, norm=norm, activation="relu6", deviation=0.09)
        }
        for i, (plain, stride) in enumerate(PLAN, 1):
            outputs = self._scaled(plain)
            layers[f"Conv2d_{i}_depthwise"] = Depthwise(channels, stride, norm, "relu6", 0.09)
            layers[f"Conv2d_{i}_pointwise"] = Conv(
                channels, outputs, 1, norm=norm, activation="relu6", deviation=0.09
            )
            channels = outputs
        return ImageNetwork(layers, channels, classes, self.reads, self.dropout)

    def _scaled(self, channels: int) -> int:
        return max(8, int(channels * self.width))
