"""A filter on one video, in the order of its frames and in bounded memory."""

from __future__ import annotations

from collections import deque

import numpy as np
import torch
from torch import Tensor

from privadv.camera.noise import Noise
from privadv.camera.step import FIRST, Stepping
from privadv.device import CPU
from privadv.errors import PrivadvError


class FrameFilter:
    """Frames go in as they come and come out as they are stored; what was before is remembered as far as the filter needs it.

    ``lag``: a filter that sees motion compares each frame to the one so many frames before, and the first ones to
    themselves. The frames of a training clip lie apart in their video; every ``lag``-th frame that comes out here is what
    the filter makes of every ``lag``-th frame alone.
    """

    def __init__(self, step: Stepping, noise: Noise, lag: int = 1, device: torch.device = CPU) -> None:
        self._step, self._noise, self._lag, self._device = step, noise, lag, device
        self._past: deque[np.ndarray] = deque(maxlen=lag)
        self._smoothed: Tensor | None = None

    @torch.inference_mode()
    def __call__(self, frames: np.ndarray) -> np.ndarray:
        """uint8 (n, H, W, 3) RGB to uint8 of the same shape.

        Raises:
            PrivadvError: the filter cannot work on frames so small, or gives none of that shape; then none of these may be shown.
        """
        needs, (n, height, width, _) = self._step.needs, frames.shape
        size = 1 if needs.smoothed else n
        out = []
        for start in range(0, n, size):
            some = frames[start : start + size]
            given = {"before": self._before(some)} if needs.before else {}
            if needs.noise:
                given["noise"] = self._noise.draw((len(some), needs.channels, height, width))
            if needs.smoothed:
                if self._smoothed is None:
                    self._smoothed = torch.full((1, needs.channels, height, width), FIRST)
                given["smoothed"] = self._smoothed
            given = {name: value.to(self._device) for name, value in {"frames": torch.from_numpy(some), **given}.items()}
            try:
                stored, self._smoothed = self._step(**given)
            except Exception as error:
                if min(height, width) >= needs.smallest:
                    raise
                reason = " ".join(str(error).split())[:160]
                raise PrivadvError(f"frames of {width}x{height} are too small for the filter ({reason}): take larger ones, from "
                                   f"{needs.smallest}x{needs.smallest} on, or leave --native out") from None
            out.append(stored.cpu().numpy())
        filtered = np.concatenate(out)
        if filtered.shape != frames.shape or filtered.dtype != np.uint8:
            raise PrivadvError(f"the filter made {filtered.dtype} {filtered.shape} of frames {frames.shape}: it is not usable")
        return filtered

    def _before(self, frames: np.ndarray) -> Tensor:
        before = []
        for frame in frames:
            before.append(self._past[0] if len(self._past) == self._lag else frame)
            self._past.append(frame)
        return torch.from_numpy(np.stack(before))
