"""The same game step as one writes it first: a straightforward PyTorch port of the seed's networks, at PyTorch's defaults.

Contiguous tensors, one budget model after the other, unfused Adam, losses read back at every step. Networks are those of
`privadv.models` in structure and order of parameters, so that both sides can start from the same weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Rates = tuple[float, float, float]


class Filter(nn.Module):
    """Johnson's transform network over every frame; gray and 8 bit at the end, the rounding straight through."""

    def __init__(self, width: int = 32, blocks: int = 5, kernel: int = 9) -> None:
        super().__init__()
        w = width
        self.encode = nn.Sequential(
            _norm_conv(3, w, kernel), _norm_conv(w, 2 * w, 3, 2), _norm_conv(2 * w, 4 * w, 3, 2)
        )
        self.blocks = nn.ModuleList(
            nn.Sequential(
                _norm_conv(4 * w, 4 * w, 3),
                nn.Conv2d(4 * w, 4 * w, 3, padding=1),
                nn.InstanceNorm2d(4 * w, eps=1e-3, affine=True),
            )
            for _ in range(blocks)
        )
        self.up = nn.ModuleList([_norm_conv(4 * w, 2 * w, 3), _norm_conv(2 * w, w, 3)])
        self.last = nn.Conv2d(w, 3, kernel, padding=kernel // 2)

    def forward(self, clips: Tensor) -> Tensor:
        n, c, t, h, w = clips.shape
        x = self.encode(clips.transpose(1, 2).reshape(n * t, c, h, w))
        for block in self.blocks:
            x = x + block(x)
        for up in self.up:
            x = up(F.interpolate(x, scale_factor=2, mode="nearest"))
        x = torch.tanh(self.last(x)) * 0.5 + 0.5
        gray = x.mean(1, keepdim=True).clamp(0, 1)
        gray = gray + ((gray * 255).round() / 255 - gray).detach()
        return gray.expand(-1, 3, -1, -1).reshape(n, t, c, h, w).transpose(1, 2)


class C3D(nn.Module):
    """Tran et al. 2015."""

    def __init__(self, classes: int, width: int = 64, dense: int = 4096, features: int = 512 * 4 * 4) -> None:
        super().__init__()
        channels = [3, *(width * scale for scale in (1, 2, 4, 4, 8, 8, 8, 8))]
        self.convs = nn.ModuleList(nn.Conv3d(a, b, 3, padding=1) for a, b in pairwise(channels))
        self.dense = nn.ModuleList(
            [nn.Linear(features, dense), nn.Linear(dense, dense), nn.Linear(dense, classes)]
        )

    def forward(self, clips: Tensor) -> Tensor:
        x = clips * 2 - 1
        for number, conv in enumerate(self.convs):
            x = F.relu(conv(x))
            if number in (0, 1, 3, 5, 7):
                kernel = (1, 2, 2) if number == 0 else 2
                x = F.max_pool3d(x, kernel, kernel, ceil_mode=True)
        x = x.flatten(1)
        for layer in self.dense[:2]:
            x = F.dropout(F.relu(layer(x)), 0.5, self.training)
        return self.dense[2](x)


class MobileNet(nn.Module):
    """MobileNet v1 over every frame, logits averaged over time."""

    def __init__(self, classes: int, width: float = 0.6) -> None:
        super().__init__()
        plan = [
            (64, 1),
            (128, 2),
            (128, 1),
            (256, 2),
            (256, 1),
            (512, 2),
            *[(512, 1)] * 5,
            (1024, 2),
            (1024, 1),
        ]
        layers, inputs = [_batch_conv(3, int(32 * width), 3, 2)], int(32 * width)
        for outputs, stride in plan:
            scaled = int(outputs * width)
            layers += [_batch_conv(inputs, inputs, 3, stride, inputs), _batch_conv(inputs, scaled, 1)]
            inputs = scaled
        self.layers, self.head = nn.Sequential(*layers), nn.Linear(inputs, classes)

    def forward(self, clips: Tensor) -> Tensor:
        n, c, t, h, w = clips.shape
        x = self.layers((clips * 2 - 1).transpose(1, 2).reshape(n * t, c, h, w))
        return self.head(x.mean((2, 3))).view(n, t, -1).mean(1)


class Game:
    """The three steps of a K-beam round, one batch each."""

    def __init__(self, filter_: Filter, target: C3D, budget: Sequence[MobileNet], rates: Rates) -> None:
        """``rates`` of the max, min and target step."""
        self.filter, self.target, self.budget, self.strongest = filter_, target, list(budget), 0
        self.ascent = torch.optim.Adam(filter_.parameters(), rates[0])
        self.descent = [torch.optim.Adam(model.parameters(), rates[1]) for model in budget]
        self.recovery = torch.optim.Adam([*filter_.parameters(), *target.parameters()], rates[2])

    def max_step(self, clips: Tensor, labels: Tensor) -> float:
        """The filter ascends the strongest budget model's loss."""
        loss = F.cross_entropy(self.budget[self.strongest](self.filter(clips)), labels)
        self.ascent.zero_grad()
        (-loss).backward()
        self.ascent.step()
        return loss.item()

    def min_step(self, clips: Tensor, labels: Tensor) -> list[float]:
        """Every budget model descends its own loss."""
        losses = []
        with torch.no_grad():
            filtered = self.filter(clips)
        for model, optimizer in zip(self.budget, self.descent, strict=True):
            loss = F.cross_entropy(model(filtered), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        self.strongest = losses.index(min(losses))
        return losses

    def target_step(self, clips: Tensor, labels: Tensor) -> float:
        """Target and filter descend the target's loss."""
        loss = F.cross_entropy(self.target(self.filter(clips)), labels)
        self.recovery.zero_grad()
        loss.backward()
        self.recovery.step()
        return loss.item()


def _norm_conv(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2),
        nn.InstanceNorm2d(outputs, eps=1e-3, affine=True),
        nn.ReLU(),
    )


def _batch_conv(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    )
