"""The component of the stage report."""

from kfp import dsl
from kfp.dsl import Artifact, Dataset, Input, Model, Output


@dsl.component(base_image="privadv/evaluate", install_kfp_package=False)
def report(
    config: str,
    code: str,
    nonce: str,
    seed: int,
    configuration: str,
    clips: Input[Dataset],
    filtered_clips: list[str],
    degradation: Input[Model],
    target: Input[Model],
    budget: Input[Model],
    game: Input[Model],
    raw: str,
    filtered: list[str],
    baselines: list[str],
    report: Output[Artifact],
):
    """What was won, on one page."""
    from privadv.stages.stage import execute

    inputs = {
        "clips": clips.path,
        "filtered_clips": filtered_clips,
        "degradation": degradation.path,
        "target": target.path,
        "budget": budget.path,
        "game": game.path,
        "results": [raw, *filtered, *baselines],
    }
    execute("report", config, code, report.path, inputs, seed=seed, configuration=configuration)
