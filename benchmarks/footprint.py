"""What a stage costs before it works, and how large what it leaves is."""

from __future__ import annotations

import pkgutil
import statistics
import subprocess
import sys

from benchmarks.measure import Row, cost
from benchmarks.training import PAPER, ours
from privadv import stages
from privadv.console import progress
from privadv.models.checkpoint import save_weights
from privadv.snapshots import freeze


def rows(repetitions: int) -> list[Row]:
    """Import of every module of privadv.stages that is a stage; sizes at the paper's sizes."""
    names = [one.name for one in pkgutil.iter_modules(stages.__path__) if one.name not in NOT_STAGES]
    found = []
    with progress("footprint", len(names)) as bar:
        for name in names:
            found += _imported(name, repetitions)
            bar.advance(1)
    return [*found, *_sizes()]


NOT_STAGES = ("alone", "imported", "launch", "pretraining", "rank", "selection", "stage", "task", "workbench")
"""Modules there that stages share."""


def _imported(name: str, repetitions: int) -> list[Row]:
    command = [sys.executable, "-c", f"import privadv.stages.{name}"]
    costs = [cost(lambda: subprocess.run(command, check=True)) for _ in range(repetitions)]
    cpu, wall = (statistics.median(getattr(one, clock) for one in costs) for clock in ("cpu", "wall"))
    return [Row(f"python, and import of {name}", "CPU s", cpu), Row(f"python, and import of {name}", "wall s", wall)]


def _sizes() -> list[Row]:
    """Stored weights of each player, and a game's resume point once every optimizer has stepped."""
    game = ours(PAPER)
    players = game.players
    models = {"filter": players.degradation, "target": players.target, "budget model": players.budget[0]}
    found = [Row(f"weights of a {name}", "MB", len(save_weights(model)) / 1e6) for name, model in models.items()]
    for optimizer in game.optimizers().values():
        for parameter in (p for group in optimizer.param_groups for p in group["params"]):
            parameter.grad = parameter.detach().clone()
        optimizer.step()
    parts = {"degradation": players.degradation, "target": players.target, "budget": players.budget}
    whole = len(freeze({**parts, **game.optimizers()}))
    return [*found, Row(f"resume point of the game, K = {PAPER.k}", "MB", whole / 1e6)]
