"""The whole state of a training as bytes: a resumed one goes on as if nothing had happened."""

from __future__ import annotations

import io
import pickle
from collections.abc import Mapping
from typing import Any, Protocol

import torch

from privadv.checkpoints import Checkpoints
from privadv.console import say
from privadv.device import random_state, set_random_state
from privadv.errors import PrivadvError


class Stateful(Protocol):
    """A module, an optimizer, a schedule, a stream of batches."""

    def state_dict(self) -> Any: ...

    def load_state_dict(self, state: Any, /) -> Any: ...


def freeze(parts: Mapping[str, Stateful], **facts: Any) -> bytes:
    """The state of every part and of torch's random generators, and ``facts`` of plain values and tensors."""
    state = {"parts": {name: part.state_dict() for name, part in parts.items()}, "facts": facts,
             "random": random_state()}
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()


def thaw(data: bytes, parts: Mapping[str, Stateful], where: str) -> dict[str, Any]:
    """Put every part and the random generators back; gives the facts.

    Raises:
        PrivadvError: the bytes are of another training, or of none; nothing in them is ever executed.
    """
    try:
        state = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
        for name, part in parts.items():
            part.load_state_dict(state["parts"][name])
        set_random_state(state["random"])
        return dict(state["facts"])
    except (pickle.UnpicklingError, RuntimeError, LookupError, TypeError, ValueError, EOFError) as error:
        reason = " ".join(str(error).split())[:160]
        raise PrivadvError(f"{where}: no resume point of this training ({reason}): remove it from the store "
                           "and start the stage again") from None


class Resumable:
    """A loop of steps that is saved as it goes, and goes on after a kill; without ``checkpoints`` it is a plain one."""

    def __init__(
        self, name: str, parts: Mapping[str, Stateful], checkpoints: Checkpoints | None, steps: int, every: int
    ) -> None:
        """``parts`` change with the ``steps``; ``every``: how many of these lie between two saves."""
        self._name, self._parts, self._checkpoints = name, parts, checkpoints
        self._steps, self._every = steps, every

    def resume(self) -> tuple[int, dict[str, Any]]:
        """Put the parts back; gives the last saved step and its facts, or 0 and none."""
        saved = self._checkpoints.load() if self._checkpoints else None
        if saved is None:
            return 0, {}
        say(f"{self._name}: going on after step {saved[0]}")
        return saved[0], thaw(saved[1]["state"], self._parts, self._name)

    def due(self, step: int) -> bool:
        """Whether it is time to save after ``step``, alike on every rank; never after the last, whose result comes at once."""
        return step % self._every == 0 and step < self._steps

    def save(self, step: int, **facts: Any) -> None:
        """Save the parts and ``facts`` after ``step``, where it is time to."""
        if self._checkpoints and self.due(step):
            self._checkpoints.save(step, {"state": freeze(self._parts, **facts)})
