"""A stage by itself, for a process of its own: nothing is imported here that the stage would not import."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any, cast

from privadv.checkpoints import Checkpoints
from privadv.config import Section
from privadv.stages.stage import StageContext
from privadv.store import Store


class Untracked:
    """A tracker that nobody reads."""

    def child(self, *_: Any) -> Any:
        return nullcontext(self)

    @property
    def parent(self) -> Any:
        return nullcontext(self)

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_, **__: None


def run(name: str, config: Section, given: dict[str, Any]) -> Any:
    """The stage in this process, which has one worker process at most beside it."""
    store = Store.from_environment()
    context = StageContext(store, cast(Any, Untracked()), Checkpoints(store, name), workers=1)
    done = importlib.import_module(f"privadv.stages.{name}").run(config=config, context=context, **given)
    context.checkpoints.clear()
    return done
