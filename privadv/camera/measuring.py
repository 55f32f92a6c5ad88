"""Whether an exported filter is the one that was exported, and what it costs."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from privadv.camera.graph import Graph, Precision, inputs
from privadv.camera.noise import Noise
from privadv.camera.step import FIRST, Step, Stepping
from privadv.errors import PrivadvError
from privadv.models.degradation import Degradation

TOLERANCE: dict[Precision, int] = {"fp32": 2, "fp16": 4, "int8": 8}
"""Grey levels by which no stored pixel may differ from PyTorch's."""
SIZES = ((48, 48), (61, 87))
"""(H, W) of the random frames that stand in for a video, one of them even, one odd."""
QUICK_SECONDS, QUICK_PASSES = 1.0, 3


def accept(step: Step, graph: Graph, precision: Precision, videos: Sequence[Sequence[np.ndarray]] = ()) -> str:
    """Compare a graph with PyTorch on ``videos`` of uint8 frames (H, W, 3), or on random ones; returns what was found, in words.

    Where the release stores few grey levels, one of these more is no error: a pixel at a threshold may fall on either side.

    Raises:
        PrivadvError: a pixel differs by more than TOLERANCE.
    """
    sizes = [[max(side, step.needs.smallest) for side in size] for size in SIZES]
    worst = max(difference(step, graph, video) for video in videos or [_random(*size) for size in sizes])
    allowed = max(TOLERANCE[precision], -(-255 // (step.how.levels - 1)))
    what = f"{sum(map(len, videos))} frames of the video" if videos else "random frames"
    if worst > allowed:
        raise PrivadvError(
            f"the {precision} graph differs from PyTorch by {worst}/255 on {what}, more than {allowed}/255: it is not written; "
            "take another --precision"
        )
    return f"the {precision} graph differs from PyTorch by at most {worst}/255 on {what} (allowed: {allowed}/255)"


@torch.inference_mode()
def difference(one: Stepping, other: Stepping, video: Sequence[np.ndarray], seed: int = 0) -> int:
    """The largest difference, in grey levels, between what two filters store of a video, with equal noise."""
    needs, noise, worst = one.needs, Noise(seed), 0
    memory = (1, needs.channels, *video[0].shape[:2])
    states = [torch.full(memory, FIRST) if needs.smoothed else None] * 2
    before = torch.from_numpy(video[0])[None]
    for frame in video:
        now = torch.from_numpy(frame)[None]
        given = {"frames": now, "before": before if needs.before else None,
                 "noise": noise.draw(memory) if needs.noise else None}
        (a, states[0]), (b, states[1]) = one(**given, smoothed=states[0]), other(**given, smoothed=states[1])
        worst, before = max(worst, int((a.int() - b.int()).abs().max())), now
    return worst


@torch.no_grad()
def cost(filter_: Degradation, height: int, width: int) -> tuple[int, int]:
    """Parameters, and floating-point operations a frame (a multiplication and an addition are two)."""
    with FlopCounterMode(display=False) as counter:
        filter_.paint(torch.zeros(1, 3, 1, height, width))
    return sum(parameter.numel() for parameter in filter_.parameters()), counter.get_total_flops()


def milliseconds(step: Stepping, height: int, width: int) -> float:
    """Of one frame, noise included: the quickest of several passes."""
    given, noise, passes, start = inputs(step.needs, 1, height, width), Noise(), [], time.perf_counter()
    while len(passes) < QUICK_PASSES or time.perf_counter() - start < QUICK_SECONDS:
        began = time.perf_counter()
        if step.needs.noise:
            given["noise"] = noise.draw(given["noise"].shape)
        step(**given)
        passes.append(1000 * (time.perf_counter() - began))
    return min(passes)


def _random(height: int, width: int) -> list[np.ndarray]:
    return list(np.random.default_rng(0).integers(0, 256, (3, height, width, 3), dtype=np.uint8))
