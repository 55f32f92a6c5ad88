"""The component of the stage pretrain_budget."""

from kfp import dsl
from kfp.dsl import Dataset, Input, Model, Output


@dsl.component(base_image="privadv/pretrain-models", install_kfp_package=False)
def pretrain_budget(
    config: str, code: str, nonce: str, seed: int, clips: Input[Dataset], degradation: Input[Model], budget: Output[Model]
):
    """The K budget models learn the private attribute."""
    from privadv.stages.stage import execute

    inputs = {"clips": clips.path, "degradation": degradation.path}
    execute("pretrain_budget", config, code, budget.path, inputs, seed=seed)
