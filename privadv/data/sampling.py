"""Which frames of a video make a clip."""

from __future__ import annotations

from typing import Literal

import numpy as np

How = Literal["uniform", "ranked", "dense"]

CANDIDATES = 20


def indices(
    n_frames: int, frames: int, how: How, rng: np.random.Generator, clips: int = 1, stride: int = 1
) -> list[tuple[int, ...]]:
    """Ascending frame numbers of at most ``clips`` clips of ``frames`` frames each, out of ``n_frames`` >= 1.

    uniform: one clip, the middle frame of each of ``frames`` equal parts.
    ranked: the ``clips`` most evenly spread of 20 draws from ``rng`` (the sampling of the original work).
    dense: consecutive frames from 0, ``stride``, 2 ``stride``, ...

    A video shorter than a clip gives one clip, its last frame repeated: whoever does not want that checks
    before.
    """
    if n_frames < frames:
        return [tuple(min(number, n_frames - 1) for number in range(frames))]
    if how == "uniform":
        return [tuple((2 * part + 1) * n_frames // (2 * frames) for part in range(frames))]
    if how == "dense":
        starts = range(0, n_frames - frames + 1, stride)[:clips]
        return [tuple(range(start, start + frames)) for start in starts]
    draws = np.sort([rng.choice(n_frames, frames, replace=False) for _ in range(CANDIDATES)], axis=1)
    best = draws[np.argsort(unevenness(draws, n_frames), kind="stable")]
    return list(dict.fromkeys(tuple(draw) for draw in best.tolist()))[:clips]


def unevenness(draws: np.ndarray, n_frames: int) -> np.ndarray:
    """Kolmogorov-Smirnov distance to uniform on [0, n_frames] of each sorted row, int (N, T) -> int (N,).

    In units of 1 / (T n_frames), so that ties are exact. At one T the test's p-value only falls as the
    distance grows: the smallest distance is the highest p-value.
    """
    frames = draws.shape[1]
    steps = np.arange(frames + 1) * n_frames
    return np.maximum(steps[1:] - draws * frames, draws * frames - steps[:-1]).max(axis=1)
