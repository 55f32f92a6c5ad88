"""The one supervised fit: pretraining and attackers train their readers here, several at a time in worker processes."""

from __future__ import annotations

import copy
import hashlib
import json
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, field
from multiprocessing import active_children
from multiprocessing.queues import Queue
from pathlib import Path
from queue import Empty
from typing import Literal, Protocol

import numpy as np
import pydantic
import torch
from torch import Tensor, nn

from privadv.checkpoints import Checkpoints
from privadv.config import Section
from privadv.console import progress
from privadv.data.feeds import BATCH, ClipArray, Feed, Moves, Player
from privadv.data.workers import FITTING, context, load_ahead, worker_pool
from privadv.device import device, devices
from privadv.errors import PrivadvError
from privadv.memory import keep_freed_memory
from privadv.models.checkpoint import load_weights, save_weights
from privadv.models.losses import classification_loss
from privadv.models.reader import Adaptive, Reader, ReaderSpec, pixel_statistics
from privadv.models.scores import fitted, score
from privadv.parallel import group
from privadv.parallel.gradients import shared
from privadv.parallel.layers import joint
from privadv.precision import Precision, precise
from privadv.snapshots import Resumable

TRAIN_SAMPLE = 1024
"""Of how many training clips, evenly chosen, the accuracy says whether a reader has fitted them."""
FITTED = 0.1
"""The training loss below which a reader has fitted its clips and may stop early."""

LEAVING_SECONDS = 5
"""What a worker process gets to end once it has been told to."""

Curves = dict[str, list[tuple[int, float]]]
Tick = Callable[[int], None]


class FitConfig(Section):
    """How a reader is trained: AdamW under a one-cycle or constant learning rate; the best validation model is kept.

    ``ease``: share of the steps over which warm-started readers move from raw to filtered pixels.
    ``precision``: of the networks' arithmetic while they learn; weights, losses, treatments and predictions stay in float32.
    ``moves``: how training clips differ each time; for none, {shift: 0, mirror: false}.
    ``patience``: stop after this many validations without a new best once the training clips are fitted; 0 = never.
    ``checkpoint_steps``: how often a fit is saved, so that a killed one goes on from there.
    """

    steps: int = pydantic.Field(default=400, ge=1)
    batch: int = pydantic.Field(default=16, ge=1)
    lr: float = pydantic.Field(default=2e-3, gt=0)
    weight_decay: float = pydantic.Field(default=0.01, ge=0)
    every: int = pydantic.Field(default=100, ge=1)
    ease: float = pydantic.Field(default=0.4, ge=0, le=1)
    precision: Precision = "float32"
    schedule: Literal["one_cycle", "constant"] = "one_cycle"
    moves: Moves = Moves()
    patience: int = pydantic.Field(default=0, ge=0)
    checkpoint_steps: int = pydantic.Field(default=500, ge=1)


@dataclass(frozen=True)
class FitJob:
    """One reader to train, small enough to send to another process: arrays by path, weights as safetensors bytes.

    ``ease_from``: the raw clips of ``train``, for the raw-to-filtered curriculum; with ``mixed`` half of every batch stays raw to
    the end instead. ``test``: predicted once, at the end. ``pace``: how long a step takes, beside one of the others.
    """

    name: str
    player: Player
    spec: ReaderSpec
    classes: int
    config: FitConfig
    seed: int
    train: Path
    validation: Path
    ease_from: Path | None = None
    test: Path | None = None
    weights: bytes | None = None
    mixed: bool = False
    pace: float = 1.0

    @property
    def cost(self) -> float:
        """As :class:`Job`'s."""
        return self.config.steps * self.pace

    def fit(self, tick: Tick, checkpoints: Checkpoints | None = None) -> Fitted:
        """Train the reader in this process."""
        return fit(self, tick, checkpoints)


def seed_of(seed: int, *role: str) -> int:
    """The seed of one role in a run of ``seed``: no other role's, and none of a run with another seed."""
    return int.from_bytes(hashlib.sha256("\n".join((str(seed), *role)).encode()).digest()[:4])


