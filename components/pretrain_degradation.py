"""The component of the stage pretrain_degradation."""

from kfp import dsl
from kfp.dsl import Dataset, Input, Model, Output


@dsl.component(base_image="privadv/pretrain-degradation", install_kfp_package=False)
def pretrain_degradation(
    config: str, code: str, nonce: str, seed: int, clips: Input[Dataset], degradation: Output[Model]
):
    """The filter learns to reproduce its input: where the game starts."""
    from privadv.stages.stage import execute

    execute("pretrain_degradation", config, code, degradation.path, {"clips": clips.path}, seed=seed)
