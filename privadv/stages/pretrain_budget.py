"""Pretrain the ensemble of K budget models f_b (who is it?)."""

from __future__ import annotations

import pydantic

from privadv.data.manifest import ClipSet
from privadv.models.checkpoint import Trained
from privadv.models.frame import MobileNet
from privadv.models.reader import ReaderSpec
from privadv.stages.pretraining import Settings, pretrain
from privadv.stages.stage import StageContext

RANKS = True  # several processes may run it together


class Config(Settings):
    """The K budget models, of one architecture or several, and their training."""

    readers: tuple[ReaderSpec, ...] = pydantic.Field(
        default=(ReaderSpec(network=MobileNet(width=0.6)),), min_length=1
    )


def run(config: Config, clips: ClipSet, degradation: Trained, seed: int, context: StageContext) -> Trained:
    """K budget models, trained apart; the metrics are their validation accuracies."""
    readers = {f"budget_{k}": spec for k, spec in enumerate(config.readers)}
    return pretrain("pretrain_budget", readers, "budget", config, clips, degradation, seed, context)


if __name__ == "__main__":
    from privadv.stages.alone import main

    main("pretrain_budget")
