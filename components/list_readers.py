"""The component of the stage list_readers."""

from kfp import dsl
from kfp.dsl import Artifact, Input, Output


@dsl.component(base_image="privadv/evaluate", install_kfp_package=False)
def list_readers(
    config: str, code: str, nonce: str, row: str, names: Output[Artifact], warm: Input[Artifact] | None = None
) -> list[str]:
    """Who reads one row: the items of a loop over its readers."""
    import json
    from pathlib import Path

    from privadv.stages.stage import execute

    execute("list_readers", config, code, names.path, {"warm": warm.path if warm else None}, row=row)
    return json.loads(Path(names.path).read_text())["names"]
