"""Rows of the evaluation: what is done to a raw clip before attackers see it. One name, one entry in ROWS."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from privadv.errors import PrivadvError
from privadv.evaluation.masking import mask
from privadv.models.degradation import scaled

Transform = Callable[[Tensor, Tensor, torch.Generator], Tensor]
"""(clips float (N, 3, T, H, W) in [0, 1], budget labels, where noise comes from) -> clips of the same shape and range, before
8-bit storage."""

NOISY = ("noise", "noisydiff", "scaleddiff", "coarsediff", "buried")
"""Rows that draw noise: like a noisy filter's, their training clips are released several times."""

CONTROLS = ("planted", "buried")
"""Rows that hide everybody and then write the pair in: what the suite must read, and how faint it may be."""


MOVING = ("framediff", "framediff3", "noisydiff", "scaleddiff", "coarsediff", "planted:temporal")
"""Rows that show, or write into, nothing but what changes from frame to frame: of a photograph they keep nothing."""


def is_control(row: str) -> bool:
    """Whether ``row`` is no baseline but a test of the attackers."""
    return row.partition(":")[0] in CONTROLS


def of_filter(row: str) -> bool:
    """Whether ``row`` is the filter, or the filter in another form (:mod:`privadv.evaluation.variants`)."""
    return row.partition(":")[0] == "filter"


def is_baseline(row: str) -> bool:
    """Whether ``row`` is something that the filter is compared with."""
    return row != "raw" and not of_filter(row) and not is_control(row)


def parse(row: str) -> Transform:
    """The transform of a baseline row such as ``gray`` or ``down:8``; the filter in any form is none.

    Raises:
        PrivadvError: no such row, or its strength is no positive number.
    """
    name, _, strength = row.partition(":")
    if name not in ROWS:
        raise PrivadvError(f"rows: unknown row '{row}': one of filter, {', '.join(sorted(ROWS))}")
    make = ROWS[name]
    if name in ("planted", "mask", "coarsediff"):
        return make(strength)
    try:
        value = float(strength) if strength else 0.0
    except ValueError:
        value = -1.0
    if not math.isfinite(value) or value < 0 or (value == 0) == (name in STRENGTHS):
        example = f"'{name}:8'" if name in STRENGTHS else f"'{name}'"
        raise PrivadvError(f"rows: '{row}' is no row: write {example}")
    return make(value)


def _raw(_: float) -> Transform:
    return lambda clips, labels, generator: clips


def _gray(_: float) -> Transform:
    return lambda clips, labels, generator: _grey(clips).expand_as(clips)


def _down(factor: float) -> Transform:
    """Area-downsampled by ``factor`` and shown at the old size again, as a reader at any resolution could."""
    return _coarse(factor, "bilinear")


def _pixelate(block: float) -> Transform:
    return _coarse(block, "nearest")


