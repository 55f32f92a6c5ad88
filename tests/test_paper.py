"""The seed work's evaluation as a profile: its ten attackers, their training, and where they start."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from privadv.data.feeds import ClipArray, Player
from privadv.data.manifest import Clip, Geometry
from privadv.errors import PrivadvError
from privadv.evaluation.suite import AttackerSpec, Suite
from privadv.evaluation.two_fold import jobs, result
from privadv.models.clip import R2Plus1D
from privadv.models.frame import ResNet
from privadv.models.reader import ReaderSpec
from privadv.models.tensorflow.mobilenet import TfMobileNet
from privadv.training import FitConfig, FitJob, Fitted, fit

TARGET = {"network": {"kind": "r2plus1d", "width": 4}}
Given = dict[str, object]


def suite(**given: object) -> Suite:
    return Suite.parse({"profile": "paper", "target": TARGET, "seen": ["mobilenet"], **given}, "attack")


def test_the_ten_of_the_seed_work() -> None:
    ten = {attacker.name: attacker for attacker in suite().attackers}
    assert list(ten) == [
        *("inception_v1/plain/imagenet", "inception_v2/plain/imagenet"),
        *("resnet_v1_50/plain/imagenet", "resnet_v1_101/plain/imagenet"),
        *("resnet_v2_50/plain/imagenet", "resnet_v2_101/plain/imagenet"),
        *("mobilenet_v1_1/plain/imagenet", "mobilenet_v1_0.75/plain/imagenet"),
        *("mobilenet_v1_0.5/plain/scratch", "mobilenet_v1_0.25/plain/scratch"),
    ]
    steps = {name: (one.fit.steps, one.fit.lr, one.fit.batch, one.fit.schedule) for name, one in ten.items() if one.fit}
    assert len(steps) == 10
    assert set(steps.values()) == {(400, 1e-4, 64, "constant"), (1000, 1e-4, 64, "constant")}
    assert all((facts[0] == 1000) == name.endswith("/scratch") for name, facts in steps.items())
    assert {one.reader.network.reads for one in ten.values()} == {"unit"}  # pyright: ignore
    assert [one.name for one in suite().raw_attackers()] == list(ten)
    assert Suite.parse(suite().canonical(), "again") == suite()


def test_a_mistake_in_it_is_told_under_its_own_key() -> None:
    with pytest.raises(PrivadvError, match=r"attack: key 'paper\.lr' = -1: .*greater than 0"):
        suite(paper={"lr": -1})


def test_without_imagenet_all_start_from_scratch_and_the_rest_can_be_set() -> None:
    ours = suite(paper={"imagenet": "scratch", "reads": "bytes", "batch": 128, "scratch_steps": 7, "scratch": []})
    assert {one.start for one in ours.attackers} == {"scratch"}
    assert {(one.fit.steps, one.fit.batch, one.fit.every) for one in ours.attackers if one.fit} == {(7, 128, 7)}
    assert {one.reader.network.reads for one in ours.attackers} == {"bytes"}  # pyright: ignore


def test_the_profile_alone_makes_the_whole_protocol() -> None:
    """Whatever an honest run says of who attacks."""
    ten = suite()
    kinds = [(kind, start) for kind in ("resnet", "vgg") for start in ("warm", "scratch")]
    warm = [{"reader": {"network": {"kind": kind}}, "start": start} for kind, start in kinds]
    honest = {"attackers": warm, "strongest": 2, "chosen": {"planted:spatial": ["vgg/plain/warm"]}, "finals": {"best": 1}}
    assert suite(**honest) == ten
    assert [one.name for one in ten.against("gray", [])] == [one.name for one in ten.attackers]


def test_sbu_s_code_has_no_dropout_before_the_logits() -> None:
    def dropped(ours: Suite) -> list[float]:
        return [one.reader.network.model_dump().get("dropout", 0.0) for one in ours.attackers]

    assert dropped(suite()) == [0.2] * 2 + [0.0] * 4 + [0.001] * 4
    assert dropped(suite(paper={"dropout": False})) == [0.0] * 10


def test_few_unseen_families_are_the_paper_s_alone() -> None:
    seen = ["mobilenet", "resnet"]
    assert suite(seen=seen).attackers
    with pytest.raises(PrivadvError, match="unseen in training"):
        Suite.parse({**suite(seen=seen).model_dump(mode="json"), "profile": "honest"}, "attack")
    with pytest.raises(PrivadvError, match="at least four attackers"):
        Suite.parse({"target": TARGET}, "attack")


def test_only_published_networks_start_from_published_weights() -> None:
    own = {"reader": {"network": {"kind": "mobilenet"}}, "start": "imagenet"}
    with pytest.raises(PrivadvError, match=r"mobilenet/plain/imagenet.*no published weights"):
        suite(profile="honest", attackers=[own, *suite().model_dump(mode="json")["attackers"]])


def arrays(folder: Path) -> dict[Player, dict[str, ClipArray]]:
    geometry = Geometry(frames=1, height=16, width=16)
    frames = np.zeros(geometry.shape, np.uint8)
    made = {
        split: ClipArray.write(
            folder / f"{split}.u8", [Clip(f"{split}{n}", frames, n, n, "v", (0,)) for n in range(2)], 2, geometry
        )
        for split in ("train", "val", "test")
    }
    return {"target": made, "budget": made}


def test_published_weights_go_with_no_curriculum_and_own_training(tmp_path: Path) -> None:
    own, honest = FitConfig(steps=3, schedule="constant"), {"profile": "honest", "seen": []}
    starts = ("imagenet", "scratch", "warm")
    widths = {"imagenet": 0.25, "scratch": 0.5, "warm": 0.75}
    readers = {start: ReaderSpec(network=TfMobileNet(width=widths[start])) for start in starts}
    attackers = [
        AttackerSpec(reader=readers[start], start=start, fit=own if start != "warm" else None) for start in starts
    ] + [AttackerSpec(reader=ReaderSpec(network=ResNet()))]
    ours = suite(**honest, attackers=[attacker.model_dump(mode="json") for attacker in attackers], fit={"steps": 9})
    warm = {"target": b"t", "mobilenet_v1_0.25/plain/imagenet": b"i", "mobilenet_v1_0.75/plain/scratch": b"w"}
    clips = arrays(tmp_path)
    made = jobs(ours, "filter", clips, clips, (2, 2), {**warm, "resnet/plain/scratch": b"m"}, (), 0)
    facts = {job.name: (job.weights, job.ease_from is not None, job.config.steps) for job in made if isinstance(job, FitJob)}
    assert facts == {
        "target": (b"t", True, 9),
        "mobilenet_v1_0.25/plain/imagenet": (b"i", False, 3),
        "mobilenet_v1_0.5/plain/scratch": (None, False, 3),
        "mobilenet_v1_0.75/plain/warm": (b"w", True, 9),
        "resnet/plain/warm": (b"m", True, 9),
    }
    raw = jobs(ours, "raw", clips, None, (2, 2), {"mobilenet_v1_0.25/plain/imagenet": b"i"}, (), 0)
    assert {job.name: job.weights for job in raw if isinstance(job, FitJob) and job.weights} == {
        "mobilenet_v1_0.25/plain/imagenet": b"i"
    }
    begun = suite(**honest, attackers=[attacker.model_dump(mode="json") for attacker in attackers], target_init="sports1m")
    first = jobs(begun, "raw", clips, None, (2, 2), {"target": b"s", "mobilenet_v1_0.25/plain/imagenet": b"i"}, (), 0)[0]
    assert isinstance(first, FitJob) and first.weights == b"s" and first.ease_from is None
    fitted = Fitted("x", b"", 3, 1.0, 0.5, 0.1, 0.5, predictions=[[0.0, 1.0], [0.0, 1.0]])
    assert result(raw[1], fitted, clips["budget"]["test"], ours).start == "imagenet"
    assert result(first, fitted, clips["target"]["test"], ours).start == "imagenet", "published weights, not its own raw self"


def test_a_constant_learning_rate_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clips, rates = arrays(tmp_path)["target"], []
    step = torch.optim.AdamW.step

    def noted(self: torch.optim.AdamW, closure: None = None) -> None:
        rates.append(self.param_groups[0]["lr"])
        step(self, closure)

    monkeypatch.setattr(torch.optim.AdamW, "step", noted)
    config = FitConfig(steps=4, lr=0.5, schedule="constant", weight_decay=0)
    spec = ReaderSpec(network=R2Plus1D(width=4))
    fit(FitJob("a", "target", spec, 2, config, 0, clips["train"].path, clips["val"].path))
    assert rates == [0.5] * 4
