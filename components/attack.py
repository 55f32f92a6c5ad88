"""The component of the stage attack."""

from kfp import dsl
from kfp.dsl import Artifact, Dataset, Input, Output


@dsl.component(base_image="privadv/evaluate", install_kfp_package=False)
def attack(
    config: str,
    code: str,
    nonce: str,
    seed: int,
    row: str,
    clips: Input[Dataset],
    result: Output[Artifact],
    warm: Input[Artifact] | None = None,
    raw: Input[Dataset] | None = None,
) -> str:
    """Fresh models attack one row's clips, warmed up on raw ones; gives where the store holds the result."""
    from privadv.stages.stage import execute

    inputs = {
        "clips": clips.path,
        "warm": warm.path if warm else None,
        "raw": raw.path if raw else None,
    }
    return execute("attack", config, code, result.path, inputs, seed=seed, row=row)
