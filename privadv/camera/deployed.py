"""An exported graph in a filter's place, so that an evaluation can measure what a camera computes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from privadv.camera.graph import Graph, to_half, to_int8, trace
from privadv.camera.step import FIRST, Needs
from privadv.data.feeds import to_float, to_uint8
from privadv.models.degradation import Degradation
from privadv.parallel.layers import randn


class Deployed(Degradation):
    """A graph on whole clips, with the noise that the filter's own release would draw of the same generator."""

    def __init__(self, graph: Graph, spec: Any) -> None:
        super().__init__()
        self.spec, self._graph = spec, graph

    def forward(self, clips: Tensor, generator: torch.Generator | None = None) -> Tensor:
        needs, (n, _, t, h, w) = self._graph.needs, clips.shape
        noise = randn((n, needs.channels, t, h, w), generator, clips.device).cpu() if needs.noise else None
        smoothed = torch.full((n, needs.channels, h, w), FIRST) if needs.smoothed else None
        frames, released = torch.from_numpy(to_uint8(clips)), []
        for i in range(t):
            stored, smoothed = self._graph(
                frames[:, i].contiguous(), frames[:, max(0, i - 1)].contiguous(),
                None if noise is None else noise[:, :, i].contiguous(), smoothed)  # fmt: skip
            released.append(stored)
        return to_float(torch.stack(released, 1).numpy(), clips.device)


def deploy(filter_: Degradation, precision: str, seen: Iterable[np.ndarray], threads: int) -> Degradation:
    """``filter_`` as ``privadv export`` would write it in ``precision``, fp16 or int8; ``seen``: clips, uint8 (T, H, W, 3)."""
    needs = Needs.of(filter_.spec.release, filter_.sees_motion)
    graph = to_half(trace(filter_)) if precision == "fp16" else to_int8(trace(filter_), needs, seen)
    return Deployed(Graph(graph.SerializeToString(), needs, threads), filter_.spec)
