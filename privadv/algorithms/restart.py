"""Restarting, the "+" of the papers: budget models begin anew every R rounds, so that the filter never fools old ones only."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, Literal

import pydantic
import torch
from torch import Tensor, nn

from privadv.algorithms.base import Algorithm, Feeds, reading_gradients
from privadv.config import Section
from privadv.errors import PrivadvError
from privadv.parallel.group import means


class RestartConfig(Section):
    """Every ``every`` rounds all budget models begin anew (``start``) and take ``steps`` updates before the game goes on.

    An update goes over as many batches as the algorithm's own do.
    """

    every: int = pydantic.Field(default=100, ge=1)
    steps: int = pydantic.Field(default=200, ge=0)
    start: Literal["scratch", "pretrained"] = "scratch"


class Restarting(Algorithm):
    """Any algorithm with restarts. The Adam state of a budget model goes with it (the seed kept it)."""

    def __init__(self, config: RestartConfig, inner: Algorithm) -> None:
        super().__init__(inner.players, inner.accumulate)
        self.config, self.inner, self.round = config, inner, 0
        if config.start == "scratch" and (lasting := unforgettable(inner.players.budget)):
            raise PrivadvError(f"restart.start: scratch: nothing draws {lasting[0]} of the budget models afresh: give its module "
                               "a reset_parameters(), or start: pretrained")
        self.budget = inner.budget
        self._start = copy.deepcopy(inner.players.budget.state_dict())

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        return self.inner.optimizers()

    def memory(self) -> dict[str, Any]:
        return {"round": self.round, "inner": self.inner.memory()}

    def remember(self, memory: dict[str, Any]) -> None:
        self.round = memory["round"]
        self.inner.remember(memory["inner"])

    def update(self, feeds: Feeds) -> dict[str, float]:
        restarted = self.round > 0 and self.round % self.config.every == 0
        if restarted:
            self._restart(feeds)
        self.round += 1
        return {**self.inner.update(feeds), "budget_restarted": float(restarted)}

    def _restart(self, feeds: Feeds) -> None:
        if self.config.start == "pretrained":
            self.players.budget.load_state_dict(self._start)
        else:
            self.players.budget.apply(_forget)
        for optimizer in self.budget:
            optimizer.state.clear()
        losses: list[Tensor] = []
        for _ in range(self.config.steps):
            losses, _ = reading_gradients(self.players, feeds, self.accumulate)
            for optimizer in self.budget:
                optimizer.step()
        if losses:
            self.inner.compare(means(losses))


def _forget(module: nn.Module) -> None:
    """Fresh parameters and, for norms, fresh statistics."""
    if reset := _reset_of(module):
        reset()


def unforgettable(models: nn.Module) -> list[str]:
    """The parameters that no module can draw afresh, by name."""
    return [
        f"{where}.{name}"
        for where, module in models.named_modules()
        if _reset_of(module) is None
        for name, _ in module.named_parameters(recurse=False)
    ]


def _reset_of(module: nn.Module) -> Callable[..., object] | None:
    found = (getattr(module, name, None) for name in ("reset_parameters", "_reset_parameters"))  # the latter of attention
    return next(filter(callable, found), None)
