"""A U-Net that paints clips anew: what a reconstruction attacker inverts a filter with (Ronneberger et al. 2015)."""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class UNet(nn.Module):
    """Clips (N, 3, T, H, W) in [0, 1] to clips of the same shape and range.

    All ``frames`` of a clip are channels of one image, so that noise which is drawn anew in every frame averages out. ``width``
    channels at full size, twice as many at each of ``levels`` halvings.
    """

    def __init__(self, frames: int, width: int = 32, levels: int = 3) -> None:
        super().__init__()
        sizes = [width * 2**level for level in range(levels + 1)]
        self.levels = levels
        self.first = _block(3 * frames, width)
        self.down = nn.ModuleList(_block(inputs, outputs) for inputs, outputs in pairwise(sizes))
        self.up = nn.ModuleList(_block(inputs + outputs, outputs) for outputs, inputs in reversed(list(pairwise(sizes))))
        self.last = nn.Conv2d(width, 3 * frames, 1)

    def forward(self, clips: Tensor) -> Tensor:
        n, c, t, h, w = clips.shape
        step = 2**self.levels
        image = clips.reshape(n, c * t, h, w) * 2 - 1
        image = F.pad(image, (0, -w % step, 0, -h % step), mode="replicate").contiguous(memory_format=torch.channels_last)
        seen = [self.first(image)]
        for down in self.down:
            seen.append(down(F.avg_pool2d(seen[-1], 2)))
        x = seen.pop()
        for up in self.up:
            x = up(torch.cat([F.interpolate(x, scale_factor=2.0, mode="nearest"), seen.pop()], 1))
        return torch.sigmoid(self.last(x))[..., :h, :w].reshape(n, c, t, h, w)


def _block(inputs: int, outputs: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
        nn.GroupNorm(8, outputs),
        nn.ReLU(inplace=True),
        nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
        nn.GroupNorm(8, outputs),
        nn.ReLU(inplace=True),
    )
