"""The component of the stage join_readers."""

from kfp import dsl
from kfp.dsl import Artifact, Dataset, Input, Output


@dsl.component(base_image="privadv/evaluate", install_kfp_package=False)
def join_readers(
    config: str,
    code: str,
    nonce: str,
    seed: int,
    row: str,
    clips: Input[Dataset],
    readers: list[str],
    result: Output[Artifact],
) -> str:
    """The result of one row out of those of its readers; gives where the store holds it."""
    from privadv.stages.stage import execute

    inputs = {"clips": clips.path, "readers": readers}
    return execute("join_readers", config, code, result.path, inputs, seed=seed, row=row)
