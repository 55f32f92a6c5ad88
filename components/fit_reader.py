"""The component of the stage fit_reader."""

from kfp import dsl
from kfp.dsl import Artifact, Dataset, Input, Output


@dsl.component(base_image="privadv/evaluate", install_kfp_package=False)
def fit_reader(
    config: str,
    code: str,
    nonce: str,
    seed: int,
    reader: str,
    clips: Input[Dataset],
    outcome: Output[Artifact],
    warm: Input[Artifact] | None = None,
    raw: Input[Dataset] | None = None,
) -> str:
    """One fresh reader on one row's clips (``reader`` names both); gives where the store holds what became of it."""
    from privadv.stages.stage import execute

    inputs = {
        "clips": clips.path,
        "warm": warm.path if warm else None,
        "raw": raw.path if raw else None,
    }
    row, _, reader = reader.partition(" ")
    return execute("fit_reader", config, code, outcome.path, inputs, seed=seed, row=row, reader=reader)
