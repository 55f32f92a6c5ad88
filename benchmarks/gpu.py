"""The rows that need a GPU: K-beam's steps in TF32 and bfloat16 beside the port in the same, and C3D beside a matrix product."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace

import torch

from benchmarks.measure import Row, compared, paired, rates
from benchmarks.training import (
    ACTIONS,
    PAPER,
    STACKING,
    STEPS,
    Fixed,
    c3d_flops,
    ours,
    plain_steps,
    port,
    stacking,
    steps,
)

SIZES = replace(PAPER, batch=32)
PRECISIONS = ("tf32", "bfloat16")


def rows(repetitions: int) -> list[Row]:
    """Every GPU row; without a CUDA GPU each says that it was not measured."""
    if not torch.cuda.is_available():
        names = [f"{what}, {precision}" for precision in PRECISIONS for what in (*STEPS.values(), STACKING)]
        return [Row(what, "wall s", note="not measured") for what in (*names, "C3D forward and backward, bfloat16")]
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    torch.backends.cudnn.benchmark = True
    found = [row for precision in PRECISIONS for row in _round(precision, repetitions)]
    return [*found, _ceiling(repetitions)]


def _round(precision: str, repetitions: int) -> Iterator[Row]:
    game, feeds = ours(SIZES, "cuda"), Fixed(SIZES.clips().cuda())
    mine, theirs = steps(game, feeds), plain_steps(port(game, SIZES, "cuda"), feeds)

    def whole(work: Callable[[], object]) -> Callable[[], None]:
        def run() -> None:
            with torch.autocast("cuda", torch.bfloat16) if precision == "bfloat16" else contextlib.nullcontext():
                work()
            torch.cuda.synchronize()

        return run

    for name, what in STEPS.items():
        pairs = paired(whole(mine[name]), whole(theirs[name]), repetitions)
        yield from compared(f"{what}, {precision}", f"plain PyTorch, {precision}", pairs)[1:]
    looped, stacked = stacking(game, feeds)
    pairs = paired(whole(looped), whole(stacked), repetitions)
    yield from compared(f"{STACKING}, {precision}", "stacked, by vmap", pairs)[1:]


def _ceiling(repetitions: int) -> Row:
    reader, clips = SIZES.c3d().build(ACTIONS).cuda(), SIZES.clips().cuda()
    square = torch.rand(8192, 8192, device="cuda", dtype=torch.bfloat16)

    def learn() -> None:
        with torch.autocast("cuda", torch.bfloat16):
            loss = reader(clips).float().sum()
        loss.backward()
        torch.cuda.synchronize()

    def product() -> None:
        _ = square @ square
        torch.cuda.synchronize()

    learnt, multiplied = SIZES.batch * 3 * c3d_flops() / 1e12, 2 * 8192**3 / 1e12
    pairs = paired(learn, product, repetitions)
    return rates("C3D forward and backward, bfloat16", "TFLOP/s", pairs, "wall", learnt, "bfloat16 matmul", multiplied)
