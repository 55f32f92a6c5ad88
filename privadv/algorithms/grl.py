"""Gradient reversal: filter and target descend L_T - lambda L_b while the budget models descend L_b (after Ganin et al., 2016).

``reversal`` does it in one joint update through a reversal layer, as the method is meant. ``alternating`` is what the seed's
script runs instead: one update of the budget models, one of the target alone, one of the filter alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal

import pydantic
import torch
from torch import Tensor

from privadv.algorithms.base import (
    Algorithm,
    AlgorithmConfig,
    Feeds,
    Measured,
    Players,
    decayed,
    descend,
    frozen,
    reading,
    reported,
)
from privadv.models.losses import classification_loss, hits


class GRLConfig(AlgorithmConfig):
    """``weight`` is lambda; with ``ramp`` it rises as 2 / (1 + exp(-10 p)) - 1 over the game's share p played.

    ``steps`` are updates a round, each over ``accumulate`` batches; ``decay_target`` as in K-beam.
    """

    kind: Literal["grl"] = "grl"
    rounds: int = pydantic.Field(default=100, ge=1)
    steps: int = pydantic.Field(default=10, ge=1)
    form: Literal["reversal", "alternating"] = "reversal"
    weight: float = pydantic.Field(default=1.0, ge=0)
    ramp: bool = True
    lr_degradation: float = pydantic.Field(default=1e-4, gt=0)
    lr_target: float = pydantic.Field(default=1e-5, gt=0)
    lr_budget: float = pydantic.Field(default=1e-2, gt=0)
    accumulate: int = pydantic.Field(default=1, ge=1)
    decay_target: float = pydantic.Field(default=0.0, ge=0)

    def build(self, players: Players) -> GRL:
        return GRL(self, players)


Loss = Callable[[Tensor, Tensor], tuple[Tensor, Measured]]


class _Reverse(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: float) -> Tensor:
        ctx.weight = weight
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        return -ctx.weight * gradients[0], None


def reverse(x: Tensor, weight: float) -> Tensor:
    """The identity, whose gradient comes back times ``-weight``."""
    reversed_: Any = _Reverse.apply(x, weight)
    return reversed_


class GRL(Algorithm):
    """See the module. The loss of the ensemble is the mean over its budget models."""

    def __init__(self, config: GRLConfig, players: Players) -> None:
        super().__init__(players, config.accumulate)
        self.config, self.played = config, 0
        self.degradation = torch.optim.Adam(players.degradation.parameters(), config.lr_degradation, fused=True)
        self.target = decayed(players.target, config.lr_target, config.decay_target)
        self.budget = [torch.optim.Adam(model.parameters(), config.lr_budget, fused=True) for model in players.budget]

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        budget = {f"budget_{k}": optimizer for k, optimizer in enumerate(self.budget)}
        return {"degradation": self.degradation, "target": self.target, **budget}

    def memory(self) -> dict[str, Any]:
        return {"played": self.played}

    def remember(self, memory: dict[str, Any]) -> None:
        self.played = memory["played"]

    @property
    def weight(self) -> float:
        """Lambda now."""
        if not self.config.ramp:
            return self.config.weight
        share = self.played / (self.config.rounds * self.config.steps)
        return self.config.weight * (2 / (1 + math.exp(-10 * share)) - 1)

    def update(self, feeds: Feeds) -> dict[str, float]:
        measured: dict[str, Tensor | float] = {}
        play = self._joint if self.config.form == "reversal" else self._alternate
        for _ in range(self.config.steps):
            measured = {**play(feeds), "degradation_weight": self.weight}
            self.played += 1
        metrics = reported(measured)
        return {**metrics, "budget_accuracy_max": max(metrics[f"budget_{k}_accuracy"] for k in range(len(self.budget)))}

    def _joint(self, feeds: Feeds) -> dict[str, Tensor]:
        everybody = self.degradation, self.target, *self.budget
        return descend(self.accumulate, lambda: self._joined(feeds), *everybody)

    def _joined(self, feeds: Feeds) -> tuple[Tensor, Measured]:
        clips, labels = feeds.target()
        target_loss, kept = self._target_loss(self.players.degradation(clips), labels)
        private, private_labels = feeds.budget()
        hidden = reverse(self.players.degradation(private), self.weight)
        budget_loss, read = self._budget_loss(hidden, private_labels)
        return target_loss + budget_loss, {**kept, **read}

    def _alternate(self, feeds: Feeds) -> dict[str, Tensor]:
        descend(self.accumulate, lambda: self._learning(self._budget_loss, *feeds.budget()), *self.budget)
        descend(self.accumulate, lambda: self._learning(self._target_loss, *feeds.target()), self.target)
        with frozen(self.players.target, self.players.budget):
            return descend(self.accumulate, lambda: self._hiding(feeds), self.degradation)

    def _learning(self, loss: Loss, clips: Tensor, labels: Tensor) -> tuple[Tensor, Measured]:
        """What readers descend while the filter stands still."""
        with torch.no_grad():
            filtered = self.players.degradation(clips)
        return loss(filtered, labels)

    def _hiding(self, feeds: Feeds) -> tuple[Tensor, Measured]:
        """What the filter descends alone."""
        clips, labels = feeds.target()
        private, private_labels = feeds.budget()
        target_loss, kept = self._target_loss(self.players.degradation(clips), labels)
        budget_loss, read = self._budget_loss(self.players.degradation(private), private_labels)
        return target_loss - self.weight * budget_loss, {**kept, **read}

    def _target_loss(self, filtered: Tensor, labels: Tensor) -> tuple[Tensor, Measured]:
        logits = self.players.target(filtered)
        loss = classification_loss(logits, labels)
        return loss, {"target_loss": loss, "target_accuracy": hits(logits, labels)}

    def _budget_loss(self, filtered: Tensor, labels: Tensor) -> tuple[Tensor, Measured]:
        """Mean loss of the ensemble, and what is reported: that loss, and the accuracy of each in it."""
        losses, each = reading(self.players, filtered, labels)
        loss = torch.stack(losses).mean()
        return loss, {"budget_loss_mean": loss, **each}
