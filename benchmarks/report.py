"""What was measured, as one table on the terminal and as docs/benchmarks.md, which says where, when and by which command."""

from __future__ import annotations

import contextlib
import os
import platform
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from benchmarks.measure import Row

BUSY = 0.1
"""Share of the cores that other work may take before wall time is no longer to be trusted."""
COLUMNS = ("what", "unit", "ours", "beside", "theirs", "ratio")

HEAD = """# Benchmarks

`make bench` measures privadv beside what one would use instead, both in one run and in turns, and writes this page;
`make bench ARGS="--only training --repetitions 3"` renews one section and leaves the others as they are. A figure is
the median of the repetitions, a ratio the median over pairs of runs, theirs / ours, or ours / theirs where more is better:
above 1, ours is the better one.
CPU s are processor seconds of the process and of those that it waited for, wall s those of the clock. Nothing here is
a timed test.
"""

ABOUT = {
    "training": """One update of each phase of K-beam, K = 4, batch 2, 16x112x112, float32: TransformNet (width 32, 5
blocks), C3D, MobileNet (width 0.6). *Plain PyTorch* is `benchmarks/plain.py`: the same step at PyTorch's defaults,
from the same weights, on as many threads, and with the C library's memory left alone, where stages keep what they freed
(`privadv/memory.py`); `tests/test_benchmarks.py` holds both to the same losses. Clips and rounds a second are those updates put
together to a round without validation, whose bars end no phase early. The seed's
TensorFlow 1.8 code was measured once, on two cores of its own machine, so that its ratio is of no pairs. A matrix
product took 0.19 s of the clock there, on how many threads is not known: the two rows *at our matmul's pace* say what its
code would take here, if all of it is as much faster here as that product. Of GFLOP, clips and rounds a second the ratio is
ours / theirs; operations are those of convolutions and matrix products alone. PyTorch computes matrix products and
convolutions by different libraries, and the one may be slower than the processor allows: C3D is held against both. *Stacked* are
the same budget models with their weights along a new axis (`benchmarks/stacked.py`).""",
    "alternatives": """What the project does not do, or not by default, at the sizes above; below 1, it would be the cheaper way.
*channels_last_3d* lays out C3D's weights and clips with the channels last; the per-frame networks have the like of it already.
*torch.compile* is measured after it has compiled, which takes up to minutes for each network in every process that trains, and
a C++ compiler, which the images do not hold. *Recomputed* is gradient checkpointing of each part of the filter,
`train_adversarial.recompute: true`; peak memory is of a process, weights and Adam's moments included. C3D has no such option: its
first stage weighs the most, and is the last one that the backward pass reaches, when all others are gone, so that recomputing
lowers no peak. The budget models have none: their batch norms would count every batch twice.""",
    "precision": """Loss and gradients of each network of `configs/demo.yaml`'s readers on one of its batches, on the CPU.
bfloat16 as autocast computes it: where the processor has no units for it, PyTorch's kernels for it are slower by far, and
`precision: float32`, the default, is the one to use.""",
    "extraction": """Frames to 160x120 RGB; the cost of a wanted frame, one thread a side; ours counts the packets first, as the
stage does, and checks the file whole. *A seek a frame* is the seed's way; of the long videos it reads every 15th frame. OpenCV
and decord scale bilinearly, ours and ffmpeg bicubically; the ffmpeg command's own start is counted, the others' imports are
not. Over many files the ratio is how many times as fast several processes are as one. OpenCV and decord run in an environment
of their own (`benchmarks/decoders.py`): `python3 -m venv build/decoders && build/decoders/bin/pip install
opencv-python-headless decord`. With PRIVADV_REFERENCE_DATA set to a folder that has `video/*.mp4`,
the first of these is the natural video; else FFmpeg's generator makes one.""",
    "feeding": """Shuffled batches of 16 clips of 16x112x112 pixels, moved and mirrored, as float32: ours from a split that the
store's shards were laid out in, *plain local files* from a NumPy file a clip through PyTorch's DataLoader, in the process
itself on both sides. The set is 1, 4 and 16 times 128 clips in shards of 64 MB in an S3 server on the same machine; laid
out, it is as large on the local disk, and both sides read from the system's page cache. The first batch of a split waits
until all of it is laid out, so that its time grows with the set; the store's first answer is not in it. Peak memory
includes Python, torch and what else is imported.""",
    "evaluation": """How often the filter's network runs while its row is rendered and attacked, in the smoke run: once for every
raw clip, although noise is drawn `render.draws` times for the training clips, and never for an attacker. The clips too many
are one clip, six times, by which rendering measures the filter's pace.""",
    "growth": """The smoke run's stages, with more rounds, updates and attackers, each in a process of its own with one worker, at
1, 2 and 4 times the clips (same updates), budget models and attackers; the figure has all points. *ours* is the smallest
size, *theirs* the largest. Time is that of the stage without its imports, memory that of its largest process with them; the
report's is without MLflow.
![CPU seconds and peak memory of each stage against clips, budget models and attackers](images/growth.png)""",
    "footprint": """Each stage's module imported in a fresh process, the interpreter's own start included, and what
the paper's networks weigh: TransformNet (width 32, 5 blocks), C3D, MobileNet (width 0.6).""",
    "gpu": """`python -m benchmarks --only gpu` on a machine with a CUDA GPU, which needs torch, numpy, pydantic, pyyaml and rich
alone; batch 32, both sides in the same precision. *In a CUDA graph* is the same work captured once and replayed, without the
launches of its kernels; a graph cannot hold a whole phase of the game, which reads its bars back.""",
}


