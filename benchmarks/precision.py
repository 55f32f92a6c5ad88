"""A learning step of each network of the demo's readers, in float32 beside bfloat16."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from benchmarks.measure import Row, Work, compared, paired
from privadv.config import load_yaml
from privadv.console import progress
from privadv.memory import keep_freed_memory
from privadv.models.reader import ReaderSpec
from privadv.precision import Precision, precise
from privadv.run_config import RunConfig

DEMO = Path("configs/demo.yaml")
PEOPLE = 13


def rows(repetitions: int) -> list[Row]:
    keep_freed_memory()
    run = RunConfig.parse(load_yaml(DEMO), str(DEMO))
    size, batch = run.extract_frames, run.attack.fit.batch
    clips = torch.rand(batch, 3, size.frames, *size.crop, generator=torch.Generator().manual_seed(1))
    found = []
    readers = networks(run)
    with progress("precision", len(readers)) as bar:
        for name, spec in readers.items():
            found += compared(f"a step of {name}, float32", "bfloat16", paired(*in_both(spec, clips), repetitions))
            bar.advance(1)
    return found


def networks(run: RunConfig) -> dict[str, ReaderSpec]:
    """A reader of each network that plays or attacks in ``run``."""
    readers = (run.attack.target, *run.pretrain_budget.readers, *(attacker.reader for attacker in run.attack.attackers))
    return {spec.family: ReaderSpec(network=spec.network) for spec in readers}


def in_both(spec: ReaderSpec, clips: torch.Tensor) -> tuple[Work, Work]:
    """Loss and gradients of the same reader on the same clips, in float32 and in bfloat16."""
    reader, labels = spec.build(PEOPLE), torch.arange(len(clips)) % PEOPLE

    def step(precision: Precision) -> None:
        with precise(precision):
            logits = reader(clips)
        nn.functional.cross_entropy(logits.float(), labels).backward()

    return lambda: step("float32"), lambda: step("bfloat16")
