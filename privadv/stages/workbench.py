"""What stages that train share: a scratch folder with clips laid out, and models on their way into the store."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Self

import numpy as np
import torch

from privadv.data.feeds import BATCH, ClipArray, open_split, to_uint8
from privadv.data.manifest import ClipSet
from privadv.device import device, to_device
from privadv.models.checkpoint import FilterRef, ReaderRef, save_weights
from privadv.models.degradation import Degradation, release
from privadv.models.reader import ReaderSpec
from privadv.parallel import group
from privadv.scratch import scratch
from privadv.stages.stage import StageContext
from privadv.store import Blob, Store
from privadv.training import Curves, Fitted


class Workbench:
    """A scratch folder of this stage alone, below PRIVADV_SCRATCH or the system's temporary folder; gone at its end."""

    def __init__(self, context: StageContext) -> None:
        self.context = context
        self._held = contextlib.ExitStack()

    def __enter__(self) -> Self:
        shared = group.scratch()
        self.folder = shared or self._held.enter_context(scratch(os.environ.get("PRIVADV_SCRATCH")))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._held.close()

    def open(self, clips: ClipSet, split: str) -> ClipArray:
        """A split of a clip set, laid out in the scratch folder, which the ranks of a node share."""
        with group.first_here():
            return open_split(self.context.store, clips, split, self.folder)

    def filtered(self, array: ClipArray, filter_: Degradation, seed: int) -> ClipArray:
        """The clips as the filter releases them, in 8 bit; the filter runs once a clip."""
        path = array.path.with_name(f"filtered-{array.path.name}")
        with group.first_here() as first:
            if first:
                array.derive(path, filtered_batches(filter_, array.batches(), seed))
            return ClipArray.open(path)


@torch.no_grad()
def filtered_batches(
    filter_: Degradation, batches: Iterable[torch.Tensor], seed: int
) -> Iterator[np.ndarray]:
    """uint8 (n, T, H, W, 3) of float batches through the filter; ``seed`` draws the noise of its release."""
    where, was_training = device(), filter_.training
    generator = torch.Generator(where).manual_seed(seed)
    filter_.to(where).eval()
    for batch in batches:
        yield to_uint8(filter_(to_device(batch, where), generator))
    filter_.train(was_training)


@torch.no_grad()
def filtered_draws(filter_: Degradation, array: ClipArray, seed: int, draws: int) -> Iterator[np.ndarray]:
    """All clips as :func:`filtered_batches` gives them ``draws`` times over, but painted once: that waits beside them."""
    where, how = device(), filter_.spec.release
    generator = torch.Generator(where).manual_seed(seed)
    filter_.to(where).eval()
    shape = (len(array), 1 if how.gray else 3, *array.frames.shape[1:4])
    kept = np.memmap(array.path.with_name(f"painted-{array.path.name}"), np.float32, "w+", shape=shape)
    for draw in range(draws):
        for start in range(0, len(array), BATCH):
            place = slice(start, start + BATCH)
            if not draw:
                painted = filter_.paint(to_device(array.clips(place), where))
                kept[place] = (painted.mean(1, keepdim=True) if how.gray else painted).cpu()
            yield to_uint8(release(to_device(torch.from_numpy(kept[place]), where), how, generator))


def put_filter(store: Store, filter_: Degradation) -> FilterRef:
    """Store a filter's weights; what it returns rebuilds it."""
    return FilterRef(spec=filter_.spec, weights=store.put(save_weights(filter_)))


def put_reader(store: Store, spec: ReaderSpec, classes: int, weights: bytes) -> ReaderRef:
    """Store a reader's weights; what it returns rebuilds it."""
    return ReaderRef(spec=spec, classes=classes, weights=store.put(weights))


def put_curves(store: Store, curves: Curves | dict[str, Curves]) -> Blob:
    """Store curves as JSON {series: [[step, value], ...]}."""
    return store.put(json.dumps(curves, sort_keys=True).encode())


def by_split(series: str) -> str:
    """A series of the game as a metric: ``val_target_accuracy`` as ``val/target_accuracy``; without a split, of training."""
    return f"val/{series.removeprefix('val_')}" if series.startswith("val_") else f"train/{series}"


def record(context: StageContext, name: str, fitted: Fitted, part: str = "") -> None:
    """A reader's curves and figures as a run of its own below the stage's, called by the name and ``part``.

    An attacker's name has slashes.
    """
    role = "attacker" if "/" in name else name
    with context.tracker.child(name + part, {}, {"role": role}) as run:
        for series, curve in fitted.curves.items():
            split, _, metric = series.partition("_")
            for step, value in curve:
                run.metrics({f"{split}/{role}_{metric}": value}, step)
        run.metrics(
            {
                f"val/{role}_best_accuracy": fitted.validation,
                f"train/{role}_final_accuracy": fitted.train_accuracy,
                "seconds": fitted.seconds,
            },
            fitted.steps,
        )
