"""The game as a stage: a killed one goes on from its last saved round to the very same weights."""

from __future__ import annotations

import json
from contextlib import nullcontext
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch.utils.checkpoint import checkpoint

from privadv.algorithms.entropy import EntropyConfig
from privadv.algorithms.grl import GRLConfig
from privadv.algorithms.kbeam import KBeamConfig
from privadv.algorithms.restart import RestartConfig
from privadv.algorithms.uniform import UniformConfig
from privadv.checkpoints import Checkpoints
from privadv.data.manifest import Clip, ClipSet, Geometry, Task
from privadv.data.shards import write_shards
from privadv.models import degradation
from privadv.models.checkpoint import Trained, save_weights
from privadv.models.clip import R2Plus1D
from privadv.models.degradation import Release, TransformNet
from privadv.models.frame import MobileNet, ResNet
from privadv.models.reader import ReaderSpec
from privadv.models.tensorflow.transform_net import TfTransformNet
from privadv.precision import learn_in
from privadv.stages.stage import StageContext
from privadv.stages.train_adversarial import Config, run
from privadv.stages.workbench import put_curves, put_filter, put_reader
from privadv.store import Store

ALGORITHMS = {
    "uniform": UniformConfig(rounds=4, fool_steps=1, min_steps=2, pool_batches=2, ramp=0.75, anneal=0.75),
    "kbeam": KBeamConfig(rounds=4, max_steps=1, min_steps=2, target_steps=1),
    "entropy": EntropyConfig(rounds=4, target_steps=1, budget_steps=2),
    "grl": GRLConfig(rounds=4, steps=2),
}


class Silent:
    """A tracker that nobody reads."""

    def metrics(self, values: dict[str, float], step: int | None = None) -> None:
        assert all(isinstance(value, float) for value in values.values())

    def child(self, *_: Any) -> Any:
        return nullcontext(self)


class Killed(BaseException):
    """What a SIGKILL leaves: nothing after the moment it struck."""


class DyingCheckpoints(Checkpoints):
    """Dies in place of the save after ``saves``."""

    saves = 1

    def save(self, step: int, parts: dict[str, bytes]) -> None:
        if not self.saves:
            raise Killed
        self.saves -= 1
        super().save(step, parts)


def clip_set(store: Store) -> ClipSet:
    rng = np.random.default_rng(0)
    geometry = Geometry(frames=4, height=16, width=16)
    splits = {}
    for split, count in (("train", 24), ("val", 12), ("test", 12)):
        clips = [
            Clip(
                f"{split}{i}",
                rng.integers(0, 255, geometry.shape).astype(np.uint8),
                i % 2,
                i % 3,
                f"{split}{i}",
                (0,) * 4,
            )
            for i in range(count)
        ]
        splits[split] = write_shards(store, clips, "raw")
    return ClipSet(
        dataset="toy",
        synthetic=True,
        row="raw",
        geometry=geometry,
        encoding="raw",
        splits=splits,
        target=Task(name="action", classes=("a", "b")),
        budget=Task(name="pair", classes=("x", "y", "z")),
    )


def trained(store: Store, stage: str, specs: dict[str, TransformNet | ReaderSpec]) -> Trained:
    torch.manual_seed(3)
    models = {}
    for role, spec in specs.items():
        classes = 2 if role == "target" else 3
        models[role] = (
            put_filter(store, spec.build())
            if isinstance(spec, TransformNet)
            else put_reader(store, spec, classes, save_weights(spec.build(classes)))
        )
    return Trained(stage=stage, seed=0, models=models, metrics={}, curves=put_curves(store, {}), seconds=0.0)


def play(store: Store, config: Config, checkpoints: Checkpoints) -> Trained:
    context = StageContext(store, cast(Any, Silent()), checkpoints, workers=1)
    small = TransformNet(width=4, blocks=1, kernel=3, release=Release(noise=0.1))
    budget = {
        "budget_0": ReaderSpec(network=MobileNet(width=0.25, depth=0, glimpse=2), input="standardised"),
        "budget_1": ReaderSpec(network=ResNet(width=4)),
    }
    return run(
        config,
        clip_set(store),
        trained(store, "pretrain_degradation", {"degradation": small}),
        trained(store, "pretrain_target", {"target": ReaderSpec(network=R2Plus1D(width=4))}),
        trained(store, "pretrain_budget", {**budget}),
        7,
        context,
    )


