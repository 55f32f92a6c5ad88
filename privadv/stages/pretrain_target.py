"""Pretrain the target model f_T (what happens?)."""

from __future__ import annotations

from privadv.data.manifest import ClipSet
from privadv.models.checkpoint import Trained
from privadv.models.clip import R2Plus1D
from privadv.models.reader import ReaderSpec
from privadv.stages.pretraining import Settings, pretrain
from privadv.stages.stage import StageContext

RANKS = True  # several processes may run it together


class Config(Settings):
    """The target model and its training."""

    reader: ReaderSpec = ReaderSpec(network=R2Plus1D(), input="standardised")


def run(config: Config, clips: ClipSet, degradation: Trained, seed: int, context: StageContext) -> Trained:
    """One target model; the metric is its validation accuracy."""
    readers = {"target": config.reader}
    return pretrain("pretrain_target", readers, "target", config, clips, degradation, seed, context)


if __name__ == "__main__":
    from privadv.stages.alone import main

    main("pretrain_target")
