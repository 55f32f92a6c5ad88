"""Readers: a network behind an input treatment. Targets (f_T), budget models (f_b) and attackers are all readers."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Annotated, Literal, Protocol

import numpy as np
import pydantic
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from privadv.config import Section
from privadv.errors import PrivadvError
from privadv.models.clip import C3D, R2Plus1D
from privadv.models.frame import DenseNet, Inception, MobileNet, ResNet, Vgg
from privadv.models.library import Torchvision
from privadv.models.tensorflow.c3d import TfC3D
from privadv.models.tensorflow.inception import TfInception
from privadv.models.tensorflow.mobilenet import TfMobileNet
from privadv.models.tensorflow.resnet import TfResNet

Own = MobileNet | Vgg | ResNet | Inception | DenseNet | R2Plus1D | C3D
Published = TfMobileNet | TfInception | TfResNet | TfC3D | Torchvision
"""Networks that others have published weights for."""
Network = Annotated[Own | Published, pydantic.Field(discriminator="kind")]
Treatment = Literal["plain", "standardised", "adaptive", "temporal", "local", "average"]


class ReaderSpec(Section):
    """Rebuilds a reader: clips (N, 3, T, H, W) in [0, 1] to logits (N, classes).

    ``plain`` reads the stored pixels as they are, ``standardised`` gives each clip and channel mean 0 and deviation 1,
    ``adaptive`` subtracts the mean image of the filtered training clips and divides by the deviation of every pixel, which
    undoes any fixed pattern that a filter lays over its output. ``temporal`` subtracts every pixel's mean over the clip's own
    frames, so that only what changes is left, however faint. ``local`` subtracts every pixel's neighbourhood, so that only fine
    detail is left, however faint. ``average`` reads one picture a clip, the mean of its frames, standardised, in which noise that
    is drawn anew for every frame is fainter.
    """

    network: Network
    input: Treatment = "plain"

    @property
    def family(self) -> str:
        """The architecture, whatever its width, depth, normalisation or framework."""
        return self.network.family

    @property
    def published(self) -> str:
        """The name that a published network is known by, such as ``resnet_v1_50``; "" for our own."""
        return self.network.published if isinstance(self.network, Published) else ""

    @property
    def label(self) -> str:
        """The published name, or the family."""
        return self.published or self.family

    def network_sees(self, shape: tuple[int, int, int]) -> tuple[int, int, int]:
        """(T, H, W) of what reaches the network of clips of ``shape``."""
        return (1, *shape[1:]) if self.input == "average" else shape

    def build(self, classes: int) -> Reader:
        return Reader(self, classes)


class Reader(nn.Module):
    """``network(treatment(clips))``; an adaptive reader must be shown its clips with :meth:`adapt` first."""

    def __init__(self, spec: ReaderSpec, classes: int) -> None:
        super().__init__()
        self.treatment = TREATMENTS[spec.input]()
        self.network = spec.network.build(classes)

    def forward(self, clips: Tensor) -> Tensor:
        return self.network(self.treatment(clips))

    def features(self, clips: Tensor) -> Tensor:
        """(N, features): what reaches the network's last layer, averaged over the frames of networks that look at each."""
        named = list(self.network.named_modules())
        layers = [module for name, module in named if isinstance(module, nn.Linear) or name.endswith("logits")]
        if not layers:
            raise PrivadvError("the features of this network cannot be compared: use another network for 'nearest'")
        caught: list[Tensor] = []
        hooks = [layer.register_forward_pre_hook(lambda _, given: caught.append(given[0])) for layer in layers]
        try:
            self(clips)
        finally:
            for hook in hooks:
                hook.remove()
        return caught[-1].flatten(1).unflatten(0, (len(clips), -1)).mean(1)


class Plain(nn.Module):
    """[0, 1] to [-1, 1]."""

    def forward(self, clips: Tensor) -> Tensor:
        return clips * 2 - 1


class Standardised(nn.Module):
    """Mean 0 and deviation 1 for each clip and channel; the floor keeps constant clips finite."""

    floor = 0.02

    def forward(self, clips: Tensor) -> Tensor:
        centred = clips - clips.mean((2, 3, 4), keepdim=True)
        return centred / (_deviation(centred) + self.floor)