class Job(Protocol):
    """What :func:`fit_all` can do in a worker process: a picklable thing that gives a reader's result."""

    @property
    def name(self) -> str: ...
    @property
    def config(self) -> FitConfig: ...
    @property
    def cost(self) -> float:
        """Roughly, in steps of a small reader: what takes longest begins first, so that at the end no worker is without work."""
        ...

    def fit(self, tick: Tick, checkpoints: Checkpoints | None = None) -> Fitted: ...


@dataclass(frozen=True)
class Fitted:
    """What came of a job. ``weights`` are the best by validation, ``predictions`` their logits (N, classes) on the test clips,
    ``metrics`` what else was measured on them. ``train_accuracy`` says whether the reader could fit its training clips: that of
    its last weights on them, as they are stored. With attributes ``validation`` is cMAP, ``train_accuracy`` balanced.
    """

    name: str
    weights: bytes
    steps: int
    seconds: float
    validation: float
    train_loss: float
    train_accuracy: float
    predictions: list[list[float]] = field(default_factory=list)
    curves: Curves = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)

    def frozen(self) -> dict[str, bytes]:
        """The parts of the checkpoint of a finished fit."""
        facts = {name: value for name, value in asdict(self).items() if name != "weights"}
        return {"fitted": json.dumps(facts).encode(), "weights": self.weights}

    @classmethod
    def thawed(cls, parts: dict[str, bytes]) -> Fitted:
        """What :meth:`frozen` gave."""
        facts = json.loads(parts["fitted"])
        facts["curves"] = {name: [(step, value) for step, value in curve] for name, curve in facts["curves"].items()}
        return cls(weights=parts["weights"], **facts)


