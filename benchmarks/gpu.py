"""The rows that need a GPU, by one script that needs only torch and the project: `python -m benchmarks.gpu OUT.json`.

Ours in float32 (TF32 allowed) and bfloat16, against the port in TF32 and bfloat16, K-beam at K = 4 and the paper's sizes.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from benchmarks.measure import Row, paired
from benchmarks.training import CLIP, Fixed, K, c3d_flops, ours, port, steps
from privadv.models.clip import C3D
from privadv.models.reader import ReaderSpec

BATCH = 32


def rows(repeats: int = 5) -> list[Row]:
    """Every GPU row; raises RuntimeError where there is no GPU."""
    if not torch.cuda.is_available():
        raise RuntimeError("no CUDA GPU here: GPU rows stay 'not measured'")
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    torch.backends.cudnn.benchmark = True
    found = []
    for precision in ("tf32", "bfloat16"):
        found += _round(precision, repeats)
    return [*found, *_ceiling(repeats)]


def _round(precision: str, repeats: int) -> Iterator[Row]:
    game = ours("cuda")
    other, feeds = port(game, "cuda"), Fixed(torch.rand(BATCH, *CLIP, device="cuda"))
    clips, (_, labels), (_, private) = feeds.clips, feeds.target(), feeds.budget()
    theirs: dict[str, Callable[[], object]] = {
        "max": lambda: other.max_step(clips, private),
        "min": lambda: other.min_step(clips, private),
        "target": lambda: other.target_step(clips, labels),
    }
    mine = steps(game, feeds)

    def run(work: Callable[[], object]) -> None:
        with torch.autocast("cuda", torch.bfloat16) if precision == "bfloat16" else contextlib.nullcontext():
            work()
        torch.cuda.synchronize()

    for name, work in mine.items():
        own, others, ratio = paired(lambda work=work: run(work), lambda name=name: run(theirs[name]), repeats)  # type: ignore[misc]
        yield Row(
            "GPU",
            f"K-beam {name} step, K = {K}, {precision}",
            BATCH / own,
            f"plain port, {precision}",
            BATCH / others,
            "clips/s",
            ratio,
            ">= 3",
        )


def _ceiling(repeats: int) -> Iterator[Row]:
    reader = ReaderSpec(network=C3D()).build(8).cuda()
    clips = torch.rand(BATCH, *CLIP, device="cuda")
    square = torch.rand(8192, 8192, device="cuda", dtype=torch.bfloat16)

    def learn() -> None:
        with torch.autocast("cuda", torch.bfloat16):
            loss = reader(clips).float().sum()
        loss.backward()
        torch.cuda.synchronize()

    def product() -> None:
        _ = square @ square
        torch.cuda.synchronize()

    step, one, _ = paired(learn, product, repeats)
    rate, ceiling = BATCH * 3 * c3d_flops() / step, 2 * 8192**3 / one
    yield Row(
        "GPU",
        "C3D forward and backward, bfloat16",
        rate / 1e12,
        "bfloat16 matmul",
        ceiling / 1e12,
        "TFLOP/s",
        rate / ceiling,
        ">= 0.4",
    )


def main() -> int:
    try:
        found = rows()
    except RuntimeError as error:
        print(f"benchmarks.gpu: {error}", file=sys.stderr)
        return 1
    facts = {
        "gpu": torch.cuda.get_device_name(),
        "torch": torch.__version__,
        "when": time.strftime("%Y-%m-%d"),
    }
    Path(sys.argv[1]).write_text(
        json.dumps({"facts": facts, "rows": [dataclasses.asdict(row) for row in found]}, indent=1)
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
