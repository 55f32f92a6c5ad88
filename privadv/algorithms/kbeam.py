"""K-beam adversarial training as the seed work runs it (Wu et al., TPAMI 2020; K-beam minimax after Hamm and Noh, 2018).

A round has three phases. *max*: the filter alone ascends the loss of the one budget model that read identity best; the
target takes no part. *min*: all K budget models descend their own loss, until the best of them fits its clips. *target*:
target and filter together descend the target's loss until validation is good enough or stops improving. Deviations from
the seed's code stand in docs/algorithms/kbeam.md.
"""

from __future__ import annotations

from itertools import chain
from typing import Literal

import pydantic
import torch
from torch import Tensor

from privadv.algorithms.base import (
    AgainstStrongest,
    AlgorithmConfig,
    Feeds,
    Measured,
    Players,
    descend,
    frozen,
    reading_gradients,
    recovering,
    recovery,
    reported,
    validation_accuracy,
)
from privadv.models.losses import classification_loss
from privadv.parallel.group import mean, means


class KBeamConfig(AlgorithmConfig):
    """Steps are updates a round, each over ``accumulate`` batches; the bars end the min and the target phase early."""

    kind: Literal["kbeam"] = "kbeam"
    rounds: int = pydantic.Field(default=67, ge=1)
    max_steps: int = pydantic.Field(default=30, ge=1)
    min_steps: int = pydantic.Field(default=200, ge=1)
    target_steps: int = pydantic.Field(default=30, ge=1)
    accumulate: int = pydantic.Field(default=1, ge=1)
    budget_bar: float = 0.99
    target_bar: float = 0.85
    patience: int = pydantic.Field(default=10, ge=1)
    lr_max: float = pydantic.Field(default=1e-4, gt=0)
    lr_min: float = pydantic.Field(default=1e-2, gt=0)
    lr_target: float = pydantic.Field(default=1e-5, gt=0)
    decay_target: float = pydantic.Field(default=0.0, ge=0)

    def build(self, players: Players) -> KBeam:
        return KBeam(self, players)


class KBeam(AgainstStrongest):
    """See the module. The filter has one Adam state for the max and one for the target phase; every budget model has its own."""

    def __init__(self, config: KBeamConfig, players: Players) -> None:
        super().__init__(players, config.accumulate)
        self.config = config
        self.ascent = torch.optim.Adam(players.degradation.parameters(), config.lr_max, fused=True)
        self.budget = [torch.optim.Adam(model.parameters(), config.lr_min, fused=True) for model in players.budget]
        self.recovery = recovery(players, config.lr_target, config.decay_target)

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        return {
            "ascent": self.ascent,
            "recovery": self.recovery,
            **{f"descent_{k}": optimizer for k, optimizer in enumerate(self.budget)},
        }

    def update(self, feeds: Feeds) -> dict[str, float]:
        return {**self._max(feeds), **self._min(feeds), **self._target(feeds)}

    def _max(self, feeds: Feeds) -> dict[str, float]:
        """The filter ascends the strongest budget model's loss; nothing else moves."""
        measured: dict[str, Tensor] = {}
        with frozen(self.players.budget):
            for _ in range(self.config.max_steps):
                measured = descend(self.accumulate, lambda: self._ascending(*feeds.budget()), self.ascent)
        return reported(measured)

    def _ascending(self, clips: Tensor, labels: Tensor) -> tuple[Tensor, Measured]:
        loss = classification_loss(self.players.budget[self.strongest](self.players.degradation(clips)), labels)
        return -loss, {"degradation_fool": loss}

    def _min(self, feeds: Feeds) -> dict[str, float]:
        """All budget models descend; the strongest is the one of the lowest loss in the last step."""
        losses, rights, steps = [0.0], [0.0], 0
        while steps < self.config.min_steps:
            steps += 1
            read = means(list(chain(*reading_gradients(self.players, feeds, self.accumulate))))
            losses, rights = read[: len(self.budget)], read[len(self.budget) :]
            self.compare(losses)
            if rights[self.strongest] >= self.config.budget_bar:
                break
            for optimizer in self.budget:
                optimizer.step()
        return {
            "budget_loss_min": min(losses),
            "budget_accuracy_max": max(rights),
            "budget_steps": float(steps),
            "budget_strongest": float(self.strongest),
            **{f"budget_{k}_accuracy": right for k, right in enumerate(rights)},
        }

    def _target(self, feeds: Feeds) -> dict[str, float]:
        """Target and filter recover the target's accuracy, until the bar is reached or validation stops improving."""
        score, steps, loss = validation_accuracy(self.players, feeds), 0, torch.tensor(torch.nan)
        best, since = score, 0
        while (
            steps < self.config.target_steps
            and score < self.config.target_bar
            and since < self.config.patience
        ):
            loss = self.target_update(feeds)
            steps += 1
            score = validation_accuracy(self.players, feeds)
            best, since = (score, 0) if score > best else (best, since + 1)
        return {
            "target_steps": float(steps),
            "val_target_accuracy": score,
            **({"target_loss": mean(loss)} if steps else {}),
        }

    def target_update(self, feeds: Feeds) -> Tensor:
        """One update of target and filter over ``accumulate`` batches; gives this rank's loss, a scalar."""
        return descend(self.accumulate, lambda: recovering(self.players, *feeds.target()), self.recovery)["target_loss"]