def fit_all(jobs: Sequence[Job], workers: int, what: str, checkpoints: Checkpoints) -> dict[str, Fitted]:
    """Train every job, ``workers`` at a time, one thread each; results by name in the jobs' order.

    On GPUs there is one worker process a GPU. Ranks have no workers: all of them train each job together. With the
    ``checkpoints`` of a killed call only what that one had not finished is trained.
    """
    if group.count() > 1:
        return _fit_together(jobs, what, checkpoints)
    load_ahead(*FITTING)
    others = set(active_children())
    ticks: Queue[int] = context().Queue()
    places: Queue[str] = context().Queue()
    for where in _places(workers):
        places.put(where)
    workers = len(_places(workers))
    # From all jobs, not from those that are left: the number of threads decides how sums are rounded.
    threads = max(1, torch.get_num_threads() // workers) if len(jobs) >= workers else torch.get_num_threads()
    with (
        worker_pool(min(workers, len(jobs)), _start_worker, ticks, places, threads) as pool,
        progress(what, sum(job.config.steps for job in jobs)) as bar,
    ):
        begun = {job.name: pool.submit(_fit_in_worker, job, checkpoints.piece(job.name)) for job in
                 sorted(jobs, key=lambda job: -job.cost)}  # fmt: skip
        futures = [begun[job.name] for job in jobs]
        working = set(active_children()) - others
        try:
            for ticked in _ticks(ticks, futures):
                bar.advance(ticked)
            fitted = [future.result() for future in futures]
        except BrokenProcessPool:
            raise PrivadvError(
                f"{what}: a worker process was killed, most likely for memory: set PRIVADV_WORKERS=1"
            ) from None
        except BaseException:  # a job failed, or this process is told to leave: the pool would wait for all that is left
            pool.shutdown(wait=False, cancel_futures=True)
            for worker in working:
                worker.terminate()
            for worker in working:
                worker.join(LEAVING_SECONDS)
            raise
    return {one.name: one for one in fitted}


def _fit_together(jobs: Sequence[Job], what: str, checkpoints: Checkpoints) -> dict[str, Fitted]:
    with progress(what, sum(job.config.steps for job in jobs)) as bar:
        return {job.name: _fit_once(job, bar.advance, checkpoints.piece(job.name)) for job in jobs}


def _places(workers: int) -> list[str]:
    """What every worker process computes on."""
    found = [str(where) for where in devices()]
    return found[:workers] if found != ["cpu"] else found * workers


def _ticks(ticks: Queue[int], futures: list[Future[Fitted]]) -> Iterator[int]:
    """Steps done, as the workers report them, until every future is done or one failed."""
    while not all(future.done() for future in futures) or not ticks.empty():
        failed = next((future for future in futures if future.done() and future.exception()), None)
        if failed:
            failed.result()
        try:
            yield ticks.get(timeout=0.5)
        except Empty:
            continue


_tick: Tick = lambda steps: None  # noqa: E731  set once in every worker


def _start_worker(ticks: Queue[int], places: Queue[str], threads: int) -> None:
    global _tick
    _tick = ticks.put
    os.environ["PRIVADV_DEVICE"] = places.get()
    torch.set_num_threads(threads)
    keep_freed_memory()


def _fit_in_worker(job: Job, checkpoints: Checkpoints) -> Fitted:
    return _fit_once(job, _tick, checkpoints)


def _fit_once(job: Job, tick: Tick, checkpoints: Checkpoints) -> Fitted:
    """Train a job, or find what an attempt that was killed later had made of it."""
    done = checkpoints.piece("fitted")
    if saved := done.load():
        tick(job.config.steps)
        return Fitted.thawed(saved[1])
    made = job.fit(tick, checkpoints)
    done.save(made.steps, made.frozen())
    return made


def fit(job: FitJob, tick: Tick = lambda steps: None, checkpoints: Checkpoints | None = None) -> Fitted:
    """Train one reader in this process; a function of the job alone, however often it was killed and went on."""
    start = time.monotonic()
    torch.manual_seed(job.seed)
    reader = joint(read_with(job.spec, job.classes, job.weights, job.name).to(device()))
    train, validation = ClipArray.open(job.train), ClipArray.open(job.validation)
    course = _Course(job, train)
    optimizer = shared(torch.optim.AdamW(reader.parameters(), job.config.lr, weight_decay=job.config.weight_decay, fused=True))
    pace = schedule(optimizer, job.config)
    best, best_state, since, curves = -1.0, reader.state_dict(), 0, {"train_loss": [], "val_accuracy": []}
    losses = _Losses([])
    course.adapt(reader, 1)  # what is resumed has the shapes of the clips' statistics
    parts = {"reader": reader, "optimizer": optimizer, "schedule": pace, "feed": course.feed}
    saving = Resumable(job.name, parts, checkpoints, job.config.steps, job.config.checkpoint_steps)
    step, saved = saving.resume()
    if saved:
        best, best_state, since, curves, known, seconds = saved["memory"]
        losses, start = _Losses(known), start - seconds
        tick(step)
    reader.train()
    for step in range(step + 1, job.config.steps + 1):  # noqa: B020  from the step that was saved on
        clips, labels, eased = course.draw(reader, step)
        with precise(job.config.precision):
            logits = reader(clips)
        loss = classification_loss(logits.float(), labels)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        pace.step()
        losses.append(loss)
        tick(1)
        if eased and (step % job.config.every == 0 or step == job.config.steps):
            reached = score(predict(reader, validation), validation.labels(job.player))
            curves["val_accuracy"].append((step, reached))
            curves["train_loss"].append((step, losses.recent(job.config.every)))
            since = 0 if reached > best else since + 1
            if reached >= best:
                best, best_state = reached, copy.deepcopy(reader.state_dict())
            if job.config.patience and since >= job.config.patience and losses.recent(50) < FITTED:
                tick(job.config.steps - step)
                break
        if saving.due(step):
            saving.save(step, memory=(best, best_state, since, curves, losses.read(), time.monotonic() - start))
    sample = train.sample(TRAIN_SAMPLE)
    train_accuracy = fitted(predict(reader, train, sample), train.labels(job.player)[sample])
    reader.load_state_dict(best_state)
    group.require_equal([reader], job.name)
    logits = predict(reader, ClipArray.open(job.test)).tolist() if job.test else []
    return Fitted(
        job.name,
        save_weights(reader),
        step,
        time.monotonic() - start,
        best,
        losses.recent(50),
        train_accuracy,
        logits,
        curves,
    )


class _Losses:
    """The loss of every step, read back from the device only where it is asked for: no step waits for it."""

    def __init__(self, known: list[float]) -> None:
        self._known, self._coming = known, list[Tensor]()

    def append(self, loss: Tensor) -> None:
        self._coming.append(loss.detach())

    def read(self) -> list[float]:
        """All of them, each its mean over the ranks, who ask at the same steps."""
        self._known += group.means(self._coming)
        self._coming = []
        return self._known

    def recent(self, count: int) -> float:
        """The mean of the last ``count``."""
        last = self.read()[-count:]
        return math.fsum(last) / len(last)


def schedule(optimizer: torch.optim.Optimizer, config: FitConfig) -> torch.optim.lr_scheduler.LRScheduler:
    """How the learning rate goes over a fit."""
    if config.schedule == "constant":
        return torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1.0)
    return torch.optim.lr_scheduler.OneCycleLR(optimizer, config.lr, config.steps, pct_start=0.15)


