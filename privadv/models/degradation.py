"""Degradation models f_d: the learned filter between the camera and everything that stores or reads its video."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, Self

import pydantic
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from privadv.config import Section
from privadv.errors import PrivadvError
from privadv.parallel.group import mean_of
from privadv.parallel.layers import randn


class Release(Section):
    """What happens between the network and the stored frame; it ships with the filter, in training and in evaluation.

    ``gray``: mean over channels, replicated to three (the seed work's post-processing). ``noise``: standard deviation of
    Gaussian noise added at release, in units of the [0, 1] range, drawn once a clip. ``smooth``: weight of what was released
    before in an exponential moving average over time, after the noise; 0 = none, causal, begins with the first frame.
    ``levels``: grey levels a channel that are stored (256 = plain 8 bit); the rounding passes gradients straight through.
    """

    gray: bool = True
    noise: float = pydantic.Field(default=0.0, ge=0, le=1)
    smooth: float = pydantic.Field(default=0.0, ge=0, lt=1)
    levels: int = pydantic.Field(default=256, ge=2, le=256)


class TransformNet(Section):
    """The image transform network of Johnson et al. (2016), applied to every frame, with instance normalisation.

    ``width`` filters, ``blocks`` residual blocks, ``kernel`` of the outer convolutions. ``stride`` 2 works at a quarter of
    the resolution as in the paper; 1 keeps it. ``skip`` starts as the identity: the network learns what to change.
    ``motion`` adds, as three more input channels, the signed difference to the frame before (zero at the first). Without
    ``appearance`` that is all it sees: it can learn nothing from what people look like that does not move.
    ``coarse``: frames are averaged over squares of so many pixels first, and what is painted is brought back bilinearly, so that
    the network neither sees nor draws finer detail, and costs that much less, squared. 1 = at full resolution.
    """

    kind: Literal["transform"] = "transform"
    width: int = pydantic.Field(default=32, ge=1)
    blocks: int = pydantic.Field(default=5, ge=0)
    kernel: int = pydantic.Field(default=9, ge=1)
    stride: Literal[1, 2] = 2
    skip: bool = False
    motion: bool = False
    appearance: bool = True
    coarse: int = pydantic.Field(default=1, ge=1)
    release: Release = Release()

    @pydantic.model_validator(mode="after")
    def _sees_something(self) -> Self:
        if not self.appearance and (self.skip or not self.motion):
            raise ValueError("appearance: false leaves the filter motion alone to see: set motion: true and skip: false")
        return self

    def build(self) -> Degradation:
        return TransformNetwork(self)


class Degradation(nn.Module):
    """Clips (N, 3, T, H, W) in [0, 1] to filtered clips of the same shape and range: ``paint``, then the spec's release.

    ``recompute``: the backward pass computes anew what lies within each part, instead of keeping it (gradient checkpointing, Chen
    et al. 2016): the same gradients out of less memory in more time.
    """

    spec: Any
    recompute: bool = False
    smallest: int = 16
    """Rows and columns from which on it works."""

    @property
    def sees_motion(self) -> bool:
        """Whether what is painted of a frame depends on the frame that it is compared to."""
        return False

    def forward(self, clips: Tensor, generator: torch.Generator | None = None) -> Tensor:
        return release(self.paint(clips), self.spec.release, generator)

    def paint(self, clips: Tensor, before: Tensor | None = None) -> Tensor:
        """The network alone, before the release: (N, 3, T, H, W) in [0, 1].

        ``before``: for a filter that sees motion, the frame that each frame is compared to, of the same shape; by default
        the one before it in the clip.
        """
        raise NotImplementedError

    def picture(self, clips: Tensor) -> Tensor:
        """What it would paint of ``clips`` if it hid nothing of what it sees: where pretraining leads it."""
        return clips

    def through(self, part: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        """One part of the network, as ``recompute`` says."""
        return checkpoint(part, x, use_reentrant=False) if self.recompute else part(x)


class TransformNetwork(Degradation):
    """What :class:`TransformNet` specifies."""

    def __init__(self, spec: TransformNet) -> None:
        super().__init__()
        self.spec = spec
        w, s = spec.width, spec.stride
        # One pixel alone has no spread to be normalised by.
        self.smallest = max(self.smallest, s * s * spec.coarse + 1)
        self.encode = nn.Sequential(
            _Conv(3 * (spec.appearance + spec.motion), w, spec.kernel), _Conv(w, 2 * w, 3, s), _Conv(2 * w, 4 * w, 3, s)
        )
        self.blocks = nn.Sequential(*(_Residual(4 * w) for _ in range(spec.blocks)))
        self.decode = nn.Sequential(_Up(4 * w, 2 * w, s), _Up(2 * w, w, s))
        self.last = nn.Conv2d(w, 3, spec.kernel, padding=spec.kernel // 2)
        if spec.skip:
            nn.init.zeros_(self.last.weight)
            nn.init.zeros_(self.last.bias)  # pyright: ignore[reportArgumentType]

    @property
    def sees_motion(self) -> bool:
        return self.spec.motion

    def paint(self, clips: Tensor, before: Tensor | None = None) -> Tensor:
        n, _, t, h, w = clips.shape
        x = self._coarse(_frames(self._seen(clips, before)))
        for part in (*self.encode, *self.blocks, *self.decode):
            x = self.through(part, x)
        painted = self._fine(self.last(x))[..., :h, :w]
        painted = painted.view(n, t, 3, h, w).transpose(1, 2)
        if self.spec.skip:
            return (clips + painted).clamp(0, 1)
        return torch.tanh(painted) * 0.5 + 0.5

    def picture(self, clips: Tensor) -> Tensor:
        return clips if self.spec.appearance else 0.5 + scaled(motion(clips)) / 2

    def _seen(self, clips: Tensor, before: Tensor | None) -> Tensor:
        if not self.spec.motion:
            return clips
        change = motion(clips, before)
        return torch.cat([clips, change], 1) if self.spec.appearance else change

    def _coarse(self, frames: Tensor) -> Tensor:
        return F.avg_pool2d(frames, self.spec.coarse, ceil_mode=True) if self.spec.coarse > 1 else frames

    def _fine(self, frames: Tensor) -> Tensor:
        times = self.spec.coarse
        return F.interpolate(frames, scale_factor=float(times), mode="bilinear") if times > 1 else frames


def release(clips: Tensor, how: Release, generator: torch.Generator | None = None) -> Tensor:
    """What is stored of painted ``clips``: channel mean, noise, clamp, smoothing, quantisation; differentiable throughout.

    A ``generator``, on the clips' device, draws for these clips alone; without one the noise is that of all ranks' joint batch.
    """
    if how.gray:
        clips = clips.mean(1, keepdim=True)
    noise = None
    if how.noise:
        noise = randn(clips.shape, generator, clips.device)
    return quantise(smooth(add_noise(clips, how, noise), how), how)


def rate(clips: Tensor, how: Release) -> Tensor:
    """How much a release can tell of painted ``clips`` (N, 3, T, H, W), whatever is asked of it: nats a pixel of a frame.

    The noise makes a release N(p, s^2) around what is painted. For any fixed q the information between clip and release is at
    most E KL(N(p, s^2) || q) (the rate of a variational bottleneck: Alemi et al. 2017, eq. 14); with q = N(m, s^2) around
    the mean image m of all clips and frames that is (p - m)^2 / 2 s^2. Clamping, smoothing and rounding afterwards only lose
    some. Of colours that are released the three add up.

    Raises:
        PrivadvError: the release has no noise, and so no bound.
    """
    if not how.noise:
        raise PrivadvError("a rate needs a release with noise: set release.noise above 0, or the algorithm's rate to 0")
    shown = clips.mean(1, keepdim=True) if how.gray else clips
    mean = mean_of(shown.mean((0, 2), keepdim=True))
    return (shown - mean).square().sum(1).mean() / (2 * how.noise**2)


def add_noise(clips: Tensor, how: Release, noise: Tensor | None) -> Tensor:
    """Painted clips (N, C, T, H, W) with standard normal ``noise`` of their shape as ``how`` scales it, in [0, 1]."""
    if how.noise:
        if noise is None:
            raise ValueError("this release needs noise")
        clips = clips + how.noise * noise
    return clips.clamp(0, 1)


def smooth(clips: Tensor, how: Release, before: Tensor | None = None) -> Tensor:
    """The moving average of noisy clips (N, C, T, H, W); ``before`` (N, C, H, W): the average at the frame before the first.

    It only works on what was already noisy: it can tell a reader nothing that the noisy frames did not tell.
    """
    if not how.smooth:
        return clips
    averages = []
    for frame in clips.unbind(2):
        before = frame if before is None else how.smooth * before + (1 - how.smooth) * frame
        averages.append(before)
    return torch.stack(averages, 2)


def quantise(clips: Tensor, how: Release) -> Tensor:
    """The clips at the stored grey levels, on three channels."""
    top = how.levels - 1
    clips = clips + ((clips * top).round() / top - clips).detach()
    return clips.expand(-1, 3, *clips.shape[2:])


def motion(clips: Tensor, before: Tensor | None = None) -> Tensor:
    """The signed difference to the frame before, of the clips' shape, in [-1, 1]; causal, so that a camera can do it."""
    if before is None:
        before = torch.cat([clips[:, :, :1], clips[:, :, :-1]], 2)
    return clips - before


def scaled(change: Tensor) -> Tensor:
    """Changes (N, C, T, H, W) in [-1, 1]: two deviations of a clip's fill the range."""
    spread = change.std((2, 3, 4), keepdim=True) + 1e-3
    return (change / (2 * spread)).clamp(-1, 1)


def _frames(clips: Tensor) -> Tensor:
    n, c, t, h, w = clips.shape
    return clips.transpose(1, 2).reshape(n * t, c, h, w).contiguous(memory_format=torch.channels_last)


class _Conv(nn.Sequential):
    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1) -> None:
        super().__init__(
            nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2),
            nn.InstanceNorm2d(outputs, eps=1e-3, affine=True),
            nn.ReLU(inplace=True),
        )


class _Up(nn.Module):
    """Doubling of the resolution by nearest neighbour and convolution; a plain convolution at stride 1."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.stride, self.conv = stride, _Conv(inputs, outputs, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest") if self.stride == 2 else x)


class _Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            _Conv(channels, channels, 3),
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.InstanceNorm2d(channels, eps=1e-3, affine=True),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)