@dataclass(frozen=True)
class Measured:
    """A section's rows; ``others``: the share of the cores that other work took before; ``versions`` of what it ran beside our
    packages.
    """

    section: str
    rows: tuple[Row, ...]
    command: str
    repetitions: int
    threads: int
    others: float | None
    versions: tuple[str, ...] = ()


def show(measured: Sequence[Measured]) -> None:
    """One table of all rows."""
    table = Table("section", *COLUMNS)
    for one in measured:
        for row in one.rows:
            table.add_row(one.section, *_cells(row))
        table.add_section()
    console = Console()
    if not console.is_terminal:
        console.width = 150
    console.print(table)


def markdown(measured: Sequence[Measured], page: str) -> str:
    """The page with the measured sections in place of its old ones."""
    kept = re.findall(r"^## (\w+)\n(?:[^\n]+\n)+\n(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL)
    figures = {name.lower(): text for name, text in kept} | {one.section: _figures(one) for one in measured}
    bodies = [
        f"## {_title(name)}\n{about}\n\n{figures.get(name, '*not measured*').strip()}\n"
        for name, about in ABOUT.items()
    ]
    return "\n".join([HEAD, *bodies])


def _title(name: str) -> str:
    return "GPU" if name == "gpu" else name.capitalize()


def _figures(one: Measured) -> str:
    lines = [f"| {' | '.join(COLUMNS)} |", "|---|---|---:|---|---:|---:|"]
    lines += [f"| {' | '.join(_cells(row))} |" for row in one.rows]
    return "\n".join([_conditions(one), "", *lines])


def _conditions(one: Measured) -> str:
    cores = len(os.sched_getaffinity(0))
    others = "an unknown share" if one.others is None else f"{one.others:.0%}"
    busy = "" if one.others is not None and one.others <= BUSY else " Trust CPU time, not wall time."
    packages = ", ".join([*_installed("torch", "av", "numpy"), *one.versions])
    processor = f"{_processor()}, {cores} cores, {torch.backends.cpu.get_cpu_capability()}"
    how = f"{_many(one.repetitions, 'repetition')}, {_many(one.threads, 'thread')} of torch"
    return (
        f"`{one.command}` on {time.strftime('%Y-%m-%d')}: {how}.\n"
        f"{processor}, of which other work took {others} as it began.{busy}\n"
        f"{platform.system()} {platform.release()}, Python {platform.python_version()}, {packages}."
    )


def _installed(*names: str) -> Iterator[str]:
    """Each package with its version; a machine that measures on its GPU alone may lack some."""
    for name in names:
        with contextlib.suppress(PackageNotFoundError):
            yield f"{name} {version(name)}"


def _many(count: int, what: str) -> str:
    return f"{count} {what}{'s' * (count > 1)}"


def _processor() -> str:
    try:
        found = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        found = None
    return found[1] if found else platform.processor() or platform.machine()


def _cells(row: Row) -> tuple[str, ...]:
    numbers = [_number(one) for one in (row.ours, row.theirs, row.ratio)]
    ours = numbers[0] if row.ours is not None else row.note and f"*{row.note}*"
    return row.what, row.unit, ours, row.other, numbers[1] or (row.note and row.other and f"*{row.note}*"), numbers[2]


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 1000 or value == int(value) else f"{value:#.3g}".rstrip(".")
