"""A filter and its release as one function of 8-bit frames: what a camera computes, and what an exported graph holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from privadv.models.degradation import Degradation, Release, add_noise, quantise, smooth

FIRST = -1.0
"""The value of ``smoothed`` where no frame was before."""


@dataclass(frozen=True)
class Needs:
    """What a step must be given beside the frames; how many ``channels`` its noise and its memory have; from which height and
    width on it works (``smallest``).
    """

    before: bool
    noise: bool
    smoothed: bool
    channels: int
    smallest: int

    @classmethod
    def of(cls, filter_: Degradation) -> Needs:
        how: Release = filter_.spec.release
        return cls(filter_.sees_motion, how.noise > 0, how.smooth > 0, 1 if how.gray else 3, filter_.smallest)

    @property
    def names(self) -> list[str]:
        """Names of the inputs, in order."""
        wanted = {"before": self.before, "noise": self.noise, "smoothed": self.smoothed}
        return ["frames", *(name for name, needed in wanted.items() if needed)]


class Stepping(Protocol):
    """Filters N frames at once; those that are smoothed belong to N videos, any others may be of one.

    ``frames``, ``before``: uint8 (N, H, W, 3) RGB. ``noise``: float (N, C, H, W), standard normal. ``smoothed``: float
    (N, C, H, W), the second result of the frames before, or FIRST everywhere. Returns the frames as they are stored, uint8
    (N, H, W, 3), and ``smoothed`` for the next ones, None for a release that does not smooth.
    """

    needs: Needs

    def __call__(self, frames: Tensor, before: Tensor | None = None, noise: Tensor | None = None,
                 smoothed: Tensor | None = None) -> tuple[Tensor, Tensor | None]: ...


class Step(nn.Module):
    """A step in PyTorch."""

    def __init__(self, filter_: Degradation) -> None:
        super().__init__()
        self.filter = filter_.eval()
        self.how: Release = filter_.spec.release
        self.needs = Needs.of(filter_)

    def forward(self, frames: Tensor, before: Tensor | None = None, noise: Tensor | None = None,
                smoothed: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        clips = _clips(frames)
        painted = self.filter.paint(clips) if before is None else self.filter.paint(clips, _clips(before))
        if self.how.gray:
            painted = painted.mean(1, keepdim=True)
        noisy = add_noise(painted, self.how, None if noise is None else noise[:, :, None])
        if smoothed is not None:
            first = noisy[:, :, 0]
            noisy = smooth(noisy, self.how, torch.where(smoothed < 0, first, smoothed))
            smoothed = noisy[:, :, 0]
        stored = quantise(noisy, self.how)[:, :, 0].permute(0, 2, 3, 1)
        return (stored * 255).round().to(torch.uint8), smoothed


def _clips(frames: Tensor) -> Tensor:
    """uint8 (N, H, W, 3) to float clips of one frame (N, 3, 1, H, W) in [0, 1]."""
    return frames.permute(0, 3, 1, 2).float()[:, :, None] / 255