def _coarse(factor: float, back: str) -> Transform:
    """Area-downsampled by ``factor``, then brought to the old size by the interpolation ``back``."""

    def coarse(clips: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
        small = _per_frame(
            clips, lambda frames: F.interpolate(frames, size=_smaller(frames, factor), mode="area")
        )
        return _per_frame(small, lambda frames: F.interpolate(frames, size=clips.shape[3:], mode=back))

    return coarse


def _blur(sigma: float) -> Transform:
    """Gaussian blur, ``sigma`` in pixels."""
    reach = max(1, round(3 * sigma))
    weights = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / sigma) ** 2)
    weights = (weights / weights.sum()).view(1, 1, -1)

    def blur(clips: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
        def soften(frames: Tensor) -> Tensor:
            channels = frames.shape[1]
            kernel = weights.expand(channels, 1, -1)
            padded = F.pad(frames, (reach,) * 4, mode="replicate")
            rows = F.conv2d(padded, kernel[:, :, None, :], groups=channels)
            return F.conv2d(rows, kernel[:, :, :, None], groups=channels)

        return _per_frame(clips, soften)

    return blur


def _framediff(levels: float) -> Transform:
    """Signed difference of frames, stored around middle grey; ``levels`` 0 = plain 8 bit."""

    def difference(clips: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
        change, half = _change(clips), (levels - 1) / 2
        shown = (scaled(change) * half).round() / half / 2 if levels else change
        return _around_grey(shown).expand(-1, 3, -1, -1, -1)

    return difference


def _change(clips: Tensor) -> Tensor:
    """(N, 1, T, H, W): what gray, 3x3-smoothed frames gain until the next; the last one's is that of the one before."""
    grey = _per_frame(_grey(clips), lambda frames: F.avg_pool2d(frames, 3, 1, 1, count_include_pad=False))
    change = torch.diff(grey, dim=2)
    return torch.cat([change, change[:, :, -1:] if grey.shape[2] > 1 else torch.zeros_like(grey)], 2)


def _around_grey(change: Tensor) -> Tensor:
    """As a picture: no change is middle grey."""
    return (0.5 + change).clamp(0, 1)


def _noise(deviation: float) -> Transform:
    """Gray with a noisy filter's release and nothing else: Gaussian noise of ``deviation`` ([0, 1] units) a pixel and frame."""
    return lambda clips, labels, generator: _noisy(_grey(clips), deviation, generator).expand_as(clips)


def _noisydiff(deviation: float) -> Transform:
    """The frame difference under that noise: what a noisy filter competes with that nobody had to train."""
    return _under_noise(_change, deviation)


def _scaleddiff(deviation: float) -> Transform:
    """The same with the difference scaled up first, as far as a filter would that is to be read through the noise."""
    return _under_noise(lambda clips: scaled(_change(clips)) / 2, deviation)


def _coarsediff(strengths: str) -> Transform:
    """The scaled difference of frames that were averaged over F x F pixels first, F:S: patterns of clothes are no part of it."""
    factor, _, deviation = strengths.partition(":")
    try:
        coarse, noise = float(factor), float(deviation)
    except ValueError:
        coarse = noise = 0.0
    if not (coarse >= 1 and noise > 0 and math.isfinite(coarse * noise)):
        raise PrivadvError(f"rows: 'coarsediff:{strengths}' is no row: write 'coarsediff:4:0.5'")
    see = _down(coarse)
    return lambda clips, labels, generator: _scaleddiff(noise)(see(clips, labels, generator), labels, generator)


def _under_noise(change: Callable[[Tensor], Tensor], deviation: float) -> Transform:
    return lambda clips, labels, generator: _noisy(_around_grey(change(clips)), deviation, generator).expand_as(clips)


PLANT = 2 / 255
BURIED = 0.15


def _planted(kind: str) -> Transform:
    """Positive control: a filter that hides everybody and yet writes the pair into its output at +-2 grey levels.

    ``spatial``: a fixed pattern a class over the pixels; ``temporal``: a fixed code a class over the frames, one sign a
    frame. The clip under it is gray and downsampled by 28, the baseline that shows least.
    """
    if kind not in ("spatial", "temporal"):
        raise PrivadvError(f"rows: 'planted:{kind}' is no row: write 'planted:spatial' or 'planted:temporal'")
    hidden = _down(28)

    def plant(clips: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
        base = _grey(hidden(clips, labels, generator))
        signs = _spatial_signs(base) if kind == "spatial" else _temporal_signs(base)
        return (base + PLANT * signs[_codes(labels) % len(signs)]).clamp(0, 1).expand_as(clips)

    return plant


def _buried(levels: float) -> Transform:
    """How faint is too faint under a noisy release: the spatial pattern at +-``levels`` grey levels below noise of 0.15."""
    hidden = _down(28)

    def bury(clips: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
        base = _grey(hidden(clips, labels, generator))
        signs = _spatial_signs(base)
        marked = base + levels / 255 * signs[_codes(labels) % len(signs)]
        return _noisy(marked, BURIED, generator).expand_as(clips)

    return bury


def _codes(labels: Tensor) -> Tensor:
    """(N,) numbers: classes as they are; of attributes (N, C) one a combination of the first six, which is what 64 codes tell."""
    return labels if labels.ndim == 1 else (labels[:, :6] * 2 ** torch.arange(labels[:, :6].shape[1])).sum(1)


def _spatial_signs(base: Tensor) -> Tensor:
    """(64, 1, 1, H, W) of +-1 in blocks of 4 pixels, drawn once for all."""
    generator = torch.Generator().manual_seed(20)
    coarse = (
        torch.randint(0, 2, (64, 1, -(-base.shape[3] // 4), -(-base.shape[4] // 4)), generator=generator)
        * 2.0
        - 1
    )
    return F.interpolate(coarse, scale_factor=4, mode="nearest")[:, :, None, : base.shape[3], : base.shape[4]]


def _temporal_signs(base: Tensor) -> Tensor:
    """(64, 1, T, 1, 1) of +-1: distinct codes while T >= 6."""
    generator = torch.Generator().manual_seed(20)
    frames = base.shape[2]
    codes = torch.randperm(2 ** min(frames, 16), generator=generator)[:64]
    return (((codes[:, None] >> torch.arange(min(frames, 16))) & 1) * 2.0 - 1).repeat(1, -(-frames // 16))[
        :, None, :frames, None, None
    ]


ROWS: dict[str, Callable[..., Transform]] = {
    "raw": _raw,
    "gray": _gray,
    "down": _down,
    "blur": _blur,
    "pixelate": _pixelate,
    "framediff": _framediff,
    "framediff3": lambda _: _framediff(3),
    "noise": _noise,
    "noisydiff": _noisydiff,
    "scaleddiff": _scaleddiff,
    "coarsediff": _coarsediff,
    "buried": _buried,
    "planted": _planted,
    "mask": mask,
}
STRENGTHS = ("down", "blur", "pixelate", *NOISY)


def _grey(clips: Tensor) -> Tensor:
    return clips.mean(1, keepdim=True)


def _noisy(clips: Tensor, deviation: float, generator: torch.Generator) -> Tensor:
    return (clips + deviation * torch.randn(clips.shape, generator=generator)).clamp(0, 1)


def _smaller(frames: Tensor, factor: float) -> tuple[int, int]:
    return max(1, round(frames.shape[2] / factor)), max(1, round(frames.shape[3] / factor))


def _per_frame(clips: Tensor, change: Callable[[Tensor], Tensor]) -> Tensor:
    """Apply a function of images (N*T, C, H, W) to every frame of clips (N, C, T, H, W)."""
    n, c, t, h, w = clips.shape
    frames = change(clips.transpose(1, 2).reshape(n * t, c, h, w))
    return frames.view(n, t, *frames.shape[1:]).transpose(1, 2)
