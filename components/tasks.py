"""How the pipeline makes a task out of a stage's component."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from components.placement import place
from privadv.cluster import Cluster
from privadv.code_version import code_version
from privadv.stages.alone import SECTIONS


@dataclass(frozen=True)
class Tasks:
    """Makes tasks whose caches know their inputs, their own configuration section and their own code.

    ``nonces``: for each stage, as ``<stage>_nonce``, what makes its caches forget. ``cluster`` None: for this machine.
    """

    nonces: Mapping[str, Any]
    cluster: Cluster | None = None

    def make(self, stage: Any, config: Any, **inputs: Any) -> Any:
        """A task of ``stage``."""
        name = stage_name(stage)
        nonce = self.nonces[f"{SECTIONS.get(name, name)}_nonce"]
        made = stage(config=config, code=code_version(name), nonce=nonce, **inputs)
        if self.cluster:
            place(made, name, self.cluster)
        row = inputs.get("row", "")
        return made.set_display_name(f"{stage.name} {row if isinstance(row, str) else 'row'}".rstrip())


def stage_name(stage: Any) -> str:
    """The stage's name as modules and configurations spell it: kfp turns `_` into `-`."""
    return stage.name.replace("-", "_")
