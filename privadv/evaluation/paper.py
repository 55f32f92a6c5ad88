"""The seed work's own evaluation, as its code runs it: ten attackers, trained on filtered clips alone from ImageNet weights.

The best by validation of each is tested, and the maximum over the ten counts. The weight decay of 0.002 that the code declares
never reaches a loss there, so there is none here.
"""

from __future__ import annotations

from typing import Any, Literal

import pydantic

from privadv.config import Section
from privadv.models.tensorflow.same import Range

IMAGENET = "imagenet"
TEN: tuple[dict[str, Any], ...] = (
    {"kind": "tf_inception", "version": 1},
    {"kind": "tf_inception", "version": 2},
    {"kind": "tf_resnet", "version": 1, "layers": 50},
    {"kind": "tf_resnet", "version": 1, "layers": 101},
    {"kind": "tf_resnet", "version": 2, "layers": 50},
    {"kind": "tf_resnet", "version": 2, "layers": 101},
    {"kind": "tf_mobilenet", "width": 1.0},
    {"kind": "tf_mobilenet", "width": 0.75},
    {"kind": "tf_mobilenet", "width": 0.5},
    {"kind": "tf_mobilenet", "width": 0.25},
)


class Paper(Section):
    """How the ten are trained: ``steps`` updates from ImageNet weights, ``scratch_steps`` for MobileNets of ``scratch`` widths.

    ``imagenet`` scratch goes without the weights: all ten take ``scratch_steps``. ``reads`` is the range of values that they are
    fed, 0 to 1 for SBU and 0 to 255 (bytes) for HMDB51 and VISPR; ``batch`` is 64 for SBU and 128 for VISPR; SBU's code has
    ``scratch`` 0.75 and 0.5, and slim's ``dropout`` before the logits commented out.
    """

    imagenet: Literal["store", "scratch"] = "store"
    reads: Range = "unit"
    scratch: tuple[float, ...] = (0.5, 0.25)
    dropout: bool = True
    steps: int = pydantic.Field(default=400, ge=1)
    scratch_steps: int = pydantic.Field(default=1000, ge=1)
    every: int = pydantic.Field(default=50, ge=1)
    batch: int = pydantic.Field(default=64, ge=1)
    lr: float = pydantic.Field(default=1e-4, gt=0)

    def attackers(self) -> list[dict[str, Any]]:
        """The ten, as a configuration would write them."""
        return [self._attacker(network) for network in TEN]

    def _attacker(self, network: dict[str, Any]) -> dict[str, Any]:
        scratch = self.imagenet == "scratch" or network.get("width") in self.scratch
        training = {"batch": self.batch, "lr": self.lr, "weight_decay": 0.0, "schedule": "constant", "ease": 0.0,
                    "moves": {"shift": 0, "mirror": False}}
        steps = self.scratch_steps if scratch else self.steps
        # slim's decays are meant for far more updates: the averages would not have arrived when the clips are read.
        facts = {**network, "reads": self.reads, "decay": 0.9}
        if not self.dropout and network["kind"] != "tf_resnet":
            facts["dropout"] = 0.0
        return {
            "reader": {"network": facts, "input": "plain"},
            "start": "scratch" if scratch else IMAGENET,
            "fit": {**training, "steps": steps, "every": min(self.every, steps)},
        }
