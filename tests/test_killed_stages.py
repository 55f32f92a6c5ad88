"""Training that SIGKILL ends at random moments: bit for bit the weights of an uninterrupted one."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from killing import Fuse, in_a_process
from test_train_adversarial import ALGORITHMS, clip_set, trained

from privadv.checkpoints import Checkpoints
from privadv.data.feeds import ClipArray
from privadv.data.manifest import Clip, Geometry
from privadv.errors import PrivadvError
from privadv.evaluation.suite import AttackerSpec, Suite
from privadv.models.clip import R2Plus1D
from privadv.models.degradation import Release, TransformNet
from privadv.models.frame import DenseNet, Inception, MobileNet, ResNet
from privadv.models.reader import ReaderSpec
from privadv.snapshots import freeze, thaw
from privadv.stages import attack, pretrain_budget, pretrain_degradation, pretrain_target, train_adversarial
from privadv.stages.stage import StageContext
from privadv.store import Store
from privadv.training import FitConfig, FitJob, Fitted, fit, fit_all

FILTER = TransformNet(width=4, blocks=1, kernel=3, release=Release(noise=0.1))
READERS = (
    ReaderSpec(network=MobileNet(width=0.25, depth=0), input="standardised"),
    ReaderSpec(network=ResNet(width=4), input="adaptive"),
)
TARGET = ReaderSpec(network=R2Plus1D(width=4))
KILLS = 20


class Watched:
    """A tracker that only hands its calls to ``metrics``."""

    def __init__(self, metrics: Callable[..., None] = lambda *_: None) -> None:
        self._metrics = metrics

    def metrics(self, values: dict[str, float], step: int | None = None) -> None:
        self._metrics(values)

    def child(self, *_: Any) -> Any:
        return nullcontext(Watched())


def context(store: Store, task: str, tracker: Watched | None = None) -> StageContext:
    return StageContext(store, cast(Any, tracker or Watched()), Checkpoints(store, task), workers=1)


def array(path: Path, seed: int, count: int = 16) -> ClipArray:
    rng, geometry = np.random.default_rng(seed), Geometry(frames=2, height=16, width=16)
    clips = [
        Clip(f"{seed}-{n}", rng.integers(0, 255, geometry.shape).astype(np.uint8), n % 2, n % 2, "v", (0, 1))
        for n in range(count)
    ]
    return ClipArray.write(path, clips, count, geometry)


def eased_job(folder: Path, spec: ReaderSpec) -> FitJob:
    raw, validation = array(folder / "raw.u8", 1), array(folder / "val.u8", 2)
    row = raw.derive(folder / "row.u8", iter([(np.asarray(raw.frames) // 2).astype(np.uint8)]))
    config = FitConfig(steps=30, every=5, batch=4, ease=0.3, checkpoint_steps=4)
    return FitJob("r/plain/warm", "budget", spec, 2, config, 0, row.path, validation.path,
                  ease_from=raw.path, test=validation.path)  # fmt: skip


def outcome(fitted: Fitted) -> str:
    return repr(replace(fitted, seconds=0.0))


@pytest.mark.parametrize("spec", READERS, ids=lambda spec: spec.input)
def test_a_fit_killed_at_three_random_steps_ends_like_an_uninterrupted_one(
    spec: ReaderSpec, store: Store, tmp_path: Path
) -> None:
    job, draw, resumed = eased_job(tmp_path, spec), random.Random(4), 0
    for _ in range(3):
        fuse = Fuse(draw.randrange(5, 10))
        assert in_a_process(lambda fuse=fuse: outcome(fit(job, fuse, Checkpoints(store, "task")))) is None
        resumed += Checkpoints(store, "task").load() is not None
    assert resumed and outcome(fit(job, checkpoints=Checkpoints(store, "task"))) == outcome(fit(job))


def test_what_a_killed_suite_had_finished_is_not_trained_again(store: Store, tmp_path: Path) -> None:
    job = eased_job(tmp_path, READERS[0])
    done, left = replace(job, name="done"), replace(job, name="left", seed=1)
    first = fit_all([done], 1, "suite", Checkpoints(store, "suite"))["done"]
    broken = replace(done, train=tmp_path / "gone.u8")  # it would fail if it were trained
    both = fit_all([broken, left], 1, "suite", Checkpoints(store, "suite"))
    assert outcome(both["done"]) == outcome(first) and outcome(both["left"]) == outcome(fit(left))


def test_the_filter_s_pretraining_goes_on_after_a_kill(store: Store) -> None:
    config = pretrain_degradation.Config(network=FILTER, steps=12, checkpoint_steps=3)
    clips = clip_set(store)
    straight = pretrain_degradation.run(config, clips, 5, context(store, "straight"))
    for steps in (5, 4):
        tracker = Watched(Fuse(steps))
        killed = context(store, "killed", tracker)
        assert in_a_process(lambda killed=killed: str(pretrain_degradation.run(config, clips, 5, killed))) is None
    found = Checkpoints(store, "killed").load()
    assert found and found[0] == 6
    resumed = pretrain_degradation.run(config, clips, 5, context(store, "killed"))
    assert (resumed.models, resumed.curves) == (straight.models, straight.curves)


def test_an_older_attempt_stops_when_a_newer_one_has_begun(store: Store, tmp_path: Path) -> None:
    job, older, newer = eased_job(tmp_path, READERS[0]), Checkpoints(store, "task"), Checkpoints(store, "task")
    piece = older.piece(job.name)
    newer.load()
    with pytest.raises(PrivadvError, match="newer attempt"):
        fit(job, checkpoints=piece)
    fit(job, checkpoints=newer.piece(job.name))
    older.clear()
    assert newer.piece(job.name).load() is not None
    newer.clear()
    left = store.keys("checkpoints/task/")
    assert left and all("/epochs/" in key for key in left)


class Bomb:
    def __reduce__(self) -> Any:
        return exec, ("raise SystemExit('executed')",)


@pytest.mark.parametrize("spoiled", ["pickle", "nonsense", "other"])
def test_a_snapshot_that_is_none_is_refused_in_one_line(spoiled: str) -> None:
    import io
    import pickle

    import torch

    if spoiled == "pickle":
        buffer = io.BytesIO()
        torch.save({"parts": {}, "facts": Bomb(), "random": []}, buffer)
        data = buffer.getvalue()
    else:
        data = pickle.dumps(Bomb(), protocol=2) if spoiled == "nonsense" else freeze({"model": torch.nn.Linear(2, 3)})
    with pytest.raises(PrivadvError, match="task: no resume point of this training") as caught:
        thaw(data, {"model": torch.nn.Linear(2, 2)}, "task")
    assert "\n" not in str(caught.value)


Stage = Callable[[StageContext], Any]


def stages(store: Store) -> dict[str, Stage]:
    """Every stage that trains, small, on toy clips; each saves itself many times."""
    clips = clip_set(store)
    degradation = trained(store, "pretrain_degradation", {"degradation": FILTER})
    target = trained(store, "pretrain_target", {"target": TARGET})
    budget = trained(store, "pretrain_budget", {f"budget_{k}": spec for k, spec in enumerate(READERS[:1])})
    steps = FitConfig(steps=40, every=10, batch=4, checkpoint_steps=3)
    attackers = (ResNet(width=4), Inception(width=8), DenseNet(growth=4, layers=1), R2Plus1D(width=4))
    suite = Suite(
        target=TARGET, raw_fit=steps, fit=steps, seen=("mobilenet",),
        attackers=tuple(AttackerSpec(reader=ReaderSpec(network=network)) for network in attackers),
    )  # fmt: skip
    first = pretrain_degradation.Config(network=FILTER, steps=60, checkpoint_steps=3)
    game = train_adversarial.Config(algorithm=ALGORITHMS["uniform"].model_copy(update={"rounds": 12}), batch=4,
                                    checkpoint_rounds=1)  # fmt: skip
    return {
        "pretrain_degradation": lambda c: pretrain_degradation.run(first, clips, 5, c),
        "pretrain_target": lambda c: pretrain_target.run(
            pretrain_target.Config(reader=TARGET, fit=steps), clips, degradation, 5, c
        ),
        "pretrain_budget": lambda c: pretrain_budget.run(
            pretrain_budget.Config(readers=READERS, fit=steps), clips, degradation, 5, c
        ),
        "train_adversarial": lambda c: train_adversarial.run(game, clips, degradation, target, budget, 5, c),
        "attack": lambda c: attack.run(suite, "raw", clips, 5, c),
    }


def told(manifest: Any) -> str:
    """A manifest without how long the work took."""
    return str(_timeless(manifest.model_dump(mode="json")))


def _timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _timeless(part) for name, part in value.items() if name != "seconds"}
    return [_timeless(part) for part in value] if isinstance(value, (list, tuple)) else value


@pytest.mark.full
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", ["pretrain_degradation", "pretrain_target", "pretrain_budget",
                                  "train_adversarial", "attack"])  # fmt: skip
def test_a_stage_killed_at_twenty_random_moments_leaves_what_an_uninterrupted_one_does(
    name: str, store: Store
) -> None:
    stage, draw = stages(store)[name], random.Random(name)
    began = time.monotonic()
    straight = in_a_process(lambda: told(stage(context(store, "straight"))))
    lasts, kills, finished, resumed = time.monotonic() - began, 0, 0, 0
    assert straight
    while True:
        task = f"killed{finished}"
        # A moment anywhere in the work, imports and saving included; past its end it finishes and begins anew.
        moment = draw.uniform(0, lasts) if kills < KILLS else None
        steps = [key for key in store.keys(f"checkpoints/{task}/") if "/steps/" in key]
        resumed += bool(steps)
        ended = in_a_process(lambda task=task: told(stage(context(store, task))), moment)
        if ended is None:
            kills += 1
            continue
        assert ended == straight
        finished += 1
        if moment is None:
            break
    print(f"{name}: {kills} kills, {resumed} attempts resumed, {finished} runs finished alike")
    assert kills == KILLS and resumed


@pytest.mark.full
def test_two_attempts_at_once_leave_one_result(store: Store) -> None:
    stage = stages(store)["train_adversarial"]
    straight = told(stage(context(store, "straight")))
    older = context(store, "twice")
    older.checkpoints.load()
    younger = context(store, "twice")
    newer = told(stage(younger))
    younger.checkpoints.clear()  # as a stage does that has published its manifest
    with pytest.raises(PrivadvError, match="newer attempt"):
        stage(older)
    assert newer == straight
