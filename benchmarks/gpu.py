"""The rows that need a GPU: K-beam's steps in TF32 and bfloat16 beside the port in the same, C3D beside a matrix product, and
launching kernel by kernel beside a CUDA graph. Nothing but torch and what the project's models import is needed.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace

import torch

from benchmarks.measure import Row, Work, compared, paired, rates
from benchmarks.training import (
    ACTIONS,
    PAPER,
    STACKING,
    STEPS,
    Fixed,
    flops,
    of_a_round,
    ours,
    plain_steps,
    port,
    stacking,
    steps,
)

SIZES, SQUARE, DEVICE = replace(PAPER, batch=32), 8192, "cuda"
PRECISIONS = ("tf32", "bfloat16")
C3D, GRAPH = "C3D forward and backward, bfloat16", "in a CUDA graph"


def here() -> bool:
    return torch.cuda.is_available()


def versions() -> list[str]:
    """The GPU and what drives it."""
    if not here():
        return []
    return [torch.cuda.get_device_name(), f"CUDA {torch.version.cuda}", f"cuDNN {torch.backends.cudnn.version()}"]


def rows(repetitions: int) -> list[Row]:
    """Every GPU row; without a CUDA GPU each says that it was not measured."""
    if not here():
        names = [f"{what}, {precision}" for precision in PRECISIONS for what in (*STEPS.values(), "K-beam round", STACKING)]
        return [Row(what, "wall s", note="not measured") for what in (*names, C3D, f"{C3D}, {GRAPH}")]
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    torch.backends.cudnn.benchmark = True
    found = [row for precision in PRECISIONS for row in _round(precision, repetitions)]
    return [*found, *_c3d(repetitions)]


def _round(precision: str, repetitions: int) -> Iterator[Row]:
    game, feeds = ours(SIZES, DEVICE), Fixed(SIZES.clips().to(DEVICE))
    mine, theirs = steps(game, feeds), plain_steps(port(game, SIZES, DEVICE), feeds)
    other, costs = f"plain PyTorch, {precision}", {}
    for name, what in STEPS.items():
        costs[name] = paired(_whole(mine[name], precision), _whole(theirs[name], precision), repetitions)
        yield from compared(f"{what}, {precision}", other, costs[name])[1:]
    yield from of_a_round(costs, SIZES, "wall", other, f", {precision}")
    looped, stacked = (_in(precision, work) for work in stacking(game, feeds))
    for beside, work in (("stacked, by vmap", stacked), (GRAPH, captured(looped))):
        pairs = paired(_finished(looped), _finished(work), repetitions)
        yield from compared(f"{STACKING}, {precision}", beside, pairs)[1:]


def _c3d(repetitions: int) -> list[Row]:
    """Its rate beside a matrix product's, and its time beside that of a CUDA graph."""
    reader, clips = SIZES.c3d().build(ACTIONS).to(DEVICE), SIZES.clips().to(DEVICE)
    square = torch.rand(SQUARE, SQUARE, device=DEVICE, dtype=torch.bfloat16)

    def learn() -> None:
        reader.zero_grad(set_to_none=True)
        with torch.autocast(DEVICE, torch.bfloat16):
            loss = reader(clips).float().sum()
        loss.backward()

    learnt, multiplied = flops(learn) / 1e12, 2 * SQUARE**3 / 1e12
    pairs = paired(_finished(learn), _finished(lambda: square @ square), repetitions)
    rate = rates(C3D, "TFLOP/s", pairs, "wall", learnt, "bfloat16 matmul", multiplied)
    return [rate, *compared(C3D, GRAPH, paired(_finished(learn), _finished(captured(learn)), repetitions))[1:]]


def captured(work: Work) -> Work:
    """``work`` as one CUDA graph on the memory that it works on now. It must clear the gradients itself and never wait."""
    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        for _ in range(3):  # libraries choose their kernels before the capture
            work()
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        work()
    return graph.replay


def _whole(work: Work, precision: str) -> Work:
    return _finished(_in(precision, work))


def _in(precision: str, work: Work) -> Work:
    def run() -> None:
        with torch.autocast(DEVICE, torch.bfloat16) if precision == "bfloat16" else contextlib.nullcontext():
            work()

    return run


def _finished(work: Work) -> Work:
    def run() -> None:
        work()
        torch.cuda.synchronize()

    return run
