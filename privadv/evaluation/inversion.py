"""Attackers that do not learn to read filtered clips: one paints them back to raw video, one compares them with raw video.

Both read with a network that was trained on raw clips and stays as it is.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from privadv.checkpoints import Checkpoints
from privadv.data.feeds import BATCH, ClipArray, Feed, Player
from privadv.device import device
from privadv.models.losses import classification_loss
from privadv.models.reader import Reader, ReaderSpec
from privadv.models.scores import fitted, score
from privadv.models.unet import UNet
from privadv.precision import precise
from privadv.snapshots import Resumable
from privadv.training import TRAIN_SAMPLE, FitConfig, Fitted, Tick, read_with, schedule

Split = Literal["train", "val", "test"]


@dataclass(frozen=True)
class RawReader:
    """A reader as raw video left it: ``weights`` are safetensors."""

    spec: ReaderSpec
    classes: int
    weights: bytes

    def open(self) -> Reader:
        """The network, in inference mode."""
        return read_with(self.spec, self.classes, self.weights).to(device()).eval()


@dataclass(frozen=True)
class InversionJob:
    """What both attackers know: a reader of raw video, and the clips of every split, as stored (``clips``) and raw (``raw``).

    ``ease`` and ``patience`` of the ``config`` mean nothing to them.
    """

    name: str
    reader: RawReader
    config: FitConfig
    seed: int
    clips: Mapping[Split, Path]
    raw: Mapping[Split, Path]

    player: ClassVar[Player] = "budget"

    @property
    def spec(self) -> ReaderSpec:
        """The reader's."""
        return self.reader.spec

    @property
    def cost(self) -> float:
        """Next to none, where nothing is trained."""
        return 0

    def stored(self, split: Split) -> ClipArray:
        """The clips that are attacked."""
        return ClipArray.open(self.clips[split])

    def original(self, split: Split) -> ClipArray:
        """What they were before."""
        return ClipArray.open(self.raw[split])

    def fitted(self, start: float, read: Callable[[ClipArray, np.ndarray], Tensor], **more: object) -> Fitted:
        """The result, with ``read`` giving the logits of chosen clips."""
        train, validation, test = (self.stored(split) for split in ("train", "val", "test"))
        sample = train.sample(TRAIN_SAMPLE)
        known = read(train, sample)
        labels = train.budget[sample]
        found = read(validation, np.arange(len(validation)))
        return Fitted(
            name=self.name,
            weights=self.reader.weights,
            seconds=time.monotonic() - start,
            validation=score(found, validation.budget),
            train_loss=classification_loss(known, labels).item(),
            train_accuracy=fitted(known, labels),
            predictions=read(test, np.arange(len(test))).tolist(),
            **more,  # pyright: ignore[reportArgumentType]
        )


@dataclass(frozen=True)
class Reconstruction(InversionJob):
    """A U-Net learns to give raw clips back from stored ones; the reader reads what it paints. PSNR and SSIM on test clips."""

    @property
    def cost(self) -> float:
        """A step of the U-Net takes as long as many of a small reader."""
        return 8 * self.config.steps

    def fit(self, tick: Tick, checkpoints: Checkpoints | None = None) -> Fitted:
        """Train the U-Net on the mean squared error; the best by validation paints."""
        reader = self.reader.open()
        torch.manual_seed(self.seed)
        start, painter, curve = self._learn(tick, checkpoints)

        def read(array: ClipArray, index: np.ndarray) -> Tensor:
            return _batched(index, lambda part: reader(painter(array.clips(part, device()))))

        quality = _quality(painter, self.stored("test"), self.original("test"))
        return self.fitted(start, read, steps=self.config.steps, curves={"val_psnr": curve}, metrics=quality)

    def _learn(self, tick: Tick, checkpoints: Checkpoints | None) -> tuple[float, nn.Module, list[tuple[int, float]]]:
        """When it began, less what earlier attempts took; the U-Net; and its curve."""
        start = time.monotonic()
        config, train, validation = self.config, self.stored("train"), self.stored("val")
        painter = UNet(train.frames.shape[1]).to(device()).to(memory_format=torch.channels_last)
        feed = Feed(train, self.original("train"), batch=config.batch, seed=self.seed, moves=config.moves)
        optimizer = torch.optim.AdamW(painter.parameters(), config.lr, weight_decay=config.weight_decay, fused=True)
        pace = schedule(optimizer, config)
        best, best_state, curve = float("-inf"), painter.state_dict(), []
        parts = {"painter": painter, "optimizer": optimizer, "schedule": pace, "feed": feed}
        saving = Resumable(self.name, parts, checkpoints, config.steps, config.checkpoint_steps)
        first, saved = saving.resume()
        if saved:
            best, best_state, curve, seconds = saved["memory"]
            start -= seconds
            tick(first)
        for step in range(first + 1, config.steps + 1):
            (seen, wanted), _, _ = feed.draw()
            with precise(config.precision):
                painted = painter(seen)
            loss = F.mse_loss(painted.float(), wanted)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            pace.step()
            tick(1)
            if step % config.every == 0 or step == config.steps:
                psnr = _quality(painter, validation, self.original("val"), structure=False)["psnr"]
                curve.append((step, psnr))
                if psnr >= best:
                    best, best_state = psnr, copy.deepcopy(painter.state_dict())
            if saving.due(step):
                saving.save(step, memory=(best, best_state, curve, time.monotonic() - start))
        painter.load_state_dict(best_state)
        return start, painter.eval(), curve


