"""The seed work's f_d: Johnson et al.'s image transform network as its TensorFlow code has it."""

from __future__ import annotations

from functools import partial
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from privadv.config import Section
from privadv.models.degradation import Degradation, Release
from privadv.models.tensorflow.same import conv_same, conv_transpose_same, instance_norm


class TfTransformNet(Section):
    """Five residual blocks at a quarter of the resolution, instance norm after every convolution, the last one included.

    ``white``: the value the network was trained to read as white; its output is in [0, 1] here, whatever it was there.
    ``width`` and ``blocks`` are 32 and 5 in every published checkpoint.
    """

    kind: Literal["tf_transform"] = "tf_transform"
    width: int = 32
    blocks: int = 5
    white: float = 255.0
    release: Release = Release()

    def build(self) -> TfDegradation:
        return TfDegradation(self)


class TfDegradation(Degradation):
    """H and W of any size."""

    def __init__(self, spec: TfTransformNet) -> None:
        super().__init__()
        self.spec = spec
        w = spec.width
        self._layer("conv1", 3, w, 9)
        self._layer("conv2", w, 2 * w, 3)
        self._layer("conv3", 2 * w, 4 * w, 3)
        for block in range(1, spec.blocks + 1):
            self._layer(f"resid{block}_1", 4 * w, 4 * w, 3)
            self._layer(f"resid{block}_2", 4 * w, 4 * w, 3)
        self._layer("conv_t1", 4 * w, 2 * w, 3, transposed=True)
        self._layer("conv_t2", 2 * w, w, 3, transposed=True)
        self._layer("conv_t3", w, 3, 9)

    def _layer(self, name: str, inputs: int, outputs: int, kernel: int, transposed: bool = False) -> None:
        shape = (inputs, outputs) if transposed else (outputs, inputs)
        weights = nn.init.trunc_normal_(torch.empty(*shape, kernel, kernel), std=0.1, a=-0.2, b=0.2)
        self.register_parameter(name, nn.Parameter(weights))
        self.register_parameter(f"{name}_scale", nn.Parameter(torch.ones(outputs)))
        self.register_parameter(f"{name}_shift", nn.Parameter(torch.zeros(outputs)))

    def paint(self, clips: Tensor) -> Tensor:
        n, c, t, h, w = clips.shape
        x = clips.transpose(1, 2).reshape(n * t, c, h, w).contiguous(memory_format=torch.channels_last)
        x = x * self.spec.white
        for name, stride in (("conv1", 1), ("conv2", 2), ("conv3", 2)):
            x = self.through(partial(self._shrink, name=name, stride=stride), x)
        for block in range(1, self.spec.blocks + 1):
            x = self.through(partial(self._residual, name=f"resid{block}"), x)
        for name in ("conv_t1", "conv_t2"):
            x = self.through(partial(self._grow, name=name), x)
        painted = torch.tanh(self._conv(x, "conv_t3")) * 0.5 + 0.5
        return painted[..., :h, :w].reshape(n, t, 3, h, w).transpose(1, 2)

    def _shrink(self, x: Tensor, name: str, stride: int) -> Tensor:
        return F.relu(self._conv(x, name, stride))

    def _residual(self, x: Tensor, name: str) -> Tensor:
        return x + self._conv(F.relu(self._conv(x, f"{name}_1")), f"{name}_2")

    def _grow(self, x: Tensor, name: str) -> Tensor:
        return F.relu(self._norm(conv_transpose_same(x, self.get_parameter(name), 2), name))

    def _conv(self, x: Tensor, name: str, stride: int = 1) -> Tensor:
        return self._norm(conv_same(x, self.get_parameter(name), stride), name)

    def _norm(self, x: Tensor, name: str) -> Tensor:
        return instance_norm(x, self.get_parameter(f"{name}_scale"), self.get_parameter(f"{name}_shift"))
