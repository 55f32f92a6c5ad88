"""Pretrain the filter to give back what it is shown, so that the game starts from a picture and not from noise."""

from __future__ import annotations

import math
import time

import pydantic
import torch
import torch.nn.functional as F
from torch import Tensor

from privadv.config import Section
from privadv.console import progress
from privadv.data.feeds import ClipArray, Feed, Moves
from privadv.data.manifest import ClipSet
from privadv.device import device, to_device
from privadv.models.checkpoint import FilterSpec, Trained
from privadv.models.degradation import Degradation, TransformNet
from privadv.parallel import group
from privadv.parallel.gradients import shared
from privadv.parallel.layers import joint
from privadv.snapshots import Resumable
from privadv.stages.imported import imported_filter
from privadv.stages.stage import StageContext
from privadv.stages.workbench import Workbench, put_curves, put_filter

RANKS = True  # several processes may run it together


class Config(Section):
    """The filter's network, and its reconstruction training: Adam on the mean squared error.

    ``start_from`` names imported weights (``python -m privadv.weights``) that take the training's place. It is saved every
    ``checkpoint_steps``.
    """

    network: FilterSpec = TransformNet()
    start_from: str | None = None
    steps: int = pydantic.Field(default=150, ge=0)
    batch: int = pydantic.Field(default=8, ge=1)
    moves: Moves = Moves()
    lr: float = pydantic.Field(default=2e-3, gt=0)
    checkpoint_steps: int = pydantic.Field(default=500, ge=1)


def run(config: Config, clips: ClipSet, seed: int, context: StageContext) -> Trained:
    """Reconstruction of what the filter sees; the metric is PSNR in dB on validation clips, of the gray image where the release
    is gray.

    Where another set labels the privacy task, every second batch is of that set: the game will filter both. Of photographs, or
    shorter clips, such a batch takes as many frames.
    """
    start = time.monotonic()
    torch.manual_seed(seed)
    store, name = context.store, config.start_from
    filter_ = imported_filter(store, name, config.network).open(store) if name else config.network.build()
    filter_ = joint(filter_.to(device()))
    with Workbench(context) as bench:
        sets = (clips,) if clips.private is None else (clips, clips.private)
        feeds = [
            Feed(bench.open(one, "train"), batch=config.batch * _shorter(one, clips), seed=seed, moves=config.moves)
            for one in sets
        ]
        curve = [] if name else _train(config, filter_, feeds, context)
        psnr = _validate(filter_, bench.open(clips, "val"))
    context.tracker.metrics({"val/degradation_psnr": psnr}, config.steps)
    return Trained(
        stage="pretrain_degradation",
        seed=seed,
        models={"degradation": put_filter(context.store, filter_)},
        metrics={"psnr": psnr},
        curves=put_curves(context.store, {"train_psnr": curve}),
        seconds=time.monotonic() - start,
    )


def _shorter(one: ClipSet, clips: ClipSet) -> int:
    """How many clips of ``one`` have the frames of one of ``clips``."""
    return max(1, clips.geometry.frames // one.geometry.frames)


def _train(
    config: Config, filter_: Degradation, feeds: list[Feed], context: StageContext
) -> list[tuple[int, float]]:
    """The reconstruction steps; gives the curve of training PSNR."""
    optimizer = shared(torch.optim.Adam(filter_.parameters(), config.lr, fused=True))
    streams = {f"feed {number}": feed for number, feed in enumerate(feeds)}
    parts = {"filter": filter_, "optimizer": optimizer, **streams}
    saving = Resumable("pretrain_degradation", parts, context.checkpoints, config.steps, config.checkpoint_steps)
    first, saved = saving.resume()
    curve: list[tuple[int, float]] = saved.get("curve", [])
    with progress("pretrain_degradation", config.steps) as bar:
        bar.advance(first)
        for step in range(first + 1, config.steps + 1):
            (clips,), _, _ = feeds[(step - 1) % len(feeds)].draw()
            loss = _error(filter_, clips)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            curve.append((step, _psnr(group.mean(loss.item()))))
            context.tracker.metrics({"train/degradation_psnr": curve[-1][1]}, step)
            saving.save(step, curve=curve)
            bar.advance(psnr=curve[-1][1])
    group.require_equal([filter_], "pretrain_degradation")
    return curve


def _error(filter_: Degradation, clips: Tensor) -> Tensor:
    painted, clips = filter_.paint(clips), filter_.picture(clips)
    if filter_.spec.release.gray:
        clips, painted = clips.mean(1), painted.mean(1)
    return F.mse_loss(painted, clips)


def _psnr(error: float) -> float:
    """Peak signal-to-noise ratio in dB of a mean squared error on the [0, 1] range."""
    return -10 * math.log10(max(error, 1e-10))


@torch.no_grad()
def _validate(filter_: Degradation, array: ClipArray) -> float:
    """PSNR in dB over all clips of ``array``."""
    filter_.eval()
    errors = [_error(filter_, to_device(clips, device())).item() * len(clips) for clips in array.batches()]
    filter_.train()
    return _psnr(sum(errors) / len(array))


if __name__ == "__main__":
    from privadv.stages.alone import main

    main("pretrain_degradation")
