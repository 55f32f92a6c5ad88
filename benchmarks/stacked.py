"""The budget models' updates as one: their weights stacked, one batched kernel a layer in the place of K small ones."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from privadv.models.losses import classification_loss


def one_by_one(models: Sequence[nn.Module], clips: Tensor, labels: Tensor) -> None:
    """Gradients of every model, as the algorithms compute them."""
    for model in models:
        model.zero_grad(set_to_none=True)
        classification_loss(model(clips), labels).backward()


class Stacked:
    """Models of one architecture with weights (K, ...); :meth:`backward` leaves the gradients of all of them."""

    def __init__(self, models: Sequence[nn.Module]) -> None:
        self._model = copy.deepcopy(models[0]).to("meta")
        self.weights, self._statistics = stack_module_state(list(models))

    def backward(self, clips: Tensor, labels: Tensor) -> None:
        for weight in self.weights.values():
            weight.grad = None
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "There is a performance drop")  # which is what is measured
            logits = vmap(self._logits, (0, 0, None))(self.weights, self._statistics, clips)
        torch.stack([classification_loss(one, labels) for one in logits]).sum().backward()

    def _logits(self, weights: dict[str, Tensor], statistics: dict[str, Tensor], clips: Tensor) -> Tensor:
        return functional_call(self._model, (weights, statistics), (clips,))