class Adaptive(nn.Module):
    """Per pixel and channel: (x - mean image) / (deviation + floor), statistics (3, 1, H, W) of the clips it adapted to.

    A pattern that a filter lays over its output moves with a clip that is moved: while it learns from such clips, the statistics
    have to :meth:`follow` them, or it would add the pattern a second time instead of taking it away.
    """

    floor = 0.01

    def __init__(self) -> None:
        super().__init__()
        self._following: tuple[Tensor, Tensor] | None = None
        self.mean: Tensor
        self.deviation: Tensor
        self.register_buffer("mean", torch.zeros(3, 1, 1, 1))
        self.register_buffer("deviation", torch.ones(3, 1, 1, 1))

    def adapt(self, mean: Tensor, deviation: Tensor) -> None:
        self.mean, self.deviation = mean.to(self.mean.device), deviation.to(self.deviation.device)

    def follow(self, mean: Tensor, deviation: Tensor) -> None:
        """The statistics of the next batch in training mode, (N, 3, 1, H, W), each moved as its clip is."""
        self._following = mean, deviation

    def forward(self, clips: Tensor) -> Tensor:
        mean, deviation = self._following if self.training and self._following else (self.mean, self.deviation)
        return (clips - mean) / (deviation + self.floor)


class Temporal(nn.Module):
    """What changes in a clip: each pixel less its mean over time, by the deviation of that; the floor is one grey level."""

    floor = 1 / 255

    def forward(self, clips: Tensor) -> Tensor:
        change = clips - clips.mean(2, keepdim=True)
        return change / (_deviation(change) + self.floor)


class Local(nn.Module):
    """Fine detail: each pixel less the mean of the 7 x 7 around it, by the deviation of that; the floor is one grey level."""

    floor, reach = 1 / 255, 3

    def forward(self, clips: Tensor) -> Tensor:
        detail = clips - self._around(clips)
        return detail / (_deviation(detail - detail.mean((2, 3, 4), keepdim=True)) + self.floor)

    def _around(self, clips: Tensor) -> Tensor:
        """The mean of the window around each pixel, as far as it lies in the picture."""
        pictures = clips.flatten(1, 2).contiguous(memory_format=torch.channels_last)
        for axis in ((1, 0), (0, 1)):  # one after the other: 14 additions a pixel instead of 49
            window, padding = [1 + 2 * self.reach * along for along in axis], [self.reach * along for along in axis]
            pictures = F.avg_pool2d(pictures, window, 1, padding, count_include_pad=False)
        return pictures.unflatten(1, clips.shape[1:3])


class Average(Standardised):
    """(N, C, 1, H, W): each pixel's mean over the clip's frames, standardised; the floor is one grey level."""

    floor = 1 / 255

    def forward(self, clips: Tensor) -> Tensor:
        return super().forward(clips.mean(2, keepdim=True))


def _deviation(centred: Tensor) -> Tensor:
    """(N, C, 1, 1, 1): the deviation of each clip and channel, whose mean is 0.

    On CPUs a fraction of what torch.std takes, and as that without a gradient where nothing varies.
    """
    return torch.linalg.vector_norm(centred, dim=(2, 3, 4), keepdim=True) / math.prod(centred.shape[2:]) ** 0.5


TREATMENTS: dict[Treatment, Callable[[], nn.Module]] = {
    "plain": Plain,
    "standardised": Standardised,
    "adaptive": Adaptive,
    "temporal": Temporal,
    "local": Local,
    "average": Average,
}


class Stack(Protocol):
    """Clips uint8 (N, T, H, W, 3) that need not lie in memory."""

    @property
    def shape(self) -> tuple[int, ...]: ...
    def __len__(self) -> int: ...
    def __getitem__(self, index: slice, /) -> np.ndarray: ...


def pixel_statistics(frames: Stack) -> tuple[Tensor, Tensor]:
    """Mean image and deviation, each (3, 1, H, W) in [0, 1] units, of uint8 clips (N, T, H, W, 3); one pass, bounded memory."""
    total = np.zeros(frames.shape[2:], np.float64)
    squares = np.zeros_like(total)
    for start in range(0, len(frames), 64):
        block = np.asarray(frames[start : start + 64], np.float64) / 255
        total += block.sum((0, 1))
        squares += (block**2).sum((0, 1))
    count = frames.shape[0] * frames.shape[1]
    mean = total / count
    deviation = np.sqrt(np.maximum(squares / count - mean**2, 0))
    return _image(mean), _image(deviation)


def _image(array: np.ndarray) -> Tensor:
    return torch.from_numpy(array).float().permute(2, 0, 1)[:, None]