@pytest.mark.parametrize("restart", [None, RestartConfig(every=2, steps=1)], ids=["plain", "restarting"])
@pytest.mark.parametrize("name", ALGORITHMS)
def test_a_killed_game_ends_with_the_weights_of_an_uninterrupted_one(
    name: str, restart: RestartConfig | None, store: Store
) -> None:
    config = Config(algorithm=ALGORITHMS[name], restart=restart, batch=8, checkpoint_rounds=1)
    straight = play(store, config, Checkpoints(store, "straight"))
    with pytest.raises(Killed):
        play(store, config, DyingCheckpoints(store, "killed"))
    resumed = play(store, config, Checkpoints(store, "killed"))
    assert resumed.models == straight.models
    assert resumed.curves == straight.curves


def test_a_game_with_the_first_of_the_budget_models_alone(store: Store) -> None:
    config = Config(algorithm=ALGORITHMS["kbeam"], models=1, batch=8)
    done = play(store, config, Checkpoints(store, "alone"))
    assert sorted(done.models) == ["budget_0", "degradation", "target"] and done.budget[0].spec.family == "mobilenet"
    assert "budget_1_accuracy" not in done.metrics


def test_the_release_of_the_game_ships_with_its_filter(store: Store) -> None:
    loud = Release(gray=False, noise=0.3, levels=4)
    config = Config(algorithm=ALGORITHMS["uniform"], release=loud, batch=8)
    assert play(store, config, Checkpoints(store, "loud")).degradation.spec.release == loud


@pytest.mark.parametrize("name", ALGORITHMS)
def test_a_game_in_half_precision_is_nearly_the_same_and_goes_on_alike(name: str, store: Store) -> None:
    config = Config(algorithm=ALGORITHMS[name].model_copy(update={"rounds": 3}), batch=8, checkpoint_rounds=1)
    half = config.model_copy(update={"precision": "bfloat16"})
    full, straight = play(store, config, Checkpoints(store, "full")), play(store, half, Checkpoints(store, "half"))
    assert straight.models != full.models
    curves, others = (json.loads(store.get(game.curves)) for game in (full, straight))
    for series in (name for name in curves if "loss" in name or "fool" in name):
        assert others[series][0][1] == pytest.approx(curves[series][0][1], rel=0.05, abs=0.02), f"round 1 of {series}"
    with pytest.raises(Killed):
        play(store, half, DyingCheckpoints(store, "killed"))
    assert play(store, half, Checkpoints(store, "killed")).models == straight.models


@pytest.mark.parametrize("name", ALGORITHMS)
def test_a_game_that_recomputes_is_the_same(name: str, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    config = Config(algorithm=ALGORITHMS[name], batch=8)
    recomputed: list[object] = []
    monkeypatch.setattr(degradation, "checkpoint", lambda *a, **b: recomputed.append(a) or checkpoint(*a, **b))
    kept = play(store, config, Checkpoints(store, "kept")).models
    assert not recomputed
    assert play(store, config.model_copy(update={"recompute": True}), Checkpoints(store, "recomputed")).models == kept
    assert recomputed


@pytest.mark.parametrize("spec", [TransformNet(width=4, blocks=2, kernel=3), TfTransformNet(width=4, blocks=2)])
def test_a_filter_that_recomputes_keeps_less_and_has_the_same_gradients(spec: TransformNet | TfTransformNet) -> None:
    """Noise and all: what is drawn next is the same, too."""
    filter_ = spec.model_copy(update={"release": Release(noise=0.1)}).build()
    clips = torch.rand(2, 3, 4, 16, 16)
    found, kept = [], []
    for filter_.recompute in (False, True):
        torch.manual_seed(0)
        filter_.zero_grad(set_to_none=True)
        saved: list[int] = []
        with torch.autograd.graph.saved_tensors_hooks(lambda x, saved=saved: saved.append(x.numel()) or x, lambda x: x):
            loss = filter_(clips).square().sum()
        loss.backward()
        found.append([loss, torch.rand(1), *(p.grad for p in filter_.parameters())])
        kept.append(sum(saved))
    torch.testing.assert_close(found[1], found[0], rtol=0, atol=0)
    assert kept[1] < kept[0] / 2


def test_what_learns_in_half_precision_gives_floats_and_infers_in_full() -> None:
    torch.manual_seed(0)
    plain, half = TransformNet(width=4, blocks=1, kernel=3).build(), TransformNet(width=4, blocks=1, kernel=3).build()
    half.load_state_dict(plain.state_dict())
    learn_in("bfloat16", half, "paint")
    clips = torch.rand(2, 3, 4, 16, 16)
    learnt = half(clips)
    assert learnt.dtype == torch.float32 and not torch.equal(learnt, plain(clips))
    assert torch.allclose(learnt, plain(clips), atol=0.05)
    assert torch.allclose(learnt * 255, (learnt * 255).round(), atol=1e-3), "the release rounds to 8 bit in float32"
    learnt.mean().backward()
    assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in half.parameters())
    half.eval()
    assert torch.equal(half(clips), plain.eval()(clips))