@dataclass(frozen=True)
class Nearest(InversionJob):
    """No learning at all: a stored clip is given the pair of the raw training clip whose features are most like its own.

    Of another source than its own: a training clip would find itself, and the attacker seem to have fitted its clips.
    """

    def fit(self, tick: Tick, checkpoints: Checkpoints | None = None) -> Fitted:
        """Compare by cosine of the reader's features, before its last layer; a class scores its most similar raw clip, an
        attribute the one that shows it, less the one that does not.
        """
        start, reader = time.monotonic(), self.reader.open()
        gallery = self.original("train")
        known = F.normalize(_batched(np.arange(len(gallery)), lambda part: reader.features(gallery.clips(part, device()))), dim=1)

        def read(array: ClipArray, index: np.ndarray) -> Tensor:
            seen = _batched(index, lambda part: reader.features(array.clips(part, device())))
            alike = F.normalize(seen, dim=1) @ known.T
            own = np.array(array.sources)[index][:, None] == np.array(gallery.sources)
            alike = alike.masked_fill(torch.from_numpy(own), -1.0)
            if gallery.budget.ndim == 2:
                return _nearest(alike, gallery.budget > 0) - _nearest(alike, gallery.budget == 0)
            return _nearest(alike, F.one_hot(gallery.budget, self.reader.classes) > 0)

        tick(self.config.steps)
        return self.fitted(start, read, steps=0)


def _nearest(alike: Tensor, members: Tensor) -> Tensor:
    """(n, C): the highest cosine (n, G) to a member of each class, bool (G, C); -1 to a class that has none."""
    return torch.where(members, alike[:, :, None], -1.0).amax(1)


@torch.no_grad()
def _batched(index: np.ndarray, read: Callable[[np.ndarray], Tensor]) -> Tensor:
    return torch.cat([read(index[start : start + BATCH]).cpu() for start in range(0, len(index), BATCH)])


def _quality(painter: nn.Module, stored: ClipArray, raw: ClipArray, structure: bool = True) -> dict[str, float]:
    """PSNR (dB) of painted clips to raw ones and, with ``structure``, the mean SSIM of their frames (Wang et al. 2004)."""
    # Here, because every stage would take a quarter of a second more to begin.
    from skimage.metrics import structural_similarity

    errors, alike = [], []
    for start in range(0, len(raw), BATCH):
        index = np.arange(start, min(start + BATCH, len(raw)))
        painted, wanted = _batched(index, lambda part: painter(stored.clips(part, device()))), raw.clips(index)
        errors += (painted - wanted).pow(2).mean((1, 2, 3, 4)).tolist()
        if structure:
            frames = (clips.permute(0, 2, 3, 4, 1).flatten(0, 1).numpy() for clips in (painted, wanted))
            alike += [structural_similarity(a, b, channel_axis=2, data_range=1.0) for a, b in zip(*frames, strict=True)]
    quality = {"psnr": -10 * float(np.log10(max(float(np.mean(errors)), 1e-10)))}
    return quality | ({"ssim": float(np.mean(alike))} if structure else {})
