"""The noise of a release, from a source that nobody can run again."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence

import torch
from torch import Tensor


class Noise:
    """Standard normal draws; ``seed`` only where somebody wants the same video twice.

    Without one they are made of the operating system's random bytes. torch's generator would be no protection: on the CPU it
    has 2^32 starts, so whoever holds the filter could try them all and subtract the noise that fits.
    """

    def __init__(self, seed: int | None = None) -> None:
        self._generator = None if seed is None else torch.Generator().manual_seed(seed)

    def draw(self, shape: Sequence[int]) -> Tensor:
        """float32 of ``shape``."""
        if self._generator is not None:
            return torch.randn(*shape, generator=self._generator)
        count = math.prod(shape)
        return _box_muller(_uniform(count + count % 2))[:count].reshape(*shape)


def _uniform(count: int) -> Tensor:
    """float64 (count,) in (0, 1], from 32 random bits each."""
    bits = torch.frombuffer(bytearray(os.urandom(4 * count)), dtype=torch.int32)
    return (bits.double() + (2**31 + 1)) / 2**32


def _box_muller(uniform: Tensor) -> Tensor:
    """Box and Muller (1958): two uniform draws are two normal ones."""
    first, second = uniform.float().chunk(2)
    radius, angle = (-2 * first.log()).sqrt(), 2 * math.pi * second
    return torch.cat([radius * angle.cos(), radius * angle.sin()])
