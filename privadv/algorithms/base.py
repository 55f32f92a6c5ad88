"""The contract of every adversarial algorithm, and what several of them share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from privadv.config import Section
from privadv.models.degradation import Degradation
from privadv.models.losses import classification_loss, hits
from privadv.parallel.group import means, sharing, total

Batch = tuple[Tensor, Tensor]
Measured = Mapping[str, Tensor]
"""Scalars of a batch by name; nobody waits for them."""


@dataclass
class Players:
    """f_d (``degradation``), f_T (``target``) and the ensemble of f_b (``budget``), whose task may be ``multi_label``."""

    degradation: Degradation
    target: nn.Module
    budget: nn.ModuleList
    multi_label: bool = False


class Feeds(ABC):
    """Where an algorithm draws its batches: clips float (N, 3, T, H, W) in [0, 1] with their labels.

    ``shared``: both tasks label the same clips, so that one filtered batch may serve both.
    """

    shared: bool

    @abstractmethod
    def target(self) -> Batch:
        """The next batch of the target task; endless."""

    @abstractmethod
    def budget(self) -> Batch:
        """The next batch of the budget task; endless."""

    @abstractmethod
    def validation(self) -> Iterator[Batch]:
        """One bounded pass over the target task's validation clips."""


class AlgorithmConfig(Section):
    """What every algorithm's config has: how to build its algorithm."""

    rounds: int

    def build(self, players: Players) -> Algorithm:
        raise NotImplementedError


class Algorithm(ABC):
    """Plays rounds. Owns its optimizers; draws as many batches from the feeds as it likes; every inner loop is bounded.

    ``budget``: the optimizers of the budget models, in order, which a restart empties. ``accumulate``: how many batches make one
    update, a restart's too.

    It may be one of several ranks that play the same game, so whatever it decides by or reports goes through
    :func:`privadv.parallel.group.means`.
    """

    budget: Sequence[torch.optim.Optimizer]

    def __init__(self, players: Players, accumulate: int = 1) -> None:
        self.players, self.accumulate = players, accumulate

    @abstractmethod
    def update(self, feeds: Feeds) -> dict[str, float]:
        """Play one round; returns its metrics, named ``role_metric``."""

    @abstractmethod
    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        """Every optimizer by name, for resuming."""

    def memory(self) -> dict[str, Any]:
        """JSON-able state beside players and optimizers that a resumed game needs."""
        return {}

    def remember(self, memory: dict[str, Any]) -> None:  # noqa: B027  most algorithms have nothing to remember
        """Take back what :meth:`memory` gave."""

    def compare(self, losses: Sequence[float]) -> None:  # noqa: B027  most algorithms play against all budget models alike
        """Hear the latest loss of every budget model, in order, also after a restart."""


class AgainstStrongest(Algorithm):
    """An algorithm whose filter fools one budget model at a time, ``strongest``: that of the lowest loss when last compared."""

    strongest = 0

    def memory(self) -> dict[str, Any]:
        return {"strongest": self.strongest}

    def remember(self, memory: dict[str, Any]) -> None:
        self.strongest = memory["strongest"]

    def compare(self, losses: Sequence[float]) -> None:
        self.strongest = min(range(len(losses)), key=losses.__getitem__)


@torch.no_grad()
def validation_accuracy(players: Players, feeds: Feeds) -> float:
    """The target's accuracy on the filter's output, over the validation stream; each rank reads its part of every batch."""
    learning = [model for model in (players.target, players.degradation) if model.training]
    for model in learning:
        model.eval()
    right, seen = torch.zeros((), dtype=torch.double), 0
    for clips, labels in feeds.validation():
        with sharing(len(labels)) as share:
            logits = players.target(players.degradation(clips[share.rows]))
        if share.own:
            right = right + hits(logits[: share.own], labels[share.rows][: share.own]).double() * share.own
        seen += len(labels)
    for model in learning:
        model.train()
    return total(right) / seen


def recovery(players: Players, lr: float, decay: float) -> torch.optim.Adam:
    """Adam for filter and target together; ``decay`` as in :func:`decayed`."""
    return decayed(players.target, lr, decay, *players.degradation.parameters())


def recovering(players: Players, clips: Tensor, labels: Tensor) -> tuple[Tensor, Measured]:
    """L_T of target and filter together."""
    loss = classification_loss(players.target(players.degradation(clips)), labels)
    return loss, {"target_loss": loss}


def reading(players: Players, filtered: Tensor, labels: Tensor) -> tuple[list[Tensor], dict[str, Tensor]]:
    """The loss of each budget model, and ``budget_k_accuracy`` of each."""
    every = [model(filtered) for model in players.budget]
    losses = [classification_loss(logits, labels) for logits in every]
    return losses, {f"budget_{k}_accuracy": hits(logits, labels) for k, logits in enumerate(every)}


def reading_gradients(players: Players, feeds: Feeds, batches: int) -> tuple[list[Tensor], list[Tensor]]:
    """Gradients of every budget model, each on its own mean loss over ``batches``; those losses and the accuracies, scalars."""
    players.budget.zero_grad(set_to_none=True)
    losses = [torch.zeros((), dtype=torch.double)] * len(players.budget)
    rights = list(losses)
    for _ in range(batches):
        clips, labels = feeds.budget()
        with torch.no_grad():
            filtered = players.degradation(clips)
        for k, model in enumerate(players.budget):
            logits = model(filtered)
            loss = classification_loss(logits, labels)
            (loss / batches).backward()
            losses[k] = losses[k] + loss.detach().double() / batches
            rights[k] = rights[k] + hits(logits, labels).double() / batches
    return losses, rights


def decayed(model: nn.Module, lr: float, decay: float, *others: nn.Parameter) -> torch.optim.Adam:
    """Adam for a target (and ``others``); ``decay`` is the L2 term of its weights, biases left out (seed: 0.001)."""
    every = list(model.parameters())
    weights = [parameter for parameter in every if parameter.ndim > 1]
    rest = [parameter for parameter in every if parameter.ndim <= 1]
    groups = [{"params": [*others, *rest]}, {"params": weights, "weight_decay": decay}]
    return torch.optim.Adam(groups, lr, fused=True)


@contextmanager
def frozen(*modules: nn.Module) -> Iterator[None]:
    """No gradients for the modules' parameters inside the block; gradients still flow through them to their inputs."""
    parameters = [p for module in modules for p in module.parameters() if p.requires_grad]
    for parameter in parameters:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in parameters:
            parameter.requires_grad_(True)


def reported(measured: Mapping[str, float | Tensor]) -> dict[str, float]:
    """A step's metrics as numbers, means over the ranks; it waits for the device, so a round asks for its last step's only."""
    return dict(zip(measured, means(list(measured.values())), strict=True))


def step(loss: Tensor, *optimizers: torch.optim.Optimizer) -> None:
    """Descend ``loss`` once with the given optimizers."""
    descend(1, lambda: (loss, {}), *optimizers)


def descend(
    batches: int, forward: Callable[[], tuple[Tensor, Measured]], *optimizers: torch.optim.Optimizer
) -> dict[str, Tensor]:
    """One update on the mean of ``batches`` losses, which ``forward`` gives with what it measured, each of a batch of its own.

    Gives the means of what was measured.
    """
    for optimizer in optimizers:
        optimizer.zero_grad(set_to_none=True)
    sums: dict[str, Tensor] = {}
    for _ in range(batches):
        loss, measured = forward()
        (loss / batches).backward()
        for name, value in measured.items():
            value = value.detach().double() / batches
            sums[name] = sums[name] + value if name in sums else value
    for optimizer in optimizers:
        optimizer.step()
    return sums
