"""The component of the stage train_adversarial."""

from kfp import dsl
from kfp.dsl import Dataset, Input, Model, Output


@dsl.component(base_image="privadv/adversarial", install_kfp_package=False)
def train_adversarial(
    config: str,
    code: str,
    nonce: str,
    seed: int,
    clips: Input[Dataset],
    degradation: Input[Model],
    target: Input[Model],
    budget: Input[Model],
    game: Output[Model],
):
    """The game: the filter and the target model against the budget models."""
    from privadv.stages.stage import execute

    inputs = {
        "clips": clips.path,
        "degradation": degradation.path,
        "target": target.path,
        "budget": budget.path,
    }
    execute("train_adversarial", config, code, game.path, inputs, seed=seed)
