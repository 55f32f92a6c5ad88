"""Uniform target against the strongest of K budget models, played jointly with the target (the entropy form of the game).

The filter makes the budget model that currently reads identity best say "no idea": KL(uniform || p) is descended together
with the target's loss. Then all K budget models learn on a pool of freshly filtered clips, so that the filter runs once for
many steps of theirs. After Wu et al. (ECCV 2018, TPAMI 2020), the "entropy" algorithm with an ensemble; docs/algorithms/
uniform.md names the deviations.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import pydantic
import torch
from torch import Tensor

from privadv.algorithms.base import AgainstStrongest, AlgorithmConfig, Feeds, Players, frozen, reported, step
from privadv.models.degradation import rate, release
from privadv.models.losses import classification_loss, hits, uniform_loss
from privadv.parallel.group import means

Beta = Annotated[float, pydantic.Field(ge=0, lt=1)]


class UniformConfig(AlgorithmConfig):
    """``gamma`` weighs privacy against the target; ``fool_steps`` and ``min_steps`` are updates a round.

    ``rate`` weighs the most that a release can tell of a clip at all, in nats a pixel: the filter has to do without what neither
    the target needs nor any budget model of the game has found yet. 0 leaves it out; else the release needs noise.

    ``ramp``: the share of the rounds over which both weights rise, evenly, to what they are: a filter that must hide before the
    target can read it learns to show nothing. ``anneal``: that over which, at the end, the learning rates of filter and target
    fall evenly towards 0.
    """

    kind: Literal["uniform"] = "uniform"
    rounds: int = pydantic.Field(default=44, ge=1)
    gamma: float = pydantic.Field(default=1.0, ge=0)
    rate: float = pydantic.Field(default=0.0, ge=0)
    ramp: float = pydantic.Field(default=0.0, ge=0, le=1)
    anneal: float = pydantic.Field(default=0.0, ge=0, le=1)
    fool: Literal["strongest", "maximum", "mean"] = "strongest"
    fool_steps: int = pydantic.Field(default=6, ge=1)
    min_steps: int = pydantic.Field(default=20, ge=1)
    pool_batches: int = pydantic.Field(default=6, ge=1)
    lr_degradation: float = pydantic.Field(default=2e-3, gt=0)
    lr_target: float = pydantic.Field(default=1e-3, gt=0)
    lr_budget: float = pydantic.Field(default=3e-3, gt=0)
    betas: tuple[Beta, Beta] = (0.5, 0.99)

    def build(self, players: Players) -> Uniform:
        return Uniform(self, players)


class Uniform(AgainstStrongest):
    """See the module; the strongest model is the one with the lowest mean loss in the last budget phase."""

    def __init__(self, config: UniformConfig, players: Players) -> None:
        super().__init__(players)
        self.config, self.round = config, 0

        def adam(module: torch.nn.Module, rate: float) -> torch.optim.Adam:
            return torch.optim.Adam(module.parameters(), rate, betas=config.betas, fused=True)

        self.degradation = adam(players.degradation, config.lr_degradation)
        self.target = adam(players.target, config.lr_target)
        self.budget = [adam(model, config.lr_budget) for model in players.budget]

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        return {
            "degradation": self.degradation,
            "target": self.target,
            **{f"budget_{k}": optimizer for k, optimizer in enumerate(self.budget)},
        }

    def memory(self) -> dict[str, Any]:
        return {**super().memory(), "round": self.round}

    def remember(self, memory: dict[str, Any]) -> None:
        super().remember(memory)
        self.round = memory["round"]

    @property
    def risen(self) -> float:
        """How much of their full weight gamma and rate have in this round."""
        rising = self.config.ramp * self.config.rounds
        return min(1.0, (self.round + 1) / rising) if rising else 1.0

    def _pace(self) -> None:
        """Sets the learning rates of this round."""
        falling = self.config.anneal * self.config.rounds
        left = min(1.0, max(0, self.config.rounds - self.round) / falling) if falling else 1.0
        for optimizer, lr in ((self.degradation, self.config.lr_degradation), (self.target, self.config.lr_target)):
            for group in optimizer.param_groups:
                group["lr"] = lr * left

    def update(self, feeds: Feeds) -> dict[str, float]:
        self._pace()
        fooled = [self._fool(feeds) for _ in range(self.config.fool_steps)][-1]
        ramp = {"degradation_weight": self.risen} if self.config.ramp else {}
        self.round += 1
        return {**reported(fooled), **ramp, **self._learn(feeds)}

    def _fool(self, feeds: Feeds) -> dict[str, Tensor]:
        """One joint step of filter and target; no budget model moves."""
        players = self.players
        clips, labels = feeds.target()
        with frozen(players.budget):
            filtered, told = self._released(clips)
            logits = players.target(filtered)
            target_loss = classification_loss(logits, labels)
            private, more = (filtered, told) if feeds.shared else self._released(feeds.budget()[0])
            fooled = self._fooled(private)
            told = (told + more) / 2
            hidden = self.config.gamma * fooled + self.config.rate * told
            step(target_loss + self.risen * hidden, self.degradation, self.target)
        measured = {"target_loss": target_loss, "target_accuracy": hits(logits, labels), "degradation_fool": fooled}
        if self.config.rate:
            measured["degradation_rate"] = told
        return {name: scalar.detach() for name, scalar in measured.items()}

    def _released(self, clips: Tensor) -> tuple[Tensor, Tensor]:
        """Filtered clips, and the most that they can tell; 0 where nobody weighs it."""
        degradation = self.players.degradation
        if not self.config.rate:
            return degradation(clips), clips.new_zeros(())
        painted, how = degradation.paint(clips), degradation.spec.release
        return release(painted, how), rate(painted, how)

    def _fooled(self, filtered: Tensor) -> Tensor:
        models, multi_label = list(self.players.budget), self.players.multi_label
        if self.config.fool == "strongest":
            return uniform_loss(models[self.strongest](filtered), multi_label).mean()
        losses = torch.stack([uniform_loss(model(filtered), multi_label) for model in models])
        return losses.amax(0).mean() if self.config.fool == "maximum" else losses.mean()

    def _learn(self, feeds: Feeds) -> dict[str, float]:
        """The budget models' steps on a pool of filtered clips; finds the strongest."""
        pool = [feeds.budget() for _ in range(self.config.pool_batches)]
        with torch.no_grad():
            pool = [(self.players.degradation(clips), labels) for clips, labels in pool]
        count = len(self.budget)
        learned = means([scalar for k in range(count) for scalar in self._learn_one(k, pool)])
        losses, rights = learned[::2], learned[1::2]
        self.compare(losses)
        return {
            "budget_loss_min": min(losses),
            "budget_accuracy_max": max(rights),
            "budget_strongest": float(self.strongest),
            **{f"budget_{k}_accuracy": right for k, right in enumerate(rights)},
        }

    def _learn_one(self, k: int, pool: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
        """Mean loss and accuracy, scalars, of budget model ``k`` over its last pass over the pool."""
        losses, rights = [], []
        for index in range(self.config.min_steps):
            clips, labels = pool[index % len(pool)]
            logits = self.players.budget[k](clips)
            loss = classification_loss(logits, labels)
            step(loss, self.budget[k])
            losses.append(loss.detach())
            rights.append(hits(logits, labels))
        last = min(len(pool), len(losses))
        return torch.stack(losses[-last:]).double().mean(), torch.stack(rights[-last:]).double().mean()
