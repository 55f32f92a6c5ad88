"""The component of the stage extract_frames."""

from kfp import dsl
from kfp.dsl import Dataset, Output


@dsl.component(base_image="privadv/extract", install_kfp_package=False)
def extract_frames(config: str, code: str, nonce: str, clips: Output[Dataset]):
    """Video files or frame folders become shards of clips."""
    from privadv.stages.stage import execute

    execute("extract_frames", config, code, clips.path)
