"""The colour control reads colours, and nothing but colours."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from privadv.data.feeds import ClipArray
from privadv.data.manifest import Clip, Geometry
from privadv.evaluation.histogram import histogram_leakage

GEOMETRY = Geometry(frames=2, height=12, width=12)


def array(path: Path, seed: int, coloured: bool, attributes: Callable[[int], tuple[int, ...]] | None = None) -> ClipArray:
    """Label by colour, or by which half is bright under colours that are the same for everybody.

    With ``attributes`` a clip of label k shows ``attributes(k)`` instead.
    """
    rng = np.random.default_rng(seed)
    clips = []
    for number in range(60):
        label = int(rng.integers(0, 3))
        frames = rng.integers(0, 40, GEOMETRY.shape).astype(np.uint8)
        if coloured:
            frames[..., label] += np.uint8(150)
        else:
            frames[:, label * 4 : label * 4 + 4] += np.uint8(150)
        clips.append(Clip(f"{seed}-{number}", frames, 0, attributes(label) if attributes else label, f"v{number}", (0, 1)))
    return ClipArray.write(path, clips, len(clips), GEOMETRY)


def test_colours_are_read_and_places_are_not(tmp_path: Path) -> None:
    told = histogram_leakage(array(tmp_path / "a.u8", 1, True), array(tmp_path / "b.u8", 2, True), 0)
    hidden = histogram_leakage(array(tmp_path / "c.u8", 1, False), array(tmp_path / "d.u8", 2, False), 0)
    assert told == 1.0 and hidden < 0.6


@pytest.mark.parametrize(
    ("attributes", "told"),
    [
        (lambda label: (int(label == 0), int(label == 1), 1), 1.0),
        (lambda label: (int(label == 0), 0, 1), 1.0),
        (lambda label: (int(label == 0),), 1.0),
        (lambda label: (1, 0), 0.0),
    ],
    ids=["two vary", "one varies", "one alone", "none varies"],
)
def test_attributes_that_never_vary_teach_nothing(
    tmp_path: Path, attributes: Callable[[int], tuple[int, ...]], told: float
) -> None:
    train, test = (array(tmp_path / f"{seed}.u8", seed, True, attributes) for seed in (1, 2))
    assert histogram_leakage(train, test, 0) == told
