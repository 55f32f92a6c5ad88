"""The component of the run's plan."""

from typing import NamedTuple

from kfp import dsl


@dsl.component(base_image="privadv/evaluate", install_kfp_package=False)
def plan(
    run: str,
    seed: int,
    releases: list,
    baselines: list,
    rerun: str,
    extract_frames: str,
    pretrain_degradation: str,
    pretrain_target: str,
    pretrain_budget: str,
    train_adversarial: str,
    render: str,
    attack: str,
    report: str,
) -> NamedTuple(
    "Plan",
    [
        ("configuration", str),
        ("extract_frames_nonce", str),
        ("pretrain_degradation_nonce", str),
        ("pretrain_target_nonce", str),
        ("pretrain_budget_nonce", str),
        ("train_adversarial_nonce", str),
        ("render_nonce", str),
        ("attack_nonce", str),
        ("report_nonce", str),
    ],
):  # pyright: ignore[reportInvalidTypeForm]
    """Do the parameters make one run? Gives its configuration, and a nonce for each stage that starts afresh."""
    from privadv.plan import plan
    from privadv.stages.stage import explained

    sections = {
        "extract_frames": extract_frames,
        "pretrain_degradation": pretrain_degradation,
        "pretrain_target": pretrain_target,
        "pretrain_budget": pretrain_budget,
        "train_adversarial": train_adversarial,
        "render": render,
        "attack": attack,
        "report": report,
    }
    with explained("plan"):
        return plan(run, seed, releases, baselines, sections, rerun)
