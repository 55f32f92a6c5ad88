"""The game: filter and target against the budget models, round by round, resumable after any of them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, Self

import pydantic
import torch
from torch import nn

from privadv.algorithms import AnyAlgorithm
from privadv.algorithms.base import Algorithm, Batch, Feeds, Players, validation_accuracy
from privadv.algorithms.restart import RestartConfig, Restarting
from privadv.algorithms.uniform import UniformConfig
from privadv.config import Section
from privadv.console import progress
from privadv.data.feeds import MOVED, ClipArray, Feed, Moves
from privadv.data.manifest import ClipSet
from privadv.device import device, to_device
from privadv.models.checkpoint import Trained, save_weights
from privadv.models.degradation import Release
from privadv.parallel.gradients import shared
from privadv.parallel.group import require_equal
from privadv.parallel.layers import joint
from privadv.precision import Precision, learn_in
from privadv.snapshots import Resumable, Stateful
from privadv.stages.imported import all_opponents_are_told, imported
from privadv.stages.stage import StageContext
from privadv.stages.workbench import Workbench, by_split, put_curves, put_filter, put_reader
from privadv.training import Curves

RANKS = True  # several processes may run it together


class Config(Section):
    """The algorithm, the batch of the game's feeds, how its clips are moved, and how often it is saved (``checkpoint_rounds``).

    ``start_from`` names an imported game (``python -m privadv.weights``) that takes this one's place: no round is played.
    ``models`` is K or M: so many of the pretrained budget models play, the first ones; null lets all of them. ``restart`` gives
    any algorithm the papers' "+". ``release`` replaces the release (gray, noise, levels) that the filter was pretrained with;
    null keeps it. ``precision``: of the networks' arithmetic; weights, losses and releases stay in float32.
    ``recompute``: the backward pass computes the filter's activations anew; the same game, in less memory and more time.
    """

    start_from: str | None = None
    algorithm: AnyAlgorithm = UniformConfig()
    models: int | None = pydantic.Field(default=None, ge=1)
    restart: RestartConfig | None = None
    batch: int = pydantic.Field(default=16, ge=1)
    moves: Moves = Moves()
    release: Release | None = None
    precision: Precision = "float32"
    recompute: bool = False
    checkpoint_rounds: int = pydantic.Field(default=5, ge=1)

    @pydantic.model_validator(mode="after")
    def _restarts_come(self) -> Self:
        if self.restart and self.restart.every >= self.algorithm.rounds:
            raise ValueError(f"restart.every = {self.restart.every}, but the game has {self.algorithm.rounds} rounds: "
                             "it would never restart")
        return self


class GameFeeds(Feeds):
    """Batches from two independent streams: of one clip set that labels both tasks, or of one set a task."""

    def __init__(
        self, train: ClipArray, validation: ClipArray, batch: int, seed: int, private: ClipArray | None = None,
        moves: Moves = MOVED,
    ) -> None:
        """``private``: the training clips that label the budget task, where ``train`` does not."""
        self.shared = private is None
        self.streams = {
            "target": Feed(train, batch=batch, seed=2 * seed, moves=moves),
            "budget": Feed(train if private is None else private, batch=batch, seed=2 * seed + 1, moves=moves),
        }
        self._validation = validation

    def target(self) -> Batch:
        (clips,), labels, _ = self.streams["target"].draw()
        return clips, labels

    def budget(self) -> Batch:
        (clips,), _, labels = self.streams["budget"].draw()
        return clips, labels

    def validation(self) -> Iterator[Batch]:
        start = 0
        for clips in self._validation.batches():
            labels = self._validation.target[start : start + len(clips)]
            yield to_device(clips, device()), to_device(labels, device())
            start += len(clips)


def run(
    config: Config,
    clips: ClipSet,
    degradation: Trained,
    target: Trained,
    budget: Trained,
    seed: int,
    context: StageContext,
) -> Trained:
    """Play all rounds; leaves the filter, the target and the budget models of the game.

    Raises:
        PrivadvError: weights that it is to start from are not there or do not fit, or the filter had opponents that do not play.
    """
    start = time.monotonic()
    budget = budget.first(config.models)
    if config.release is not None:
        degradation = _released(degradation, config.release)
    if config.start_from:
        before = (degradation, target, budget)
        degradation, target, budget = (imported(context.store, config.start_from, one) for one in before)
    all_opponents_are_told(context.store, degradation.degradation, budget.budget)
    torch.manual_seed(seed)
    torch.set_num_threads(context.workers)
    players = _players(config, degradation, target, budget, clips.budget.multi_label, context)
    with Workbench(context) as bench:
        validation = bench.open(clips, "val")
        private = bench.open(clips.private, "train") if clips.private else None
        feeds = GameFeeds(bench.open(clips, "train"), validation, config.batch, seed, private, config.moves)
        algorithm = config.algorithm.build(players)
        for optimizer in algorithm.optimizers().values():
            shared(optimizer)
        if config.restart is not None:
            algorithm = Restarting(config.restart, algorithm)
        curves = {} if config.start_from else _play(config, algorithm, feeds, context)
        require_equal(_modules(players).values(), "train_adversarial")
        metrics = {"val_target_accuracy": validation_accuracy(players, feeds)}
    context.tracker.metrics({"val/target_accuracy": metrics["val_target_accuracy"]}, config.algorithm.rounds)
    models = {
        "degradation": put_filter(context.store, players.degradation),
        "target": _put(context, target.target.spec, target.target.classes, players.target),
    }
    for k, (ref, model) in enumerate(zip(budget.budget, players.budget, strict=True)):
        models[f"budget_{k}"] = _put(context, ref.spec, ref.classes, model)
    return Trained(
        stage="train_adversarial",
        seed=seed,
        models=models,
        curves=put_curves(context.store, curves),
        metrics={**metrics, **{name: curve[-1][1] for name, curve in curves.items()}},
        seconds=time.monotonic() - start,
    )


def _released(degradation: Trained, release: Release) -> Trained:
    ref = degradation.degradation
    ref = ref.model_copy(update={"spec": ref.spec.model_copy(update={"release": release})})
    return degradation.model_copy(update={"models": {**degradation.models, "degradation": ref}})


def _players(
    config: Config,
    degradation: Trained,
    target: Trained,
    budget: Trained,
    multi_label: bool,
    context: StageContext,
) -> Players:
    models = nn.ModuleList(one.open(context.store) for one in budget.budget)
    filter_, reader = degradation.degradation.open(context.store), target.target.open(context.store)
    for model in (filter_, reader, models):
        joint(model.to(device()))
    filter_.recompute = config.recompute
    learn_in(config.precision, filter_, "paint")
    for reader_ in (reader, *models):
        learn_in(config.precision, reader_)
    return Players(filter_, reader, models, multi_label)


def _play(config: Config, algorithm: Algorithm, feeds: GameFeeds, context: StageContext) -> Curves:
    """All rounds from the last saved one on; gives the curves of the whole game."""
    rounds = config.algorithm.rounds
    parts = _state(algorithm, feeds)
    saving = Resumable("train_adversarial", parts, context.checkpoints, rounds, config.checkpoint_rounds)
    first, saved = saving.resume()
    curves: Curves = saved.get("curves", {})
    if saved:
        algorithm.remember(saved["memory"])
    with progress(f"train_adversarial ({config.algorithm.kind})", rounds) as bar:
        bar.advance(first)
        for number in range(first + 1, rounds + 1):
            metrics = algorithm.update(feeds)
            for name, value in metrics.items():
                curves.setdefault(name, []).append((number, value))
            context.tracker.metrics({by_split(name): value for name, value in metrics.items()}, number)
            saving.save(number, memory=algorithm.memory(), curves=curves)
            bar.advance(
                1,
                **{
                    name: metrics[name]
                    for name in ("target_accuracy", "budget_accuracy_max")
                    if name in metrics
                },
            )
    return curves


def _state(algorithm: Algorithm, feeds: GameFeeds) -> dict[str, Stateful]:
    """Everything that the rest of the game depends on, but for the algorithm's memory and the random state."""
    kinds = {"player": _modules(algorithm.players), "optimizer": algorithm.optimizers(), "stream": feeds.streams}
    return {f"{kind} {name}": one for kind, named in kinds.items() for name, one in named.items()}


def _modules(players: Players) -> dict[str, nn.Module]:
    return {"degradation": players.degradation, "target": players.target, "budget": players.budget}


def _put(context: StageContext, spec: Any, classes: int, model: nn.Module):
    return put_reader(context.store, spec, classes, save_weights(model))


if __name__ == "__main__":
    from privadv.stages.alone import main

    main("train_adversarial")
