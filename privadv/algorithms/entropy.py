"""The published entropy / uniform-target algorithm with an ensemble of M budget models, alternating with monitors (Wu et al.).

A round: ``fool_steps`` updates of the filter on  L_T + gamma * mean of max_i KL(uniform || p_i) + lambda_t * mean |f_d(x) - x|,
the last of the colours before the release; then target and filter on L_T until validation reaches ``target_bar``; then all budget
models on their mean loss until their training accuracy reaches ``budget_bar``. Every inner loop is bounded.
"""

from __future__ import annotations

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
    descend,
    frozen,
    reading,
    recovering,
    recovery,
    reported,
    validation_accuracy,
)
from privadv.models.degradation import release
from privadv.models.losses import classification_loss, uniform_loss


class EntropyConfig(AlgorithmConfig):
    """``reconstruction`` is lambda_0 of lambda_t = lambda_0 * 0.9 ** (t / 10) in round t; the SBU experiment uses 0.5.

    Steps are updates a round, each over ``accumulate`` batches. ``sigmoid_target`` present is the seed code's uniform target of
    1.0 an attribute, a mistake; the paper profile alone takes it.
    """

    kind: Literal["entropy"] = "entropy"
    rounds: int = pydantic.Field(default=800, ge=1)
    gamma: float = pydantic.Field(default=2.0, ge=0)
    reconstruction: float = pydantic.Field(default=0.0, ge=0)
    sigmoid_target: Literal["uniform", "present"] = "uniform"
    fool_steps: int = pydantic.Field(default=1, ge=1)
    target_steps: int = pydantic.Field(default=10, ge=1)
    target_bar: float = 0.85
    budget_steps: int = pydantic.Field(default=20, ge=1)
    budget_bar: float = 0.95
    accumulate: int = pydantic.Field(default=1, ge=1)
    lr_degradation: float = pydantic.Field(default=1e-4, gt=0)
    lr_target: float = pydantic.Field(default=1e-5, gt=0)
    lr_budget: float = pydantic.Field(default=1e-2, gt=0)
    decay_target: float = pydantic.Field(default=0.0, ge=0)

    def build(self, players: Players) -> Entropy:
        return Entropy(self, players)


class Entropy(Algorithm):
    """See the module."""

    def __init__(self, config: EntropyConfig, players: Players) -> None:
        super().__init__(players, config.accumulate)
        self.config, self.round = config, 0
        self.degradation = torch.optim.Adam(players.degradation.parameters(), config.lr_degradation, fused=True)
        self.recovery = recovery(players, config.lr_target, config.decay_target)
        self.budget = [torch.optim.Adam(model.parameters(), config.lr_budget, fused=True) for model in players.budget]

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        budget = {f"budget_{k}": optimizer for k, optimizer in enumerate(self.budget)}
        return {"degradation": self.degradation, "recovery": self.recovery, **budget}

    def memory(self) -> dict[str, Any]:
        return {"round": self.round}

    def remember(self, memory: dict[str, Any]) -> None:
        self.round = memory["round"]

    def update(self, feeds: Feeds) -> dict[str, float]:
        fooled = [self._fool(feeds) for _ in range(self.config.fool_steps)][-1]
        recovered = self._recover(feeds)
        learned = self._learn(feeds)
        self.round += 1
        return {**reported(fooled), **recovered, **learned}

    def _fool(self, feeds: Feeds) -> dict[str, Tensor]:
        """The filter alone: keep the target's task, make every budget model say nothing, stay near the picture."""
        with frozen(self.players.target, self.players.budget):
            return descend(self.accumulate, lambda: self._fooling(*feeds.target()), self.degradation)

    def _fooling(self, clips: Tensor, labels: Tensor) -> tuple[Tensor, Measured]:
        degradation = self.players.degradation
        painted = degradation.paint(clips)
        filtered = release(painted, degradation.spec.release)
        target_loss = classification_loss(self.players.target(filtered), labels)
        fooled = self._fooled(filtered)
        near = (painted - degradation.picture(clips)).abs().mean() * self.config.reconstruction * 0.9 ** (self.round / 10)
        loss = target_loss + self.config.gamma * fooled + near
        return loss, {"target_loss": target_loss, "degradation_fool": fooled}

    def _fooled(self, filtered: Tensor) -> Tensor:
        multi_label, present = self.players.multi_label, self.config.sigmoid_target == "present"
        every = [uniform_loss(model(filtered), multi_label, present) for model in self.players.budget]
        return torch.stack(every).amax(0).mean()

    def _recover(self, feeds: Feeds) -> dict[str, float]:
        steps, score = 0, validation_accuracy(self.players, feeds)
        while steps < self.config.target_steps and score < self.config.target_bar:
            descend(self.accumulate, lambda: recovering(self.players, *feeds.target()), self.recovery)
            steps += 1
            score = validation_accuracy(self.players, feeds)
        return {"target_steps": float(steps), "val_target_accuracy": score}

    def _learn(self, feeds: Feeds) -> dict[str, float]:
        steps, read = 0, {}
        while steps < self.config.budget_steps:
            read = reported(descend(self.accumulate, lambda: self._learning(*feeds.budget()), *self.budget))
            steps += 1
            if min(self._each(read, "accuracy").values()) >= self.config.budget_bar:
                break
        accuracies = self._each(read, "accuracy")
        return {
            "budget_steps": float(steps),
            "budget_loss_min": min(self._each(read, "loss").values()),
            "budget_accuracy_max": max(accuracies.values()),
            **accuracies,
        }

    def _learning(self, clips: Tensor, labels: Tensor) -> tuple[Tensor, Measured]:
        with torch.no_grad():
            filtered = self.players.degradation(clips)
        losses, accuracies = reading(self.players, filtered, labels)
        return torch.stack(losses).mean(), {**accuracies, **{f"budget_{k}_loss": loss for k, loss in enumerate(losses)}}

    def _each(self, read: dict[str, float], what: str) -> dict[str, float]:
        names = [f"budget_{k}_{what}" for k in range(len(self.budget))]
        return {name: read[name] for name in names}
