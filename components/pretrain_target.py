"""The component of the stage pretrain_target."""

from kfp import dsl
from kfp.dsl import Dataset, Input, Model, Output


@dsl.component(base_image="privadv/pretrain-models", install_kfp_package=False)
def pretrain_target(
    config: str, code: str, nonce: str, seed: int, clips: Input[Dataset], degradation: Input[Model], target: Output[Model]
):
    """The target model learns the action."""
    from privadv.stages.stage import execute

    inputs = {"clips": clips.path, "degradation": degradation.path}
    execute("pretrain_target", config, code, target.path, inputs, seed=seed)
