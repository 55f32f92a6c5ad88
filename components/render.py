"""The component of the stage render."""

from kfp import dsl
from kfp.dsl import Dataset, Input, Model, Output


@dsl.component(base_image="privadv/evaluate", install_kfp_package=False)
def render(
    config: str,
    code: str,
    nonce: str,
    seed: int,
    row: str,
    clips: Input[Dataset],
    rendered: Output[Dataset],
    game: Input[Model] | None = None,
) -> str:
    """The clips as one row of the evaluation stores them: raw, filtered, or through a baseline; and where they are told of."""
    from privadv.stages.stage import execute

    inputs = {"clips": clips.path, "game": game.path if game else None}
    return execute("render", config, code, rendered.path, inputs, seed=seed, row=row)
