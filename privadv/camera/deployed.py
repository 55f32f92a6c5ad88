"""An exported graph in a filter's place, so that an evaluation can measure what a camera computes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from privadv.camera.frames import FrameFilter
from privadv.camera.graph import Graph, Precision, convert
from privadv.camera.noise import Noise
from privadv.camera.step import Needs
from privadv.data.feeds import to_float, to_uint8
from privadv.models.degradation import Degradation
from privadv.parallel.layers import randn


class Deployed(Degradation):
    """A graph on whole clips, each a video of its own, with the noise that the filter's release would draw of the generator."""

    def __init__(self, graph: Graph, spec: Any) -> None:
        super().__init__()
        self.spec, self._graph = spec, graph

    def forward(self, clips: Tensor, generator: torch.Generator | None = None) -> Tensor:
        n, _, *shape = clips.shape
        drawn = [Noise()] * n
        if self._graph.needs.noise:
            noise = randn((n, self._graph.needs.channels, *shape), generator, clips.device)
            drawn = [_Drawn(one) for one in noise.transpose(1, 2).cpu()]
        videos = zip(to_uint8(clips), drawn, strict=True)
        return to_float(np.stack([FrameFilter(self._graph, noise)(video) for video, noise in videos]), clips.device)


class _Drawn(Noise):
    """Noise (T, C, H, W) that was drawn for a video, frame after frame."""

    def __init__(self, noise: Tensor) -> None:
        self._left = noise.contiguous()

    def draw(self, shape: Sequence[int]) -> Tensor:
        now, self._left = self._left.split([shape[0], len(self._left) - shape[0]])
        return now


def deploy(filter_: Degradation, precision: Precision, seen: Iterable[np.ndarray], threads: int) -> Degradation:
    """``filter_`` as ``privadv export`` would write it in ``precision``; ``seen``: raw clips, uint8 (T, H, W, 3), for int8."""
    graph = convert(filter_, precision, seen).SerializeToString()
    return Deployed(Graph(graph, Needs.of(filter_), threads), filter_.spec)
