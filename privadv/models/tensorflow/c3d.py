"""The seed work's f_T: C3D as its TensorFlow code has it, features flattened place by place, channels last."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from privadv.config import Section
from privadv.models.tensorflow.same import Range, max_pool3d_same, to_range
from privadv.parallel.layers import dropout

STAGES = (("1",), ("2",), ("3a", "3b"), ("4a", "4b"), ("5a", "5b"))


class TfC3D(Section):
    """``size`` is (T, H, W) of the clips it will see, since the dense layers depend on it; ``reads`` as in the checkpoint."""

    family: ClassVar[str] = "c3d"
    kind: Literal["tf_c3d"] = "tf_c3d"
    width: int = 64
    dense: int = 4096
    dropout: float = 0.0
    size: tuple[int, int, int] = (16, 112, 112)
    reads: Range = "unit"

    @property
    def published(self) -> str:
        return "sports1m"

    @property
    def head(self) -> tuple[str, ...]:
        """The seed work took all but the last two layers of the Sports-1M weights."""
        return "wd2", "bd2", "wout", "bout"

    @property
    def features(self) -> int:
        """How many numbers the first dense layer reads."""
        t, h, w = self.size
        for stage in range(len(STAGES)):
            t, h, w = (t if stage == 0 else -(-t // 2)), -(-h // 2), -(-w // 2)
        return 8 * self.width * t * h * w

    def build(self, classes: int) -> nn.Module:
        return C3DNetwork(self, classes)


class C3DNetwork(nn.Module):
    """(N, 3, T, H, W) in [-1, 1] to (N, classes)."""

    def __init__(self, spec: TfC3D, classes: int) -> None:
        super().__init__()
        self.spec = spec
        inputs = 3
        for stage, names in enumerate(STAGES):
            outputs = spec.width * min(2**stage, 8)
            for name in names:
                self._layer(f"c{name}", (outputs, inputs, 3, 3, 3))
                inputs = outputs
        self._layer("d1", (spec.dense, spec.features))
        self._layer("d2", (spec.dense, spec.dense))
        self._layer("out", (classes, spec.dense))

        self.reset_parameters()

    def _layer(self, name: str, shape: tuple[int, ...]) -> None:
        self.register_parameter(f"w{name}", nn.Parameter(torch.empty(shape)))
        self.register_parameter(f"b{name}", nn.Parameter(torch.empty(shape[0])))

    def reset_parameters(self) -> None:
        for parameter in self.parameters():
            if parameter.ndim == 1:
                nn.init.zeros_(parameter)
            else:
                nn.init.xavier_uniform_(parameter)

    def forward(self, clips: Tensor) -> Tensor:
        x = to_range(clips, self.spec.reads)
        for stage, names in enumerate(STAGES):
            for name in names:
                x = F.relu(F.conv3d(x, *self._of(f"c{name}"), padding=1))
            x = max_pool3d_same(x, (1 if stage == 0 else 2, 2, 2))
        x = x.permute(0, 2, 3, 4, 1).flatten(1)
        learns = self.training and self.get_parameter("wout").requires_grad  # the seed keeps all where another player learns
        for name in ("d1", "d2"):
            x = dropout(F.relu(F.linear(x, *self._of(name))), self.spec.dropout, learns)
        return F.linear(x, *self._of("out"))

    def _of(self, name: str) -> tuple[Tensor, Tensor]:
        return self.get_parameter(f"w{name}"), self.get_parameter(f"b{name}")
