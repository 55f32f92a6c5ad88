"""Video networks that see motion: target models (f_T) and temporal attackers. (N, 3, T, H, W) floats to (N, classes) logits."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from privadv.config import Section


class _Factored(nn.Module):
    """A residual (2+1)D block: spatial then temporal convolution, group-normalised (Tran et al. 2018)."""

    def __init__(self, inputs: int, outputs: int, stride: tuple[int, int]) -> None:
        super().__init__()
        time, space = stride
        self.spatial = nn.Conv3d(inputs, outputs, (1, 3, 3), (1, space, space), (0, 1, 1), bias=False)
        self.temporal = nn.Conv3d(outputs, outputs, (3, 1, 1), (time, 1, 1), (1, 0, 0), bias=False)
        self.norms = nn.ModuleList(nn.GroupNorm(4, outputs) for _ in range(2))
        same = inputs == outputs and stride == (1, 1)
        self.skip = nn.Identity() if same else nn.Conv3d(inputs, outputs, 1, (time, space, space), bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.norms[0](self.spatial(x)))
        return torch.relu(self.norms[1](self.temporal(y)) + self.skip(x))


class R2Plus1D(Section):
    """A small (2+1)D residual network with group normalisation, so that it reads the same in training and inference."""

    family: ClassVar[str] = "r2plus1d"
    kind: Literal["r2plus1d"] = "r2plus1d"
    width: int = 16
    dropout: float = 0.2

    def build(self, classes: int) -> nn.Module:
        w = self.width
        return nn.Sequential(
            nn.Conv3d(3, w, (1, 5, 5), (1, 2, 2), (0, 2, 2), bias=False),
            nn.GroupNorm(4, w),
            nn.ReLU(inplace=True),
            _Factored(w, w, (1, 1)),
            _Factored(w, 2 * w, (1, 2)),
            _Factored(2 * w, 4 * w, (2, 2)),
            _Factored(4 * w, 4 * w, (2, 2)),
            nn.AdaptiveAvgPool3d((1, 2, 2)),
            nn.Flatten(),
            nn.Dropout(self.dropout),
            nn.Linear(16 * w, classes),
        )


class C3D(Section):
    """C3D (Tran et al. 2015) as the seed work uses it: five stages of 3x3x3 convolutions, SAME pooling, two dense layers.

    ``size`` is (T, H, W) of the clips it will see, since the dense layers depend on it; 16 x 112 x 112 is the paper's.
    """

    family: ClassVar[str] = "c3d"
    kind: Literal["c3d"] = "c3d"
    width: int = 64
    dense: int = 4096
    dropout: float = 0.5
    size: tuple[int, int, int] = (16, 112, 112)

    def build(self, classes: int) -> nn.Module:
        w, layers, inputs = self.width, [], 3
        shape = list(self.size)
        for stage, (channels, convolutions) in enumerate(
            ((w, 1), (2 * w, 1), (4 * w, 2), (8 * w, 2), (8 * w, 2))
        ):
            for _ in range(convolutions):
                layers += [nn.Conv3d(inputs, channels, 3, padding=1), nn.ReLU(inplace=True)]
                inputs = channels
            kernel = (1 if stage == 0 else 2, 2, 2)
            layers.append(nn.MaxPool3d(kernel, kernel, ceil_mode=True))
            shape = [-(-length // k) for length, k in zip(shape, kernel, strict=True)]
        features = inputs * shape[0] * shape[1] * shape[2]
        dense = [
            nn.Flatten(),
            nn.Linear(features, self.dense),
            nn.ReLU(inplace=True),
            nn.Dropout(self.dropout),
            nn.Linear(self.dense, self.dense),
            nn.ReLU(inplace=True),
            nn.Dropout(self.dropout),
            nn.Linear(self.dense, classes),
        ]
        return nn.Sequential(*layers, *dense)
