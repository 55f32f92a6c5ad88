"""A generated, openly synthetic video set in the shape of SBU Kinect Interaction.

Seven actors form thirteen unordered pairs that play eight two-person interactions. *What* happens lives in the motion of
articulated figures; *who* it is lives in appearance: clothing patterns, the arrangement of colours that all actors share,
hair, skin and slight differences of proportion. Speed, phase, camera, light, background and noise are drawn anew for
every video. Nothing here is a photograph of anybody, and no result on it says how a filter does on real people.
"""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

from privadv.console import progress
from privadv.data.synthetic.appearance import CAST
from privadv.data.synthetic.film import render
from privadv.data.synthetic.plan import ACTIONS, PAIRS, SyntheticConfig, Video, videos
from privadv.data.video import write_h264
from privadv.data.workers import in_order, worker_pool

__all__ = ["ACTIONS", "CAST", "PAIRS", "SyntheticConfig", "Video", "generate", "render", "videos"]


def generate(config: SyntheticConfig, folder: Path) -> None:
    """Write every video as H.264 into ``folder``; the same config writes the same frames."""
    folder.mkdir(parents=True, exist_ok=True)
    todo = videos(config)
    workers = max(1, os.cpu_count() or 1)
    with worker_pool(workers) as pool, progress("synthetic videos", len(todo)) as bar:
        for _ in in_order(pool, partial(_write, config, folder), todo, 4 * workers):
            bar.advance()


def _write(config: SyntheticConfig, folder: Path, video: Video) -> None:
    write_h264(folder / video.name, render(config, video), config.fps)
