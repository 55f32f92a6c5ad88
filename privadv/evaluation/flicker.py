"""How much a video trembles where nothing happens."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

STILL = 4
"""Grey levels: a raw pixel that changes by no more in any channel, from one frame to the next, shows nothing that happens."""


def flicker(raw: Iterable[np.ndarray], shown: Iterable[np.ndarray], still: int = STILL) -> float | None:
    """Mean absolute change from frame to frame of ``shown``, in grey levels, where ``raw`` stands still.

    Both give the same clips, uint8 (T, H, W, 3). Free of warping: what moves is left out instead of being followed, so it
    means something for a camera that does not move. None where no pixel ever stands still.
    """
    total, count = 0.0, 0
    for before, after in zip(raw, shown, strict=True):
        quiet = _change(before).max(-1) <= still
        total += float(_change(after).mean(-1)[quiet].sum())
        count += int(quiet.sum())
    return total / count if count else None


def _change(clip: np.ndarray) -> np.ndarray:
    return np.abs(np.diff(clip.astype(np.int16), axis=0))