class _Course:
    """What a reader sees at each step: the row's clips, or on the way there a blend with the raw ones."""

    def __init__(self, job: FitJob, train: ClipArray) -> None:
        self.job, raw = job, ClipArray.open(job.ease_from) if job.ease_from else None
        self.feed = Feed(train, *([raw] if raw else []), batch=job.config.batch, seed=job.seed, moves=job.config.moves)
        self.ease_steps = round(job.config.ease * job.config.steps) if raw and not job.mixed else 0
        self.statistics = None
        if job.spec.input == "adaptive":
            own = pixel_statistics(train.frames)
            self.statistics = own, pixel_statistics(raw.frames) if raw else own

    def draw(self, reader: Reader, step: int) -> tuple[Tensor, Tensor, bool]:
        """Clips, labels, and whether the clips are wholly the row's."""
        share = min(1.0, step / self.ease_steps) if self.ease_steps else 1.0
        batches, target, budget = self.feed.draw(None if self.job.mixed or share < 1 else 1)
        clips = batches[0]
        if self.job.mixed:
            clips = torch.cat([batches[1][::2], batches[0][1::2]])
            target, budget = (torch.cat([labels[::2], labels[1::2]]) for labels in (target, budget))
        elif share < 1:
            clips = share * batches[0] + (1 - share) * batches[1]
        self.adapt(reader, share)
        return clips, target if self.job.player == "target" else budget, share == 1

    def adapt(self, reader: Reader, share: float) -> None:
        """Show an adaptive reader the statistics of clips that are to ``share`` the row's, and of the last batch's, as moved."""
        if self.statistics and isinstance(reader.treatment, Adaptive):
            (mean, deviation), (raw_mean, raw_deviation) = self.statistics
            shown = share * mean + (1 - share) * raw_mean, share * deviation + (1 - share) * raw_deviation
            reader.treatment.adapt(*shown)
            reader.treatment.follow(*map(self.feed.moved, shown))


def read_with(spec: ReaderSpec, classes: int, weights: bytes | None, where: str = "reader") -> Reader:
    """A reader with its starting ``weights``, fresh ones where there are none; ``where`` names it in the error."""
    reader = spec.build(classes)
    if weights is not None:
        load_weights(reader, weights, where)
    return reader


@torch.no_grad()
def predict(model: nn.Module, array: ClipArray, index: np.ndarray | None = None) -> Tensor:
    """Logits (N, classes) of a whole array, or of its clips ``index``, in inference mode; the model goes back to its mode.

    They lie on the CPU. Ranks read an even part of the clips each, and get all logits.
    """
    chosen, where = np.arange(len(array)) if index is None else index, device()
    with group.sharing(len(chosen)) as share:
        own = chosen[share.rows][: share.own]
    was_training = model.training
    model.to(where).eval()
    batches = [model(array.clips(own[i : i + BATCH], where)) for i in range(0, len(own), BATCH)]
    model.train(was_training)
    return group.gathered([batch.cpu() for batch in batches])
