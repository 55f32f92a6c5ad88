"""How else the networks' gradients could be computed, and what it would cost: another layout, compiled, activations anew."""

from __future__ import annotations

import copy
import os
import shutil
import sysconfig
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks.measure import Row, Work, compared, paired
from benchmarks.processes import apart
from benchmarks.training import ACTIONS, PAPER, PEOPLE, STEPS, Fixed, Sizes, ours, steps
from privadv.console import progress
from privadv.memory import keep_freed_memory
from privadv.models.degradation import TransformNet

C3D, RECOMPUTED = "C3D", "the filter's activations recomputed"
LARGE = replace(PAPER, batch=4)
"""Where activations weigh more than weights do."""


def rows(repetitions: int) -> list[Row]:
    """Forward and backward of the networks as the project runs them by default, beside each other way, at the paper's sizes."""
    keep_freed_memory()
    models, clips = networks(PAPER), PAPER.clips()
    found: list[Row] = []
    with progress("alternatives", len(models) + 2) as bar:
        own = gradients(models[C3D], clips)
        found += compared(about(C3D), "channels_last_3d", paired(own, channels_last(models[C3D], clips), repetitions))
        bar.advance(1)
        found += recomputed(repetitions)
        bar.advance(1)
        for name, model in models.items():
            found += compiled(name, model, clips, repetitions)
            bar.advance(1)
    return found


def about(name: str) -> str:
    return f"{name} forward and backward"


def networks(sizes: Sizes) -> dict[str, nn.Module]:
    """The three players."""
    filter_ = TransformNet(width=sizes.filter_width, blocks=sizes.blocks).build()
    return {"TransformNet": filter_, C3D: sizes.c3d().build(ACTIONS), "MobileNet": sizes.mobilenet().build(PEOPLE)}


def gradients(model: nn.Module, clips: Tensor) -> Work:
    """Those of a model's weights."""

    def learn() -> None:
        model.zero_grad(set_to_none=True)
        model(clips).sum().backward()

    return learn


def channels_last(model: nn.Module, clips: Tensor) -> Work:
    """The same of a copy whose weights and clips lie with their channels last."""
    layout = torch.channels_last_3d
    return gradients(copy.deepcopy(model).to(memory_format=layout), clips.contiguous(memory_format=layout))  # pyright: ignore


def recomputed(repetitions: int) -> list[Row]:
    """The target step, whose filter and C3D weigh the most."""
    pairs = paired(target_step(PAPER, recompute=False), target_step(PAPER, recompute=True), repetitions)
    plain, anew = (apart(one_target_step, recompute).memory for recompute in (False, True))
    memory = Row(f"peak memory of a target step, {LARGE.batch} clips", "MB", plain, RECOMPUTED, anew, anew / plain)
    return [*compared(STEPS["target"], RECOMPUTED, pairs), memory]


def target_step(sizes: Sizes, recompute: bool) -> Work:
    game = ours(sizes)
    game.players.degradation.recompute = recompute
    return steps(game, Fixed(sizes.clips()))["target"]


def one_target_step(recompute: bool) -> None:
    target_step(LARGE, recompute)()


def compiled(name: str, model: nn.Module, clips: Tensor, repetitions: int) -> list[Row]:
    """Beside torch.compile's, compiled before the measurement; it needs a C++ compiler and Python's headers."""
    what, other = about(name), "torch.compile"
    if not shutil.which(os.environ.get("CXX", "g++")) or not Path(sysconfig.get_path("include"), "Python.h").exists():
        return [Row(what, "CPU s", other=other, note="not measured: no C++ compiler, or no headers of Python")]
    theirs = gradients(torch.compile(copy.deepcopy(model)), clips)  # pyright: ignore[reportArgumentType]
    return compared(what, other, paired(gradients(model, clips), theirs, repetitions))
