"""Gradient reversal: filter and target descend L_T - lambda L_b while the budget models descend L_b (after Ganin et al., 2016).

``reversal`` does it in one joint update through a reversal layer, as the method is meant. ``alternating`` is what the seed's
script runs instead: one update of the budget models, one of the target alone, one of the filter alone.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import pydantic
import torch
from torch import Tensor

from privadv.algorithms.base import Algorithm, AlgorithmConfig, Feeds, Players, frozen, reported, step
from privadv.models.losses import classification_loss, hits


class GRLConfig(AlgorithmConfig):
    """``weight`` is lambda; with ``ramp`` it rises as 2 / (1 + exp(-10 p)) - 1 over the game's share p played."""

    kind: Literal["grl"] = "grl"
    rounds: int = pydantic.Field(default=100, ge=1)
    steps: int = pydantic.Field(default=10, ge=1)
    form: Literal["reversal", "alternating"] = "reversal"
    weight: float = pydantic.Field(default=1.0, ge=0)
    ramp: bool = True
    lr_degradation: float = pydantic.Field(default=1e-4, gt=0)
    lr_target: float = pydantic.Field(default=1e-5, gt=0)
    lr_budget: float = pydantic.Field(default=1e-2, gt=0)

    def build(self, players: Players) -> GRL:
        return GRL(self, players)


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
        super().__init__(players)
        self.config, self.played = config, 0
        self.degradation = torch.optim.Adam(players.degradation.parameters(), config.lr_degradation, fused=True)
        self.target = torch.optim.Adam(players.target.parameters(), config.lr_target, fused=True)
        self.budget = [torch.optim.Adam(model.parameters(), config.lr_budget, fused=True) for model in players.budget]

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        budget = {f"budget_{k}": optimizer for k, optimizer in enumerate(self.budget)}
        return {"degradation": self.degradation, "target": self.target, **budget}

    def budget_optimizers(self) -> list[torch.optim.Optimizer]:
        return list(self.budget)

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
        measured: dict[str, float | Tensor] = {}
        for _ in range(self.config.steps):
            weight = self.weight
            measured = self._joint(feeds) if self.config.form == "reversal" else self._alternate(feeds)
            measured["degradation_weight"] = weight
            self.played += 1
        metrics = reported(measured)
        return {**metrics, "budget_accuracy_max": max(metrics[f"budget_{k}_accuracy"] for k in range(len(self.budget)))}

    def _joint(self, feeds: Feeds) -> dict[str, float | Tensor]:
        clips, labels = feeds.target()
        logits = self.players.target(self.players.degradation(clips))
        target_loss = classification_loss(logits, labels)
        private, private_labels = feeds.budget()
        hidden = reverse(self.players.degradation(private), self.weight)
        budget_loss, read = self._budget_loss(hidden, private_labels)
        step(target_loss + budget_loss, self.degradation, self.target, *self.budget)
        return {"target_loss": target_loss.detach(), "target_accuracy": hits(logits, labels), **read}

    def _alternate(self, feeds: Feeds) -> dict[str, float | Tensor]:
        clips, labels = feeds.budget()
        with torch.no_grad():
            filtered = self.players.degradation(clips)
        step(self._budget_loss(filtered, labels)[0], *self.budget)
        clips, labels = feeds.target()
        with torch.no_grad():
            filtered = self.players.degradation(clips)
        step(classification_loss(self.players.target(filtered), labels), self.target)
        clips, labels = feeds.target()
        private, private_labels = feeds.budget()
        with frozen(self.players.target, self.players.budget):
            logits = self.players.target(self.players.degradation(clips))
            target_loss = classification_loss(logits, labels)
            budget_loss, read = self._budget_loss(self.players.degradation(private), private_labels)
            step(target_loss - self.weight * budget_loss, self.degradation)
        return {"target_loss": target_loss.detach(), "target_accuracy": hits(logits, labels), **read}

    def _budget_loss(self, filtered: Tensor, labels: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Mean loss of the ensemble, and what is reported: that loss, and the accuracy of each in it."""
        every = [model(filtered) for model in self.players.budget]
        loss = torch.stack([classification_loss(logits, labels) for logits in every]).mean()
        each = {f"budget_{k}_accuracy": hits(logits, labels) for k, logits in enumerate(every)}
        return loss, {"budget_loss_mean": loss.detach(), **each}
